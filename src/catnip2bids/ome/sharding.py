"""Chunks, shards and units: which voxels of each level are stored in which file, and which unit writes it.

Invariant: sharding depends on shape and type alone, never on the machine, so an image has the same bytes wherever it is
written. A unit of work is a range of planes that owns whole shards of every level that is made while its blocks are in
memory: no two units write the same file.

The sizes, in voxels; `doubled` means doubled until the bytes in parentheses are reached or the axis ends::

    chunk       64 x 128 x 128, half as deep for large types, flatter for few or wide planes
    block       chunk depth, doubled (40 MiB)  x  rows of whole chunks, about 64 MiB  x  all columns
    unit        block depth, doubled (1 GiB)   x  all rows                            x  all columns
    shard 0     a block
    shard n     block depth / factor, doubled  x  block rows, doubled first (24 MiB)  x  all columns

Blocks have all columns because TIFF files can be read by rows. A level of which a unit has less than 16 planes is not
made by units but at the end, from the level before it. A few extreme shapes would get too many files; they get all byte
sizes times 2, 4 or 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from catnip2bids.ome.levels import Level, Zyx

CHUNK = (64, 128, 128)
"""Voxels (z, y, x) of a chunk, at most 4 MiB for values of up to 4 bytes."""
LARGEST_CHUNK_BYTES = 4 * 2**20
USUAL_BLOCK_BYTES = 64 * 2**20
"""Blocks have as many rows as make about this much (at most half more); a few of them are in memory at once."""
SMALLEST_BLOCK_BYTES = 40 * 2**20
"""Blocks of small planes get more planes, to avoid many small files."""
SMALLEST_SHARD_BYTES = 24 * 2**20
SMALLEST_UNIT_BYTES = 2**30
"""Units get more planes, to avoid many small files in lower levels too."""
SMALLEST_SHARD_DEPTH = 16
_MOST_MERGED = 2
"""Voxels along an axis that become one: every shard is a whole number of voxels of the next level."""
BYTES_PER_FILE = 12 * 2**30 // 500
"""Least mean size of the files of a large image: 12 GiB are never more than 500 files."""


@dataclass(frozen=True)
class LevelSharding:
    """Voxels (z, y, x) of the chunks and of the shards of one level."""

    chunk: Zyx
    shard: Zyx


@dataclass(frozen=True)
class Sharding:
    """How all levels of an image are stored."""

    levels: tuple[LevelSharding, ...]  # the shards of level 0 are the blocks
    unit_depth: int  # planes of level 0
    n_unit_levels: int  # levels that units make; the others are made at the end


def plan_sharding(levels: tuple[Level, ...], itemsize: int) -> Sharding:
    """Choose chunks, shards and units for all levels of an image of `itemsize` bytes a voxel."""
    most_files = max(math.prod(levels[0].shape) * itemsize, 12 * 2**30) // BYTES_PER_FILE
    for enlarged in (1, 2, 4, 8):
        sharding = _sharding(levels, itemsize, enlarged)
        if n_files(levels, sharding) <= most_files:
            break
    return sharding


def n_files(levels: tuple[Level, ...], sharding: Sharding) -> int:
    """Count the files of a sharded image, metadata included."""
    n_documents = 1 + len(levels)
    return n_documents + sum(
        math.prod(math.ceil(n / size) for n, size in zip(level.shape, sharding.levels[level.index].shard, strict=True))
        for level in levels
    )


def waiting_bytes(levels: tuple[Level, ...], sharding: Sharding, itemsize: int) -> int:
    """Return the most bytes that incomplete shards of lower levels take in memory."""
    total = 0
    for level in levels[1 : sharding.n_unit_levels]:
        depth, rows, _ = sharding.levels[level.index].shard
        planes_per_block = sharding.levels[0].shard[0] // level.factors[0]
        waiting_rows = level.shape[1] if depth > planes_per_block else min(rows, level.shape[1])
        total += min(depth, level.shape[0]) * waiting_rows * level.shape[2] * itemsize
    return total


def _sharding(levels: tuple[Level, ...], itemsize: int, enlarged: int) -> Sharding:
    """Choose the sizes; all limits in bytes are multiplied by `enlarged`."""
    n_planes, n_rows, n_columns = levels[0].shape
    row_bytes = n_columns * itemsize
    chunk, flatter = _chunk(levels[0].shape, itemsize)
    merged = min(_MOST_MERGED, n_planes)
    depth = max(chunk[0], merged)
    chunk_row_bytes = min(depth, n_planes) * chunk[1] * row_bytes
    rows = chunk[1] * _block_rows(math.ceil(n_rows / chunk[1]), USUAL_BLOCK_BYTES * enlarged / chunk_row_bytes)

    least_depth = math.ceil(SMALLEST_BLOCK_BYTES * enlarged / (min(rows, n_rows) * row_bytes))
    depth = _doubled(depth, min(least_depth, n_planes))
    least_depth = math.ceil(SMALLEST_UNIT_BYTES * enlarged / (n_rows * row_bytes))
    unit_depth = _doubled(depth, min(least_depth, n_planes))

    least_depth = max(SMALLEST_SHARD_DEPTH // flatter, merged)
    n_unit_levels = sum(unit_depth // level.factors[0] >= min(least_depth, unit_depth) for level in levels)
    sharding = []
    for level in levels:
        most_depth = unit_depth // level.factors[0] if level.index < n_unit_levels else depth
        shard = (min(max(depth // level.factors[0], least_depth), most_depth), rows)
        if level.index > 0:
            shard = _level_shard(level, shard, most_depth, SMALLEST_SHARD_BYTES * enlarged / itemsize)
        n_chunks = math.ceil(level.shape[2] / chunk[2])
        sharding.append(LevelSharding((min(chunk[0], shard[0]), *chunk[1:]), (*shard, n_chunks * chunk[2])))
    return Sharding(tuple(sharding), unit_depth, n_unit_levels)


def _block_rows(n_chunks: int, usual: float) -> int:
    """Divide rows of chunks evenly into blocks of about the usual number of them; returns those of a block."""
    n_blocks = math.ceil(n_chunks / max(round(usual), 1))
    return math.ceil(n_chunks / n_blocks)


def _level_shard(level: Level, shard: tuple[int, int], most_depth: int, least_voxels: float) -> tuple[int, int]:
    """Enlarge the planes and rows of a shard of a lower level until it holds enough voxels.

    Rows first: a shard waits in memory until it is complete, and further rows of its planes come sooner than planes.
    """
    depth, rows = shard
    _, n_rows, n_columns = level.shape
    rows = _doubled(rows, min(n_rows, math.ceil(least_voxels / (depth * n_columns))))
    depth = _doubled(depth, min(most_depth, math.ceil(least_voxels / (min(rows, n_rows) * n_columns))))
    return depth, rows


def _doubled(n: int, least: int) -> int:
    """Double a number until it is not less than another one."""
    while n < least:
        n *= 2
    return n


def _chunk(shape: Zyx, itemsize: int) -> tuple[Zyx, int]:
    """Choose the chunk of level 0; returns it, and how many times flatter it is than usual."""
    depth, rows, columns = CHUNK
    if math.prod(CHUNK) * itemsize > LARGEST_CHUNK_BYTES:
        depth //= 2
    usual_depth = depth
    # few planes: flatter chunks of the usual size, so that none is partly empty
    while depth // 2 >= shape[0]:
        depth //= 2
        rows, columns = (rows * 2, columns) if rows < columns else (rows, columns * 2)
    # wide planes: flatter chunks keep the smallest possible block small
    while depth * rows * shape[2] * itemsize > 1.5 * USUAL_BLOCK_BYTES and depth > 1:
        depth, columns = depth // 2, columns * 2
    return (depth, rows, columns), usual_depth // depth
