"""All levels from the blocks of level 0, while they are in memory.

Invariant: a shard of any level is written once, when the last voxel of it has come, and nothing is read back.
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
    """A shard that is written in the background."""

    def done(self) -> bool:
        """Tell whether it is written."""


class PyramidWriter:
    """Takes the blocks of one unit and hands out the shards of all its levels.

    Parameters
    ----------
    levels, layout
        Of the image.
    merge
        Merges voxels of an array by a step (z, y, x) into another array.
    write
        Called with level, region and voxels of each shard that is complete; returns when that is written.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        layout: Sharding,
        merge: Callable[[Array, Zyx, Array], None],
        write: Callable[[Level, Region, Array], PendingShard],
    ) -> None:
        self._levels = levels[: layout.n_unit_levels]
        self._layout = layout
        self._merge = merge
        self._write = write
        self._open: dict[tuple[int, Zyx], tuple[Array, int]] = {}
        self._spent: list[tuple[Array, PendingShard]] = []

    def feed(self, index: int, origin: Zyx, shard: Array) -> None:
        """Take a whole shard of a level, of which the first voxel is at `origin` (z, y, x)."""
        writing = self._write(self._levels[index], _region(origin, shard.shape), shard)
        if index > 0:
            self._spent.append((shard, writing))
        if index + 1 < len(self._levels):
            below = self._levels[index + 1]
            if any(start % step for start, step in zip(origin, below.step, strict=True)):
                raise RuntimeError(f"a shard of level {index} ends inside a voxel of level {index + 1}")
            self._collect(below, _zyx(start // step for start, step in zip(origin, below.step, strict=True)), shard)

    def finish(self) -> None:
        """Make sure that nothing is left that was not written."""
        if self._open:
            raise RuntimeError(f"{len(self._open)} shards are not complete")

    def close(self) -> None:
        """Let go of all memory."""
        self._open.clear()
        self._spent.clear()

    def _collect(self, level: Level, origin: Zyx, above: Array) -> None:
        """Merge a shard of the level above into the shard where it belongs, and pass that on when it is complete."""
        size = self._layout.levels[level.index].shard
        first = _zyx(start // n * n for start, n in zip(origin, size, strict=True))
        shape = _zyx(min(n, end - start) for n, end, start in zip(size, level.shape, first, strict=True))
        shard, n_missing = self._open.pop((level.index, first), (None, math.prod(shape)))
        if shard is None:
            shard = self._unused(shape, above.dtype)
        inside = _zyx(start - begin for start, begin in zip(origin, first, strict=True))
        merged = _zyx(math.ceil(n / step) for n, step in zip(above.shape, level.step, strict=True))
        self._merge(above, level.step, shard[_region(inside, merged)])
        n_missing -= math.prod(merged)
        if n_missing:
            self._open[level.index, first] = (shard, n_missing)
        else:
            self.feed(level.index, first, shard)

    def _unused(self, shape: Zyx, dtype: np.dtype[Any]) -> Array:
        """Return an array that nobody uses any more: fresh memory takes the system longer than merging does."""
        for place, (shard, writing) in enumerate(self._spent):
            if shard.shape == shape and writing.done():
                del self._spent[place]
                return shard
        self._spent = [(shard, writing) for shard, writing in self._spent if not writing.done()]
        return np.empty(shape, dtype)


def _region(origin: Zyx, shape: Sequence[int]) -> Region:
    z, y, x = (slice(start, start + n) for start, n in zip(origin, shape, strict=True))
    return (z, y, x)


def _zyx(values: Any) -> Zyx:
    z, y, x = values
    return (z, y, x)
