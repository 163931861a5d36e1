"""The metadata of an array of zarr v2 or v3, read as the grid of its chunks.

Invariant: a grid that was read is one that can be worked through: numbers of chunks, the index of a shard and the rank
are limited.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError, ReadError, SourceError
from catnip2bids.formatting import format_bytes
from catnip2bids.paths import leads_out
from catnip2bids.volume.zarr.chunk_grid import ChunkGrid

_MOST_AXES = 5
_MOST_VOXELS = 2**18
"""Along an axis."""
_MOST_CHUNKS = 2**20
"""Of a slab: enough for planes of 65,536 x 65,536 pixels in chunks of 64 x 64."""
_LARGEST_ITEMSIZE = 16
_MOST_INDEX_BYTES = 16 * 2**20

_Lengths = Annotated[tuple[Annotated[int, Field(strict=True, ge=0)], ...], Field(max_length=_MOST_AXES)]
_lengths = TypeAdapter(_Lengths)


def read_chunk_grid(image: Path, level: str) -> ChunkGrid:
    """Read how the array of a level of an image is cut.

    Raises
    ------
    SourceError
        If its metadata cannot be read, or promises more than can be read.
    """
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
    codec, *others = metadata["codecs"]
    is_sharded = codec["name"] == "sharding_indexed"
    codecs = "" if is_sharded else _names(metadata["codecs"])
    grid = ChunkGrid(folder, shape, file_shape, file_shape, itemsize, prefix, separator, codec=codecs)
    if not is_sharded:
        return grid
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
    """Name the codecs that compress, or change in another way what they get."""
    names = [codec["name"] for codec in codecs]
    if "sharding_indexed" in names:
        raise ValueError("it has shards inside shards, or codecs before the shards")
    return _joined([name for name in names if name not in ("bytes", "crc32c")])


def _joined(codecs: list[str]) -> str:
    """Return the names of codecs, of which the last one makes what is stored."""
    if "blosc" in codecs[:-1]:  # Blosc is decoded to what its frame says, which cannot be read then
        raise ValueError("its chunks are compressed with Blosc, and then once more")
    return " and ".join(codecs)
