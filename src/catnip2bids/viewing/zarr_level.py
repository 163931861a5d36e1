"""Levels of OME-Zarr images for the viewer: their arrays, and some of the values in them.

Invariant: only regular files inside of the folder that was opened are read, and what is read and decoded of them at a
time is limited, whatever the metadata say.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.paths import leads_out
from catnip2bids.viewing.image import MOST_DECODED_BYTES
from catnip2bids.volume import open_array
from catnip2bids.wording import shown_bytes

_LONGEST_SAMPLE = 1024
"""Rows and columns that are looked at to choose a contrast, where the metadata tell none."""
_SAMPLE_BYTES = 64 * 2**20
"""Of the chunks of a sample, if one is not larger by itself."""
_MOST_CHUNKS = 1024
"""Of a sample."""
_MOST_INDEX_BYTES = 16 * 2**20
_INDEX_ENTRY_BYTES = 16
_BLOSC_HEADER = struct.Struct("<4xI")
"""How many bytes a Blosc frame is decoded to (c-blosc, README_CHUNK_FORMAT)."""


@dataclass(frozen=True)
class ZarrLevel:
    """A level of an image.

    Attributes
    ----------
    folder
        The folder of its array.
    inside
        The folder that links must not lead out of.
    array
        The array, as tensorstore has it.
    """

    folder: Path
    inside: Path
    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return tuple(int(n_voxels) for n_voxels in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype.numpy_dtype)
        return dtype

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self._chunk) * self.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """Bytes of the index of a shard."""
        return math.prod(self._file_chunk) // math.prod(self._chunk) * _INDEX_ENTRY_BYTES

    def sample(self, place: Sequence[int | None]) -> npt.NDArray[Any] | None:
        """Read some values, from the middle of axes without an index; None if it takes too much to find any.

        Raises
        ------
        SourceError
            If a chunk holds more than it should, or is not a file of the image.
        Exception
            Whatever tensorstore raises on damaged chunks.
        """
        n_chunks = max(math.isqrt(min(_SAMPLE_BYTES // self.chunk_bytes, _MOST_CHUNKS)), 1)
        region = tuple(
            _middle(n_voxels, length, n_chunks) if index is None else slice(index, index + 1)
            for index, n_voxels, length in zip(place, self.shape, self._chunk, strict=True)
        )
        is_blosc, n_stored = '"blosc"' in json.dumps(self.array.codec.to_json()), 0
        if is_blosc and self._chunk != self._file_chunk:
            return None
        for file in filter(os.path.lexists, self._files(region)):
            found = file_inside(file, self.inside)
            if found is None:
                raise SourceError(f"{file}: is a link out of the image, or not a file; replace it by the original")
            n_stored += found.stat().st_size
            if is_blosc:
                self._check_blosc(found)
        return np.asarray(self.array[region].read().result()) if n_stored <= MOST_DECODED_BYTES else None

    @cached_property
    def _chunk(self) -> tuple[int, ...]:
        return tuple(self.array.chunk_layout.read_chunk.shape)

    @cached_property
    def _file_chunk(self) -> tuple[int, ...]:
        """Voxels of a file along each axis: of a shard, where there are any."""
        return tuple(self.array.chunk_layout.write_chunk.shape)

    def _files(self, region: Sequence[slice]) -> Iterator[Path]:
        """Yield where the files of a region would be."""
        metadata = self.array.spec().to_json()["metadata"]
        of_v2 = {"name": "v2", "configuration": {"separator": metadata.get("dimension_separator", ".")}}
        encoding = metadata.get("chunk_key_encoding", of_v2)
        is_default = encoding["name"] == "default"
        separator = encoding.get("configuration", {}).get("separator", "/" if is_default else ".")
        indices = (
            range(part.start // length, math.ceil(part.stop / length))
            for part, length in zip(region, self._file_chunk, strict=True)
        )
        for place in itertools.product(*indices):
            yield self.folder / separator.join([*(["c"] if is_default else []), *map(str, place)])

    def _check_blosc(self, file: Path) -> None:
        """Refuse a chunk that says that it is more; tensorstore stops decoding all others where a chunk is whole."""
        with file.open("rb") as chunk:
            header = chunk.read(_BLOSC_HEADER.size)
        if len(header) == _BLOSC_HEADER.size and (n_bytes := _BLOSC_HEADER.unpack(header)[0]) > self.chunk_bytes:
            raise SourceError(
                f"{file}: holds a chunk of {shown_bytes(n_bytes)}, and chunks have {shown_bytes(self.chunk_bytes)}; "
                "replace it by the original"
            )


def open_level(image: Path, path: str, inside: Path) -> ZarrLevel:
    """Open a level of an image, without reading any values.

    Parameters
    ----------
    image, path
        The image, and the path of the level below it.
    inside
        The folder that links must not lead out of.

    Raises
    ------
    SourceError
        If its array cannot be read, or its chunks are larger than what can be decoded.
    """
    what = f"{image}: its array {path}"
    if leads_out(path):
        raise SourceError(f"{what} lies outside of it; replace it by the original")
    folder = image / path
    document = next((folder / name for name in ("zarr.json", ".zarray") if (folder / name).exists()), None)
    if document is None or file_inside(document, inside) is None:
        raise SourceError(f"{what} cannot be read (no zarr.json or .zarray inside of it); replace it by the original")
    try:
        read_object(document)
    except (DatasetError, OSError, ValueError) as error:
        raise SourceError(f"{what} cannot be read ({error}); replace it by the original") from error
    level = ZarrLevel(folder, inside, open_array(image, path))
    for n_bytes, most, name in (
        (level.chunk_bytes, MOST_DECODED_BYTES, "chunks"),
        (level.index_bytes, _MOST_INDEX_BYTES, "an index of shards"),
    ):
        if n_bytes > most:
            raise SourceError(
                f"{what} has {name} of {shown_bytes(n_bytes)}, and at most {shown_bytes(most)} can be shown; "
                "save the image again with other chunks"
            )
    return level


def file_inside(path: Path, inside: Path) -> Path | None:
    """Return a regular file, with links followed; None for all else, and where links lead out of a folder."""
    try:
        file = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return file if file.is_file() and file.is_relative_to(os.path.realpath(inside)) else None


def _middle(n_voxels: int, length: int, n_chunks: int) -> slice:
    """Return the middle of an axis, as much as is looked at of some chunks."""
    n_read = min(n_voxels, _LONGEST_SAMPLE, n_chunks * length)
    start = (n_voxels - n_read) // 2
    if (start + n_read - 1) // length - start // length >= n_chunks:  # one chunk too many
        start = start // length * length
    return slice(start, start + n_read)
