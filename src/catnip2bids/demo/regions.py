"""The regions of the made-up brain: an atlas of a few rows.

Ids and names are from the Allen mouse brain atlas as CATNIP numbers it: with gaps, above 12000, and with ``/`` in names
and acronyms. Colours are our own, chosen to distinguish neighbours.

Invariant: `REGIONS` is sorted by id, as CATNIP's tables are, and also lists regions that the brain lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple


class Region(NamedTuple):
    """One row of the atlas table, and the appearance of the region in the made-up brain."""

    id: int  # value in the label image
    name: str  # as in CATNIP's tables, without blanks and commas
    acronym: str
    rgb: tuple[int, int, int]
    structure_order: int
    parent_id: int | None  # None for the root
    parent_acronym: str
    brightness: int = 0  # tissue intensity in counts
    cell_density: float = 0.0  # cells per volume, relative to the other regions


_SOMATOSENSORY: Final = "Primary_somatosensory_area_unassigned_layers"

REGIONS: Final = (
    Region(73, "ventricular_systems", "VS", (170, 170, 170), 115800, 997, "root"),
    Region(313, "Midbrain", "MB", (200, 120, 220), 78500, 343, "BS", 620, 0.6),
    Region(354, "Medulla", "MY", (255, 160, 176), 89400, 1065, "HB", 470, 0.2),
    Region(382, "Field_CA1", "CA1", (126, 208, 75), 37700, 375, "CA", 900, 2.4),
    Region(507, "Main_olfactory_bulb", "MOB", (154, 210, 189), 30000, 698, "OLF", 980, 1.6),
    Region(549, "Thalamus", "TH", (255, 112, 128), 63500, 1129, "IB", 660, 0.5),
    Region(648, "Primary_motor_area_Layer_5", "MOp5", (94, 172, 111), 1800, 985, "MOp", 760, 0.7),
    Region(672, "Caudoputamen", "CP", (120, 180, 240), 48200, 485, "STRd", 560, 0.5),
    Region(771, "Pons", "P", (255, 155, 100), 84700, 1065, "HB", 520, 0.3),
    Region(776, "corpus_callosum", "cc", (216, 216, 216), 106100, 983, "lfbs", 330, 0.0),
    Region(778, "Primary_visual_area_layer_5", "VISp5", (60, 130, 177), 16600, 385, "VISp", 780, 0.9),
    Region(821, "Primary_visual_area_layer_2/3", "VISp2/3", (20, 90, 150), 16400, 385, "VISp", 940, 2.8),
    Region(943, "Primary_motor_area_layer_2/3", "MOp2/3", (31, 125, 60), 1700, 985, "MOp", 900, 1.4),
    Region(961, "Piriform_area", "PIR", (160, 235, 140), 33600, 698, "OLF", 840, 1.8),
    Region(997, "root", "root", (255, 255, 255), 0, None, ""),
    Region(1007, "Simple_lobule", "SIM", (240, 225, 110), 59700, 1073, "HEM", 860, 0.3),
    Region(1097, "Hypothalamus", "HY", (230, 68, 56), 70000, 1129, "IB", 700, 1.2),
    Region(12001, f"{_SOMATOSENSORY}_1-3", "SSp-un_1-3", (0, 140, 130), 359, 322, "SSp", 920, 1.1),
    Region(12002, f"{_SOMATOSENSORY}_4-6", "SSp-un_4-6", (84, 196, 190), 360, 322, "SSp", 800, 0.6),
)
"""All regions of the made-up atlas."""

_ATLAS_COLUMNS = ("id", "name", "acronym", "red", "green", "blue", "structure_order", "parent_id", "parent_acronym")


def write_atlas_table(path: Path) -> None:
    """Write the regions as CATNIP's ``atlas_info.txt`` of atlas v1, and create the folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(atlas_table_text(), encoding="ascii", newline="")


def atlas_table_text() -> str:
    """Return the text of the atlas table: nine columns, comma separated, CRLF."""
    rows: list[tuple[object, ...]] = [_ATLAS_COLUMNS]
    for region in REGIONS:
        parent_id = "" if region.parent_id is None else region.parent_id
        rows.append((*region[:3], *region.rgb, region.structure_order, parent_id, region.parent_acronym))
    return "".join(",".join(map(str, row)) + "\r\n" for row in rows)
