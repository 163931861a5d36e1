"""Ways to damage a file of a dataset, for tables of damages and what must be found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Path], object]

RAW = "sub-45670ko_sample-LeftHemisphere_stain-cFos_SPIM"
RAW_ZARR = f"sub-45670ko/micr/{RAW}.ome.zarr"
"""OME-Zarr 0.5 with an embedded label image; its levels have shards."""
_DERIVED = "derivatives/catnip/sub-45670ko/micr/sub-45670ko_sample-LeftHemisphere_stain-cFos"
FRST = f"{_DERIVED}_desc-FRST_SPIM"
"""OME-Zarr 0.4."""
ATLAS = f"{_DERIVED}_space-orig_desc-atlas_SPIM"
"""OME-Zarr 0.5, a label image."""
HEATMAP = f"{_DERIVED}_space-CATNIPv2_desc-heatmap10000_SPIM"
"""Classic OME-TIFF."""
BIG_HEATMAP = f"{_DERIVED}_space-CATNIPv2_desc-heatmap15000_SPIM"
"""BigTIFF."""


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the content of a JSON file in place."""

    def damage(dataset: Path) -> None:
        content = json.loads((dataset / name).read_text(encoding="utf-8"))
        change(content)
        (dataset / name).write_text(json.dumps(content), encoding="utf-8")

    return damage


def set_key(name: str, key: str, value: object) -> Damage:
    """Set a key of a JSON file."""
    return edit_json(name, lambda content: content.update({key: value}))


def write(name: str, text: str) -> Damage:
    """Write a file, new or over an old one."""

    def damage(dataset: Path) -> None:
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_text(text, encoding="utf-8")

    return damage


def append(name: str, text: str) -> Damage:
    """Add text to the end of a file."""
    return lambda dataset: (dataset / name).write_text((dataset / name).read_text(encoding="utf-8") + text)


def replace(name: str, old: str, new: str) -> Damage:
    """Replace bytes of a file by others; the file must have them."""

    def damage(dataset: Path) -> None:
        content = (dataset / name).read_bytes()
        assert old.encode() in content
        (dataset / name).write_bytes(content.replace(old.encode(), new.encode()))

    return damage


def remove(name: str) -> Damage:
    """Remove a file."""
    return lambda dataset: (dataset / name).unlink()


def truncate(name: str, n_bytes: int) -> Damage:
    """Cut bytes off the end of a file."""
    return lambda dataset: (dataset / name).write_bytes((dataset / name).read_bytes()[:-n_bytes])


def move_and_link(name: str) -> Damage:
    """Move a file or folder out of the dataset and leave a link in its place."""

    def damage(dataset: Path) -> None:
        outside = dataset.parent / f"outside-{Path(name).name}"
        (dataset / name).rename(outside)
        (dataset / name).symlink_to(outside)

    return damage
