"""Tables that name and colour the regions of an atlas, in every form CATNIP has had so far.

Invariant: an id always keeps the name its own table gives it. Tables are combined only where they
agree on the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catnip2bids.catnip.component import Content
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.catnip.counts import RegionCount, read_lines, whole_number
from catnip2bids.errors import SourceError

_INDEX, _NAME, _ABBREVIATION, _COLOR = "index", "name", "abbreviation", "color"
_RGB = ("red", "green", "blue")
_SYNONYMS = {"id": _INDEX, "acronym": _ABBREVIATION, "colour": _COLOR}
_OWN_COLUMNS = frozenset({_INDEX, _NAME, _ABBREVIATION, _COLOR, *_RGB})

_UNKNOWN = frozenset({"", "n/a"})
_HEX_COLOR = re.compile(r"#[0-9a-f]{6}")
_ATLAS_FOLDER = re.compile(r"atlas_(v[0-9]+)")
ATLAS_VOXEL_SIZE_UM = 25.0
"""Of the grid of all atlases, the same on all axes: pixdim of their volumes."""
ATLAS_LABELS = tuple(row.role for row in COMPONENTS if row.content == Content.LABELS)
"""Roles of all atlas labels, the whole ones first."""
UNLISTED = "unlisted"
"""How the names of label values begin that no table lists."""
_REMEDY = "use the atlas_info.txt of the CATNIP atlas as it is, or correct this line"


@dataclass(frozen=True)
class Region:
    """One region of an atlas.

    Attributes
    ----------
    index
        Label value in the images.
    name, abbreviation
        As in the table; left and right regions share an abbreviation in CATNIP's v4 to v7.
    color
        ``#rrggbb`` in lower case.
    extra
        What else the table knows, by its own column names (structure_order, parent_id, ...).
    """

    index: int
    name: str
    abbreviation: str | None = None
    color: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @classmethod
    def unlisted(cls, index: int) -> Region:
        """Make the region of a label value that no table lists."""
        return cls(index, f"{UNLISTED}_{index}")

    @property
    def is_unlisted(self) -> bool:
        """Whether the name says only that no table lists it."""
        return self.name == Region.unlisted(self.index).name


@dataclass(frozen=True)
class AtlasTable:
    """The regions of one atlas by their index, in its order; and CATNIP's version of it."""

    regions: dict[int, Region]
    version: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", dict(sorted(self.regions.items())))

    @classmethod
    def from_counts(cls, rows: Iterable[RegionCount], version: str | None = None) -> AtlasTable:
        """Make the table that a counts CSV implies: names and abbreviations, no colours."""
        return cls({row.index: Region(row.index, row.name, row.abbreviation) for row in rows}, version)

    def region_of(self, value: int) -> Region:
        """Return the region of a label value, also if it is not listed."""
        return self.regions.get(value) or Region.unlisted(value)

    def unlisted_values(self, values: Iterable[int]) -> list[int]:
        """Return the label values that the table does not list, ascending; 0 is none."""
        return sorted(set(values) - set(self.regions) - {0})

    def same_atlas_as(self, other: AtlasTable) -> bool:
        """Whether the smaller table is a part of the larger: each of its ids has the same name there.

        Names are compared as CATNIP writes them into its CSVs. An empty table is part of none.
        """
        smaller, larger = sorted((self.regions, other.regions), key=len)
        return bool(smaller) and all(
            index in larger and _csv_name(region.name) == _csv_name(larger[index].name)
            for index, region in smaller.items()
        )

    def merged_with(self, other: AtlasTable) -> AtlasTable:
        """Unite two tables of the same atlas; what this one does not know comes from the other.

        Raises
        ------
        ValueError
            If the tables have different names for one id: they are not of the same atlas.
        """
        regions = {**other.regions, **self.regions}
        for index in self.regions.keys() & other.regions.keys():
            regions[index] = _merged(self.regions[index], other.regions[index])
        return AtlasTable(regions, self.version or other.version)


