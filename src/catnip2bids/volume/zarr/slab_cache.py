"""The layers of an image: all planes of a row of chunks along z.

Invariant: each chunk is decoded once, though chunks are blocks and planes are asked for one after the other. What is
decoded of a layer is kept as long as a plane of it is open or was not read yet.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from catnip2bids.formatting import format_planes
from catnip2bids.volume.plane_buffer import PlaneBuffer
from catnip2bids.volume.zarr.array import ZarrArray, as_source_error

Zyx = tuple[int, int, int]

LARGEST_LAYER_BYTES = 256 * 2**20
"""Layers of up to this size are kept in memory, as many as fit in it but at least two; larger ones on disk."""
TILE_BYTES = 32 * 2**20
"""Chunks of a row that make about this much are decoded at a time, so that they keep several processors busy."""
_MOST_CHUNKS_OF_A_TILE = 4096
_LEAST_LAYERS = 2  # who reads several planes at a time is at the border of two layers now and then


@dataclass(frozen=True)
class Tiling:
    """How a volume is cut: along z into layers, these into tiles, which are whole chunks of one row of chunks."""

    shape: Zyx
    chunk: Zyx
    dtype: np.dtype[Any]

    @property
    def tile_width(self) -> int:
        """Columns of a tile."""
        chunk_bytes = math.prod(self.chunk) * self.dtype.itemsize
        return min(max(TILE_BYTES // chunk_bytes, 1), _MOST_CHUNKS_OF_A_TILE) * self.chunk[2]

    @property
    def tile_bytes(self) -> int:
        """Memory of a tile, and of what its chunks have beyond the volume."""
        n_columns = math.ceil(self.shape[2] / self.chunk[2]) * self.chunk[2]
        return self.chunk[0] * self.chunk[1] * min(self.tile_width, n_columns) * self.dtype.itemsize

    @property
    def layer_bytes(self) -> int:
        """Bytes of a whole layer."""
        n_planes, n_rows, n_columns = self.shape
        return min(self.chunk[0], n_planes) * n_rows * n_columns * self.dtype.itemsize

    @property
    def layers_bytes(self) -> int:
        """Memory of all layers together, at the most; none if they are on disk."""
        if self.layer_bytes > LARGEST_LAYER_BYTES:
            return 0
        volume_bytes = math.prod(self.shape) * self.dtype.itemsize
        return min(max(_LEAST_LAYERS * self.layer_bytes, LARGEST_LAYER_BYTES), volume_bytes)

    @property
    def n_kept(self) -> int:
        """Number of layers that are kept while planes of them are still to come."""
        return max(self.layers_bytes // self.layer_bytes, _LEAST_LAYERS)

    def layer(self, number: int) -> range:
        """Return the planes of a layer."""
        return range(number * self.chunk[0], min((number + 1) * self.chunk[0], self.shape[0]))


class SlabCache:
    """The layers of an image that planes are open of, or still to come."""

    def __init__(self, path: Path, array: ZarrArray, axes: Sequence[str], tiling: Tiling) -> None:
        self._path, self._array, self._axes, self._tiling = path, array, axes, tiling
        self._opening, self._decoding = threading.Lock(), threading.Lock()
        self._layers: dict[int, _Slab] = {}

    def open(self, plane: int) -> _Slab:
        """Return the layer of a plane, which has to be closed again."""
        number = plane // self._tiling.chunk[0]
        with self._opening:
            layer = self._layers.pop(number, None)
            if layer is None:
                self._let_go(self._tiling.n_kept - 1)
                layer = self._new_layer(number)
            self._layers[number] = layer  # those used longest ago come first
            layer.n_open += 1
            return layer

    def close(self, plane: int) -> None:
        """Close the layer of a plane that was read."""
        with self._opening:
            layer = self._layers[plane // self._tiling.chunk[0]]
            layer.n_open -= 1
            layer.to_come.discard(plane)
            self._let_go(self._tiling.n_kept)

    def _new_layer(self, number: int) -> _Slab:
        planes, tiling = self._tiling.layer(number), self._tiling
        n_values = len(planes) * tiling.shape[1] * tiling.shape[2]
        in_memory = sum(layer.buffer.memory_bytes for layer in self._layers.values())
        fits = in_memory + n_values * tiling.dtype.itemsize <= tiling.layers_bytes
        buffer = PlaneBuffer(n_values, tiling.dtype, in_memory=fits)
        return _Slab(_Chunks(self._path, self._array, self._axes, tiling, self._decoding), planes, buffer)

    def _let_go(self, n_kept: int) -> None:
        """Let go of layers without open planes: those that were read, and of the others all but so many."""
        for number, layer in list(self._layers.items()):
            if layer.n_open == 0 and (not layer.to_come or len(self._layers) > n_kept):
                del self._layers[number]
                layer.buffer.close()


@dataclass(frozen=True)
class _Chunks:
    """The chunks of an image.

    Attributes
    ----------
    path
        The image.
    array, axes
        Its array, and the names of the axes; those that are not z, y and x have the length 1.
    tiling
        How it is cut.
    lock
        Held by the thread that decodes, so that the memory for it is needed once; tensorstore uses all processors.
    """

    path: Path
    array: ZarrArray
    axes: Sequence[str]
    tiling: Tiling
    lock: threading.Lock

    def decode(self, planes: slice, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Decode some chunks; tensorstore raises errors of many types."""
        wanted = {"z": planes, "y": rows, "x": columns}
        return self.array.read([wanted.get(axis, 0) for axis in self.axes])


