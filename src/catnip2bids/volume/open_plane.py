"""One opened plane: any range of its rows can be read, as often as wanted, without reading the rest.

Invariant: rows come out exactly as they are stored, in native byte order, and a strip that is damaged, too short or
too long is an error that names the file. An opened plane is used by one thread at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.errors import ReadError, SourceError


class OpenPlane(Protocol):
    """A plane that is ready to be read."""

    @property
    def reads_rows(self) -> bool:
        """Whether consecutive rows are decoded once; if not, each reading decodes the whole plane."""

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True)
class WholePlane:
    """A plane that can only be decoded as a whole; rows are cut out of it each time."""

    decode: Callable[[], npt.NDArray[Any]]
    reads_rows: ClassVar[bool] = False

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        out[...] = self.decode()[start:stop]

    def close(self) -> None:
        """Do nothing: the file is open only while it is decoded."""


@dataclass
class StripPlane:
    """A plane of TIFF strips of whole rows, uncompressed or compressed with Deflate.

    A strip of which only the first rows were wanted is kept for the next ones, so that reading row after row decodes
    each strip once.
    """

    path: Path
    where: str  # names the plane in errors
    descriptor: int | None  # None if the file is opened for each reading
    # position and size of each strip
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    # rows and columns; the type as stored, with its byte order
    shape: tuple[int, int]
    stored: np.dtype[Any]
    rows_per_strip: int  # the last strip may have fewer
    deflated: bool
    reads_rows: ClassVar[bool] = True
    _kept: tuple[int, npt.NDArray[Any]] | None = field(default=None, init=False, repr=False)

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        if self.deflated:
            self._read_deflated(start, stop, out)
        else:
            self._read_stored(start, stop, out)
        if self.stored.byteorder == ">" and self.stored.itemsize > 1:
            out.byteswap(inplace=True)

    def close(self) -> None:
        """Close the file."""
        if self.descriptor is not None:
            os.close(self.descriptor)

    def _read_stored(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read rows of uncompressed strips; the position of each row can be computed."""
        row_bytes, done = self.shape[1] * self.stored.itemsize, start
        flat = out.reshape(-1).view(np.uint8)
        while done < stop:
            strip, skipped = divmod(done, self.rows_per_strip)
            n_rows = min(stop - done, self.rows_per_strip - skipped)
            data = self._exactly(self.offsets[strip] + skipped * row_bytes, n_rows * row_bytes)
            at = (done - start) * row_bytes
            flat[at : at + len(data)] = np.frombuffer(data, np.uint8)
            done += n_rows

    def _read_deflated(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read rows of compressed strips."""
        first, last = start // self.rows_per_strip, (stop - 1) // self.rows_per_strip
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == first:
            self._cut_out(*kept, start, stop, out)
            first += 1
        compressed = self._read_strips(first, last)
        for strip in range(first, last + 1):
            top = strip * self.rows_per_strip
            bottom = min(top + self.rows_per_strip, self.shape[0])
            if start <= top and bottom <= stop:
                self._decode(strip, compressed[strip - first], out[top - start : bottom - start])
            else:
                rows = np.empty((bottom - top, self.shape[1]), out.dtype)
                self._decode(strip, compressed[strip - first], rows)
                self._cut_out(strip, rows, start, stop, out)

    def _cut_out(self, strip: int, rows: npt.NDArray[Any], start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Copy the wanted rows of a strip, and keep the strip if later rows are still to be read."""
        top = strip * self.rows_per_strip
        low, high = max(start, top), min(stop, top + len(rows))
        out[low - start : high - start] = rows[low - top : high - top]
        if high < top + len(rows):
            self._kept = (strip, rows)

    def _read_strips(self, first: int, last: int) -> list[memoryview]:
        """Read strips with one call if they lie together, as they nearly always do."""
        offsets, counts = self.offsets[first : last + 1], self.counts[first : last + 1]
        if not offsets:
            return []
        begin, n_bytes = min(offsets), sum(counts)
        span = max(offset + count for offset, count in zip(offsets, counts, strict=True)) - begin
        if span > 2 * n_bytes:
            return [memoryview(self._exactly(o, c)) for o, c in zip(offsets, counts, strict=True)]
        data = memoryview(self._exactly(begin, span))
        return [data[o - begin : o - begin + c] for o, c in zip(offsets, counts, strict=True)]

    def _decode(self, strip: int, data: memoryview, rows: npt.NDArray[Any]) -> None:
        try:
            flat = rows.reshape(-1).view(np.uint8)
            decoded = imagecodecs.deflate_decode(data, out=flat)  # type: ignore[arg-type]  # any buffers will do
        except RuntimeError as error:
            raise SourceError(
                f"{self.where}damaged TIFF (strip {strip + 1}: {error}); replace it by the original"
            ) from error
        if len(decoded) != rows.nbytes:
            raise SourceError(f"{self.where}strip {strip + 1} is too short; replace it by the original")

    def _exactly(self, offset: int, n_bytes: int) -> bytes:
        try:
            if self.descriptor is not None:
                data = os.pread(self.descriptor, n_bytes, offset)
            else:
                with self.path.open("rb", buffering=0) as file:
                    data = os.pread(file.fileno(), n_bytes, offset)
        except OSError as error:
            raise ReadError(f"{self.path}: cannot be read: {error.strerror}; make it readable and run again") from error
        if len(data) != n_bytes:
            raise SourceError(f"{self.where}is cut off; replace it by the original")
        return data
