"""Count cells as CATNIP does (``Generate_Stats.m``): find connected components and their regions, divide large ones.

Invariant: each region is counted by itself, in a box around it, as if there were no other. So a component that a box
cuts may be a cell of two regions, or of none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
import numpy.typing as npt

from catnip2bids.demo.watershed import CONNECTIVITY, Voxels, connected_parts, divide

CELL_SIZE_RANGE_VOXELS: Final = (9, 900)
"""Smallest and largest volume of a cell; the default of CATNIP's ``--cellsizepx``."""

_BOX_MARGIN_VOXELS: Final = 5


@dataclass(frozen=True)
class Cells:
    """The n counted cells of one segmentation, sorted by region, with m voxels in all."""

    labels: npt.NDArray[np.int64]  # region id of each cell, (n,)
    volumes_voxels: npt.NDArray[np.int64]  # volume of each cell, (n,)
    centres: npt.NDArray[np.int64]  # centre voxel (z, y, x) of each cell, (n, 3)
    voxels: Voxels  # voxels (z, y, x) of all cells, one cell after another, (m, 3)

    def of_region(self, label: int) -> tuple[slice, slice]:
        """Return which cells, and which voxels, are those of a region."""
        first, last = np.searchsorted(self.labels, (label, label + 1)).tolist()
        before = int(self.volumes_voxels[:first].sum())
        return slice(first, last), slice(before, before + int(self.volumes_voxels[first:last].sum()))


