"""Serve an OME-TIFF as OME-Zarr, computing metadata and chunks on request.

Invariant: a request decodes only the strips or tiles of one band of rows per plane, so a whole plane only if it is one
strip. Recently decoded bands are cached for neighbouring chunks.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.documents import refuse_special_file
from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes, format_list
from catnip2bids.ome import LabelValue, Level, display_of, image_metadata
from catnip2bids.ome.ome_zarr_metadata import Display, group_attributes
from catnip2bids.viewing.image import MOST_DECODED_BYTES, WHITE, Axis, Channel
from catnip2bids.volume import TiffStack, inspect_stack, open_tiff, stated_voxel_size
from catnip2bids.volume.tiff_file import directory_offsets, refuse_long_tags
from catnip2bids.volume.tiff_page import levels_of

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]

_CHUNK = (512, 1024)
"""Most rows and columns of a chunk: WebGL 2 guarantees textures of 2048 pixels."""
_CHUNK_BYTES = 2**20
"""Chunks of small planes hold several planes, up to about this size."""
_MOST_PLANES = 2**16
_CACHE_BYTES = 64 * 2**20
_ARRAY = re.compile(r"(\d+)/zarr\.json")
_CHUNK_KEY = re.compile(r"(\d+)/c/(\d+)/(\d+)/(\d+)")
_SERVED_AS = {"bool": "uint8", "float16": "float32", "float64": "float32"}


@dataclass(frozen=True, eq=False)
class TiffImage:
    """An OME-TIFF."""

    path: Path
    zarr_format: int = 3
    labels: tuple[LabelValue, ...] = ()
    label_folders: tuple[Path, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _cache: OrderedDict[tuple[int, int, int], Array] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        refuse_special_file(self.path)
        refuse_long_tags(self.path)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes z, y, x."""
        sizes = zip("zyx", self._stack.shape, self._voxel_size_um, strict=True)
        return tuple(Axis(name, "space", n_voxels, size * 1e-6, "m") for name, n_voxels, size in sizes)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the served values: the stored type, or the nearest one that Neuroglancer supports."""
        return np.dtype(_SERVED_AS.get(self._stack.dtype.name, self._stack.dtype.name))

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Display of the only channel, chosen from the middle of its smallest level."""
        display = self._display
        limits = display.smallest, display.largest
        return (Channel(display.channel, WHITE, (display.start, display.end), limits),)

    def middle_plane(self) -> Array | None:
        """Read the middle plane of the smallest level; None if it is large."""
        last = len(self._level_shapes) - 1
        n_planes, *shape = self._level_shapes[last]
        return None if max(shape) > _CHUNK[0] else self._band(last, n_planes // 2, 0)[1]

    def read(self, path: str) -> bytes | None:
        """Return a metadata document or a chunk."""
        if path == "zarr.json":
            return self._group
        if (found := _ARRAY.fullmatch(path)) and int(found[1]) < len(self._level_shapes):
            return self._array(int(found[1]))
        if found := _CHUNK_KEY.fullmatch(path):
            level, *chunk_index = (int(number) for number in found.groups())
            return self._chunk(level, (chunk_index[0], chunk_index[1], chunk_index[2]))
        return None

    @cached_property
    def _stack(self) -> TiffStack:
        with open_tiff(self.path) as tiff:
            n_pages = len(directory_offsets(tiff, self.path))
        if n_pages > _MOST_PLANES:
            what = f"has {n_pages:,} pages, and at most {_MOST_PLANES:,} can be shown"
            raise SourceError(f"{self.path}: {what}; split it")
        found = inspect_stack(self.path)
        if not isinstance(found.volume, TiffStack) or found.problems:
            problem = f"{self.path}: has one page for all planes; make an OME-TIFF of it: catnip2bids convert"
            raise SourceError(format_list(found.problems) or problem)
        return found.volume

    @cached_property
    def _level_shapes(self) -> list[Zyx]:
        with open_tiff(self.path) as tiff:
            levels = levels_of(tiff, 0, self._stack.page_offsets[0])
        return [(self._stack.shape[0], *layout.shape) for _, layout in levels]

    @cached_property
    def _voxel_size_um(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) that the file states."""
        stated = stated_voxel_size(self._stack)
        match stated.sizes_um if stated else None:
            case (float(x), float(y), float(z)):
                return z, y, x
        what = "tells no voxel size in OME-XML; make an image of it that does: catnip2bids convert"
        raise SourceError(f"{self.path}: {what}")

    @cached_property
    def _display(self) -> Display:
        last = len(self._level_shapes) - 1
        n_planes, n_rows, _ = self._level_shapes[last]
        return display_of(self.path.name, self._band(last, n_planes // 2, n_rows // 2)[1])

    @cached_property
    def _group(self) -> bytes:
        z, y, x = self._voxel_size_um
        levels = []
        for index, shape in enumerate(self._level_shapes):
            by = round(self._level_shapes[0][1] / shape[1]), round(self._level_shapes[0][2] / shape[2])
            shift = 0.0, y * (by[0] - 1) / 2, x * (by[1] - 1) / 2
            levels.append(Level(index, shape, (1, *by), (1, *by), (z, y * by[0], x * by[1]), shift))
        document = image_metadata(self.path.name, levels, Kind.IMAGE, self._display)
        attributes = group_attributes(document, OmeZarrVersion.V05)
        return _json({"zarr_format": 3, "node_type": "group", "attributes": attributes})

    def _array(self, level: int) -> bytes:
        grid = {"name": "regular", "configuration": {"chunk_shape": list(self._chunk_shape(level))}}
        return _json(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self._level_shapes[level]),
                "data_type": self.dtype.name,
                "chunk_grid": grid,
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": 0,
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                "attributes": {},
                "dimension_names": ["z", "y", "x"],
            }
        )

    def _chunk_shape(self, level: int) -> Zyx:
        n_planes, n_rows, n_columns = self._level_shapes[level]
        height, width = min(n_rows, _CHUNK[0]), min(n_columns, _CHUNK[1])
        return min(max(_CHUNK_BYTES // (height * width * self.dtype.itemsize), 1), n_planes), height, width

    def _chunk(self, level: int, chunk_index: Zyx) -> bytes | None:
        """Assemble a chunk from bands of its planes; voxels outside the image are 0."""
        if level >= len(self._level_shapes):
            return None
        shape, sizes = self._level_shapes[level], self._chunk_shape(level)
        start = tuple(index * size for index, size in zip(chunk_index, sizes, strict=True))
        if any(begin >= n_voxels for begin, n_voxels in zip(start, shape, strict=True)):
            return None
        chunk = np.zeros(sizes, self.dtype.newbyteorder("<"))
        bottom, right = min(start[1] + sizes[1], shape[1]), min(start[2] + sizes[2], shape[2])
        for plane in range(start[0], min(start[0] + sizes[0], shape[0])):
            row = start[1]
            while row < bottom:
                first, band = self._band(level, plane, row)
                part = band[row - first : bottom - first, start[2] : right]
                top = row - start[1]
                chunk[plane - start[0], top : top + part.shape[0], : part.shape[1]] = part
                row += part.shape[0]
        return chunk.tobytes()

    def _band(self, level: int, plane: int, row: int) -> tuple[int, Array]:
        """Return the band of whole strips or rows of tiles that contains a row: its first row, and its pixels."""
        with self._lock, open_tiff(self.path) as tiff:
            page = self._page(tiff, level, plane)
            height = page.chunks[0] * math.ceil(_CHUNK[0] / page.chunks[0])
            self._check_memory(page, height)
            key = level, plane, row // height
            if key not in self._cache:
                while self._cache and sum(band.nbytes for band in self._cache.values()) > _CACHE_BYTES:
                    self._cache.popitem(last=False)
                self._cache[key] = _decode_rows(page, self._stack.dtype, key[2] * height, height)
            self._cache.move_to_end(key)
            return key[2] * height, self._cache[key]

    def _page(self, tiff: tifffile.TiffFile, level: int, plane: int) -> tifffile.TiffPage:
        page, layout = levels_of(tiff, plane, self._stack.page_offsets[plane])[level]
        if layout.shape != self._level_shapes[level][1:] or layout.dtype != self._stack.dtype:
            raise SourceError(f"{self.path}: page {plane + 1} is {layout}, not as the others; did it change?")
        return page

    def _check_memory(self, page: tifffile.TiffPage, height: int) -> None:
        """Refuse a page if a band of rows or a tile needs too much memory, encoded or decoded."""
        n_values = max(min(height, page.shape[0]) * page.shape[1], math.prod(page.chunks))
        if (n_bytes := max(n_values * self._stack.dtype.itemsize, *page.databytecounts)) > MOST_DECODED_BYTES:
            raise SourceError(
                f"{self.path}: its strips or tiles take {format_bytes(n_bytes)}, and at most "
                f"{format_bytes(MOST_DECODED_BYTES)} can be shown; convert it to OME-Zarr: catnip2bids convert"
            )


def _decode_rows(page: tifffile.TiffPage, dtype: np.dtype[Any], first: int, height: int) -> Array:
    """Decode the strips or tiles of some rows, which begin where a strip or tile does."""
    n_rows, n_columns = page.shape
    tall, wide = page.chunks[:2]
    across = math.ceil(n_columns / wide)
    rows = np.zeros((min(height, n_rows - first), n_columns), dtype)
    begin, end = first // tall * across, math.ceil((first + rows.shape[0]) / tall) * across
    handle = page.parent.filehandle
    for index in range(begin, end):
        handle.seek(page.dataoffsets[index])
        segment, (*_, top, left, _), _ = page.decode(handle.read(page.databytecounts[index]), index)
        if segment is None:
            continue
        target = rows[top - first : top - first + tall, left : left + wide]
        target[...] = segment[0, : target.shape[0], : target.shape[1], 0]
    return rows


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
