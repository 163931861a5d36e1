"""Some planes of a volume, as a volume: to try something out on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding
from catnip2bids.volume.volume import Copyable, PlaneSource, ReadCost, Volume


@dataclass(frozen=True)
class PlaneSubset:
    """Consecutive planes of a volume."""

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

    def plane_source(self, plane: int) -> PlaneSource:
        """Where a plane is stored."""
        return self.whole.plane_source(self.start + plane)

    @property
    def read_cost(self) -> ReadCost:
        """What reading takes, as of the whole volume."""
        return self.whole.read_cost

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane."""
        return self.whole.open_plane(self.start + plane)

    @property
    def encoding(self) -> Encoding | None:
        """How all planes are stored, if that is known."""
        return self.whole.encoding if isinstance(self.whole, Copyable) else None

    def read_encoded(self, plane: int) -> EncodedPlane:
        """Read the segments of a plane without decoding them."""
        if not isinstance(self.whole, Copyable):
            raise TypeError(f"{type(self.whole).__name__} cannot hand out encoded planes")
        return self.whole.read_encoded(self.start + plane)
