"""Levels of OME-Zarr images for the viewer: their arrays, and some of the values in them.

Invariant: only regular files inside of the opened folder are read, and the bytes that are read and decoded at a time
are limited, whatever the metadata says.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes
from catnip2bids.viewing.image import MOST_DECODED_BYTES
from catnip2bids.volume.zarr import ZarrArray, open_array

_LONGEST_SAMPLE = 1024
"""Rows and columns for choosing a contrast, if the metadata states none."""
_SAMPLE_BYTES = 64 * 2**20
"""Of the chunks of a sample, unless a single chunk is larger."""
_MOST_CHUNKS = 1024
"""Of a sample."""


@dataclass(frozen=True)
class ZarrLevel:
    """A level of an image."""

    array: ZarrArray
    inside: Path  # links must not lead out of this folder

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype.numpy_dtype)
        return dtype

    def sample(self, place: Sequence[int | None]) -> npt.NDArray[Any] | None:
        """Read some values, from the middle of axes without an index; None if it takes too much to find any.

        Raises
        ------
        SourceError
            If a chunk holds more than it should, or is not a file of the image.
        Exception
            Whatever tensorstore raises on damaged chunks.
        """
        grid = self.array.grid
        n_chunks = max(math.isqrt(min(_SAMPLE_BYTES // grid.chunk_bytes, _MOST_CHUNKS)), 1)
        region = tuple(
            _middle(n_voxels, length, n_chunks) if index is None else slice(index, index + 1)
            for index, n_voxels, length in zip(place, self.shape, grid.chunk_shape, strict=True)
        )
        n_stored = 0
        for file in filter(os.path.lexists, grid.files(region)):
            found = file_inside(file, self.inside)
            if found is None:
                raise SourceError(f"{file}: is a link out of the image, or not a file; replace it by the original")
            n_stored += found.stat().st_size
        return self.array.read(region) if n_stored <= MOST_DECODED_BYTES else None


def open_level(image: Path, path: str, inside: Path) -> ZarrLevel:
    """Open a level of an image, without reading any values.

    Parameters
    ----------
    image, path
        The image, and the path of the level below it.
    inside
        The folder that links must not lead out of.

    Raises
    ------
    SourceError
        If its array cannot be read, or its chunks are larger than what can be decoded.
    """
    what = f"{image}: its array {path}"
    folder = image / path
    document = next((folder / name for name in ("zarr.json", ".zarray") if (folder / name).exists()), None)
    if document is not None and file_inside(document, inside) is None:
        raise SourceError(f"{what} cannot be read (no zarr.json or .zarray inside of it); replace it by the original")
    array = open_array(image, path)
    if (n_bytes := array.grid.chunk_bytes) > MOST_DECODED_BYTES:
        raise SourceError(
            f"{what} has chunks of {format_bytes(n_bytes)}, and at most {format_bytes(MOST_DECODED_BYTES)} can be "
            "shown; save the image again with other chunks"
        )
    return ZarrLevel(array, inside)


def file_inside(path: Path, inside: Path) -> Path | None:
    """Return a regular file, with links followed; None for all else, and where links lead out of a folder."""
    try:
        file = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return file if file.is_file() and file.is_relative_to(os.path.realpath(inside)) else None


def _middle(n_voxels: int, length: int, n_chunks: int) -> slice:
    """Return the middle of an axis, as much as is looked at of some chunks."""
    n_read = min(n_voxels, _LONGEST_SAMPLE, n_chunks * length)
    start = (n_voxels - n_read) // 2
    if (start + n_read - 1) // length - start // length >= n_chunks:  # one chunk too many
        start = start // length * length
    return slice(start, start + n_read)
