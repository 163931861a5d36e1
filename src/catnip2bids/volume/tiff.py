"""TIFF pages, read strictly: whatever tifffile would pass over in silence is an error that names the file.

Invariant: a page is decoded only after its tags were found to agree with each other and with the size of
the file, and the decoded array has the shape and dtype that the tags promise. (tifffile returns zeros for
missing strips, and an empty array for a file cut off before its directory.)
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.errors import ReadError, SourceError
from catnip2bids.special import refuse_special
from catnip2bids.volume.ambiguity import ambiguity
from catnip2bids.volume.encoding import EncodedPlane, Encoding, encoding_of, find_segments
from catnip2bids.volume.planes import OpenPlane, StripPlane, WholePlane
from catnip2bids.volume.segments import check_segments

MOST_ROWS_PER_STRIP = 64
"""Rows are read out of compressed strips of so many rows at the most; larger ones are like planes of a single strip."""
_MOST_TAGS = 4096
_UIC2_TAG = 33629
"""Of MetaMorph; it has as many values as there are planes."""
_SMALL_PLANE_BYTES = 4 * 2**20
"""Of smaller planes thousands are open at a time, which is more than a system lets one program open."""
_OS_ERROR = re.compile(r"raised OSError\(\d+")
_PLAIN = {tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE}


@dataclass(frozen=True)
class PageLayout:
    """What one page is.

    Attributes
    ----------
    shape, dtype
        Rows and columns, and type in native byte order.
    reads_rows
        Whether rows can be read without decoding all of it. Pages of one volume may differ in that.
    encoding
        How it is stored; None where its segments cannot stand in another file as they are.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    reads_rows: bool = field(default=True, compare=False)
    encoding: Encoding | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Sizes as people give them: X x Y."""
        return f"{self.shape[1]} x {self.shape[0]} {self.dtype}"


class _Complaints(logging.Handler):
    """The errors that tifffile only logs, in this thread, while a file is open."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._thread = threading.get_ident()
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._messages.append(record.getMessage())

    @contextmanager
    def listening(self) -> Iterator[None]:
        logger = tifffile.logger()
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)

    def raise_for(self, path: Path) -> None:
        if any(_OS_ERROR.search(message) for message in self._messages):
            raise ReadError(f"{path}: cannot be read ({self._messages[0]})")
        if self._messages:
            raise SourceError(f"{path}: damaged TIFF ({self._messages[0]}); replace it by the original")


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; everything that goes wrong inside becomes a SourceError that names it.

    A damaged TIFF makes tifffile raise almost anything (TypeError, ZeroDivisionError, MemoryError, ...).
    """
    refuse_special(path)
    complaints = _Complaints()
    try:
        with complaints.listening(), tifffile.TiffFile(path) as tiff:
            yield tiff
        complaints.raise_for(path)
    except SourceError:
        raise
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from error
    except tifffile.TiffFileError as error:
        _raise_what_the_system_said(error, path)
        raise SourceError(f"{path}: not a TIFF file ({error}); replace it by the original") from error
    except (
        ArithmeticError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        _raise_what_the_system_said(error, path)
        if isinstance(error, ValueError) and str(error).endswith(" not supported"):
            raise SourceError(f"{path}: cannot be decoded here ({error}); save it with another compression") from error
        raise SourceError(
            f"{path}: damaged TIFF ({type(error).__name__}: {error}); replace it by the original"
        ) from error


def _raise_what_the_system_said(error: BaseException, path: Path) -> None:
    """Raise the error of the system that is behind one of tifffile's, if there is one: the file may be as it should be.

    Raises
    ------
    ReadError
        If the system could not read the file.
    """
    behind = error.__cause__ or error.__context__
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno is not None:
            raise ReadError(f"{path}: cannot be read: {behind.strerror}") from error
        behind = behind.__cause__ or behind.__context__


def count_pages(tiff: tifffile.TiffFile) -> int:
    """Count the pages of the file; fails where metadata and directory disagree or the file is cut off."""
    return len(page_offsets(tiff))


def page_offsets(tiff: tifffile.TiffFile) -> tuple[int, ...]:
    """Return where the directory of each page is: with that, a page is found without going through all before it.

    Fails where metadata and directory disagree or the file is cut off.
    """
    path = Path(tiff.filehandle.path)
    offsets = _follow_directories(tiff, path)
    n_pages = len(offsets)
    if n_pages == 0 or n_pages != len(tiff.pages):
        raise SourceError(f"{path}: has no image in it, the file is cut off or empty; replace it by the original")
    who, declared = _declared_pages(tiff)
    if declared > n_pages:
        raise SourceError(
            f"{path}: {who} promises {declared} images and the file lists {n_pages}; "
            "save it again as a plain TIFF stack"
        )
    return offsets


def _declared_pages(tiff: tifffile.TiffFile) -> tuple[str, int]:
    """Return how many planes metadata of the first page promise, and whose: some programs list but one of them."""
    first = tiff.pages.first
    if first.is_stk and (uic2 := first.tags.get(_UIC2_TAG)) is not None:
        return "MetaMorph metadata", int(uic2.count)
    if tiff.is_imagej:
        return "ImageJ metadata", int((tiff.imagej_metadata or {}).get("images", 1))
    if first.shaped_description is not None and '"truncated"' in first.shaped_description:
        shape = json.loads(first.shaped_description)["shape"]
        return "tifffile's metadata", math.prod(shape) // max(math.prod(first.shape), 1)
    return "", 1


def count_stack_pages(path: Path) -> int:
    """Count the pages of a TIFF file.

    Raises
    ------
    SourceError
        If the file cannot be read, or its list of pages is damaged.
    """
    with open_tiff(path) as tiff:
        return count_pages(tiff)


def check_page(tiff: tifffile.TiffFile, index: int, offset: int | None = None) -> PageLayout:
    """Compare the tags of one page with each other and with the file's size; decodes nothing.

    Parameters
    ----------
    tiff, index
        The file, and the number of the page, from 0.
    offset
        Where the directory of the page is, if that is known.

    Raises
    ------
    SourceError
        For colour images, missing or cut off strips, and sizes that the file cannot hold.
    """
    return _checked(*_page(tiff, index, offset))


def check_page_at(tiff: tifffile.TiffFile, index: int, offset: int) -> tuple[tifffile.TiffPage, PageLayout]:
    """Check a page, or a lower level of it, of which the directory is at an offset; returns it, too.

    Raises
    ------
    SourceError
        As in `check_page`.
    """
    page, where = _page(tiff, index, offset)
    return page, _checked(page, where)


def _checked(page: tifffile.TiffPage, where: str) -> PageLayout:
    if page.samplesperpixel != 1 or len(page.shape) != 2:
        raise SourceError(f"{where}is not a grayscale plane (shape {page.shape}); only gray levels can be packaged")
    if page.photometric not in {tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE}:
        raise SourceError(f"{where}has colours (photometric {page.photometric}); only gray levels can be packaged")
    if page.dtype is None or 0 in page.shape:
        raise SourceError(f"{where}unknown pixel type or empty image; replace it by the original")
    if page.dtype.kind not in "biuf":
        raise SourceError(f"{where}has values of type {page.dtype}; save it as integers or as float32")
    if (unclear := ambiguity(page)) is not None:
        raise SourceError(f"{where}{unclear}; replace it by the original, or save it again uncompressed")
    check_segments(page, where, page.parent.filehandle.size)
    shape, dtype = (page.shape[0], page.shape[1]), page.dtype.newbyteorder("=")
    return PageLayout(shape, dtype, _reads_rows(page), encoding_of(page))


def open_page(path: Path, index: int, expected: PageLayout, offset: int | None = None) -> OpenPlane:
    """Open one page for reading; it must be just as the census saw it.

    Parameters
    ----------
    path, index
        The file, and the number of the page, from 0.
    expected
        What the page is.
    offset
        Where the directory of the page is, if that is known.

    Raises
    ------
    SourceError
        If the file cannot be read, or the page changed since.
    """
    layout, plane = open_lone_page(path, index, offset)
    if layout != expected:
        plane.close()
        raise SourceError(f"{path}: page {index + 1} is {layout} and was {expected}; did the file change?")
    return plane


def open_lone_page(path: Path, index: int, offset: int | None = None) -> tuple[PageLayout, OpenPlane]:
    """Open one page that no census was taken of; returns what it is, too.

    Raises
    ------
    SourceError
        If the file cannot be read, or the page is damaged.
    """
    with open_tiff(path) as tiff:
        page, where = _page(tiff, index, offset)
        layout = _checked(page, where)
        if not _has_plain_strips(page):
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
    """Return what can be said of all pages of a volume, which have one shape and type."""
    pages = list(layouts)
    encodings = {page.encoding for page in pages}
    return replace(
        pages[0],
        reads_rows=all(page.reads_rows for page in pages),
        encoding=encodings.pop() if len(encodings) == 1 else None,
    )


def read_encoded(path: Path, index: int, expected: PageLayout, offset: int | None = None) -> EncodedPlane:
    """Find the segments of a page, without reading or decoding them.

    Raises
    ------
    SourceError
        If the file cannot be read, or the page changed since.
    """
    with open_tiff(path) as tiff:
        page, where = _page(tiff, index, offset)
        layout = _checked(page, where)
        if layout != expected or layout.encoding != expected.encoding:
            raise SourceError(f"{path}: page {index + 1} is not what it was; did the file change?")
        offsets, counts = (np.asarray(numbers, np.uint64) for numbers in (page.dataoffsets, page.databytecounts))
        return find_segments(path, offsets, counts)


def bytes_of_a_strip(layout: PageLayout) -> int:
    """Memory that the largest strip takes of which rows can be read."""
    return min(MOST_ROWS_PER_STRIP, layout.shape[0]) * layout.shape[1] * layout.dtype.itemsize


def bytes_to_decode(layout: PageLayout) -> int:
    """Memory that it takes to decode a page of which rows cannot be read: the page is there encoded and decoded."""
    return 2 * _plane_bytes(layout)


def _plane_bytes(layout: PageLayout) -> int:
    return math.prod(layout.shape) * layout.dtype.itemsize


def _reads_rows(page: tifffile.TiffPage) -> bool:
    small = page.compression == tifffile.COMPRESSION.NONE or page.rowsperstrip <= MOST_ROWS_PER_STRIP
    return _has_plain_strips(page) and small


def _has_plain_strips(page: tifffile.TiffPage) -> bool:
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
            page, where = _page(tiff, index, offset)
            decoded = page.asarray(maxworkers=1)
            if decoded.shape != expected.shape or decoded.dtype.newbyteorder("=") != expected.dtype:
                raise SourceError(f"{where}decodes to {decoded.shape} {decoded.dtype}, not to {expected}")
            return decoded
    except ReadError:
        raise
    except SourceError as error:
        text = str(error)
        raise SourceError(text if text.startswith(where) else text.replace(f"{path}: ", where, 1)) from error


def _page(tiff: tifffile.TiffFile, index: int, offset: int | None) -> tuple[tifffile.TiffPage, str]:
    """Return a page, and the words by which errors name it."""
    path = tiff.filehandle.path
    where = f"{path}: page {index + 1}: " if index or tiff.pages.is_multipage else f"{path}: "
    if offset is not None:
        tiff.filehandle.seek(offset)
        return tifffile.TiffPage(tiff, index=index), where
    page = tiff.pages[index]
    if not isinstance(page, tifffile.TiffPage):
        raise SourceError(f"{where}cannot be checked; save the file again as a plain TIFF stack")
    return page, where


def _follow_directories(tiff: tifffile.TiffFile, path: Path) -> tuple[int, ...]:
    """Follow the chain of directories to its end; tifffile only logs a loop, or a chain that is cut off."""
    handle, layout = tiff.filehandle, tiff.tiff
    order: Literal["little", "big"] = "little" if layout.byteorder == "<" else "big"

    def whole_number(at: int, size: int) -> int:
        handle.seek(at)
        data = handle.read(size)
        if len(data) < size:
            raise SourceError(f"{path}: is cut off in its list of pages; replace it by the original")
        return int.from_bytes(data, order)

    seen: dict[int, None] = {}  # in order
    offset = whole_number(layout.offsetsize if layout.is_bigtiff else 4, layout.offsetsize)
    while offset:
        if offset in seen:
            raise SourceError(f"{path}: its list of pages goes in a circle; replace it by the original")
        seen[offset] = None
        n_tags = whole_number(offset, layout.tagnosize)
        if n_tags > _MOST_TAGS:
            raise SourceError(f"{path}: its list of pages is damaged ({n_tags} tags); replace it by the original")
        offset = whole_number(offset + layout.tagnosize + n_tags * layout.tagsize, layout.offsetsize)
    return tuple(seen)