def read_atlas_table(path: Path) -> AtlasTable:
    """Read an ``atlas_info.txt`` of CATNIP v1 to v9, or a BIDS ``dseg.tsv``.

    The version is taken from the folder the file is in (``atlas_v2``).

    Raises
    ------
    SourceError
        If the file cannot be read, is no atlas table or has no rows; if a row has the wrong number
        of fields, an id that is no number or was there before, no name, or an impossible colour.
    """
    header, *lines = read_lines(path) or [""]
    delimiter = "\t" if "\t" in header else ","
    columns = [_SYNONYMS.get(name.strip().lower(), name.strip()) for name in header.split(delimiter)]
    columns = [name.lower() if name.lower() in _OWN_COLUMNS else name for name in columns]
    if columns[:2] != [_INDEX, _NAME]:
        raise SourceError(
            f"{path}, line 1: is not that of an atlas table, whose first columns are id and name; "
            "give CATNIP's atlas_info.txt or a dseg.tsv"
        )
    regions: dict[int, Region] = {}
    for number, line in enumerate(lines, start=2):
        fields = [text.strip() for text in line.split(delimiter)]
        try:
            if number == 2:
                columns = _true_columns(columns, len(fields))
            region = _region(columns, fields)
            if region.index in regions:
                raise ValueError(f"region {region.index} is there twice")
        except ValueError as error:
            raise SourceError(f"{path}, line {number}: {error}; {_REMEDY}") from None
        regions[region.index] = region
    if not regions:
        raise SourceError(f"{path}: has no rows; give CATNIP's atlas_info.txt or a dseg.tsv")
    folder = _ATLAS_FOLDER.fullmatch(path.absolute().parent.name)
    return AtlasTable(regions, folder[1] if folder else None)


def _true_columns(columns: Sequence[str], n_fields: int) -> list[str]:
    """Columns of the rows, which CATNIP's own header does not always name correctly.

    The header of v4 forgets the acronym (8 names over 9 fields), that of v9 names one which no row
    has (3 over 2).
    """
    if n_fields == len(columns) + 1 and _ABBREVIATION not in columns:
        return [*columns[:2], _ABBREVIATION, *columns[2:]]
    if n_fields == 2 and list(columns) == [_INDEX, _NAME, _ABBREVIATION]:
        return [_INDEX, _NAME]
    return list(columns)


def _region(columns: Sequence[str], fields: Sequence[str]) -> Region:
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} fields instead of the {len(columns)} of the table")
    known = {key: text for key, text in zip(columns, fields, strict=True) if text not in _UNKNOWN}
    index = whole_number(fields[0], "id")
    if index < 0:
        raise ValueError(f"the id {index} is negative")
    if _NAME not in known:
        raise ValueError(f"region {index} has no name")
    return Region(
        index=index,
        name=known[_NAME],
        abbreviation=known.get(_ABBREVIATION),
        color=_color(known),
        extra={key: text for key, text in known.items() if key not in _OWN_COLUMNS},
    )


def _color(known: Mapping[str, str]) -> str | None:
    if _COLOR in known:
        color = known[_COLOR].lower()
        if not _HEX_COLOR.fullmatch(color):
            raise ValueError(f"the colour {known[_COLOR]!r} is not of the form #rrggbb")
        return color
    if not any(name in known for name in _RGB):
        return None
    rgb = [whole_number(known.get(name, ""), name) for name in _RGB]
    if min(rgb) < 0 or max(rgb) > 255:
        raise ValueError(f"the colour {rgb} is out of the range 0 to 255")
    return _hex_color(rgb)


def _hex_color(rgb: Sequence[int]) -> str:
    return "#" + bytes(rgb).hex()


def _csv_name(name: str) -> str:
    """Return a name as CATNIP writes it into its CSVs: blanks become ``_``, commas go."""
    return name.strip().replace(" ", "_").replace(",", "")


def _merged(one: Region, other: Region) -> Region:
    if _csv_name(one.name) != _csv_name(other.name):
        raise ValueError(f"id {one.index} is {one.name} in one table and {other.name} in the other")
    return Region(
        index=one.index,
        name=one.name,
        abbreviation=one.abbreviation or other.abbreviation,
        color=one.color or other.color,
        extra={**other.extra, **one.extra},
    )
