"""Tables with the names and colours of the regions of an atlas, in all forms that CATNIP has used.

Invariant: an id keeps the name in its own table; only tables that agree on the names are merged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from catnip2bids.catnip.component_type import Content
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.catnip.counts import RegionCount
from catnip2bids.delimited import Lines, Row, TableKind, Warn, ignore, read_lines, read_text
from catnip2bids.errors import SourceError

_INDEX, _NAME, _ABBREVIATION, _COLOR = "index", "name", "abbreviation", "color"
_RGB = ("red", "green", "blue")
_REMEDY = "use the atlas_info.txt of the CATNIP atlas as it is, or correct this line"
_KIND = TableKind(
    what="an atlas table",
    columns={
        _INDEX: ("id", "index", "label_id"),
        _NAME: ("name",),
        _ABBREVIATION: ("acronym", "abbreviation"),
        _COLOR: ("color", "colour", "color_hex_triplet", "hex"),
        **{channel: (channel, channel[0]) for channel in _RGB},
    },
    required=(_INDEX, _NAME),
    remedy="give CATNIP's atlas_info.txt, a dseg.tsv, or a label file of ITK-SNAP",
)
_V4_HEADER = ("id", "name", "red", "green", "blue", "structure_order", "parent_id", "parent_acronym")
"""Header of CATNIP's v4, which forgets the acronym, the third of nine fields of its rows."""
COLUMNS_OF_CATNIP = _V4_HEADER[-3:]
"""Other columns of CATNIP's tables than ids, names and colours."""
_V9_HEADER = ("id", "name", "acronym")
"""Header of CATNIP's v9, whose rows have no acronym."""
_ITK_SNAP = re.compile(r"\s*([0-9]{1,9})" + r"\s+([0-9]{1,9})" * 3 + r'(?:\s+[0-9.]+){3}\s+"(.*)"\s*')
"""A line of a label file of ITK-SNAP: id, red, green, blue, opacity, two flags, name."""

_UNKNOWN = frozenset({"", "n/a"})
_HEX_COLOR = re.compile(r"#(?:[0-9a-f]{3}){1,2}|[0-9a-f]{6}", re.IGNORECASE)
_FRACTION = re.compile(r"0?\.[0-9]+|[01](?:\.[0-9]*)?")
_ATLAS_FOLDER = re.compile(r"atlas_(v[0-9]+)")
ATLAS_VOXEL_SIZE_UM = 25.0
"""Isotropic voxel size of all atlases: pixdim of their volumes."""
ATLAS_LABELS = tuple(row.role for row in COMPONENTS if row.content == Content.LABELS)
"""Roles of all atlas labels, those of the whole image first."""
_SAME_TABLE = frozenset({"v1", "v2", "v3"})
"""Versions of CATNIP's atlas with the same table of regions."""
UNLISTED = "unlisted"
"""Prefix of the names of label values that no table lists."""


@dataclass(frozen=True)
class Region:
    """One region of an atlas."""

    index: int  # label value in the images
    name: str
    abbreviation: str | None = None  # left and right regions share it in CATNIP's v4 to v7
    color: str | None = None  # ``#rrggbb`` in lower case
    # other columns of the table, such as structure_order and parent_id
    extra: dict[str, str] = field(default_factory=dict)

    @classmethod
    def unlisted(cls, index: int) -> Region:
        """Return the region of a label value that no table lists."""
        return cls(index, f"{UNLISTED}_{index}")

    @property
    def is_unlisted(self) -> bool:
        """Whether no table lists it, so that its name is a placeholder."""
        return self.name == Region.unlisted(self.index).name


