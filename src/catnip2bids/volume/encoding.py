"""Pixels of a TIFF page as they are encoded, and what has to agree so that they mean the same in another file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.errors import ReadError, SourceError

_COPIED = {
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.PACKBITS,
    tifffile.COMPRESSION.ZSTD,
}
"""Lossless encodings of single segments that most readers know."""


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a page are stored: where pages agree in that, their segments mean the same in any file.

    Attributes
    ----------
    compression, predictor
        Values of the tags; 32946, the old number of Deflate, counts as 8.
    byte_order
        ``<`` or ``>``; that of values of a single byte is always ``<``.
    rows_per_strip
        Rows of a strip; None where there are tiles.
    tile
        Rows and columns of a tile; None where there are strips.
    """

    compression: int
    predictor: int
    byte_order: Literal["<", ">"]
    rows_per_strip: int | None
    tile: tuple[int, int] | None


@dataclass(frozen=True)
class EncodedPlane:
    """The segments of a plane as they stand in its file.

    Attributes
    ----------
    counts
        Bytes of each segment.
    data
        All segments, one after the other.
    """

    counts: npt.NDArray[np.uint64]
    data: Sequence[bytes]


def encoding_of(page: tifffile.TiffPage) -> Encoding | None:
    """Tell how a page is stored, if its segments need nothing but the usual tags to be understood."""
    dtype = page.dtype
    if (
        dtype is None
        or dtype.kind not in "iuf"
        or page.bitspersample != dtype.itemsize * 8
        or page.fillorder != tifffile.FILLORDER.MSB2LSB
        or page.compression not in _COPIED
        or page.jpegtables is not None
    ):
        return None
    deflate = tifffile.COMPRESSION.ADOBE_DEFLATE
    return Encoding(
        compression=int(deflate if page.compression == tifffile.COMPRESSION.DEFLATE else page.compression),
        predictor=int(page.predictor),
        byte_order=">" if page.parent.byteorder == ">" and dtype.itemsize > 1 else "<",
        rows_per_strip=None if page.is_tiled else min(page.rowsperstrip, page.shape[0]),
        tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
    )


def read_segments(path: Path, offsets: npt.NDArray[np.uint64], counts: npt.NDArray[np.uint64]) -> EncodedPlane:
    """Read the segments of a page, of which at least one is there; those that follow one another at once.

    Raises
    ------
    SourceError
        If the file ends before, or cannot be read.
    """
    begins = np.flatnonzero(np.concatenate(([True], offsets[1:] != offsets[:-1] + counts[:-1])))
    lengths = np.add.reduceat(counts, begins)
    with path.open("rb", buffering=0) as file:
        data = [
            _exactly(file.fileno(), int(offset), int(length), path)
            for offset, length in zip(offsets[begins], lengths, strict=True)
        ]
    return EncodedPlane(counts, data)


def _exactly(descriptor: int, offset: int, n_bytes: int, path: Path) -> bytes:
    pieces, n_read = [], 0
    while n_read < n_bytes:
        try:
            piece = os.pread(descriptor, n_bytes - n_read, offset + n_read)  # at most 2 GiB at a time
        except OSError as error:
            raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
        if not piece:
            raise SourceError(f"{path}: is cut off; replace it by the original")
        pieces.append(piece)
        n_read += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
