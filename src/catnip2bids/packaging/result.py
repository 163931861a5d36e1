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
        Copies that were made now, below the dataset: of source files, and of label images inside of other images.
    problems
        What was not done, and why.
    warnings
        What may be wrong.
    """

    dataset: Path
    made: list[PurePosixPath] = field(default_factory=list)
    kept: list[PurePosixPath] = field(default_factory=list)
    copied: list[PurePosixPath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all went well."""
        return not self.problems
