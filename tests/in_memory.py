"""A volume in memory that counts what is read of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from catnip2bids.errors import SourceError
from catnip2bids.volume import OpenPlane, PlaneSource, ReadCost
from made_up import Array


@dataclass(frozen=True)
class PlaneInMemory:
    """A plane that counts how often each of its rows was read, and may be broken."""

    rows: Array
    plane: int
    reads: Counter[tuple[int, int]]
    broken: bool = False
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: Array) -> None:
        if self.broken:
            raise SourceError(f"plane {self.plane}: is broken")
        self.reads.update((self.plane, row) for row in range(start, stop))
        out[...] = self.rows[start:stop]

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class VolumeInMemory:
    """A volume that counts how often each row of its planes was read; some planes may be broken."""

    planes: Array
    reads: Counter[tuple[int, int]] = field(default_factory=Counter)
    broken: frozenset[int] = frozenset()
    reads_rows: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        z, y, x = self.planes.shape
        return (z, y, x)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.planes.dtype

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    @property
    def read_cost(self) -> ReadCost:
        decoding_bytes = 0 if self.reads_rows else 2 * self.planes[0].nbytes
        return ReadCost(self.reads_rows, open_bytes=self.planes[0, :64].nbytes, decoding_bytes=decoding_bytes)

    def plane_source(self, plane: int) -> PlaneSource:
        return PlaneSource(Path("memory"), plane)

    def open_plane(self, plane: int) -> OpenPlane:
        return PlaneInMemory(self.planes[plane], plane, self.reads, plane in self.broken)

    @property
    def planes_read(self) -> set[int]:
        """The planes of which anything was read."""
        return {plane for plane, _ in list(self.reads)}  # other threads read on meanwhile
