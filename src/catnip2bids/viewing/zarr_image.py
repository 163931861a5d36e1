"""OME-Zarr images for the viewer, version 0.4 and 0.5, by any writer: served file by file, as they are.

Invariant: no file leaves that is not, with all links followed, inside of the folder that was opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from catnip2bids.choices import Kind
from catnip2bids.errors import SourceError
from catnip2bids.ome import LabelValue, choose_display
from catnip2bids.paths import leads_out
from catnip2bids.viewing.image import WHITE, Axis, Channel, check_image
from catnip2bids.viewing.zarr_metadata import (
    ChannelMetadata,
    GroupMetadata,
    ImageLabel,
    Multiscale,
    Omero,
    Window,
    read_metadata,
)

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
        image, shape = self._image, self._arrays[0].shape
        steps = _product([*image.datasets[0].scales, *image.scales], len(shape), 1.0)
        shifts = _product([*image.datasets[0].translations, *image.translations], len(shape), 0.0)
        axes = []
        for axis, n_voxels, step, shift in zip(image.axes, shape, steps, shifts, strict=True):
            factor, unit = _UNITS.get(axis.unit or "", (1.0, ""))
            axes.append(Axis(axis.name, axis.type or "", n_voxels, step * factor, unit, shift / step))
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
        described = self._metadata.image_label or ImageLabel()
        names = {row.value: row for row in described.properties or ()}
        colors = {row.value: row.rgba for row in described.colors or ()}
        found = []
        for value in sorted(names.keys() | colors.keys()):
            row, rgba = names.get(value), colors.get(value) or (255, 255, 255)
            name = row.name if row and row.name is not None else str(value)
            found.append(LabelValue(value, name, row.abbreviation if row else None, "#" + bytes(rgba[:3]).hex()))
        return tuple(found)

    @cached_property
    def label_folders(self) -> tuple[Path, ...]:
        """Label images in its group ``labels``."""
        group = self.path / "labels"
        names = (read_metadata(group).labels if group.is_dir() else None) or ()
        folders = (group / name for name in names if not leads_out(name))
        return tuple(folder for folder in folders if folder.is_dir())

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
    def _metadata(self) -> GroupMetadata:
        return read_metadata(self.path)

    @property
    def _image(self) -> Multiscale:
        """The first of its multiscales."""
        if not self._metadata.multiscales:
            what = "describes no image of OME-Zarr 0.4 or 0.5 (multiscales)"
            raise SourceError(f"{self.path}: {what}; give the folder of an image itself")
        return self._metadata.multiscales[0]

    @cached_property
    def _arrays(self) -> list[Any]:
        """Its levels, opened but not read."""
        n_axes = len(self._image.axes)
        try:
            arrays = [zarr.open_array(self.path / level.path, mode="r") for level in self._image.datasets]
        # zarr raises whatever it stumbles over; whatever it is, the image cannot be shown
        except Exception as error:
            raise SourceError(
                f"{self.path}: its arrays cannot be read ({error}); replace it by the original"
            ) from error
        for array in arrays:
            if array.ndim != n_axes:
                raise SourceError(f"{self.path}: has {array.ndim} axes and describes {n_axes}; correct its metadata")
        return arrays

    def _channel(self, index: int) -> Channel:
        described = (self._metadata.omero or Omero()).channels or ()
        channel = described[index] if index < len(described) else ChannelMetadata()
        name, color = channel.label or str(index), f"#{(channel.color or WHITE).removeprefix('#')}"
        match channel.window:
            case Window(min=float(smallest), max=float(largest), start=float(start), end=float(end)):
                return Channel(name, color, (start, end), (smallest, largest))
        display = choose_display(name, Kind.IMAGE, *self._sample(index))
        return Channel(name, color, (display.start, display.end), (display.smallest, display.largest))

    def _sample(self, channel: int) -> tuple[tuple[float, float], np.ndarray[Any, Any]]:
        """Read the middle of the middle plane of the smallest level, and its range of values."""
        array = self._arrays[-1]
        place: list[int | slice] = []
        for axis, n_voxels in zip(self.axes, array.shape, strict=True):
            margin = max(n_voxels - _LARGEST_SAMPLE, 0) // 2
            in_plane = axis.name in "yx"
            place.append(slice(margin, n_voxels - margin) if in_plane else n_voxels // 2)
            if axis.type == "channel":
                place[-1] = channel
        try:
            values = np.asarray(array[tuple(place)])
        # and codecs raise whatever they like
        except Exception as error:
            raise SourceError(f"{self.path}: cannot be read ({error}); replace it by the original") from error
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0), values


def _product(vectors: Sequence[Sequence[float]], n_axes: int, neutral: float) -> list[float]:
    """Combine vectors of one kind: scales are multiplied, translations are added."""
    combined = [neutral] * n_axes
    for vector in vectors:
        pairs = zip(combined, vector, strict=True)
        combined = [one * other if neutral else one + other for one, other in pairs]
    return combined
