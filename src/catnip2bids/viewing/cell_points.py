"""Cells as points: a table of cells in Neuroglancer's precomputed annotation format, with all indices of the format.

Invariant: the id of a cell is its row in the table, counted from 0, and the spatial index has each cell once. The same
table gives the same bytes.

Neuroglancer's repository describes the format: src/datasource/precomputed/annotation.rst. All indices are sharded, so
that a million cells are a dozen files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from catnip2bids.bids.cell_tables import CellBlock, read_cells
from catnip2bids.bids.dataset_paths import CELLS_ENDING
from catnip2bids.errors import DatasetError
from catnip2bids.viewing.image import Axis
from catnip2bids.viewing.shards import SHARD, Array, Document, ShardedChunks

RELATIONSHIP: Final = "region"
"""The relationship of a cell to the segment that is its region."""
_MOST_CELLS = 10_000_000
"""They take about 3 GB of memory while they are read."""
_MOST_REASONS = 100
_CELLS_PER_CHUNK = 4096
"""Cells of the fullest chunk of a level of the spatial index, on average."""
_MOST_LEVELS = 12
_INT32 = np.iinfo(np.int32)
# all properties have 4 bytes, so there is no padding; the first one is shown beside the name of the layer. They are not
# uint32, which the reader of Neuroglancer's Python package (2.41) aligns wrongly.
_POSITION = ("position", "<f4", (3,))
_VOLUME = [("volume_um3", "<f4"), ("volume_voxels", "<i4")]
_COUNTED = np.dtype([_POSITION, ("region", "<i4"), *_VOLUME, ("proven", "<i4")])
_UNCOUNTED = np.dtype([_POSITION, ("reason", "<i4"), *_VOLUME])
_DESCRIPTIONS = {
    "region": "Atlas region that counts the cell",
    "reason": "Why no region counts the cell",
    "volume_um3": "Volume in cubic micrometers",
    "volume_voxels": "Volume in voxels",
    "proven": "Whether the number of cells of the region is CATNIP's own",
}


@dataclass(frozen=True)
class CellTable:
    """A table of cells, counted or not, and what is needed to show them."""

    path: Path
    axes: tuple[Axis, ...]  # x, y, z of the image that the centres of cells are in
    regions: tuple[tuple[int, str], ...] = ()  # label values and names

    @property
    def is_counted(self) -> bool:
        """Whether regions count its cells."""
        return self.path.name.endswith(CELLS_ENDING)


def annotation_files(table: CellTable) -> Mapping[str, bytes]:
    """Return the files of the annotations of a table by their POSIX paths.

    Raises DatasetError if the table cannot be read, or has cells outside of the image.
    """
    cells, reasons = _read(table)
    levels = list(_levels(cells, table.axes))
    indices = {"by_id": _by_id(cells), **{level["key"]: chunks for level, chunks in levels}}
    relationships = []
    if table.is_counted:
        indices["by_region"] = _lists(cells, np.arange(len(cells)), cells["region"].astype(np.uint64))
        relationships.append({"id": RELATIONSHIP, "key": "by_region"})
    info = {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {axis.name: [axis.step, axis.unit] for axis in table.axes},
        "lower_bound": [axis.first - 0.5 for axis in table.axes],
        "upper_bound": [axis.first - 0.5 + axis.n_voxels for axis in table.axes],
        "annotation_type": "point",
        "properties": list(_properties(cells.dtype, table, reasons)),
        "relationships": [{**one, "sharding": indices[one["key"]].sharding} for one in relationships],
        "by_id": {"key": "by_id", "sharding": indices["by_id"].sharding},
        "spatial": [{**level, "sharding": chunks.sharding} for level, chunks in levels],
    }
    shards = {f"{key}/{SHARD}": chunks.shard() for key, chunks in indices.items()}
    return {"info": json.dumps(info).encode(), **shards}


def _read(table: CellTable) -> tuple[Array, Sequence[str]]:
    """Read a table; return its cells, and the reasons that numbers in them stand for."""
    reasons: dict[str, int] = {}
    blocks, n_cells = [np.empty(0, _COUNTED if table.is_counted else _UNCOUNTED)], 0
    for block in read_cells(table.path):
        n_cells += len(block)
        blocks.append(_cells(block, table, reasons))
        if n_cells > _MOST_CELLS or len(reasons) > _MOST_REASONS:
            what = f"has more than {_MOST_CELLS:,} cells" if n_cells > _MOST_CELLS else "has too many reasons"
            raise DatasetError(f"{table.path}: {what}, which cannot be shown; open it with pandas")
    return np.concatenate(blocks), list(reasons)


def _cells(block: CellBlock, table: CellTable, reasons: dict[str, int]) -> Array:
    """Return the cells of a block of rows; add their reasons to those that are known."""
    centres = block.centres[:, ::-1]  # x, y, z
    n_voxels = np.array([axis.n_voxels for axis in table.axes])
    is_inside = ((centres >= -0.5) & (centres <= n_voxels - 0.5)).all()
    numbers = np.concatenate([block.volumes_voxels, block.regions])
    if not is_inside or numbers.min() < _INT32.min or numbers.max() > _INT32.max:
        what = "has a cell outside of the image" if not is_inside else "has a volume or an index that cannot be right"
        raise DatasetError(f"{table.path}: {what}; bring it back from a copy, or package again")
    cells = np.empty(len(block), _COUNTED if table.is_counted else _UNCOUNTED)
    cells["position"] = centres + [axis.first for axis in table.axes]
    cells["volume_voxels"] = block.volumes_voxels
    cells["volume_um3"] = block.volumes_voxels * np.prod([axis.step * 1e6 for axis in table.axes])
    if table.is_counted:
        cells["region"], cells["proven"] = block.regions, block.proven
    else:
        cells["reason"] = [reasons.setdefault(reason, len(reasons)) for reason in block.reasons]
    return cells


def _properties(dtype: np.dtype[Any], table: CellTable, reasons: Sequence[str]) -> Iterator[Document]:
    regions = {value: name for value, name in table.regions if _INT32.min <= value <= _INT32.max}
    labels: dict[str, dict[int, str]] = {
        "region": regions,
        "reason": dict(enumerate(reasons)),
        "proven": {0: "no", 1: "yes"},
    }
    for name in dtype.names[1:] if dtype.names else ():
        spec: Document = {"id": name, "type": np.dtype(dtype[name]).name, "description": _DESCRIPTIONS[name]}
        if name in labels:
            spec |= {"enum_values": list(labels[name]), "enum_labels": list(labels[name].values())}
        yield spec


def _by_id(cells: Array) -> ShardedChunks:
    """Return the index of single cells, which also tells the region of each."""
    fields = [*cells.dtype.descr]
    if is_counted := "region" in (cells.dtype.names or ()):
        fields += [("n_segments", "<u4"), ("segment", "<u8")]
    data = np.zeros(len(cells), fields)
    data[list(cells.dtype.names or ())] = cells
    if is_counted:
        data["n_segments"], data["segment"] = 1, cells["region"]
    n_bytes = np.full(len(cells), data.itemsize)
    return ShardedChunks(np.arange(len(cells)), n_bytes, [data.tobytes()], len(cells).bit_length())


def _levels(cells: Array, axes: Sequence[Axis]) -> Iterator[tuple[Document, ShardedChunks]]:
    """Yield the levels of the spatial index from coarse to fine, each with its description.

    A level has a random part of the cells that are on no coarser level, such that its fullest chunk has
    `_CELLS_PER_CHUNK`. The next level has chunks of half the size along the axes on which they are long.
    """
    random = np.random.default_rng(0)
    rest, shape = random.permutation(len(cells)), np.ones(3, np.int64)
    n_voxels = np.array([axis.n_voxels for axis in axes])
    first = np.array([axis.first - 0.5 for axis in axes])
    for number in range(_MOST_LEVELS):
        at = ((cells["position"][rest] - first) / n_voxels * shape).astype(np.int64)
        keys, n_bits = _morton_codes(np.clip(at, 0, shape - 1), shape)
        most = int(np.unique(keys, return_counts=True)[1].max(initial=1))
        is_last = most <= _CELLS_PER_CHUNK or number == _MOST_LEVELS - 1
        chosen = random.random(len(rest)) < (1 if is_last else _CELLS_PER_CHUNK / most)
        level = {"grid_shape": shape.tolist(), "chunk_size": (n_voxels / shape).tolist()}
        level |= {"key": f"spatial{number}", "limit": most if is_last else _CELLS_PER_CHUNK}
        yield level, _lists(cells, rest[chosen], keys[chosen], n_bits)
        if is_last:
            return
        rest = rest[~chosen]
        sizes = [axis.n_voxels * axis.step for axis in axes] / shape
        shape = np.where(sizes * np.sqrt(2) > sizes.max(), 2 * shape, shape)


def _morton_codes(at: Array, shape: Array) -> tuple[Array, int]:
    """Return the compressed Morton codes of positions (n, 3) in a grid, and the number of their bits."""
    codes, n_bits = np.zeros(len(at), np.uint64), 0
    for bit in range(int(shape.max() - 1).bit_length()):
        for axis in np.flatnonzero((shape - 1) >> bit):
            codes |= ((at[:, axis] >> bit) & 1).astype(np.uint64) << np.uint64(n_bits)
            n_bits += 1
    return codes, n_bits


def _lists(cells: Array, rows: Array, keys: Array, n_bits: int = 0) -> ShardedChunks:
    """Return an index of lists of cells: `rows` of `cells` by their keys."""
    order = np.argsort(keys, kind="stable")
    of_list, counts = np.unique(keys, return_counts=True)
    lists = np.split(rows[order], np.cumsum(counts)[:-1]) if len(rows) else []
    data = (np.uint64(len(one)).tobytes() + cells[one].tobytes() + one.astype("<u8").tobytes() for one in lists)
    return ShardedChunks(of_list, 8 + counts * (cells.itemsize + 8), data, n_bits)
