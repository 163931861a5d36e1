"""OME-Zarr metadata of an image: axes, scales, display window and label colours.

Invariant: documents follow the sections "multiscales", "omero" and "image-label" of OME-Zarr 0.4 and 0.5, which differ
only in the place of the version. An image has "omero" or "image-label", never both, because napari's reader fails on
images with both.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.ome.downsampling import DOWNSAMPLING, RULES
from catnip2bids.ome.levels import Level

_DARKEST, _BRIGHTEST = 1.0, 99.8  # percentiles of the display window
_LARGEST_EXACT = 2**23  # consecutive numbers from here on may be equal in float32
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_LIGHTNESSES = (0.42, 0.52, 0.62)
_SATURATIONS = (0.60, 0.75, 0.90)


@dataclass(frozen=True)
class LabelValue:
    """Name and colour of one value of a label image."""

    value: int
    name: str
    abbreviation: str | None
    color: str  # #rrggbb


@dataclass(frozen=True)
class Display:
    """How viewers show the image at first."""

    channel: str
    smallest: float  # value of level 0
    largest: float
    start: float  # shown as black
    end: float  # shown as white


def color_of_label(index: int) -> str:
    """Return the default colour ``#rrggbb`` of a label value, which is always the same.

    Hues advance by the golden ratio, so that neighbouring ids look different; the lightness suits black and white
    backgrounds.
    """
    hue = index * _GOLDEN_RATIO % 1
    lightness = _LIGHTNESSES[index % 3]
    saturation = _SATURATIONS[index // 3 % 3]
    return "#" + bytes(round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation)).hex()


def choose_display(
    channel: str, kind: Kind, value_range: tuple[float, float], smallest_level: npt.NDArray[Any]
) -> Display:
    """Choose the display window: percentiles of the smallest level for intensities, else the whole range.

    The ends are finite and different for all values, since viewers divide by their distance.
    """
    smallest, largest = ends_apart(*value_range)
    start, end = smallest, largest
    finite = smallest_level[np.isfinite(smallest_level)]
    if kind == Kind.IMAGE and finite.size and finite.dtype.kind != "b":  # black and white have no percentiles
        # no interpolation, which would overflow between the extremes of a type
        low, high = np.percentile(finite, [_DARKEST, _BRIGHTEST], method="inverted_cdf")
        if float(low) < float(high):
            start, end = float(low), float(high)
    return Display(channel, smallest, largest, start, end)


def display_of(channel: str, values: npt.NDArray[Any]) -> Display:
    """Choose the display of intensities by some of their values."""
    finite = values[np.isfinite(values)]
    value_range = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return choose_display(channel, Kind.IMAGE, value_range, finite)


def ends_apart(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a range; if they are equal, move one so that they differ as float32 in viewers."""
    if low < high:
        return low, high
    return (low, low + 1) if abs(low) < _LARGEST_EXACT else (min(low, 0.0), max(low, 0.0))


def is_label_type(dtype: npt.DTypeLike) -> bool:
    """Return whether OME-Zarr allows label images of a type: only integers (section "labels")."""
    return np.dtype(dtype).kind in "iu"


def image_metadata(
    name: str, levels: Sequence[Level], kind: Kind, values: Display | Sequence[LabelValue]
) -> dict[str, Any]:
    """Return the metadata of an image, without the version of OME-Zarr.

    `values` is the display window of an intensity image, or the values of a label image.
    """
    method = DOWNSAMPLING[kind]
    document: dict[str, Any] = {
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
                "datasets": [
                    {
                        "path": str(level.index),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": list(level.scale_um)},
                            {"type": "translation", "translation": list(level.translation_um)},
                        ],
                    }
                    for level in levels
                ],
                "type": method,
                "metadata": {
                    "method": "catnip2bids.ome.downsample",
                    "args": [method],
                    "description": f"each level is made from the one before it: {RULES[kind]}",
                },
            }
        ]
    }
    if isinstance(values, Display):
        return document | {"omero": _omero(name, values)}
    return document | {"image-label": image_label(values)}


def group_attributes(document: dict[str, Any], version: OmeZarrVersion) -> dict[str, Any]:
    """Add the version where OME-Zarr `version` has it; returns the attributes of the image's Zarr group."""
    if version == OmeZarrVersion.V05:
        return {"ome": {"version": version.value, **document}}
    attributes = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
    if "multiscales" in attributes:
        attributes["multiscales"] = [{**image, "version": version.value} for image in document["multiscales"]]
    for section in ("omero", "image-label"):
        if section in attributes:
            attributes[section]["version"] = version.value
    return attributes


def _omero(name: str, display: Display) -> dict[str, Any]:
    window = {"min": display.smallest, "max": display.largest, "start": display.start, "end": display.end}
    channel = {
        "label": display.channel,
        "color": "FFFFFF",
        "active": True,
        "coefficient": 1,
        "family": "linear",
        "inverted": False,
        "window": window,
    }
    return {
        "id": 1,
        "name": name,
        "channels": [channel],
        "rdefs": {"defaultT": 0, "defaultZ": 0, "model": "greyscale"},
    }


def image_label(labels: Sequence[LabelValue]) -> dict[str, Any]:
    """Return the section "image-label": names and colours of label values."""
    colors, properties = [], []
    for label in sorted(labels, key=lambda label: label.value):
        red, green, blue = bytes.fromhex(label.color.removeprefix("#"))
        colors.append({"label-value": label.value, "rgba": [red, green, blue, 255]})
        entry: dict[str, Any] = {"label-value": label.value, "name": label.name}
        if label.abbreviation is not None:
            entry["abbreviation"] = label.abbreviation
        properties.append(entry)
    return {"colors": colors, "properties": properties} if labels else {}  # the specification allows no empty lists


def write_group(folder: Path, attributes: dict[str, Any], version: OmeZarrVersion) -> None:
    """Write the metadata of a Zarr group: ``zarr.json``, or ``.zgroup`` and ``.zattrs`` for 0.4."""
    folder.mkdir(parents=True, exist_ok=True)
    name, content = attributes_file(attributes, version)
    write_json(folder / name, content)
    if version == OmeZarrVersion.V04:
        write_json(folder / ".zgroup", {"zarr_format": 2})


def write_labels_group(folder: Path, names: list[str], version: OmeZarrVersion) -> None:
    """Write the metadata of a ``labels`` group with label images of these names."""
    write_group(folder, group_attributes({"labels": names}, version), version)


def attributes_file(attributes: dict[str, Any], version: OmeZarrVersion) -> tuple[str, dict[str, Any]]:
    """Return the name and the content of the file that holds the attributes of a group."""
    if version == OmeZarrVersion.V05:
        return "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return ".zattrs", attributes


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document of Zarr."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
