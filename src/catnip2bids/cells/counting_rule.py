"""CATNIP's rule of counting cells (``Generate_Stats.m``): which components count, and for which region.

CATNIP looks for 18-connected components of ``FRSTseg == 255`` in a box around each label of the masked atlas labels. A
component counts for the label that more than half of its voxels have, if its number of voxels is within the range of
cell sizes. Of larger ones, CATNIP counts the parts into which a watershed divides them. This module knows no boxes and
no watershed: it says where they may have made a difference.

Invariant: each component has one fate, and each that counts has one region.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from catnip2bids.catnip.log import RunLog
from catnip2bids.cells.components import Components, Integers, first_of_equal
from catnip2bids.cells.connected_components import Box
from catnip2bids.cells.joining import Zyx
from catnip2bids.formatting import format_count

DEFAULT_SIZE_RANGE = (9, 900)
"""Least and largest number of voxels of a cell, inclusive: the default of CATNIP's ``--cellsizepx``."""
DEFAULT_DOWNSAMPLING = (5, 6, 6)
"""Factors (z, y, x) from voxels of 3.7 x 3.7 x 5 um to an atlas of 25 um, for runs without a log."""
_SIZE_RANGE = re.compile(r"\s*\[?\s*(\d{1,9})(?:\.0*)?(?:\s*[,;:-]\s*|\s+)(\d{1,9})(?:\.0*)?\s*\]?\s*")
_MARGIN = 5
"""Voxels that CATNIP adds to the box around a label."""
_LARGEST_VOLUME = 65535
"""The largest value of ``FRSTseg_<T>_filtered``, which is uint16; larger volumes saturate."""


class Fate(StrEnum):
    """Whether CATNIP's rule counts a component, or else the reason."""

    COUNTED = "counted"
    OUTSIDE = "outside"
    NO_REGION = "no region"
    TOO_LARGE = "too large"
    TOO_SMALL = "too small"


FATES = tuple(Fate)
CELL_ROW = np.dtype([("centre", "f8", 3), ("n_voxels", "i8"), ("region", "i8"), ("fate", "i1")])
"""A component in a table: its centre (z, y, x) in voxels, its size, its region or 0, and its index into `FATES`."""


@dataclass(frozen=True)
class Rule:
    """The settings of the rule in one run."""

    size_range: tuple[int, int]  # voxels, inclusive
    downsampling: Zyx
    listed: Collection[int] | None  # labels of the table of counts; None if every label counts
    # whether the log states the range; before June 2025 CATNIP had no such option (64c85f0)
    has_stated_range: bool = True

    @classmethod
    def of_log(cls, log: Mapping[str, str], listed: Collection[int] | None) -> Rule:
        """Return the rule with the settings in the fields of CATNIP's log; with its defaults where they are missing."""
        sizes = _SIZE_RANGE.fullmatch(log.get("Cell size range (in pixels)", ""))
        factors = RunLog(dict(log)).downsampling
        downsampling = DEFAULT_DOWNSAMPLING
        if factors is not None:
            z, y, x = (max(round(factor), 1) for factor in factors)
            downsampling = z, y, x
        if sizes is None:
            return cls(DEFAULT_SIZE_RANGE, downsampling, listed, has_stated_range=False)
        return cls((int(sizes[1]), int(sizes[2])), downsampling, listed)


@dataclass(frozen=True)
class Judged:
    """Components with their fates and regions; the region is 0 where none counts them."""

    components: Components
    fate: npt.NDArray[np.int8]  # index into `FATES`
    region: Integers

    def with_fate(self, fate: Fate) -> npt.NDArray[np.bool_]:
        """Tell which components have a fate."""
        return np.asarray(self.fate == FATES.index(fate))

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """The components as `CELL_ROW`, but for those that are too small: no table has them."""
        chosen = ~self.with_fate(Fate.TOO_SMALL)
        n_voxels = self.components.n_voxels[chosen]
        rows = np.empty(len(n_voxels), CELL_ROW)
        rows["centre"] = self.components.sums[chosen] / n_voxels[:, np.newaxis]
        rows["n_voxels"], rows["region"], rows["fate"] = n_voxels, self.region[chosen], self.fate[chosen]
        return rows


