"""Chunks, shards and units: how the voxels of each level are laid out in files, and who writes which.

Invariant: the layout depends on shape and type alone, never on the machine, so an image has the same bytes wherever
it is written. A shard of level 0 is a block: some planes of some rows, whole rows always, because that is how TIFF
files can be read piece by piece. A unit of work is a range of planes that owns whole shards of every level that is
made while its blocks are in memory: no two units ever write one file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from catnip2bids.ome.levels import Level, Zyx

CHUNK = (64, 128, 128)
"""Voxels (z, y, x) of a chunk, at most 4 MiB for values of up to 4 bytes."""
LARGEST_CHUNK_BYTES = 4 * 2**20
USUAL_BLOCK_BYTES = 64 * 2**20
"""Blocks have as many rows as make about this much (at most half more); a few of them are in memory at a time."""
SMALLEST_BLOCK_BYTES = 40 * 2**20
"""Blocks of small planes have more planes until they hold this much, so that they do not become many files."""
SMALLEST_SHARD_BYTES = 24 * 2**20
"""Shards of lower levels get more rows, then more planes, until they hold this much."""
SMALLEST_UNIT_BYTES = 2**30
"""Units have more planes until they hold this much, so that lower levels do not become many files either."""
SMALLEST_SHARD_DEPTH = 16
"""A level whose share of a unit is thinner than this is made at the end, from the finished level before it."""
_MOST_MERGED = 2
"""Voxels along an axis that become one: a shard of any level has whole ones of the next level."""
BYTES_PER_FILE = 12 * 2**30 // 500
"""A large image has at least so many bytes a file: 12 GiB are never more than 500 files."""


@dataclass(frozen=True)
class LevelSharding:
    """Voxels (z, y, x) of the chunks and of the shards of one level."""

    chunk: Zyx
    shard: Zyx


@dataclass(frozen=True)
class Sharding:
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

    levels: tuple[LevelSharding, ...]
    unit_depth: int
    n_unit_levels: int


def plan_sharding(levels: tuple[Level, ...], itemsize: int) -> Sharding:
    """Choose chunks, shards and units for all levels of an image of `itemsize` bytes a voxel."""
    most_files = max(math.prod(levels[0].shape) * itemsize, 12 * 2**30) // BYTES_PER_FILE
    # the usual sizes hold the rule of files for nearly all shapes; extreme ones get larger shards
    for enlarged in (1, 2, 4, 8):
        layout = _layout(levels, itemsize, enlarged)
        if n_files(levels, layout) <= most_files:
            break
    return layout


def n_files(levels: tuple[Level, ...], layout: Sharding) -> int:
    """Count the files of a sharded image, documents included."""
    n_documents = 1 + len(levels)
    return n_documents + sum(
        math.prod(math.ceil(n / size) for n, size in zip(level.shape, layout.levels[level.index].shard, strict=True))
        for level in levels
    )


def waiting_bytes(levels: tuple[Level, ...], layout: Sharding, itemsize: int) -> int:
    """Bytes of the shards of lower levels that wait in memory for the rest of their voxels, at the most."""
    total = 0
    for level in levels[1 : layout.n_unit_levels]:
        depth, rows, _ = layout.levels[level.index].shard
        at_once = layout.levels[0].shard[0] // level.factors[0]
        waiting_rows = level.shape[1] if depth > at_once else min(rows, level.shape[1])
        total += min(depth, level.shape[0]) * waiting_rows * level.shape[2] * itemsize
    return total


def _layout(levels: tuple[Level, ...], itemsize: int, enlarged: int) -> Sharding:
    n_planes, n_rows, n_columns = levels[0].shape
    chunk, flatter = _chunk(levels[0].shape, itemsize)
    row_bytes = n_columns * itemsize

    merged = min(_MOST_MERGED, n_planes)
    depth = max(chunk[0], merged)
    # as many rows as make blocks of about the usual size, none of them a sliver
    n_chunks = math.ceil(n_rows / chunk[1])
    usual = round(USUAL_BLOCK_BYTES * enlarged / (min(depth, n_planes) * chunk[1] * row_bytes))
    n_blocks = math.ceil(n_chunks / max(usual, 1))
    rows = math.ceil(n_chunks / n_blocks) * chunk[1]
    while depth * min(rows, n_rows) * row_bytes < SMALLEST_BLOCK_BYTES * enlarged and depth < n_planes:
        depth *= 2
    unit_depth = depth
    while unit_depth * n_rows * row_bytes < SMALLEST_UNIT_BYTES * enlarged and unit_depth < n_planes:
        unit_depth *= 2

    smallest_depth = max(SMALLEST_SHARD_DEPTH // flatter, merged)
    n_unit_levels = sum(unit_depth // level.factors[0] >= min(smallest_depth, unit_depth) for level in levels)
    layouts = []
    for level in levels:
        share = unit_depth // level.factors[0] if level.index < n_unit_levels else depth
        shard_depth = min(max(depth // level.factors[0], smallest_depth), share)
        shard_rows = rows
        level_row_bytes = level.shape[2] * itemsize

        def is_small(planes: int, n: int, level: Level = level, level_row_bytes: int = level_row_bytes) -> bool:
            return planes * min(n, level.shape[1]) * level_row_bytes < SMALLEST_SHARD_BYTES * enlarged

        if level.index > 0:
            # shards wait in memory until they are whole: rows of the same planes come soon, other planes late
            while shard_rows < level.shape[1] and is_small(shard_depth, shard_rows):
                shard_rows *= 2
            while shard_depth < share and is_small(shard_depth, shard_rows):
                shard_depth *= 2
        shard = (shard_depth, shard_rows, _whole(level.shape[2], chunk[2]))
        layouts.append(LevelSharding((min(chunk[0], shard_depth), *chunk[1:]), shard))
    return Sharding(tuple(layouts), unit_depth, n_unit_levels)


def _chunk(shape: Zyx, itemsize: int) -> tuple[Zyx, int]:
    """Choose the chunk of level 0; returns it, and how many times flatter it is than usual."""
    depth, rows, columns = CHUNK
    if math.prod(CHUNK) * itemsize > LARGEST_CHUNK_BYTES:
        depth //= 2
    usual_depth = depth
    # few planes: chunks of the same size as usual, and none of it empty
    while depth // 2 >= shape[0]:
        depth //= 2
        rows, columns = (rows * 2, columns) if rows < columns else (rows, columns * 2)
    # wide planes: flatter chunks keep a block of the fewest rows small
    while depth * rows * shape[2] * itemsize > 1.5 * USUAL_BLOCK_BYTES and depth > 1:
        depth, columns = depth // 2, columns * 2
    return (depth, rows, columns), usual_depth // depth


def _whole(n_voxels: int, chunk: int) -> int:
    """Round up to whole chunks."""
    return math.ceil(n_voxels / chunk) * chunk
