"""The identity of a plane: sha256 over its pixels as little-endian C-order bytes.

Invariant: equal pixels give equal hashes whatever the file format, compression or byte order was; shape and
dtype are not part of the hash, they are compared apart.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.volume.volume import Volume

_BAND_BYTES = 2**20


def little_endian_bytes(pixels: npt.NDArray[Any]) -> memoryview:
    """Return the bytes that are hashed; without a copy where the pixels lie as they are wanted."""
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data


def plane_sha256(plane: npt.NDArray[Any]) -> str:
    """Hash one plane of shape (y, x); returns 64 hexadecimal digits."""
    return hashlib.sha256(little_endian_bytes(plane)).hexdigest()


def hashing_bytes(volume: Volume) -> int:
    """Return the memory that `hash_stored_plane` takes, beside what the volume holds unpacked."""
    plane_bytes = math.prod(volume.shape[1:]) * volume.dtype.itemsize
    cost = volume.read_cost
    held_bytes = min(_BAND_BYTES, plane_bytes) if cost.by_rows else plane_bytes
    return held_bytes + cost.open_bytes + cost.decoding_bytes


def row_bands(volume: Volume, plane: int, n_rows: int) -> Iterator[npt.NDArray[Any]]:
    """Yield a plane of a volume in bands of `n_rows` rows; each is overwritten by the next one.

    Raises
    ------
    SourceError
        If the plane cannot be read completely.
    """
    _, n_all_rows, n_columns = volume.shape
    opened = volume.open_plane(plane)
    try:
        height = min(n_rows, n_all_rows) if opened.reads_rows else n_all_rows
        buffer = np.empty((height, n_columns), volume.dtype)
        for top in range(0, n_all_rows, height):
            rows = buffer[: min(height, n_all_rows - top)]
            opened.read_rows(top, top + len(rows), rows)
            for first in range(0, len(rows), n_rows):
                yield rows[first : first + n_rows]
    finally:
        opened.close()


def hash_stored_plane(volume: Volume, plane: int) -> str:
    """Read one plane of a volume in bands of rows, and hash it.

    Raises
    ------
    SourceError
        If it cannot be read completely.
    """
    digest = hashlib.sha256()
    for rows in row_bands(volume, plane, max(_BAND_BYTES // (volume.shape[2] * volume.dtype.itemsize), 1)):
        digest.update(little_endian_bytes(rows))
    return digest.hexdigest()
