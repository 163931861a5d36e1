"""Checks of a TIFF page by its tags, before anything of it is decoded.

Invariant: tifffile and libtiff, on which nearly all other programs rely, read the gray levels or palette indices of a
checked page alike. (A difference usually means that the file is damaged.) Each strip or tile exists,
and decoding the page takes no more memory than its tags promise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, PREDICTOR

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes
from catnip2bids.volume import codec_headers
from catnip2bids.volume.tiff_file import saved_in_python

LARGEST_DEFLATE_RATIO = 1040.0
# The most bytes that one compressed byte can decode to; a page that claims more is damaged.
# Deflate: zlib's technical details (1032:1); PackBits: 128 bytes from 2; LZW: codes of at least 9 bits for
# strings of at most 4096 bytes.
# Zstandard: blocks of 128 KiB from 4 bytes; LZMA: measured on zeros, with a margin. Fax codes: as Zstandard.
_LARGEST_RATIO = {
    COMPRESSION.NONE: 1.0,
    COMPRESSION.ADOBE_DEFLATE: LARGEST_DEFLATE_RATIO,
    COMPRESSION.DEFLATE: LARGEST_DEFLATE_RATIO,
    COMPRESSION.PACKBITS: 64.5,
    COMPRESSION.LZW: 3641.0,
    COMPRESSION.LZMA: 10000.0,
    COMPRESSION.ZSTD: 32768.0,
    COMPRESSION.ZSTD_DEPRECATED: 32768.0,
    COMPRESSION.CCITTRLE: 32768.0,
    COMPRESSION.CCITT_T4: 32768.0,
    COMPRESSION.CCITT_T6: 32768.0,
}
"""tifffile decodes these to the size that the tags promise. Others have a size of their own, see `codec_headers`."""
_LARGEST_GROWTH = 2
_OVERHEAD_BYTES = 2**20
"""Limits of the stored size of a plane: a multiple of the bytes of its pixels, and an addition."""

_GRAY = {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE}
_BILEVEL = {COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6}
# TIFF 6.0 defines predictors for LZW only; libtiff also applies them in tif_zip.c, tif_lzma.c and tif_zstd.c, and
# ignores the tag for all other compressions.
_PREDICTED = {COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.LZMA, COMPRESSION.ZSTD}
_PLANAR_CONFIGURATION, _COLOR_MAP, _TILE_DEPTH = 284, 320, 32998
_TAGS_OF_TILES = (322, 323, 324, 325)
_WHOLE_BITS = (8, 16, 32, 64)
_LARGEST_PACKED_BITS = 16
"""Programs disagree on the byte order of values with more bits than this, except 32 and 64."""


def check_tags(page: tifffile.TiffPage, where: str) -> np.dtype[Any]:
    """Compare the tags of a page with each other and with the size of the file.

    Errors begin with the words `where`. Returns the type of the values, in native byte order.
    """
    _refuse_colors(page, where)
    if page.dtype is None or 0 in page.shape:
        raise SourceError(f"{where}has an unknown pixel type, or no pixels; replace it by the original")
    if page.dtype.kind not in "biuf":
        raise SourceError(f"{where}has values of type {page.dtype}; save it as integers or as float32")
    if (unclear := _reader_disagreement(page, page.dtype.kind == "f")) is not None:
        raise SourceError(f"{where}{unclear}; replace it by the original, or save it again uncompressed")
    _check_segments(page, where)
    return page.dtype.newbyteorder("=")


def segment_bytes(page: tifffile.TiffPage) -> int:
    """Return the memory for decoding a strip or tile, besides its stored bytes."""
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    return _decoded_bytes(page) * (itemsize + codec_headers.WORK_BYTES.get(page.compression, 0)) // itemsize


def _refuse_colors(page: tifffile.TiffPage, where: str) -> None:
    """Refuse a page with several values per pixel, or with values that are neither gray levels nor palette indices."""
    color = getattr(page.photometric, "name", page.photometric)
    if page.samplesperpixel != 1:
        first = "[..., 0]" if page.planarconfig == PLANARCONFIG.CONTIG else "[..., 0, :, :]"
        raise SourceError(
            f"{where}has {page.samplesperpixel} values per pixel ({color}), as colours and transparency need; "
            "save the one that holds the data: in Fiji with File > Import > Bio-Formats and "
            f"Image > Color > Split Channels, or {saved_in_python(f'tifffile.imread(OLD){first}')}"
        )
    if len(page.shape) != 2:
        raise SourceError(f"{where}has the shape {page.shape}, and a plane has two axes; save it as a plain TIFF stack")
    is_palette = page.photometric == PHOTOMETRIC.PALETTE
    if page.photometric not in _GRAY and not is_palette:
        raise SourceError(
            f"{where}has values that are not gray levels (photometric {color}); "
            "open it in Fiji, choose 8-bit, 16-bit or 32-bit in Image > Type, and save it"
        )
    if is_palette and np.size(page.tags.valueof(_COLOR_MAP, ())) != 3 * 2**page.bitspersample:
        raise SourceError(
            f"{where}has no colour palette for values of {page.bitspersample} bits; replace it by the original"
        )


def _reader_disagreement(page: tifffile.TiffPage, is_float: bool) -> str | None:
    """Describe a tag that is meaningless, or that programs read differently; None if there is none."""
    bits = page.bitspersample
    if page.compression in _BILEVEL and bits != 1:
        return f"{bits} bits a pixel cannot be fax-compressed (compression {int(page.compression)})"
    if bits not in _WHOLE_BITS and (bits > _LARGEST_PACKED_BITS or is_float):
        return f"programs do not agree on how to read {'floats' if is_float else 'values'} of {bits} bits"
    if not page.is_tiled and any(tag in page.tags for tag in _TAGS_OF_TILES):  # tifffile ignores them
        return "the tags speak of strips and of tiles"
    for tag, possible in ((_PLANAR_CONFIGURATION, (1, 2)), (_TILE_DEPTH, (1,))):
        if (value := page.tags.valueof(tag, possible[0])) not in possible:
            return f"the tag {tag} cannot be {value}"
    predictor = page.predictor
    if predictor == PREDICTOR.NONE:
        return None
    if predictor not in (PREDICTOR.HORIZONTAL, PREDICTOR.FLOATINGPOINT):
        return f"programs do not agree on the predictor {int(predictor)}"
    if page.compression not in _PREDICTED:
        return f"pixels of the compression {int(page.compression)} have no predictor, and the tags name one"
    if bits not in _WHOLE_BITS:
        return f"programs do not agree on the predictor of values of {bits} bits"
    if predictor == PREDICTOR.FLOATINGPOINT and not is_float:
        return "whole numbers cannot have the predictor of floating point numbers"
    return None


def _check_segments(page: tifffile.TiffPage, where: str) -> None:
    """Check that every strip or tile is there, lies inside the file, and can hold what the tags promise."""
    expected = math.prod(page.chunked)
    offsets, counts = np.asarray(page.dataoffsets), np.asarray(page.databytecounts)
    segments = "tiles" if page.is_tiled else "strips"
    if any(numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0) for numbers in (offsets, counts)):
        raise SourceError(f"{where}states impossible positions or sizes of its {segments}; replace it by the original")
    ratio = _LARGEST_RATIO.get(COMPRESSION(page.compression))
    if ratio is None:
        _check_own_sizes(page, where)
    if len(offsets) != expected or len(counts) != expected or (counts[offsets == 0] > 0).any():
        raise SourceError(f"{where}{expected} {segments} are needed and not all are there; replace it by the original")
    if (n_absent := int((counts == 0).sum())) > 0:
        # what GDAL leaves out if all is 0 (SPARSE_OK) and what an interrupted program never wrote look the same
        raise SourceError(
            f"{where}{n_absent} of {expected} {segments} are not stored; if they are meant to be empty, "
            f"have them written: {saved_in_python()}; if not, copy the original again"
        )
    n_bytes = page.parent.filehandle.size
    if (counts > n_bytes).any() or (offsets > n_bytes - counts).any():  # a sum can be too large for an integer
        raise SourceError(f"{where}is cut off (pixel data beyond the end of the file); replace it by the original")
    decoded, stored = _promised_bytes(page), int(counts.sum())
    if page.compression == COMPRESSION.NONE and (counts < decoded).any():
        raise SourceError(f"{where}strips are shorter than their rows; replace it by the original")
    if ratio is not None and (decoded > ratio * counts).any():
        raise SourceError(
            f"{where}promises {int(decoded.sum())} bytes of pixels in {stored} bytes, which cannot be; "
            "replace it by the original"
        )
    most = _LARGEST_GROWTH * expected * _decoded_bytes(page) + _OVERHEAD_BYTES
    if stored > most:
        raise SourceError(
            f"{where}is stored in {format_bytes(stored)}, and its pixels need at most {format_bytes(most)}; "
            "replace it by the original"
        )


def _decoded_bytes(page: tifffile.TiffPage) -> int:
    """Return the bytes of the largest strip or tile, as tifffile decodes it."""
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    if page.is_tiled:
        return page.tilelength * page.tilewidth * itemsize
    return min(page.rowsperstrip, page.shape[0]) * page.shape[1] * itemsize


def _promised_bytes(page: tifffile.TiffPage) -> npt.NDArray[np.int64]:
    """Return the bytes of each segment, decoded; of strips the last may have fewer rows, and tiles are always whole."""
    n_rows, n_columns = page.shape
    if page.is_tiled:
        return np.full(math.prod(page.chunked), page.tilelength * -(-page.tilewidth * page.bitspersample // 8))
    tops = np.arange(0, n_rows, min(page.rowsperstrip, n_rows))
    return np.diff(tops, append=n_rows) * -(-n_columns * page.bitspersample // 8)


def _check_own_sizes(page: tifffile.TiffPage, where: str) -> None:
    """Check that segments state their sizes, and that these agree with the tags."""
    compression = COMPRESSION(page.compression).name
    if page.compression not in codec_headers.READERS:
        raise SourceError(
            f"{where}is compressed with {compression}, which is not read; save it with Deflate or LZW, or uncompressed"
        )
    most, handle = _decoded_bytes(page), page.parent.filehandle
    for offset, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=True):
        handle.seek(offset)
        head = handle.read(min(n_bytes, codec_headers.LONGEST_HEAD))
        found = codec_headers.decoded_bytes(page.compression, head, n_bytes)
        if found is None:
            raise SourceError(
                f"{where}has a strip or tile that is not a plain gray {compression}; "
                "save it with Deflate or LZW, or uncompressed"
            )
        if found > most:
            raise SourceError(
                f"{where}has a strip or tile of {found:,} bytes of pixels, and the tags promise {most:,}; "
                "replace it by the original"
            )
