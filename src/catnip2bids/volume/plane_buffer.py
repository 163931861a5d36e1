"""A buffer for decoded pixels, in memory or in an unnamed temporary file.

Invariant: nothing is left on disk, however the program ends.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from catnip2bids.atomic_write import write_error
from catnip2bids.errors import SourceError, WriteError
from catnip2bids.volume.positioned_io import read_at, write_at

Array = npt.NDArray[Any]


class PlaneBuffer:
    """A one-dimensional array of values, in memory or on disk.

    The file is in `folder`, or else in the system's folder for temporary files. If it cannot be written, creating the
    buffer, `fill` and `put` raise WriteError.
    """

    def __init__(self, n_values: int, dtype: np.dtype[Any], *, in_memory: bool, folder: Path | None = None) -> None:
        self._dtype, self._folder = dtype, folder
        self._values: Array | None = np.empty(n_values, dtype) if in_memory else None
        self._file = None if in_memory else self._opened()
        if self._file is not None:
            self._close = weakref.finalize(self, self._file.close)

    @property
    def memory_bytes(self) -> int:
        """Memory of the values; 0 on disk."""
        return 0 if self._values is None else self._values.nbytes

    def fill(self, start: int, n_values: int, read: Callable[[Array], None]) -> None:
        """Let `read` write the values `start` to `start + n_values` into the array that it is given."""
        if self._values is not None:
            read(self._values[start : start + n_values])
            return
        values = np.empty(n_values, self._dtype)
        read(values)
        with self._writing():
            write_at(self._descriptor, values.view(np.uint8).data, start * self._dtype.itemsize)

    def put(self, start: int, values: Array) -> None:
        """Store values from number `start` on."""
        self.fill(start, len(values), lambda out: np.copyto(out, values))

    def get(self, start: int, n_values: int) -> Array:
        """Return the values `start` to `start + n_values`."""
        if self._values is not None:
            return self._values[start : start + n_values]
        values = np.empty(n_values, self._dtype)
        data = values.view(np.uint8).data
        if read_at(self._descriptor, data, start * self._dtype.itemsize) < len(data):
            raise SourceError(f"{self._place}: temporary data disappeared; run again")
        return values

    def close(self) -> None:
        """Free the memory or the disk space."""
        self._values = None
        if self._file is not None:
            self._close()

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise ValueError("the buffer is closed")
        return self._file.fileno()

    @property
    def _place(self) -> Path:
        return Path(tempfile.gettempdir()) if self._folder is None else self._folder

    def _opened(self) -> IO[bytes]:
        with self._writing():
            return tempfile.TemporaryFile(buffering=0, dir=self._place)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn an error of the system into one that names the folder."""
        try:
            yield
        except OSError as error:
            if self._folder is not None:
                raise write_error(self._folder, error) from error
            remedy = "free space, or set TMPDIR to another folder, and run again"
            raise WriteError(f"{self._place}: cannot be written: {error.strerror}; {remedy}") from error
