"""The components of a segmentation: columns of numbers that can be divided, put together and merged.

Invariant: the pairs of a component and a label are sorted, and each is there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """The n components of a part of an image; m pairs of a component and a label that its voxels have."""

    n_voxels: Integers  # (n,)
    sums: Integers  # of the coordinates (z, y, x) of all voxels, (n, 3)
    low: Integers  # least coordinates, (n, 3)
    high: Integers  # largest coordinates, (n, 3)
    value: Integers  # of the segmentation, (n,)
    owner: Integers  # the component of each pair, ascending, (m,)
    label: Integers  # (m,)
    n_labelled: Integers  # voxels of the component with the label, (m,)

    def __len__(self) -> int:
        return len(self.n_voxels)

    def take(self, is_chosen: npt.NDArray[np.bool_]) -> Components:
        """Return the chosen components."""
        chosen, pairs = np.flatnonzero(is_chosen), np.flatnonzero(is_chosen[self.owner])
        return Components(
            n_voxels=self.n_voxels.take(chosen),
            sums=self.sums.take(chosen, axis=0),
            low=self.low.take(chosen, axis=0),
            high=self.high.take(chosen, axis=0),
            value=self.value.take(chosen),
            owner=(np.cumsum(is_chosen) - 1).take(self.owner.take(pairs)),
            label=self.label.take(pairs),
            n_labelled=self.n_labelled.take(pairs),
        )


def no_components() -> Components:
    """Return zero components."""
    one, three = np.empty(0, np.int64), np.empty((0, 3), np.int64)
    return Components(one, three, three, three, one, one, one, one)


def concatenated(parts: Sequence[Components]) -> Components:
    """Return all components of one or more parts."""
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Components)
    }
    starts = np.cumsum([0, *map(len, parts)])
    columns["owner"] = np.concatenate([part.owner + start for part, start in zip(parts, starts, strict=False)])
    return Components(**columns)


def merged(parts: Components, which: Integers, n: int) -> Components:
    """Merge components: part i belongs to component which[i] of n."""
    if not n:
        return no_components()
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(n))
    return Components(
        np.add.reduceat(parts.n_voxels[order], starts),
        np.add.reduceat(parts.sums[order], starts),
        np.minimum.reduceat(parts.low[order], starts),
        np.maximum.reduceat(parts.high[order], starts),
        parts.value[order[starts]],
        *summed_pairs(which[parts.owner], parts.label, parts.n_labelled),
    )


def summed_pairs(
    owner: npt.NDArray[Any], label: npt.NDArray[Any], n_labelled: npt.NDArray[Any]
) -> tuple[Integers, Integers, Integers]:
    """Sort pairs by component and label, and add up those that are equal."""
    owner, label, n_labelled = _summed_neighbours(owner, label, n_labelled)  # so that few are left to sort
    order = np.lexsort((label, owner))
    return _summed_neighbours(owner[order], label[order], n_labelled[order])


def _summed_neighbours(
    owner: npt.NDArray[Any], label: npt.NDArray[Any], n_labelled: npt.NDArray[Any]
) -> tuple[Integers, Integers, Integers]:
    """Add up pairs that are equal to the one before them."""
    firsts = first_of_equal(owner, label)
    n_labelled = np.add.reduceat(n_labelled, firsts, dtype=np.int64)
    return owner[firsts].astype(np.int64), label[firsts].astype(np.int64), n_labelled


def first_of_equal(*columns: npt.NDArray[Any]) -> Integers:
    """Return the indices of the rows that differ from the row before, in any of some columns."""
    differs = np.ones(len(columns[0]), np.bool_)
    differs[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)
