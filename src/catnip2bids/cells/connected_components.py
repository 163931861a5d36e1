"""Find the 18-connected components of a segmentation, and the atlas labels of their voxels, block by block.

Invariant: which components are found does not depend on how the volume is divided into blocks, only their order does.
Components at the border of a block are joined by their runs there, and these alone wait for the rest of their layer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Generic, TypeVar

import cc3d
import numpy as np
import numpy.typing as npt

from catnip2bids.cells.components import Components, Integers, first_of_equal, no_components, summed_pairs
from catnip2bids.cells.joining import (
    JOINED,
    X_HIGH,
    X_LOW,
    Y_HIGH,
    Y_LOW,
    Z_HIGH,
    Z_LOW,
    Block,
    Border,
    Joining,
    Zyx,
    no_border,
    padded_index,
)
from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources
from catnip2bids.errors import NotEnoughMemoryError, SourceError
from catnip2bids.formatting import format_bytes_up
from catnip2bids.volume import Volume, read_block

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.signedinteger[Any]]
Summary = TypeVar("Summary")
INSIDE_CELLS = 255
"""The value of a segmentation inside cells; CATNIP counts no other one (``FRSTseg == 255``)."""
_BLOCK_VOXELS = 2**21
_VOXEL_BYTES = 60
"""Memory for a voxel of a block: segmentation, labels, mask, component, and the runs inside cells.

