"""Arrays of zarr v2 and v3, opened with tensorstore."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import ReadError, SourceError
from catnip2bids.volume.zarr.chunk_grid import ChunkGrid, read_chunk_grid

_MOST_CHUNKS_AT_ONCE = 2**16
"""Reading more of them with one call takes more memory for their bookkeeping than for pixels."""
_one_thread = Event()


@dataclass(frozen=True)
class ZarrArray:
    """An array of an image."""

    grid: ChunkGrid
    _array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each axis."""
        return self.grid.shape

    @property
    def dtype(self) -> Any:
        """Type of the values, as tensorstore has it."""
        return self._array.dtype

    @property
    def fill_value(self) -> Any:
        """The value of chunks that are not stored."""
        return self._array.fill_value

    def read(self, part: Sequence[slice | int | list[int]] = ()) -> npt.NDArray[Any]:
        """Read all or a part of the array, and decode each chunk once.

        A number instead of a slice removes its axis; a list of numbers selects elements.

        Raises whatever tensorstore raises on damaged chunks, and ValueError if chunks are too many, or take more memory
        than they should.
        """
        part = tuple(part) or (slice(None),) * len(self.shape)
        region = [_span(at, n) for at, n in zip(part, self.shape, strict=True)]
        n_chunks = math.prod(
            math.ceil(one.stop / n) - one.start // n for one, n in zip(region, self.grid.chunk_shape, strict=True)
        )
        if n_chunks > _MOST_CHUNKS_AT_ONCE:
            raise ValueError(f"its chunks are too small: {n_chunks:,} would be read at a time")
        self.grid.check_chunks(region)
        return np.asarray(self._array[part].read(order="C").result())


def _span(at: slice | int | list[int], n: int) -> slice:
    """Return the slice of an axis of `n` elements that has all that is read."""
    if isinstance(at, slice):
        return slice(*at.indices(n))
    numbers = at if isinstance(at, list) else [at]
    return slice(min(numbers), max(numbers) + 1)


def open_array(path: Path, level: str) -> ZarrArray:
    """Open the array of a level of an image."""
    import tensorstore as ts

    grid = read_chunk_grid(path, level)
    driver = "zarr3" if (grid.folder / "zarr.json").is_file() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": os.path.realpath(grid.folder)}}  # it refuses ..
    try:
        return ZarrArray(grid, ts.open(spec, open=True, read=True, context=_context()).result())
    except Exception as error:
        raise as_source_error(error, path, f"its array {level}") from error


def decode_in_one_thread() -> None:
    """Decode in one thread from now on: for a worker process, beside which others use the other processors."""
    _one_thread.set()


@cache
def _context() -> Any:
    """Return a context without a cache: decoded chunks are kept in a `SlabCache`."""
    import tensorstore as ts

    spec: dict[str, Any] = {"cache_pool": {"total_bytes_limit": 0}}
    if _one_thread.is_set():
        spec |= {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}
    return ts.Context(spec)


def os_error_in(error: Exception) -> OSError | None:
    """Return the error of the system that an error of tensorstore reports, if any."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else None


def as_source_error(error: Exception, image: Path, what: str) -> SourceError:
    """Say what tensorstore found in an image, with paths of files below it."""
    if isinstance(error, SourceError):
        return error
    if system_error := os_error_in(error):
        return ReadError(f"{image}: {what} cannot be read: {system_error.strerror}; make it readable and run again")
    why = str(error).partition(" [")[0]  # what follows is of use to tensorstore's developers
    why = why.replace(f"{os.path.realpath(image)}/", "")
    return SourceError(f"{image}: {what} cannot be read ({why}); replace it by the original")
