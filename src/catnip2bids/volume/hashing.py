"""The identity of a plane: sha256 over its pixels as little-endian C-order bytes.

Invariant: equal pixels give equal hashes whatever the file format, compression or byte order was; shape and
dtype are not part of the hash, they are compared apart.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt


def little_endian_bytes(pixels: npt.NDArray[Any]) -> memoryview:
    """Return the bytes that are hashed; without a copy where the pixels lie as they are wanted."""
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data


def plane_sha256(plane: npt.NDArray[Any]) -> str:
    """Hash one plane of shape (y, x); returns 64 hexadecimal digits."""
    return hashlib.sha256(little_endian_bytes(plane)).hexdigest()