This is twice what real images need. Noise can take more if more than half of the voxels are in cells: up to 120 bytes
for labels, and 270 if each voxel is a cell of its own.
"""
_ROWS_DEPTH = 16
"""Planes of a block if rows can be read alone: of thinner blocks, more voxels lie at a border."""


@dataclass(frozen=True)
class CellImages:
    """The images of one segmentation, all of the same shape (z, y, x)."""

    segmentation: Volume  # 255 inside cells; or the volume of its cell in each voxel
    labels: Volume
    mask: Volume | None  # the labels are 0 where it is 0; None if the labels are masked already
    has_volumes: bool  # whether the segmentation holds volumes; then only voxels of equal values are connected
    downsampling: Zyx  # factors of the grid of the boxes around labels
    counts_voxels: bool = False  # whether to count the voxels of each label, which takes a tenth longer

    @property
    def volumes(self) -> list[Volume]:
        """All images."""
        return [self.segmentation, self.labels, *([self.mask] if self.mask is not None else [])]


@dataclass(frozen=True)
class _Found(Generic[Summary]):
    """The components of a block, with labels and coordinates of the whole image."""

    complete: Summary  # of the components that end in the block
    growing: Components  # those that own the runs of the border
    border: Border
    boxes: dict[int, Box]
    n_labelled: dict[int, int]  # voxels of each label


@dataclass(frozen=True)
class Box:
    """The bounding box of a label on the downsampled grid: least and largest index (z, y, x)."""

    low: Zyx
    high: Zyx

    def joined(self, other: Box | None) -> Box:
        """Return the box around both."""
        if other is None:
            return self
        (z, y, x), (z1, y1, x1) = map(min, self.low, other.low), map(max, self.high, other.high)
        return Box((z, y, x), (z1, y1, x1))


def find_components(
    images: CellImages,
    boxes: dict[int, Box],
    n_labelled: Counter[int],
    resources: Resources,
    on_voxels: Callable[[int], None],
    summarize: Callable[[Components], Summary],
) -> Iterator[Summary]:
    """Find all components, add boxes and voxels of all labels; yield summaries, each of some of the components.

    `summarize` is called for the components of each block, in the worker that found them, and for those of each layer
    that several blocks share; workers pass on only its results. `on_voxels` is called with the number of voxels of each
    block.

    Raises SourceError if an image cannot be read or has fractional volumes, and NotEnoughMemoryError if one block, or
    what has to be joined, does not fit into the memory.
    """
    shape = images.segmentation.shape
    block_shape = _block_shape(images)
    rows = list(_rows_of_blocks(shape, block_shape))
    block_bytes = math.prod(block_shape) * _VOXEL_BYTES
    block_bytes += sum(volume.read_cost.decoding_bytes for volume in images.volumes)
    n_bytes = math.prod(shape) * sum(volume.dtype.itemsize for volume in images.volumes)
    join_bytes = int(resources.memory_bytes * JOINED)
    joining = Joining(shape, join_bytes, images.segmentation.plane_source(0).path)
    if resources.executor is None:
        _refuse_too_little_memory(resources.memory_bytes, block_bytes)
        resources = replace(resources, memory_bytes=resources.memory_bytes - join_bytes)
    with BoundedMap(resources, block_bytes, n_bytes=n_bytes, about="finding cells") as workers:
        blocks = [block for row in rows for block in row]
        found = workers.map(partial(_find_in_block, images, summarize), blocks, result_bytes=block_bytes // 2)
        for row in rows:
            for block, part in zip(row, found, strict=False):
                for label, box in part.boxes.items():
                    boxes[label] = box.joined(boxes.get(label))
                n_labelled.update(part.n_labelled)
                on_voxels(math.prod(side.stop - side.start for side in block))
                joining.add(part.growing, part.border)
                yield part.complete
            joining.join_row(row[0])
            if row[0][1].stop == shape[1]:
                yield summarize(joining.join_layer(row[0][0].stop - 1))


def needed_bytes(shape: Zyx) -> int:
    """Return the least memory for a process that finds the cells of a segmentation of this shape (z, y, x)."""
    return _with_joining(min(math.prod(shape), _BLOCK_VOXELS) * _VOXEL_BYTES)


def _with_joining(block_bytes: int) -> int:
    """Return the memory that a process needs in which blocks of so many bytes are joined."""
    return math.ceil((block_bytes + OVERHEAD_BYTES) / (1 - JOINED))


def _refuse_too_little_memory(memory_bytes: int, block_bytes: int) -> None:
    """Raise NotEnoughMemoryError if one block does not fit into the memory beside those that are joined."""
    if memory_bytes < (least := _with_joining(block_bytes)):
        needed = format_bytes_up(least)
        raise NotEnoughMemoryError(f"finding cells: this takes at least {needed} of memory; give more with --memory")


def _block_shape(images: CellImages) -> Zyx:
    """Choose blocks of whole chunks or strips, of about the same number of voxels."""
    shape = images.segmentation.shape
    chunks = [getattr(volume, "chunk", None) for volume in images.volumes]
    if any(chunk is None for chunk in chunks):
        n_planes, n_rows, n_columns = shape
        can_read_rows = all(volume.read_cost.by_rows for volume in images.volumes)
        depth = _ROWS_DEPTH if can_read_rows else max(_BLOCK_VOXELS // (n_rows * n_columns), 1)
        depth = min(depth, n_planes)
        return depth, min(max(_BLOCK_VOXELS // (depth * n_columns), 1), n_rows), n_columns
    block = [min(max(sizes), n) for sizes, n in zip(zip(*chunks, strict=True), shape, strict=True)]
    for axis in (2, 1):  # rows of chunks, then several of them
        n_more = _BLOCK_VOXELS // math.prod(block)
        block[axis] = min(block[axis] * max(n_more, 1), shape[axis])
    return block[0], block[1], block[2]


def _rows_of_blocks(shape: Zyx, block_shape: Zyx) -> Iterator[list[Block]]:
    """Yield the blocks along x, for one y after the other, layer by layer along z."""
    z, y, x = (
        [slice(start, min(start + step, n)) for start in range(0, n, step)]
        for n, step in zip(shape, block_shape, strict=True)
    )
    for planes, rows in product(z, y):
        yield [(planes, rows, columns) for columns in x]


def _find_in_block(images: CellImages, summarize: Callable[[Components], Summary], block: Block) -> _Found[Summary]:
    """Find the components of one block."""
    values, labels = read_block(images.segmentation, block), read_block(images.labels, block)
    if images.mask is not None:
        labels = np.where(read_block(images.mask, block), labels, 0)
    n_labelled = _numbers_of_voxels(labels) if images.counts_voxels else {}
    of_labels = _boxes(labels, block, images.downsampling), n_labelled
    inside = values != 0 if images.has_volumes else values == INSIDE_CELLS
    if not inside.any():
        return _Found(summarize(no_components()), no_components(), no_border(), *of_labels)
    if images.has_volumes and values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise SourceError(
            f"{images.segmentation.plane_source(block[0].start).path}: has values that are not whole numbers, so "
            "they are not volumes of cells in voxels; replace it by the file that CATNIP wrote, or exclude it"
        )
    cells = values if images.has_volumes else inside.view(np.uint8)
    connected = cc3d.connected_components(cells, connectivity=18, binary_image=not images.has_volumes)
    runs = _runs(inside, connected, labels, are_neighbours_connected=not images.has_volumes)
    components = _described(runs, values, block)
    border = _border(runs, values, block, images.segmentation.shape)
    is_growing = np.zeros(len(components), np.bool_)
    is_growing[border.owner] = True
    border = replace(border, owner=(np.cumsum(is_growing) - 1)[border.owner])
    return _Found(summarize(components.take(~is_growing)), components.take(is_growing), border, *of_labels)


@dataclass(frozen=True)
class _Runs:
    """Parts of rows (along x) of a block whose voxels have the same component and label, as long as possible.

    They are sorted by component, and those of a component are in C order.
    """

    places: tuple[Places, Places, Places]  # z, y and x of the first voxel of each
    length: Places
    owner: npt.NDArray[Any]  # the component of each, from 0, none left out
    label: npt.NDArray[Any]


def _runs(
    inside: Mask, connected: npt.NDArray[Any], labels: npt.NDArray[Any], *, are_neighbours_connected: bool
) -> _Runs:
    """Divide the voxels inside cells into runs; `connected` has the component of each, from 1."""
    _, n_rows, n_columns = inside.shape
    index = np.flatnonzero(inside)
    label = labels.reshape(-1).take(index)
    others = [] if are_neighbours_connected else [connected.reshape(-1).take(index)]
    index = index.astype(np.int32 if inside.size <= 2**31 else np.int64)
    row = index // n_columns
    starts = first_of_equal(index - np.arange(len(index), dtype=index.dtype), row, label, *others)
    length = (np.append(starts[1:], len(index)) - starts).astype(index.dtype)
    owner = connected.reshape(-1).take(index.take(starts)) - 1
    if int(owner.max()) < 2**16:
        owner = owner.astype(np.uint16)  # which NumPy sorts ten times as fast
    order = np.argsort(owner, kind="stable")
    first = starts.take(order)
    x, y = index.take(first), row.take(first)
    x -= y * n_columns
    z = y // n_rows
    y -= z * n_rows
    return _Runs((z, y, x), length.take(order), owner.take(order), label.take(first))


def _border(runs: _Runs, values: npt.NDArray[Any], block: Block, shape: Zyx) -> Border:
    """Return the runs of a block that reach into the faces between it and the others of an image."""
    z, y, x = runs.places
    reach = (z, z, Z_LOW, Z_HIGH), (y, y, Y_LOW, Y_HIGH), (x, x + runs.length - 1, X_LOW, X_HIGH)
    found = np.zeros(len(z), np.uint8)
    for (least, largest, low, high), side, n in zip(reach, block, shape, strict=True):
        if side.start > 0:
            found |= (least == 0) * np.uint8(low)
        if side.stop < n:
            found |= (largest == side.stop - side.start - 1) * np.uint8(high)
    near = np.flatnonzero(found != 0)
    z, y, x = z[near], y[near], x[near]
    index = padded_index(np.stack([z, y, x], axis=1) + _corner(block), shape)
    owner, value = runs.owner[near].astype(np.int64), values[z, y, x].astype(np.int64)
    return Border(index, runs.length[near], owner, value, found[near])


def _corner(block: Block) -> Integers:
    """Return the place (z, y, x) where a block begins."""
    return np.array([side.start for side in block])


def _described(runs: _Runs, values: npt.NDArray[Any], block: Block) -> Components:
    """Describe the components of a block."""
    firsts = first_of_equal(runs.owner)
    lasts = np.append(firsts[1:], len(runs.owner)) - 1
    z, y, x = runs.places
    last = x + runs.length - 1
    value = values[z[firsts], y[firsts], x[firsts]].astype(np.int64)
    low = np.stack([z[firsts], np.minimum.reduceat(y, firsts), np.minimum.reduceat(x, firsts)], axis=1)
    high = np.stack([z[lasts], *(np.maximum.reduceat(axis, firsts) for axis in (y, last))], axis=1)
    n_voxels = np.add.reduceat(runs.length, firsts, dtype=np.int64)
    doubled = (2 * z, 2 * y, x + last)  # the mean place of a run may lie between two voxels
    weighted = (np.multiply(axis, runs.length, dtype=np.int64) for axis in doubled)  # one at a time, to save memory
    sums = np.stack([np.add.reduceat(axis, firsts) for axis in weighted], axis=1) // 2
    pairs = summed_pairs(runs.owner, runs.label.astype(np.int64), runs.length)
    corner = _corner(block)
    return Components(n_voxels, sums + n_voxels[:, np.newaxis] * corner, low + corner, high + corner, value, *pairs)


def _numbers_of_voxels(labels: npt.NDArray[np.generic]) -> dict[int, int]:
    """Count the voxels of each label; most of them have the label of their neighbour."""
    flat = labels.reshape(-1)
    starts = first_of_equal(flat)
    values, which = np.unique(flat[starts], return_inverse=True)
    n_voxels = np.bincount(which, np.diff(starts, append=len(flat)))
    return dict(zip(values.astype(np.int64).tolist(), n_voxels.astype(np.int64).tolist(), strict=True))


def _boxes(labels: npt.NDArray[np.generic], block: Block, downsampling: Zyx) -> dict[int, Box]:
    """Return the boxes of the labels at the middle of each voxel of the downsampled grid."""
    first = [math.ceil((side.start - step // 2) / step) for side, step in zip(block, downsampling, strict=True)]
    starts = [at * step + step // 2 - side.start for at, step, side in zip(first, downsampling, block, strict=True)]
    sampled = labels[tuple(slice(start, None, step) for start, step in zip(starts, downsampling, strict=True))]
    index = np.flatnonzero(sampled)
    label = sampled.reshape(-1).take(index)
    order = np.argsort(label, kind="stable")
    label, places = label.take(order).astype(np.int64), np.unravel_index(index.take(order), sampled.shape)
    firsts = first_of_equal(label)
    if not len(firsts):
        return {}
    low, high = (
        np.stack([f.reduceat(place, firsts) for place in places], axis=1) + np.array(first)
        for f in (np.minimum, np.maximum)
    )
    return {
        value: Box(tuple(least), tuple(largest))
        for value, least, largest in zip(label[firsts].tolist(), low.tolist(), high.tolist(), strict=True)
    }
