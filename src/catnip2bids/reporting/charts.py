"""Plots: intensities, cells by region, and cells by group, as Vega-Lite specifications.

Invariant: plots have no background and use the colour of the surrounding text, so that they suit light and dark modes
and paper. A sample without a count of a region is left out of the plot by group, never counted as 0; regions of
different atlases with the same id stay separate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.formatting import in_xml
from catnip2bids.regions import DisplayedRegion, region_of
from catnip2bids.reporting.samples import Counts, Sample
from catnip2bids.reporting.views import Histogram

_TEXT: Final = "currentColor"
_MOST_BARS: Final = 24
_ACCENT: Final = "#2f7fd1"
_INTENSITY: Final = {"type": "quantitative", "title": "intensity"}
_CONFIG: Final[dict[str, Any]] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _TEXT,
        "titleColor": _TEXT,
        "titleFontWeight": "normal",
        "domainColor": _TEXT,
        "tickColor": _TEXT,
        "gridColor": _TEXT,
        "gridOpacity": 0.13,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "labelFontSize": 11,
        "titleFontSize": 12,
    },
}

_COLUMNS = ("genotype", "sex", "hemisphere", "strain", "age")
_Named = tuple[int, str]


@dataclass(frozen=True)
class GroupCounts:
    """The data of the plot of cells by group."""

    regions: tuple[str, ...]  # names to choose from; the first stands for all regions
    series: tuple[str, ...]  # names of the segmentations to choose from
    columns: tuple[str, ...]  # columns to group by, first those with more than one value
    data: dict[str, Any]  # the plot, and for each sample its animal and its cells by index into `regions`


def histogram_chart(histogram: Histogram) -> dict[str, Any]:
    """Plot how often intensities occur, on a logarithmic scale, with the display window."""
    edges = histogram.edges.tolist()
    bins = [
        {"from": low, "to": high, "n": n}
        for low, high, n in zip(edges, edges[1:], histogram.n_voxels.tolist(), strict=False)
        if n
    ]
    window = [{"value": value, "what": what} for value, what in zip(histogram.window, ("black", "white"), strict=True)]
    y = {
        "field": "n",
        "type": "quantitative",
        "title": "voxels",
        "scale": {"type": "log", "domainMin": 0.5},
        "axis": {"format": "~s", "tickCount": 5},
    }
    bars: dict[str, Any] = {
        "data": {"values": bins},
        "mark": {"type": "bar", "color": _ACCENT, "opacity": 0.75},
        "encoding": {"x": {"field": "from", **_INTENSITY}, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0.5}},
    }
    return _whole({"width": 520, "height": 170, "layer": [bars, *_rules(window)]})


def _rules(window: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mark the values shown as black and white."""
    rule = {"mark": {"type": "rule", "color": _TEXT, "strokeDash": [4, 3]}}
    text = {"mark": {"type": "text", "color": _TEXT, "baseline": "bottom", "y": -3}}
    x = {"field": "value", **_INTENSITY}
    return [
        {"data": {"values": window}, **rule, "encoding": {"x": x}},
        {"data": {"values": window}, **text, "encoding": {"x": x, "text": {"field": "what"}}},
    ]


def region_chart(counts: Counts, regions: Mapping[int, DisplayedRegion]) -> dict[str, Any] | None:
    """Plot the regions with the most cells, in their colours; None if there are none."""
    most = sorted(((n, index) for index, n in counts.cells.items() if n), key=lambda found: (-found[0], found[1]))
    shown = [(region_of(regions, index), n) for n, index in most[:_MOST_BARS]]
    names = Counter(region.short_name for region, _ in shown)
    # regions of both hemispheres may share an abbreviation
    rows = [
        {
            "region": region.short_name if names[region.short_name] == 1 else f"{region.short_name} ({region.index})",
            "cells": n,
            "color": region.color,
        }
        for region, n in shown
    ]
    if not rows:
        return None
    y = {"field": "region", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 220}}
    x = {"field": "cells", "type": "quantitative", "title": f"cells, {counts.title}"}
    bars: dict[str, Any] = {
        "mark": {"type": "bar", "stroke": _TEXT, "strokeOpacity": 0.35, "strokeWidth": 0.5},
        "encoding": {"y": y, "x": x, "color": {"field": "color", "type": "nominal", "scale": None}},
    }
    numbers: dict[str, Any] = {
        "mark": {"type": "text", "align": "left", "dx": 4, "color": _TEXT, "fontSize": 11},
        "encoding": {"y": y, "x": x, "text": {"field": "cells", "format": ","}},
    }
    return _whole({"width": 420, "height": {"step": 18}, "data": {"values": rows}, "layer": [bars, numbers]})


