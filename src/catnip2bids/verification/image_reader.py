"""Reading a finished image for verification, piece by piece, with a library that did not write it.

Invariant: a piece is a plain description of planes of one level; checking it hashes planes of level 0, and recomputes
what the next level must be. Pieces are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.enums import Kind
from catnip2bids.verification.result import Problem

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]
Merge = Callable[[Array, Zyx, Kind], Array]

NOT_MERGED = "is not what merging the voxels of the level before gives"


@dataclass(frozen=True)
class Piece:
    """Some planes of one level, `start` to `stop` (exclusive)."""

    level: int
    start: int
    stop: int

    @property
    def planes(self) -> tuple[int, ...]:
        """Its planes."""
        return tuple(range(self.start, self.stop))


@dataclass(frozen=True)
class Found:
    """The result of checking a piece."""

    sha256: Mapping[int, str] = field(default_factory=dict)  # of planes of level 0
    problems: tuple[Problem, ...] = ()
    n_voxels: int = 0  # of level 0, including those that could not be read


class ImageReader(Protocol):
    """An image that is open for verification."""

    @property
    def shapes(self) -> tuple[Zyx, ...]:
        """Voxels (z, y, x) of each level."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    @property
    def piece_bytes(self) -> int:
        """Most memory for checking a piece."""

    def pieces(self) -> Iterator[Piece]:
        """Yield all pieces."""

    def check(self, piece: Piece) -> Found:
        """Read a piece; what cannot be read is a problem of the result."""


def different_planes(expected: Array, found: Array) -> list[int]:
    """List the planes in which a bit differs, counted from the first one of these arrays (z, y, x)."""
    words = f"u{expected.dtype.itemsize}"
    return [int(n) for n in np.flatnonzero((expected.view(words) != found.view(words)).any(axis=(1, 2)))]
