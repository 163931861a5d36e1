"""TIFF files as libtiff decodes them: a reader that shares no code with the one that is tested.

Invariant: a page is handed out only if libtiff returned every byte of every one of its strips or tiles.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from made_up import BITS, HEIGHT, ROWS_PER_STRIP, SAMPLE_FORMAT, SAMPLES, WIDTH, Array

_TILE_WIDTH, _TILE_LENGTH = 322, 323
_MOST_BYTES = 2**28
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
"""Of each value of the tag SampleFormat; 4 is for values of which nothing is known."""


class RefusedError(Exception):
    """libtiff does not read this file, or not all of it."""


def decode(path: Path) -> list[Array]:
    """Decode all pages, of one sample a pixel; values stay as they are stored.

    Raises
    ------
    RefusedError
        If libtiff cannot open the file, cannot follow its pages to the end, or cannot decode one of them.
    """
    pages = []
    with _opened(path) as tiff:
        while True:
            pages.append(_page(tiff))
            if _library().TIFFLastDirectory(tiff):
                return pages
            if not _library().TIFFReadDirectory(tiff):
                raise RefusedError("no next page")


@cache
def _library() -> Any:
    beside_pillow = sorted((Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff*.so*"))
    name = str(beside_pillow[0]) if beside_pillow else ctypes.util.find_library("tiff")
    library = ctypes.CDLL(name)
    library.TIFFOpen.restype = ctypes.c_void_p
    for sizes in (library.TIFFTileSize64, library.TIFFVStripSize64):
        sizes.restype = ctypes.c_uint64
    for reads in (library.TIFFReadEncodedTile, library.TIFFReadEncodedStrip):
        reads.restype = ctypes.c_ssize_t
    for silence in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
        silence(None)
    return library


@contextmanager
def _opened(path: Path) -> Iterator[ctypes.c_void_p]:
    handle = _library().TIFFOpen(str(path).encode(), b"rm")  # m: without mapping it into memory
    if not handle:
        raise RefusedError("cannot be opened")
    try:
        yield ctypes.c_void_p(handle)
    finally:
        _library().TIFFClose(ctypes.c_void_p(handle))


def _number(tiff: ctypes.c_void_p, tag: int, kind: type[ctypes.c_uint16] | type[ctypes.c_uint32]) -> int:
    value = kind()
    if not _library().TIFFGetFieldDefaulted(tiff, ctypes.c_uint32(tag), ctypes.byref(value)):
        raise RefusedError(f"no tag {tag}")
    return int(value.value)


def _page(tiff: ctypes.c_void_p) -> Array:
    width, height = _number(tiff, WIDTH, ctypes.c_uint32), _number(tiff, HEIGHT, ctypes.c_uint32)
    bits, kind = _number(tiff, BITS, ctypes.c_uint16), _KINDS.get(_number(tiff, SAMPLE_FORMAT, ctypes.c_uint16))
    if _number(tiff, SAMPLES, ctypes.c_uint16) != 1 or kind is None:
        raise RefusedError("colours, or complex values")
    row_bytes = -(-width * bits // 8)
    if not 0 < row_bytes * height <= _MOST_BYTES:
        raise RefusedError("too large, or empty")
    read_rows = _tiles if _library().TIFFIsTiled(tiff) else _strips
    return _values(read_rows(tiff, height, row_bytes, bits), width, bits, kind)


def _strips(tiff: ctypes.c_void_p, height: int, row_bytes: int, bits: int) -> Array:
    del bits
    rows = min(_number(tiff, ROWS_PER_STRIP, ctypes.c_uint32), height)
    plane = np.zeros((height, row_bytes), np.uint8)
    for strip, top in enumerate(range(0, height, max(rows, 1))):
        part = plane[top : top + rows]
        if _library().TIFFVStripSize64(tiff, ctypes.c_uint32(len(part))) != part.size:
            raise RefusedError("strips of another size")
        data = ctypes.c_void_p(part.ctypes.data)
        n_bytes = _library().TIFFReadEncodedStrip(tiff, ctypes.c_uint32(strip), data, ctypes.c_ssize_t(part.size))
        if n_bytes != part.size:
            raise RefusedError("a strip cannot be decoded")
    return plane


def _tiles(tiff: ctypes.c_void_p, height: int, row_bytes: int, bits: int) -> Array:
    width, length = (_number(tiff, tag, ctypes.c_uint32) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    tile_bytes = -(-width * bits // 8)
    if _library().TIFFTileSize64(tiff) != length * tile_bytes or not 0 < length * tile_bytes <= _MOST_BYTES:
        raise RefusedError("tiles of another size")
    n_down, n_across = -(-height // length), -(-row_bytes // tile_bytes)
    plane = np.zeros((n_down * length, n_across * tile_bytes), np.uint8)
    tile = np.zeros((length, tile_bytes), np.uint8)
    for index in range(n_down * n_across):
        data = ctypes.c_void_p(tile.ctypes.data)
        n_bytes = _library().TIFFReadEncodedTile(tiff, ctypes.c_uint32(index), data, ctypes.c_ssize_t(tile.size))
        if n_bytes != tile.size:
            raise RefusedError("a tile cannot be decoded")
        y, x = index // n_across * length, index % n_across * tile_bytes
        plane[y : y + length, x : x + tile_bytes] = tile
    return plane[:height, :row_bytes]


def _values(rows: Array, width: int, bits: int, kind: str) -> Array:
    """Take the values out of rows of bytes; libtiff turned them to this machine's byte order."""
    if bits in (8, 16, 32, 64):
        try:
            return np.ascontiguousarray(rows).view(f"{kind}{bits // 8}")
        except TypeError as error:  # floats of a single byte
            raise RefusedError(f"{kind} of {bits} bits") from error
    if bits > 32 or kind == "f":
        raise RefusedError(f"{kind} of {bits} bits")
    if bits == 24:  # libtiff's order of bytes in these is the machine's, too
        triples = rows.reshape(len(rows), width, 3).astype(np.uint32)
        return np.asarray(triples @ np.array([1, 2**8, 2**16], np.uint32), np.uint32)
    if bits == 1:
        return np.unpackbits(rows, axis=1)[:, :width].view(bool)
    digits = np.unpackbits(rows, axis=1)[:, : width * bits].reshape(len(rows), width, bits)
    wide = digits.astype(np.uint64) @ (2 ** np.arange(bits - 1, -1, -1, dtype=np.uint64))
    return wide.astype(f"u{next(size for size in (1, 2, 4) if size * 8 >= bits)}")
