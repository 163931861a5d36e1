"""CATNIP's cell counts: one CSV for each threshold, one row for each region of the atlas.

Invariant: a table is read completely or not at all. A number that is not plainly a count is an
error with its file and line, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catnip2bids.catnip.component import Storage
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.errors import SourceError
from catnip2bids.special import refuse_special

_COLUMNS = ("Label_ID", "Name", "Acronym", "Cell_Count", "Label_Volume(Pixels)")
N_COLUMNS = len(_COLUMNS)
_EXCLUDED = -1
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MOST_BYTES = 64 * 2**20
"""A thousand times the largest table of an atlas."""
_REMEDY = "copy the table again from where CATNIP wrote it, or exclude it in the plan"


@dataclass(frozen=True)
class RegionCount:
    """The cells of one region at one threshold.

    Attributes
    ----------
    index
        Label value of the region in the atlas.
    name
        As CATNIP writes it: blanks replaced by ``_``, commas removed.
    abbreviation
        None where CATNIP only repeats the name.
    cell_count, label_volume
        Cells, and voxels of the full resolution image. Both None for a region that was excluded
        because it overlaps the exclusion mask (CATNIP's ``-1,-1``).
    """

    index: int
    name: str
    abbreviation: str | None
    cell_count: int | None
    label_volume: int | None


def read_counts(path: Path) -> list[RegionCount]:
    """Read ``FRSTseg_<threshold>.csv``, corrected or not, in the order of its rows.

    Raises
    ------
    SourceError
        If the file cannot be read or has no rows; if a row has the wrong number of fields,
        something else than a number, a negative number that is not CATNIP's ``-1,-1``, or an id
        that was there before.
    """
    counts: dict[int, RegionCount] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = [text.strip() for text in line.split(",")]
        if number == 1 and fields[0].lower() == _COLUMNS[0].lower():
            continue
        try:
            count = _region_count(fields)
            if count.index in counts:
                raise ValueError(f"region {count.index} is there twice")
        except ValueError as error:
            raise SourceError(f"{path}, line {number}: {error}; {_REMEDY}") from None
        counts[count.index] = count
    if not counts:
        raise SourceError(f"{path}: has no rows; {_REMEDY}")
    if all(count.abbreviation in (None, count.name) for count in counts.values()):
        # CATNIP writes the name into the acronym's column where its atlas table has not three columns
        return [replace(count, abbreviation=None) for count in counts.values()]
    return list(counts.values())


def read_lines(path: Path) -> list[str]:
    """Read the lines of a table, without BOM, line ends, and blank lines after the last row.

    Raises
    ------
    SourceError
        If the file cannot be read, is not text, or is so large that it cannot be a table of regions.
    """
    refuse_special(path)
    try:
        n_bytes = path.stat().st_size
        if n_bytes > _MOST_BYTES:
            raise SourceError(f"{path}: has {n_bytes} bytes, which is too much for a table of regions; {_REMEDY}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}; see that it is a file and may be read") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: is not a text table (byte {error.start} is not UTF-8); save it as UTF-8 text"
        ) from error
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def whole_number(text: str, what: str) -> int:
    """Read a whole number; a ValueError names what it should have been."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"the {what} {text!r} is not a whole number")
    return int(text)


def _region_count(fields: Sequence[str]) -> RegionCount:
    if len(fields) != len(_COLUMNS):
        raise ValueError(f"{len(fields)} fields instead of the {len(_COLUMNS)} of {','.join(_COLUMNS)}")
    identifier, name, acronym, cells, voxels = fields
    index = whole_number(identifier, "Label_ID")
    cell_count, label_volume = whole_number(cells, "Cell_Count"), whole_number(voxels, "Label_Volume")
    if index < 0:
        raise ValueError(f"the Label_ID {index} is negative")
    if not name:
        raise ValueError(f"region {index} has no name")
    is_excluded = cell_count == label_volume == _EXCLUDED
    if min(cell_count, label_volume) < 0 and not is_excluded:
        raise ValueError(
            f"region {index} has {cell_count} cells in {label_volume} voxels; "
            f"only {_EXCLUDED},{_EXCLUDED} (region excluded) may be negative"
        )
    return RegionCount(
        index=index,
        name=name,
        abbreviation=acronym or None,
        cell_count=None if is_excluded else cell_count,
        label_volume=None if is_excluded else label_volume,
    )


def counted_segmentation(desc: str) -> tuple[int, bool] | None:
    """Return the threshold of the segmentation that a table of counts is of, and whether the counts are corrected.

    Parameters
    ----------
    desc
        Label of the ``desc-`` entity in the name of the table; None is returned if none of ours has it.
    """
    for row in COMPONENTS:
        if row.storage == Storage.TABLE and (found := row.match_desc(desc)):
            return int(found["threshold"]), row.role == "countscorrected"
    return None
