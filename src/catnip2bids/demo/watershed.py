"""Divide sets of voxels: into connected parts, and at their narrow places.

Invariant: no voxel is added, and parts are lists of voxels in the order in which they were given.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count, product
from typing import Final

import cc3d
import numpy as np
import numpy.typing as npt

CONNECTIVITY: Final = 18
"""Voxels that share a face or an edge are neighbours, as in CATNIP's ``bwconncomp(..., 18)``."""

_NEIGHBOURS: Final = tuple(step for step in product((-1, 0, 1), repeat=3) if 1 <= sum(map(abs, step)) <= 2)

Voxels = npt.NDArray[np.int64]
"""Indices (z, y, x) of n voxels, (n, 3)."""


def connected_parts(voxels: Voxels) -> list[Voxels]:
    """Divide voxels into connected components, in the order of their first voxels."""
    inside, at = _draw(voxels)
    numbers = cc3d.connected_components(inside, connectivity=CONNECTIVITY)[at]
    return [voxels[numbers == number] for number in dict.fromkeys(numbers.tolist())]


def divide(voxels: Voxels) -> list[Voxels]:
    """Divide voxels into the basins of a watershed; voxels on the lines between basins are in no part.

    This is the method of CATNIP's ``watershed(-bwdist(~bw), 18)`` (``Generate_Stats.m``): the flooded surface is the
    negative distance to the background inside of the bounding box. It is not MATLAB's code and may divide
    differently: where voxels are equally deep, lines may run elsewhere.
    """
    inside, at = _draw(voxels)
    basins = _flood(_squared_distances(inside))
    return connected_parts(voxels[basins[at] > 0])


def _draw(voxels: Voxels) -> tuple[npt.NDArray[np.bool_], tuple[Voxels, ...]]:
    """Return a mask of the bounding box in which the voxels are true, and their indices in it."""
    low, high = (voxels.min(axis=0), voxels.max(axis=0)) if len(voxels) else (np.zeros(3, int), np.zeros(3, int))
    at = tuple((voxels - low).T)
    inside = np.zeros(high - low + 1, np.bool_)
    inside[at] = True
    return inside, at


def _squared_distances(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """Return the squared distance of each voxel to the nearest voxel that is false; 0 for these.

    Distances are exact: the minimum along one axis after the other. Without any false voxel, all are equal.
    """
    distances = np.where(inside, sum(size * size for size in inside.shape), 0)
    for axis, size in enumerate(inside.shape):
        lines = np.moveaxis(distances, axis, 0)
        squares = np.square(np.arange(size)[:, None] - np.arange(size))[:, :, None, None]
        distances = np.moveaxis(np.stack([(lines + square).min(axis=0) for square in squares]), 0, axis)
    return distances.astype(np.uint32, order="C")


def _flood(depths: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the number of the basin of each voxel, from 1; lines between basins, and voxels of depth 0, are 0.

    Basins grow from the deepest places, always by the deepest of the voxels next to them; a voxel next to two basins
    becomes a line (Meyer, Topographic distance and watershed lines, Signal Processing 38, 1994).
    """
    padded = np.pad(depths, 1)
    steps = np.array(_NEIGHBOURS) @ (np.array(padded.strides) // padded.itemsize)
    deepest = _deepest_places(padded, steps)
    depth, basin, order = padded.ravel().tolist(), deepest.ravel().tolist(), count()
    is_queued = [number > 0 for number in basin]
    queue: list[tuple[int, int, int]] = []
    grown = np.flatnonzero(deepest).tolist()
    neighbours = steps.tolist()
    while grown or queue:
        for voxel in grown:
            for other in (voxel + step for step in neighbours):
                if depth[other] and not is_queued[other]:
                    is_queued[other] = True
                    heappush(queue, (-depth[other], next(order), other))
        grown = []
        if queue:
            *_, voxel = heappop(queue)
            reached = {basin[voxel + step] for step in neighbours} - {0}
            if len(reached) == 1:
                basin[voxel] = reached.pop()
                grown = [voxel]
    return np.array(basin, np.uint32).reshape(padded.shape)[1:-1, 1:-1, 1:-1]


def _deepest_places(padded: npt.NDArray[np.uint32], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return a number for each set of connected voxels of one depth without deeper neighbours; other voxels are 0."""
    flat, plateaus = padded.ravel(), cc3d.connected_components(padded, connectivity=CONNECTIVITY)
    voxels = np.flatnonzero(flat)
    descends = flat[voxels[:, None] + steps].max(axis=1) > flat[voxels]
    return np.where(np.isin(plateaus, plateaus.ravel()[voxels[descends]]), 0, plateaus).astype(np.uint32)
