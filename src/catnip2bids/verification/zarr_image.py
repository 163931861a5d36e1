"""OME-Zarr, read with zarr-python; it is written with tensorstore.

Invariant: a piece is some planes of one level, read block after block from their first row to their last one, so planes
are hashed in bounded memory; each block is merged and compared with its part of the next level.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from catnip2bids.enums import Kind
from catnip2bids.errors import SourceError, refuse_without_memory
from catnip2bids.formatting import format_shape
from catnip2bids.verification.image_reader import NOT_MERGED, Array, Found, Merge, Piece, Zyx, different_planes
from catnip2bids.verification.result import Problem
from catnip2bids.volume import little_endian_bytes
from catnip2bids.volume.zarr import open_array, read_attributes, read_chunk_grid

_MOST_CHUNKS = 2**13
"""Chunks of a block; zarr-python needs more memory for more of them than for their pixels."""
_COPIES_IN_MEMORY = 5
"""A block is held encoded, decoded in chunks, as a whole once or twice, and downsampled."""


class ZarrReader:
    """An OME-Zarr image that is open for verification."""

    def __init__(self, path: Path, kind: Kind, merge: Merge, *, twice: bool, most_bytes: int) -> None:
        self._path, self._kind, self._merge, self._twice, self._most_bytes = path, kind, merge, twice, most_bytes
        try:
            self._open(path)
        except Exception as error:  # zarr-python raises errors of many types on damaged metadata
            refuse_without_memory(error, path)
            raise SourceError(f"cannot be opened ({type(error).__name__}: {error})") from error

    def _open(self, path: Path) -> None:
        (multiscale,) = read_attributes(path)["multiscales"]
        levels = [dataset["path"] for dataset in multiscale["datasets"]]
        self._grids = [read_chunk_grid(path, level) for level in levels]
        for index, grid in enumerate(self._grids):
            if grid.codec not in ("", "blosc"):
                raise ValueError(f"level {index} is compressed with {grid.codec}, and was with blosc")
        self._arrays = [zarr.open_array(grid.folder, mode="r") for grid in self._grids]
        if len(types := {str(array.dtype) for array in self._arrays}) > 1:
            raise ValueError(f"its levels hold values of different types: {', '.join(sorted(types))}")
        self._again = [open_array(path, level) for level in levels] if self._twice else []
        scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscale["datasets"]]
        self._steps = [_step(*pair) for pair in pairwise(scales)]
        for index, ((before, after), step) in enumerate(zip(pairwise(self.shapes), self._steps, strict=True)):
            if after != tuple(math.ceil(n / s) for n, s in zip(before, step, strict=True)):
                merged = f"{format_shape(before)} merged by {format_shape(step)}"
                raise ValueError(f"level {index + 1} has {format_shape(after)} voxels, which is not {merged}")
        for level in range(len(levels)):
            self._refuse_small_chunks(level)

    def _refuse_small_chunks(self, level: int) -> None:
        chunk = self._grids[level].chunk_shape
        if self._whole_chunks(level, *self._block(level)) // math.prod(chunk) > _MOST_CHUNKS:
            raise ValueError(
                f"level {level} is cut into chunks of {format_shape(chunk)}, which are too small to be read"
            )

    @property
    def shapes(self) -> tuple[Zyx, ...]:
        """Voxels (z, y, x) of each level."""
        return tuple(cast("Zyx", array.shape) for array in self._arrays)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self._arrays[0].dtype).newbyteorder("=")

    @property
    def piece_bytes(self) -> int:
        """Memory that checking a piece takes: that of a block."""
        most = max(self._whole_chunks(level, *self._block(level)) for level in range(len(self._arrays)))
        return most * self.dtype.itemsize * _COPIES_IN_MEMORY

    def pieces(self) -> Iterator[Piece]:
        """Yield planes that are stored together, level after level; the last one is compared, and has no next one."""
        for level in range(max(len(self._arrays) - 1, 1)):
            depth, _ = self._block(level)
            n_planes = self._arrays[level].shape[0]
            for start in range(0, n_planes, depth):
                yield Piece(level, start, min(start + depth, n_planes))

    def check(self, piece: Piece) -> Found:
        """Hash planes of level 0, and compare their part of the next level with what it must be."""
        (_, n_rows, n_columns), (_, height) = self._arrays[piece.level].shape, self._block(piece.level)
        n_voxels = 0 if piece.level else len(piece.planes) * n_rows * n_columns
        digests, wrong = [hashlib.sha256() for _ in piece.planes], set[int]()
        for top in range(0, n_rows, height):
            bottom = min(top + height, n_rows)
            try:
                block = self._read(piece.level, slice(piece.start, piece.stop), slice(top, bottom))
            except Exception as error:  # codecs raise errors of many types on damaged data
                refuse_without_memory(error, self._path)
                what = f"cannot be decoded, rows {top + 1} to {bottom} ({type(error).__name__}: {error})"
                return Found(problems=(Problem(what, piece.level, piece.planes),), n_voxels=n_voxels)
            if piece.level == 0:
                for plane, digest in zip(block, digests, strict=True):
                    digest.update(little_endian_bytes(plane))
            if piece.level + 1 < len(self._arrays):
                try:
                    wrong |= self._not_merged(block, piece, top)
                except Exception as error:
                    refuse_without_memory(error, self._path)
                    what = f"cannot be decoded ({type(error).__name__}: {error})"
                    return Found(problems=(Problem(what, piece.level + 1, self._above(piece)),), n_voxels=n_voxels)
        problems = (Problem(NOT_MERGED, piece.level + 1, tuple(sorted(wrong))),) if wrong else ()
        hashes = [digest.hexdigest() for digest in digests] if piece.level == 0 else []
        return Found(dict(zip(piece.planes, hashes, strict=False)), problems, n_voxels)

    def _not_merged(self, block: Array, piece: Piece, top: int) -> set[int]:
        """List the planes of the next level that are not what merging this block gives."""
        step, above = self._steps[piece.level], self._above(piece)
        expected = self._merge(block, step, self._kind)
        begin = top // step[1]
        rows = slice(begin, begin + expected.shape[1])
        found = self._read(piece.level + 1, slice(above[0], above[-1] + 1), rows)
        return {above[n] for n in different_planes(expected, found)}

    def _read(self, level: int, planes: slice, rows: slice) -> Array:
        """Read a block with zarr-python, and once more with tensorstore if that is wanted."""
        wanted = zip((planes, rows, slice(None)), self.shapes[level], strict=True)
        part = tuple(slice(*one.indices(n)) for one, n in wanted)
        self._grids[level].check_chunks(part)
        block = np.asarray(self._arrays[level][part])
        if self._twice:
            again = self._again[level].read(part)
            if different_planes(block, again):
                raise ValueError("zarr-python and tensorstore decode it to different pixels")
        return block

    def _above(self, piece: Piece) -> tuple[int, ...]:
        step = self._steps[piece.level][0]
        return tuple(range(piece.start // step, math.ceil(piece.stop / step)))

    def _block(self, level: int) -> tuple[int, int]:
        """Planes and rows that are read at a time: whole shards, or chunks where these do not fit into memory."""
        grid = self._grids[level]
        step = self._steps[level] if level < len(self._steps) else (1, 1, 1)
        for depth, height, _ in (grid.file_shape, grid.chunk_shape):
            depth, height = math.lcm(depth, step[0]), math.lcm(height, step[1])  # whole voxels of the next level
            n_bytes = self._whole_chunks(level, depth, height) * self.dtype.itemsize
            if n_bytes * _COPIES_IN_MEMORY <= self._most_bytes:
                break
        return depth, height

    def _whole_chunks(self, level: int, depth: int, height: int) -> int:
        """Voxels of the chunks that some planes and rows are in: more than the voxels of the image, at its ends."""
        (n_planes, n_rows, n_columns), chunk = self.shapes[level], self._grids[level].chunk_shape
        wanted = min(depth, n_planes), min(height, n_rows), n_columns
        return math.prod(math.ceil(n / size) * size for n, size in zip(wanted, chunk, strict=True))


def _step(before: list[float], after: list[float]) -> Zyx:
    z, y, x = (round(two / one) for one, two in zip(before, after, strict=True))
    return (z, y, x)
