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
from catnip2bids.volume import FileRange

Array = npt.NDArray[Any]

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
class SegmentFormat:
    """How the pixels of one image are divided into segments, strips or tiles, and encoded: values of the tags."""

    compression: int
    predictor: int = 1
    rows_per_strip: int | None = None
    tile: tuple[int, int] | None = None  # rows and columns


@dataclass(frozen=True)
class EncodedImage:
    """The encoded pixels of a plane, or of one of its lower levels."""

    shape: tuple[int, int]
    segments: SegmentFormat
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
        """Return the block of a plane, in pieces.

        Parameters
        ----------
        levels
            The plane and its lower levels.
        at
            Offset of the block in the file.
        description
            The OME-XML for the first plane, else None.
        is_last
            Whether this is the last plane.

        Raises
        ------
        UsageError
            If the file becomes too large for a classic TIFF.
        """
        directories = [self._directory(level, index) for index, level in enumerate(levels)]
        if description is not None:
            directories[0].add(270, _ASCII, np.frombuffer(description.encode() + b"\0", np.uint8))
        if len(levels) > 1:
            directories[0].add(330, self._offset_type, np.zeros(len(levels) - 1, np.uint64))
        begins = [at]
        for directory in directories:
            begins.append(begins[-1] + directory.n_bytes)
        data_at = begins[-1] + _padding(levels[0], begins[-1])
        padding = bytes(data_at - begins[-1])
        data_end = data_at + sum(int(level.counts.sum()) for level in levels)
        end = data_end + data_end % 2
        if not self.big and (end > _CLASSIC_BYTES or (end == _CLASSIC_BYTES and not is_last)):
            raise UsageError("more than 4 GiB do not fit into a classic TIFF (.ome.tif); name the image .ome.btf")
        for directory, level in zip(directories, levels, strict=True):
            starts = np.concatenate((np.zeros(1, np.uint64), np.cumsum(level.counts)[:-1].astype(np.uint64)))
            directory.set(273 if level.segments.tile is None else 324, starts + np.uint64(data_at))
            data_at += int(level.counts.sum())
        if len(levels) > 1:
            directories[0].set(330, np.array(begins[1:-1], np.uint64))
        pieces: list[bytes | FileRange] = [
            directory.to_bytes(begin, 0 if is_last or index else end)
            for index, (directory, begin) in enumerate(zip(directories, begins, strict=False))
        ]
        pieces += [padding, *(piece for level in levels for piece in level.data)]
        return [*pieces, bytes(end - data_end)]

    @property
    def _offset_type(self) -> int:
        return _LONG8 if self.big else _LONG

    def _directory(self, image: EncodedImage, index: int) -> _Directory:
        (n_rows, n_columns), segments, dtype = image.shape, image.segments, np.dtype(self.dtype)
        directory = _Directory(self)
        directory.add(254, _LONG, [_REDUCED_IMAGE if index else 0])
        directory.add(256, _LONG, [n_columns])
        directory.add(257, _LONG, [n_rows])
        directory.add(258, _SHORT, [bits_per_value(self.dtype)])
        directory.add(259, _SHORT, [segments.compression])
        directory.add(262, _SHORT, [1])  # BlackIsZero
        directory.add(277, _SHORT, [1])
        for tag, size_um in zip((283, 282), self.pixel_size_um, strict=True):
            directory.add(tag, _RATIONAL, _rational(_UM_PER_CM / (size_um * 2**index)))
        directory.add(284, _SHORT, [1])
        directory.add(296, _SHORT, [_CENTIMETER])
        directory.add(305, _ASCII, np.frombuffer(f"catnip2bids {__version__}\0".encode(), np.uint8))
        if segments.predictor != 1:
            directory.add(317, _SHORT, [segments.predictor])
        offsets = np.zeros(len(image.counts), np.uint64)
        count_type = _LONG8 if int(image.counts.max()) >= 2**32 else _LONG  # which is refused in a classic TIFF
        if segments.tile is None:
            directory.add(273, self._offset_type, offsets)
            directory.add(278, _LONG, [segments.rows_per_strip or n_rows])
            directory.add(279, count_type, image.counts)
        else:
            directory.add(322, _LONG, [segments.tile[1]])
            directory.add(323, _LONG, [segments.tile[0]])
            directory.add(324, self._offset_type, offsets)
            directory.add(325, count_type, image.counts)
        directory.add(339, _SHORT, [_SAMPLE_FORMATS[dtype.kind]])
        return directory


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


class _Directory:
    """One directory: its tags, followed by the values that do not fit into the entries."""

    def __init__(self, format_: TiffFormat) -> None:
        self._format = format_
        self._tags: dict[int, tuple[int, Array]] = {}

    def add(self, tag: int, kind: int, values: Any) -> None:
        """Add a tag; raises ValueError if its type cannot hold the values."""
        self._tags[tag] = kind, _cast(np.asarray(values), kind)

    def set(self, tag: int, values: Array) -> None:
        """Replace the values of a tag by equally many others."""
        kind, before = self._tags[tag]
        if len(values) != len(before):
            raise ValueError(f"tag {tag} has {len(before)} values")
        self._tags[tag] = kind, _cast(values, kind)

    @property
    def n_bytes(self) -> int:
        """Bytes of the directory, including the values that follow it."""
        return self._n_entry_bytes + sum(
            _even(n) for _, values in self._tags.values() if (n := values.nbytes) > self._entry_capacity
        )

    @property
    def _entry_capacity(self) -> int:
        """Bytes of values that fit into an entry."""
        return 8 if self._format.big else 4

    @property
    def _n_entry_bytes(self) -> int:
        return 8 + 20 * len(self._tags) + 8 if self._format.big else 2 + 12 * len(self._tags) + 4

    def to_bytes(self, at: int, following: int) -> bytes:
        """Return the bytes of the directory at offset `at`; `following` is the offset of the next one, or 0."""
        order, big = self._format.byte_order, self._format.big
        entries = [struct.pack(f"{order}{'Q' if big else 'H'}", len(self._tags))]
        outside: list[bytes] = []
        outside_at = at + self._n_entry_bytes
        offsets: dict[int, int] = {}
        # texts first: some readers search only the first bytes for OME-XML
        for tag in sorted(self._tags, key=lambda tag: (self._tags[tag][0] != _ASCII, tag)):
            values = self._tags[tag][1]
            if values.nbytes > self._entry_capacity:
                data = values.astype(values.dtype.newbyteorder(order)).tobytes()
                offsets[tag] = outside_at
                outside.append(data + bytes(len(data) % 2))
                outside_at += len(outside[-1])
        for tag in sorted(self._tags):
            kind, values = self._tags[tag]
            n_values = len(values) // 2 if kind == _RATIONAL else len(values)
            entries.append(struct.pack(f"{order}HH{'Q' if big else 'I'}", tag, kind, n_values))
            if tag in offsets:
                entries.append(struct.pack(f"{order}{'Q' if big else 'I'}", offsets[tag]))
            else:
                entries.append(
                    values.astype(values.dtype.newbyteorder(order)).tobytes().ljust(self._entry_capacity, b"\0")
                )
        entries.append(struct.pack(f"{order}{'Q' if big else 'I'}", following))
        return b"".join(entries + outside)


def _cast(values: Array, kind: int) -> Array:
    cast = values.astype(_DTYPES[kind])
    if not np.array_equal(cast, values):
        raise ValueError(f"values do not fit into the type {kind} of a tag")
    return cast


def _even(n: int) -> int:
    return n + n % 2
