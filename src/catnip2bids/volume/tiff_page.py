"""The pages of a TIFF file, read strictly: their layout, which of them are planes, and how they are opened.

Invariant: a page is decoded only after its tags were found to agree with each other and with the size of the file,
and the decoded array has the shape and dtype that the tags promise. (tifffile returns zeros for missing strips.) A page
is left out only if the file marks it as a copy of reduced resolution and it is smaller than every plane, or if it is a
SubIFD and smaller than its plane.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from tifffile import COMPRESSION, FILLORDER, PREDICTOR

from catnip2bids.errors import ReadError, SourceError
from catnip2bids.formatting import format_shape
from catnip2bids.volume.open_plane import OpenPlane, StripPlane, WholePlane
from catnip2bids.volume.pixel_meaning import PixelMeaning, meaning_of
from catnip2bids.volume.tiff_checks import check_tags, segment_bytes
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding, encoding_of, find_segments
from catnip2bids.volume.tiff_file import StackedAxes, check_directory, open_tiff, page_offsets, stacked_axes
from catnip2bids.volume.volume import ReadCost

MOST_ROWS_PER_STRIP = 64
"""Rows are read from compressed strips of up to this many rows; a page with larger ones counts as a single strip."""
ROWS_AT_A_TIME = 256
MOST_READ_BYTES = 256 * 2**20
"""Memory for reading a page in `validate` and `report`, which have no memory limit of their own."""
_SMALL_PLANE_BYTES = 2**19
"""Files of smaller planes are opened for each reading: a block may have more of them than one process may open."""
_MOST_LEVELS = 64
_SUBFILE_TYPE, _REDUCED = 255, 2
"""TIFF 6.0 replaced the tag SubfileType by NewSubfileType, of which bit 0 says the same."""
_PLAIN = {COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE}


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
        """Return size and type, with X first: ``36 x 40 uint16``."""
        return f"{format_shape(self.shape)} {self.dtype}"

    @property
    def half_shape(self) -> tuple[int, int]:
        """Rows and columns of the next lower level."""
        n_rows, n_columns = self.shape
        return math.ceil(n_rows / 2), math.ceil(n_columns / 2)


@dataclass(frozen=True)
class PageSize:
    """Rows and columns of a page, and whether it is marked as a copy of reduced resolution."""

    n_rows: int
    n_columns: int
    marked: bool = False

    def is_smaller(self, other: PageSize) -> bool:
        """Tell whether there are fewer pixels than in another page, and no side is longer."""
        sides = (self.n_rows, self.n_columns), (other.n_rows, other.n_columns)
        return sides[0] != sides[1] and all(mine <= theirs for mine, theirs in zip(*sides, strict=True))


@dataclass(frozen=True)
class CheckedPlanes:
    """The planes of one file."""

    layouts: Mapping[int, PageLayout]  # by the index of the page
    offsets: tuple[int, ...]  # positions of their directories
    stacked_axes: tuple[StackedAxes, ...]  # by tifffile's descriptions, which only the first plane of an image has
    n_copies: int  # reduced copies in the file, without the levels of an OME-TIFF


@dataclass(frozen=True)
class TiffPlanes:
    """Base class of volumes whose planes are TIFF pages of one layout, in one file or several."""

    layout: PageLayout  # of each plane, when it was inspected

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return self.layout.dtype

    @property
    def encoding(self) -> Encoding | None:
        """The encoding of all planes; None if they differ, or cannot be copied into another file."""
        return self.layout.encoding

    @property
    def read_cost(self) -> ReadCost:
        """Memory of a strip for each open plane; that of decoding a plane where rows cannot be read."""
        by_rows = self.layout.reads_rows
        decoding_bytes = 0 if by_rows else bytes_to_decode(self.layout)
        return ReadCost(by_rows, open_bytes=bytes_of_a_strip(self.layout), decoding_bytes=decoding_bytes)


def page_at(tiff: tifffile.TiffFile, index: int, offset: int | None = None) -> tuple[tifffile.TiffPage, str]:
    """Return an unchecked page, and the words by which errors name it.

    Pages count from 0. If the position of the directory is known, pages before it are not read.
    """
    path = tiff.filehandle.path
    where = f"{path}: page {index + 1}: " if index or tiff.pages.is_multipage else f"{path}: "
    if offset is not None:
        tiff.filehandle.seek(offset)
        return tifffile.TiffPage(tiff, index=index), where
    page = tiff.pages[index]
    if not isinstance(page, tifffile.TiffPage):
        raise SourceError(f"{where}cannot be checked; save the file again as a plain TIFF stack")
    return page, where


def check_page(tiff: tifffile.TiffFile, index: int, offset: int | None = None) -> tuple[tifffile.TiffPage, PageLayout]:
    """Check a page, or a lower level of it if the directory at `offset` is one; returns it with its layout."""
    page, where = page_at(tiff, index, offset)
    return page, checked_layout(page, where)


def checked_layout(page: tifffile.TiffPage, where: str) -> PageLayout:
    """Check a page, and return its layout; errors begin with the words `where`."""
    dtype = check_tags(page, where)
    small = page.compression == COMPRESSION.NONE or page.rowsperstrip <= MOST_ROWS_PER_STRIP
    return PageLayout(
        shape=(page.shape[0], page.shape[1]),
        dtype=dtype,
        reads_rows=has_plain_strips(page) and small,
        encoding=encoding_of(page),
        meaning=meaning_of(page),
        segment_bytes=segment_bytes(page),
    )


def levels_of(
    tiff: tifffile.TiffFile, index: int, offset: int | None = None
) -> list[tuple[tifffile.TiffPage, PageLayout]]:
    """Check a page and its lower levels, as `check_page` does; returns all of them."""
    page, layout = check_page(tiff, index, offset)
    lower = _subifds(page, f"{tiff.filehandle.path}: page {index + 1}: ")
    return [(page, layout), *(check_page(tiff, index, level) for level in lower)]


def _subifds(page: tifffile.TiffPage, where: str) -> tuple[int, ...]:
    """Return the positions of the directories of lower levels; checks that tifffile can read them."""
    offsets = page.subifds or ()
    if len(offsets) > _MOST_LEVELS:
        raise SourceError(
            f"{where}has {len(offsets):,} SubIFDs, more than an image has levels; replace it by the original"
        )
    for offset in offsets:
        check_directory(page.parent, Path(page.parent.filehandle.path), offset)
    return offsets


def check_planes(tiff: tifffile.TiffFile) -> CheckedPlanes:
    """Check all pages of a file that are planes; their SubIFDs must be smaller."""
    offsets, sizes, n_copies = page_offsets(tiff), [], 0
    layouts: dict[int, PageLayout] = {}
    axes: dict[int, StackedAxes] = {}

    def check(page: tifffile.TiffPage, where: str) -> int:
        layouts[page.index], axes[page.index] = checked_layout(page, where), stacked_axes(page)
        return _count_subifds(page, where)

    for index, offset in enumerate(offsets):
        page, where = page_at(tiff, index, offset if index else None)
        sizes.append(_size(page))
        if not sizes[-1].marked:
            n_copies += check(page, where)
    reduced = reduced_pages(sizes)
    for index in (index for index, size in enumerate(sizes) if size.marked and index not in reduced):
        n_copies += check(*page_at(tiff, index, offsets[index]))
    planes = sorted(layouts)
    return CheckedPlanes(
        layouts={index: layouts[index] for index in planes},
        offsets=tuple(offsets[index] for index in planes),
        stacked_axes=tuple(axes[index] for index in planes),
        n_copies=len(reduced) + (0 if tiff.is_ome else n_copies),
    )


def plane_pages(path: Path) -> tuple[int, ...]:
    """Return the indices of the pages of a TIFF file that are planes, without checking them."""
    with open_tiff(path) as tiff:
        offsets = page_offsets(tiff)
    reduced: frozenset[int] = frozenset()
    if len(offsets) > 1:
        try:
            with open_tiff(path) as tiff:
                reduced = reduced_pages([_size(page_at(tiff, *place)[0]) for place in enumerate(offsets)])
        except SourceError:
            pass  # the damaged page is named when it is opened
    return tuple(index for index in range(len(offsets)) if index not in reduced)


def reduced_pages(sizes: Sequence[PageSize]) -> frozenset[int]:
    """Return the indices of the pages that are marked as reduced, and are smaller than all pages that are not."""
    planes = {size for size in sizes if not size.marked}
    return frozenset(
        index
        for index, size in enumerate(sizes)
        if size.marked and planes and all(size.is_smaller(plane) for plane in planes)
    )


def _size(page: tifffile.TiffPage) -> PageSize:
    marked = page.is_reduced or page.tags.valueof(_SUBFILE_TYPE) == _REDUCED
    return PageSize(page.imagelength, page.imagewidth, marked)


def _count_subifds(page: tifffile.TiffPage, where: str) -> int:
    """Count the SubIFDs of a page, which must be smaller than the page."""
    size, tiff, offsets = _size(page), page.parent, _subifds(page, where)
    for offset in offsets:
        tiff.filehandle.seek(offset)
        try:
            below = _size(tifffile.TiffPage(tiff, index=page.index))
        except tifffile.TiffFileError as error:
            raise SourceError(f"{where}has a damaged SubIFD ({error}); replace it by the original") from error
        if below.n_rows and not below.is_smaller(size):
            raise SourceError(
                f"{where}has another image of {format_shape((below.n_rows, below.n_columns))} in a SubIFD; "
                "save each image by itself, for instance from Fiji"
            )
    return len(offsets)


def open_page(
    path: Path, index: int, expected: PageLayout, offset: int | None = None, n_bytes_behind: int = 0
) -> OpenPlane:
    """Open a page for reading, as `open_lone_page` does; refuse it if its shape or type has changed."""
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
    """Open a page that was not inspected before; returns its layout, too.

    Where one directory stands for many planes, the pixels of the plane are `n_bytes_behind` those of the directory.
    """
    with open_tiff(path) as tiff:
        page, where = page_at(tiff, index, offset)
        if n_bytes_behind:
            page.dataoffsets = tuple(at + n_bytes_behind for at in page.dataoffsets)
        layout = checked_layout(page, where)
        if not has_plain_strips(page):
            return layout, WholePlane(lambda: _decoded(path, index, layout, offset))
        return layout, StripPlane(
            path=path,
            where=where,
            descriptor=os.open(path, os.O_RDONLY) if plane_bytes(layout) > _SMALL_PLANE_BYTES else None,
            offsets=page.dataoffsets,
            counts=page.databytecounts,
            shape=layout.shape,
            stored=layout.dtype.newbyteorder("<" if tiff.byteorder == "<" else ">"),
            rows_per_strip=min(page.rowsperstrip, layout.shape[0]),
            deflated=page.compression != COMPRESSION.NONE,
        )


def read_encoded(path: Path, index: int, expected: PageLayout, offset: int | None = None) -> EncodedPlane:
    """Find the segments of a page without reading them; refuse a page whose shape, type or encoding has changed."""
    with open_tiff(path) as tiff:
        page, layout = check_page(tiff, index, offset)
        if layout != expected or layout.encoding != expected.encoding:
            raise SourceError(f"{path}: page {index + 1} is not what it was; run again when nothing writes to it")
        offsets, counts = (np.asarray(numbers, np.uint64) for numbers in (page.dataoffsets, page.databytecounts))
        return find_segments(path, offsets, counts)


def has_plain_strips(page: tifffile.TiffPage) -> bool:
    """Tell whether a page has strips of whole bytes, stored or deflated, that need nothing but that undone."""
    return (
        not page.is_tiled
        and page.predictor == PREDICTOR.NONE
        and page.fillorder == FILLORDER.MSB2LSB
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


def plane_bytes(layout: PageLayout) -> int:
    """Return the bytes of the pixels of a page."""
    return math.prod(layout.shape) * layout.dtype.itemsize


def bytes_of_a_strip(layout: PageLayout) -> int:
    """Return the memory of the largest strip whose rows can be read."""
    return min(MOST_ROWS_PER_STRIP, layout.shape[0]) * layout.shape[1] * layout.dtype.itemsize


def bytes_to_decode(layout: PageLayout) -> int:
    """Return the memory for decoding a page whose rows cannot be read: its pixels and its stored bytes."""
    return plane_bytes(layout) + max(plane_bytes(layout), layout.segment_bytes)


def bytes_to_read(layout: PageLayout) -> int:
    """Return the memory for reading a page: `ROWS_AT_A_TIME` rows, or all of it if rows cannot be read."""
    if not layout.reads_rows:
        return bytes_to_decode(layout)
    n_rows = min(ROWS_AT_A_TIME, layout.shape[0])
    return bytes_of_a_strip(layout) + n_rows * layout.shape[1] * layout.dtype.itemsize
