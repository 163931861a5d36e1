"""Masks: the mask that turns one volume into another one, and volumes that are the product of another one and a mask.

Invariant: the mask between two volumes is known only where the unmasked volume is not 0, so its properties refer to
these voxels of the planes that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from catnip2bids.comparison.compared_volume import ComparedVolume, bounded_map_for, compared_entry
from catnip2bids.comparison.planes import VolumePair
from catnip2bids.comparison.values import Array
from catnip2bids.engine import Resources
from catnip2bids.errors import NotEnoughMemoryError, SourceError
from catnip2bids.scanning import Entry

_BITS = 8


@dataclass(frozen=True)
class PlaneMask:
    """The effect of a mask on one plane, as packed bits: 8 columns per byte."""

    number: int  # slice number
    zeroed: Array  # voxels that are 0 only with the mask
    kept: Array  # voxels that are not 0 with the mask


@dataclass(frozen=True)
class MaskEvidence:
    """Properties of a mask."""

    planes_emptied: tuple[int, ...]  # slice numbers of planes without a voxel that is kept
    whole_planes: bool  # whether each plane is kept or set to 0 as a whole
    # whether no (y, x) is kept in one of the differing planes and set to 0 in another one
    constant_over_z: bool


def mask_of(pairing: VolumePair, masked: int, number: int) -> PlaneMask:
    """Return the effect of a mask on a plane; `masked` is the masked volume, 1 or 2."""
    with pairing.volume_1.open(number) as one, pairing.volume_2.open(number) as two:
        height, (n_rows, n_columns) = min(one.band_height, two.band_height), one.layout.shape
        zeroed, kept = (np.empty((n_rows, -(-n_columns // _BITS)), np.uint8) for _ in range(2))
        top = 0
        for rows_1, rows_2 in zip(one.bands(height), two.bands(height), strict=True):
            with_mask, without = (rows_1, rows_2) if masked == 1 else (rows_2, rows_1)
            rows = slice(top, top + len(rows_1))
            zeroed[rows] = np.packbits((with_mask == 0) & (without != 0), axis=1)
            kept[rows] = np.packbits(with_mask != 0, axis=1)
            top = rows.stop
    return PlaneMask(number, zeroed, kept)


def mask_evidence_of(planes: Iterable[PlaneMask]) -> MaskEvidence:
    """Summarize the effect of a mask on all planes in which voxels differ; there is at least one."""
    together: PlaneMask | None = None
    emptied, whole_planes, constant_over_z = [], True, True
    for plane in planes:
        if plane.kept.any():
            whole_planes = False
        else:
            emptied.append(plane.number)
        if together is None:
            together = plane
        elif plane.zeroed.shape != together.zeroed.shape:
            constant_over_z = False
        else:
            np.bitwise_or(together.zeroed, plane.zeroed, out=together.zeroed)
            np.bitwise_or(together.kept, plane.kept, out=together.kept)
    if together is None or (together.zeroed & together.kept).any():
        constant_over_z = False
    return MaskEvidence(tuple(emptied), whole_planes, constant_over_z)


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
            return sum(threads.map(partial(_count_not_product, volumes), numbers))
    except (SourceError, NotEnoughMemoryError):
        return None


def _count_not_product(volumes: Sequence[ComparedVolume], number: int) -> int:
    with ExitStack() as stack:
        planes = [stack.enter_context(volume.open(number)) for volume in volumes]
        if len({plane.layout.shape for plane in planes}) > 1:
            raise SourceError(f"planes {number} have different shapes")
        height = min(plane.band_height for plane in planes)
        bands = zip(*(plane.bands(height) for plane in planes), strict=True)
        return sum(
            int(np.count_nonzero(product != factor * mask.astype(factor.dtype))) for product, factor, mask in bands
        )
