"""How an OME-Zarr is divided: resolution levels, their chunks and shards, and units of work.

Invariant: level 0 is the source. Level n is made from level n - 1 by merging 1 or 2 voxels along each axis, so that
voxels become more isotropic, and its physical coordinates are the centres of the merged voxels.

Sharding depends on shape and type alone, never on the machine, so an image has the same bytes wherever it is written.
A unit of work is a range of planes that owns whole shards of every level that is made while its blocks are in memory:
no two units write the same file.

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
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

LARGEST_LAST_LEVEL = 256
"""Levels are added until the longest axis of the last one is at most this many voxels."""
SMALLEST_WITH_PYRAMID = 64
"""An image shorter than this along every axis stays a single level."""
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

Zyx = tuple[int, int, int]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Level:
    """One resolution level; all tuples are (z, y, x)."""

    index: int  # 0 for the full resolution; also the name of the array
    shape: Zyx
    step: Zyx  # voxels of the previous level that are merged; (1, 1, 1) for level 0
    factors: Zyx  # voxels of level 0 in one voxel of this level
    scale_um: tuple[float, float, float]  # voxel size
    translation_um: tuple[float, float, float]  # centre of the first voxel, relative to that of level 0


def plan_levels(shape: Zyx, voxel_size_um: tuple[float, float, float]) -> tuple[Level, ...]:
    """Plan the levels of an image from shape and voxel size (z, y, x) of level 0, which is the first one returned.

    An image of at least 64 voxels along some axis has two levels or more.
    """
    levels = [Level(0, shape, (1, 1, 1), (1, 1, 1), voxel_size_um, (0.0, 0.0, 0.0))]
    while _needs_another(levels):
        levels.append(_next_level(levels[0], levels[-1]))
    return tuple(levels)


def _needs_another(levels: list[Level]) -> bool:
    longest = max(levels[-1].shape)
    return longest > LARGEST_LAST_LEVEL or (len(levels) == 1 and longest >= SMALLEST_WITH_PYRAMID)


def _next_level(base: Level, level: Level) -> Level:
    """Return the next level: merge the one, two or three shortest axes that make voxels most isotropic.

    Merging all axes keeps their proportions, so no level is less isotropic than the previous one.
    """
    sizes = sorted({size for size, n in zip(level.scale_um, level.shape, strict=True) if n > 1})

    def step_up_to(longest: float) -> Zyx:
        return zyx(2 if n > 1 and s <= longest else 1 for n, s in zip(level.shape, level.scale_um, strict=True))

    def anisotropy(longest: float) -> float:
        merged = [size * 2 if size <= longest else size for size in sizes]
        return max(merged) / min(merged)

    step = step_up_to(min(reversed(sizes), key=anisotropy))  # reversed: of equally good steps, the one that merges most
    factors = zyx(f * s for f, s in zip(level.factors, step, strict=True))
    return Level(
        index=level.index + 1,
        shape=zyx(math.ceil(n / s) for n, s in zip(level.shape, step, strict=True)),
        step=step,
        factors=factors,
        scale_um=zyx(size * f for size, f in zip(base.scale_um, factors, strict=True)),
        translation_um=zyx((f - 1) * size / 2 for size, f in zip(base.scale_um, factors, strict=True)),
    )


def zyx(values: Iterable[Number]) -> tuple[Number, Number, Number]:
    """Return three values along (z, y, x) as a tuple."""
    z, y, x = values
    return (z, y, x)


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
    """Choose chunks, shards and units for all levels of an image of `itemsize` bytes per voxel."""
    most_files = max(math.prod(levels[0].shape) * itemsize, 12 * 2**30) // BYTES_PER_FILE
    for enlarged in (1, 2, 4, 8):
        sharding = _sharding(levels, itemsize, enlarged)
        if n_files(levels, sharding) <= most_files:
            break
    return sharding


def n_files(levels: tuple[Level, ...], sharding: Sharding, *, is_sharded: bool = True) -> int:
    """Count the files of an image, metadata included: shards, or chunks in OME-Zarr 0.4, which has no shards."""
    sizes = [level.shard if is_sharded else level.chunk for level in sharding.levels]
    n_documents = len(levels) + (1 if is_sharded else 2)
    return n_documents + sum(
        math.prod(math.ceil(n / size) for n, size in zip(level.shape, stored, strict=True))
        for level, stored in zip(levels, sizes, strict=True)
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
    """Return the rows of chunks per block: about the usual number, such that blocks are of about equal size."""
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
