"""The bytes of an OME-TIFF: a header, then one block per plane with its directories, its pixels and its lower levels.

Invariant: a block contains its own offset and that of the next one, so the file only grows at its end, and can be
continued after any complete block. Directories list their tags in ascending order (TIFF 6.0; BigTIFF design of 2007;
sub-resolutions as in the OME-TIFF specification).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catnip2bids._version import __version__
from catnip2bids.errors import UsageError
from catnip2bids.volume import Encoding, FileRange

Array = npt.NDArray[Any]
Tags = dict[int, tuple[int, Array]]
"""Type and values of the tags of a directory, by their numbers."""

_SHORT, _LONG, _RATIONAL, _ASCII, _LONG8 = 3, 4, 5, 2, 16
_DTYPES = {_SHORT: "u2", _LONG: "u4", _RATIONAL: "u4", _ASCII: "u1", _LONG8: "u8"}
_CENTIMETER = 3
_UM_PER_CM = 10_000
_REDUCED_IMAGE = 1
_SAMPLE_FORMATS = {"b": 1, "u": 1, "i": 2, "f": 3}
_CLASSIC_BYTES = 2**32
_PAGE_BYTES = 4096
_WORTH_PADDING = 2**20
"""Planes of at least this size are padded to the same position in a page as in their source: at most 0.4 % more."""


def bits_per_value(dtype: str) -> int:
    """Return the bits of a value in a file: one for bool (TIFF 6.0, section 3)."""
    return 1 if dtype == "bool" else 8 * np.dtype(dtype).itemsize


@dataclass(frozen=True)
class EncodedImage:
    """The encoded pixels of a plane, or of one of its lower levels."""

    shape: tuple[int, int]
    encoding: Encoding
    counts: npt.NDArray[np.uint64]  # bytes of each segment
    data: Sequence[bytes | FileRange]  # all segments in order


@dataclass(frozen=True)
class TiffFormat:
    """The properties that all directories of a file share."""

    big: bool  # BigTIFF
    byte_order: Literal["<", ">"]  # of directories and pixels
    dtype: str
    pixel_size_um: tuple[float, float]  # y, x

    @property
    def header(self) -> bytes:
        """The first bytes of the file, followed by the first block."""
        letters = b"II" if self.byte_order == "<" else b"MM"
        if self.big:
            return letters + struct.pack(f"{self.byte_order}HHHQ", 43, 8, 0, 16)
        return letters + struct.pack(f"{self.byte_order}HI", 42, 8)

    def block(
        self, levels: Sequence[EncodedImage], at: int, description: str | None, *, is_last: bool
    ) -> list[bytes | FileRange]:
        """Return the block of a plane and its lower levels at offset `at`, in pieces.

        The first plane has the OME-XML as its description. Raises UsageError if the file becomes too large for a
        classic TIFF.
        """
        directories = [self._tags(level, index) for index, level in enumerate(levels)]
        if description is not None:
            directories[0][270] = _tag(_ASCII, np.frombuffer(description.encode() + b"\0", np.uint8))
        if len(levels) > 1:
            directories[0][330] = _tag(self._offset_type, np.zeros(len(levels) - 1, np.uint64))
        begins = [at]
        for tags in directories:
            begins.append(begins[-1] + self._n_bytes(tags))
        data_at = begins[-1] + _padding(levels[0], begins[-1])
        padding = bytes(data_at - begins[-1])
        data_end = data_at + sum(int(level.counts.sum()) for level in levels)
        end = data_end + data_end % 2
        if not self.big and (end > _CLASSIC_BYTES or (end == _CLASSIC_BYTES and not is_last)):
            raise UsageError("more than 4 GiB do not fit into a classic TIFF (.ome.tif); name the image .ome.btf")
        for tags, level in zip(directories, levels, strict=True):
            starts = np.concatenate((np.zeros(1, np.uint64), np.cumsum(level.counts)[:-1].astype(np.uint64)))
            tags[273 if level.encoding.tile is None else 324] = _tag(self._offset_type, starts + np.uint64(data_at))
            data_at += int(level.counts.sum())
        if len(levels) > 1:
            directories[0][330] = _tag(self._offset_type, np.array(begins[1:-1], np.uint64))
        pieces: list[bytes | FileRange] = [
            self._directory(tags, begin, 0 if is_last or index else end)
            for index, (tags, begin) in enumerate(zip(directories, begins, strict=False))
        ]
        pieces += [padding, *(piece for level in levels for piece in level.data)]
        return [*pieces, bytes(end - data_end)]

    @property
    def _offset_type(self) -> int:
        return _LONG8 if self.big else _LONG

    def _tags(self, image: EncodedImage, index: int) -> Tags:
        """Return the tags of a level of a plane; the offsets of its segments are still 0."""
        (n_rows, n_columns), encoding, dtype = image.shape, image.encoding, np.dtype(self.dtype)
        tags = {
            254: _tag(_LONG, [_REDUCED_IMAGE if index else 0]),
            256: _tag(_LONG, [n_columns]),
            257: _tag(_LONG, [n_rows]),
            258: _tag(_SHORT, [bits_per_value(self.dtype)]),
            259: _tag(_SHORT, [encoding.compression]),
            262: _tag(_SHORT, [1]),  # BlackIsZero
            277: _tag(_SHORT, [1]),
            284: _tag(_SHORT, [1]),
            296: _tag(_SHORT, [_CENTIMETER]),
            305: _tag(_ASCII, np.frombuffer(f"catnip2bids {__version__}\0".encode(), np.uint8)),
            339: _tag(_SHORT, [_SAMPLE_FORMATS[dtype.kind]]),
        }
        for tag, size_um in zip((283, 282), self.pixel_size_um, strict=True):
            tags[tag] = _tag(_RATIONAL, _rational(_UM_PER_CM / (size_um * 2**index)))
        if encoding.predictor != 1:
            tags[317] = _tag(_SHORT, [encoding.predictor])
        offsets = _tag(self._offset_type, np.zeros(len(image.counts), np.uint64))
        count_type = _LONG8 if int(image.counts.max()) >= 2**32 else _LONG  # which is refused in a classic TIFF
        counts = _tag(count_type, image.counts)
        if encoding.tile is None:
            return tags | {273: offsets, 278: _tag(_LONG, [encoding.rows_per_strip or n_rows]), 279: counts}
        n_tile_rows, n_tile_columns = encoding.tile
        return tags | {322: _tag(_LONG, [n_tile_columns]), 323: _tag(_LONG, [n_tile_rows]), 324: offsets, 325: counts}

    @property
    def _entry_capacity(self) -> int:
        """Bytes of values that fit into an entry of a directory; others follow the directory."""
        return 8 if self.big else 4

    def _n_entry_bytes(self, tags: Tags) -> int:
        return 8 + 20 * len(tags) + 8 if self.big else 2 + 12 * len(tags) + 4

    def _n_bytes(self, tags: Tags) -> int:
        """Return the bytes of a directory, including the values that follow it."""
        outside = (values.nbytes for _, values in tags.values() if values.nbytes > self._entry_capacity)
        return self._n_entry_bytes(tags) + sum(n + n % 2 for n in outside)

    def _directory(self, tags: Tags, at: int, following: int) -> bytes:
        """Return the bytes of the directory at offset `at`; `following` is the offset of the next one, or 0."""
        order, offset_format = self.byte_order, f"{self.byte_order}{'Q' if self.big else 'I'}"
        stored = {tag: values.astype(values.dtype.newbyteorder(order)).tobytes() for tag, (_, values) in tags.items()}
        outside: list[bytes] = []
        outside_at = at + self._n_entry_bytes(tags)
        # texts first: some readers search only the first bytes for OME-XML
        for tag in sorted(tags, key=lambda tag: (tags[tag][0] != _ASCII, tag)):
            data = stored[tag]
            if len(data) > self._entry_capacity:
                stored[tag] = struct.pack(offset_format, outside_at)
                outside.append(data + bytes(len(data) % 2))
                outside_at += len(outside[-1])
        entries = [struct.pack(f"{order}{'Q' if self.big else 'H'}", len(tags))]
        for tag, (kind, values) in sorted(tags.items()):
            n_values = len(values) // 2 if kind == _RATIONAL else len(values)
            entries.append(struct.pack(f"{order}HH{'Q' if self.big else 'I'}", tag, kind, n_values))
            entries.append(stored[tag].ljust(self._entry_capacity, b"\0"))
        entries.append(struct.pack(offset_format, following))
        return b"".join(entries + outside)


def _padding(image: EncodedImage, at: int) -> int:
    """Return the bytes of padding with which the system copies whole pages, in two thirds of the time."""
    first = image.data[0] if image.data else b""
    if not isinstance(first, FileRange) or len(first) < _WORTH_PADDING:
        return 0
    return (first.offset - at) % _PAGE_BYTES


def _rational(value: float) -> list[int]:
    """Return a number as numerator and denominator of 32 bits."""
    denominator = 1
    while (
        value * denominator * 10 < 2**32 and denominator < 10**6 and round(value * denominator) != value * denominator
    ):
        denominator *= 10
    return [min(round(value * denominator), 2**32 - 1), denominator]


def _tag(kind: int, values: npt.ArrayLike) -> tuple[int, Array]:
    """Return type and values of a tag; raises ValueError if the type cannot hold the values."""
    given = np.asarray(values)
    cast = given.astype(_DTYPES[kind])
    if not np.array_equal(cast, given):
        raise ValueError(f"values do not fit into the type {kind} of a tag")
    return kind, cast
