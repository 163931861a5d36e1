"""A volume as level 0 of an OME-Zarr image, version 0.5 (zarr v3) or 0.4 (zarr v2), read in slabs.

Planes are read one after the other, and chunks are blocks; so chunks are decoded one slab at a time: all planes
that share their chunks.

Invariant: each chunk is decoded once, because a slab is kept while one of its planes is open or still unread. A chunk
that is not stored is the fill value, as the specification has it (zarr v3, "Fill value"); one that cannot be decoded is
an error.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count, format_planes, format_shape
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.plane_buffer import PlaneBuffer
from catnip2bids.volume.volume import Inspection, PlaneSource, ReadCost, size_on_disk
from catnip2bids.volume.zarr.array import ZarrArray, as_source_error, open_array
from catnip2bids.volume.zarr.chunk_grid import ChunkGrid
from catnip2bids.volume.zarr.metadata import DOCUMENTS, SPATIAL, read_level_0

Zyx = tuple[int, int, int]

LARGEST_SLAB_BYTES = 256 * 2**20
"""Slabs of up to this size are kept in memory, as many as fit into it but at least two; larger ones on disk."""
TILE_BYTES = 32 * 2**20
"""Chunks of about this size together are decoded at a time, so that they keep several processors busy."""
_MOST_CHUNKS_OF_A_TILE = 4096
_FEWEST_SLABS = 2  # several planes that are read at a time may lie on both sides of a border between slabs
_INDEX_READERS = 8
_DECODING = 3  # chunks that are decoded are in memory encoded, decoded, and put together
_COUNTED = {"c": "channels", "t": "time points"}
_TYPES = tuple(map(np.dtype, ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")))


@dataclass(frozen=True)
class ZarrVolume:
    """A volume stored as level 0 of an OME-Zarr image."""

    path: Path  # of the image
    level: str  # path of the array of level 0, below the image
    axes: tuple[str, ...]  # of the array; those that are not z, y and x have the length 1
    shape: Zyx
    dtype: np.dtype[Any]  # in native byte order
    chunk: Zyx  # the inner chunk of a sharded array
    voxel_size_um: tuple[float, float, float] | None  # (x, y, z), if the metadata states it

    @property
    def files(self) -> tuple[Path, ...]:
        """The stored files of level 0, and the metadata of the image."""
        stored = [file for file in (self.path / self.level).rglob("*") if file.is_file()]
        return tuple(sorted({*_documents_in(self.path), *stored}))

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the index of a plane along z."""
        return PlaneSource(self.path, plane)

    @property
    def read_cost(self) -> ReadCost:
        """Memory of slabs and of the chunks that are being decoded, which open planes share."""
        return ReadCost(shared_bytes=self.tiling.cache_bytes + _DECODING * self.tiling.tile_bytes)

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane; planes of one slab share its decoded chunks."""
        return _cache_of(self).open(plane)

    def read_block(self, block: tuple[slice, slice, slice]) -> npt.NDArray[Any]:
        """Read the block with these slices along (z, y, x), and nothing but the chunks that it touches."""
        try:
            values = _cache_of(self).decode(*block)
        except Exception as error:  # tensorstore raises errors of many types
            raise as_source_error(error, self.path, format_planes(range(block[0].start, block[0].stop))) from error
        return values.astype(self.dtype, copy=False)

    @property
    def tiling(self) -> Tiling:
        """How it is cut into slabs and tiles."""
        return Tiling(self.shape, self.chunk, self.dtype)


def is_ome_zarr(path: Path) -> bool:
    """Tell whether a path is the folder of an OME-Zarr image: by its name, or else by the metadata in it."""
    if not path.is_dir():
        return False
    if path.suffix.lower() == ".zarr":
        return True
    try:
        read_level_0(path)
    except SourceError:
        return False
    return True


def inspect_zarr(path: Path) -> Inspection:
    """Inspect an OME-Zarr image by its metadata, and list the files of its level 0."""
    try:
        volume, array = _opened(path)
    except SourceError as error:
        documents = _documents_in(path)
        return Inspection(None, len(documents), sum(map(size_on_disk, documents)), (str(error),))
    files, n_chunks = volume.files, array.grid.n_chunks
    level_0 = read_level_0(path)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if level_0.is_moved:
        warnings = (f"{path}: has a translation, which convert does not keep; note it down if you need it",)
    if n_missing := n_chunks - _count_stored(array.grid, files):  # left out because they are empty, or lost
        what = (
            f"{path}: {n_missing:,} of {format_count(n_chunks, 'chunk')} {'is' if n_missing == 1 else 'are'} not stored"
        )
        if level_0.is_ours:
            notes = (f"{what}, because catnip2bids leaves out chunks in which all voxels are {array.fill_value}",)
        else:
            warnings += (
                f"{what}; their voxels are the fill value {array.fill_value}. Writers leave out chunks that hold "
                "nothing else; if files were lost, bring them back",
            )
    return Inspection(volume, len(files), sum(map(size_on_disk, files)), warnings=warnings, notes=notes)


def _documents_in(path: Path) -> list[Path]:
    return [path / name for name in DOCUMENTS if (path / name).is_file()]


def _count_stored(grid: ChunkGrid, files: Iterable[Path]) -> int:
    """Count the chunks that are stored, by the names of files and the indexes of shards."""
    names = [file.relative_to(grid.folder).as_posix() for file in files if file.is_relative_to(grid.folder)]
    places = [place for name in names if (place := grid.place(name)) is not None]
    with ThreadPoolExecutor(_INDEX_READERS) as readers:
        return sum(readers.map(grid.count_stored, places))


def _opened(path: Path) -> tuple[ZarrVolume, ZarrArray]:
    """Open level 0 of an image, which must be a volume."""
    level_0 = read_level_0(path)
    array = open_array(path, level_0.path)
    if len(array.shape) != len(level_0.axes):
        raise SourceError(
            f"{path}: its array {level_0.path} has {len(array.shape)} axes and its metadata names {len(level_0.axes)}; "
            "replace it by the original"
        )
    for axis, length in zip(level_0.axes, array.shape, strict=True):
        if axis not in SPATIAL and length != 1:
            what = _COUNTED.get(axis, f"places along its axis {axis}")
            raise SourceError(f"{path}: has {length} {what}; save each of them as an image of its own")
    dtype = np.dtype(array.dtype.numpy_dtype)
    if dtype not in _TYPES:
        raise SourceError(f"{path}: has values of type {array.dtype.name}; save it as integers or as float32")
    shape, chunk = _spatial(level_0.axes, array.shape), _spatial(level_0.axes, array.grid.chunk_shape)
    if min(shape) < 1:
        raise SourceError(f"{path}: has {format_shape(shape)} voxels, which is none; replace it by the original")
    return ZarrVolume(path, level_0.path, level_0.axes, shape, dtype, chunk, level_0.voxel_size_um), array


def _spatial(axes: tuple[str, ...], lengths: tuple[int, ...]) -> Zyx:
    z, y, x = (length for axis, length in zip(axes, lengths, strict=True) if axis in SPATIAL)
    return z, y, x


# By identity, until the volume is collected: a volume of a later inspection must not get what was decoded before,
# because files may have been repaired in between.
_caches: dict[int, SlabCache] = {}
_opening = threading.Lock()


def _cache_of(volume: ZarrVolume) -> SlabCache:
    """Return the cache that all open planes of a volume share."""
    with _opening:
        found = _caches.get(id(volume))
        if found is None:
            described, array = _opened(volume.path)
            if described != volume:
                raise SourceError(f"{volume.path}: is not what it was; run again when nothing writes to it")
            found = _caches[id(volume)] = SlabCache(volume.path, array, volume.axes, volume.tiling)
            weakref.finalize(volume, _caches.pop, id(volume), None).atexit = False
        return found


class _Tile(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right` (both exclusive) of a slab, decoded at a time."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


@dataclass(frozen=True)
class Tiling:
    """The division of a volume along z into slabs, and of slabs into tiles: whole chunks of one row of chunks."""

    shape: Zyx
    chunk: Zyx
    dtype: np.dtype[Any]

    @property
    def tile_width(self) -> int:
        """Columns of a tile."""
        chunk_bytes = math.prod(self.chunk) * self.dtype.itemsize
        return min(max(TILE_BYTES // chunk_bytes, 1), _MOST_CHUNKS_OF_A_TILE) * self.chunk[2]

    @property
    def tile_bytes(self) -> int:
        """Memory of the chunks of a tile, including what they hold beyond the volume."""
        n_columns = math.ceil(self.shape[2] / self.chunk[2]) * self.chunk[2]
        return self.chunk[0] * self.chunk[1] * min(self.tile_width, n_columns) * self.dtype.itemsize

    @property
    def slab_bytes(self) -> int:
        """Bytes of a slab."""
        n_planes, n_rows, n_columns = self.shape
        return min(self.chunk[0], n_planes) * n_rows * n_columns * self.dtype.itemsize

    @property
    def cache_bytes(self) -> int:
        """Most memory that all slabs take together; 0 if they are on disk."""
        if self.slab_bytes > LARGEST_SLAB_BYTES:
            return 0
        volume_bytes = math.prod(self.shape) * self.dtype.itemsize
        return min(max(_FEWEST_SLABS * self.slab_bytes, LARGEST_SLAB_BYTES), volume_bytes)

    @property
    def n_cached(self) -> int:
        """Number of slabs that are kept while some of their planes are unread."""
        return max(self.cache_bytes // self.slab_bytes, _FEWEST_SLABS)

    def planes(self, slab: int) -> range:
        """Return the planes of a slab."""
        return range(slab * self.chunk[0], min((slab + 1) * self.chunk[0], self.shape[0]))

    def tiles(self, start: int, stop: int) -> Iterator[_Tile]:
        """Yield the tiles that the rows `start` to `stop` (exclusive) are in."""
        (_, n_rows, n_columns), height, width = self.shape, self.chunk[1], self.tile_width
        for top in range(start // height * height, stop, height):
            for left in range(0, n_columns, width):
                yield _Tile(top, min(top + height, n_rows), left, min(left + width, n_columns))


@dataclass
class _Slab:
    """The decoded tiles of a slab, one after the other in a buffer, each as an array (z, y, x)."""

    planes: range
    buffer: PlaneBuffer
    unread: set[int]  # planes that were not opened and closed yet
    n_open: int = 0  # planes
    decoded: set[_Tile] = field(default_factory=set)

    def offset(self, tile: _Tile, n_columns: int) -> int:
        """Return where a tile begins in the buffer: after the tiles above it and to the left of it."""
        return len(self.planes) * (tile.top * n_columns + tile.height * tile.left)


class SlabCache:
    """The slabs of an image that have open or unread planes.

    The axes of `array` that are not z, y and x have the length 1.
    """

    def __init__(self, path: Path, array: ZarrArray, axes: Sequence[str], tiling: Tiling) -> None:
        self.tiling = tiling
        self._path, self._array, self._axes = path, array, axes
        self._lock = threading.Lock()  # for the slabs and their counts
        # One thread decodes at a time, so that its memory is needed once; tensorstore uses all processors.
        self._decoding = threading.Lock()
        self._slabs: dict[int, _Slab] = {}

    def open(self, plane: int) -> SlabPlane:
        """Open a plane, and keep its slab until it is closed."""
        number = plane // self.tiling.chunk[0]
        with self._lock:
            slab = self._slabs.pop(number, None)
            if slab is None:
                self._evict(self.tiling.n_cached - 1)
                slab = self._new_slab(number)
            self._slabs[number] = slab  # the least recently used slab comes first
            slab.n_open += 1
            return SlabPlane(self, slab, plane)

    def close(self, plane: int) -> None:
        """Close a plane that was read."""
        with self._lock:
            slab = self._slabs[plane // self.tiling.chunk[0]]
            slab.n_open -= 1
            slab.unread.discard(plane)
            self._evict(self.tiling.n_cached)

    def decode(self, planes: slice, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Decode some chunks; tensorstore raises errors of many types."""
        wanted = {"z": planes, "y": rows, "x": columns}
        return self._array.read([wanted.get(axis, 0) for axis in self._axes])

    def fill(self, slab: _Slab, tile: _Tile, plane: int) -> None:
        """Decode a tile that `plane` needs, unless another thread did so in the meantime."""
        with self._decoding:
            if tile in slab.decoded:
                return
            planes = slice(slab.planes.start, slab.planes.stop)
            try:
                values = self.decode(planes, slice(tile.top, tile.bottom), slice(tile.left, tile.right))
            except Exception as error:
                what = f"{format_planes([plane])}, rows {tile.top + 1} to {tile.bottom},"
                raise as_source_error(error, self._path, what) from error
            slab.buffer.put(slab.offset(tile, self.tiling.shape[2]), values.reshape(-1))
            slab.decoded.add(tile)

    def _new_slab(self, number: int) -> _Slab:
        planes, tiling = self.tiling.planes(number), self.tiling
        n_values = len(planes) * tiling.shape[1] * tiling.shape[2]
        in_memory = sum(slab.buffer.memory_bytes for slab in self._slabs.values())
        fits = in_memory + n_values * tiling.dtype.itemsize <= tiling.cache_bytes
        return _Slab(planes, PlaneBuffer(n_values, tiling.dtype, in_memory=fits), set(planes))

    def _evict(self, n_cached: int) -> None:
        """Drop slabs without open planes: all that were read completely, and the oldest beyond a number."""
        for number, slab in list(self._slabs.items()):
            if slab.n_open == 0 and (not slab.unread or len(self._slabs) > n_cached):
                del self._slabs[number]
                slab.buffer.close()


@dataclass(frozen=True)
class SlabPlane:
    """An open plane of a slab."""

    cache: SlabCache
    slab: _Slab
    plane: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        slab, tiling = self.slab, self.cache.tiling
        z, n_columns = self.plane - slab.planes.start, tiling.shape[2]
        for tile in tiling.tiles(start, stop):
            if tile not in slab.decoded:
                self.cache.fill(slab, tile, self.plane)
            top, bottom = max(start, tile.top), min(stop, tile.bottom)
            rows_before = z * tile.height + top - tile.top
            begin = slab.offset(tile, n_columns) + rows_before * tile.width
            values = slab.buffer.get(begin, (bottom - top) * tile.width)
            out[top - start : bottom - start, tile.left : tile.right] = values.reshape(-1, tile.width)

    def close(self) -> None:
        """Close the plane; the cache drops the slab after its last one."""
        self.cache.close(self.plane)
