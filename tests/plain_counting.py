"""CATNIP's counting rule in the words of its source (src/Generate_Stats.m), with SciPy: slow, and one step at a time.

Invariant: nothing here uses the code of the demo, but for the division of large components, which is not MATLAB's and
is tested by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
Voxel = tuple[int, ...]

SMALLEST, LARGEST = 9, 900


def box_of(labels: Array, label: int, factors: Sequence[int]) -> tuple[slice, ...]:
    """Find `LabelRange` of a label, and what is read for it; MATLAB counts from 1, and its slices have their end."""
    box = []
    for axis, factor in enumerate(factors):
        downsampled = np.flatnonzero((labels == label).any(axis=tuple({0, 1, 2} - {axis}))) // factor + 1
        first = max(1, math.floor((downsampled.min() - 1) * factor + 0.5))
        last = min(labels.shape[axis], math.floor((downsampled.max() + 1) * factor + 0.5))
        first, last = max(1, first - 5), min(last + 5, labels.shape[axis])
        box.append(slice(first - 1, last))
    return tuple(box)


def components_of(foreground: Array) -> Iterator[Array]:
    """Yield the voxels (n, 3) of each component as MATLAB's bwconncomp(.., 18) does: along planes, columns, rows."""
    ndimage = pytest.importorskip("scipy.ndimage")
    turned = foreground.transpose(0, 2, 1)  # in MATLAB's order of voxels
    numbers, n_components = ndimage.label(turned, ndimage.generate_binary_structure(3, 2))
    voxels = np.argwhere(turned)
    found = [voxels[numbers[tuple(voxels.T)] == number] for number in range(1, n_components + 1)]
    for component in sorted(found, key=lambda component: component[0].tolist()):
        yield component[:, [0, 2, 1]]


def cells_of(
    segmentation: Array, labels: Array, factors: Sequence[int], divide: Callable[[Array], list[Array]]
) -> list[tuple[int, list[Voxel]]]:
    """Return region and voxels of each counted cell, in CATNIP's order."""
    cells = []
    for label in np.unique(labels[labels > 0]).tolist():
        box = box_of(labels, label, factors)
        for component in components_of(segmentation[box]):
            in_label = (labels[box] == label)[tuple(component.T)]
            if in_label.sum() <= len(component) - in_label.sum():  # the mode of as many of both is 0
                continue
            pieces = divide(component) if len(component) > LARGEST else [component]
            origin = [side.start for side in box]
            cells += [
                (label, [tuple(voxel) for voxel in (piece + origin).tolist()])
                for piece in pieces
                if SMALLEST <= len(piece) <= LARGEST
            ]
    return cells
