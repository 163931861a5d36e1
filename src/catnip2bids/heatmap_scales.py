"""How heat maps are drawn: their colours, and one scale for each threshold, for all samples of a dataset.

Invariant: the report and the viewer give the same value the same colour.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

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


def heat_colors(shades: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return RGB pixels, (rows, columns, 3): black over red and yellow to white, for shades from 0 to 255."""
    heat = 3 * shades.astype(np.int16)
    return np.stack([np.clip(heat - 255 * n, 0, 255) for n in range(3)], axis=-1).astype(np.uint8)
