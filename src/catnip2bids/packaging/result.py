"""What came of packaging."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr


@dataclass(frozen=True)
class RunSummary:
    """How many things one run became.

    Attributes
    ----------
    name
        The entities that all its files share.
    n_images, n_tables, n_copies
        Images, tables of counts and verbatim copies that are in the dataset, made now or earlier.
    n_excluded
        Entries that are excluded by the plan.
    n_problems
        Entries that could not be packaged.
    """

    name: str
    n_images: int
    n_tables: int
    n_copies: int
    n_excluded: int
    n_problems: int


@dataclass(repr=False)
class PackageResult(ShortRepr):
    """What was done.

    Attributes
    ----------
    dataset
        The dataset folder.
    made, kept
        Images that were made now, and that were there already, below the dataset.
    copied
        What else was made now, below the dataset: copies of source files, tables of counts, and label images that were
        put inside of other images.
    removed
        What was removed, below the dataset, because it is not planned any more.
    problems
        What was not done, and why.
    warnings
        What may be wrong.
    runs
        How many things each run became.
    report
        The page to look at; None if it was not drawn.
    """

    dataset: Path
    made: list[PurePosixPath] = field(default_factory=list)
    kept: list[PurePosixPath] = field(default_factory=list)
    copied: list[PurePosixPath] = field(default_factory=list)
    removed: list[PurePosixPath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    runs: list[RunSummary] = field(default_factory=list)
    report: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether all went well."""
        return not self.problems

    def _summary(self) -> ReprSummary:
        facts = (
            format_count(len(self.made), "image") + " made",
            f"{len(self.kept)} kept",
            format_count(len(self.copied), "other file"),
            format_count(len(self.problems), "problem"),
            format_count(len(self.warnings), "warning"),
        )
        rows = [
            {
                "run": run.name,
                "images": run.n_images,
                "tables": run.n_tables,
                "copies": run.n_copies,
                "excluded": run.n_excluded,
                "problems": run.n_problems,
            }
            for run in self.runs
        ]
        return ReprSummary(str(self.dataset), facts, rows, self.problems)
