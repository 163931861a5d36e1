"""Labels that one of two volumes has lost.

Invariant: whether values are labels is decided once for both volumes, from whole rows of planes spread over them; and
a label is lost only if it occurs in one volume, and in no plane of the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from catnip2bids.comparison.compared_volume import ComparedVolume, SequentialPlane
from catnip2bids.comparison.values import Array
from catnip2bids.engine import BoundedMap
from catnip2bids.errors import SourceError

_SAMPLED_PLANES = 5
"""Planes of each volume that are read to tell labels from other values."""
_SAMPLE_BYTES = 2**20
_MOST_LABELS = 2**16
"""More are not followed: they are ids of cells, for example, and nobody reads such a list."""
_PLANES_AT_A_TIME = 16
_BACKGROUND = 0


def hold_labels(volumes: tuple[ComparedVolume, ComparedVolume], threads: BoundedMap) -> bool:
    """Tell whether values are labels: whole numbers, more than one besides 0, and mostly with an equal neighbour."""
    samples = [(volume, number) for volume in volumes for number in _spread(sorted(volume.planes))]
    found = [sample for sample in threads.map(_sample, samples) if sample is not None]
    values = {value for sample in found for value in sample.values}
    n_runs, n_single = sum(sample.n_runs for sample in found), sum(sample.n_single for sample in found)
    return len(values) > 1 and 2 * n_single < n_runs and all(sample.are_whole for sample in found)


def _spread(numbers: list[int]) -> list[int]:
    """Choose a few numbers that are spread over a list."""
    step = max(len(numbers) / _SAMPLED_PLANES, 1)
    return [numbers[int((index + 0.5) * step)] for index in range(min(_SAMPLED_PLANES, len(numbers)))]


@dataclass(frozen=True)
class _Sample:
    """Statistics of some rows of a plane."""

    are_whole: bool
    values: tuple[float, ...] = ()  # at most two values other than 0
    # runs in x of one value other than 0, and those of a single voxel:
    n_runs: int = 0
    n_single: int = 0


def _sample(volume_and_number: tuple[ComparedVolume, int]) -> _Sample | None:
    """Summarize rows in the middle of a plane; return None if it cannot be read."""
    volume, number = volume_and_number
    try:
        with volume.open(number) as opened:
            row_bytes = opened.layout.shape[1] * opened.layout.dtype.itemsize
            values = opened.middle(max(_SAMPLE_BYTES // row_bytes, 1)).reshape(-1)
            if not values.any():
                values = _first_values(opened)
    except SourceError:
        return None  # reported when it is compared
    if not _are_whole(values):
        return _Sample(are_whole=False)
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff(starts)  # without the first and last run, which may be cut off
    lengths = lengths[values[starts[:-1]] != _BACKGROUND]
    some = np.unique(values[values != _BACKGROUND])[:2]
    return _Sample(True, tuple(some.tolist()), len(lengths), int(np.count_nonzero(lengths == 1)))


def _first_values(opened: SequentialPlane) -> Array:
    """Read the first values of a plane that are not background, up to the size of a sample."""
    found, n_found = [np.empty(0, opened.layout.dtype)], 0
    for rows in opened.bands():
        found.append(rows[rows != _BACKGROUND])
        n_found += len(found[-1])
        if n_found >= _SAMPLE_BYTES:
            break
    return np.concatenate(found)[:_SAMPLE_BYTES]


def _are_whole(values: Array) -> bool:
    if values.dtype.kind != "f":
        return values.dtype.kind in "ui"
    return bool(np.isfinite(values).all() and (values == np.round(values)).all())


class LabelCounts:
    """Counts how often each label occurs; `n_voxels` is None for values with fractions, and for too many labels."""

    def __init__(self, *, is_known: bool = True) -> None:
        self.n_voxels: Counter[int] | None = Counter() if is_known else None

    def add(self, values: Array) -> None:
        """Count the labels of an array of one dimension."""
        if self.n_voxels is not None:
            self.merge(_counted(values))

    def merge(self, n_voxels: Counter[int] | None) -> None:
        """Add other counts; None makes these unknown too."""
        if self.n_voxels is None or n_voxels is None:
            self.n_voxels = None
        else:
            self.n_voxels.update(n_voxels)
            if len(self.n_voxels) > _MOST_LABELS:
                self.n_voxels = None


def _counted(values: Array) -> Counter[int] | None:
    if not len(values):
        return Counter()
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    kept = values[starts]
    if not _are_whole(kept):
        return None
    found, which = np.unique(kept, return_inverse=True)
    n_each = np.bincount(which, weights=np.diff(starts, append=len(values))).astype(int)
    return Counter(dict(zip((int(value) for value in found.tolist()), n_each.tolist(), strict=True)))


def lost_labels(
    volume: ComparedVolume, here: LabelCounts, there: LabelCounts, threads: BoundedMap
) -> dict[int, int] | None:
    """Return labels that occur nowhere in a volume, with their numbers of voxels in the other one; None if unknown.

    `here` and `there` count the labels of this volume and the other one in voxels that differ. Planes are read until
    all labels in question were found.
    """
    if here.n_voxels is None or there.n_voxels is None:
        return None
    missing = {value for value in there.n_voxels.keys() - here.n_voxels.keys() if value != _BACKGROUND}
    numbers = iter(sorted(volume.planes))
    try:
        while missing and (some := list(islice(numbers, _PLANES_AT_A_TIME))):
            for found in threads.map(partial(_found_in, volume, frozenset(missing)), some):
                missing -= found
    except SourceError:
        return None  # a plane changed since it was compared
    return {value: there.n_voxels[value] for value in sorted(missing)}


def _found_in(volume: ComparedVolume, wanted: frozenset[int], number: int) -> set[int]:
    """Return the wanted labels that occur in a plane."""
    values = np.array(sorted(wanted))
    found: set[int] = set()
    with volume.open(number) as opened:
        for rows in opened.bands():
            found.update(int(value) for value in values[np.isin(values, np.unique(rows))])
    return found
