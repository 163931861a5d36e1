"""Reading finished images for verification with libraries that did not write them, piece by piece.

OME-TIFF is written by us, or copied segment by segment, and read with tifffile. OME-Zarr is written with tensorstore,
and read with zarr-python.

Invariant: a piece is a plain description of planes of one level; checking it hashes planes of level 0, and recomputes
what the next level must be. Pieces are independent of each other and take bounded memory. What a library would ignore
silently is an error.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import tifffile
import zarr

from catnip2bids.enums import Kind
from catnip2bids.errors import SourceError, refuse_without_memory
from catnip2bids.formatting import format_shape
from catnip2bids.verification.result import Problem
from catnip2bids.volume import PageLayout, little_endian_bytes, open_tiff, page_offsets, plane_sha256
from catnip2bids.volume.tiff_page import levels_of
from catnip2bids.volume.zarr import open_array, read_attributes, read_chunk_grid

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]
Merge = Callable[[Array, Zyx, Kind], Array]

_NOT_MERGED = "is not what merging the voxels of the level before gives"
_TIFF_COPIES = 4
"""A plane is held encoded, decoded, as its lower levels, and as these downsampled again."""
_HALVED = (1, 2, 2)
_MOST_CHUNKS = 2**13
"""Chunks of a block; zarr-python needs more memory for more of them than for their pixels."""
_ZARR_COPIES = 5
"""A block is held encoded, decoded in chunks, as a whole once or twice, and downsampled."""


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


class TiffReader:
    """An OME-TIFF that is open for verification.

    `shapes` are the voxels (z, y, x) of each level, `dtype` is the type of the values, and `piece_bytes` the memory for
    checking a piece.
    """

    def __init__(self, path: Path, kind: Kind, merge: Merge) -> None:
        self._path, self._kind, self._merge = path, kind, merge
        with open_tiff(path) as tiff:
            self._offsets = page_offsets(tiff)
            levels = self._levels(tiff, 0)
            page, self._layout = levels[0]
            self.description_sha256 = hashlib.sha256(page.description.encode()).hexdigest()
        self._level_shapes = [layout.shape for _, layout in levels]
        self.shapes: tuple[Zyx, ...] = tuple((len(self._offsets), *shape) for shape in self._level_shapes)
        self.dtype = self._layout.dtype
        plane_bytes = math.prod(self._layout.shape) * self.dtype.itemsize
        self._most_segment_bytes = max(plane_bytes, *(layout.segment_bytes for _, layout in levels))
        self.piece_bytes = plane_bytes * (_TIFF_COPIES - 1) + self._most_segment_bytes

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
            if expected.shape[1:] != after.shape or _different_planes(expected, after[np.newaxis]):
                problems.append(Problem(_NOT_MERGED, index, piece.planes))
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
            if max(layout.segment_bytes for layout in layouts) > self._most_segment_bytes:
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


class ZarrReader:
    """An OME-Zarr image that is open for verification, with the same attributes as `TiffReader`."""

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
        self.shapes = tuple(cast("Zyx", array.shape) for array in self._arrays)
        self.dtype = np.dtype(self._arrays[0].dtype).newbyteorder("=")
        self._again = [open_array(path, level) for level in levels] if self._twice else []
        scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscale["datasets"]]
        self._steps = [
            cast("Zyx", tuple(round(two / one) for one, two in zip(before, after, strict=True)))
            for before, after in pairwise(scales)
        ]
        for index, ((before, after), step) in enumerate(zip(pairwise(self.shapes), self._steps, strict=True)):
            if after != tuple(math.ceil(n / s) for n, s in zip(before, step, strict=True)):
                merged = f"{format_shape(before)} merged by {format_shape(step)}"
                raise ValueError(f"level {index + 1} has {format_shape(after)} voxels, which is not {merged}")
        block_voxels = [self._whole_chunks(level, *self._block(level)) for level in range(len(levels))]
        for level, (grid, n_voxels) in enumerate(zip(self._grids, block_voxels, strict=True)):
            chunk = grid.chunk_shape
            if n_voxels // math.prod(chunk) > _MOST_CHUNKS:
                raise ValueError(
                    f"level {level} is cut into chunks of {format_shape(chunk)}, which are too small to be read"
                )
        self.piece_bytes = max(block_voxels) * self.dtype.itemsize * _ZARR_COPIES

    def pieces(self) -> Iterator[Piece]:
        """Yield planes that are stored together, level by level; the last level is checked with the one before it."""
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
        try:
            for top in range(0, n_rows, height):
                bottom = min(top + height, n_rows)
                level, planes, rows = piece.level, piece.planes, f", rows {top + 1} to {bottom}"
                block = self._read(piece.level, slice(piece.start, piece.stop), slice(top, bottom))
                if piece.level == 0:
                    for plane, digest in zip(block, digests, strict=True):
                        digest.update(little_endian_bytes(plane))
                if piece.level + 1 < len(self._arrays):
                    level, planes, rows = piece.level + 1, self._above(piece), ""
                    wrong |= self._not_merged(block, piece, top)
        except Exception as error:  # codecs raise errors of many types on damaged data
            refuse_without_memory(error, self._path)
            what = f"cannot be decoded{rows} ({type(error).__name__}: {error})"
            return Found(problems=(Problem(what, level, planes),), n_voxels=n_voxels)
        problems = (Problem(_NOT_MERGED, piece.level + 1, tuple(sorted(wrong))),) if wrong else ()
        hashes = [digest.hexdigest() for digest in digests] if piece.level == 0 else []
        return Found(dict(zip(piece.planes, hashes, strict=False)), problems, n_voxels)

    def _not_merged(self, block: Array, piece: Piece, top: int) -> set[int]:
        """List the planes of the next level that are not what merging this block gives."""
        step, above = self._steps[piece.level], self._above(piece)
        expected = self._merge(block, step, self._kind)
        begin = top // step[1]
        rows = slice(begin, begin + expected.shape[1])
        found = self._read(piece.level + 1, slice(above[0], above[-1] + 1), rows)
        return {above[n] for n in _different_planes(expected, found)}

    def _read(self, level: int, planes: slice, rows: slice) -> Array:
        """Read a block with zarr-python, and once more with tensorstore if that is wanted."""
        wanted = zip((planes, rows, slice(None)), self.shapes[level], strict=True)
        part = tuple(slice(*one.indices(n)) for one, n in wanted)
        self._grids[level].check_chunks(part)
        block = np.asarray(self._arrays[level][part])
        if self._twice:
            again = self._again[level].read(part)
            if _different_planes(block, again):
                raise ValueError("zarr-python and tensorstore decode it to different pixels")
        return block

    def _above(self, piece: Piece) -> tuple[int, ...]:
        step = self._steps[piece.level][0]
        return tuple(range(piece.start // step, math.ceil(piece.stop / step)))

    def _block(self, level: int) -> tuple[int, int]:
        """Return the planes and rows to read at a time: whole shards, or chunks if shards do not fit into memory."""
        grid = self._grids[level]
        step = self._steps[level] if level < len(self._steps) else (1, 1, 1)
        for depth, height, _ in (grid.file_shape, grid.chunk_shape):
            depth, height = math.lcm(depth, step[0]), math.lcm(height, step[1])  # whole voxels of the next level
            n_bytes = self._whole_chunks(level, depth, height) * self.dtype.itemsize
            if n_bytes * _ZARR_COPIES <= self._most_bytes:
                break
        return depth, height

    def _whole_chunks(self, level: int, depth: int, height: int) -> int:
        """Voxels of the chunks that some planes and rows are in: more than the voxels of the image, at its ends."""
        (n_planes, n_rows, n_columns), chunk = self.shapes[level], self._grids[level].chunk_shape
        wanted = min(depth, n_planes), min(height, n_rows), n_columns
        return math.prod(math.ceil(n / size) * size for n, size in zip(wanted, chunk, strict=True))


ImageReader = TiffReader | ZarrReader


def _different_planes(expected: Array, found: Array) -> list[int]:
    """List the planes in which a bit differs, counted from the first one of these arrays (z, y, x)."""
    words = f"u{expected.dtype.itemsize}"
    return [int(n) for n in np.flatnonzero((expected.view(words) != found.view(words)).any(axis=(1, 2)))]
