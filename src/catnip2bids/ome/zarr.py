"""OME-Zarr images, written unit by unit.

Invariant: a unit writes whole shards of every level that is made by units, and no two units ever write the same
file, so units may be written in any order, by any number of threads, processes or machines. The group's metadata is
written last: a folder without it is not an image yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.choices import Kind, OmeZarrVersion
from catnip2bids.errors import WriteError
from catnip2bids.ome.cascade import Cascade
from catnip2bids.ome.layout import Layout, LevelLayout, plan_layout
from catnip2bids.ome.metadata import group_attributes
from catnip2bids.ome.pyramid import Level, Zyx, downsample, plan_levels

# Zstandard level 1 after a bit shuffle: read by every Zarr implementation. On light-sheet images level 3 takes half as
# much time again for files that are 1.6 % smaller.
_BLOSC = {"cname": "zstd", "clevel": 1}


@dataclass(frozen=True)
class OmeZarrImage:
    """An OME-Zarr image under construction.

    Attributes
    ----------
    folder
        The folder to write, usually one under a temporary name.
    shape
        Voxels of level 0 along (z, y, x).
    dtype
        Name of the type of the values, e.g. ``uint16``.
    voxel_size_um
        Voxel size of level 0 along (z, y, x) in micrometers.
    kind
        Decides how voxels are merged.
    version
        Version of OME-Zarr; 0.5 is sharded, 0.4 is not.
    """

    folder: Path
    shape: Zyx
    dtype: str
    voxel_size_um: tuple[float, float, float]
    kind: Kind
    version: OmeZarrVersion = OmeZarrVersion.V05

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The resolution levels."""
        return plan_levels(self.shape, self.voxel_size_um)

    @cached_property
    def layout(self) -> Layout:
        """Chunks and shards of all levels."""
        return plan_layout(self.levels, np.dtype(self.dtype).itemsize)

    @property
    def unit_depth(self) -> int:
        """Planes of a unit; every unit starts at a multiple of it."""
        return self.layout.unit_depth

    @property
    def block_shape(self) -> Zyx:
        """Planes, rows and columns of a block, which is a shard of level 0."""
        return self.layout.levels[0].shard

    def create(self) -> None:
        """Create the arrays of all levels, empty."""
        for level in self.levels:
            self.open_level(level, create=True)

    def open_unit(self) -> UnitWriter:
        """Begin to write a unit."""
        return UnitWriter(self)

    def write_remaining_levels(self) -> None:
        """Make the levels that need more than one unit, each from the finished level before it."""
        for level in self.levels[self.layout.n_unit_levels :]:
            source, target = self.open_level(self.levels[level.index - 1]), self.open_level(level)
            for region in _shards(level.shape, self.layout.levels[level.index].shard):
                wanted = tuple(
                    slice(part.start * step, min(part.stop * step, n))
                    for part, step, n in zip(region, level.step, source.shape, strict=True)
                )
                array = np.asarray(self.finished(source[wanted].read()))
                self.finished(target[region].write(downsample(array, level.step, self.kind)))

    def read_smallest_level(self) -> npt.NDArray[Any]:
        """Read the last level, at most about 256 voxels along each axis."""
        return np.asarray(self.finished(self.open_level(self.levels[-1]).read()))

    def finish(self, document: dict[str, Any]) -> None:
        """Write the group's metadata, which makes the folder an image.

        Parameters
        ----------
        document
            What `catnip2bids.ome.metadata.image_metadata` returns.
        """
        write_group(self.folder, group_attributes(document, self.version), self.version)

    def open_level(self, level: Level, *, create: bool = False) -> Any:
        """Open the array of a level with tensorstore."""
        import tensorstore as ts

        layout = self.layout.levels[level.index]
        array_spec = _zarr3_spec if self.version == OmeZarrVersion.V05 else _zarr2_spec
        spec = array_spec(level, layout, np.dtype(self.dtype))
        # an array without any stored chunk counts as an empty file for validators of zarr v2
        spec["store_data_equal_to_fill_value"] = (
            self.version == OmeZarrVersion.V04 and level.index == len(self.levels) - 1
        )
        spec["kvstore"] = {"driver": "file", "path": str(self.folder / str(level.index))}
        return self.finished(ts.open(ts.Spec(spec), create=create, open=True))

    def finished(self, work: Any) -> Any:
        """Wait for a future of tensorstore, whose errors are of many types."""
        try:
            return work.result()
        except Exception as error:
            raise WriteError(
                f"{self.folder}: cannot be written: {error}; free space or mend it and run again"
            ) from error


