"""Checking whether a volume is the product of another one and a mask."""

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

    Returns None if planes are missing or unreadable, have different shapes, or need too much memory.
    """
    try:
        volumes = [compared_entry(entry) for entry in (product, factor, mask)]
        numbers = sorted(volumes[0].planes)
        if any(sorted(volume.planes) != numbers for volume in volumes):
            return None
        threads, volumes = bounded_map_for(volumes, resources)
        with threads:
            return sum(threads.map(partial(_count, volumes), numbers))
    except (SourceError, NotEnoughMemoryError):
        return None


def _count(volumes: Sequence[ComparedVolume], number: int) -> int:
    with ExitStack() as stack:
        planes = [stack.enter_context(volume.open(number)) for volume in volumes]
        if len({plane.layout.shape for plane in planes}) > 1:
            raise SourceError(f"planes {number} have different shapes")
        height = min(plane.band_height for plane in planes)
        bands = zip(*(plane.bands(height) for plane in planes), strict=True)
        return sum(
            int(np.count_nonzero(product != factor * mask.astype(factor.dtype))) for product, factor, mask in bands
        )
