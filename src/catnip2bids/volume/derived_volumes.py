"""Volumes that are made of other volumes: some of their planes, and the mask between two of them.

Invariant: nothing is stored, so a plane is read from the other volumes each time.
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
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding
from catnip2bids.volume.volume import Copyable, PlaneSource, ReadCost, Volume

_MASK_DTYPE = np.dtype(np.uint16)  # that of CATNIP's own masks (imwrite in MaskImages)
_READ_BYTES = 2**20


@dataclass(frozen=True)
class PlaneSubset:
    """Consecutive planes of a volume, such as a sample to measure conversion with."""

    whole: Volume
    start: int
    n_planes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return self.n_planes, *self.whole.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.whole.dtype

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the pixels are read from."""
        return tuple(dict.fromkeys(self.plane_source(plane).path for plane in range(self.n_planes)))

    @property
    def read_cost(self) -> ReadCost:
        """Memory for reading planes, as of the whole volume."""
        return self.whole.read_cost

    @property
    def encoding(self) -> Encoding | None:
        """How all planes are stored, if that is known."""
        return self.whole.encoding if isinstance(self.whole, Copyable) else None

    def plane_source(self, plane: int) -> PlaneSource:
        """Return where a plane is stored."""
        return self.whole.plane_source(self.start + plane)

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane."""
        return self.whole.open_plane(self.start + plane)

    def read_encoded(self, plane: int) -> EncodedPlane:
        """Find the segments of a plane without decoding them."""
        if not isinstance(self.whole, Copyable):
            raise TypeError(f"{type(self.whole).__name__} cannot hand out encoded planes")
        return self.whole.read_encoded(self.start + plane)


@dataclass(frozen=True)
class RecoveredMask:
    """A mask of 0 and 1, reconstructed from a volume and the same volume masked.

    The first volume times the mask is the second one, voxel for voxel; if no mask can do that, reading raises an error
    that names the file. Where the first volume is 0, the mask cannot be known. It is 1 there, except in planes that the
    mask is known to empty.
    """

    # the volume without and with the mask, of one shape and type
    whole: Volume
    masked: Volume
    emptied: frozenset[int]  # planes, from 0, that the mask sets to 0 completely

    @classmethod
    def from_evidence(cls, whole: Volume, masked: Volume, evidence: Mapping[str, Any]) -> RecoveredMask:
        """Make a mask from the evidence of a comparison, which counts planes by slice numbers, such as 0, 40, 80.

        The evidence holds the first and the last slice number (``planes``), and those of the planes that the mask
        empties (``planes_emptied``).
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
        return _MASK_DTYPE

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of both volumes."""
        return (*self.whole.files, *self.masked.files)

    @property
    def read_cost(self) -> ReadCost:
        """Memory for reading both volumes; if rows cannot be read, also for a plane of each."""
        whole, masked = self.whole.read_cost, self.masked.read_cost
        by_rows = whole.by_rows and masked.by_rows
        planes = 0 if by_rows else 2 * math.prod(self.shape[1:]) * self.whole.dtype.itemsize
        return ReadCost(
            by_rows=by_rows,
            shared_bytes=whole.shared_bytes + masked.shared_bytes,
            open_bytes=whole.open_bytes + masked.open_bytes,
            decoding_bytes=0 if by_rows else planes + whole.decoding_bytes + masked.decoding_bytes,
        )

    def plane_source(self, plane: int) -> PlaneSource:
        """Return where the plane of the masked volume is stored."""
        return self.masked.plane_source(plane)

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
        emptied = self.plane in self.mask.emptied
        for top in range(start, stop, n_rows):
            bottom = min(top + n_rows, stop)
            whole = np.empty((bottom - top, self.mask.shape[2]), self.mask.whole.dtype)
            masked = np.empty_like(whole)
            self.whole.read_rows(top, bottom, whole)
            self.masked.read_rows(top, bottom, masked)
            if ((masked != 0) & ((masked != whole) | emptied)).any():
                file = self.mask.plane_source(self.plane).path
                raise SourceError(f"{file}: is not {self.mask.whole.plane_source(self.plane).path} times a mask")
            out[top - start : bottom - start] = 0 if emptied else masked == whole

    def close(self) -> None:
        """Close both planes."""
        self.whole.close()
        self.masked.close()