@dataclass(frozen=True)
class AtlasTable:
    """The regions of one atlas by ascending index, and its version in CATNIP.

    Two tables contradict each other if an id has two names, or if they share none: they are of different atlases.
    They are of the same atlas if they do not, and one has all ids of the other. Tables that partly overlap may be of
    one atlas or two, and are kept apart.
    """

    regions: dict[int, Region]
    version: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", dict(sorted(self.regions.items())))

    @classmethod
    def from_counts(cls, rows: Iterable[RegionCount]) -> AtlasTable:
        """Return the names and abbreviations in a table of counts as an atlas table without colours."""
        return cls({row.index: Region(row.index, row.name, row.abbreviation) for row in rows})

    def region_of(self, value: int) -> Region:
        """Return the region of a label value; an unlisted one if the table lacks it."""
        return self.regions.get(value) or Region.unlisted(value)

    def unlisted_values(self, values: Iterable[int]) -> list[int]:
        """Return the label values other than 0 that the table does not list, ascending."""
        return sorted(set(values) - set(self.regions) - {0})

    def same_atlas_as(self, other: AtlasTable) -> bool:
        """Whether each id of the smaller table has the same name in the larger one; an empty table is of no atlas."""
        smaller, larger = sorted((self.regions, other.regions), key=len)
        return bool(smaller) and smaller.keys() <= larger.keys() and self.contradiction(other) is None

    def contradiction(self, other: AtlasTable) -> str | None:
        """Say why two tables cannot be of one atlas; None if they can be, or one is empty.

        Names are compared as CATNIP writes them into its CSVs.
        """
        shared = sorted(self.regions.keys() & other.regions.keys())
        if not shared and self.regions and other.regions:
            return "they have no region in common"
        for index in shared:
            one, two = self.regions[index].name, other.regions[index].name
            if _csv_name(one) != _csv_name(two):
                return f"region {index} is {one} in one and {two} in the other"
        return None

    def edited_otherwise(self, other: AtlasTable) -> list[str]:
        """List the regions of which both tables of an atlas know a colour, abbreviation or column, and differ."""
        pairs = [(region, other.regions[index]) for index, region in self.regions.items() if index in other.regions]
        return [
            f"{one.index} {one.name}"
            for one, two in pairs
            if replace(_merged(one, two), name="") != replace(_merged(two, one), name="")
        ]

    def merged_with(self, other: AtlasTable) -> AtlasTable:
        """Merge two tables of the same atlas; this one takes precedence."""
        regions = {**other.regions, **self.regions}
        for index in self.regions.keys() & other.regions.keys():
            regions[index] = _merged(self.regions[index], other.regions[index])
        return AtlasTable(regions, self.version or other.version)


def may_have_same_table(version: str | None, other: str | None) -> bool:
    """Tell whether two versions of CATNIP's atlas may have the same table; None is an unknown version."""
    return None in (version, other) or version == other or {version, other} <= _SAME_TABLE


def read_atlas_table(path: Path, warn: Warn = ignore) -> AtlasTable:
    """Read an ``atlas_info.txt`` of CATNIP v1 to v9, a BIDS ``dseg.tsv``, or a label file of ITK-SNAP.

    Columns are found by their names, in any order. The version is taken from the folder of the file (``atlas_v2``).

    Raises
    ------
    SourceError
        If the file cannot be read, is not an atlas table or has no rows; if a row has the wrong number of fields, an
        invalid or repeated id, no name, or an ambiguous colour.
    """
    text = read_text(path, warn)
    regions = _itk_snap_regions(path, text) or _regions(path, text)
    folder = _ATLAS_FOLDER.fullmatch(path.absolute().parent.name)
    return AtlasTable(regions, folder[1] if folder else None)


