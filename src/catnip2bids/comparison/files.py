"""Comparing two files byte for byte; also the result for two paths of which one cannot be opened.

Invariant: an unreadable file is never the same as another one.
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
    """Two files that were compared byte for byte, or two paths of which one cannot be opened."""

    path_1: Path
    path_2: Path
    same: bool
    problems: tuple[str, ...] = ()
    other_notation: bool = False  # whether they are tables with the same values in different bytes
    are_empty: bool = False  # whether they are empty folders

    @property
    def is_compared(self) -> bool:
        """Whether their content was compared."""
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