def group_counts_of(samples: Sequence[Sample]) -> GroupCounts | None:
    """Gather the cells of all samples; None if fewer than two samples have counts."""
    counted = [sample for sample in samples if sample.counts]
    if len(counted) < 2:
        return None
    titles = {(found.threshold, found.corrected): found.title for sample in counted for found in sample.counts}
    series = sorted(titles.items())
    occurring = {
        _named(sample, index)
        for sample in counted
        for counts in sample.counts
        for index, n_cells in counts.cells.items()
        if n_cells
    }
    regions = sorted(occurring, key=lambda region: (region[1].lower(), region[0]))
    numbers = {region: number for number, region in enumerate(regions, 1)}
    animals = [_animal(sample) for sample in counted]
    columns = [column for column in _COLUMNS if any(animal[column] != UNKNOWN for animal in animals)] or ["hemisphere"]
    columns.sort(key=lambda column: len({animal[column] for animal in animals}) < 2)
    rows = [
        {
            "name": sample.name,
            "animal": {column: animal[column] for column in columns},
            "cells": [_cells(sample, key, numbers) for key, _ in series],
        }
        for sample, animal in zip(counted, animals, strict=True)
    ]
    data = {"plot": _group_chart(columns), "samples": rows}
    n_same = Counter(name for _, name in regions)
    names = [name if n_same[name] == 1 else f"{name} ({index})" for index, name in regions]
    return GroupCounts(("all regions", *names), tuple(title for _, title in series), tuple(columns), data)


def _named(sample: Sample, index: int) -> _Named:
    """Identify a region by id and name, because atlases may give one id to different regions."""
    return index, region_of(sample.regions, index).name


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


def _group_chart(columns: Sequence[str]) -> dict[str, Any]:
    """Plot cells by group; the page chooses one of the columns and adds rows of group, cells and sample."""
    x = {"field": "group", "type": "nominal", "title": None, "axis": {"labelAngle": 0}}
    y = {"field": "cells", "type": "quantitative", "title": "cells", "scale": {"zero": True}}
    dots: dict[str, Any] = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.85, "color": _ACCENT},
        "encoding": {
            "x": x,
            "y": y,
            "xOffset": {"field": "shift", "type": "quantitative", "scale": {"domain": [-1, 1]}},
            "tooltip": [{"field": "sample"}, *({"field": column} for column in columns), {"field": "cells"}],
        },
    }
    means: dict[str, Any] = {
        "mark": {"type": "tick", "thickness": 2, "size": 60, "color": _TEXT},
        "encoding": {"x": x, "y": {**y, "aggregate": "mean"}},
    }
    # resize when the page adds rows, because names of groups need space
    size = {"width": 520, "height": 260, "autosize": {"type": "pad", "resize": True}}
    return _whole({**size, "data": {"name": "cells", "values": []}, "layer": [dots, means]})


def _whole(specification: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "config": _CONFIG, **_clean(specification)}


def _clean(value: Any) -> Any:
    """Replace characters that XML forbids in all texts, because they would end the process that draws the plot."""
    if isinstance(value, str):
        return in_xml(value)
    if isinstance(value, dict):
        return {key: _clean(entry) for key, entry in value.items()}
    return [_clean(entry) for entry in value] if isinstance(value, list | tuple) else value
