"""Plots: intensities, cells by region, cells by group, and regions that differ, as Vega-Lite specifications.

Invariant: plots have no background and use the colour of the surrounding text, so that they suit light and dark modes
and paper. They are as wide as a phone, and pages enlarge them. Colours and shapes are told apart also by people who
are colour-blind (Okabe and Ito, 2008).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from catnip2bids.formatting import in_xml
from catnip2bids.regions import DisplayedRegion, region_of
from catnip2bids.reporting.cohort import CELLS, DENSITY
from catnip2bids.reporting.samples import Counts
from catnip2bids.reporting.views import Histogram

_TEXT: Final = "currentColor"
_MOST_BARS: Final = 20
_ACCENT: Final = "#2f7fd1"
_GROUP_COLORS: Final = ("#e69f00", "#0f83c9", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_GROUP_SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_WIDTH: Final = 200
"""Of the area of a plot; labels take about 130 more, which together fit a phone."""
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
        "labelLimit": 110,
    },
    "legend": {"labelColor": _TEXT, "titleColor": _TEXT, "orient": "top", "title": None, "labelFontSize": 11},
}


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
    x = {"field": "from", **_INTENSITY, "axis": {"format": ",~g", "tickCount": 5}}
    bars: dict[str, Any] = {
        "data": {"values": bins},
        "mark": {"type": "bar", "color": _ACCENT, "opacity": 0.75},
        "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0.5}},
    }
    return _whole({"width": _WIDTH + 60, "height": 150, "layer": [bars, *_rules(window)]})


def _rules(window: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mark the values shown as black and white."""
    rule = {"mark": {"type": "rule", "color": _TEXT, "strokeDash": [4, 3]}}
    text = {"mark": {"type": "text", "color": _TEXT, "baseline": "bottom", "y": -3}}
    x = {"field": "value", **_INTENSITY}
    return [
        {"data": {"values": window}, **rule, "encoding": {"x": x}},
        {"data": {"values": window}, **text, "encoding": {"x": x, "text": {"field": "what"}}},
    ]


def region_chart(counts: Counts, regions: Mapping[int, DisplayedRegion], measure: str) -> dict[str, Any] | None:
    """Plot the regions with the most cells, or cells per mm3, in their colours; None if there are none."""
    values = {index: counts.cells[index] if measure == CELLS else counts.density_of(index) for index in counts.cells}
    most = sorted(((value, index) for index, value in values.items() if value), key=lambda found: (-found[0], found[1]))
    shown = [(region_of(regions, index), value) for value, index in most[:_MOST_BARS]]
    names = Counter(region.short_name for region, _ in shown)
    # regions of both hemispheres may share an abbreviation
    rows = [
        {
            "region": region.short_name if names[region.short_name] == 1 else f"{region.short_name} ({region.index})",
            "value": value,
            "color": region.color,
            "words": f"{region.name}: {value:,.0f} {measure}",
        }
        for region, value in shown
    ]
    if not rows:
        return None
    y = {"field": "region", "type": "nominal", "sort": None, "title": None}
    lines = f"{measure}, {counts.title}".replace(", damaged", "\ndamaged").split("\n")  # one would be cut off
    x = {"field": "value", "type": "quantitative", "title": lines, "axis": _axis(measure)}
    words = {"description": {"field": "words"}}
    bars: dict[str, Any] = {
        "mark": {"type": "bar", "stroke": _TEXT, "strokeOpacity": 0.35, "strokeWidth": 0.5},
        "encoding": {"y": y, "x": x, "color": {"field": "color", "type": "nominal", "scale": None}, **words},
    }
    numbers: dict[str, Any] = {
        "mark": {"type": "text", "align": "left", "dx": 4, "color": _TEXT, "fontSize": 11},
        "encoding": {"y": y, "x": x, "text": {"field": "value", "format": ",.0f"}, **words},
    }
    return _whole({"width": _WIDTH, "height": {"step": 18}, "data": {"values": rows}, "layer": [bars, numbers]})


def group_chart(measure: str) -> dict[str, Any]:
    """Plot one region by group: a dot for each animal or sample, mean and standard deviation.

    The page fills the data: `points` with group, value, name and shift (-1 to 1), and `groups` with group, mean, low,
    high and words.
    """
    y = {"field": "group", "type": "nominal", "title": None}
    scale = {"type": "quantitative", "title": measure, "scale": {"zero": True}, "axis": _axis(measure)}
    words = {"tooltip": {"field": "words"}, "description": {"field": "words"}}
    spread: dict[str, Any] = {
        "data": {"name": "groups"},
        "mark": {"type": "rule", "color": _TEXT, "strokeWidth": 1.5},
        "encoding": {"y": y, "x": {"field": "low", **scale}, "x2": {"field": "high"}, **words},
    }
    means: dict[str, Any] = {
        "data": {"name": "groups"},
        "mark": {"type": "tick", "color": _TEXT, "thickness": 3, "size": 30},
        "encoding": {"y": y, "x": {"field": "mean", **scale}, **words},
    }
    dots: dict[str, Any] = {
        "data": {"name": "points"},
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.8, "color": _ACCENT},
        "encoding": {
            "y": y,
            "x": {"field": "value", **scale},
            "yOffset": {"field": "shift", "type": "quantitative", "scale": {"domain": [-1, 1]}},
            **words,
        },
    }
    return _whole({"width": _WIDTH, "height": {"step": 56, "for": "position"}, "layer": [spread, means, dots]})


def ranking_chart(measure: str) -> dict[str, Any]:
    """Plot the means of groups in the regions where they differ most.

    The page fills the data: `means` with region, group, mean and words, regions in their order.
    """
    y = {"field": "region", "type": "nominal", "sort": None, "title": None}
    x = {"field": "mean", "type": "quantitative", "title": f"mean {measure}", "axis": _axis(measure)}
    spans: dict[str, Any] = {
        "mark": {"type": "rule", "color": _TEXT, "opacity": 0.5},
        "encoding": {
            "y": y,
            "x": {"aggregate": "min", **x},
            "x2": {"aggregate": "max", "field": "mean"},
        },
    }
    means: dict[str, Any] = {
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "stroke": _TEXT, "strokeWidth": 0.5},
        "encoding": {
            "y": y,
            "x": x,
            "color": {"field": "group", "type": "nominal", "scale": {"range": [*_GROUP_COLORS]}},
            "shape": {"field": "group", "type": "nominal", "scale": {"range": [*_GROUP_SHAPES]}},
            "tooltip": {"field": "words"},
            "description": {"field": "words"},
        },
    }
    return _whole({"width": _WIDTH, "height": {"step": 24}, "data": {"name": "means"}, "layer": [spans, means]})


def _axis(measure: str) -> dict[str, Any]:
    """Describe an axis of few ticks, because there is room for few; there are no halves of cells."""
    return {
        "format": ",~r" if measure == DENSITY else ",d",
        "tickCount": 4,
        "labelOverlap": "parity",
        "labelSeparation": 6,
    } | ({"tickMinStep": 1} if measure == CELLS else {})


def _whole(specification: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "config": _CONFIG, **_clean(specification)}


def _clean(value: Any) -> Any:
    """Replace characters that XML forbids in all texts, because they would end the process that draws the plot."""
    if isinstance(value, str):
        return in_xml(value)
    if isinstance(value, dict):
        return {key: _clean(entry) for key, entry in value.items()}
    return [_clean(entry) for entry in value] if isinstance(value, list | tuple) else value
