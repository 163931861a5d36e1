"""TIFF pages, read strictly: what tifffile would ignore silently is an error that names the file.

Invariant: a page is decoded only after its tags were found to agree with each other and with the size of the file,
and the decoded array has the shape and dtype that the tags promise. (tifffile returns zeros for missing strips.)
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.errors import ReadError, SourceError
from catnip2bids.formatting import format_shape
from catnip2bids.volume.open_plane import OpenPlane, StripPlane, WholePlane
from catnip2bids.volume.pixel_meaning import PixelMeaning, meaning_of
from catnip2bids.volume.tiff_compat import reader_disagreement
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding, encoding_of, find_segments
from catnip2bids.volume.tiff_file import check_directory, open_tiff, saved_in_python
from catnip2bids.volume.tiff_segments import check_segments, segment_bytes

MOST_ROWS_PER_STRIP = 64
"""Rows are read out of compressed strips of so many rows at the most; larger ones are like planes of a single strip."""
ROWS_AT_A_TIME = 256
MOST_READ_BYTES = 256 * 2**20
"""Memory for reading a page in `validate` and `report`, which have no memory limit of their own."""
_SMALL_PLANE_BYTES = 2**19
"""Files of smaller planes are opened for each reading: a block may have more of them than one process may open."""
_MOST_LEVELS = 64
_COLOR_MAP = 320
_GRAY = {tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE}
_PLAIN = {tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE}


@dataclass(frozen=True)
class PageLayout:
    """Shape, type and encoding of one page."""

    # rows and columns; type in native byte order
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    # whether rows can be read without decoding all of it; pages of one volume may differ
    reads_rows: bool = field(default=True, compare=False)
    # None if its segments cannot be copied into another file
    encoding: Encoding | None = field(default=None, compare=False)
    # compared separately, so that the message says what differs
    meaning: PixelMeaning = field(default=PixelMeaning(), compare=False)
    # memory that decoding a strip or tile takes: tiles may be larger than the page
    segment_bytes: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Sizes as people give them: X x Y."""
        return f"{format_shape(self.shape)} {self.dtype}"

    @property
    def half_shape(self) -> tuple[int, int]:
        """Rows and columns of the next lower level."""
        n_rows, n_columns = self.shape
        return math.ceil(n_rows / 2), math.ceil(n_columns / 2)


def check_page(tiff: tifffile.TiffFile, index: int, offset: int | None = None) -> tuple[tifffile.TiffPage, PageLayout]:
    """Compare the tags of one page with each other and with the file's size; decodes nothing. Returns the page, too.

    Parameters
    ----------
    tiff, index
        The file, and the number of the page, from 0.
    offset
        Where the directory of the page, or of a lower level of it, is, if that is known.

    Raises
    ------
    SourceError
        For colour images, missing or cut off strips, and sizes that the file cannot hold.
    """
    page, where = page_at(tiff, index, offset)
    return page, check_tags(page, where)


def levels_of(
    tiff: tifffile.TiffFile, index: int, offset: int | None = None
) -> list[tuple[tifffile.TiffPage, PageLayout]]:
    """Check a page and its lower levels, as `check_page` does; decodes nothing. Returns all of them."""
    page, layout = check_page(tiff, index, offset)
    lower = subifds(page, f"{tiff.filehandle.path}: page {index + 1}: ")
    return [(page, layout), *(check_page(tiff, index, level) for level in lower)]


def subifds(page: tifffile.TiffPage, where: str) -> tuple[int, ...]:
    """Return where the directories of the lower levels of a page are.

    Raises
    ------
    SourceError
        If there are too many, or tifffile would read too much of one.
    """
    offsets = page.subifds or ()
    if len(offsets) > _MOST_LEVELS:
        raise SourceError(
            f"{where}has {len(offsets):,} SubIFDs, more than an image has levels; replace it by the original"
        )
    for offset in offsets:
        check_directory(page.parent, Path(page.parent.filehandle.path), offset)
    return offsets


