"""Room for values that were decoded and not asked for yet: in memory, or in a file without a name.

Invariant: what comes out is what was put in.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.volume.unnamed_file import UnnamedFile


class Room(Protocol):
    """Room for the values of a layer."""

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes."""

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""

    def close(self) -> None:
        """Free the room."""


class MemoryRoom:
    """Room in memory."""

    def __init__(self, n_values: int, dtype: np.dtype[Any]) -> None:
        self._values: npt.NDArray[Any] = np.empty(n_values, dtype)

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes."""
        return self._values.nbytes

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""
        self._values[at : at + len(values)] = values

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""
        return self._values[at : at + n_values]

    def close(self) -> None:
        """Do nothing: nobody refers to it any more."""


class FileRoom:
    """Room on disk, in the system's folder for temporary files."""

    memory_bytes: ClassVar[int] = 0

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype, self._file = dtype, UnnamedFile()

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""
        self._file.write(values.view(np.uint8).data, at * self._dtype.itemsize)

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""
        values = np.empty(n_values, self._dtype)
        self._file.read_into(values.view(np.uint8).data, at * self._dtype.itemsize)
        return values

    def close(self) -> None:
        """Free the room."""
        self._file.close()
