"""What came of packaging."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass
class PackageResult:
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
    report: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether all went well."""
        return not self.problems
