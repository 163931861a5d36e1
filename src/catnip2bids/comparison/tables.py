"""Comparing two tables of cell counts region by region.

Invariant: an excluded region (CATNIP's ``-1,-1``) has no number, so totals and changes ignore it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from catnip2bids.catnip.atlas import read_atlas_table
from catnip2bids.catnip.counts import COUNTS, RegionCount, read_counts
from catnip2bids.comparison.files import FileComparison
from catnip2bids.comparison.relation import Relation
from catnip2bids.delimited import TableKind, Warn, ignore, read_lines, read_text
from catnip2bids.errors import SourceError

_ENDINGS = (".csv", ".tsv")
_ANIMALS = TableKind("a table of participants", {"participant_id": ("participant_id",)}, ("participant_id",), "")


@dataclass(frozen=True)
class RegionPair:
    """The counts of one region; None in a table without it."""

    one: RegionCount | None
    two: RegionCount | None

    @property
    def region(self) -> RegionCount:
        """The first count that exists, for index and name."""
        found = self.one or self.two
        if found is None:
            raise ValueError("one of both is there")
        return found

    @property
    def same(self) -> bool:
        """Whether both are equal."""
        return self.one == self.two

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

    path_1: Path
    path_2: Path
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
    def changed(self) -> tuple[RegionPair, ...]:
        """Regions that both count, with other numbers."""
        return tuple(p for p in self.different if p.has_other_numbers and not p.is_excluded_from_one_side)

    @property
    def renamed(self) -> tuple[RegionPair, ...]:
        """Regions that have another name or abbreviation, and the same numbers."""
        return tuple(p for p in self.different if p.one and p.two and not p.has_other_numbers)

    @property
    def different(self) -> tuple[RegionPair, ...]:
        """Regions that differ."""
        return tuple(pair for pair in self.regions if not pair.same)

    def excluded(self, side: int) -> tuple[RegionCount, ...]:
        """Return the regions that a table (1 or 2) excludes and the other one counts."""
        found = [(p.one, p.two) if side == 1 else (p.two, p.one) for p in self.regions if p.is_excluded_from_one_side]
        return tuple(here for here, _ in found if here is not None and here.is_excluded)

    def only_in(self, side: int) -> tuple[RegionCount, ...]:
        """Return the regions that only one table (1 or 2) has."""
        found = [(p.one, p.two) if side == 1 else (p.two, p.one) for p in self.regions]
        return tuple(here for here, other in found if here is not None and other is None)

    def total_cells(self, side: int) -> int:
        """Return the sum of all cells in a table (1 or 2)."""
        counts = [pair.one if side == 1 else pair.two for pair in self.regions]
        return sum(count.cell_count or 0 for count in counts if count is not None)


def looks_like_counts(path: Path) -> bool:
    """Tell whether a file looks like a table of counts of one sample, in any notation."""
    if path.suffix.lower() not in _ENDINGS:
        return False
    try:
        return "participant_id" not in read_lines(path, read_text(path), COUNTS).header
    except SourceError:
        return False


def have_same_values(path_1: Path, path_2: Path) -> bool:
    """Tell whether two files are atlas tables or tables of participants with the same values in another notation."""
    if {path_1.suffix.lower(), path_2.suffix.lower()} - {*_ENDINGS, ".txt"}:
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
    regions = [RegionPair(one.get(index), two.get(index)) for index in dict.fromkeys([*one, *two])]
    return TableComparison(path_1, path_2, tuple(regions))