def _itk_snap_regions(path: Path, text: str) -> dict[int, Region]:
    """Read the regions of a label file of ITK-SNAP; return none for other files."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines or not _ITK_SNAP.fullmatch(lines[0][1]):
        return {}
    regions: dict[int, Region] = {}
    for number, line in lines:
        found = _ITK_SNAP.fullmatch(line)
        index, *rgb = [int(value) for value in found.groups()[:4]] if found else [-1]
        if found is None or not found[5].strip() or max(rgb) > 255 or index in regions:
            what = 'is not an id that is new, three colours up to 255, three numbers and a "name"'
            raise SourceError(f"{path}, line {number}: {what}; save the labels again in ITK-SNAP")
        regions[index] = Region(index, found[5].strip(), color=_hex_color(rgb))
    return {index: region for index, region in regions.items() if index}  # 0 is the background


def _regions(path: Path, text: str) -> dict[int, Region]:
    lines = _corrected_header(read_lines(path, text, _KIND))
    if channels := [name for name in _RGB if name in map(str.lower, lines.header)]:
        missing = [name for name in _RGB if name not in channels]
        if missing:
            what = f"has a column {channels[0]} and no column {missing[0]}; add it, or leave out all three"
            raise SourceError(f"{path}, line {lines.header_line}: {what}")
    rows = lines.named(_KIND)
    if not rows:
        raise SourceError(f"{path}: has no rows; {_KIND.remedy}")
    _refuse_fractions(rows)
    regions: dict[int, Region] = {}
    for row in rows:
        region = _region(row)
        if region.index in regions:
            raise row.error(_INDEX, f"region {region.index} is there twice; {_REMEDY}")
        regions[region.index] = region
    return regions


def _corrected_header(lines: Lines) -> Lines:
    """Correct the two headers of CATNIP that do not fit the fields of their rows."""
    names = tuple(name.lower() for name in lines.header if name)
    n_fields = {len(fields) for _, fields in lines.rows}
    if names == _V4_HEADER and lines.header[: len(names)] == tuple(filter(None, lines.header)) and 9 in n_fields:
        return replace(lines, header=(*names[:2], "acronym", *names[2:]))
    if names == _V9_HEADER and n_fields == {2}:
        return replace(lines, header=lines.header[:2])
    return lines


def _refuse_fractions(rows: Sequence[Row]) -> None:
    """Refuse colours from 0 to 1, which would be black on a scale to 255."""
    values = {row.values.get(name, "") for row in rows for name in _RGB} - _UNKNOWN
    if all(map(_FRACTION.fullmatch, values)) and any(map(float, values)):
        raise rows[0].error(_RGB[0], "colours go from 0 to 1 only; write them as 0 to 255")


def _region(row: Row) -> Region:
    index, name = row.integer(_INDEX), row.text(_NAME)
    # only images have negative labels, and packaging lists those in its own table
    if index is None or (index < 0 and name != Region.unlisted(index).name):
        raise row.error(_INDEX, f"{row.values[_INDEX]!r} is not the id of a region; {_REMEDY}")
    if name is None:
        raise row.error(_NAME, f"region {index} has no name; {_REMEDY}")
    extra = {key: text for key, text in row.values.items() if key not in _KIND.columns and text not in _UNKNOWN}
    return Region(index, name, row.text(_ABBREVIATION), _color(row), extra)


def _color(row: Row) -> str | None:
    by_name, by_channels = row.text(_COLOR), _color_of_channels(row)
    if by_name is None:
        return by_channels
    if not _HEX_COLOR.fullmatch(by_name):
        raise row.error(_COLOR, f"the colour {by_name!r} is not of the form #rrggbb; correct it, or leave it empty")
    digits = by_name.lower().removeprefix("#")
    color = "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))
    if by_channels not in (None, color):
        raise row.error(_COLOR, f"the colour {by_name!r} is not {by_channels} as red, green and blue; correct one")
    return color


def _color_of_channels(row: Row) -> str | None:
    if not any(row.text(name) for name in _RGB):
        return None
    rgb = []
    for name in _RGB:
        value = row.integer(name)
        if value is None or not 0 <= value <= 255:
            raise row.error(name, f"{row.values[name]!r} is out of the range 0 to 255; {_REMEDY}")
        rgb.append(value)
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
