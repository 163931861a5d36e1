"""The OME part of an image: axes, scales, display window, label colours, as OME-Zarr writes them.

Invariant: what stands here is a document of the OME-Zarr specification, sections "multiscales", "omero" and
"image-label" of versions 0.4 and 0.5, which differ only in where the version stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.choices import Kind, OmeZarrVersion
from catnip2bids.ome.merging import DOWNSAMPLING
from catnip2bids.ome.pyramid import Level

_DARKEST, _BRIGHTEST = 1.0, 99.8  # percentiles of the display window


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
    """Choose the display window: for intensities from the pixels of the smallest level, else the whole range."""
    smallest, largest = value_range
    start, end = value_range
    finite = smallest_level[np.isfinite(smallest_level)]
    if kind == Kind.IMAGE and finite.size and finite.dtype.kind != "b":  # black and white have no percentiles
        start, end = (float(value) for value in np.percentile(finite, [_DARKEST, _BRIGHTEST]))
    if not start < end:
        start, end = smallest, max(largest, smallest + 1)
    return Display(channel, smallest, max(largest, smallest + 1), start, end)


def image_metadata(
    name: str,
    levels: Sequence[Level],
    kind: Kind,
    display: Display,
    labels: Sequence[LabelValue] = (),
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
    display
        The display window.
    labels
        The values that occur in a label image or mask; none for intensities.
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
                    "method": "tensorstore.downsample",
                    "args": [method],
                    "description": "each level is made from the one before it",
                },
            }
        ],
        "omero": _omero(name, display),
    }
    if labels:
        document["image-label"] = _image_label(labels)
    return document


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
    return {"colors": colors, "properties": properties}
