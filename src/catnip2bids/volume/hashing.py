"""The identity of a plane: sha256 over its pixels as little-endian C-order bytes.

Invariant: equal pixels give equal hashes whatever the file format, compression or byte order was; shape and
dtype are not part of the hash, they are compared apart.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt


def plane_sha256(plane: npt.NDArray[Any]) -> str:
    """Hash one plane of shape (y, x); returns 64 hexadecimal digits."""
    little_endian = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little_endian).data).hexdigest()
