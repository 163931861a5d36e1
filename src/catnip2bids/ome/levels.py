"""Resolution levels: which axes are merged when, and where the voxels of each level lie.

Invariant: level 0 is never computed. Level n is made from level n - 1 by merging 1 or 2 voxels per axis, so
that voxels move toward isotropic, and its physical coordinates are those of the centres of the merged voxels.
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
    """One resolution level.

    Attributes
    ----------
    index
        0 for the full resolution; also the name of the array.
    shape
        Voxels along (z, y, x).
    step
        Voxels of the level before that were merged along (z, y, x); (1, 1, 1) for level 0.
    factors
        Voxels of level 0 in one of this level along (z, y, x).
    scale_um, translation_um
        Voxel size and centre of the first voxel along (z, y, x) in micrometers, the centre of the first voxel
        of level 0 being the origin.
    """

    index: int
    shape: Zyx
    step: Zyx
    factors: Zyx
    scale_um: tuple[float, float, float]
    translation_um: tuple[float, float, float]


def plan_levels(shape: Zyx, voxel_size_um: tuple[float, float, float]) -> tuple[Level, ...]:
    """Lay out the levels of an image.

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
    while _wants_another(levels):
        levels.append(_merged(levels[0], levels[-1]))
    return tuple(levels)


def _wants_another(levels: list[Level]) -> bool:
    longest = max(levels[-1].shape)
    return longest > LARGEST_LAST_LEVEL or (len(levels) == 1 and longest >= SMALLEST_WITH_PYRAMID)


def _merged(base: Level, level: Level) -> Level:
    """Merge the shortest axis, or the two or three shortest: whatever makes voxels most isotropic.

    Merging all axes leaves voxels as isotropic as they are, so no level is less isotropic than the one before.
    """
    sizes = sorted({size for size, n in zip(level.scale_um, level.shape, strict=True) if n > 1})

    def step_up_to(longest: float) -> Zyx:
        return _zyx(2 if n > 1 and s <= longest else 1 for n, s in zip(level.shape, level.scale_um, strict=True))

    def anisotropy(longest: float) -> float:
        merged = [size * 2 if size <= longest else size for size in sizes]
        return max(merged) / min(merged)

    step = step_up_to(min(reversed(sizes), key=anisotropy))  # of equally good ones the one that merges most
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
