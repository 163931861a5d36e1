"""Join the components of neighbouring blocks of a segmentation.

Invariant: memory holds only the components of one layer of blocks that may go on in other blocks, the pairs of them
that touch, the runs at the borders of one row of blocks, and those of the last plane of the layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.cells.components import Components, Integers, concatenated, first_of_equal, merged, no_components
from catnip2bids.errors import NotEnoughMemoryError
from catnip2bids.formatting import format_bytes_up

Zyx = tuple[int, int, int]
Block = tuple[slice, slice, slice]
"""The part of an image between slices along z, y and x."""
JOINED = 0.25
"""Part of the memory in which components of several blocks are joined."""
_COMPONENT_BYTES, _RUN_BYTES, _PAIR_BYTES = 500, 150, 64
"""Memory for a component, a run at a border, and two components that touch, while they are joined."""
Z_LOW, Z_HIGH, Y_LOW, Y_HIGH, X_LOW, X_HIGH = (1 << bit for bit in range(6))
"""Faces of a block, as bits."""
_TO_KNOWN = np.uint8(Y_LOW | X_LOW | X_HIGH)
"""Faces to blocks of the same row and of the row before; those beyond the others come later."""
_AFTER = [
    ((0, 0, 1), 1, X_HIGH),
    ((0, 1, -1), 3, Y_HIGH | X_LOW | X_HIGH),
    ((1, -1, 0), 1, Z_HIGH | Y_LOW),
    ((1, 0, -1), 3, Z_HIGH | X_LOW | X_HIGH),
    ((1, 1, 0), 1, Z_HIGH | Y_HIGH),
]
"""The neighbours of a voxel in an 18-neighbourhood that come after it.

