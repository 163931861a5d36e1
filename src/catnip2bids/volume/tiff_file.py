"""TIFF files, opened strictly: what tifffile only logs or ignores is an error that names the file.

Invariant: the list of pages is followed to its end, without a loop, and holds no fewer than the metadata promises.
(tifffile silently ends it where the file is cut off.)
"""

from __future__ import annotations

import logging
import math
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import tifffile

from catnip2bids.documents import MOST_BYTES, refuse_special_file
from catnip2bids.errors import ReadError, SourceError, refuse_without_memory, unreadable

_BIG_TIFF = 43
_MOST_TAGS = 4096
_MOST_NUMBERS = 2**22
"""Values of a tag that are not text: strips and tiles of a page."""
_BYTES_OR_TEXT = (1, 2, 7)
"""Types of tags (TIFF 6.0, section 2)."""
_UIC2_TAG = 33629
"""A tag of MetaMorph with one value per plane."""
StackedAxes = tuple[tuple[str, int], ...]
"""Axes along which pages are stacked: the letter of each, which is empty if none is given, and its length."""
_OS_ERROR = re.compile(r"raised OSError\(\d+")


class _Complaints(logging.Handler):
    """The errors that tifffile only logs, in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(record.getMessage())


@contextmanager
def _raised_complaints(path: Path) -> Iterator[None]:
    """Raise the errors that tifffile only logs, once the file is closed."""
    complaints = _Complaints()
    tifffile.logger().addHandler(complaints)
    try:
        yield
    finally:
        tifffile.logger().removeHandler(complaints)
    if any(_OS_ERROR.search(message) for message in complaints.messages):
        raise ReadError(f"{path}: cannot be read ({complaints.messages[0]}); make it readable and run again")
    if complaints.messages:
        raise SourceError(f"{path}: damaged TIFF ({complaints.messages[0]}); replace it by the original")


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; everything that goes wrong inside becomes a SourceError that names it.

    A damaged TIFF makes tifffile raise almost anything (TypeError, ZeroDivisionError, struct.error, ...). A lack of
    memory is a NotEnoughMemoryError.
    """
    refuse_special_file(path)
    try:
        # of a file that is opened here, tifffile keeps the path as it was given
        with _raised_complaints(path), path.open("rb") as file, tifffile.TiffFile(file) as tiff:
            yield tiff
    except SourceError:
        raise
    except OSError as error:
        raise ReadError(unreadable(path, error)) from error
    except tifffile.TiffFileError as error:
        _raise_what_the_system_said(error, path)
        raise SourceError(f"{path}: not a TIFF file ({error}); replace it by the original") from error
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError, struct.error) as error:
        refuse_without_memory(error, path)
        _raise_what_the_system_said(error, path)
        if isinstance(error, ValueError) and str(error).endswith(" not supported"):
            raise SourceError(f"{path}: cannot be decoded here ({error}); save it with another compression") from error
        raise SourceError(
            f"{path}: damaged TIFF ({type(error).__name__}: {error}); replace it by the original"
        ) from error


def _raise_what_the_system_said(error: BaseException, path: Path) -> None:
    """Raise the system error that caused one of tifffile's, if any: the file may be intact."""
    behind = error.__cause__ or error.__context__
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno is not None:
            raise ReadError(unreadable(path, behind)) from error
        behind = behind.__cause__ or behind.__context__


def saved_in_python(read: str = "tifffile.imread(OLD)") -> str:
    """Say how to save an image again with tifffile, which takes three planes for colours by default."""
    return f'in Python with tifffile.imwrite(NEW, {read}, photometric="minisblack")'


def page_offsets(tiff: tifffile.TiffFile) -> tuple[int, ...]:
    """Return the position of the directory of each page, so that a page is found without reading all before it."""
    path = Path(tiff.filehandle.path)
    offsets = directory_offsets(tiff, path)
    n_pages = len(offsets)
    if n_pages == 0 or n_pages != len(tiff.pages):
        raise SourceError(f"{path}: has no image in it, the file is cut off or empty; replace it by the original")
    who, declared = _declared_pages(tiff)
    if declared > n_pages:
        raise SourceError(
            f"{path}: {who} promises {declared} images and the file lists {n_pages}; "
            "save it again so that each is listed: open it in Fiji with File > Import > Bio-Formats and give it "
            f"a name that ends in .ome.btf in File > Export > Bio-Formats, or {saved_in_python()}"
        )
    return offsets


