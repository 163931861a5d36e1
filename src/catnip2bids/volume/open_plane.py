"""One opened plane: any range of its rows can be read, as often as wanted, without reading the rest.

Invariant: rows come out exactly as they are stored, in native byte order, and a strip that is damaged, too short or
too long is an error that names the file. An opened plane is used by one thread at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from typing import Any, ClassVar, Protocol

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.errors import ReadError, SourceError, unreadable
from catnip2bids.volume.positioned_io import read_at

_FEW_BYTES = 1024
"""zlib-ng decodes strips of at most so many compressed bytes up to ten times as fast as libdeflate."""
_decode_few_bytes = imagecodecs.zlibng_decode if imagecodecs.ZLIBNG.available else imagecodecs.zlib_decode


class OpenPlane(Protocol):
    """A plane that is ready to be read."""

    @property
    def reads_rows(self) -> bool:
        """Whether reading consecutive rows decodes each of them once; if not, each read decodes the whole plane."""

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""

    def close(self) -> None:
        """Close the file."""


def bands_of(plane: OpenPlane, shape: tuple[int, int], dtype: np.dtype[Any], height: int) -> Iterator[npt.NDArray[Any]]:
    """Yield a plane of a shape (y, x) in bands of `height` rows; each is overwritten by the next one."""
    n_rows, n_columns = shape
    n_decoded = min(height, n_rows) if plane.reads_rows else n_rows
    buffer = np.empty((n_decoded, n_columns), dtype)
    for top in range(0, n_rows, max(n_decoded, 1)):
        rows = buffer[: n_rows - top]
        plane.read_rows(top, top + len(rows), rows)
        for first in range(0, len(rows), height):
            yield rows[first : first + height]


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
    _kept: tuple[int, memoryview] | None = field(default=None, init=False, repr=False)

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        row_bytes = self.shape[1] * self.stored.itemsize
        read = self._read_deflated if self.deflated else self._read_stored
        read(start * row_bytes, stop * row_bytes, out.reshape(-1).view(np.uint8).data)
        if self.stored.byteorder == ">" and self.stored.itemsize > 1:
            out.byteswap(inplace=True)

    def close(self) -> None:
        """Close the file."""
        if self.descriptor is not None:
            os.close(self.descriptor)

    def _read_stored(self, begin: int, end: int, out: memoryview) -> None:
        """Read bytes of uncompressed strips, with one call for all that follow one another in the file."""
        size = self._strip_bytes
        while begin < end:
            strip, skipped = divmod(begin, size)
            next_strip = strip + 1
            while next_strip * size < end and self.offsets[next_strip] == self.offsets[next_strip - 1] + size:
                next_strip += 1
            n_bytes = min(next_strip * size, end) - begin
            self._fill(out[:n_bytes], self.offsets[strip] + skipped)
            begin, out = begin + n_bytes, out[n_bytes:]

    def _read_deflated(self, begin: int, end: int, out: memoryview) -> None:
        """Read decoded bytes of compressed strips."""
        size, plane_bytes = self._strip_bytes, self.shape[0] * self.shape[1] * self.stored.itemsize
        first, last = begin // size, (end - 1) // size
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == first:
            self._cut_out(*kept, begin, end, out)
            first += 1
        data_before: memoryview | None = None
        rows_before = out
        for strip, data in enumerate(self._read_strips(first, last), first):
            top, bottom = strip * size, min((strip + 1) * size, plane_bytes)
            if begin <= top and bottom <= end:
                rows = out[top - begin : bottom - begin]
                if data == data_before and len(rows) == len(rows_before):  # such as rows outside of the brain
                    rows[:] = rows_before
                    continue
                self._decode(strip, data, rows)
                data_before, rows_before = data, rows
            else:
                decoded = np.empty(bottom - top, np.uint8).data
                self._decode(strip, data, decoded)
                self._cut_out(strip, decoded, begin, end, out)

    def _cut_out(self, strip: int, decoded: memoryview, begin: int, end: int, out: memoryview) -> None:
        """Copy the wanted bytes of a strip, and keep the strip if later ones are still to be read."""
        top = strip * self._strip_bytes
        bottom = top + len(decoded)
        low, high = max(begin, top), min(end, bottom)
        out[low - begin : high - begin] = decoded[low - top : high - top]
        if high < bottom:
            self._kept = (strip, decoded)

    @property
    def _strip_bytes(self) -> int:
        """Decoded bytes of each strip; the last may have fewer."""
        return self.rows_per_strip * self.shape[1] * self.stored.itemsize

    def _read_strips(self, first: int, last: int) -> list[memoryview]:
        """Read strips with one call if they lie together, as they nearly always do."""
        offsets, counts = self.offsets[first : last + 1], self.counts[first : last + 1]
        if not offsets:
            return []
        begin, n_bytes = min(offsets), sum(counts)
        span = max(map(add, offsets, counts)) - begin
        if span > 2 * n_bytes:
            strips = [np.empty(count, np.uint8).data for count in counts]
            for strip, offset in zip(strips, offsets, strict=True):
                self._fill(strip, offset)
            return strips
        data = np.empty(span, np.uint8).data
        self._fill(data, begin)
        return [data[o - begin : o - begin + c] for o, c in zip(offsets, counts, strict=True)]

    def _decode(self, strip: int, data: memoryview, out: memoryview) -> None:
        if len(data) <= _FEW_BYTES:
            try:
                if len(_decode_few_bytes(data, out=out)) == len(out):  # type: ignore[arg-type]  # any buffer will do
                    return
            except RuntimeError:
                pass  # libdeflate decides, so that damage is found and named as in longer strips
        try:
            decoded = imagecodecs.deflate_decode(data, out=out)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise SourceError(
                f"{self.where}damaged TIFF (strip {strip + 1}: {error}); replace it by the original"
            ) from error
        if len(decoded) != len(out):
            raise SourceError(f"{self.where}strip {strip + 1} is too short; replace it by the original")

    def _fill(self, out: memoryview, offset: int) -> None:
        """Read bytes of the file, from a position on."""
        try:
            if self.descriptor is not None:
                n_read = read_at(self.descriptor, out, offset)
            else:
                with self.path.open("rb", buffering=0) as file:
                    n_read = read_at(file.fileno(), out, offset)
        except OSError as error:
            raise ReadError(unreadable(self.path, error)) from error
        if n_read != len(out):
            raise SourceError(f"{self.where}is cut off; replace it by the original")
