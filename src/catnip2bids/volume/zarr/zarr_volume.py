"""A volume as level 0 of an OME-Zarr image, version 0.5 (zarr v3) or 0.4 (zarr v2).

Invariant: a chunk that is not stored is the fill value, as the specification has it (zarr v3, "Fill value"); one that
cannot be decoded is an error.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count, format_shape
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.volume import Inspection, PlaneSource, ReadCost, size_on_disk
from catnip2bids.volume.zarr.array import ZarrArray, open_array
from catnip2bids.volume.zarr.chunk_grid import ChunkGrid
from catnip2bids.volume.zarr.metadata import DOCUMENTS, SPATIAL, read_level_0
from catnip2bids.volume.zarr.slab_cache import SlabCache, Tiling, Zyx

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
    files, n_chunks, warnings = volume.files, array.grid.n_chunks, []
    if n_missing := n_chunks - _count_stored(array.grid, files):  # left out because they are empty, or lost
        are = "is" if n_missing == 1 else "are"
        warnings.append(
            f"{path}: {n_missing:,} of {format_count(n_chunks, 'chunk')} {are} not stored; their pixels are the fill "
            f"value {array.fill_value}. Writers leave out chunks that hold nothing else; if files were lost, bring "
            "them back"
        )
    return Inspection(volume, len(files), sum(map(size_on_disk, files)), warnings=tuple(warnings))


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
