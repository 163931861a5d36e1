"""What a mask is like that turns one volume into another one.

Invariant: the mask is known only where the unmasked side is not 0, so what is said of it is said of these voxels, and
of the planes that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.planes import VolumePair

Array = npt.NDArray[Any]

_BITS = 8


@dataclass(frozen=True)
class PlaneMask:
    """What the mask does to one plane; packed bits, 8 columns a byte."""

    number: int  # its slice number
    zeroed: Array  # voxels that are 0 with the mask, and not 0 without
    kept: Array  # voxels that are not 0 with the mask


@dataclass(frozen=True)
class MaskEvidence:
    """What the mask is like."""

    planes_emptied: tuple[int, ...]  # slice numbers of the planes that are set to 0 as a whole
    whole_planes: bool  # whether planes are either kept or set to 0 as a whole
    # whether no column of voxels is kept in one of the planes that differ and set to 0 in another one
    constant_over_z: bool


def mask_of(pairing: VolumePair, number: int, masked: int) -> PlaneMask:
    """Find out what the mask does to a plane.

    Parameters
    ----------
    pairing, number
        The planes, which are there and have one shape.
    masked
        The side that is masked, 1 or 2.
    """
    with pairing.side_1.open(number) as one, pairing.side_2.open(number) as two:
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


class MaskFinding:
    """Adds up what the mask does, plane by plane."""

    def __init__(self) -> None:
        self._zeroed: Array | None = None
        self._kept: Array | None = None
        self._emptied: list[int] = []
        self._n_planes = 0
        self._one_size = True

    def add(self, plane: PlaneMask) -> None:
        """Look at one more plane in which voxels differ."""
        self._n_planes += 1
        if not plane.kept.any():
            self._emptied.append(plane.number)
        if self._zeroed is None or self._kept is None:
            self._zeroed, self._kept = plane.zeroed, plane.kept
        elif plane.zeroed.shape != self._zeroed.shape:
            self._one_size = False
        else:
            self._zeroed |= plane.zeroed
            self._kept |= plane.kept

    @property
    def evidence(self) -> MaskEvidence | None:
        """What the mask is like; None if it does nothing."""
        if self._zeroed is None or self._kept is None:
            return None
        constant = self._one_size and not (self._zeroed & self._kept).any()
        return MaskEvidence(tuple(self._emptied), len(self._emptied) == self._n_planes, constant)
