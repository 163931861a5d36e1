"""Labels that one side of a comparison has lost.

Invariant: whether values are labels is decided once for both volumes, from whole rows of planes spread over them; and
a label is lost only if it occurs on one side, and in no plane of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.compared_volume import ComparedVolume, SequentialPlane
from catnip2bids.engine import BoundedMap
from catnip2bids.errors import SourceError

Array = npt.NDArray[Any]

_LOOKED_AT = 5
"""Planes of each side that are looked at to tell labels from other values."""
_LOOKED_AT_BYTES = 2**20
_MOST_LABELS = 2**16
"""If there are more, values are not followed: ids of cells, say, of which nobody reads a list."""
_PLANES_AT_A_TIME = 16
_BACKGROUND = 0


def hold_labels(sides: tuple[ComparedVolume, ComparedVolume], team: BoundedMap) -> bool:
    """Tell whether values are labels: whole numbers, more than one besides 0, mostly with an equal neighbour."""
    looked_at = [(side, number) for side in sides for number in _spread(sorted(side.planes))]
    found = [sample for sample in team.do(_sample, looked_at) if sample is not None]
    values = {value for sample in found for value in sample.values}
    n_runs, n_single = sum(sample.n_runs for sample in found), sum(sample.n_single for sample in found)
    return len(values) > 1 and 2 * n_single < n_runs and all(sample.are_whole for sample in found)


def _spread(numbers: list[int]) -> list[int]:
    """Choose a few numbers from all over a list."""
    step = max(len(numbers) / _LOOKED_AT, 1)
    return [numbers[int((index + 0.5) * step)] for index in range(min(_LOOKED_AT, len(numbers)))]


@dataclass(frozen=True)
class _Sample:
    """What some rows of a plane hold."""

    are_whole: bool  # whether all values are whole numbers
    values: tuple[float, ...] = ()  # two of the values that are not 0, if there are so many
    # runs in x of one value that is not 0, and those of them that are a single voxel
    n_runs: int = 0
    n_single: int = 0


def _sample(side_and_number: tuple[ComparedVolume, int]) -> _Sample | None:
    """Look at the rows in the middle of a plane; one that cannot be read tells nothing."""
    side, number = side_and_number
    try:
        with side.open(number) as opened:
            row_bytes = opened.layout.shape[1] * opened.layout.dtype.itemsize
            values = opened.middle(max(_LOOKED_AT_BYTES // row_bytes, 1)).reshape(-1)
            if not values.any():
                values = _first_values(opened)
    except SourceError:
        return None  # it becomes a row of the result when it is compared
    if not _are_whole(values):
        return _Sample(are_whole=False)
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff(starts)  # without the first run and the last one, which may be cut off
    lengths = lengths[values[starts[:-1]] != _BACKGROUND]
    some = np.unique(values[values != _BACKGROUND])[:2]
    return _Sample(True, tuple(some.tolist()), len(lengths), int(np.count_nonzero(lengths == 1)))


def _first_values(opened: SequentialPlane) -> Array:
    """Read the first values of a plane that are not the background, so many that they tell enough."""
    found, n_found = [np.empty(0, opened.layout.dtype)], 0
    for rows in opened.bands():
        found.append(rows[rows != _BACKGROUND])
        n_found += len(found[-1])
        if n_found >= _LOOKED_AT_BYTES:
            break
    return np.concatenate(found)[:_LOOKED_AT_BYTES]


def _are_whole(values: Array) -> bool:
    if values.dtype.kind != "f":
        return values.dtype.kind in "ui"
    return bool(np.isfinite(values).all() and (values == np.round(values)).all())


Counts = Counter[int]
"""How often labels occur."""


def joined_counts(counts: Counts, more: Counts | None) -> Counts | None:
    """Add counts up in place; None as soon as anything is not known, or there are too many labels."""
    if more is None:
        return None
    counts.update(more)
    return None if len(counts) > _MOST_LABELS else counts


def count_labels(values: Array) -> Counts | None:
    """Count how often each label occurs; None where a value is not a whole number."""
    if not len(values):
        return Counts()
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    kept = values[starts]
    if not _are_whole(kept):
        return None
    found, which = np.unique(kept, return_inverse=True)
    n_each = np.bincount(which, weights=np.diff(starts, append=len(values))).astype(int)
    return Counts(dict(zip((int(value) for value in found.tolist()), n_each.tolist(), strict=True)))


class LabelsBothSides:
    """Adds up, plane by plane, the labels of both sides where these differ."""

    def __init__(self) -> None:
        self._counts_1: Counts | None = Counts()
        self._counts_2: Counts | None = Counts()

    def add(self, counts_1: Counts | None, counts_2: Counts | None) -> None:
        """Take the labels of a pair of planes; None where they are not known, and then nothing is any more."""
        if self._counts_1 is not None:
            self._counts_1 = joined_counts(self._counts_1, counts_1)
        if self._counts_2 is not None:
            self._counts_2 = joined_counts(self._counts_2, counts_2)

    def lost(self, side: int, volume: ComparedVolume, team: BoundedMap) -> dict[int, int] | None:
        """Return labels that a side (1 or 2) has nowhere, with their voxels on the other one; None if not known.

        The planes of `volume`, which is that side, are looked through until all labels in question were found.
        """
        if self._counts_1 is None or self._counts_2 is None:
            return None
        here, there = (self._counts_1, self._counts_2) if side == 1 else (self._counts_2, self._counts_1)
        missing = {value for value in there.keys() - here.keys() if value != _BACKGROUND}
        numbers: Iterator[int] = iter(sorted(volume.planes))
        while missing and (some := list(islice(numbers, _PLANES_AT_A_TIME))):
            for found in team.do(partial(_found_in, volume, frozenset(missing)), some):
                missing -= found
        return {value: there[value] for value in sorted(missing)}


def _found_in(side: ComparedVolume, wanted: frozenset[int], number: int) -> set[int]:
    """Return which of some labels a plane has."""
    values = np.array(sorted(wanted))
    found: set[int] = set()
    with side.open(number) as opened:
        for rows in opened.bands():
            found.update(int(value) for value in values[np.isin(values, np.unique(rows))])
    return found
