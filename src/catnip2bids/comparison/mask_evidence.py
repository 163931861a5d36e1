"""Properties of the mask that turns one volume into another one.

Invariant: the mask is known only where the unmasked volume is not 0, so its properties refer to these voxels of the
planes that differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.planes import VolumePair

Array = npt.NDArray[Any]

_BITS = 8


@dataclass(frozen=True)
class PlaneMask:
    """The effect of a mask on one plane, as packed bits: 8 columns a byte."""

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


def mask_of(pairing: VolumePair, number: int, masked: int) -> PlaneMask:
    """Return the effect of a mask on a plane.

    Parameters
    ----------
    pairing, number
        Both planes, which exist and have one shape.
    masked
        The masked volume, 1 or 2.
    """
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


def mask_evidence_of(planes: Iterable[PlaneMask]) -> MaskEvidence | None:
    """Summarize the effect of a mask on all planes in which voxels differ; return None without planes."""
    zeroed: Array | None = None
    kept: Array | None = None
    emptied, n_planes, one_size = [], 0, True
    for plane in planes:
        n_planes += 1
        if not plane.kept.any():
            emptied.append(plane.number)
        if zeroed is None or kept is None:
            zeroed, kept = plane.zeroed, plane.kept
        elif plane.zeroed.shape != zeroed.shape:
            one_size = False
        else:
            zeroed |= plane.zeroed
            kept |= plane.kept
    if zeroed is None or kept is None:
        return None
    return MaskEvidence(tuple(emptied), len(emptied) == n_planes, one_size and not (zeroed & kept).any())
