"""OME-Zarr images for the viewer, version 0.4 and 0.5, by any writer: served file by file, as they are.

Invariant: only regular files that are inside the opened folder, with all links followed, are read and served. The
bytes that are read and decoded at a time are limited, whatever the metadata says.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes
from catnip2bids.ome import LabelValue, display_of
from catnip2bids.paths import file_inside, leads_out
from catnip2bids.viewing.image import MOST_DECODED_BYTES, WHITE, Axis, Channel
from catnip2bids.volume.zarr import ZarrArray, document_of, metadata, open_array, read_metadata

_LONGEST_SAMPLE = 1024
"""Rows and columns for choosing a contrast, if the metadata states none."""
_SAMPLE_BYTES = 64 * 2**20
"""Most bytes of the chunks of a sample, unless a single chunk is larger."""
_MOST_CHUNKS = 1024
"""Most chunks of a sample."""
_MOST_CHUNKS_OF_LEVEL = 2**14
"""Most chunks of a level that is read completely."""
_SECONDS = {"nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
_UNITS = {name: (float(f"1e{power - 6}"), "m") for name, power in metadata.LENGTH_UNITS.items()}
_UNITS |= {name: (factor, "s") for name, factor in _SECONDS.items()}


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """The folder of an OME-Zarr image."""

    path: Path
    inside: Path  # links must not lead out of this folder: the dataset or the image

    @cached_property
    def zarr_format(self) -> int:
        """Version of Zarr."""
        return 3 if (self.path / "zarr.json").is_file() else 2

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Its axes, with the sizes of level 0."""
        return self._axes_of(0)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""
        dtype: np.dtype[np.generic] = np.dtype(self._levels[0].dtype.numpy_dtype)
        return dtype

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

    def middle_plane(self) -> npt.NDArray[Any] | None:
        """Read the middle of the middle plane of the smallest level, rows first; None if that takes too much."""
        values = self._middle_values(0)
        if values is None:
            return None
        in_plane = [index for index, axis in enumerate(self.axes) if axis.name in "yx"]
        plane = values.reshape([values.shape[index] for index in in_plane])
        return plane if self.axes[in_plane[0]].name == "y" else plane.T

    def small_level(self, n_voxels: int, most_voxels: int) -> int | None:
        """Return the number of the finest level of at most `n_voxels`, or else of the last one.

        None if that level has more than `most_voxels` or too many chunks, or the axes are not x, y and z in meters.
        """
        if sorted(axis.name for axis in self.axes) != ["x", "y", "z"] or any(axis.unit != "m" for axis in self.axes):
            return None
        sizes = [math.prod(level.shape) for level in self._levels]
        number = next((number for number, size in enumerate(sizes) if size <= n_voxels), len(sizes) - 1)
        grid = self._levels[number].grid
        n_chunks = math.prod(-(-n // length) for n, length in zip(grid.shape, grid.chunk_shape, strict=True))
        return number if sizes[number] <= most_voxels and n_chunks <= _MOST_CHUNKS_OF_LEVEL else None

    def read_level(self, number: int) -> tuple[npt.NDArray[Any], tuple[Axis, ...]]:
        """Read a whole level; return its values, (z, y, x), and its axes, in that order, in its own voxels.

        Raises SourceError if it cannot be read, or takes too much.
        """
        level = self._levels[number]
        with self._naming_errors():
            axes = self._axes_of(number)
            values = self._read_region(level, tuple(slice(0, n_voxels) for n_voxels in level.shape))
        if values is None:
            what = f"level {number} takes more than {format_bytes(MOST_DECODED_BYTES)}"
            raise SourceError(f"{self.path}: {what}; save the image again")
        order = sorted(range(len(axes)), key=lambda index: axes[index].name, reverse=True)
        return values.transpose(order), tuple(axes[index] for index in order)

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

    def _axes_of(self, number: int) -> tuple[Axis, ...]:
        """Return the axes with the sizes of a level; `first` is in voxels of that level."""
        image, shape = self._image, self._levels[number].shape
        steps, shifts = image.placement(image.levels[number])
        axes = []
        for axis, n_voxels, step, shift in zip(image.axes, shape, steps, shifts, strict=True):
            factor, unit = _UNITS.get(axis.unit or "", (1.0, ""))
            axes.append(Axis(axis.name, axis.type or "", n_voxels, step * factor, unit, shift / step))
        return tuple(axes)

    @property
    def _image(self) -> metadata.Multiscale:
        """The first multiscale image of the group."""
        if not self._metadata.multiscales:
            what = "describes no image of OME-Zarr 0.4 or 0.5 (multiscales)"
            raise SourceError(f"{self.path}: {what}; give the folder of an image itself")
        return self._metadata.multiscales[0]

    @cached_property
    def _levels(self) -> list[ZarrArray]:
        """The arrays of its levels, opened but not read."""
        levels = [self._open_level(level.path) for level in self._image.levels]
        for level in levels:
            if (n_found := len(level.shape)) != (n_axes := len(self._image.axes)):
                raise SourceError(f"{self.path}: has {n_found} axes and describes {n_axes}; correct its metadata")
        return levels

    def _open_level(self, path: str) -> ZarrArray:
        """Open a level; raise SourceError if it cannot be read, or its chunks are larger than what can be decoded."""
        what = f"{self.path}: its array {path}"
        folder = self.path / path
        document = next((folder / name for name in ("zarr.json", ".zarray") if (folder / name).exists()), None)
        if document is not None and file_inside(document, self.inside) is None:
            why = "no zarr.json or .zarray inside of it"
            raise SourceError(f"{what} cannot be read ({why}); replace it by the original")
        array = open_array(self.path, path)
        if (n_bytes := array.grid.chunk_bytes) > MOST_DECODED_BYTES:
            raise SourceError(
                f"{what} has chunks of {format_bytes(n_bytes)}, and at most {format_bytes(MOST_DECODED_BYTES)} can be "
                "shown; save the image again with other chunks"
            )
        return array

    def _channel(self, index: int) -> Channel:
        described = (self._metadata.omero or metadata.Omero()).channels or ()
        channel = described[index] if index < len(described) else metadata.Channel()
        name, color = channel.label or str(index), f"#{(channel.color or WHITE).removeprefix('#')}"
        match channel.window:
            case metadata.Window(min=float(smallest), max=float(largest), start=float(start), end=float(end)):
                return Channel(name, color, (start, end), (smallest, largest))
        display = display_of(name, self._sample(index))
        return Channel(name, color, (display.start, display.end), (display.smallest, display.largest))

    def _sample(self, channel: int) -> npt.NDArray[Any]:
        """Read some values of the smallest level.

        Where that takes too much, return the ends of the range of their type, or 0 and 1 for real numbers.
        """
        values = self._middle_values(channel)
        if values is not None:
            return values
        dtype: np.dtype[Any] = self.dtype
        ends = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (0, 1)
        return np.array(ends, dtype)

    def _middle_values(self, channel: int) -> npt.NDArray[Any] | None:
        """Read the middle of the middle plane of the smallest level; None if that takes too much."""
        level = self._levels[-1]
        place: list[int | None] = []
        for axis, n_voxels in zip(self.axes, level.shape, strict=True):
            place.append(None if axis.name in "yx" else channel if axis.type == "channel" else n_voxels // 2)
        with self._naming_errors():
            return self._read_middle(level, place)

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        """Raise SourceError, which names the image, for whatever a codec raises."""
        try:
            yield
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"{self.path}: cannot be read ({error}); replace it by the original") from error

    def _read_middle(self, level: ZarrArray, place: Sequence[int | None]) -> npt.NDArray[Any] | None:
        """Read some values, from the middle of axes without an index; None if it takes too much to find any."""
        grid = level.grid
        n_chunks = max(math.isqrt(min(_SAMPLE_BYTES // grid.chunk_bytes, _MOST_CHUNKS)), 1)
        region = tuple(
            _middle(n_voxels, length, n_chunks) if index is None else slice(index, index + 1)
            for index, n_voxels, length in zip(place, level.shape, grid.chunk_shape, strict=True)
        )
        return self._read_region(level, region)

    def _read_region(self, level: ZarrArray, region: tuple[slice, ...]) -> npt.NDArray[Any] | None:
        """Read a region of a level; None if the files that it is in are too large."""
        n_stored = 0
        for file in filter(os.path.lexists, level.grid.files(region)):
            found = file_inside(file, self.inside)
            if found is None:
                raise SourceError(f"{file}: is a link out of the image, or not a file; replace it by the original")
            n_stored += found.stat().st_size
        return level.read(region) if n_stored <= MOST_DECODED_BYTES else None


def _middle(n_voxels: int, length: int, n_chunks: int) -> slice:
    """Return the middle of an axis, limited to a few chunks."""
    n_read = min(n_voxels, _LONGEST_SAMPLE, n_chunks * length)
    start = (n_voxels - n_read) // 2
    if (start + n_read - 1) // length - start // length >= n_chunks:  # one chunk too many
        start = start // length * length
    return slice(start, start + n_read)
