"""How an array of zarr v2 or v3 is cut into files and chunks.

Invariant: the memory that chunks take is known before anything is decoded: a chunk that would be decoded to more is
refused.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from catnip2bids.documents import refuse_special_file
from catnip2bids.formatting import format_bytes

MOST_CHUNK_BYTES = 32 * 2**20
"""The largest chunk that is decoded where nobody said how much memory there is: by `validate` and `report`."""
_OVERHEAD_BYTES = 2**16
_CHECKSUM_BYTES = 4
_INDEX_ENTRY_BYTES = 16
_NOT_STORED = 2**64 - 1
"""Offset and size of a chunk that is not in a shard (zarr v3, sharding codec, "Binary shard format")."""
_BLOSC_HEADER = struct.Struct("<4xI8x")
"""Of a Blosc frame: how many bytes it decodes to (c-blosc, README_CHUNK_FORMAT)."""

Place = tuple[int, ...]
Region = Sequence[slice]


@dataclass(frozen=True)
class ChunkGrid:
    """How an array is cut into files and chunks."""

    folder: Path
    # of the array, of the part of it in a file, and of a chunk; the last two are the same without shards
    shape: tuple[int, ...]
    file_shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    itemsize: int
    # parts of the paths of files below the array
    prefix: str
    separator: str
    index: str | None = None  # place of a shard's index, `start` or `end`; None without shards
    has_checksum: bool = False  # a crc32c of the index
    codec: str = ""  # names of the codecs that compress chunks, joined

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunk_shape) * self.itemsize

    @property
    def chunks_per_file(self) -> tuple[int, ...]:
        """Chunks along each axis of a shard."""
        return tuple(n // m for n, m in zip(self.file_shape, self.chunk_shape, strict=True))

    @property
    def index_bytes(self) -> int:
        """Bytes of the index of a shard."""
        return math.prod(self.chunks_per_file) * _INDEX_ENTRY_BYTES

    @property
    def n_chunks(self) -> int:
        """Chunks that have a part in the array."""
        return math.prod(self.chunks_along_axes)

    @property
    def chunks_along_axes(self) -> tuple[int, ...]:
        """Chunks along each axis of the array."""
        return tuple(math.ceil(n / m) for n, m in zip(self.shape, self.chunk_shape, strict=True))

    def place(self, file: str) -> Place | None:
        """Return the indices of the part of the array that a file holds; None for any other file."""
        found = self._key.fullmatch(file)
        if found is None:
            return None
        place = tuple(int(index) for index in found.groups())
        inside = all(i * m < n for i, m, n in zip(place, self.file_shape, self.shape, strict=True))
        return place if inside else None

    def stored_files(self) -> Iterator[Place]:
        """Yield the indices of the parts that are stored."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                place = self.place((Path(folder) / name).relative_to(self.folder).as_posix())
                if place is not None:
                    yield place

    def count_stored(self, place: Place) -> int:
        """Count the chunks of a file that are stored; a shard without a whole index, which cannot be read, has none."""
        if self.index is None:
            return 1
        ends = (n - i * m for i, m, n in zip(place, self.file_shape, self.shape, strict=True))
        inside = tuple(
            slice(math.ceil(min(end, m) / c)) for end, m, c in zip(ends, self.file_shape, self.chunk_shape, strict=True)
        )
        try:
            with self._file(place).open("rb") as shard:
                entries = self._read_index(shard)
        except OSError:
            return 0
        return 0 if entries is None else int((entries[..., 0][inside] != _NOT_STORED).sum())

    def check_chunks(self, region: Region) -> None:
        """Refuse chunks that take more memory than a chunk should, wherever they have a part in a region.

        What is damaged in another way is left to those who decode.

        Raises
        ------
        ValueError
            If there is one.
        SourceError
            If one of the files is a named pipe or a device.
        """
        for file, inside in self._parts(region):
            refuse_special_file(file)
            try:
                with file.open("rb", buffering=0) as opened:
                    too_large = self._too_large(opened, inside)
            except OSError:
                continue
            if too_large is not None:
                name = file.relative_to(self.folder.parent)
                raise ValueError(
                    f"a chunk in {name} takes {format_bytes(too_large)}, and should {format_bytes(self.chunk_bytes)}"
                )

    def files(self, region: Region) -> Iterator[Path]:
        """Yield the files that a region is in, whether they are stored or not."""
        return (file for file, _ in self._parts(region))

    def _parts(self, region: Region) -> Iterator[tuple[Path, tuple[slice, ...]]]:
        """Yield the files that a region is in, and which of their chunks it is in."""
        chunks = [
            range(part.start // n, math.ceil(part.stop / n)) for part, n in zip(region, self.chunk_shape, strict=True)
        ]
        per_file = self.chunks_per_file
        files = [range(found.start // n, math.ceil(found.stop / n)) for found, n in zip(chunks, per_file, strict=True)]
        for place in itertools.product(*files):
            inside = (
                slice(max(found.start - i * n, 0), min(found.stop - i * n, n))
                for found, i, n in zip(chunks, place, per_file, strict=True)
            )
            yield self._file(place), tuple(inside)

    def _too_large(self, file: BinaryIO, inside: tuple[slice, ...]) -> int | None:
        """Return the size of a chunk that is too large, stored or as its Blosc frame says; None if there is none."""
        n_bytes, offsets = file.seek(0, os.SEEK_END), [0]
        sizes = [n_bytes // math.prod(self.chunks_per_file)]
        if self.index is not None:
            index = self._read_index(file)
            if index is None:
                return None
            chunks = [(int(offset), int(size)) for offset, size in index[inside].reshape(-1, 2)]
            chunks = [(offset, size) for offset, size in chunks if offset + size <= n_bytes]  # others cannot be read
            offsets = [offset for offset, _ in chunks]
            sizes += [size for _, size in chunks]
        # what cannot be compressed takes a little more
        if (largest := max(sizes)) > self.chunk_bytes + self.chunk_bytes // 8 + _OVERHEAD_BYTES:
            return largest
        for offset in offsets if "blosc" in self.codec else ():  # tensorstore ends others where a chunk is whole
            file.seek(offset)
            header = file.read(_BLOSC_HEADER.size)
            if len(header) == _BLOSC_HEADER.size and (decoded := _BLOSC_HEADER.unpack(header)[0]) > self.chunk_bytes:
                return int(decoded)
        return None

    def _read_index(self, shard: BinaryIO) -> np.ndarray[Any, np.dtype[np.uint64]] | None:
        """Read the index of a shard: offset and size of each chunk; None if it is not whole."""
        size = shard.seek(0, os.SEEK_END)
        begin = 0 if self.index == "start" else size - self.index_bytes - _CHECKSUM_BYTES * self.has_checksum
        if begin < 0 or size < self.index_bytes:
            return None
        shard.seek(begin)
        data = shard.read(self.index_bytes)
        if len(data) < self.index_bytes:
            return None
        return np.frombuffer(data, "<u8").reshape(*self.chunks_per_file, 2)

    def _file(self, place: Place) -> Path:
        return self.folder / (self.prefix + self.separator.join(map(str, place)))

    @cached_property
    def _key(self) -> re.Pattern[str]:
        numbers = re.escape(self.separator).join([r"(0|[1-9]\d*)"] * len(self.shape))
        return re.compile(re.escape(self.prefix) + numbers)
