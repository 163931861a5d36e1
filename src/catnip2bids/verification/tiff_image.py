"""OME-TIFF, read with tifffile; it is written by us, or copied segment by segment.

Invariant: a piece is one plane with its lower levels; what tifffile would ignore silently is an error.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from catnip2bids.enums import Kind
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_shape
from catnip2bids.verification.image_reader import NOT_MERGED, Array, Found, Merge, Piece, Zyx, different_planes
from catnip2bids.verification.result import Problem
from catnip2bids.volume import PageLayout, open_tiff, page_offsets, plane_sha256
from catnip2bids.volume.tiff_page import levels_of

_COPIES_IN_MEMORY = 4
"""A plane is held encoded, decoded, as its lower levels, and as these downsampled again."""
_HALVED = (1, 2, 2)


class TiffReader:
    """An OME-TIFF that is open for verification."""

    def __init__(self, path: Path, kind: Kind, merge: Merge) -> None:
        self._path, self._kind, self._merge = path, kind, merge
        with open_tiff(path) as tiff:
            self._offsets = page_offsets(tiff)
            levels = self._levels(tiff, 0)
            page, self._layout = levels[0]
            self.description_sha256 = hashlib.sha256(page.description.encode()).hexdigest()
        self._level_shapes = [layout.shape for _, layout in levels]
        self._plane_bytes = math.prod(self._layout.shape) * self.dtype.itemsize
        self._segment_bytes = max(layout.segment_bytes for _, layout in levels)

    @property
    def shapes(self) -> tuple[Zyx, ...]:
        """Voxels (z, y, x) of each level; all have the same planes."""
        return tuple((len(self._offsets), *shape) for shape in self._level_shapes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._layout.dtype

    @property
    def piece_bytes(self) -> int:
        """Memory that checking a plane takes."""
        return self._plane_bytes * (_COPIES_IN_MEMORY - 1) + max(self._plane_bytes, self._segment_bytes)

    def pieces(self) -> Iterator[Piece]:
        """Yield each plane."""
        return (Piece(0, plane, plane + 1) for plane in range(len(self._offsets)))

    def check(self, piece: Piece) -> Found:
        """Hash a plane, and compare its lower levels with what they must be."""
        n_voxels = math.prod(self._layout.shape)
        try:
            levels = self._read(piece.start)
        except SourceError as error:
            what = str(error).removeprefix(f"{self._path}: ")
            return Found(problems=(Problem(f"cannot be decoded ({what})", 0, piece.planes),), n_voxels=n_voxels)
        problems = []
        for index, (before, after) in enumerate(pairwise(levels), 1):
            expected = self._merge(before[np.newaxis], _HALVED, self._kind)
            if expected.shape[1:] != after.shape or different_planes(expected, after[np.newaxis]):
                problems.append(Problem(NOT_MERGED, index, piece.planes))
        return Found({piece.start: plane_sha256(levels[0])}, tuple(problems), n_voxels)

    def _read(self, plane: int) -> list[Array]:
        """Decode a plane and its lower levels."""
        with open_tiff(self._path) as tiff:
            levels = self._levels(tiff, plane)
            layouts = [layout for _, layout in levels]
            if layouts[0] != self._layout:
                raise SourceError(f"{self._path}: is not {self._layout} as the first one")
            photometric = levels[0][0].photometric
            if photometric != tifffile.PHOTOMETRIC.MINISBLACK:
                raise SourceError(f"{self._path}: has other colours than it had (photometric {photometric})")
            shapes = [layout.shape for layout in layouts]
            if shapes != self._level_shapes or any(layout.dtype != self.dtype for layout in layouts):
                found, first = (", ".join(map(format_shape, of)) for of in (shapes, self._level_shapes))
                raise SourceError(f"{self._path}: has levels of {found} pixels, the first plane of {first}")
            if max(layout.segment_bytes for layout in layouts) > max(self._plane_bytes, self._segment_bytes):
                raise SourceError(f"{self._path}: has larger strips or tiles than the first plane")
            decoded = [page.asarray(maxworkers=1) for page, _ in levels]
        return [level.astype(self.dtype, copy=False) for level in decoded]

    def _levels(self, tiff: tifffile.TiffFile, plane: int) -> list[tuple[tifffile.TiffPage, PageLayout]]:
        """Return a plane and its lower levels, each half of the one before, so that they fit into memory with it."""
        levels = levels_of(tiff, plane, self._offsets[plane])
        for number, ((_, above), (_, layout)) in enumerate(pairwise(levels), 1):
            half = above.half_shape
            if layout.shape != half or half == above.shape:
                found = format_shape(layout.shape)
                raise SourceError(f"{self._path}: level {number} has {found} pixels, not {format_shape(half)}")
        return levels
