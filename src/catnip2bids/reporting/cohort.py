"""Cells of all samples by region, for the plot of groups.

Invariant: a sample without a count of a region is left out of it, never counted as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.reporting.cards import Card
from catnip2bids.reporting.charts import group_chart
from catnip2bids.reporting.samples import Counts, Region, Sample

_COLUMNS = ("genotype", "sex", "hemisphere", "strain", "age")
_ALL = Region(0, "all regions", "", "#000000")


@dataclass(frozen=True)
class Cohort:
    """What a page needs to plot cells by group.

    Attributes
    ----------
    regions
        The regions to choose from, all of them together first.
    series
        Names of the segmentations to choose from.
    columns
        What to group by; those that tell samples apart first.
    data
        The plot, and of each sample its animal and its cells.
    """

    regions: tuple[Region, ...]
    series: tuple[str, ...]
    columns: tuple[str, ...]
    data: dict[str, Any]


def cohort_of(samples: Sequence[Sample], cards: Sequence[Card]) -> Cohort | None:
    """Gather the cells of all samples; None if there are not at least two with counts."""
    counted = [(sample, card) for sample, card in zip(samples, cards, strict=True) if sample.counts]
    if len(counted) < 2:
        return None
    titles = {(found.threshold, found.corrected): found.title for sample, _ in counted for found in sample.counts}
    series = sorted(titles.items())
    known = {index: region for sample, _ in counted for index, region in sample.regions.items()}
    occurring = {index for sample, _ in counted for counts in sample.counts for index, n in counts.cells.items() if n}
    regions = sorted((known.get(index, Region(index, f"label {index}", "", "")) for index in occurring), key=_name)
    animals = [_animal(sample) for sample, _ in counted]
    columns = [column for column in _COLUMNS if any(animal[column] != UNKNOWN for animal in animals)] or ["hemisphere"]
    columns.sort(key=lambda column: len({animal[column] for animal in animals}) < 2)
    keys = [key for key, _ in series]
    rows = [
        {
            "name": card.name,
            "animal": {column: animal[column] for column in columns},
            "cells": _cells(sample, keys, occurring),
        }
        for (sample, card), animal in zip(counted, animals, strict=True)
    ]
    data = {"plot": group_chart(columns), "samples": rows}
    return Cohort((_ALL, *regions), tuple(title for _, title in series), tuple(columns), data)


def _name(region: Region) -> str:
    return region.name.lower()


def _animal(sample: Sample) -> dict[str, str]:
    known = {column: sample.known(column) or UNKNOWN for column in _COLUMNS}
    return {**known, "hemisphere": sample.hemisphere or sample.record.sample}


def _cells(sample: Sample, keys: Sequence[tuple[int, bool]], regions: set[int]) -> list[dict[str, int] | None]:
    """Return the cells by region for each segmentation; None where the sample has none."""
    found = {(counts.threshold, counts.corrected): counts for counts in sample.counts}
    return [_by_region(found[key], regions) if key in found else None for key in keys]


def _by_region(counts: Counts, regions: set[int]) -> dict[str, int]:
    cells = {str(index): n for index, n in counts.cells.items() if n is not None and index in regions}
    return {str(_ALL.index): counts.total, **cells}
