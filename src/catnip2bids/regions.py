"""Regions of an atlas as pages and the viewer show them.

Invariant: a region has the same colour and name everywhere, with blanks instead of CATNIP's underscores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.bids.dataset_paths import DERIVATIVE
from catnip2bids.bids.provenance import PROVENANCE, RunRecord
from catnip2bids.bids.tables import UNKNOWN, Row, read_number, read_rows
from catnip2bids.catnip.atlas import UNLISTED, Region
from catnip2bids.ome import color_of_label
from catnip2bids.paths import inside

_COLOR = re.compile("#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class DisplayedRegion:
    """A region of the atlas: label value, name, abbreviation (may be empty) and colour ``#rrggbb``."""

    index: int
    name: str
    abbreviation: str
    color: str

    @property
    def short_name(self) -> str:
        """The abbreviation, or the name where there is none."""
        return self.abbreviation or self.name


@dataclass(frozen=True)
class RegionHierarchy:
    """The parents of the regions of an atlas; `catnip2bids.region_hierarchy` adds up numbers by them."""

    parents: Mapping[int, int]  # the index of the parent of each region or group that has one
    groups: Mapping[int, DisplayedRegion]  # parents that no label value stands for


OTHER_LABELS = DisplayedRegion(-1, UNLISTED, "", "#888888")
"""Label values that are not in the record of the image; they share a name and a colour."""


def region_of(regions: Mapping[int, DisplayedRegion], index: int) -> DisplayedRegion:
    """Return the region of a label value; one with a default name and colour if the table does not list it."""
    return regions.get(index) or DisplayedRegion(index, _shown(Region.unlisted(index).name), "", color_of_label(index))


def displayed_regions(dataset: Path, run: RunRecord) -> dict[int, DisplayedRegion]:
    """Read the regions of a run by label value, from its atlas table in the dataset; none if it has no table.

    Raises DatasetError if the table cannot be read.
    """
    if run.atlas_table is None:
        return {}
    path = dataset / DERIVATIVE / inside(run.atlas_table, PROVENANCE.name)
    regions = (_region(path, row) for row in read_rows(path, "index", "name"))
    return {region.index: region for region in regions}


def read_hierarchy(dataset: Path, run: RunRecord) -> RegionHierarchy:
    """Read the parents of the regions of a run; none if the dataset has no table of them.

    Raises DatasetError if the table cannot be read.
    """
    parents: dict[int, int] = {}
    groups: dict[int, DisplayedRegion] = {}
    if run.region_table is not None:
        path = dataset / inside(run.region_table, PROVENANCE.name)
        for row in read_rows(path, "index", "name", "abbreviation", "parent", "color"):
            region = _region(path, row)
            if row["parent"] != UNKNOWN:
                parents[region.index] = read_number(path, row["parent"])
            if row["color"] == UNKNOWN:
                groups[region.index] = region
    return RegionHierarchy(parents, groups)


def _region(path: Path, row: Row) -> DisplayedRegion:
    """Return the region of a row; its colour is generated if the table has none."""
    index, abbreviation, color = read_number(path, row["index"]), row.get("abbreviation", UNKNOWN), row.get("color", "")
    return DisplayedRegion(
        index,
        _shown(row["name"]),
        "" if abbreviation == UNKNOWN else abbreviation,
        color if _COLOR.fullmatch(color) else color_of_label(index),
    )


def _shown(name: str) -> str:
    return name.replace("_", " ")
