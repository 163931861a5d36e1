"""Encoded pixels of a TIFF page, and the encoding that a file must share to take them as they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tifffile
from tifffile import COMPRESSION, FILLORDER

from catnip2bids.errors import ReadError, SourceError, unreadable

_COPIED = {
    COMPRESSION.NONE,
    COMPRESSION.LZW,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
    COMPRESSION.ZSTD,
}
"""Lossless encodings of single segments that most readers know."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a page are stored; segments can be copied between files with equal encodings."""

    # values of the tags; 32946, the old number of Deflate, counts as 8
    compression: int
    predictor: int
    byte_order: Literal["<", ">"]  # always `<` for values of a single byte
    rows_per_strip: int | None  # None for tiles
    tile: tuple[int, int] | None  # (rows, columns); None for strips


@dataclass(frozen=True)
class FileRange:
    """A range of bytes of a file, which the system can copy into another file by itself."""

    path: Path
    # position and number of the bytes
    offset: int
    n_bytes: int

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self.n_bytes

    def copy_to(self, descriptor: int) -> None:
        """Write the bytes at the current position of another file; raises OSError if they cannot be written."""
        with _naming(self.path):
            source = os.open(self.path, os.O_RDONLY)
        try:
            at, end = self.offset, self.offset + self.n_bytes
            while at < end:
                n_copied = _copied_by_system(source, descriptor, end - at, at)
                if n_copied == 0:
                    with _naming(self.path):
                        piece = os.pread(source, min(end - at, _PIECE_BYTES), at)
                    if not piece:
                        raise SourceError(f"{self.path}: is cut off; replace it by the original")
                    n_copied = os.write(descriptor, piece)
                at += n_copied
        finally:
            os.close(source)


def _copied_by_system(source: int, target: int, n_bytes: int, offset: int) -> int:
    """Let the system copy bytes from an offset on; return how many, which is 0 where it cannot."""
    if not hasattr(os, "copy_file_range"):  # only Linux has it
        return 0
    try:
        return os.copy_file_range(source, target, n_bytes, offset)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return 0  # not between these file systems; or reading says what is wrong


@dataclass(frozen=True)
class EncodedPlane:
    """The encoded segments of a plane."""

    counts: npt.NDArray[np.uint64]  # bytes of each segment
    data: Sequence[FileRange]  # all segments, one after the other


def encoding_of(page: tifffile.TiffPage) -> Encoding | None:
    """Return how a page is stored; None if its segments need more than the usual tags."""
    dtype = page.dtype
    if (
        dtype is None
        or dtype.kind not in "iuf"
        or page.bitspersample != dtype.itemsize * 8
        or page.fillorder != FILLORDER.MSB2LSB
        or page.compression not in _COPIED
        or page.jpegtables is not None
    ):
        return None
    deflate = COMPRESSION.ADOBE_DEFLATE
    return Encoding(
        compression=int(deflate if page.compression == COMPRESSION.DEFLATE else page.compression),
        predictor=int(page.predictor),
        byte_order=">" if page.parent.byteorder == ">" and dtype.itemsize > 1 else "<",
        rows_per_strip=None if page.is_tiled else min(page.rowsperstrip, page.shape[0]),
        tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
    )


def find_segments(path: Path, offsets: npt.NDArray[np.uint64], counts: npt.NDArray[np.uint64]) -> EncodedPlane:
    """Return the segments of a page, which has at least one; adjacent ones as one range."""
    begins = np.flatnonzero(np.concatenate(([True], offsets[1:] != offsets[:-1] + counts[:-1])))
    lengths = np.add.reduceat(counts, begins)
    data = [FileRange(path, int(at), int(n_bytes)) for at, n_bytes in zip(offsets[begins], lengths, strict=True)]
    return EncodedPlane(counts, data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReadError(unreadable(path, error)) from error
