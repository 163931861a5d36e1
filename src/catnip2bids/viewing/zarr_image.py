"""OME-Zarr images for the viewer, version 0.4 and 0.5, by any writer: served file by file, as they are.

Invariant: no file leaves that is not, with all links followed, inside of the folder that was opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from catnip2bids.enums import Kind
from catnip2bids.errors import SourceError
from catnip2bids.ome import LabelValue, choose_display
from catnip2bids.paths import leads_out
from catnip2bids.viewing.image import WHITE, Axis, Channel, check_image
from catnip2bids.viewing.zarr_level import ZarrLevel, file_inside, open_level
from catnip2bids.volume.zarr import document_of, metadata, read_metadata

_SECONDS = {"nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
_UNITS = {name: (float(f"1e{power - 6}"), "m") for name, power in metadata.LENGTH_UNITS.items()}
_UNITS |= {name: (factor, "s") for name, factor in _SECONDS.items()}


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """The folder of an OME-Zarr image."""

    path: Path
    inside: Path  # links must not lead out of this folder: the dataset or the image

    def __post_init__(self) -> None:
        check_image(self)

    @cached_property
    def zarr_format(self) -> int:
        """Version of Zarr."""
        return 3 if (self.path / "zarr.json").is_file() else 2

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Its axes, with the sizes of level 0."""
        image, shape = self._image, self._levels[0].shape
        steps, shifts = image.placement(image.levels[0])
        axes = []
        for axis, n_voxels, step, shift in zip(image.axes, shape, steps, shifts, strict=True):
            factor, unit = _UNITS.get(axis.unit or "", (1.0, ""))
            axes.append(Axis(axis.name, axis.type or "", n_voxels, step * factor, unit, shift / step))
        return tuple(axes)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""
        return self._levels[0].dtype

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """How its channels are shown: by their windows, or else by some of their values."""
        n_channels = next((axis.n_voxels for axis in self.axes if axis.type == "channel"), 1)
        return tuple(self._channel(index) for index in range(n_channels))

    @cached_property
    def labels(self) -> tuple[LabelValue, ...]:
        """Names and colours of label values (OME-Zarr, section "image-label")."""
        described = self._metadata.image_label or metadata.ImageLabel()
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
        names = (self._read_metadata(group).labels if group.is_dir() else None) or ()
        folders = (group / name for name in dict.fromkeys(names) if not leads_out(name))
        return tuple(folder for folder in folders if folder.is_dir())

    def read(self, path: str) -> Path | None:
        """Return a file of the image; None for folders, missing files, and files outside of it."""
        return None if leads_out(path) else file_inside(self.path / path, self.inside)

    @cached_property
    def _metadata(self) -> metadata.GroupMetadata:
        return self._read_metadata(self.path)

    def _read_metadata(self, folder: Path) -> metadata.GroupMetadata:
        document = document_of(folder)
        if document.exists() and file_inside(document, self.inside) is None:
            raise SourceError(f"{document}: is a link out of the image, or not a file; replace it by the original")
        return read_metadata(folder)

    @property
    def _image(self) -> metadata.Multiscale:
        """The first multiscale image of the group."""
        if not self._metadata.multiscales:
            what = "describes no image of OME-Zarr 0.4 or 0.5 (multiscales)"
            raise SourceError(f"{self.path}: {what}; give the folder of an image itself")
        return self._metadata.multiscales[0]

    @cached_property
    def _levels(self) -> list[ZarrLevel]:
        """Its levels, opened but not read."""
        n_axes = len(self._image.axes)
        levels = [open_level(self.path, level.path, self.inside) for level in self._image.levels]
        for level in levels:
            if (n_found := len(level.shape)) != n_axes:
                raise SourceError(f"{self.path}: has {n_found} axes and describes {n_axes}; correct its metadata")
        return levels

    def _channel(self, index: int) -> Channel:
        described = (self._metadata.omero or metadata.Omero()).channels or ()
        channel = described[index] if index < len(described) else metadata.Channel()
        name, color = channel.label or str(index), f"#{(channel.color or WHITE).removeprefix('#')}"
        match channel.window:
            case metadata.Window(min=float(smallest), max=float(largest), start=float(start), end=float(end)):
                return Channel(name, color, (start, end), (smallest, largest))
        display = choose_display(name, Kind.IMAGE, *self._sample(index))
        return Channel(name, color, (display.start, display.end), (display.smallest, display.largest))

    def _sample(self, channel: int) -> tuple[tuple[float, float], np.ndarray[Any, Any]]:
        """Read the middle of the middle plane of the smallest level, and its range of values.

        Where that takes too much, it is the range of all values that there could be; of real numbers, from 0 to 1.
        """
        level = self._levels[-1]
        place: list[int | None] = []
        for axis, n_voxels in zip(self.axes, level.shape, strict=True):
            place.append(None if axis.name in "yx" else channel if axis.type == "channel" else n_voxels // 2)
        try:
            values = level.sample(place)
        except SourceError:
            raise
        # codecs raise whatever they like
        except Exception as error:
            raise SourceError(f"{self.path}: cannot be read ({error}); replace it by the original") from error
        if values is None:
            ends = (np.iinfo(level.dtype).min, np.iinfo(level.dtype).max) if level.dtype.kind in "iu" else (0, 1)
            values = np.array(ends, level.dtype)
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0), values
