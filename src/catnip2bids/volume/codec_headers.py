"""Read the image size stored in compressed strips and tiles (PNG, JPEG, JPEG 2000, LERC).

Invariant: nothing is decoded. A size is returned only if the decoder must find the same size and needs no more memory
than `WORK_BYTES`. So only gray images are accepted, and JPEG 2000 only in the form that writers of TIFF use.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tifffile import COMPRESSION

LONGEST_HEAD = 2**16
"""The size is within this many bytes of a segment."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Markers of JPEG that begin a frame, that have no length, and that come before a frame (ITU-T T.81, table B.1)."""
_SIZ, _COD, _COC, _SOT, _SOD = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93
"""Markers of JPEG 2000 (ITU-T T.800, table A.2)."""
_LEAST_CODE_BLOCK = 3
"""A code-block of 32 x 32 pixels: OpenJPEG needs about 1,000 bytes for each of them."""
_LERC_BYTES = (1, 1, 2, 2, 4, 4, 4, 8)


def _png(head: bytes, _: int) -> int:
    width, height, bits, color = struct.unpack_from(">IIBB", head, 16)  # IHDR comes first (PNG, section 11.2)
    _require(head[12:16] == b"IHDR" and color == 0)
    return int(width * height * (2 if bits > 8 else 1))


def _jpeg2000(head: bytes, n_bytes: int) -> int:
    """Return the decoded size of a codestream; raise ValueError unless it is one tile without small precincts."""
    start, siz, _, _, right, bottom, left, top, *tile, n_components, bits, dx, dy = struct.unpack_from(
        ">HHHH8IHBBB", head
    )
    _require((start, siz, n_components, dx, dy) == (0xFF4F, _SIZ, 1, 1, 1) and right > left and bottom > top)
    width, height, first_x, first_y = tile
    _require(first_x <= left and first_y <= top and first_x + width >= right and first_y + height >= bottom)
    at, marker = 2, siz
    while marker != _SOD:
        marker, length = struct.unpack_from(">HH", head, at)
        if marker == _COD:
            style, width, height = head[at + 4], head[at + 10], head[at + 11]
            _require(not style & 1 and min(width, height) >= _LEAST_CODE_BLOCK)
        elif marker == _SOT:
            (tile_bytes,) = struct.unpack_from(">I", head, at + 6)
            _require(tile_bytes == 0 or at + tile_bytes >= n_bytes - 2)
        _require(marker >= _SIZ and marker != _COC)
        at += 2 + length
    return int((right - left) * (bottom - top) * (1 if bits & 127 < 8 else 2 if bits & 127 < 16 else 4))


def _lerc(head: bytes, n_bytes: int) -> int:
    _require(head.startswith(b"Lerc2 "))
    (version,) = struct.unpack_from("<I", head, 6)
    n_rows, n_columns, *n_values, _, _, blob_bytes, kind = struct.unpack_from(
        "<7I" if version > 3 else "<6I", head, 14 if version > 2 else 10
    )
    _require(blob_bytes == n_bytes and n_values in ([], [1]))
    return int(n_rows * n_columns * _LERC_BYTES[kind])


def _jpeg(head: bytes, _: int) -> int:
    _require(head.startswith(b"\xff\xd8"))
    at = 2
    while True:
        _require(head[at] == 0xFF)
        marker = head[at + 1]
        if marker in _FRAMES:
            bits, height, width, n_components = struct.unpack_from(">BHHB", head, at + 4)
            _require(n_components == 1 and height > 0)
            return int(width * height * (2 if bits > 8 else 1))
        _require(marker == 0xFF or marker in _ALONE or marker in _TABLES)
        at += 1 if marker == 0xFF else 2
        if marker in _TABLES:
            at += int.from_bytes(head[at : at + 2], "big")


def _require(so: bool) -> None:
    if not so:
        raise ValueError("is not what writers store")


READERS: dict[int, Callable[[bytes, int], int]] = {
    COMPRESSION.PNG: _png,
    COMPRESSION.JPEG2000: _jpeg2000,
    COMPRESSION.LERC: _lerc,
    COMPRESSION.JPEG: _jpeg,
}
"""Compressions whose segments state their size."""
WORK_BYTES: dict[int, int] = {COMPRESSION.JPEG2000: 8, COMPRESSION.JPEG: 2}
"""Working memory of the decoder per pixel, besides the segment and its pixels.

Measured with OpenJPEG; libjpeg keeps the coefficients of progressive images.
"""


def decoded_bytes(compression: int, head: bytes, n_bytes: int) -> int | None:
    """Return the decoded size of a segment of `n_bytes`, read from its first bytes; None if they do not state it."""
    try:
        return READERS[compression](head, n_bytes)
    except (ValueError, LookupError, struct.error):
        return None
