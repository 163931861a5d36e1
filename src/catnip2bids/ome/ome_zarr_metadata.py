"""The OME part of an image: axes, scales, display window, label colours, as OME-Zarr writes them.

Invariant: what stands here is a document of the OME-Zarr specification, sections "multiscales", "omero" and
"image-label" of versions 0.4 and 0.5, which differ only in where the version stands. An image has "omero" or
"image-label", never both: napari's reader fails on them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.ome.downsampling import DOWNSAMPLING, RULES
from catnip2bids.ome.levels import Level

_DARKEST, _BRIGHTEST = 1.0, 99.8  # percentiles of the display window
_LARGEST_EXACT = 2**23  # from here on float32 may not tell a number from the next one


@dataclass(frozen=True)
class LabelValue:
    """Name and colour of one value of a label image.

    Attributes
    ----------
    value
        The label value.
    name, abbreviation
        What it stands for; the abbreviation may be missing.
    color
        ``#rrggbb``.
    """

    value: int
    name: str
    abbreviation: str | None
    color: str


@dataclass(frozen=True)
class Display:
    """How a viewer should first show the image.

    Attributes
    ----------
    channel
        Name of the channel.
    smallest, largest
        Range of the values of level 0.
    start, end
        The values shown as black and as white.
    """

    channel: str
    smallest: float
    largest: float
    start: float
    end: float


def choose_display(
    channel: str, kind: Kind, value_range: tuple[float, float], smallest_level: npt.NDArray[Any]
) -> Display:
    """Choose the display window: for intensities from the pixels of the smallest level, else the whole range.

    Ends are finite and apart, whatever the values are, since viewers divide by their distance.
    """
    smallest, largest = ends_apart(*value_range)
    start, end = smallest, largest
    finite = smallest_level[np.isfinite(smallest_level)]
    if kind == Kind.IMAGE and finite.size and finite.dtype.kind != "b":  # black and white have no percentiles
        # values that occur: to interpolate between the extremes of a type would overflow
        low, high = np.percentile(finite, [_DARKEST, _BRIGHTEST], method="inverted_cdf")
        if float(low) < float(high):
            start, end = float(low), float(high)
    return Display(channel, smallest, largest, start, end)


def ends_apart(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a range, and of an empty one ends that a viewer can tell apart as float32."""
    if low < high:
        return low, high
    return (low, low + 1) if abs(low) < _LARGEST_EXACT else (min(low, 0.0), max(low, 0.0))


def is_label_type(dtype: npt.DTypeLike) -> bool:
    """Tell whether OME-Zarr allows label images of a type: only integers (section "labels")."""
    return np.dtype(dtype).kind in "iu"


def image_metadata(
    name: str, levels: Sequence[Level], kind: Kind, values: Display | Sequence[LabelValue]
) -> dict[str, Any]:
    """Describe an image; the result is the same for all versions but for the version itself.

    Parameters
    ----------
    name
        Name of the image.
    levels
        Its resolution levels, level 0 first.
    kind
        Decides how the method of merging is described.
    values
        How the intensities of an image are displayed, or, of a label image, the values that occur.
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
    return document | {"image-label": _image_label(values)}


def group_attributes(document: dict[str, Any], version: OmeZarrVersion) -> dict[str, Any]:
    """Put the version where OME-Zarr `version` has it; returns the attributes of the image's Zarr group."""
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


def _image_label(labels: Sequence[LabelValue]) -> dict[str, Any]:
    colors, properties = [], []
    for label in sorted(labels, key=lambda label: label.value):
        red, green, blue = bytes.fromhex(label.color.removeprefix("#"))
        colors.append({"label-value": label.value, "rgba": [red, green, blue, 255]})
        described: dict[str, Any] = {"label-value": label.value, "name": label.name}
        if label.abbreviation is not None:
            described["abbreviation"] = label.abbreviation
        properties.append(described)
    return {"colors": colors, "properties": properties} if labels else {}  # the specification has no empty lists
