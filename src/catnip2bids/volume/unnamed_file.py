"""Bytes that have no room in memory, in a file without a name.

Invariant: what comes out is what was put in, and nothing is left on disk, however the program ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import IO

from catnip2bids.errors import SourceError, WriteError
from catnip2bids.publish import write_error


class UnnamedFile:
    """A file that nobody else can open; it is gone when it is closed, or not referred to any more.

    Parameters
    ----------
    folder
        Where there is room for it; the system's folder for temporary files if None.

    Raises
    ------
    WriteError
        If the folder cannot be written; `write` raises it, too.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._is_temporary = folder is None
        self._file = self._opened()
        self._close = weakref.finalize(self, self._file.close)

    def write(self, data: memoryview, at: int) -> None:
        """Write bytes to a place."""
        try:
            while len(data):
                n_written = os.pwrite(self._file.fileno(), data, at)
                data, at = data[n_written:], at + n_written
        except OSError as error:
            raise self._not_written(error) from error

    def read_into(self, data: memoryview, at: int) -> None:
        """Fill `data` with the bytes of a place.

        Raises
        ------
        SourceError
            If they are not there any more.
        """
        while len(data):
            n_read = os.preadv(self._file.fileno(), [data], at)
            if n_read == 0:
                raise SourceError(f"{self._folder}: what was kept there for a while is gone; run again")
            data, at = data[n_read:], at + n_read

    def close(self) -> None:
        """Give the room back."""
        self._close()

    def _opened(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(buffering=0, dir=self._folder)
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> WriteError:
        if not self._is_temporary:
            return write_error(self._folder, error)
        remedy = "free space, or set TMPDIR to another folder, and run again"
        return WriteError(f"{self._folder}: cannot be written: {error.strerror}; {remedy}")
