"""Combinations of tags that have no meaning, or not the same one for every program.

Invariant: pixels of which nothing is said here are the same for tifffile and for libtiff, on which nearly all other
programs rely. Such tags come from damage more often than from programs, and pixels would become others in silence.
"""

from __future__ import annotations

import tifffile

_BILEVEL = {
    tifffile.COMPRESSION.CCITTRLE,
    tifffile.COMPRESSION.CCITT_T4,
    tifffile.COMPRESSION.CCITT_T6,
}
# TIFF 6.0 knows predictors of LZW only; libtiff's tif_lzw.c, tif_zip.c, tif_lzma.c and tif_zstd.c know them, and all
# other compressions do not look at the tag.
_PREDICTED = {
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.LZMA,
    tifffile.COMPRESSION.ZSTD,
}
_PLANAR_CONFIGURATION, _TILE_DEPTH = 284, 32998
_TAGS_OF_TILES = (322, 323, 324, 325)
_WHOLE_BITS = (8, 16, 32, 64)
_LARGEST_PACKED_BITS = 16
"""More bits, but not 32 or 64, are in the order of bytes of the file for some programs, and never for others."""


def reader_disagreement(page: tifffile.TiffPage) -> str | None:
    """Tell what of a page of gray levels is not to be understood; None if there is nothing."""
    is_float, bits = page.dtype is not None and page.dtype.kind == "f", page.bitspersample
    if page.compression in _BILEVEL and bits != 1:
        return f"{bits} bits a pixel cannot be fax-compressed (compression {int(page.compression)})"
    if bits not in _WHOLE_BITS and (bits > _LARGEST_PACKED_BITS or is_float):
        return f"programs do not agree on how to read {'floats' if is_float else 'values'} of {bits} bits"
    return _ambiguity_of_segments(page) or _ambiguity_of_predictor(page, is_float)


def _ambiguity_of_segments(page: tifffile.TiffPage) -> str | None:
    """Describe an error in the division into strips or tiles; tifffile ignores tags that it does not need."""
    if not page.is_tiled and any(tag in page.tags for tag in _TAGS_OF_TILES):
        return "the tags speak of strips and of tiles"
    for tag, possible in ((_PLANAR_CONFIGURATION, (1, 2)), (_TILE_DEPTH, (1,))):
        if (value := page.tags.valueof(tag, possible[0])) not in possible:
            return f"the tag {tag} cannot be {value}"
    return None


def _ambiguity_of_predictor(page: tifffile.TiffPage, is_float: bool) -> str | None:
    predictor, bits = page.predictor, page.bitspersample
    if predictor == tifffile.PREDICTOR.NONE:
        return None
    if predictor not in (tifffile.PREDICTOR.HORIZONTAL, tifffile.PREDICTOR.FLOATINGPOINT):
        return f"programs do not agree on the predictor {int(predictor)}"
    if page.compression not in _PREDICTED:
        return f"pixels of the compression {int(page.compression)} have no predictor, and the tags name one"
    if bits not in _WHOLE_BITS:
        return f"programs do not agree on the predictor of values of {bits} bits"
    if predictor == tifffile.PREDICTOR.FLOATINGPOINT and not is_float:
        return "whole numbers cannot have the predictor of floating point numbers"
    return None
