"""Whether one volume is another one times a mask, voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from catnip2bids.comparison.compared_volume import ComparedVolume, bounded_map_for, compared_entry
from catnip2bids.engine import Resources
from catnip2bids.errors import NotEnoughMemoryError, SourceError
from catnip2bids.scanning import Entry


def count_not_product(product: Entry, factor: Entry, mask: Entry, resources: Resources) -> int | None:
    """Count the voxels of `product` that are not those of `factor` times `mask`.

    Returns None if planes are missing, cannot be read, have other shapes, or need more memory than there is.
    """
    try:
        sides = [compared_entry(entry) for entry in (product, factor, mask)]
        numbers = sorted(sides[0].planes)
        if any(sorted(side.planes) != numbers for side in sides):
            return None
        team, sides = bounded_map_for(sides, resources)
        with team:
            return sum(team.do(partial(_count, sides), numbers))
    except (SourceError, NotEnoughMemoryError):
        return None


def _count(sides: Sequence[ComparedVolume], number: int) -> int:
    with ExitStack() as stack:
        planes = [stack.enter_context(side.open(number)) for side in sides]
        if len({plane.layout.shape for plane in planes}) > 1:
            raise SourceError(f"planes {number} have different shapes")
        height = min(plane.band_height for plane in planes)
        bands = zip(*(plane.bands(height) for plane in planes), strict=True)
        return sum(
            int(np.count_nonzero(product != factor * mask.astype(factor.dtype))) for product, factor, mask in bands
        )