def refuse_long_tags(path: Path) -> None:
    """Refuse a file whose first directory has values that are too long: tifffile reads them when it opens the file.

    Other damage is left to the code that opens the file.
    """
    with suppress(OSError, OverflowError), path.open("rb") as file:
        header = file.read(16)
        order: Literal["little", "big"] = "big" if header[:2] == b"MM" else "little"
        is_big_tiff = int.from_bytes(header[2:4], order) == _BIG_TIFF
        size, size_of_number, tag_size = (8, 8, 20) if is_big_tiff else (4, 2, 12)
        file.seek(int.from_bytes(header[size : 2 * size], order))
        n_tags = int.from_bytes(file.read(size_of_number), order)
        _check_tags(path, file.read(min(n_tags, _MOST_TAGS) * tag_size), tag_size, order)


def _check_tags(path: Path, tags: bytes, tag_size: int, order: Literal["little", "big"]) -> None:
    """Refuse tags of a directory of which tifffile would read too many values."""
    fields = slice(2), slice(2, 4), slice(4, 4 + (tag_size - 4) // 2)
    for start in range(0, len(tags), tag_size):
        code, kind, n_values = (int.from_bytes(tags[start : start + tag_size][field], order) for field in fields)
        if code in tifffile.TIFF.TAG_LOAD and n_values > (MOST_BYTES if kind in _BYTES_OR_TEXT else _MOST_NUMBERS):
            raise SourceError(f"{path}: its tag {code} has {n_values:,} values, too many; replace it by the original")


def _declared_pages(tiff: tifffile.TiffFile) -> tuple[str, int]:
    """Return the number of planes that metadata of the first page states, and the program; some list only one page."""
    first = tiff.pages.first
    if first.is_stk and (uic2 := first.tags.get(_UIC2_TAG)) is not None:
        return "MetaMorph metadata", int(uic2.count)
    if tiff.is_imagej:
        return "ImageJ metadata", int((tiff.imagej_metadata or {}).get("images", 1))
    return "tifffile's metadata", math.prod(n for _, n in stacked_axes(first))


def stacked_axes(page: tifffile.TiffPage) -> StackedAxes:
    """Return the axes longer than 1 that tifffile's description of a page has besides those of the page.

    A description of an image of another size, which programs keep when they crop one, has none.
    """
    try:
        said = tifffile.tifffile.shaped_description_metadata(page.shaped_description or "{}")
    except (ValueError, RecursionError):
        return ()
    shape, letters = said.get("shape"), said.get("axes")
    if not (isinstance(shape, list | tuple) and all(type(n) is int and n > 0 for n in shape)):
        return ()
    if not (isinstance(letters, str) and len(letters) == len(shape)):
        letters = [""] * len(shape)
    axes = tuple(axis for axis in zip(letters, shape, strict=True) if axis[1] > 1)
    of_page = [n for n in page.shape if n > 1]
    n_stacked = len(axes) - len(of_page)
    return axes[:n_stacked] if n_stacked > 0 and [n for _, n in axes[n_stacked:]] == of_page else ()


def directory_offsets(tiff: tifffile.TiffFile, path: Path) -> tuple[int, ...]:
    """Follow the chain of directories to its end; tifffile only logs a loop, or a chain that is cut off."""
    layout = tiff.tiff
    seen: dict[int, None] = {}  # in order
    offset = _whole_number(tiff, path, layout.offsetsize if layout.is_bigtiff else 4, layout.offsetsize)
    while offset:
        if offset in seen:
            raise SourceError(f"{path}: its list of pages contains a loop; replace it by the original")
        seen[offset] = None
        offset = check_directory(tiff, path, offset)
    return tuple(seen)


def check_directory(tiff: tifffile.TiffFile, path: Path, offset: int) -> int:
    """Refuse a directory of which tifffile would read too much; return the position of the next one."""
    layout = tiff.tiff
    n_tags = _whole_number(tiff, path, offset, layout.tagnosize)
    if n_tags > _MOST_TAGS:
        raise SourceError(f"{path}: its list of pages is damaged ({n_tags} tags); replace it by the original")
    tags = tiff.filehandle.read(n_tags * layout.tagsize)
    _check_tags(path, tags, layout.tagsize, "little" if layout.byteorder == "<" else "big")
    return _whole_number(tiff, path, offset + layout.tagnosize + n_tags * layout.tagsize, layout.offsetsize)


def _whole_number(tiff: tifffile.TiffFile, path: Path, at: int, size: int) -> int:
    tiff.filehandle.seek(at)
    data = tiff.filehandle.read(size)
    if len(data) < size:
        raise SourceError(f"{path}: is cut off in its list of pages; replace it by the original")
    return int.from_bytes(data, "little" if tiff.tiff.byteorder == "<" else "big")
