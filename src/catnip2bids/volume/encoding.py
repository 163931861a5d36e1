"""Pixels of a TIFF page as they are encoded, and what has to agree so that they mean the same in another file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a page are stored: where pages agree in that, their segments mean the same in any file.

    Attributes
    ----------
    compression, predictor
        Values of the tags; 32946, the old number of Deflate, counts as 8.
    byte_order
        ``<`` or ``>``; that of values of a single byte is always ``<``.
    rows_per_strip
        Rows of a strip; None where there are tiles.
    tile
        Rows and columns of a tile; None where there are strips.
    """

    compression: int
    predictor: int
    byte_order: Literal["<", ">"]
    rows_per_strip: int | None
    tile: tuple[int, int] | None


@dataclass(frozen=True)
class EncodedPlane:
    """The segments of a plane as they stand in its file.

    Attributes
    ----------
    counts
        Bytes of each segment.
    data
        All segments, one after the other.
    """

    counts: npt.NDArray[np.uint64]
    data: Sequence[bytes]