def region_boxes(labels: npt.NDArray[np.uint16], downsampling: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """Return the box in which the cells of each label value are counted: start and stop (z, y, x), (n, 2, 3).

    CATNIP finds the first and last voxel of a label in the downsampled image; here, downsampled voxels have the labels
    of all their voxels. The box begins one downsampled voxel and five voxels before, and ends as much behind: from
    ``round((k - 1) * factor) - 5`` to ``round((k + 1) * factor) + 5``, counted from 1 (``LabelRange``).
    """
    n_values = int(labels.max()) + 1
    first, last = np.full((3, n_values), max(labels.shape)), np.full((3, n_values), -1)
    for z, plane in enumerate(labels):
        at_ends = np.ones(plane.shape, np.bool_)  # where rows of equal labels begin and end
        at_ends[:, 1:-1] = (plane[:, 1:-1] != plane[:, :-2]) | (plane[:, 1:-1] != plane[:, 2:])
        values, (y, x) = plane[at_ends].astype(np.int64), np.nonzero(at_ends)
        for axis, positions in enumerate((np.full_like(y, z), y, x)):
            np.minimum.at(first[axis], values, positions)
            np.maximum.at(last[axis], values, positions)
    factors, sizes = np.array(downsampling)[:, None], np.array(labels.shape)[:, None]
    start = first // factors * factors - 1 - _BOX_MARGIN_VOXELS
    stop = (last // factors + 2) * factors + _BOX_MARGIN_VOXELS
    return np.stack([np.maximum(start, 0), np.minimum(stop, sizes)]).transpose(2, 0, 1)


def find_cells(
    segmentation: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint16], boxes: npt.NDArray[np.int64]
) -> Cells:
    """Find the cells that CATNIP counts.

    In the box of each region, these are the connected components of cell size, with more than half of their voxels in
    the region, and the parts of cell size of larger components.

    Parameters
    ----------
    segmentation
        Foreground, (z, y, x).
    labels
        Region ids, masked by the hemisphere mask, 0 elsewhere, (z, y, x).
    boxes
        Box of each label value, from `region_boxes`.

    Returns
    -------
    Cells
        Sorted by region, and within a region as CATNIP numbers them: by the first voxel, along planes, columns, rows.
    """
    voxels, starts = _components(segmentation)
    sizes, first = np.diff(starts), starts[:-1]
    component, label, n_voxels = _regions_of_components(labels[tuple(voxels.T)], sizes)
    if not len(component):
        return _as_cells([])
    low, high = np.minimum.reduceat(voxels, first), np.maximum.reduceat(voxels, first)
    fits = (low[component] >= boxes[label, 0]).all(axis=1) & (high[component] < boxes[label, 1]).all(axis=1)
    has_most, (smallest, largest) = 2 * n_voxels > sizes[component], CELL_SIZE_RANGE_VOXELS
    is_cell = fits & has_most & (sizes[component] >= smallest) & (sizes[component] <= largest)
    is_special = ~fits | (has_most & (sizes[component] > largest))
    found: list[_Found] = []
    for is_simple, chosen in ((True, is_cell), (False, is_special)):
        for number, region in zip(component[chosen].tolist(), label[chosen].tolist(), strict=True):
            of_component = voxels[starts[number] : starts[number + 1]]
            if is_simple:
                found.append((region, of_component[0], of_component))
            else:
                cells = _cells_in_box(of_component, region, labels, boxes[region])
                found += [(region, first_voxel, cell) for first_voxel, cell in cells]
    return _as_cells(sorted(found, key=_number_of_cell))


_Found = tuple[int, Voxels, Voxels]
"""Region of a cell, the first voxel of the component that it is or was a part of, and its voxels."""


def _number_of_cell(cell: _Found) -> tuple[int, int, int, int]:
    region, (z, y, x), _ = cell
    return region, z, x, y


def _components(foreground: npt.NDArray[np.bool_]) -> tuple[Voxels, npt.NDArray[np.int64]]:
    """Find the n connected components.

    Returns their voxels, one component after another, each in the order of MATLAB (along planes, columns, rows), and
    the index of the first voxel of each component, and of the end, (n + 1,).
    """
    depth, n_rows, n_columns = foreground.shape
    numbers = cc3d.connected_components(foreground, connectivity=CONNECTIVITY)
    z, y, x = np.nonzero(foreground)
    keys = ((numbers[z, y, x].astype(np.int64) * depth + z) * n_columns + x) * n_rows + y
    keys.sort()
    keys, y = np.divmod(keys, n_rows)
    keys, x = np.divmod(keys, n_columns)
    component, z = np.divmod(keys, depth)
    starts = np.flatnonzero(np.diff(component, prepend=0, append=0))  # numbers begin at 1
    return np.stack([z, y, x], axis=-1), starts


def _regions_of_components(
    labels: npt.NDArray[np.uint16], sizes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each pair of a component and a label other than 0 that some of its voxels have, and how many."""
    components = np.repeat(np.arange(len(sizes)), sizes)
    pairs, n_voxels = np.unique(components << 16 | labels, return_counts=True)
    pairs, n_voxels = pairs[pairs & 0xFFFF > 0], n_voxels[pairs & 0xFFFF > 0]
    return pairs >> 16, pairs & 0xFFFF, n_voxels


def _cells_in_box(
    component: Voxels, label: int, labels: npt.NDArray[np.uint16], box: npt.NDArray[np.int64]
) -> Iterator[tuple[Voxels, Voxels]]:
    """Yield the cells that a component becomes in the box of a region, each after the first voxel of the component."""
    smallest, largest = CELL_SIZE_RANGE_VOXELS
    is_inside = ((component >= box[0]) & (component < box[1])).all(axis=1)
    for part in connected_parts(component[is_inside]):
        if 2 * np.count_nonzero(labels[tuple(part.T)] == label) > len(part):
            pieces = divide(part) if len(part) > largest else [part]
            yield from ((part[0], piece) for piece in pieces if smallest <= len(piece) <= largest)


def _as_cells(found: list[_Found]) -> Cells:
    labels, _, parts = zip(*found, strict=True) if found else ((), (), ())
    volumes = np.array([len(part) for part in parts], np.int64)
    voxels = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    sums = np.add.reduceat(voxels, np.cumsum(volumes) - volumes) if found else voxels
    centres = np.rint(sums / volumes[:, None]).astype(np.int64)
    return Cells(np.array(labels, np.int64), volumes, centres, voxels)
