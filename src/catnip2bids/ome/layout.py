"""Chunks and shards: how the voxels of each level are laid out in files.

Invariant: the layout depends on shape and dtype alone, never on the machine, so an image has the same bytes
wherever it is written. One slab of level-0 planes owns whole shards of every level that is made from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from catnip2bids.ome.pyramid import Level, Zyx

CHUNK = (64, 128, 128)
"""Voxels (z, y, x) of a chunk, at most 4 MiB for values of up to 4 bytes."""
LARGEST_CHUNK_BYTES = 4 * 2**20
SHARD_PLANE = 2048
"""The most voxels of a shard along y and along x."""
SMALLEST_SHARD_BYTES = 256 * 2**20
"""Shards are made deeper until they hold this much, so that small planes do not become many files."""
SMALLEST_SHARD_DEPTH = 16
"""A level whose share of a slab is thinner than this is made from the finished level before it instead."""


@dataclass(frozen=True)
class LevelLayout:
    """Voxels (z, y, x) of the chunks and of the shards of one level."""

    chunk: Zyx
    shard: Zyx


@dataclass(frozen=True)
class Layout:
    """How all levels of an image are stored.

    Attributes
    ----------
    levels
        One layout for each level.
    slab_depth
        Level-0 planes that own whole shards of all levels below `n_slab_levels`.
    n_slab_levels
        Number of levels that are made from a slab while it is in memory.
    """

    levels: tuple[LevelLayout, ...]
    slab_depth: int
    n_slab_levels: int


def plan_layout(levels: tuple[Level, ...], itemsize: int) -> Layout:
    """Choose chunks and shards for all levels of an image of `itemsize` bytes a voxel."""
    chunk_depth = CHUNK[0] if math.prod(CHUNK) * itemsize <= LARGEST_CHUNK_BYTES else CHUNK[0] // 2
    plane = [min(SHARD_PLANE, _whole_chunks(n, size)) for n, size in zip(levels[0].shape[1:], CHUNK[1:], strict=True)]
    slab_depth = chunk_depth
    while slab_depth * math.prod(plane) * itemsize < SMALLEST_SHARD_BYTES and slab_depth < levels[0].shape[0]:
        slab_depth *= 2
    from_slab = [level for level in levels if slab_depth // level.factors[0] >= SMALLEST_SHARD_DEPTH]
    layouts = []
    for level in levels:
        depth = slab_depth // level.factors[0] if level.index < len(from_slab) else slab_depth
        y, x = (min(SHARD_PLANE, _whole_chunks(n, size)) for n, size in zip(level.shape[1:], CHUNK[1:], strict=True))
        chunk = (min(chunk_depth, depth), min(CHUNK[1], y), min(CHUNK[2], x))
        layouts.append(LevelLayout(chunk=chunk, shard=(depth, y, x)))
    return Layout(tuple(layouts), slab_depth, len(from_slab))


def _whole_chunks(n_voxels: int, chunk: int) -> int:
    """Round up to whole chunks."""
    return math.ceil(n_voxels / chunk) * chunk
