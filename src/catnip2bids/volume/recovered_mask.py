"""The mask that turns one volume into another one, as a volume of its own.

Invariant: the first volume times the mask is the second one, voxel for voxel; a voxel for which no mask can bring that
about is an error that names the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.volume import PlaneSource, ReadCost, Volume

_DTYPE = np.dtype(np.uint16)  # that of CATNIP's own masks (imwrite in MaskImages)
_READ_BYTES = 2**20


@dataclass(frozen=True)
class RecoveredMask:
    """A mask of 0 and 1, reconstructed from a volume and the same volume masked.

    Where the whole volume is 0 anyway the mask cannot be known. It is 1 there, but in planes that the mask is known to
    empty.
    """

    # the volume without and with the mask, of one shape and type
    whole: Volume
    masked: Volume
    emptied: frozenset[int]  # planes, from 0, that the mask sets to 0 completely

    @classmethod
    def from_evidence(cls, whole: Volume, masked: Volume, evidence: Mapping[str, Any]) -> RecoveredMask:
        """Make it of what a comparison found, which counts planes by slice numbers, such as 0, 40, 80.

        Parameters
        ----------
        whole, masked
            The volume without and with the mask.
        evidence
            The first and the last slice number (``planes``), and those that the mask empties (``planes_emptied``).
        """
        first, last = evidence["planes"]
        step = max(last - first, 1) // max(masked.shape[0] - 1, 1)
        return cls(whole, masked, frozenset((number - first) // step for number in evidence["planes_emptied"]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return self.masked.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return _DTYPE

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of both volumes."""
        return (*self.whole.files, *self.masked.files)

    def plane_source(self, plane: int) -> PlaneSource:
        """Return where the plane of the masked volume is stored."""
        return self.masked.plane_source(plane)

    @property
    def read_cost(self) -> ReadCost:
        """What reading both volumes takes; without rows also a plane of each."""
        whole, masked = self.whole.read_cost, self.masked.read_cost
        by_rows = whole.by_rows and masked.by_rows
        planes = 0 if by_rows else 2 * math.prod(self.shape[1:]) * self.whole.dtype.itemsize
        return ReadCost(
            by_rows=by_rows,
            shared_bytes=whole.shared_bytes + masked.shared_bytes,
            open_bytes=whole.open_bytes + masked.open_bytes,
            decoding_bytes=0 if by_rows else planes + whole.decoding_bytes + masked.decoding_bytes,
        )

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane of both volumes."""
        with ExitStack() as opened:
            whole = self.whole.open_plane(plane)
            opened.callback(whole.close)
            masked = self.masked.open_plane(plane)
            opened.pop_all()
        return _MaskPlane(self, plane, whole, masked)


@dataclass(frozen=True)
class _MaskPlane:
    """A plane of the mask."""

    mask: RecoveredMask
    plane: int
    whole: OpenPlane
    masked: OpenPlane

    @property
    def reads_rows(self) -> bool:
        """Whether rows that are read one after the other are decoded once."""
        return self.mask.read_cost.by_rows

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        n_rows = stop - start
        if self.reads_rows:
            n_rows = max(_READ_BYTES // (self.mask.shape[2] * self.mask.whole.dtype.itemsize), 1)
        for top in range(start, stop, n_rows):
            bottom = min(top + n_rows, stop)
            self._read(top, bottom, out[top - start : bottom - start])

    def _read(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        whole = np.empty((stop - start, self.mask.shape[2]), self.mask.whole.dtype)
        masked = np.empty_like(whole)
        self.whole.read_rows(start, stop, whole)
        self.masked.read_rows(start, stop, masked)
        emptied = self.plane in self.mask.emptied
        if ((masked != 0) & ((masked != whole) | emptied)).any():
            file = self.mask.plane_source(self.plane).path
            raise SourceError(f"{file}: is not {self.mask.whole.plane_source(self.plane).path} times a mask")
        out[...] = 0 if emptied else masked == whole

    def close(self) -> None:
        """Let go of both files."""
        self.whole.close()
        self.masked.close()
