"""Read and write bytes at a position of an open file, which several threads may do at the same time.

Invariant: all bytes are read up to the end of the file, and all are written, however few the system takes at once.
"""

from __future__ import annotations

import os

_MOST_BYTES = 2**30
"""Bytes of one call: macOS refuses 2 GiB, and Linux transfers fewer than that."""


def read_at(descriptor: int, out: memoryview, offset: int) -> int:
    """Fill `out` with the bytes of a file from `offset` on; return how many there were before its end."""
    n_read = 0
    while n_read < len(out):
        n_bytes = _read_once(descriptor, out[n_read : n_read + _MOST_BYTES], offset + n_read)
        if n_bytes == 0:
            break
        n_read += n_bytes
    return n_read


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all bytes into a file from `offset` on."""
    while data:
        n_written = os.pwrite(descriptor, data[:_MOST_BYTES], offset)
        data, offset = data[n_written:], offset + n_written


def _read_once(descriptor: int, out: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):  # macOS has it since version 11
        return os.preadv(descriptor, [out], offset)
    data = os.pread(descriptor, len(out), offset)
    out[: len(data)] = data
    return len(data)
