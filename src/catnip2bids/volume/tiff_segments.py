"""Strips and tiles of a TIFF page, as its tags list them.

Invariant: a page whose segments were checked lacks none of them, and is decoded in the memory that its tags promise.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes
from catnip2bids.volume import codec_headers
from catnip2bids.volume.tiff_file import saved_in_python

LARGEST_DEFLATE_RATIO = 1040.0
# How many bytes one compressed byte can stand for at the most; what claims more cannot be true.
# Deflate: zlib's technical details (1032:1); PackBits: 128 bytes from 2; LZW: codes of at least 9 bits for
# strings of at most 4096 bytes.
# Zstandard: blocks of 128 KiB from 4 bytes; LZMA: measured on zeros, with a margin. Fax codes: as Zstandard.
_LARGEST_RATIO = {
    tifffile.COMPRESSION.NONE: 1.0,
    tifffile.COMPRESSION.ADOBE_DEFLATE: LARGEST_DEFLATE_RATIO,
    tifffile.COMPRESSION.DEFLATE: LARGEST_DEFLATE_RATIO,
    tifffile.COMPRESSION.PACKBITS: 64.5,
    tifffile.COMPRESSION.LZW: 3641.0,
    tifffile.COMPRESSION.LZMA: 10000.0,
    tifffile.COMPRESSION.ZSTD: 32768.0,
    tifffile.COMPRESSION.ZSTD_DEPRECATED: 32768.0,
    tifffile.COMPRESSION.CCITTRLE: 32768.0,
    tifffile.COMPRESSION.CCITTFAX3: 32768.0,
    tifffile.COMPRESSION.CCITTFAX4: 32768.0,
}
"""tifffile decodes these to the size that the tags promise. Others have a size of their own, see `own_size`."""
_LARGEST_GROWTH = 2
_OVERHEAD_BYTES = 2**20
"""Limits of the stored size of a plane: a multiple of the bytes of its pixels, and an addition."""


def check_segments(page: tifffile.TiffPage, where: str, file_bytes: int) -> None:
    """Check that every strip or tile is there, lies inside the file, and can hold what the tags promise.

    Parameters
    ----------
    page
        The page.
    where
        The words by which errors name it.
    file_bytes
        Bytes of the file.

    Raises
    ------
    SourceError
        If that is not so.
    """
    expected = math.prod(page.chunked)
    offsets, counts = np.asarray(page.dataoffsets), np.asarray(page.databytecounts)
    segments = "tiles" if page.is_tiled else "strips"
    ratio = _LARGEST_RATIO.get(tifffile.COMPRESSION(page.compression))
    if ratio is None and codec_headers.knows(page.compression):
        _check_own_sizes(page, where)
    elif ratio is None:
        raise SourceError(
            f"{where}is compressed with {tifffile.COMPRESSION(page.compression).name}, which is not read; save it with "
            "Deflate or LZW, or uncompressed"
        )
    if len(offsets) != expected or len(counts) != expected or (counts[offsets == 0] > 0).any():
        raise SourceError(f"{where}{expected} {segments} are needed and not all are there; replace it by the original")
    if (n_absent := int((counts == 0).sum())) > 0:
        # what GDAL leaves out if all is 0 (SPARSE_OK) and what an interrupted program never wrote look the same
        raise SourceError(
            f"{where}{n_absent} of {expected} {segments} are not stored; if they are meant to be empty, "
            f"have them written: {saved_in_python()}; if not, copy the original again"
        )
    if int((offsets + counts).max()) > file_bytes:
        raise SourceError(f"{where}is cut off (pixel data beyond the end of the file); replace it by the original")
    decoded = _promised_bytes(page)
    if page.compression == tifffile.COMPRESSION.NONE and (counts < decoded).any():
        raise SourceError(f"{where}strips are shorter than their rows; replace it by the original")
    if ratio is not None and (decoded > ratio * counts).any():
        raise SourceError(
            f"{where}promises {int(decoded.sum())} bytes of pixels in {int(counts.sum())} bytes, which cannot be; "
            "replace it by the original"
        )
    most, stored = _LARGEST_GROWTH * math.prod(page.chunked) * decoded_bytes(page) + _OVERHEAD_BYTES, int(counts.sum())
    if stored > most:
        raise SourceError(
            f"{where}is stored in {format_bytes(stored)}, and its pixels need at most {format_bytes(most)}; "
            "replace it by the original"
        )


def decoded_bytes(page: tifffile.TiffPage) -> int:
    """Bytes of the largest strip or tile, as tifffile decodes it."""
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    if page.is_tiled:
        return page.tilelength * page.tilewidth * itemsize
    return min(page.rowsperstrip, page.shape[0]) * page.shape[1] * itemsize


def segment_bytes(page: tifffile.TiffPage) -> int:
    """Memory for decoding a strip or tile, besides its stored bytes."""
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    return decoded_bytes(page) * (itemsize + codec_headers.work_bytes(page.compression)) // itemsize


def _check_own_sizes(page: tifffile.TiffPage, where: str) -> None:
    """Check that the sizes stated by segments agree with the tags."""
    most, handle = decoded_bytes(page), page.parent.filehandle
    for offset, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=True):
        handle.seek(offset)
        head = handle.read(min(n_bytes, codec_headers.LONGEST_HEAD))
        found = codec_headers.decoded_bytes(page.compression, head, n_bytes)
        if found is None:
            raise SourceError(
                f"{where}has a strip or tile that is not a plain gray {tifffile.COMPRESSION(page.compression).name}; "
                "save it with Deflate or LZW, or uncompressed"
            )
        if found > most:
            raise SourceError(
                f"{where}has a strip or tile of {found:,} bytes of pixels, and the tags promise {most:,}; "
                "replace it by the original"
            )


def _promised_bytes(page: tifffile.TiffPage) -> npt.NDArray[np.int64]:
    """Bytes of each strip or tile, decoded; of strips the last may have fewer rows, and tiles are always whole."""
    n_rows, n_columns = page.shape
    if page.is_tiled:
        return np.full(math.prod(page.chunked), page.tilelength * -(-page.tilewidth * page.bitspersample // 8))
    tops = np.arange(0, n_rows, min(page.rowsperstrip, n_rows))
    return np.diff(tops, append=n_rows) * -(-n_columns * page.bitspersample // 8)
