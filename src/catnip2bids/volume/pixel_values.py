"""Facts that are recorded about pixels: the sha256 of a plane, the range of the values, and the labels that occur.

Invariant: equal pixels give equal hashes whatever the file format, compression or byte order was; shape and dtype are
compared apart. A float label that is not a whole number, or may have been rounded, is an error, because the id behind
it may already be wrong.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.volume.open_plane import bands_of
from catnip2bids.volume.volume import Volume

_BAND_BYTES = 2**20


def little_endian_bytes(pixels: npt.NDArray[Any]) -> memoryview:
    """Return the pixels as little-endian bytes in C order; copy them only if they are stored in another way."""
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
    """Yield a plane of a volume in bands of `n_rows` rows; each is overwritten by the next one."""
    with closing(volume.open_plane(plane)) as opened:
        yield from bands_of(opened, volume.shape[1:], volume.dtype, n_rows)


def hash_stored_plane(volume: Volume, plane: int) -> str:
    """Read one plane of a volume in bands of rows, and hash it."""
    digest = hashlib.sha256()
    for rows in row_bands(volume, plane, max(_BAND_BYTES // (volume.shape[2] * volume.dtype.itemsize), 1)):
        digest.update(little_endian_bytes(rows))
    return digest.hexdigest()


def value_range(array: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Return the smallest and largest finite value; None without finite values."""
    smallest, largest = array.min(), array.max()
    if not (np.isfinite(smallest) and np.isfinite(largest)):
        finite = array[np.isfinite(array)]
        if finite.size == 0:
            return None
        smallest, largest = finite.min(), finite.max()
    return float(smallest), float(largest)


def label_values(array: npt.NDArray[Any]) -> frozenset[int]:
    """Return the values that occur, 0 (background) included.

    Float labels have to stay below the size from which floats skip whole numbers (2^11 for float16, 2^24 otherwise).
    This holds for float64 too, since most programs of the field compute with float32 and some save the result as
    float64.
    """
    values = np.unique(_without_repetitions(array.reshape(-1)))
    if values.dtype.kind == "f":
        largest_exact = 2 ** (min(np.finfo(values.dtype).nmant, np.finfo(np.float32).nmant) + 1)
        if not np.isfinite(values).all() or (values != np.round(values)).any():
            raise SourceError(
                "has labels or volumes of cells that are not whole numbers and cannot be trusted; save them as integers"
            )
        if (np.abs(values) >= largest_exact).any():
            raise SourceError(
                f"has labels of {largest_exact} or more stored as {values.dtype}, which may have been rounded; "
                "its region ids cannot be trusted: save them as integers from the start"
            )
    return frozenset(int(value) for value in values)


def _without_repetitions(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Keep each word of 8 bytes (several values) once: runs of one label are long, and many words repeat."""
    n_whole = values.nbytes // 8 * 8 // values.dtype.itemsize
    words = values[:n_whole].view(np.uint64)
    changes = np.flatnonzero(words[1:] != words[:-1]) + 1
    kept = words[np.concatenate(([0], changes))] if len(words) else words
    return np.concatenate((np.unique(kept).view(values.dtype), values[n_whole:]))
