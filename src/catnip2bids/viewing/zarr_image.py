"""OME-Zarr images for the viewer, version 0.4 and 0.5, whoever wrote them: served file by file, as they are.

Invariant: no file leaves that is not, with all links followed, inside of the folder that was opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from catnip2bids.bids.paths import leads_out
from catnip2bids.choices import Kind
from catnip2bids.errors import SourceError
from catnip2bids.ome import LabelValue, choose_display
from catnip2bids.viewing.image import WHITE, Axis, Channel, ViewedImage, check_image

_METERS = {"angstrom": 1e-10, "picometer": 1e-12, "nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3}
_METERS |= {"centimeter": 1e-2, "decimeter": 1e-1, "meter": 1.0}
_SECONDS = {"nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
_UNITS = {name: (factor, "m") for name, factor in _METERS.items()}
_UNITS |= {name: (factor, "s") for name, factor in _SECONDS.items()}
_LARGEST_SAMPLE = 1024
"""Rows and columns that are looked at to choose a contrast, where the metadata tell none."""


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """The folder of an OME-Zarr image.

    Attributes
    ----------
    path
        The image.
    inside
        The folder that links must not lead out of: that of the dataset, or of the image.
    """

    path: Path
    inside: Path

    def __post_init__(self) -> None:
        check_image(self)

    @cached_property
    def zarr_format(self) -> int:
        """Version of Zarr."""
        return 3 if (self.path / "zarr.json").is_file() else 2

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Its axes, with the sizes of level 0."""
        described, shape = self._image["axes"], self._arrays[0].shape
        steps = _product(self._transformations("scale"), len(described), 1.0)
        shifts = _product(self._transformations("translation"), len(described), 0.0)
        if len(described) != len(shape):
            raise SourceError(f"{self.path}: has {len(shape)} axes and describes {len(described)}; mend its metadata")
        axes = []
        for axis, n_voxels, step, shift in zip(described, shape, steps, shifts, strict=True):
            factor, unit = _UNITS.get(axis.get("unit", ""), (1.0, ""))
            axes.append(Axis(axis["name"], axis.get("type", ""), n_voxels, step * factor, unit, shift / step))
        return tuple(axes)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""
        dtype: np.dtype[np.generic] = self._arrays[0].dtype
        return dtype

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """How its channels are shown: by their windows, or else by some of their values."""
        n_channels = next((axis.n_voxels for axis in self.axes if axis.type == "channel"), 1)
        return tuple(self._channel(index) for index in range(n_channels))

    @cached_property
    def labels(self) -> tuple[LabelValue, ...]:
        """Names and colours of label values (OME-Zarr, section "image-label")."""
        described = self._attributes.get("image-label") or {}
        names = {row["label-value"]: row for row in described.get("properties") or ()}
        colors = {row["label-value"]: row.get("rgba") for row in described.get("colors") or ()}
        found = []
        for value in sorted(names.keys() | colors.keys()):
            row, rgba = names.get(value, {}), colors.get(value) or (255, 255, 255)
            color = "#" + bytes(int(part) for part in rgba[:3]).hex()
            found.append(LabelValue(int(value), str(row.get("name", value)), row.get("abbreviation"), color))
        return tuple(found)

    @cached_property
    def label_images(self) -> tuple[ViewedImage, ...]:
        """Label images in its group ``labels``."""
        attributes = _attributes_of(self.path / "labels") if (self.path / "labels").is_dir() else {}
        names = [str(name) for name in attributes.get("labels") or () if not leads_out(str(name))]
        folders = (self.path / "labels" / name for name in names)
        return tuple(ZarrImage(folder, self.inside) for folder in folders if folder.is_dir())

    def read(self, path: str) -> Path | None:
        """Return a file of the image; none for folders, for what is not there, and for what lies outside."""
        if leads_out(path):
            return None
        try:
            file = (self.path / path).resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return file if file.is_file() and file.is_relative_to(self.inside.resolve()) else None

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        return _attributes_of(self.path)

    @cached_property
    def _image(self) -> dict[str, Any]:
        """The first of its multiscales."""
        match self._attributes.get("multiscales"):
            case [{"axes": [{"name": _}, *_], "datasets": [{"path": str()}, *_]} as image, *_]:
                return dict(image)
        raise SourceError(
            f"{self.path}: describes no image of OME-Zarr 0.4 or 0.5 (multiscales); give the folder of an image itself"
        )

    @cached_property
    def _arrays(self) -> list[Any]:
        """Its levels, opened but not read."""
        try:
            return [zarr.open_array(self.path / level["path"], mode="r") for level in self._image["datasets"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{self.path}: its arrays cannot be read ({error}); replace it by the original"
            ) from error

    def _transformations(self, kind: str) -> list[list[float]]:
        """List the vectors of one type of transformation, of level 0 and of the whole image."""
        steps = [self._image["datasets"][0], self._image]
        found = [step for part in steps for step in part.get("coordinateTransformations") or () if step["type"] == kind]
        return [[float(number) for number in step[kind]] for step in found]

    def _channel(self, index: int) -> Channel:
        described = (self._attributes.get("omero") or {}).get("channels") or ()
        channel = described[index] if index < len(described) else {}
        name, color = str(channel.get("label") or index), f"#{channel.get('color') or WHITE[1:]}"
        match channel.get("window"):
            case {"min": smallest, "max": largest, "start": start, "end": end}:
                return Channel(name, color, (float(start), float(end)), (float(smallest), float(largest)))
        display = choose_display(name, Kind.IMAGE, *self._sample(index))
        return Channel(name, color, (display.start, display.end), (display.smallest, display.largest))

    def _sample(self, channel: int) -> tuple[tuple[float, float], np.ndarray[Any, Any]]:
        """Read the middle of the middle plane of the smallest level, and the range of what is there."""
        array = self._arrays[-1]
        place: list[int | slice] = []
        for axis, n_voxels in zip(self.axes, array.shape, strict=True):
            margin = max(n_voxels - _LARGEST_SAMPLE, 0) // 2
            in_plane = axis.name in "yx"
            place.append(slice(margin, n_voxels - margin) if in_plane else n_voxels // 2)
            if axis.type == "channel":
                place[-1] = channel
        values = np.asarray(array[tuple(place)])
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0), values


def _attributes_of(folder: Path) -> dict[str, Any]:
    """Read the part of a group's attributes that is OME's."""
    document = folder / "zarr.json"
    try:
        if document.is_file():
            attributes = json.loads(document.read_bytes()).get("attributes", {}).get("ome", {})
        else:
            document = folder / ".zattrs"
            attributes = json.loads(document.read_bytes())
    except (OSError, ValueError, AttributeError) as error:
        raise SourceError(f"{document}: cannot be read ({error}); replace the image by the original") from error
    if not isinstance(attributes, dict):
        raise SourceError(f"{document}: is no metadata of OME-Zarr; replace the image by the original")
    return attributes


def _product(vectors: Sequence[Sequence[float]], n_axes: int, neutral: float) -> list[float]:
    """Combine vectors of one kind: scales are multiplied, translations are added."""
    combined = [neutral] * n_axes
    for vector in vectors:
        pairs = zip(combined, vector, strict=False)
        combined = [one * other if neutral else one + other for one, other in pairs]
    return combined