Each has the step (z, y, x) to the first of some neighbours along x, how many they are, and which faces they may cross.
"""


@dataclass(frozen=True)
class Border:
    """Runs of voxels along x through which components may go on in other blocks."""

    index: Integers  # of the first voxel in the whole image, see `padded_index`
    length: npt.NDArray[np.signedinteger[Any]]
    owner: Integers
    value: Integers  # of the segmentation
    faces: npt.NDArray[np.uint8]  # bits of the faces of its block that the run reaches, if another block is beyond

    def take(self, chosen: Integers | npt.NDArray[np.bool_] | slice) -> Border:
        """Return some of the runs."""
        return Border(*(getattr(self, field.name)[chosen] for field in fields(Border)))

    def in_face(self, face: int) -> Border:
        """Return the runs that reach a face, and forget the others that they reach."""
        found = self.take((self.faces & face) != 0)
        return replace(found, faces=found.faces & np.uint8(face))


class Joining:
    """Joins the components of blocks, row by row of blocks."""

    def __init__(self, shape: Zyx, most_bytes: int, about: object) -> None:
        self._shape, self._most_bytes, self._about = shape, most_bytes, about
        self._row: list[Border] = []
        self._begin_layer(no_components(), no_border())

    def _begin_layer(self, components: Components, plane_before: Border) -> None:
        order = np.argsort(plane_before.index)
        self._plane_before, self._row_before = plane_before.take(order), no_border()
        self._parts, self._n = [components], len(components)
        self._touching: list[npt.NDArray[np.int64]] = []  # pairs of components, (n, 2)
        self._last_plane: list[Border] = []

    def add(self, components: Components, border: Border) -> None:
        """Add the components of a block of the row that own runs of its border."""
        self._row.append(replace(border, owner=border.owner + self._n))
        self._parts.append(components)
        self._n += len(components)

    def join_row(self, block: Block) -> None:
        """Find which components of a row of blocks touch; `block` is one of the row."""
        planes, rows, _ = block
        row = joined_borders(self._row)
        self._row.clear()
        rows_near = [[planes.start - 1, rows.start - 1, 0], [planes.start - 1, rows.stop + 1, 0]]
        start, stop = np.searchsorted(self._plane_before.index, padded_index(np.array(rows_near), self._shape))
        to_known = replace(row, faces=row.faces & _TO_KNOWN)
        near = joined_borders([self._plane_before.take(slice(start, stop)), self._row_before, to_known])
        self._check_memory(len(near.index), rows.stop)
        self._touching.append(_touching(near.take(np.argsort(near.index)), self._shape))
        self._row_before = row.in_face(Y_HIGH)
        self._last_plane.append(row.in_face(Z_HIGH))

    def join_layer(self, last_plane: int) -> Components:
        """Return the components of a layer that end before its last plane, or end with the image."""
        ones, others = np.concatenate(self._touching).T
        kept, which = np.unique(_roots(self._n, ones, others), return_inverse=True)
        joined = merged(concatenated(self._parts), which, len(kept))
        is_open = (joined.high[:, 0] == last_plane) & (last_plane < self._shape[0] - 1)
        border = joined_borders(self._last_plane)
        border = replace(border, owner=(np.cumsum(is_open) - 1)[which[border.owner]])
        self._begin_layer(joined.take(is_open), border)
        return joined.take(~is_open)

    def _check_memory(self, n_runs: int, n_rows: int) -> None:
        """Raise NotEnoughMemoryError if joining the first `n_rows` rows of a layer takes too much memory."""
        n_runs += sum(len(border.index) for border in self._last_plane)
        n_pairs = sum(map(len, self._touching))
        n_bytes = n_runs * _RUN_BYTES + n_pairs * _PAIR_BYTES + self._n * _COMPONENT_BYTES
        if n_bytes > self._most_bytes:
            needed = format_bytes_up(math.ceil(n_bytes * self._shape[1] / n_rows / JOINED))
            raise NotEnoughMemoryError(
                f"{self._about}: has so many cells that finding them takes about {needed} of memory; "
                "give more with --memory"
            )


def no_border() -> Border:
    """Return a border without runs."""
    nothing = np.empty(0, np.int64)
    return Border(nothing, nothing.astype(np.int32), nothing, nothing, nothing.astype(np.uint8))


def joined_borders(borders: Sequence[Border]) -> Border:
    """Return all runs of one or more borders."""
    return Border(*(np.concatenate([getattr(border, field.name) for border in borders]) for field in fields(Border)))


def padded_index(places: Integers, shape: Zyx) -> Integers:
    """Return indices in C order into an image with a margin around each plane, in which no voxel has a neighbour."""
    z, y, x = places.T
    index: Integers = (z * (shape[1] + 2) + y) * (shape[2] + 2) + x
    return index


def _touching(border: Border, shape: Zyx) -> npt.NDArray[np.int64]:
    """Return the pairs of components of different blocks that touch, each once, (n, 2); indices are ascending."""
    index, end, owner, value = border.index, border.index + border.length, border.owner, border.value
    pairs, n = [], int(owner.max(initial=0)) + 1
    for step, n_columns, faces in _AFTER:
        crossing = np.flatnonzero((border.faces & faces) != 0)
        first = index[crossing] + int(padded_index(np.array([step]), shape)[0])
        start = np.searchsorted(end, first, side="right")
        stop = np.searchsorted(index, first + border.length[crossing] + n_columns - 1)
        n_near = stop - start  # each run touches those from `start` to `stop`
        one = crossing.repeat(n_near)
        other = np.arange(len(one)) + (stop - np.cumsum(n_near)).repeat(n_near)
        equal = (owner[one] != owner[other]) & (value[one] == value[other])
        pairs.append(owner[one[equal]] * n + owner[other[equal]])
    found = np.sort(np.concatenate(pairs))
    return np.stack(np.divmod(found[first_of_equal(found)], n), axis=1)


def _roots(n: int, ones: Integers, others: Integers) -> Integers:
    """Return the least component that each of n components is connected to."""
    root = np.arange(n)
    while True:
        a, b = root[ones], root[others]
        differ = a != b
        if not differ.any():
            return root
        a, b = a[differ], b[differ]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root[root] != root).any():
            root = root[root]
