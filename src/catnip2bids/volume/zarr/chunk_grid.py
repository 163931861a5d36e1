"""How an array of zarr v2 or v3 is cut into files and chunks, by its metadata.

Invariant: a grid that was read can be processed: the number of chunks, the index of a shard and the rank are limited.
The memory that chunks take is known before anything is decoded: a chunk that would be decoded to more is refused.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from catnip2bids.documents import read_object, refuse_special_file
from catnip2bids.errors import DatasetError, ReadError, SourceError
from catnip2bids.formatting import format_bytes
from catnip2bids.paths import leads_out

MOST_CHUNK_BYTES = 32 * 2**20
"""The largest chunk that `validate` and `report` decode, which know no limit of memory."""
_MOST_AXES = 5
_MOST_VOXELS = 2**18
"""Most voxels along an axis."""
_MOST_CHUNKS = 2**20
"""Most chunks of a slab: enough for planes of 65,536 x 65,536 pixels in chunks of 64 x 64."""
_LARGEST_ITEMSIZE = 16
_MOST_INDEX_BYTES = 16 * 2**20
_OVERHEAD_BYTES = 2**16
_CHECKSUM_BYTES = 4
_INDEX_ENTRY_BYTES = 16
_NOT_STORED = 2**64 - 1
"""Offset and size of a chunk that is not in a shard (zarr v3, sharding codec, "Binary shard format")."""
_BLOSC_HEADER = struct.Struct("<4xI8x")
"""The part of a Blosc frame's header that states its decoded size (c-blosc, README_CHUNK_FORMAT)."""

Place = tuple[int, ...]
Region = Sequence[slice]
_Lengths = Annotated[tuple[Annotated[int, Field(strict=True, ge=0)], ...], Field(max_length=_MOST_AXES)]
_lengths = TypeAdapter(_Lengths)


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
        """Number of chunks of the array."""
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
        """Count the stored chunks of a file; 0 for a shard whose index is incomplete and cannot be read."""
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
        """Raise ValueError if a chunk that overlaps a region takes more memory than it should.

        Other damage is left to the decoder.
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
        """Yield the files that hold a region, each with the slices of its chunks that overlap the region."""
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
        if begin < 0:
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


def read_chunk_grid(image: Path, level: str) -> ChunkGrid:
    """Read how the array of a level of an image is cut."""
    if leads_out(level):
        raise SourceError(f"{image}: its level {level!r} lies outside of it; replace it by the original")
    folder = image / level
    is_v3 = (folder / "zarr.json").is_file()
    document = folder / ("zarr.json" if is_v3 else ".zarray")
    what = f"{image}: its array {level} cannot be read"
    try:
        grid = _grid_of_v3(folder, read_object(document)) if is_v3 else _grid_of_v2(folder, read_object(document))
    except FileNotFoundError as error:
        raise SourceError(f"{what} (it has neither zarr.json nor .zarray); replace it by the original") from error
    except OSError as error:
        raise ReadError(f"{what}: {error.strerror}; make it readable and run again") from error
    except DatasetError as error:
        raise SourceError(f"{what} ({error})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise SourceError(f"{what} ({document.name}: {why}); replace it by the original") from error
    if (promised := _implausible(grid)) is not None:
        raise SourceError(f"{what}: {document.name} promises {promised}; replace it by the original")
    return grid


def _implausible(grid: ChunkGrid) -> str | None:
    """Describe the first implausible value in the metadata, or return None."""
    if (length := max(grid.shape)) > _MOST_VOXELS:
        return f"{length:,} voxels along an axis, and images have at most {_MOST_VOXELS:,}"
    if (n_chunks := math.prod(grid.chunks_along_axes[-2:])) > _MOST_CHUNKS:
        return f"{n_chunks:,} chunks side by side, and images have at most {_MOST_CHUNKS:,}"
    if grid.index is not None and grid.index_bytes > _MOST_INDEX_BYTES:
        return (
            f"an index of {format_bytes(grid.index_bytes)} a shard, and {format_bytes(_MOST_INDEX_BYTES)} are the most"
        )
    return None


def _grid_of_v2(folder: Path, metadata: dict[str, Any]) -> ChunkGrid:
    shape, chunk = _checked(metadata["shape"], metadata["chunks"])
    codecs = [codec["id"] for codec in (*(metadata.get("filters") or ()), metadata.get("compressor")) if codec]
    separator = _one_of(metadata.get("dimension_separator", "."), ".", "/")
    return ChunkGrid(folder, shape, chunk, chunk, _itemsize(metadata["dtype"]), "", separator, codec=_joined(codecs))


def _grid_of_v3(folder: Path, metadata: dict[str, Any]) -> ChunkGrid:
    shape, file_shape = _checked(metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"])
    itemsize, encoding = _itemsize(metadata["data_type"]), metadata["chunk_key_encoding"]
    is_default = encoding["name"] == "default"
    default = "/" if is_default else "."
    separator = _one_of(encoding.get("configuration", {}).get("separator", default), ".", "/")
    prefix = f"c{separator}" if is_default else ""
    grid = ChunkGrid(folder, shape, file_shape, file_shape, itemsize, prefix, separator)
    codec, *others = metadata["codecs"]
    if codec["name"] != "sharding_indexed":
        return replace(grid, codec=_names(metadata["codecs"]))
    if others:
        raise ValueError("its shards are compressed once more")
    options = codec["configuration"]
    to_bytes, *checksum = options["index_codecs"]
    if to_bytes["configuration"]["endian"] != "little" or [one["name"] for one in checksum] not in ([], ["crc32c"]):
        raise ValueError("its shard index uses codecs other than bytes and crc32c")
    _, chunk_shape = _checked(file_shape, options["chunk_shape"])
    if any(n % m for n, m in zip(file_shape, chunk_shape, strict=True)):
        raise ValueError("its shards do not hold whole chunks")
    return replace(
        grid,
        chunk_shape=chunk_shape,
        index=_one_of(options.get("index_location", "end"), "start", "end"),
        has_checksum=bool(checksum),
        codec=_names(options["codecs"]),
    )


def _one_of(value: object, *known: str) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(map(repr, known))}")
    return str(value)


def _checked(shape: object, chunk_shape: object) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape, chunk_shape = _lengths.validate_python(shape), _lengths.validate_python(chunk_shape)
    if not shape or len(shape) != len(chunk_shape) or min(chunk_shape) < 1:
        raise ValueError(f"chunks of {list(chunk_shape)} for a shape of {list(shape)}")
    return shape, chunk_shape


def _itemsize(dtype: object) -> int:
    if not isinstance(dtype, str):
        raise ValueError(f"it has values of type {dtype}")
    try:
        itemsize = np.dtype(dtype).itemsize
    except TypeError:  # numpy has no such type; it is refused by name later
        return _LARGEST_ITEMSIZE
    if itemsize > _LARGEST_ITEMSIZE:
        raise ValueError(f"it has values of type {dtype}")
    return itemsize


def _names(codecs: list[dict[str, Any]]) -> str:
    """Return the names of the codecs that compress or otherwise transform chunks."""
    names = [codec["name"] for codec in codecs]
    if "sharding_indexed" in names:
        raise ValueError("it has shards inside shards, or codecs before the shards")
    return _joined([name for name in names if name not in ("bytes", "crc32c")])


def _joined(codecs: list[str]) -> str:
    """Join the names of codecs; the last codec produces the stored bytes."""
    if "blosc" in codecs[:-1]:  # the decoded size is in the Blosc frame, which cannot be read then
        raise ValueError("its chunks are compressed with Blosc, and then once more")
    return " and ".join(codecs)