@dataclass
class Tally:
    """The components that were counted so far."""

    counted: Counter[int] = field(default_factory=Counter)  # by region
    fates: Counter[Fate] = field(default_factory=Counter)
    # components that are too large or too small, by the region of most voxels
    large: Counter[int] = field(default_factory=Counter)
    small: Counter[int] = field(default_factory=Counter)
    in_large: Counter[int] = field(default_factory=Counter)  # voxels of the components that are too large
    boxes: dict[int, Box] = field(default_factory=dict)  # of labels
    n_labelled: Counter[int] = field(default_factory=Counter)  # voxels of labels
    _reaching: list[tuple[Integers, Integers, Integers]] = field(default_factory=list)

    def add(self, judged: Judged, rule: Rule) -> None:
        """Count components."""
        regions, counts = np.unique(judged.region[judged.with_fate(Fate.COUNTED)], return_counts=True)
        self.counted.update(dict(zip(regions.tolist(), counts.tolist(), strict=True)))
        self.fates.update({fate: int(judged.with_fate(fate).sum()) for fate in FATES})
        for fate, counter in ((Fate.TOO_LARGE, self.large), (Fate.TOO_SMALL, self.small)):
            regions = judged.region[judged.with_fate(fate)]
            counter.update(regions[regions > 0].tolist())
        chosen = judged.with_fate(Fate.TOO_LARGE) & (judged.region > 0)
        for region, n_voxels in zip(
            judged.region[chosen].tolist(), judged.components.n_voxels[chosen].tolist(), strict=True
        ):
            self.in_large[region] += n_voxels
        self._reaching += _reaching(judged.components, rule)

    def update(self, other: Tally) -> None:
        """Add the components of another tally; what is known of labels stays as it is."""
        for name in ("counted", "fates", "large", "small", "in_large"):
            getattr(self, name).update(getattr(other, name))
        self._reaching += other._reaching

    def cut(self, rule: Rule) -> Counter[int]:
        """Count the components that reach out of the box of a label that they touch, by label."""
        return Counter(
            label
            for low, high, labels in self._reaching
            for label in labels.tolist()
            if label in self.boxes and _reaches_out(low, high, self.boxes[label], rule.downsampling)
        )

    def difference(self, label: int, catnip: int, rule: Rule, cut: Mapping[int, int]) -> str | None:
        """Return the likely reason why CATNIP counted another number of cells; None if there is none.

        Components that CATNIP divides, or that are too small here, can only add cells, and no more than they have
        voxels for. A box can add or take away cells; that of a region between the points of the downsampled grid is not
        known.
        """
        reasons, (least, largest) = [], rule.size_range
        smallest = max(least, 1) if rule.has_stated_range else 1
        n_more, n_small = catnip - self.counted[label], 0 if rule.has_stated_range else self.small[label]
        can_add = 0 < n_more <= self.in_large[label] // smallest + n_small
        n_cut = cut.get(label, 0)
        if can_add and (n := self.large[label]):
            reasons.append(f"{format_count(n, 'component')} of more than {largest} voxels, which CATNIP divides")
        if can_add and n_small:
            what = f"{format_count(n_small, 'component')} of fewer than {least} voxels"
            reasons.append(f"{what}, which CATNIP may have counted: the log states no range of cell sizes")
        if n_cut and n_more >= -n_cut:
            reasons.append(f"{format_count(n_cut, 'component')} at the border of the box in which CATNIP looks")
        if self.counted[label] and label not in self.boxes:
            reasons.append("the region is so thin that the box in which CATNIP looks is not known")
        return "; ".join(reasons) or None


def fitting_volumes(listed: Collection[int], n_labelled: Mapping[int, int]) -> dict[int, set[int]]:
    """Return the numbers of voxels that CATNIP may give each label that its table lists.

    CATNIP adds the voxels of labels that its atlas table lacks to the label before (MATLAB's ``histc``). A row that is
    missing may have been removed later, so any of these additions fits.
    """
    labels, found = sorted(listed), sorted(n_labelled)
    ends = [*(bisect_left(found, label) for label in labels[1:]), len(found)]
    fitting = {}
    for label, end in zip(labels, ends, strict=False):
        others = found[bisect_right(found, label) : end]
        fitting[label] = set(accumulate(n_labelled.get(one, 0) for one in (label, *others)))
    return fitting


