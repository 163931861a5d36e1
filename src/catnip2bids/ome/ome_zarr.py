"""OME-Zarr images, written unit by unit.

Invariant: a unit writes whole shards of all levels that units make, and no two units write the same file, so units may
be written in any order, by any number of threads, processes or machines. The group's metadata is written last: a folder
without it is not an image yet.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.atomic_write import atomic_output, write_error
from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.ome.downsampling import downsample
from catnip2bids.ome.levels import (
    Level,
    LevelSharding,
    Sharding,
    Zyx,
    n_files,
    plan_levels,
    plan_sharding,
    waiting_bytes,
    zyx,
)
from catnip2bids.ome.ome_zarr_metadata import attributes_file, group_attributes, write_group, write_json
from catnip2bids.paths import safe_file, safe_path
from catnip2bids.volume.zarr import os_error_in

# Every Zarr implementation reads these. Measured on light-sheet images: level 3 instead of 1 takes 50 % more time and
# makes files 1.6 % smaller; blocks of 1 MiB instead of Blosc's own choice take a third less time and make files 4 %
# smaller.
_BLOSC = {"cname": "zstd", "clevel": 1, "blocksize": 2**20}


Array = npt.NDArray[Any]
Region = tuple[slice, slice, slice]


@dataclass(frozen=True)
class OmeZarrImage:
    """An OME-Zarr image under construction; shapes and sizes are (z, y, x)."""

    folder: Path  # usually one under a temporary name
    shape: Zyx
    dtype: str
    voxel_size_um: tuple[float, float, float]
    kind: Kind  # decides how voxels are merged
    version: OmeZarrVersion = OmeZarrVersion.V05  # 0.5 is sharded, 0.4 is not

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The resolution levels."""
        return plan_levels(self.shape, self.voxel_size_um)

    @cached_property
    def sharding(self) -> Sharding:
        """Chunks and shards of all levels, and how units own them."""
        return plan_sharding(self.levels, np.dtype(self.dtype).itemsize)

    @property
    def unit_depth(self) -> int:
        """Planes of a unit; units start at multiples of it."""
        return self.sharding.unit_depth

    @property
    def block_shape(self) -> Zyx:
        """Planes, rows and columns of a block, which is a shard of level 0."""
        return self.sharding.levels[0].shard

    @property
    def _shuffles_bits(self) -> bool:
        """Whether Blosc shuffles the bits of values.

        This makes images of integers up to a quarter smaller, but CATNIP's labels 2.5 times and its FRST images 1.4
        times as large, and takes twice as long. Masks would be a third smaller, but are small in any case.
        """
        return self.kind == Kind.IMAGE and np.dtype(self.dtype).kind in "iu"

    @property
    def waiting_bytes(self) -> int:
        """The most memory that incomplete shards of lower levels take."""
        return waiting_bytes(self.levels, self.sharding, np.dtype(self.dtype).itemsize)

    @property
    def n_files(self) -> int:
        """Files of the finished image if no shard is empty, metadata included."""
        return n_files(self.levels, self.sharding, is_sharded=self.version == OmeZarrVersion.V05)

    def create(self) -> None:
        """Create the arrays of all levels that do not exist yet."""
        for level in self.levels:
            self.open_level(level, create=True)

    @property
    def remaining_bytes(self) -> int:
        """The most memory that `write_remaining_levels` takes: a shard and its encoded form."""
        shards = [self.sharding.levels[level.index].shard for level in self.levels[self.sharding.n_unit_levels :]]
        return 2 * max(map(math.prod, shards), default=0) * np.dtype(self.dtype).itemsize

    def write_remaining_levels(self, n_threads: int) -> None:
        """Write the levels that need more than one unit, each from the level before it, shard by shard."""
        for level in self.levels[self.sharding.n_unit_levels :]:
            previous = self.open_level(self.levels[level.index - 1], n_threads=n_threads)
            target = self.open_level(level, n_threads=n_threads)
            for region in _shards(level.shape, self.sharding.levels[level.index].shard):
                shard = np.empty([part.stop - part.start for part in region], self.dtype)
                self._merge_into(shard, region, level, previous)
                self.remove_files(level, region)
                self.finished(target[region].write(shard))

    def _merge_into(self, shard: Array, region: Region, level: Level, previous: Any) -> None:
        """Merge the voxels of the previous level into a shard, one row of chunks at a time."""
        n_rows = self.sharding.levels[level.index - 1].chunk[1] // level.step[1]
        for top in range(0, shard.shape[1], n_rows):
            rows = slice(region[1].start + top, min(region[1].start + top + n_rows, region[1].stop))
            wanted = tuple(
                slice(part.start * step, min(part.stop * step, n))
                for part, step, n in zip((region[0], rows, region[2]), level.step, previous.shape, strict=True)
            )
            array = np.asarray(self.finished(previous[wanted].read(), "read back"))
            downsample(array, level.step, self.kind, out=shard[:, top : top + n_rows])

    def read_smallest_level(self) -> Array:
        """Read the last level, which has at most 256 voxels along each axis."""
        return np.asarray(self.finished(self.open_level(self.levels[-1]).read(), "read back"))

    def finish(self, document: dict[str, Any]) -> None:
        """Write the group's metadata, as `image_metadata` returns it, which makes the folder an image."""
        for lock in self.folder.rglob("*.__lock"):  # tensorstore's, left by an interruption
            lock.unlink()
        write_group(self.folder, group_attributes(document, self.version), self.version)

    def replace_metadata(self, document: dict[str, Any]) -> Path:
        """Replace the group's metadata of a finished image in one step; returns the file."""
        name, content = attributes_file(group_attributes(document, self.version), self.version)
        with atomic_output(
            safe_path(self.folder.parent, f"{self.folder.name}/{name}"), near=safe_file(self.folder)
        ) as partial:
            write_json(partial, content)
        return self.folder / name

    def open_level(self, level: Level, *, create: bool = False, n_threads: int | None = None) -> Any:
        """Open the array of a level with tensorstore, which encodes and decodes on `n_threads` (None: all)."""
        import tensorstore as ts

        is_sharded = self.version == OmeZarrVersion.V05
        spec: dict[str, Any] = {"driver": "zarr3" if is_sharded else "zarr"}
        if create:
            array_metadata = _zarr3_metadata if is_sharded else _zarr2_metadata
            sharding, dtype = self.sharding.levels[level.index], np.dtype(self.dtype)
            spec["metadata"] = array_metadata(level, sharding, dtype, shuffles_bits=self._shuffles_bits)
        # validators of Zarr v2 take an array without any stored chunk for an empty file
        spec["store_data_equal_to_fill_value"] = not is_sharded and level.index == len(self.levels) - 1
        path = os.path.realpath(self.folder / str(level.index))  # tensorstore refuses '..'
        spec["kvstore"] = {"driver": "file", "path": path}
        return self.finished(ts.open(ts.Spec(spec), create=create, open=True, context=_context(n_threads)))

    def file_names(self, level: Level, region: Region) -> list[str]:
        """Name the files that hold a region of a level, below the image."""
        level_sharding, is_sharded = self.sharding.levels[level.index], self.version == OmeZarrVersion.V05
        cells = [
            range(part.start // size, math.ceil(part.stop / size))
            for part, size in zip(region, level_sharding.shard if is_sharded else level_sharding.chunk, strict=True)
        ]
        array = f"{level.index}/c" if is_sharded else f"{level.index}"
        return [f"{array}/{z}/{y}/{x}" for z, y, x in product(*cells)]

    def remove_files(self, level: Level, region: Region) -> None:
        """Remove the files of a region that an interrupted attempt left: tensorstore would read them, even damaged."""
        for name in self.file_names(level, region):
            (self.folder / name).unlink(missing_ok=True)

    def wait_for(self, writing: Sequence[Any]) -> None:
        """Wait until shards are on disk."""
        for work in writing:
            self.finished(work)

    def finished(self, work: Any, doing: str = "written") -> Any:
        """Wait for a future of tensorstore, and turn its errors, of many types, into a `WriteError`."""
        try:
            return work.result()
        except Exception as error:
            raise write_error(self.folder, os_error_in(error) or OSError(0, str(error)), doing) from error


class UnitWriter:
    """Writes the blocks of one unit, and the shards of lower levels made from them while they are in memory.

    Invariant: blocks come in order of planes, then rows. Each shard of each level is written once, when its last voxel
    is known, and nothing is read back. Voxels are merged on `threads`; tensorstore encodes on `n_threads` of its own.
    """

    def __init__(self, image: OmeZarrImage, threads: Executor | None, n_threads: int) -> None:
        self._image, self._threads, self._n_threads = image, threads, n_threads
        self._levels = image.levels[: image.sharding.n_unit_levels]
        self._arrays: dict[int, Any] = {}  # by level
        self._incomplete: dict[tuple[int, Zyx], tuple[Array, int]] = {}  # array and number of missing voxels
        self._reusable: list[tuple[Array, Any]] = []  # arrays of written shards
        self._regions: list[tuple[Level, Region]] = []
        self._writing: list[Any] = []

    def put(self, origin: Zyx, block: Array) -> Callable[[], None]:
        """Start to write a block of level 0, whose first voxel is at `origin`, and the lower levels made from it.

        Returns a function that waits until they are on disk; the block must not change before.
        """
        self._writing = [work for work in self._writing if not work.done() or work.exception() is not None]
        before = len(self._writing)
        self._put_shard(self._levels[0], origin, block)
        return partial(self._image.wait_for, self._writing[before:])

    def finish(self) -> dict[str, int]:
        """Wait until all shards are on disk; returns the bytes of each file, by its path below the image."""
        if self._incomplete:
            raise RuntimeError(f"{len(self._incomplete)} shards are not complete")
        self._image.wait_for(self._writing)
        names = (name for level, region in self._regions for name in self._image.file_names(level, region))
        paths = ((name, self._image.folder / name) for name in names)
        return {name: path.stat().st_size for name, path in paths if path.is_file()}  # shards of zeros are not stored

    def stop(self) -> None:
        """Wait until nothing is being written, successful or not, and release all arrays."""
        for work in self._writing:
            work.exception()
        self._incomplete.clear()
        self._reusable.clear()

    def _put_shard(self, level: Level, origin: Zyx, shard: Array) -> None:
        """Start to write a complete shard of a level, whose first voxel is at `origin`, and downsample it."""
        region = _region(origin, shard.shape)
        self._image.remove_files(level, region)
        if level.index not in self._arrays:
            self._arrays[level.index] = self._image.open_level(level, n_threads=self._n_threads)
        # tensorstore encodes in its threads while the next level is made; nothing changes the shard meanwhile
        writing = self._arrays[level.index][region].write(shard, can_reference_source_data_indefinitely=True)
        self._writing.append(writing)
        self._regions.append((level, region))
        if level.index > 0:
            self._reusable.append((shard, writing))
        if level.index + 1 < len(self._levels):
            following = self._levels[level.index + 1]
            if any(start % step for start, step in zip(origin, following.step, strict=True)):
                raise RuntimeError(f"a shard of level {level.index} ends inside a voxel of level {following.index}")
            self._downsample(shard, following, zyx(map(operator.floordiv, origin, following.step)))

    def _downsample(self, source: Array, level: Level, origin: Zyx) -> None:
        """Downsample a shard of the previous level to `origin` of this level; write the target shard once complete."""
        size = self._image.sharding.levels[level.index].shard
        first = zyx(start // n * n for start, n in zip(origin, size, strict=True))
        shape = zyx(min(n, end - start) for n, end, start in zip(size, level.shape, first, strict=True))
        shard, n_missing = self._incomplete.pop((level.index, first), (None, math.prod(shape)))
        if shard is None:
            shard = self._empty(shape, source.dtype)
        merged = zyx(math.ceil(n / step) for n, step in zip(source.shape, level.step, strict=True))
        target = shard[_region(zyx(map(operator.sub, origin, first)), merged)]
        downsample(source, level.step, self._image.kind, self._threads, self._n_threads, target)
        n_missing -= math.prod(merged)
        if n_missing:
            self._incomplete[level.index, first] = (shard, n_missing)
        else:
            self._put_shard(level, first, shard)

    def _empty(self, shape: Zyx, dtype: np.dtype[Any]) -> Array:
        """Return an array, if possible that of a written shard: allocating memory takes longer than downsampling."""
        for index, (shard, writing) in enumerate(self._reusable):
            if shard.shape == shape and writing.done():
                del self._reusable[index]
                return shard
        self._reusable = [(shard, writing) for shard, writing in self._reusable if not writing.done()]
        return np.empty(shape, dtype)


@cache
def _context(n_threads: int | None) -> Any:
    """Return the context with the threads that encode and decode, shared by all arrays of this process."""
    import tensorstore as ts

    # no cache: the memory of written arrays is used again for other voxels
    spec: dict[str, Any] = {"cache_pool": {"total_bytes_limit": 0}}
    return ts.Context(spec if n_threads is None else {**spec, "data_copy_concurrency": {"limit": n_threads}})


def _zarr3_metadata(
    level: Level, sharding: LevelSharding, dtype: np.dtype[Any], *, shuffles_bits: bool
) -> dict[str, Any]:
    shuffle = "bitshuffle" if shuffles_bits else "noshuffle"
    chunk_codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "blosc", "configuration": {**_BLOSC, "shuffle": shuffle, "typesize": dtype.itemsize}},
    ]
    sharding_codec = {
        "chunk_shape": sharding.chunk,
        "codecs": chunk_codecs,
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "shape": level.shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": sharding.shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding_codec}],
        "fill_value": dtype.type(0).item(),
        "dimension_names": ["z", "y", "x"],
    }


def _zarr2_metadata(
    level: Level, sharding: LevelSharding, dtype: np.dtype[Any], *, shuffles_bits: bool
) -> dict[str, Any]:
    return {
        "shape": level.shape,
        "dtype": dtype.newbyteorder("<").str,
        "chunks": sharding.chunk,
        "compressor": {"id": "blosc", **_BLOSC, "shuffle": 2 if shuffles_bits else 0},
        "fill_value": dtype.type(0).item(),
        "order": "C",
        "dimension_separator": "/",
        "filters": None,
    }


def _shards(shape: Zyx, shard: Zyx) -> list[Region]:
    """Cut an array into the regions of its shards."""
    z, y, x = (
        [slice(start, min(start + size, n)) for start in range(0, n, size)]
        for n, size in zip(shape, shard, strict=True)
    )
    return [(a, b, c) for a in z for b in y for c in x]


def _region(origin: Zyx, shape: Sequence[int]) -> Region:
    z, y, x = (slice(start, start + n) for start, n in zip(origin, shape, strict=True))
    return (z, y, x)
