"""Gather the cells of all samples by region, for the plot by group.

Invariant: a sample without a count of a region is left out there, never counted as 0; regions of different atlases with
the same id stay separate.
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
    """The data of the plot of cells by group."""

    regions: tuple[str, ...]  # names to choose from; the first stands for all regions
    series: tuple[str, ...]  # names of the segmentations to choose from
    columns: tuple[str, ...]  # columns to group by, first those with more than one value
    data: dict[str, Any]  # the plot, and for each sample its animal and its cells by index into `regions`


def group_counts_of(samples: Sequence[Sample], cards: Sequence[SampleStatus]) -> GroupCounts | None:
    """Gather the cells of all samples; None if fewer than two samples have counts."""
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
    return GroupCounts((_ALL, *_unique_names(regions)), tuple(title for _, title in series), tuple(columns), data)


def _named(sample: Sample, index: int) -> _Named:
    """Identify a region by id and name, because atlases may give one id to different regions."""
    return index, region_of(sample.regions, index).name


def _occurring(sample: Sample) -> Iterator[_Named]:
    """Yield the regions of a sample with cells."""
    for counts in sample.counts:
        yield from (_named(sample, index) for index, n in counts.cells.items() if n)


def _by_name(region: _Named) -> tuple[str, int]:
    return region[1].lower(), region[0]


def _unique_names(regions: Sequence[_Named]) -> list[str]:
    """Return the names of regions, with their ids where names repeat."""
    names = Counter(name for _, name in regions)
    return [name if names[name] == 1 else f"{name} ({index})" for index, name in regions]


def _animal(sample: Sample) -> dict[str, str]:
    known = {column: sample.known(column) or UNKNOWN for column in _COLUMNS}
    return {**known, "hemisphere": sample.hemisphere or sample.record.sample}


def _cells(sample: Sample, series: tuple[int, bool], numbers: Mapping[_Named, int]) -> dict[str, int] | None:
    """Return the cells by the number of the region; None if the sample does not have this segmentation."""
    counts = next((found for found in sample.counts if (found.threshold, found.corrected) == series), None)
    if counts is None:
        return None
    known = ((numbers.get(_named(sample, index)), n) for index, n in counts.cells.items())
    return {"0": counts.total, **{str(number): n for number, n in known if number is not None and n is not None}}
