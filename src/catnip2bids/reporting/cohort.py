"""Compare groups of animals: cells and densities of each region, and of each region with everything below it.

Invariant: an animal counts once, whatever the number of its samples: their cells and volumes are added up. What CATNIP
excluded or nobody recorded is left out, and is never 0. Sums are of the same regions in all animals: what CATNIP
excluded in one is in no sum. Regions of different atlases with the same id stay separate. Nothing here is a test: there
are means, standard deviations (n - 1) and differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.region_hierarchy import region_totals
from catnip2bids.reporting.samples import Counts, Sample

Array = npt.NDArray[np.float64]

DENSITY, CELLS = MEASURES = ("cells per mm3", "cells")
HEMISPHERE: Final = "hemisphere"
_COLUMNS: Final = ("genotype", "sex", HEMISPHERE, "strain", "age")
FEWEST_CELLS: Final = 10
"""Regions with fewer cells in every group are not ranked, because a few cells in a small region are a large density."""
_MOST_RANKED: Final = 12
_GOLDEN_RATIO: Final = 0.618034


class RegionKey(NamedTuple):
    """A row of the table: a region, or a region with everything below it."""

    is_sum: bool
    name: str
    label: int  # value in the images; of a sum perhaps that of a group without voxels


_ALL_REGIONS: Final = RegionKey(False, "all regions", -1)


class Series(NamedTuple):
    """A segmentation in which cells were counted."""

    stain: str
    threshold: int
    corrected: bool  # without the regions that CATNIP excluded as damaged


@dataclass(frozen=True)
class RegionRow:
    """A row of the table of regions."""

    key: RegionKey
    abbreviation: str
    color: str
    part_of: str  # short name of the region above it; empty if none is known


@dataclass(frozen=True)
class Points:
    """The dots of the plot: animals, or samples. Arrays are (series, points, rows), nan if unknown."""

    names: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]  # of each point, by the column that groups them
    cells: Array
    volumes_mm3: Array

    def values(self, series: int, measure: str) -> Array:
        """Return the values of a measure, (points, rows)."""
        cells, volumes = self.cells[series], self.volumes_mm3[series]
        densities = np.divide(cells, volumes, out=np.full_like(cells, np.nan), where=volumes > 0)
        return np.asarray(cells if measure == CELLS else densities)


@dataclass(frozen=True)
class Comparison:
    """A measure by group. Arrays are (groups, rows); a mean of no values and a deviation of fewer than two are nan."""

    groups: tuple[str, ...]
    n: npt.NDArray[np.int64]
    means: Array
    deviations: Array

    @classmethod
    def of_values(cls, values: Array, groups: Sequence[str]) -> Comparison:
        """Compare values, (points, rows), by the group of each point."""
        names = tuple(sorted(set(groups), key=lambda name: (name.lower(), name)))
        members = [np.ma.masked_invalid(values[[group == name for group in groups]]) for name in names]
        return cls(
            names,
            np.stack([found.count(axis=0) for found in members]),
            np.stack([found.mean(axis=0).filled(np.nan) for found in members]),
            np.stack([found.std(axis=0, ddof=1).filled(np.nan) for found in members]),
        )

    @property
    def known_means(self) -> Any:
        """The means that can be compared, as a masked array; means of animals of unknown group are masked."""
        is_unknown = np.array([[group == UNKNOWN] for group in self.groups])
        return np.ma.masked_where(np.isnan(self.means) | is_unknown, self.means)

    @property
    def differences(self) -> Array:
        """The largest mean minus the smallest of each row; nan where fewer than two groups have a mean."""
        known = self.known_means
        spans: Array = np.ma.masked_where(known.count(axis=0) < 2, np.ma.ptp(known, axis=0)).filled(np.nan)
        return spans

    @property
    def shares(self) -> Array:
        """The differences in percent of the smallest mean; nan where that is 0."""
        smallest = self.known_means.min(axis=0).filled(np.nan)
        fractions = np.divide(self.differences, smallest, out=np.full_like(smallest, np.nan), where=smallest > 0)
        return np.asarray(100 * fractions)


@dataclass(frozen=True)
class Cohort:
    """The cells of all samples that were counted."""

    rows: tuple[RegionRow, ...]  # first all regions together, then regions, then sums
    series: tuple[Series, ...]
    columns: tuple[str, ...]  # to group by, first those with more than one value
    animals: Points
    samples: Points
    left_out: tuple[tuple[str, ...], ...]  # of each series: names of the regions that are in no sum

    def points(self, column: str) -> Points:
        """Return the points that a column groups: samples for hemispheres, otherwise animals."""
        return self.samples if column == HEMISPHERE else self.animals

    def compare(self, series: int, column: str, measure: str) -> Comparison:
        """Compare the groups of a column."""
        points = self.points(column)
        return Comparison.of_values(points.values(series, measure), points.groups[column])

    def ranking(self, series: int, column: str, measure: str) -> list[int]:
        """Return the rows of the regions whose means differ most between groups, the largest difference first."""
        has_cells = np.nan_to_num(self.compare(series, column, CELLS).means).max(axis=0) >= FEWEST_CELLS
        is_region = np.array([not row.key.is_sum and row.key != _ALL_REGIONS for row in self.rows])
        differences = np.where(
            has_cells & is_region, np.nan_to_num(self.compare(series, column, measure).differences), 0
        )
        return [int(row) for row in np.argsort(-differences, kind="stable")[:_MOST_RANKED] if differences[row] > 0]

    @property
    def has_sums(self) -> bool:
        """Whether parents of regions are known."""
        return any(row.key.is_sum for row in self.rows)

    @property
    def titles(self) -> list[str]:
        """The names of the series on a page; with the stain if there are several."""
        has_stains = len({one.stain for one in self.series}) > 1
        return [
            f"{f'{one.stain}, ' if has_stains else ''}{Counts(one.threshold, one.corrected, {}).title}"
            for one in self.series
        ]

    @property
    def first_series(self) -> int:
        """The series to show first: the lowest threshold, without damaged regions if CATNIP left any out."""
        first = self.series[0]
        return self.series.index(max(one for one in self.series if one[:2] == first[:2]))

    def to_json(self) -> dict[str, Any]:
        """Return everything that a page needs to show all comparisons."""
        return {
            "regions": [
                {
                    **row.key._asdict(),
                    "abbreviation": row.abbreviation,
                    "short": row.abbreviation or row.key.name,
                    "color": row.color,
                    "part_of": row.part_of,
                }
                for row in self.rows
            ],
            "series": self.titles,
            "left_out": self.left_out,
            "measures": MEASURES,
            "points": {column: list(self._points_json(column)) for column in self.columns},
            "sample_names": self.samples.names,
            "values": {pool: self._values_json(getattr(self, pool)) for pool in ("animals", "samples")},
            "comparisons": [
                {column: [self._comparison_json(n, column, measure) for measure in MEASURES] for column in self.columns}
                for n in range(len(self.series))
            ],
        }

    def _points_json(self, column: str) -> Iterator[dict[str, Any]]:
        points, members = self.points(column), Counter[str]()
        for name, group in zip(points.names, points.groups[column], strict=True):
            members[group] += 1
            yield {"name": name, "group": group, "shift": _shift(members[group])}

    def _values_json(self, points: Points) -> list[Any]:
        return [[_numbers(points.values(n, measure)) for measure in MEASURES] for n in range(len(self.series))]

    def _comparison_json(self, series: int, column: str, measure: str) -> dict[str, Any]:
        found = self.compare(series, column, measure)
        return {
            "groups": found.groups,
            "n": found.n.tolist(),
            "means": _numbers(found.means),
            "deviations": _numbers(found.deviations),
            "shares": [_number(share) for share in found.shares],
            "ranking": self.ranking(series, column, measure),
        }


def _shift(number: int) -> float:
    """Return an offset from -1 to 1 for a dot, spread so that the dots of a group do not look like a trend."""
    return round(1.6 * ((number * _GOLDEN_RATIO) % 1 - 0.5), 3)


def _numbers(values: Array) -> list[list[float | None]]:
    """Return numbers with eight digits; None for nan."""
    return [[_number(value) for value in row] for row in values]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.8g}")


def read_cohort(samples: Sequence[Sample]) -> Cohort | None:
    """Gather the cells of all samples; None if fewer than two samples have counts."""
    counted = [sample for sample in samples if sample.counts]
    if len(counted) < 2:
        return None
    series = sorted(
        {Series(sample.record.stain, found.threshold, found.corrected) for sample in counted for found in sample.counts}
    )
    left_out = [_left_out(counted, one) for one in series]
    tables = [[_numbers_of(sample, one, out) for sample in counted] for one, out in zip(series, left_out, strict=True)]
    occurring = {
        key
        for of_series in tables
        for table in of_series
        for key, (n_cells, volume) in table.items()
        if n_cells > 0 or volume > 0
    }
    regions = sorted(occurring - {_ALL_REGIONS}, key=lambda key: (key.is_sum, key.name.lower(), key))
    rows = [RegionRow(_ALL_REGIONS, "", "#888888", ""), *(_row(key, counted) for key in regions)]
    unknown = (np.nan, np.nan)
    numbers = np.array([[[table.get(row.key, unknown) for row in rows] for table in of_series] for of_series in tables])
    animals = [_animal(sample) for sample in counted]
    columns = [column for column in _COLUMNS if any(animal[column] != UNKNOWN for animal in animals)] or [HEMISPHERE]
    columns.sort(key=lambda column: len({animal[column] for animal in animals}) < 2)
    of_samples = Points(
        tuple(sample.name for sample in counted),
        {column: tuple(animal[column] for animal in animals) for column in columns},
        numbers[..., 0],
        numbers[..., 1],
    )
    subjects = [f"sub-{sample.record.subject}" for sample in counted]
    names = tuple(tuple(sorted(out)) for out in left_out)
    return Cohort(tuple(rows), tuple(series), tuple(columns), _pooled(of_samples, subjects), of_samples, names)


def _counts_of(sample: Sample, series: Series) -> Counts | None:
    """Return the counts of a sample in a series; without a corrected table nothing is damaged."""
    if sample.record.stain != series.stain:
        return None
    found = {(counts.threshold, counts.corrected): counts for counts in sample.counts}
    return found.get((series.threshold, series.corrected)) or found.get((series.threshold, False))


def _left_out(samples: Sequence[Sample], series: Series) -> set[str]:
    """Return the names, without a side, of the regions whose cells are unknown in a sample that has others."""
    found = ((sample, _counts_of(sample, series)) for sample in samples)
    return {
        _without_side(sample.region(index).name)
        for sample, counts in found
        if counts is not None and any(n is not None for n in counts.cells.values())
        for index, n in counts.cells.items()
        if n is None
    }


def _without_side(name: str) -> str:
    return name.removeprefix("Left_").removeprefix("Right_")


def _numbers_of(sample: Sample, series: Series, left_out: Collection[str]) -> dict[RegionKey, tuple[float, float]]:
    """Return cells and volume of each row that is known; regions that are left out are in no sum.

    Of a region without voxels nothing is known: it is not in the image, or outside the mask.
    """
    if (counts := _counts_of(sample, series)) is None:
        return {}
    pairs = {index: (n, counts.volumes_mm3.get(index)) for index, n in counts.cells.items()}
    numbers = {
        RegionKey(False, sample.region(index).name, index): (float(n), np.nan if volume is None else volume)
        for index, (n, volume) in pairs.items()
        if n is not None and (n or volume != 0)
    }
    is_out = {index: _without_side(sample.region(index).name) in left_out for index in pairs}
    summed = [pair for key, pair in numbers.items() if not is_out[key.label]]
    cells, volumes = np.array(summed).reshape(-1, 2).sum(axis=0).tolist()
    everything = {_ALL_REGIONS: (cells, volumes)} if summed else {}
    pairs |= {index: (None, None) for index, out in is_out.items() if out}
    above = set(sample.hierarchy.parents.values())
    sums = {
        RegionKey(True, sample.region(index).name, index): (float(total.cell_count), total.volume_mm3)
        for index, total in region_totals(pairs, sample.hierarchy.parents).items()
        if index in above and total.n_regions and total.n_regions + total.n_unknown > 1
        if total.cell_count or total.volume_mm3 != 0
    }
    return {**everything, **numbers, **sums}


def _row(key: RegionKey, samples: Sequence[Sample]) -> RegionRow:
    """Describe a row with the atlas of the first sample that has its region."""
    sample = next(sample for sample in samples if sample.region(key.label).name == key.name)
    region, parent = sample.region(key.label), sample.hierarchy.parents.get(key.label)
    part_of = "" if parent is None else sample.region(parent).short_name
    return RegionRow(key, region.abbreviation, region.color, part_of)


def _animal(sample: Sample) -> dict[str, str]:
    known = {column: sample.known(column) or UNKNOWN for column in _COLUMNS}
    return {**known, HEMISPHERE: sample.hemisphere or sample.record.sample}


def _pooled(samples: Points, subjects: Sequence[str]) -> Points:
    """Add up the known samples of each animal; a value that no sample has stays unknown."""
    names = list(dict.fromkeys(subjects))
    members = [[n for n, subject in enumerate(subjects) if subject == name] for name in names]
    cells, volumes = (
        np.stack([_sum(values[:, of_one], samples.cells[:, of_one]) for of_one in members], axis=1)
        for values in (samples.cells, samples.volumes_mm3)
    )
    groups = {column: tuple(found[of_one[0]] for of_one in members) for column, found in samples.groups.items()}
    return Points(tuple(names), groups, cells, volumes)


def _sum(values: Array, cells: Array) -> Array:
    """Add up values over the samples (axis 1) whose cells are known; nan if there are none, or a value is unknown."""
    known = ~np.isnan(cells)
    return np.where(known.any(axis=1), np.where(known, values, 0).sum(axis=1), np.nan)
