"""The components of a segmentation: columns of numbers that can be divided, put together and merged.

Invariant: the pairs of a component and a label are sorted, and each is there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

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

    def take(self, chosen: Integers) -> Components:
        """Return some components in the given order."""
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        pairs = np.flatnonzero(place[self.owner] >= 0)
        pairs = pairs[np.argsort(place[self.owner[pairs]], kind="stable")]
        return Components(
            n_voxels=self.n_voxels[chosen],
            sums=self.sums[chosen],
            low=self.low[chosen],
            high=self.high[chosen],
            value=self.value[chosen],
            owner=place[self.owner[pairs]],
            label=self.label[pairs],
            n_labelled=self.n_labelled[pairs],
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


def summed_pairs(owner: Integers, label: Integers, n_labelled: Integers) -> tuple[Integers, Integers, Integers]:
    """Sort pairs by component and label, and add up those that are equal."""
    owner, label, n_labelled = _summed_neighbours(owner, label, n_labelled)  # so that few are left to sort
    order = np.lexsort((label, owner))
    return _summed_neighbours(owner[order], label[order], n_labelled[order])


def _summed_neighbours(owner: Integers, label: Integers, n_labelled: Integers) -> tuple[Integers, Integers, Integers]:
    """Add up pairs that are equal to the one before them."""
    is_first = np.ones(len(owner), np.bool_)
    is_first[1:] = (owner[1:] != owner[:-1]) | (label[1:] != label[:-1])
    starts = np.flatnonzero(is_first)
    return owner[starts], label[starts], np.add.reduceat(n_labelled, starts)
