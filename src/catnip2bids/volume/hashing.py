"""The identity of a plane: sha256 over its pixels as little-endian C-order bytes.

Invariant: equal pixels give equal hashes whatever the file format, compression or byte order was; shape and
dtype are not part of the hash, they are compared apart.
"""

from __future__ import annotations

import hashlib
import math
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


def hash_stored_plane(volume: Volume, plane: int) -> str:
    """Read one plane of a volume and hash it, band after band of rows where rows can be read.

    Raises
    ------
    SourceError
        If it cannot be read completely.
    """
    _, n_rows, n_columns = volume.shape
    opened, digest = volume.open_plane(plane), hashlib.sha256()
    height = max(_BAND_BYTES // (n_columns * volume.dtype.itemsize), 1) if opened.reads_rows else n_rows
    room = np.empty((min(height, n_rows), n_columns), volume.dtype)
    try:
        for top in range(0, n_rows, height):
            rows = room[: min(height, n_rows - top)]
            opened.read_rows(top, top + len(rows), rows)
            digest.update(little_endian_bytes(rows))
    finally:
        opened.close()
    return digest.hexdigest()
