"""Read small versions of volumes from the lower resolution levels in the dataset.

Invariant: time and memory do not grow with the volume: only small levels are read completely, and of finer ones only
the displayed slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.enums import Kind
from catnip2bids.errors import DatasetError, SourceError, reason_of
from catnip2bids.formatting import format_bytes, format_shape
from catnip2bids.ome import display_of, downsample
from catnip2bids.volume import TiffStack, open_tiff, page_offsets
from catnip2bids.volume.open_plane import WholePlane
from catnip2bids.volume.tiff_page import MOST_READ_BYTES, ROWS_AT_A_TIME, bytes_to_read, levels_of
from catnip2bids.volume.zarr import MOST_CHUNK_BYTES, open_array, read_attributes

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]

_LONGEST_SIDE = 640
"""Most rows and columns of a displayed level."""
_LONGEST_DETAIL = 1800
"""Most rows and columns of a plane that is displayed in detail: those of a large screen."""
_MOST_DEPTH = 2 * _LONGEST_SIDE
"""Most planes of a displayed level; they are the rows of slices along z."""
_MOST_VOXELS = 12 * 2**20
"""Most voxels of the level that is read completely, if one is that small."""
_MOST_VOXELS_OF_LAST = 2 * 256**3
"""Most voxels of the last level, which is read completely if none is smaller; twice the size of our last levels."""
_MOST_PLANES = 48
"""Planes that are read from a file without levels along z."""
# exceptions of JSON, tensorstore, tifffile and imagecodecs for damaged files
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, SourceError)
_DECODING = Lock()
"""Held while large planes are decoded, so that only one is in memory at a time."""


class DamagedImageError(DatasetError):
    """An image or a table of cells of the dataset cannot be read, or an image is too large to be drawn."""

    def __init__(self, image: Path, why: str) -> None:
        super().__init__(f"{image}: {why}")
        self.image = image


@dataclass(frozen=True)
class Preview:
    """A small version of a volume."""

    image: Path  # OME-Zarr or OME-TIFF
    full_shape: Zyx  # of level 0
    voxel_size_um: tuple[float, float, float]  # (z, y, x) of level 0
    kind: Kind  # decides how to downsample if no level is small enough

    @cached_property
    def _levels(self) -> _ZarrLevels | _TiffPlanes:
        with _naming(self.image):
            return _ZarrLevels(self.image) if self.image.is_dir() else _TiffPlanes(self.image, self.kind)

    @property
    def shape(self) -> Zyx:
        """Shape (z, y, x) of the small version."""
        return self._levels.shape

    @property
    def extent_um(self) -> tuple[float, float, float]:
        """Size of the volume along (z, y, x)."""
        z, y, x = (n * size for n, size in zip(self.full_shape, self.voxel_size_um, strict=True))
        return z, y, x

    @property
    def planes(self) -> list[int]:
        """Index of the plane of level 0 in the middle of each plane."""
        n = self.shape[0]
        return list(self._levels.planes or (_scaled_index(z, n, self.full_shape[0]) for z in range(n)))

    def span(self, axis: int, at: int) -> tuple[float, float]:
        """Return where a slice begins and ends along its axis, in voxels of level 0 (a centre is a whole number)."""
        if axis == 0 and self._levels.planes is not None:
            plane = self._levels.planes[at]
            return plane - 0.5, plane + 0.5
        step = self.full_shape[axis] / self.shape[axis]
        return at * step - 0.5, (at + 1) * step - 0.5

    def slice(self, axis: int, at: int) -> Array:
        """Read a slice perpendicular to an axis."""
        with _naming(self.image):
            return self._levels.slice(axis, at)

    def slice_like(self, other: Preview, axis: int, at: int) -> Array:
        """Read the slice that matches a slice of another preview of the same extent, resampled to its shape."""
        values = self.slice(axis, _scaled_index(at, other.shape[axis], self.shape[axis]))
        return resampled(values, [n for number, n in enumerate(other.shape) if number != axis])

    def details(self, planes: Sequence[int]) -> Sequence[Array]:
        """Read planes of level 0 in the finest level that a large screen can display."""
        with _naming(self.image):
            return self._levels.details(planes)

    @cached_property
    def whole(self) -> Array:
        """All voxels of an even smaller version."""
        with _naming(self.image):
            return self._levels.whole()

    @cached_property
    def window(self) -> tuple[float, float]:
        """The values shown as black and white: from OME-Zarr metadata, or chosen from the values."""
        if self.image.is_dir():
            with _naming(self.image):
                window = read_attributes(self.image)["omero"]["channels"][0]["window"]
                low, high = float(window["start"]), float(window["end"])
                if not (math.isfinite(low) and math.isfinite(high)):
                    raise ValueError(f"its display window is {low} to {high}")
                return low, high
        display = display_of("", self.whole)
        return display.start, display.end


def resampled(values: Array, shape: Sequence[int]) -> Array:
    """Resample a slice to another number of rows and columns, by nearest voxel."""
    for axis, (n, n_wanted) in enumerate(zip(values.shape, shape, strict=True)):
        if n != n_wanted:
            values = values.take((np.arange(n_wanted) * 2 + 1) * n // (2 * n_wanted), axis=axis)
    return values


def _scaled_index(at: int, n: int, n_other: int) -> int:
    """Return which of `n_other` parts of a length contains the middle of part `at` of `n`."""
    return (2 * at + 1) * n_other // (2 * n)


@contextmanager
def _naming(image: Path) -> Iterator[None]:
    """Raise an error that names the image if it cannot be read."""
    try:
        yield
    except _DAMAGE as error:
        raise DamagedImageError(image, f"cannot be read ({reason_of(error)}); bring it back from a copy") from error


class _ZarrLevels:
    """The levels of an OME-Zarr: slices come from the finest one that is narrow enough."""

    planes: list[int] | None = None  # one plane merges several of level 0

    def __init__(self, image: Path) -> None:
        datasets = read_attributes(image)["multiscales"][0]["datasets"]
        arrays = [open_array(image, dataset["path"]) for dataset in datasets]
        shown = next((array for array in arrays if _is_narrow(array.shape)), arrays[-1])
        small = next((array for array in arrays if math.prod(array.shape) <= _MOST_VOXELS), arrays[-1])
        if math.prod(small.shape) > _MOST_VOXELS_OF_LAST:
            what = f"is not drawn: its last level has {format_shape(small.shape)} voxels"
            raise DamagedImageError(image, f"{what}, and report reads at most {_MOST_VOXELS_OF_LAST:,}")
        detail = next((array for array in arrays if max(array.shape[1:]) <= _LONGEST_DETAIL), arrays[-1])
        if (n_bytes := max(array.grid.chunk_bytes for array in (shown, small, detail))) > MOST_CHUNK_BYTES:
            what = f"is not drawn: its chunks have {format_bytes(n_bytes)}"
            raise DamagedImageError(
                image, f"{what}, and report reads chunks of at most {format_bytes(MOST_CHUNK_BYTES)}"
            )
        self._shown, self._small, self._detail, self._n_planes = shown, small, detail, arrays[0].shape[0]
        z, y, x = shown.shape

        self.shape: Zyx = z, y, x

    def slice(self, axis: int, at: int) -> Array:
        return self._shown.read([at if number == axis else slice(None) for number in range(3)])

    def details(self, planes: Sequence[int]) -> Sequence[Array]:
        n = self._detail.shape[0]
        return list(self._detail.read([[plane * n // self._n_planes for plane in planes], slice(None), slice(None)]))

    def whole(self) -> Array:
        return self._small.read()


class _TiffPlanes:
    """Evenly spaced planes of an OME-TIFF, from the finest narrow level or downsampled until narrow."""

    def __init__(self, image: Path, kind: Kind) -> None:
        self._image, self._kind = image, kind
        with open_tiff(image) as tiff:
            offsets = page_offsets(tiff)
            n_read = min(len(offsets), _MOST_PLANES)
            self.planes = [_scaled_index(n, n_read, len(offsets)) for n in range(n_read)]
            shown = [_finest(tiff, image, (plane, offsets[plane]), _LONGEST_SIDE) for plane in self.planes]
        with _DECODING:
            self._values = np.stack([_small_plane(stack, kind, _LONGEST_SIDE) for stack in shown])
        n_rows, n_columns = self._values.shape[1:]
        self.shape: Zyx = n_read, n_rows, n_columns

    def slice(self, axis: int, at: int) -> Array:
        return np.asarray(self._values.take(at, axis=axis))

    def details(self, planes: Sequence[int]) -> Sequence[Array]:
        with open_tiff(self._image) as tiff:
            offsets = page_offsets(tiff)
            stacks = [_finest(tiff, self._image, (plane, offsets[plane]), _LONGEST_DETAIL) for plane in planes]
        with _DECODING:
            return [_small_plane(stack, self._kind, _LONGEST_DETAIL) for stack in stacks]

    def whole(self) -> Array:
        return self._values


def _is_narrow(shape: tuple[int, ...]) -> bool:
    return max(shape[1:]) <= _LONGEST_SIDE and shape[0] <= _MOST_DEPTH


def _finest(tiff: tifffile.TiffFile, image: Path, plane: tuple[int, int], longest: int) -> TiffStack:
    """Return the finest level of a plane (index, offset) with sides of at most `longest`, or else the smallest."""
    levels = levels_of(tiff, *plane)
    page, layout = next((level for level in levels if max(level[1].shape) <= longest), levels[-1])
    if (n_bytes := bytes_to_read(layout)) > MOST_READ_BYTES:
        what = f"is not drawn: a plane takes {format_bytes(n_bytes)}"
        raise DamagedImageError(image, f"{what}, and report decodes planes of at most {format_bytes(MOST_READ_BYTES)}")
    return TiffStack(layout, image, (page.offset,))


def _small_plane(stack: TiffStack, kind: Kind, longest: int) -> Array:
    """Read a plane and downsample it until its sides are at most `longest`; in bands of rows if the file allows."""
    n_rows, n_columns = stack.layout.shape
    factor = 1
    while math.ceil(max(n_rows, n_columns) / factor) > longest:
        factor *= 2
    parts = []
    with closing(stack.open_plane(0)) as opened:
        whole = opened.decode() if isinstance(opened, WholePlane) else None
        height = max(ROWS_AT_A_TIME // factor, 1) * factor  # a multiple of the rows of one displayed pixel
        for top in range(0, n_rows, height):
            bottom = min(top + height, n_rows)
            if whole is not None:
                rows = whole[top:bottom]
            else:
                rows = np.empty((bottom - top, n_columns), stack.dtype)
                opened.read_rows(top, bottom, rows)
            for _ in range(factor.bit_length() - 1):
                rows = downsample(rows[np.newaxis], (1, 2, 2), kind)[0]
            parts.append(rows)
    return np.concatenate(parts)
