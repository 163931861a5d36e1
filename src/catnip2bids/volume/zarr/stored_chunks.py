"""Which chunks of an array are stored: found out from the names of files and the indexes of shards.

Invariant: nothing is decoded, and no chunk is looked for by itself. Chunks that are not stored are the fill value: that
is right where a writer left out empty chunks, and wrong where files were lost.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_SHARD_READERS = 8
_CHECKSUM_BYTES = 4
_INDEX_ENTRY_BYTES = 16
_NOT_STORED = 2**64 - 1
"""Offset and size of a chunk that is not in a shard (zarr v3, sharding codec, "Binary shard format")."""


@dataclass(frozen=True)
class _Grid:
    """How an array is cut into files.

    Attributes
    ----------
    shape, file_shape, chunk_shape
        Elements of the array, of the part of it that a file holds, and of a chunk: the same where there are no shards.
    key
        Matches the path of a file below the array; its groups are the indices of the part.
    index
        Where the index of a shard is: ``start`` or ``end``; None where there are no shards.
    has_checksum
        Whether four bytes follow the index.
    """

    shape: tuple[int, ...]
    file_shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    key: re.Pattern[str]
    index: str | None = None
    has_checksum: bool = False

    @property
    def chunks_per_file(self) -> tuple[int, ...]:
        """Chunks along each axis of a shard."""
        return tuple(n // m for n, m in zip(self.file_shape, self.chunk_shape, strict=True))

    @property
    def n_chunks(self) -> int:
        """Chunks that have a part in the array."""
        return math.prod(math.ceil(n / m) for n, m in zip(self.shape, self.chunk_shape, strict=True))

    def place(self, file: str) -> tuple[int, ...] | None:
        """Return the indices of the part of the array that a file holds; None for any other file."""
        found = self.key.fullmatch(file)
        if found is None:
            return None
        place = tuple(int(index) for index in found.groups())
        inside = all(i * m < n for i, m, n in zip(place, self.file_shape, self.shape, strict=True))
        return place if inside else None

    def inside(self, place: tuple[int, ...]) -> tuple[slice, ...]:
        """Return which chunks of a shard have a part in the array."""
        ends = (n - i * m for i, m, n in zip(place, self.file_shape, self.shape, strict=True))
        return tuple(
            slice(math.ceil(min(end, m) / c)) for end, m, c in zip(ends, self.file_shape, self.chunk_shape, strict=True)
        )


def count_chunks(array: Path, files: Iterable[Path]) -> tuple[int, int] | None:
    """Count the chunks of an array that are stored, and all chunks; None where its metadata is not understood.

    Parameters
    ----------
    array
        Folder of the array, of zarr v2 or v3.
    files
        Files in it; others are passed over.
    """
    grid = _grid_of(array)
    if grid is None:
        return None
    below = [(file, file.relative_to(array).as_posix()) for file in files if file.is_relative_to(array)]
    places = [(file, place) for file, name in below if (place := grid.place(name)) is not None]
    if grid.index is None:
        return len(places), grid.n_chunks
    with ThreadPoolExecutor(_SHARD_READERS) as readers:
        return sum(readers.map(lambda found: _count_in_shard(grid, *found), places)), grid.n_chunks


def _count_in_shard(grid: _Grid, file: Path, place: tuple[int, ...]) -> int:
    """Count the chunks of a shard that are stored. One without a whole index has none; reading it is an error."""
    inside, shape = grid.inside(place), grid.chunks_per_file
    n_bytes = math.prod(shape) * _INDEX_ENTRY_BYTES
    try:
        with file.open("rb") as shard:
            size = shard.seek(0, 2)
            begin = 0 if grid.index == "start" else size - n_bytes - _CHECKSUM_BYTES * grid.has_checksum
            if begin < 0 or size < n_bytes:
                return 0
            shard.seek(begin)
            index = np.frombuffer(shard.read(n_bytes), "<u8").reshape(*shape, 2)
    except (OSError, ValueError):
        return 0
    return int((index[..., 0][inside] != _NOT_STORED).sum())


def _grid_of(array: Path) -> _Grid | None:
    """Read how an array is cut; tensorstore opened it, so its metadata is whole."""
    try:
        if (array / "zarr.json").is_file():
            return _grid_of_v3(json.loads((array / "zarr.json").read_bytes()))
        metadata = json.loads((array / ".zarray").read_bytes())
        shape, chunk = tuple(metadata["shape"]), tuple(metadata["chunks"])
        return _Grid(shape, chunk, chunk, _key("", metadata.get("dimension_separator", "."), len(shape)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _grid_of_v3(metadata: dict[str, Any]) -> _Grid:
    shape, file_shape = tuple(metadata["shape"]), tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    encoding = metadata["chunk_key_encoding"]
    is_default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if is_default else ".")
    key = _key(f"c{separator}" if is_default else "", separator, len(shape))
    codec = metadata["codecs"][0]
    if codec["name"] != "sharding_indexed":
        return _Grid(shape, file_shape, file_shape, key)
    options = codec["configuration"]
    to_bytes, *checksum = options["index_codecs"]
    if to_bytes["configuration"]["endian"] != "little" or [one["name"] for one in checksum] not in ([], ["crc32c"]):
        raise ValueError("the index is encoded in another way than writers do")
    location = options.get("index_location", "end")
    return _Grid(shape, file_shape, tuple(options["chunk_shape"]), key, location, bool(checksum))


def _key(prefix: str, separator: str, n_axes: int) -> re.Pattern[str]:
    return re.compile(re.escape(prefix) + re.escape(separator).join([r"(0|[1-9]\d*)"] * n_axes))
