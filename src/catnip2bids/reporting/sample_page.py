"""Draw the images and gather the tables for the page of one sample.

Invariant: a page needs no other files; the number of plane images follows from its share of the size of the report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catnip2bids.bids.checksums import file_sha256
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import PROVENANCE, Decision
from catnip2bids.paths import inside
from catnip2bids.regions import DisplayedRegion, region_of
from catnip2bids.reporting.charts import histogram_chart, region_chart
from catnip2bids.reporting.samples import Counts, Sample, SampleImage
from catnip2bids.reporting.vega import Vega
from catnip2bids.reporting.views import Brain, View, read_brain, read_heatmaps

_MOST_PLANES, _FEWEST_PLANES = 24, 6
_COLORS = ("#ffd23f", "#ff5d8f", "#37c8f0", "#7ae582", "#ff9f1c", "#b58cff", "#ffffff", "#e4572e")
"""Colours of the cells, by segmentation."""


@dataclass(frozen=True)
class Segmentation:
    """Cells that the page can overlay on the image."""

    threshold: int | None
    color: str


@dataclass(frozen=True)
class Series:
    """Cells by region of one segmentation, and their chart."""

    counts: Counts
    chart: str


@dataclass(frozen=True)
class RegionRow:
    """A region, and its cells in each series; None where CATNIP excluded it."""

    region: DisplayedRegion
    cells: tuple[int | None, ...]


@dataclass(frozen=True)
class ComponentRow:
    """A row of the table of CATNIP's outputs."""

    decision: Decision
    name: str
    image: SampleImage | None  # the image made from it, if any
    sha256: str  # of the file with the hashes of the image's planes, or of the table or copy


def draw_images(dataset: Path, sample: Sample, n_bytes: int, vega: Vega) -> dict[str, Any]:
    """Draw the images of a sample, by their names in the template.

    Parameters
    ----------
    dataset
        The dataset.
    sample
        The sample.
    n_bytes
        Limit of the bytes of plane images.
    vega
        Draws the plots.

    Raises
    ------
    DamagedImageError
        If an image cannot be read.
    """
    brain = read_brain(dataset, sample)
    return {**_draw_brain(brain, sample, n_bytes, vega), "heatmaps": read_heatmaps(dataset, sample)}


def make_tables(dataset: Path, sample: Sample, vega: Vega) -> dict[str, Any]:
    """Gather the tables of a sample, by their names in the template."""
    return {
        "series": [Series(counts, _region_plot(counts, sample, vega)) for counts in sample.counts],
        "rows": list(_region_rows(sample)),
        "components": list(_component_rows(dataset, sample)),
    }


def _region_plot(counts: Counts, sample: Sample, vega: Vega) -> str:
    plot = region_chart(counts, sample.regions)
    return "" if plot is None else vega.svg(plot)


def _draw_brain(brain: Brain | None, sample: Sample, n_bytes: int, vega: Vega) -> dict[str, Any]:
    if brain is None or sample.raw is None:
        nothing: dict[str, Any] = {key: [] for key in ("planes", "orthogonal", "regions", "segmentations")}
        return nothing | {"histogram": None, "n_not_shown": 0}
    window, orthogonal = brain.image.window, brain.orthogonal()
    return {
        "orthogonal": orthogonal,
        "largest_um": max(size for view in orthogonal for size in (view.width_um, view.height_um)),
        "planes": _planes(brain, n_bytes),
        "n_planes": sample.raw.record.shape[0],
        "regions": [_region(region, sample) for region in brain.regions],
        "segmentations": [
            Segmentation(image.threshold, color)
            for (image, _), color in zip(brain.segmentations, _COLORS, strict=False)
        ],
        "n_not_shown": len(sample.segmentations) - len(brain.segmentations),
        "histogram": {"chart": vega.svg(histogram_chart(brain.histogram())), "window": window},
    }


def _planes(brain: Brain, n_bytes: int) -> list[View]:
    """Draw as many planes as fit into `n_bytes`."""
    [example] = brain.planes(1)
    n_planes = n_bytes // max(len(example.picture) + len(example.map), 1)
    return brain.planes(min(max(n_planes, _FEWEST_PLANES), _MOST_PLANES))


def _region(region: DisplayedRegion, sample: Sample) -> dict[str, str]:
    """Describe a region for the text under the pointer."""
    found = [(counts.cells.get(region.index), counts.title) for counts in sample.counts]
    cells = [f"{n:,} at {title}" for n, title in found if n is not None]
    words = f": cells {'; '.join(cells)}" if cells else ""
    return {"name": region.name, "abbreviation": region.abbreviation, "color": region.color, "cells": words}


def _region_rows(sample: Sample) -> Iterator[RegionRow]:
    """Yield all counted regions, by ascending label value."""
    for index in sorted({index for counts in sample.counts for index in counts.cells}):
        yield RegionRow(region_of(sample.regions, index), tuple(counts.cells.get(index) for counts in sample.counts))


def _component_rows(dataset: Path, sample: Sample) -> Iterator[ComponentRow]:
    """Yield CATNIP's outputs in the order of the decisions."""
    images = {image.path.as_posix(): image for image in sample.images}
    for decision in sample.decisions:
        name = os.path.relpath(decision.source, sample.record.source)
        image = images.get(decision.target or "")
        yield ComponentRow(decision, name, image, _hash_of(dataset, decision, image))


def _hash_of(dataset: Path, decision: Decision, image: SampleImage | None) -> str:
    if decision.target is None:
        return ""
    target = inside(decision.target, PROVENANCE.name)
    path = dataset / (target if image is None else hashes_path(image.path))
    return file_sha256(path) if path.is_file() else ""