def check_tags(page: tifffile.TiffPage, where: str) -> PageLayout:
    """Check a page; errors begin with the words `where`.

    Raises
    ------
    SourceError
        As in `check_page`.
    """
    _refuse_colors(page, where)
    if page.dtype is None or 0 in page.shape:
        raise SourceError(f"{where}has an unknown pixel type, or no pixels; replace it by the original")
    if page.dtype.kind not in "biuf":
        raise SourceError(f"{where}has values of type {page.dtype}; save it as integers or as float32")
    if (unclear := reader_disagreement(page)) is not None:
        raise SourceError(f"{where}{unclear}; replace it by the original, or save it again uncompressed")
    check_segments(page, where, page.parent.filehandle.size)
    shape, dtype = (page.shape[0], page.shape[1]), page.dtype.newbyteorder("=")
    return PageLayout(shape, dtype, _reads_rows(page), encoding_of(page), meaning_of(page), segment_bytes(page))


def _refuse_colors(page: tifffile.TiffPage, where: str) -> None:
    """Refuse a page with several values per pixel, or with values that are neither gray levels nor palette indices."""
    color = getattr(page.photometric, "name", page.photometric)
    if page.samplesperpixel != 1:
        first = "[..., 0]" if page.planarconfig == tifffile.PLANARCONFIG.CONTIG else "[..., 0, :, :]"
        raise SourceError(
            f"{where}has {page.samplesperpixel} values per pixel ({color}), as colours and transparency need; "
            "save the one that holds the data: in Fiji with File > Import > Bio-Formats and "
            f"Image > Color > Split Channels, or {saved_in_python(f'tifffile.imread(OLD){first}')}"
        )
    if len(page.shape) != 2:
        raise SourceError(f"{where}has the shape {page.shape}, and a plane has two axes; save it as a plain TIFF stack")
    is_palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if page.photometric not in _GRAY and not is_palette:
        raise SourceError(
            f"{where}has values that are not gray levels (photometric {color}); "
            "open it in Fiji, choose 8-bit, 16-bit or 32-bit in Image > Type, and save it"
        )
    if is_palette and np.size(page.tags.valueof(_COLOR_MAP, ())) != 3 * 2**page.bitspersample:
        raise SourceError(
            f"{where}has no colour palette for values of {page.bitspersample} bits; replace it by the original"
        )


def open_page(
    path: Path, index: int, expected: PageLayout, offset: int | None = None, n_bytes_behind: int = 0
) -> OpenPlane:
    """Open one page for reading; it must be just as it was when inspected.

    Parameters
    ----------
    path, index
        The file, and the number of the page, from 0.
    expected
        What the page is.
    offset
        Where the directory of the page is, if that is known.
    n_bytes_behind
        How far behind the pixels of the directory those of the plane are, where one directory stands for many planes.

    Raises
    ------
    SourceError
        If the file cannot be read, or the page changed since.
    """
    layout, plane = open_lone_page(path, index, offset, n_bytes_behind)
    if layout != expected:
        plane.close()
        raise SourceError(
            f"{path}: page {index + 1} is {layout} and was {expected}; run again when nothing writes to it"
        )
    return plane


def open_lone_page(
    path: Path, index: int, offset: int | None = None, n_bytes_behind: int = 0
) -> tuple[PageLayout, OpenPlane]:
    """Open a page that was not inspected before; return its layout, too.

    Raises
    ------
    SourceError
        If the file cannot be read, or the page is damaged.
    """
    with open_tiff(path) as tiff:
        page, where = page_at(tiff, index, offset)
        if n_bytes_behind:
            page.dataoffsets = tuple(at + n_bytes_behind for at in page.dataoffsets)
        layout = check_tags(page, where)
        if not has_plain_strips(page):
            return layout, WholePlane(lambda: _decoded(path, index, layout, offset))
        return layout, StripPlane(
            path=path,
            where=where,
            descriptor=os.open(path, os.O_RDONLY) if _plane_bytes(layout) > _SMALL_PLANE_BYTES else None,
            offsets=page.dataoffsets,
            counts=page.databytecounts,
            shape=layout.shape,
            stored=layout.dtype.newbyteorder("<" if tiff.byteorder == "<" else ">"),
            rows_per_strip=min(page.rowsperstrip, layout.shape[0]),
            deflated=page.compression != tifffile.COMPRESSION.NONE,
        )


