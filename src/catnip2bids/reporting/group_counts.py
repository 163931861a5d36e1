"""Cells of all samples by region, for the plot of groups.

Invariant: a sample without a count of a region is left out of it, never counted as 0; and a region of one atlas is
never taken for one of another that has the same id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.regions import region_of
from catnip2bids.reporting.charts import group_chart
from catnip2bids.reporting.sample_status import SampleStatus
from catnip2bids.reporting.samples import Sample

_COLUMNS = ("genotype", "sex", "hemisphere", "strain", "age")
_ALL = "all regions"
_Named = tuple[int, str]


@dataclass(frozen=True)
class GroupCounts:
    """What a page needs to plot cells by group.

    Attributes
    ----------
    regions
        Names of the regions to choose from, all of them together first.
    series
        Names of the segmentations to choose from.
    columns
        What to group by; those that tell samples apart first.
    data
        The plot, and of each sample its animal and its cells by the number of the region in `regions`.
    """

    regions: tuple[str, ...]
    series: tuple[str, ...]
    columns: tuple[str, ...]
    data: dict[str, Any]


def group_counts_of(samples: Sequence[Sample], cards: Sequence[SampleStatus]) -> GroupCounts | None:
    """Gather the cells of all samples; None if there are not at least two with counts."""
    counted = [(sample, card) for sample, card in zip(samples, cards, strict=True) if sample.counts]
    if len(counted) < 2:
        return None
    titles = {(found.threshold, found.corrected): found.title for sample, _ in counted for found in sample.counts}
    series = sorted(titles.items())
    regions = sorted({region for sample, _ in counted for region in _occurring(sample)}, key=_by_name)
    numbers = {region: number for number, region in enumerate(regions, 1)}
    animals = [_animal(sample) for sample, _ in counted]
    columns = [column for column in _COLUMNS if any(animal[column] != UNKNOWN for animal in animals)] or ["hemisphere"]
    columns.sort(key=lambda column: len({animal[column] for animal in animals}) < 2)
    rows = [
        {
            "name": card.name,
            "animal": {column: animal[column] for column in columns},
            "cells": [_cells(sample, key, numbers) for key, _ in series],
        }
        for (sample, card), animal in zip(counted, animals, strict=True)
    ]
    data = {"plot": group_chart(columns), "samples": rows}
    return GroupCounts((_ALL, *_told_apart(regions)), tuple(title for _, title in series), tuple(columns), data)


def _named(sample: Sample, index: int) -> _Named:
    """Name a region; atlases may give one id to different regions, so the name belongs to it."""
    return index, region_of(sample.regions, index).name


def _occurring(sample: Sample) -> Iterator[_Named]:
    """Yield the regions of a sample that have cells."""
    for counts in sample.counts:
        yield from (_named(sample, index) for index, n in counts.cells.items() if n)


def _by_name(region: _Named) -> tuple[str, int]:
    return region[1].lower(), region[0]


def _told_apart(regions: Sequence[_Named]) -> list[str]:
    """Return the names of regions, with their ids where a name is there twice."""
    names = Counter(name for _, name in regions)
    return [name if names[name] == 1 else f"{name} ({index})" for index, name in regions]


def _animal(sample: Sample) -> dict[str, str]:
    known = {column: sample.known(column) or UNKNOWN for column in _COLUMNS}
    return {**known, "hemisphere": sample.hemisphere or sample.record.sample}


def _cells(sample: Sample, series: tuple[int, bool], numbers: Mapping[_Named, int]) -> dict[str, int] | None:
    """Return the cells by the number of the region; None if the sample has not this segmentation."""
    counts = next((found for found in sample.counts if (found.threshold, found.corrected) == series), None)
    if counts is None:
        return None
    known = ((numbers.get(_named(sample, index)), n) for index, n in counts.cells.items())
    return {"0": counts.total, **{str(number): n for number, n in known if number is not None and n is not None}}
