"""Chunks, shards and units: how the voxels of each level are laid out in files, and who writes which.

Invariant: the layout depends on shape and type alone, never on the machine, so an image has the same bytes wherever
it is written. A shard of level 0 is a block: some planes of some rows, whole rows always, because that is how TIFF
files can be read piece by piece. A unit of work is a range of planes that owns whole shards of every level that is
made while its blocks are in memory: no two units ever write one file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from catnip2bids.ome.pyramid import Level, Zyx

CHUNK = (64, 128, 128)
"""Voxels (z, y, x) of a chunk, at most 4 MiB for values of up to 4 bytes."""
LARGEST_CHUNK_BYTES = 4 * 2**20
USUAL_BLOCK_BYTES = 128 * 2**20
"""Blocks have as many rows as make about this much (at most half more); two of them are in memory at a time."""
SMALLEST_BLOCK_BYTES = 80 * 2**20
"""Blocks of small planes have more planes until they hold this much, so that they do not become many files."""
SMALLEST_SHARD_BYTES = 24 * 2**20
"""Shards of lower levels are made deeper until they hold this much."""
SMALLEST_UNIT_BYTES = 2**30
"""Units have more planes until they hold this much, so that lower levels do not become many files either."""
SMALLEST_SHARD_DEPTH = 16
"""A level whose share of a unit is thinner than this is made at the end, from the finished level before it."""


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
        One layout for each level. The shards of level 0 are the blocks.
    unit_depth
        Level-0 planes of a unit.
    n_unit_levels
        Number of levels that are made by the units; the others are made at the end.
    """

    levels: tuple[LevelLayout, ...]
    unit_depth: int
    n_unit_levels: int


def plan_layout(levels: tuple[Level, ...], itemsize: int) -> Layout:
    """Choose chunks, shards and units for all levels of an image of `itemsize` bytes a voxel."""
    (n_planes, n_rows, _), columns = levels[0].shape, _whole(levels[0].shape[2], CHUNK[2])
    chunk_depth = CHUNK[0] if math.prod(CHUNK) * itemsize <= LARGEST_CHUNK_BYTES else CHUNK[0] // 2
    # very wide planes: flatter and wider chunks of the same size keep a block of the fewest rows small
    flatter = 1
    while chunk_depth * CHUNK[1] * columns * itemsize > 2 * USUAL_BLOCK_BYTES * flatter and flatter < chunk_depth:
        flatter *= 2
    chunk_depth, chunk_columns = chunk_depth // flatter, CHUNK[2] * flatter

    # as many rows as make blocks of about the usual size, none of them a sliver
    n_chunks = math.ceil(n_rows / CHUNK[1])
    slab_bytes = min(chunk_depth, n_planes) * n_chunks * CHUNK[1] * columns * itemsize
    n_blocks = min(max(round(slab_bytes / USUAL_BLOCK_BYTES), 1), n_chunks)
    rows = math.ceil(n_chunks / n_blocks) * CHUNK[1]
    depth = chunk_depth
    while depth * rows * columns * itemsize < SMALLEST_BLOCK_BYTES and depth < n_planes:
        depth *= 2
    unit_depth = depth
    while unit_depth * n_rows * columns * itemsize < SMALLEST_UNIT_BYTES and unit_depth < n_planes:
        unit_depth *= 2

    smallest_depth = SMALLEST_SHARD_DEPTH // flatter
    n_unit_levels = sum(unit_depth // level.factors[0] >= smallest_depth for level in levels)
    layouts = []
    for level in levels:
        columns = _whole(level.shape[2], chunk_columns)
        share = unit_depth // level.factors[0] if level.index < n_unit_levels else depth
        # shards of a level wait in memory until they are whole: they get no deeper than makes them large enough
        shard_depth = min(max(depth // level.factors[0], smallest_depth), share)
        shard_rows = min(rows, _whole(level.shape[1], CHUNK[1]))
        while shard_depth < share and shard_depth * shard_rows * columns * itemsize < SMALLEST_SHARD_BYTES:
            shard_depth *= 2
        chunk = (min(chunk_depth, shard_depth), CHUNK[1], chunk_columns)
        layouts.append(LevelLayout(chunk, (shard_depth, rows, columns)))
    return Layout(tuple(layouts), unit_depth, n_unit_levels)


def _whole(n_voxels: int, chunk: int) -> int:
    """Round up to whole chunks."""
    return math.ceil(n_voxels / chunk) * chunk