def agreed(layouts: Iterable[PageLayout]) -> PageLayout:
    """Return the layout that holds for all pages of a volume, which have one shape and type."""
    pages = list(layouts)
    encodings = {page.encoding for page in pages}
    return replace(
        pages[0],
        reads_rows=all(page.reads_rows for page in pages),
        encoding=encodings.pop() if len(encodings) == 1 else None,
        segment_bytes=max(page.segment_bytes for page in pages),
    )


def read_encoded(path: Path, index: int, expected: PageLayout, offset: int | None = None) -> EncodedPlane:
    """Find the segments of a page, without reading or decoding them.

    Raises
    ------
    SourceError
        If the file cannot be read, or the page changed since.
    """
    with open_tiff(path) as tiff:
        page, where = page_at(tiff, index, offset)
        layout = check_tags(page, where)
        if layout != expected or layout.encoding != expected.encoding:
            raise SourceError(f"{path}: page {index + 1} is not what it was; run again when nothing writes to it")
        offsets, counts = (np.asarray(numbers, np.uint64) for numbers in (page.dataoffsets, page.databytecounts))
        return find_segments(path, offsets, counts)


def bytes_of_a_strip(layout: PageLayout) -> int:
    """Memory of the largest strip whose rows can be read."""
    return min(MOST_ROWS_PER_STRIP, layout.shape[0]) * layout.shape[1] * layout.dtype.itemsize


def bytes_to_decode(layout: PageLayout) -> int:
    """Memory for decoding a page whose rows cannot be read: its pixels and its stored bytes."""
    return _plane_bytes(layout) + max(_plane_bytes(layout), layout.segment_bytes)


def bytes_to_read(layout: PageLayout) -> int:
    """Memory for reading a page: `ROWS_AT_A_TIME` rows, or all of it if rows cannot be read."""
    if not layout.reads_rows:
        return bytes_to_decode(layout)
    n_rows = min(ROWS_AT_A_TIME, layout.shape[0])
    return bytes_of_a_strip(layout) + n_rows * layout.shape[1] * layout.dtype.itemsize


def _plane_bytes(layout: PageLayout) -> int:
    return math.prod(layout.shape) * layout.dtype.itemsize


def _reads_rows(page: tifffile.TiffPage) -> bool:
    small = page.compression == tifffile.COMPRESSION.NONE or page.rowsperstrip <= MOST_ROWS_PER_STRIP
    return has_plain_strips(page) and small


def has_plain_strips(page: tifffile.TiffPage) -> bool:
    """Tell whether a page has strips of whole bytes, stored or deflated, that need nothing but that undone."""
    return (
        not page.is_tiled
        and page.predictor == tifffile.PREDICTOR.NONE
        and page.fillorder == tifffile.FILLORDER.MSB2LSB
        and page.compression in _PLAIN
        and page.dtype is not None
        and page.dtype.kind in "iuf"
        and page.bitspersample == page.dtype.itemsize * 8
    )


def _decoded(path: Path, index: int, expected: PageLayout, offset: int | None) -> npt.NDArray[Any]:
    """Decode a page as a whole, with tifffile."""
    where = f"{path}: "
    try:
        with open_tiff(path) as tiff:
            page, where = page_at(tiff, index, offset)
            decoded = page.asarray(maxworkers=1)
            if decoded.shape != expected.shape or decoded.dtype.newbyteorder("=") != expected.dtype:
                found = f"{format_shape(decoded.shape)} {decoded.dtype}"
                raise SourceError(f"{where}decodes to {found}, not to {expected}; replace it by the original")
            return decoded
    except ReadError:
        raise
    except SourceError as error:
        text = str(error)
        raise SourceError(text if text.startswith(where) else text.replace(f"{path}: ", where, 1)) from error


def page_at(tiff: tifffile.TiffFile, index: int, offset: int | None) -> tuple[tifffile.TiffPage, str]:
    """Return an unchecked page, and the words by which errors name it."""
    path = tiff.filehandle.path
    where = f"{path}: page {index + 1}: " if index or tiff.pages.is_multipage else f"{path}: "
    if offset is not None:
        tiff.filehandle.seek(offset)
        return tifffile.TiffPage(tiff, index=index), where
    page = tiff.pages[index]
    if not isinstance(page, tifffile.TiffPage):
        raise SourceError(f"{where}cannot be checked; save the file again as a plain TIFF stack")
    return page, where