class UnitWriter:
    """Writes the blocks of one unit, and all shards of lower levels that follow from them."""

    def __init__(self, image: OmeZarrImage) -> None:
        self._image = image
        self._arrays = [image.open_level(level) for level in image.levels[: image.layout.n_unit_levels]]
        self._cascade = Cascade(image.levels, image.layout, image.kind, self._write)
        self._writing: list[Any] = []

    def put(self, origin: Zyx, block: npt.NDArray[Any]) -> None:
        """Take a block of level 0; returns when it and what follows from it is written."""
        self._cascade.feed(0, origin, block)
        for work in self._writing:
            self._image.finished(work)
        self._writing.clear()

    def finish(self) -> None:
        """Make sure that all shards were complete."""
        self._cascade.finish()

    def _write(self, level: Level, region: tuple[slice, slice, slice], shard: npt.NDArray[Any]) -> None:
        # encoding goes on in tensorstore's threads while the next level is made; shards are not changed any more
        target = self._arrays[level.index][region]
        self._writing.append(target.write(shard, can_reference_source_data_indefinitely=True))


def write_group(folder: Path, attributes: dict[str, Any], version: OmeZarrVersion) -> None:
    """Write the metadata of a Zarr group: ``zarr.json``, or ``.zgroup`` and ``.zattrs`` for 0.4."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == OmeZarrVersion.V05:
        _write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    else:
        _write_json(folder / ".zattrs", attributes)
        _write_json(folder / ".zgroup", {"zarr_format": 2})


def write_labels_group(folder: Path, names: list[str], version: OmeZarrVersion) -> None:
    """Write the metadata of a ``labels`` group that holds label images of these names."""
    write_group(folder, group_attributes({"labels": names}, version), version)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _zarr3_spec(level: Level, layout: LevelLayout, dtype: np.dtype[Any]) -> dict[str, Any]:
    chunk_codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {
            "name": "blosc",
            "configuration": {**_BLOSC, "shuffle": "bitshuffle", "typesize": dtype.itemsize, "blocksize": 0},
        },
    ]
    sharding = {
        "chunk_shape": layout.chunk,
        "codecs": chunk_codecs,
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    }
    metadata = {
        "shape": level.shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": layout.shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "fill_value": dtype.type(0).item(),
        "dimension_names": ["z", "y", "x"],
    }
    return {"driver": "zarr3", "metadata": metadata}


def _zarr2_spec(level: Level, layout: LevelLayout, dtype: np.dtype[Any]) -> dict[str, Any]:
    metadata = {
        "shape": level.shape,
        "dtype": dtype.newbyteorder("<").str,
        "chunks": layout.chunk,
        "compressor": {"id": "blosc", **_BLOSC, "shuffle": 2, "blocksize": 0},
        "fill_value": dtype.type(0).item(),
        "order": "C",
        "dimension_separator": "/",
        "filters": None,
    }
    return {"driver": "zarr", "metadata": metadata}


def _shards(shape: Zyx, shard: Zyx) -> list[tuple[slice, slice, slice]]:
    """Cut an array into the regions of its shards."""
    z, y, x = (
        [slice(start, min(start + size, n)) for start in range(0, n, size)]
        for n, size in zip(shape, shard, strict=True)
    )
    return [(a, b, c) for a in z for b in y for c in x]
