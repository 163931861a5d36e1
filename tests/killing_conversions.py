"""Conversions to OME-TIFF that are killed at a given moment, to be run in a process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from catnip2bids import convert
from catnip2bids.progress import Progress

MOMENTS = ("before", "1", "half a plane", "9", "12", "published")
"""Before anything is written, after so many planes, in the midst of one, or when the image is where it belongs."""
BYTES_PER_MARKER, LARGEST_LAST_LEVEL = 5000, 16
"""So small that there are several of each."""


def convert_until(when: str, source: Path, target: Path) -> None:
    """Convert with lower levels, and die."""
    patch = pytest.MonkeyPatch()
    patch.setattr("catnip2bids.engine.sequential_writer.BYTES_PER_MARKER", BYTES_PER_MARKER)
    patch.setattr("catnip2bids.ome.ome_tiff.LARGEST_LAST_LEVEL", LARGEST_LAST_LEVEL)
    match when:
        case "published":
            patch.setattr("catnip2bids.conversion.discard_staging", _die)
        case "before":
            patch.setattr("catnip2bids.conversion.build_image", _die)
        case "half a plane":
            patch.setattr(os, "write", _write_39_times_and_a_half())
    convert(source, target, (3.7, 3.7, 5.0), progress=_Counting(when), pyramid=True)


def _die(*arguments: object) -> None:
    del arguments
    os.kill(os.getpid(), signal.SIGKILL)


class _Counting(Progress):
    """Dies after so many calls."""

    def __init__(self, when: str) -> None:
        self._n, self._when = 0, when

    def advance(self, n_voxels: int) -> None:
        del n_voxels
        self._n += 1
        if str(self._n) == self._when:
            _die()


def _write_39_times_and_a_half() -> Callable[[int, bytes], int]:
    write, n_bytes = os.write, list[int]()

    def write_half(descriptor: int, data: bytes) -> int:
        n_bytes.append(len(data))
        if len(n_bytes) == 40:
            write(descriptor, data[: len(data) // 2])
            _die()
        return write(descriptor, data)

    return write_half
