"""The result of packaging, and the log from which it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.formatting import format_count
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr


@dataclass(frozen=True)
class Estimate:
    """Size and time of the images that have to be made; the files that are written include copies."""

    n_bytes_read: int  # of decoded pixels
    n_bytes_written: int  # to the dataset
    n_files: int  # of images and copies
    n_units: int  # units of work
    worker_bytes: int  # the least memory of a worker of one thread
    bytes_per_second: float  # decoded pixels that one thread of this machine converts
    seconds: Mapping[int, float]  # by number of workers as fast as this machine, if the file system keeps up


@dataclass(frozen=True)
class RunSummary:
    """Numbers of files of one run that are in the dataset, made now or earlier, and of entries that are not."""

    name: str  # the entities that all its files share
    n_images: int  # of the run
    n_tables: int  # of counts
    n_copies: int  # of small files
    n_excluded: int  # entries that the plan excludes
    n_problems: int  # entries that could not be packaged


@dataclass(frozen=True, repr=False)
class PackageResult(ShortRepr):
    """The files that were written and removed, or would be, with all problems and warnings.

    Attributes
    ----------
    dataset
        The dataset folder.
    made, kept
        Images that were made now, and images that existed already, as paths below the dataset.
    copied
        Other files that were made now, as paths below the dataset: copies of source files, tables of counts, and label
        images that were embedded into other images.
    removed
        Files that were removed because they are no longer planned, as paths below the dataset.
    problems
        What was not done, and why.
    warnings
        What may be wrong.
    runs
        Summaries of the runs.
    report
        The first page of the report; None if it was not drawn.
    estimate
        Of a dry run: size and time of the images to make; None if there are none.
    """

    dataset: Path
    made: tuple[PurePosixPath, ...] = ()
    kept: tuple[PurePosixPath, ...] = ()
    copied: tuple[PurePosixPath, ...] = ()
    removed: tuple[PurePosixPath, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    runs: tuple[RunSummary, ...] = ()
    report: Path | None = None
    estimate: Estimate | None = None

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
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


@dataclass
class PackageLog:
    """Collects the content of a `PackageResult` while packaging goes on."""

    dataset: Path
    progress: Progress  # is told of problems and warnings at once
    made: list[PurePosixPath] = field(default_factory=list)
    kept: list[PurePosixPath] = field(default_factory=list)
    copied: list[PurePosixPath] = field(default_factory=list)
    removed: list[PurePosixPath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    runs: list[RunSummary] = field(default_factory=list)
    report: Path | None = None

    def problem(self, text: str) -> None:
        """Log what was not done, and why."""
        self.problems.append(text)
        self.progress.problem(text)

    def warning(self, text: str) -> None:
        """Log what may be wrong."""
        self.warnings.append(text)
        self.progress.warning(text)

    def result(self) -> PackageResult:
        """Return the result so far."""
        lists: dict[str, Any] = {name: tuple(value) for name, value in vars(self).items() if isinstance(value, list)}
        return PackageResult(self.dataset, report=self.report, **lists)
