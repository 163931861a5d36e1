"""The values at which heat maps are drawn: one scale for each threshold, for all samples of a dataset.

Invariant: the report and the viewer give the same value the same colour.
"""

from __future__ import annotations

from collections.abc import Iterable

from catnip2bids.bids.provenance import RunRecord
from catnip2bids.catnip.component_type import Content
from catnip2bids.catnip.components import component_of


def heatmap_scales(runs: Iterable[RunRecord]) -> dict[int | None, float]:
    """Return the largest value of all heat maps of each threshold, corrected ones included; it is drawn as white."""
    scales: dict[int | None, float] = {}
    for record in (record for run in runs for record in run.images.values()):
        known = component_of(record.role, record.source)
        if known is not None and known[0].content == Content.HEATMAP:
            scales[known[1]] = max(scales.get(known[1], 0.0), record.value_range[1])
    return scales