def count(rule: Rule, has_volumes: bool, components: Components) -> tuple[npt.NDArray[np.void], Tally]:
    """Apply the rule to components; return their rows for tables (`CELL_ROW`), and how many of each kind there are."""
    judged, tally = (judge_filtered if has_volumes else judge)(components, rule), Tally()
    tally.add(judged, rule)
    return judged.rows, tally


def judge(components: Components, rule: Rule) -> Judged:
    """Apply the rule to components of a binary segmentation."""
    best, n_best = _most_frequent_label(components)
    is_majority = 2 * n_best > components.n_voxels
    is_listed = best != 0 if rule.listed is None else np.isin(best, list(rule.listed)) & (best != 0)
    least, largest = rule.size_range
    n_voxels = components.n_voxels
    choices = [n_voxels < least, n_voxels > largest, ~is_majority, best == 0, ~is_listed]
    fates = [Fate.TOO_SMALL, Fate.TOO_LARGE, Fate.NO_REGION, Fate.OUTSIDE, Fate.NO_REGION]
    fate = np.select(choices, [FATES.index(fate) for fate in fates], FATES.index(Fate.COUNTED)).astype(np.int8)
    return Judged(components, fate, np.where(is_majority & is_listed, best, 0))


def judge_filtered(components: Components, rule: Rule) -> Judged:
    """Apply the rule to cells of ``FRSTseg_<T>_filtered``, all of which CATNIP has counted for some region."""
    inside = components.label != 0
    pairs = {name: getattr(components, name)[inside] for name in ("owner", "label", "n_labelled")}
    best, _ = _most_frequent_label(replace(components, **pairs))
    is_whole = (components.value == components.n_voxels) | (components.value >= _LARGEST_VOLUME)
    is_listed = best != 0 if rule.listed is None else np.isin(best, list(rule.listed))
    is_counted = is_whole & is_listed & (best != 0)
    fate = np.where(is_counted, FATES.index(Fate.COUNTED), FATES.index(Fate.NO_REGION)).astype(np.int8)
    return Judged(components, fate, np.where(is_counted, best, 0))


def _most_frequent_label(components: Components) -> tuple[Integers, Integers]:
    """Return the most frequent label of each component, the smallest of several, and how many voxels have it."""
    best, n_best = np.zeros(len(components), np.int64), np.zeros(len(components), np.int64)
    owner = components.owner
    firsts = first_of_equal(owner)
    n_best[owner[firsts]] = np.maximum.reduceat(components.n_labelled, firsts)
    found = np.flatnonzero(components.n_labelled == n_best[owner])[::-1]  # the smallest of several labels comes last
    best[owner[found]] = components.label[found]
    return best, n_best


def _reaching(components: Components, rule: Rule) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield extents and labels of the components that are long enough to reach out of the box of one of their labels.

    One that has no voxel of another label lies within the box.
    """
    margins = np.array([_MARGIN, *(_MARGIN + step for step in rule.downsampling[1:])])
    is_long = (components.high - components.low >= margins).any(axis=1)
    is_mixed = np.bincount(components.owner, minlength=len(components)) > 1
    chosen = components.take(is_long & is_mixed & (components.n_voxels >= rule.size_range[0]))
    ends = np.searchsorted(chosen.owner, np.arange(len(chosen) + 1))
    for index, (start, stop) in enumerate(pairwise(ends)):
        labels = chosen.label[start:stop]
        yield chosen.low[index], chosen.high[index], labels[labels != 0]


def _reaches_out(low: Integers, high: Integers, box: Box, downsampling: Zyx) -> bool:
    """Tell whether a component reaches out of CATNIP's box around a label.

    The box is that of the downsampled label times the factor, one downsampled voxel larger on each side, and 5 voxels
    more; along z it goes from ``round((k - 1) * factor)`` to ``round((k + 1) * factor)``, with k from 1.
    """
    steps = np.array(downsampling)
    least = np.array(box.low) * steps - np.array([0, *downsampling[1:]]) - _MARGIN
    largest = (np.array(box.high) + 2) * steps + _MARGIN
    return bool((low < least).any() or (high >= largest).any())
