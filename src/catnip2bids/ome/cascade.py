"""All levels from the blocks of level 0, while they are in memory.

Invariant: a shard of any level is written once, when the last voxel of it has come, and nothing is read back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.choices import Kind
from catnip2bids.ome.layout import Layout
from catnip2bids.ome.pyramid import Level, Zyx, downsample

Array = npt.NDArray[Any]
Region = tuple[slice, slice, slice]


class Cascade:
    """Takes the blocks of one unit and hands out the shards of all its levels.

    Parameters
    ----------
    levels, layout
        Of the image.
    kind
        Decides how voxels are merged.
    write
        Called with level, region and voxels of each shard that is complete.
    """

    def __init__(
        self, levels: Sequence[Level], layout: Layout, kind: Kind, write: Callable[[Level, Region, Array], None]
    ) -> None:
        self._levels = levels[: layout.n_unit_levels]
        self._layout = layout
        self._kind = kind
        self._write = write
        self._open: dict[tuple[int, Zyx], tuple[Array, int]] = {}

    def feed(self, index: int, origin: Zyx, shard: Array) -> None:
        """Take a whole shard of a level, of which the first voxel is at `origin` (z, y, x)."""
        level = self._levels[index]
        self._write(level, _region(origin, shard.shape), shard)
        if index + 1 < len(self._levels):
            below = self._levels[index + 1]
            piece = downsample(shard, below.step, self._kind) if below.step != (1, 1, 1) else shard
            z, y, x = (start // step for start, step in zip(origin, below.step, strict=True))
            self._collect(below, (z, y, x), piece)

    def finish(self) -> None:
        """Make sure that nothing is left that was not written."""
        if self._open:
            raise RuntimeError(f"{len(self._open)} shards are not complete")

    def _collect(self, level: Level, origin: Zyx, piece: Array) -> None:
        """Put a piece into its shard, and pass the shard on when it is complete."""
        size = self._layout.levels[level.index].shard
        first = _zyx(start // n * n for start, n in zip(origin, size, strict=True))
        shape = _zyx(min(n, end - start) for n, end, start in zip(size, level.shape, first, strict=True))
        if shape == piece.shape:
            self.feed(level.index, first, piece)
            return
        shard, n_missing = self._open.pop((level.index, first), (None, math.prod(shape)))
        if shard is None:
            shard = np.empty(shape, piece.dtype)
        inside = _zyx(start - begin for start, begin in zip(origin, first, strict=True))
        shard[_region(inside, piece.shape)] = piece
        n_missing -= piece.size
        if n_missing:
            self._open[level.index, first] = (shard, n_missing)
        else:
            self.feed(level.index, first, shard)


def _region(origin: Zyx, shape: Sequence[int]) -> Region:
    z, y, x = (slice(start, start + n) for start, n in zip(origin, shape, strict=True))
    return (z, y, x)


def _zyx(values: Any) -> Zyx:
    z, y, x = values
    return (z, y, x)
