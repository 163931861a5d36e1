"""CATNIP's cell counts: one CSV for each threshold, one row for each region of the atlas.

Invariant: a table is read completely or not at all. An ambiguous number is an error with file, line and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catnip2bids.catnip.component_type import SourceFormat
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.delimited import Row, TableKind, Warn, exact_integer, ignore, read_lines, read_text
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_list

_INDEX, _NAME, _ABBREVIATION, _CELLS, _VOLUME = "index", "name", "abbreviation", "cell_count", "label_volume"
_REMEDY = "copy the table again from where CATNIP wrote it, or exclude it in the plan"
COUNTS = TableKind(
    what="a table of counts",
    columns={
        _INDEX: ("Label_ID", "index"),
        _NAME: ("Name",),
        _ABBREVIATION: ("Acronym", "abbreviation"),
        _CELLS: ("Cell_Count",),
        _VOLUME: ("Label_Volume(Pixels)", "label_volume"),
    },
    required=(_INDEX, _NAME, _CELLS, _VOLUME),
    remedy=_REMEDY,
)
"""Columns with CATNIP's names, and those in our own tables."""
_HEADER = tuple(spellings[0] for spellings in COUNTS.columns.values())
_EXCLUDED = -1
_LONGEST_NAME = 500
"""Characters; the longest name in CATNIP's atlases has about a hundred."""


@dataclass(frozen=True)
class RegionCount:
    """The cells of one region at one threshold."""

    index: int  # label value of the region in the atlas
    name: str  # as CATNIP writes it: blanks replaced by ``_``, commas removed
    abbreviation: str | None  # None where CATNIP only repeats the name
    # cells, and voxels of the full resolution image; both None for a region that is excluded because it overlaps the
    # exclusion mask (CATNIP's ``-1,-1``), one of them None if the table lacks a number
    cell_count: int | None
    label_volume: int | None

    @property
    def is_excluded(self) -> bool:
        """Whether CATNIP excluded the region."""
        return self.cell_count is None and self.label_volume is None


def read_counts(path: Path, warn: Warn = ignore) -> list[RegionCount]:
    """Read ``FRSTseg_<threshold>.csv``, corrected or not, in the order of its rows.

    Columns are found by name, in any order. A table without a header is read in CATNIP's order, with a warning.

    Raises
    ------
    SourceError
        If the file cannot be read, has no rows or another header; if a row has the wrong number of fields, an invalid
        number, a negative number other than CATNIP's ``-1,-1``, no name or a very long one, or a repeated id.
    """
    text = read_text(path, warn)
    lines = read_lines(path, text, COUNTS, lambda row: COUNTS.is_header(row) or _is_region(row))
    if not text.endswith(("\n", "\r")):  # CATNIP ends each row with a line end
        warn(f"{path}: its last line has no line end; if the table was cut off, {_REMEDY}")
    if _is_region(lines.header):
        warn(f"{path}: has no header; its columns are read as {','.join(_HEADER)}")
        lines = replace(lines, header=_HEADER, rows=((lines.header_line, lines.header), *lines.rows))
    counts: dict[int, RegionCount] = {}
    unknown = []
    for row in lines.named(COUNTS):
        count = _region_count(row)
        if count.index in counts:
            raise row.error(_INDEX, f"region {count.index} is there twice; {_REMEDY}")
        counts[count.index] = count
        unknown += [f"line {row.line}" for column in (_CELLS, _VOLUME) if row.integer(column) is None]
    if not counts:
        raise SourceError(f"{path}: has no rows; {_REMEDY}")
    if unknown:
        warn(f"{path}: numbers are missing ({format_list(list(dict.fromkeys(unknown)))}); they are n/a in the dataset")
    if all(count.abbreviation in (None, count.name) for count in counts.values()):
        # CATNIP writes the name into the acronym's column where its atlas table has not three columns
        return [replace(count, abbreviation=None) for count in counts.values()]
    return list(counts.values())


def other_counts(
    corrected: Iterable[RegionCount], uncorrected: Iterable[RegionCount]
) -> list[tuple[RegionCount, RegionCount]]:
    """Return the regions with other numbers in a corrected table than in the uncorrected one, with both rows.

    CATNIP makes a corrected table by replacing the numbers of some regions by ``-1,-1``; all others stay.
    """
    known = {row.index: row for row in uncorrected}
    pairs = [(row, known[row.index]) for row in corrected if not row.is_excluded and row.index in known]

    def differ(one: int | None, other: int | None) -> bool:
        return None not in (one, other) and one != other

    return [
        (row, other)
        for row, other in pairs
        if differ(row.cell_count, other.cell_count) or differ(row.label_volume, other.label_volume)
    ]


def _is_region(fields: Sequence[str]) -> bool:
    """Whether these fields are a region in CATNIP's order, and not a header."""
    try:
        for at in (0, 3, 4):
            exact_integer(fields[at])
    except (ValueError, IndexError):
        return False
    return len(fields) == len(_HEADER)


def _region_count(row: Row) -> RegionCount:
    index, name = row.integer(_INDEX), row.text(_NAME)
    cell_count, label_volume = row.integer(_CELLS), row.integer(_VOLUME)
    if index is None or index < 0:
        raise row.error(_INDEX, f"{row.values[_INDEX]!r} is not the id of a region; {_REMEDY}")
    if name is None:
        raise row.error(_NAME, f"region {index} has no name; {_REMEDY}")
    if len(name) > _LONGEST_NAME:
        raise row.error(_NAME, f"region {index} has a name of {len(name):,} characters; {_REMEDY}")
    is_excluded = cell_count == label_volume == _EXCLUDED
    for column, number in ((_CELLS, cell_count), (_VOLUME, label_volume)):
        if number is not None and number < 0 and not is_excluded:
            what = f"region {index} has {number}; only {_EXCLUDED},{_EXCLUDED} (region excluded) may be negative"
            raise row.error(column, f"{what}; {_REMEDY}")
    return RegionCount(
        index=index,
        name=name,
        abbreviation=row.text(_ABBREVIATION),
        cell_count=None if is_excluded else cell_count,
        label_volume=None if is_excluded else label_volume,
    )


def counted_segmentation(desc: str) -> tuple[int, bool] | None:
    """Find the segmentation that a counts table belongs to, by the ``desc-`` label of the table.

    Returns its threshold, and whether the counts are corrected; None for labels of other files.
    """
    for row in COMPONENTS:
        if row.storage == SourceFormat.TABLE and (found := row.match_desc(desc)):
            return int(found["threshold"]), row.is_corrected
    return None
