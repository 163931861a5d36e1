"""Comparing two files: tables of cell counts region by region, all others byte for byte.

Invariant: an unreadable file is never the same as another one. An excluded region (CATNIP's ``-1,-1``) has no number,
so totals and changes ignore it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from catnip2bids.catnip.atlas import read_atlas_table
from catnip2bids.catnip.counts import COUNTS, RegionCount, read_counts
from catnip2bids.comparison.compared_volume import same_bytes
from catnip2bids.comparison.path_kind import TABLE_ENDINGS, path_kind_of
from catnip2bids.comparison.volumes import Relation
from catnip2bids.delimited import TableKind, Warn, ignore, read_lines, read_text
from catnip2bids.errors import SourceError

_ANIMALS = TableKind("a table of participants", {"participant_id": ("participant_id",)}, ("participant_id",), "")


@dataclass(frozen=True)
class FileComparison:
    """Two files that were compared byte for byte, or two paths of which one cannot be opened."""

    path_1: Path  # side 1
    path_2: Path  # side 2
    same: bool  # whether their bytes are the same
    problems: tuple[str, ...] = ()  # why they could not be compared
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
    """Compare two files byte for byte; atlas tables and tables of participants may have another notation."""
    problems = []
    for path in (path_1, path_2):
        try:
            path_kind_of(path)
        except SourceError as error:
            problems.append(str(error))
    if problems:
        return FileComparison(path_1, path_2, same=False, problems=tuple(problems))
    if same_bytes(path_1, path_2):
        return FileComparison(path_1, path_2, same=True)
    other_notation = _have_same_values(path_1, path_2)
    return FileComparison(path_1, path_2, same=other_notation, other_notation=other_notation)


def _have_same_values(path_1: Path, path_2: Path) -> bool:
    """Tell whether two files are atlas tables or tables of participants with the same values in another notation."""
    if {path_1.suffix.lower(), path_2.suffix.lower()} - {*TABLE_ENDINGS, ".txt"}:
        return False
    try:
        return read_atlas_table(path_1).regions == read_atlas_table(path_2).regions
    except SourceError:
        pass
    try:
        one, two = (
            [row.values for row in read_lines(p, read_text(p), _ANIMALS).named(_ANIMALS)] for p in (path_1, path_2)
        )
    except SourceError:
        return False
    return one == two


@dataclass(frozen=True)
class RegionPair:
    """The counts of one region; None in a table without it."""

    region: RegionCount  # the first count that exists, for index and name
    one: RegionCount | None
    two: RegionCount | None

    def of(self, side: int) -> RegionCount | None:
        """Return the count in a table (1 or 2)."""
        return self.one if side == 1 else self.two

    @property
    def has_other_numbers(self) -> bool:
        """Whether both exist with different numbers."""
        one, two = self.one, self.two
        if one is None or two is None:
            return False
        return (one.cell_count, one.label_volume) != (two.cell_count, two.label_volume)

    @property
    def is_excluded_from_one_side(self) -> bool:
        """Whether just one table excludes the region."""
        one, two = self.one, self.two
        return one is not None and two is not None and one.is_excluded != two.is_excluded


@dataclass(frozen=True)
class TableComparison:
    """How two tables differ."""

    path_1: Path  # side 1
    path_2: Path  # side 2
    regions: tuple[RegionPair, ...] = field(repr=False)  # in the order of 1, then of 2
    is_compared: ClassVar[bool] = True
    problems: ClassVar[tuple[str, ...]] = ()

    @property
    def relation(self) -> Relation:
        """Identical or different."""
        return Relation.DIFFERENT if self.differs else Relation.IDENTICAL

    @property
    def differs(self) -> bool:
        """Whether a difference was found."""
        return bool(self.different)

    @property
    def different(self) -> tuple[RegionPair, ...]:
        """Regions that differ."""
        return tuple(pair for pair in self.regions if pair.one != pair.two)

    @property
    def changed(self) -> tuple[RegionPair, ...]:
        """Regions that both count, with other numbers."""
        return tuple(p for p in self.different if p.has_other_numbers and not p.is_excluded_from_one_side)

    @property
    def renamed(self) -> tuple[RegionPair, ...]:
        """Regions that have another name or abbreviation, and the same numbers."""
        return tuple(p for p in self.different if p.one and p.two and not p.has_other_numbers)

    def excluded(self, side: int) -> tuple[RegionCount, ...]:
        """Return the regions that a table (1 or 2) excludes and the other one counts."""
        found = [pair.of(side) for pair in self.regions if pair.is_excluded_from_one_side]
        return tuple(count for count in found if count and count.is_excluded)

    def only_in(self, side: int) -> tuple[RegionCount, ...]:
        """Return the regions that only one table (1 or 2) has."""
        found = [pair.of(side) for pair in self.regions if pair.of(3 - side) is None]
        return tuple(count for count in found if count)

    def total_cells(self, side: int) -> int:
        """Return the sum of all cells in a table (1 or 2)."""
        counts = [pair.of(side) for pair in self.regions]
        return sum(count.cell_count or 0 for count in counts if count)


def looks_like_counts(path: Path) -> bool:
    """Tell whether a file looks like a table of counts of one sample, in any notation."""
    if path.suffix.lower() not in TABLE_ENDINGS:
        return False
    try:
        return "participant_id" not in read_lines(path, read_text(path), COUNTS).header
    except SourceError:
        return False


def compare_tables(path_1: Path, path_2: Path, warn: Warn = ignore) -> TableComparison | FileComparison:
    """Compare two tables of counts by their labels, in any notation, if both are readable."""
    tables: list[dict[int, RegionCount]] = []
    problems = []
    for path in (path_1, path_2):
        try:
            tables.append({count.index: count for count in read_counts(path, warn)})
        except SourceError as error:
            problems.append(str(error))
    if problems:
        return FileComparison(path_1, path_2, same=False, problems=tuple(problems))
    one, two = tables
    first = one | {index: count for index, count in two.items() if index not in one}
    regions = [RegionPair(count, one.get(index), two.get(index)) for index, count in first.items()]
    return TableComparison(path_1, path_2, tuple(regions))
