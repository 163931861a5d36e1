"""Room for values that were decoded and not asked for yet: in memory, or in a file without a name.

Invariant: what comes out is what was put in, and nothing is left on disk, however the program ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import IO, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError, WriteError


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
    """Room on disk, in a file without a name in the system's folder for temporary files."""

    memory_bytes: ClassVar[int] = 0

    def __init__(self, dtype: np.dtype[Any]) -> None:
        file = _file_without_name()
        self._dtype, self._file = dtype, file
        self._close = weakref.finalize(self, file.close)

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""
        data, place = values.view(np.uint8).data, at * self._dtype.itemsize
        try:
            while len(data):
                n_written = os.pwrite(self._file.fileno(), data, place)
                data, place = data[n_written:], place + n_written
        except OSError as error:
            raise _cannot_write(error) from error

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""
        values = np.empty(n_values, self._dtype)
        data, place = values.view(np.uint8).data, at * self._dtype.itemsize
        while len(data):
            n_read = os.preadv(self._file.fileno(), [data], place)
            if n_read == 0:
                raise SourceError(f"{tempfile.gettempdir()}: what was kept there for a while is gone; run again")
            data, place = data[n_read:], place + n_read
        return values

    def close(self) -> None:
        """Free the room."""
        self._close()


def _file_without_name() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise _cannot_write(error) from error


def _cannot_write(error: OSError) -> WriteError:
    return WriteError(
        f"{tempfile.gettempdir()}: cannot be written: {error.strerror}; free space, or set TMPDIR to another folder, "
        "and run again"
    )
