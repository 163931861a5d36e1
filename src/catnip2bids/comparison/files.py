"""Two files of which nothing is known but their bytes, and pairs of anything that cannot be opened.

Invariant: what cannot be read is never the same as anything, and nothing is said of it but why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catnip2bids.comparison.compared_volume import same_bytes
from catnip2bids.comparison.path_kind import path_kind_of
from catnip2bids.comparison.relation import Relation
from catnip2bids.errors import SourceError


@dataclass(frozen=True)
class FileComparison:
    """Two files that are compared byte for byte, or two things of which one cannot be opened."""

    # the files or things
    path_1: Path
    path_2: Path
    same: bool  # whether they are the same
    problems: tuple[str, ...] = ()  # why one cannot be read
    other_notation: bool = False  # whether they are tables of the same values, and not the same byte for byte
    are_empty: bool = False  # whether they are empty folders, so that there was nothing to compare

    @property
    def is_compared(self) -> bool:
        """Whether there was anything to compare, and it could be read."""
        return not (self.problems or self.are_empty)

    @property
    def differs(self) -> bool:
        """Whether a difference was found."""
        return self.is_compared and not self.same

    @property
    def relation(self) -> Relation:
        """Whether they are the same."""
        return Relation.IDENTICAL if self.same else Relation.DIFFERENT


def compare_files(path_1: Path, path_2: Path) -> FileComparison:
    """Compare two files byte for byte."""
    problems = []
    for path in (path_1, path_2):
        try:
            path_kind_of(path)
        except SourceError as error:
            problems.append(str(error))
    return FileComparison(path_1, path_2, not problems and same_bytes(path_1, path_2), tuple(problems))
