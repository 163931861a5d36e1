"""Planes that can only be decoded as a whole, kept until all their rows were taken: in memory if there is room.

Invariant: what comes out is what was put in. Nothing is left on disk, however the program ends: the file has no name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from catnip2bids.volume import OpenPlane
from catnip2bids.volume.unnamed_file import UnnamedFile

Array = npt.NDArray[Any]


class Spool:
    """Room for some planes.

    Parameters
    ----------
    n_planes, shape, dtype
        Number of planes, and rows, columns and type of each.
    folder
        Where there is room on disk; None to keep the planes in memory.
    """

    def __init__(self, n_planes: int, shape: tuple[int, int], dtype: np.dtype[Any], folder: Path | None) -> None:
        self._shape, self._dtype = shape, dtype
        self._memory = np.empty((n_planes, *shape), dtype) if folder is None else None
        self._file = None if folder is None else UnnamedFile(folder)

    def fill(self, index: int, plane: OpenPlane) -> OpenPlane:
        """Decode a plane and keep it; returns it as one whose rows can be read."""
        pixels = np.empty(self._shape, self._dtype) if self._memory is None else self._memory[index]
        plane.read_rows(0, self._shape[0], pixels)
        if self._file is not None:
            self._file.write(pixels.reshape(-1).view(np.uint8).data, self._place(index))
        return SpooledPlane(self, index)

    def read_rows(self, index: int, start: int, stop: int, out: Array) -> None:
        """Copy the rows `start` to `stop` (exclusive) of a plane into `out`."""
        if self._memory is not None:
            out[...] = self._memory[index, start:stop]
        elif self._file is not None:
            self._file.read_into(out.reshape(-1).view(np.uint8).data, self._place(index, start))

    def close(self) -> None:
        """Free the room."""
        self._memory = None
        if self._file is not None:
            self._file.close()

    def _place(self, index: int, row: int = 0) -> int:
        """Return where a row of a plane begins in the file."""
        return (index * self._shape[0] + row) * self._shape[1] * self._dtype.itemsize


@dataclass(frozen=True)
class SpooledPlane:
    """A plane in a spool."""

    spool: Spool
    index: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: Array) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        self.spool.read_rows(self.index, start, stop, out)

    def close(self) -> None:
        """Do nothing: the spool is closed as a whole."""
