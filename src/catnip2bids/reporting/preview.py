"""Read small versions of volumes from the lower resolution levels in the dataset.

Invariant: time and memory do not grow with the volume: only small levels are read completely, and of finer ones only
the displayed slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.formatting import format_bytes, format_shape
from catnip2bids.ome import choose_display, downsample
from catnip2bids.volume import TiffStack, open_tiff, page_offsets
from catnip2bids.volume.open_plane import WholePlane
from catnip2bids.volume.tiff_page import MOST_READ_BYTES, ROWS_AT_A_TIME, bytes_to_read, levels_of
from catnip2bids.volume.zarr import MOST_CHUNK_BYTES, open_array, read_attributes

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]

_LONGEST_SIDE = 640
"""Most rows and columns of a displayed level."""
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
    """An image of the dataset cannot be read, or is too large to be drawn."""

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

    def slice(self, axis: int, at: int) -> Array:
        """Read a slice perpendicular to an axis."""
        with _naming(self.image):
            return self._levels.slice(axis, at)

    def slice_like(self, other: Preview, axis: int, at: int) -> Array:
        """Read the slice that matches a slice of another preview of the same extent, resampled to its shape."""
        values = self.slice(axis, _scaled_index(at, other.shape[axis], self.shape[axis]))
        wanted = [n for number, n in enumerate(other.shape) if number != axis]
        for number, (n, n_wanted) in enumerate(zip(values.shape, wanted, strict=True)):
            if n != n_wanted:
                values = values.take((np.arange(n_wanted) * 2 + 1) * n // (2 * n_wanted), axis=number)
        return values

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
        finite = self.whole[np.isfinite(self.whole)]
        value_range = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        display = choose_display("", Kind.IMAGE, value_range, finite)
        return display.start, display.end


def _scaled_index(at: int, n: int, n_other: int) -> int:
    """Return which of `n_other` parts of a length contains the middle of part `at` of `n`."""
    return (2 * at + 1) * n_other // (2 * n)


@contextmanager
def _naming(image: Path) -> Iterator[None]:
    """Raise an error that names the image if it cannot be read."""
    try:
        yield
    except _DAMAGE as error:
        raise DamagedImageError(image, f"cannot be read ({error}); bring it back from a copy") from error


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
        if (n_bytes := max(array.grid.chunk_bytes for array in (shown, small))) > MOST_CHUNK_BYTES:
            what = f"is not drawn: its chunks have {format_bytes(n_bytes)}"
            raise DamagedImageError(
                image, f"{what}, and report reads chunks of at most {format_bytes(MOST_CHUNK_BYTES)}"
            )
        self._shown, self._small = shown, small
        z, y, x = shown.shape
        self.shape: Zyx = z, y, x

    def slice(self, axis: int, at: int) -> Array:
        return self._shown.read([at if number == axis else slice(None) for number in range(3)])

    def whole(self) -> Array:
        return self._small.read()


class _TiffPlanes:
    """Evenly spaced planes of an OME-TIFF, from the finest narrow level or downsampled until narrow."""

    def __init__(self, image: Path, kind: Kind) -> None:
        with open_tiff(image) as tiff:
            offsets = page_offsets(tiff)
            n_read = min(len(offsets), _MOST_PLANES)
            self.planes = [_scaled_index(n, n_read, len(offsets)) for n in range(n_read)]
            shown = [_narrowest(tiff, image, plane, offsets[plane]) for plane in self.planes]
        with _DECODING:
            self._values = np.stack([_small_plane(stack, kind) for stack in shown])
        n_rows, n_columns = self._values.shape[1:]
        self.shape: Zyx = n_read, n_rows, n_columns

    def slice(self, axis: int, at: int) -> Array:
        return np.asarray(self._values.take(at, axis=axis))

    def whole(self) -> Array:
        return self._values


def _is_narrow(shape: tuple[int, ...]) -> bool:
    return max(shape[1:]) <= _LONGEST_SIDE and shape[0] <= _MOST_DEPTH


def _narrowest(tiff: tifffile.TiffFile, image: Path, plane: int, offset: int) -> TiffStack:
    """Return the finest narrow level of a plane, or else the smallest, as a stack of one page."""
    levels = levels_of(tiff, plane, offset)
    page, layout = next((level for level in levels if max(level[1].shape) <= _LONGEST_SIDE), levels[-1])
    if (n_bytes := bytes_to_read(layout)) > MOST_READ_BYTES:
        what = f"is not drawn: a plane takes {format_bytes(n_bytes)}"
        raise DamagedImageError(image, f"{what}, and report decodes planes of at most {format_bytes(MOST_READ_BYTES)}")
    return TiffStack(layout, image, (page.offset,))


def _small_plane(stack: TiffStack, kind: Kind) -> Array:
    """Read a plane and downsample it until it is narrow; in bands of rows if the file allows."""
    n_rows, n_columns = stack.layout.shape
    factor = 1
    while math.ceil(max(n_rows, n_columns) / factor) > _LONGEST_SIDE:
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
