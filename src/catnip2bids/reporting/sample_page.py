"""Draw the images of a sample and gather the tables for its page.

Invariant: a page needs no other files; the number of planes, and of planes in detail, follows from its share of the
size of the report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from catnip2bids.bids.checksums import file_sha256
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import PROVENANCE, Decision
from catnip2bids.formatting import format_number
from catnip2bids.paths import inside
from catnip2bids.region_hierarchy import RegionTotal, region_totals, without_circles
from catnip2bids.reporting.charts import histogram_chart, region_chart
from catnip2bids.reporting.cohort import MEASURES
from catnip2bids.reporting.drawn_cells import SampleCells, SlabCells, read_sample_cells
from catnip2bids.reporting.sample_status import side_of
from catnip2bids.reporting.samples import Counts, Sample, SampleImage
from catnip2bids.reporting.vega import Vega
from catnip2bids.reporting.views import Brain, View, read_brain

_MOST_PLANES, _FEWEST_PLANES, _MOST_DETAILED = 24, 6, 12
_DETAILED_TOGETHER: Final = 4
"""Planes in detail that are in memory together: neighbours are often in the same chunks, which are read once."""
_SHARE_OF_PLANES: Final = 0.55
"""Of the bytes of a page; planes in detail take the rest."""
_COLORS: Final = ("#f0e442", "#56b4e9", "#d55e00", "#cc79a7", "#009e73", "#e69f00", "#ffffff", "#0072b2")
_SHAPES: Final = ("circle", "square", "triangle", "diamond")
"""Colours and shapes of the cells, by threshold; colour-blind people can tell them apart (Okabe and Ito, 2008)."""


@dataclass(frozen=True)
class Drawn:
    """The pictures of a brain: three orthogonal slices, planes, and what is known of the cells of each layer."""

    brain: Brain
    orthogonal: tuple[View, ...]
    planes: tuple[View, ...]
    cells: tuple[SampleCells | None, ...]  # None for cells that are drawn from a segmentation

    @property
    def views(self) -> tuple[View, ...]:
        """All slices, as they are numbered on the page."""
        return (*self.orthogonal, *self.planes)


def draw_brain(dataset: Path, sample: Sample, n_bytes: int) -> Drawn | None:
    """Draw the slices of a sample; None if it has no raw image.

    Raises DamagedImageError if an image or a table of cells cannot be read.
    """
    brain = read_brain(dataset, sample)
    if brain is None:
        return None
    orthogonal, planes = brain.orthogonal(), _planes(brain, n_bytes)
    slabs = [view.slab for view in (*orthogonal, *planes)]
    shape, size_um = brain.image.full_shape, brain.image.voxel_size_um
    cells = (
        None if layer.counts is None else read_sample_cells(layer.counts.cell_tables, slabs, shape, size_um)
        for layer in brain.layers
    )
    return Drawn(brain, tuple(orthogonal), tuple(planes), tuple(cells))


def _planes(brain: Brain, n_bytes: int) -> list[View]:
    """Draw the planes that fit into a share of `n_bytes`, and in detail as many as fit into the rest, at least one."""
    [example] = brain.planes(1)
    n_planes = round(_SHARE_OF_PLANES * n_bytes) // max(example.n_bytes, 1)
    planes = brain.planes(min(max(n_planes, _FEWEST_PLANES), _MOST_PLANES))
    n_left = n_bytes - sum(view.n_bytes for view in planes)
    first, *others = _from_the_middle(len(planes))[:_MOST_DETAILED]
    [planes[first]] = brain.with_details([planes[first]])
    if (detail := planes[first].detail) is not None and others:
        others = sorted(others[: max(n_left // detail.n_bytes - 1, 0)])
        for start in range(0, len(others), _DETAILED_TOGETHER):
            numbers = others[start : start + _DETAILED_TOGETHER]
            for number, view in zip(numbers, brain.with_details([planes[n] for n in numbers]), strict=True):
                planes[number] = view
    return planes


def _from_the_middle(n: int) -> list[int]:
    """Return the numbers below `n`, the middle one first, then ever closer ones in even steps."""
    steps = [n >> power for power in range(n.bit_length())]
    return list(dict.fromkeys(number for step in steps for number in range(n) if (number - n // 2) % step == 0))


def page_of_brain(drawn: Drawn | None, sample: Sample, vega: Vega) -> dict[str, Any]:
    """Return what the template needs of the pictures, by its names."""
    if drawn is None or sample.raw is None:
        return {"views": None, "histogram": None, "brain": {"regions": [], "layers": [], "views": []}}
    brain = drawn.brain
    layers = [_layer(n, drawn, sample) for n in range(len(brain.layers))]
    return {
        "views": drawn,
        "n_planes": sample.raw.record.shape[0],
        "layers": layers,
        "n_not_shown": len(
            {found.threshold for found in sample.segmentations} - {layer.threshold for layer in brain.layers}
        ),
        "is_thinned": any(slab.is_thinned for found in drawn.cells if found is not None for slab in found.slabs),
        "n_detailed": sum(view.detail is not None for view in drawn.planes),
        "histogram": {"chart": vega.svg(histogram_chart(brain.histogram())), "window": brain.image.window},
        "brain": {
            "full": dict(zip("zyx", brain.image.full_shape, strict=True)),
            "side": side_of(sample),
            "regions": list(_regions(drawn, sample)),
            "layers": layers,
            "has_mask": brain.mask is not None,
            "views": [
                _view(view, [None if found is None else found.slabs[n] for found in drawn.cells])
                for n, view in enumerate(drawn.views)
            ],
        },
    }


def _layer(number: int, drawn: Drawn, sample: Sample) -> dict[str, Any]:
    """Describe the cells of a threshold; without tables of cells they have a bit of the map."""
    layer, cells = drawn.brain.layers[number], drawn.cells[number]
    n_masks_before = sum(found.segmentation is not None for found in drawn.brain.layers[:number])
    known = {} if layer.counts is None else {index: n for index, n in layer.counts.cells.items() if n is not None}
    differing = [] if cells is None else [index for index, n in known.items() if n != cells.n_counted.get(index, 0)]
    return {
        "title": f"threshold {layer.threshold}",
        "color": _COLORS[number % len(_COLORS)],
        "shape": _SHAPES[number % len(_SHAPES)],
        "bit": n_masks_before if cells is None else None,
        "summary": None if cells is None else cells.summary,
        "n_regions": len(known),
        "differing": [sample.region(index).name for index in sorted(differing)],
    }


def _view(view: View, cells: Sequence[SlabCells | None]) -> dict[str, Any]:
    rows, columns = "zyx"[view.slab.rows], "zyx"[view.slab.columns]
    detail = view.detail
    return {
        "title": view.title,
        "map": view.map,
        "width_um": view.width_um,
        "height_um": view.height_um,
        "rows": rows,
        "columns": columns,
        "axis": "zyx"[view.slab.axis],
        "at": view.at,
        "cells": [None if found is None else [found.counted, found.uncounted, found.n_all] for found in cells],
        "detail": None if detail is None else {"picture": detail.address, "map": detail.map},
    }


def _regions(drawn: Drawn, sample: Sample) -> Iterator[dict[str, Any]]:
    """Describe regions for the text under the pointer, by their numbers in maps."""
    excluded = {region.index for region in sample.excluded_regions}
    for number, region in enumerate(drawn.brain.regions, 1):
        areas = [view.areas[number] for view in drawn.planes]
        known = [(counts.cells.get(region.index), counts) for counts in sample.counts if not counts.corrected]
        words = [_cell_words(n, counts.density_of(region.index), counts) for n, counts in known if n is not None]
        yield {
            "index": region.index,
            "name": region.name,
            "short": region.abbreviation,
            "color": region.color,
            "cells": "; ".join(words),
            "excluded": region.index in excluded,
            "plane": areas.index(max(areas)) if any(areas) else None,
        }


def _cell_words(n: int, density: float | None, counts: Counts) -> str:
    return f"{n:,} cells{'' if density is None else f', {format_number(density)} per mm3'} at {counts.title}"


def make_tables(dataset: Path, sample: Sample, vega: Vega) -> dict[str, Any]:
    """Gather the tables of a sample, by their names in the template."""
    return {
        "series": [
            {
                "counts": counts,
                "is_first": counts is sample.main_counts,
                "charts": [(measure, _chart(counts, sample, measure, vega)) for measure in MEASURES],
            }
            for counts in sample.counts
        ],
        "rows": list(_region_rows(sample)),
        "names": {region.short_name: region.name for region in sample.regions.values()},
        "components": list(_component_rows(dataset, sample)),
    }


def _chart(counts: Counts, sample: Sample, measure: str, vega: Vega) -> str:
    chart = region_chart(counts, sample.regions, measure)
    return "" if chart is None else vega.svg(chart)


def _region_rows(sample: Sample) -> Iterator[dict[str, Any]]:
    """Yield a row for each region and, where parents are known, for each region with everything below it."""
    parents, excluded = sample.hierarchy.parents, set(sample.excluded_regions)
    counted = sorted({index for counts in sample.counts for index in counts.cells})
    for index in counted:
        values = [
            (counts.cells.get(index), counts.density_of(index), counts.volumes_mm3.get(index))
            for counts in sample.counts
        ]
        row = _row(sample, index, values)
        yield row | {"is_excluded": row["region"] in excluded}
    below: dict[int, list[int]] = {}
    tree = without_circles(parents)
    for index in counted:
        above = tree.get(index)
        while above is not None:
            below.setdefault(above, [above] if above in counted else []).append(index)
            above = tree.get(above)
    totals = [
        region_totals({index: (n, counts.volumes_mm3.get(index)) for index, n in counts.cells.items()}, parents)
        for counts in sample.counts
    ]
    for index, indices in sorted(item for item in below.items() if len(item[1]) > 1):
        sums = [found.get(index, RegionTotal()) for found in totals]
        if any(total.volume_mm3 for total in sums):
            numbers = [
                (total.cell_count, total.density_per_mm3, total.volume_mm3) if total.n_regions else (None, None, None)
                for total in sums
            ]
            yield _row(sample, index, numbers) | {"is_sum": True, "indices": indices}


def _row(sample: Sample, index: int, values: Sequence[tuple[int | None, float | None, float | None]]) -> dict[str, Any]:
    """Describe a row; `values` are cells, cells per mm3, and mm3 of what was counted, of each table of counts."""
    parent = sample.hierarchy.parents.get(index)
    return {
        "region": sample.region(index),
        "part_of": None if parent is None else sample.region(parent),
        "values": values,
        "is_excluded": False,
        "is_sum": False,
        "indices": [index],
    }


def _component_rows(dataset: Path, sample: Sample) -> Iterator[dict[str, Any]]:
    """Yield CATNIP's outputs in the order of the decisions, each with the image made from it, if any, and a hash."""
    images = {image.path.as_posix(): image for image in sample.images}
    for decision in sample.decisions:
        name = os.path.relpath(decision.source, sample.record.source)
        image = images.get(decision.target or "")
        sha256 = _hash_of(dataset, decision, image)
        yield {"decision": decision, "name": name, "image": image, "sha256": sha256}


def _hash_of(dataset: Path, decision: Decision, image: SampleImage | None) -> str:
    """Hash the plane hashes of an image, or a table or copy; returns an empty text if the file does not exist."""
    if decision.target is None:
        return ""
    target = inside(decision.target, PROVENANCE.name)
    path = dataset / (target if image is None else hashes_path(image.path))
    return file_sha256(path) if path.is_file() else ""
