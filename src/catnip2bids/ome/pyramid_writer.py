"""Make the lower levels from the blocks of level 0 while these are in memory.

Invariant: each shard of each level is written once, when its last voxel is known, and nothing is read back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.ome.levels import Level, Zyx
from catnip2bids.ome.sharding import Sharding

Array = npt.NDArray[Any]
Region = tuple[slice, slice, slice]


class PendingShard(Protocol):
    """A shard that is being written in the background."""

    def done(self) -> bool:
        """Return whether it is written."""


class PyramidWriter:
    """Downsamples the blocks of one unit into shards of all its levels.

    Parameters
    ----------
    levels, sharding
        Of the image.
    merge
        Downsamples an array by a step (z, y, x) into another array.
    write
        Starts to write a complete shard, given its level, region and voxels.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        sharding: Sharding,
        merge: Callable[[Array, Zyx, Array], None],
        write: Callable[[Level, Region, Array], PendingShard],
    ) -> None:
        self._levels = levels[: sharding.n_unit_levels]
        self._sharding = sharding
        self._merge = merge
        self._write = write
        self._incomplete: dict[tuple[int, Zyx], tuple[Array, int]] = {}  # array and number of missing voxels
        self._reusable: list[tuple[Array, PendingShard]] = []

    def feed(self, index: int, origin: Zyx, shard: Array) -> None:
        """Write a complete shard of a level, whose first voxel is at `origin` (z, y, x), and downsample it."""
        writing = self._write(self._levels[index], _region(origin, shard.shape), shard)
        if index > 0:
            self._reusable.append((shard, writing))
        if index + 1 < len(self._levels):
            following = self._levels[index + 1]
            if any(start % step for start, step in zip(origin, following.step, strict=True)):
                raise RuntimeError(f"a shard of level {index} ends inside a voxel of level {index + 1}")
            target = _zyx(start // step for start, step in zip(origin, following.step, strict=True))
            self._downsample(following, target, shard)

    def finish(self) -> None:
        """Check that all shards were complete and written."""
        if self._incomplete:
            raise RuntimeError(f"{len(self._incomplete)} shards are not complete")

    def close(self) -> None:
        """Release all arrays."""
        self._incomplete.clear()
        self._reusable.clear()

    def _downsample(self, level: Level, origin: Zyx, source: Array) -> None:
        """Downsample a shard of the previous level to `origin` of this level; write the target shard once complete."""
        size = self._sharding.levels[level.index].shard
        first = _zyx(start // n * n for start, n in zip(origin, size, strict=True))
        shape = _zyx(min(n, end - start) for n, end, start in zip(size, level.shape, first, strict=True))
        shard, n_missing = self._incomplete.pop((level.index, first), (None, math.prod(shape)))
        if shard is None:
            shard = self._array(shape, source.dtype)
        inside = _zyx(start - begin for start, begin in zip(origin, first, strict=True))
        merged = _zyx(math.ceil(n / step) for n, step in zip(source.shape, level.step, strict=True))
        self._merge(source, level.step, shard[_region(inside, merged)])
        n_missing -= math.prod(merged)
        if n_missing:
            self._incomplete[level.index, first] = (shard, n_missing)
        else:
            self.feed(level.index, first, shard)

    def _array(self, shape: Zyx, dtype: np.dtype[Any]) -> Array:
        """Return an array, a written one if possible: for the system, new memory costs more time than downsampling."""
        for index, (shard, writing) in enumerate(self._reusable):
            if shard.shape == shape and writing.done():
                del self._reusable[index]
                return shard
        self._reusable = [(shard, writing) for shard, writing in self._reusable if not writing.done()]
        return np.empty(shape, dtype)


def _region(origin: Zyx, shape: Sequence[int]) -> Region:
    z, y, x = (slice(start, start + n) for start, n in zip(origin, shape, strict=True))
    return (z, y, x)


def _zyx(values: Any) -> Zyx:
    z, y, x = values
    return (z, y, x)
