"""How many pixels a strip or tile has whose compression has a size of its own, whatever the tags of the page say.

Invariant: nothing is decoded, and what is not understood has no size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import tifffile

LONGEST_HEAD = 2**16
"""So many bytes of a segment hold its size."""
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG that begin a frame (ITU-T T.81, table B.1)."""


def _png(head: bytes) -> int:
    width, height = struct.unpack_from(">II", head, 16)  # IHDR comes first (PNG, section 11.2)
    return int(width * height)


def _jpeg2000(head: bytes) -> int:
    at = head.index(b"\xff\x4f\xff\x51")  # SOC and SIZ (ITU-T T.800, annex A)
    right, bottom, left, top = struct.unpack_from(">IIII", head, at + 8)
    return int((right - left) * (bottom - top))


def _lerc(head: bytes) -> int:
    if not head.startswith(b"Lerc2 "):
        raise ValueError("is of another version")
    (version,) = struct.unpack_from("<i", head, 6)
    n_rows, n_columns = struct.unpack_from("<ii", head, 14 if version > 2 else 10)
    return int(n_rows * n_columns)


def _jpeg(head: bytes) -> int:
    at = 2
    while head[at] == 0xFF:
        marker, (length,) = head[at + 1], struct.unpack_from(">H", head, at + 2)
        if marker in _SOF:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return int(width * height)
        at += 2 + length
    raise ValueError("has no frame")


_READERS: dict[int, Callable[[bytes], int]] = {
    tifffile.COMPRESSION.PNG: _png,
    tifffile.COMPRESSION.JPEG2000: _jpeg2000,
    tifffile.COMPRESSION.LERC: _lerc,
    tifffile.COMPRESSION.JPEG: _jpeg,
}


def knows(compression: int) -> bool:
    """Tell whether the size of segments can be found out."""
    return compression in _READERS


def n_pixels(compression: int, head: bytes) -> int | None:
    """Return how many pixels a segment says it has; None if that cannot be found out.

    Parameters
    ----------
    compression
        Number of the compression in TIFF.
    head
        The first bytes of the segment.
    """
    try:
        return _READERS[compression](head)
    except (ValueError, LookupError, struct.error):
        return None
