"""Resolution levels: which axes each level merges, and the positions of its voxels.

Invariant: level 0 is the source. Level n is made from level n - 1 by merging 1 or 2 voxels along each axis, so that
voxels become more isotropic, and its physical coordinates are the centres of the merged voxels.
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
    """Plan the levels of an image.

    Parameters
    ----------
    shape
        Voxels of level 0 along (z, y, x).
    voxel_size_um
        Voxel size of level 0 along (z, y, x) in micrometers.

    Returns
    -------
    Level 0 first. An image of at least 64 voxels along some axis has two levels or more.
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
        return _zyx(2 if n > 1 and s <= longest else 1 for n, s in zip(level.shape, level.scale_um, strict=True))

    def anisotropy(longest: float) -> float:
        merged = [size * 2 if size <= longest else size for size in sizes]
        return max(merged) / min(merged)

    step = step_up_to(min(reversed(sizes), key=anisotropy))  # reversed: of equally good steps, the one that merges most
    factors = _zyx(f * s for f, s in zip(level.factors, step, strict=True))
    return Level(
        index=level.index + 1,
        shape=_zyx(math.ceil(n / s) for n, s in zip(level.shape, step, strict=True)),
        step=step,
        factors=factors,
        scale_um=_zyx(size * f for size, f in zip(base.scale_um, factors, strict=True)),
        translation_um=_zyx((f - 1) * size / 2 for size, f in zip(base.scale_um, factors, strict=True)),
    )


def _zyx(values: Iterable[Number]) -> tuple[Number, Number, Number]:
    z, y, x = values
    return (z, y, x)