class _Slab:
    """Some planes, of which tile after tile is decoded when it is needed first.

    Attributes
    ----------
    buffer
        Holds the tiles, one after the other.
    n_open
        Number of its planes that are open.
    to_come
        Its planes that were not opened and closed yet.
    """

    def __init__(self, chunks: _Chunks, planes: range, buffer: PlaneBuffer) -> None:
        self.buffer, self.n_open, self.to_come = buffer, 0, set(planes)
        self._chunks, self._planes = chunks, planes
        self._decoded: set[tuple[int, int]] = set()

    def read_rows(self, plane: int, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) of a plane into `out` of shape (stop - start, x)."""
        tiling = self._chunks.tiling
        (_, n_rows, n_columns), height, width = tiling.shape, tiling.chunk[1], tiling.tile_width
        for top in range(start // height * height, stop, height):
            bottom = min(top + height, n_rows)
            low, high = max(start, top), min(stop, bottom)
            for left in range(0, n_columns, width):
                right = min(left + width, n_columns)
                begin = len(self._planes) * (top * n_columns + (bottom - top) * left)
                if (top, left) not in self._decoded:
                    self._decode(plane, slice(top, bottom), slice(left, right), begin)
                before = (plane - self._planes.start) * (bottom - top) + low - top
                values = self.buffer.get(begin + before * (right - left), (high - low) * (right - left))
                out[low - start : high - start, left:right] = values.reshape(high - low, right - left)

    def _decode(self, plane: int, rows: slice, columns: slice, begin: int) -> None:
        """Decode a tile that `plane` needs, unless another thread did so in the meantime."""
        chunks, tile = self._chunks, (rows.start, columns.start)
        with chunks.lock:
            if tile in self._decoded:
                return
            try:
                values = chunks.decode(slice(self._planes.start, self._planes.stop), rows, columns)
            except Exception as error:
                what = f"{chunks.path}: {format_planes([plane])}, rows {rows.start + 1} to {rows.stop},"
                raise as_source_error(error, what) from error
            self.buffer.put(begin, values.reshape(-1))
            self._decoded.add(tile)


@dataclass(frozen=True)
class SlabPlane:
    """An open plane."""

    layers: SlabCache
    layer: _Slab
    plane: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        self.layer.read_rows(self.plane, start, stop, out)

    def close(self) -> None:
        """Close the plane; its layer goes with the last one."""
        self.layers.close(self.plane)
