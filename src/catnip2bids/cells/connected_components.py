"""Find the 18-connected components of a segmentation, and the atlas labels of their voxels, block by block.

Invariant: the result does not depend on how the volume is divided into blocks. Components that touch the border of a
block are joined by their voxels there. Of all layers of blocks, only the components that may still grow are in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources
from catnip2bids.volume import Volume, read_block

Zyx = tuple[int, int, int]
Block = tuple[slice, slice, slice]
"""The part of an image between slices along z, y and x."""
Integers = npt.NDArray[np.int64]

INSIDE_CELLS = 255
"""The value of a segmentation inside cells; CATNIP counts no other one (``FRSTseg == 255``)."""
_BLOCK_VOXELS = 2**21
_VOXEL_BYTES = 60
"""Memory for a voxel of a block: segmentation, labels, mask, component, and its places and labels inside of cells."""
_ROWS_DEPTH = 16
"""Planes of a block if rows can be read alone: of thinner blocks, more voxels lie at a border."""
_AFTER = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0) and sum(map(abs, step)) <= 2]
"""The neighbours (z, y, x) of a voxel in an 18-neighbourhood that come after it."""


@dataclass(frozen=True)
class CellImages:
    """The images of one segmentation, all of the same shape (z, y, x)."""

    segmentation: Volume  # 255 inside cells; or the volume of its cell in each voxel
    labels: Volume
    mask: Volume | None  # the labels are 0 where it is 0; None if the labels are masked already
    has_volumes: bool  # whether the segmentation holds volumes; then only voxels of equal values are connected
    downsampling: Zyx  # factors of the grid of the boxes around labels

    @property
    def volumes(self) -> list[Volume]:
        """All images."""
        return [self.segmentation, self.labels, *([self.mask] if self.mask is not None else [])]


@dataclass(frozen=True)
class Components:
    """The n components of a part of an image; m pairs of a component and a label that its voxels have."""

    n_voxels: Integers  # (n,)
    sums: Integers  # of the coordinates (z, y, x) of all voxels, (n, 3)
    low: Integers  # least coordinates, (n, 3)
    high: Integers  # largest coordinates, (n, 3)
    value: Integers  # of the segmentation, (n,)
    owner: Integers  # the component of each pair, ascending, (m,)
    label: Integers  # (m,)
    n_labelled: Integers  # voxels of the component with the label, (m,)

    def __len__(self) -> int:
        return len(self.n_voxels)

    def take(self, chosen: Integers) -> Components:
        """Return some components in the given order."""
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        pairs = np.flatnonzero(place[self.owner] >= 0)
        pairs = pairs[np.argsort(place[self.owner[pairs]], kind="stable")]
        return Components(
            n_voxels=self.n_voxels[chosen],
            sums=self.sums[chosen],
            low=self.low[chosen],
            high=self.high[chosen],
            value=self.value[chosen],
            owner=place[self.owner[pairs]],
            label=self.label[pairs],
            n_labelled=self.n_labelled[pairs],
        )


@dataclass(frozen=True)
class _Border:
    """Voxels at the border of a block, through which its components may go on."""

    index: Integers  # of the voxel in the whole image, see `_padded_index`
    owner: Integers


@dataclass(frozen=True)
class _Found:
    """The components of a block, with labels and coordinates of the whole image."""

    components: Components
    border: _Border
    boxes: dict[int, Box]


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
    images: CellImages, boxes: dict[int, Box], resources: Resources, on_voxels: Callable[[int], None]
) -> Iterator[Components]:
    """Yield all components in the order of their last planes, then of their centres, and add the boxes of all labels.

    `on_voxels` is called with the number of voxels of each block. Raises SourceError if an image cannot be read, and
    NotEnoughMemoryError if not even one block fits into the memory.
    """
    shape = images.segmentation.shape
    block_shape = _block_shape(images)
    layers = list(_layers(shape, block_shape))
    blocks = [block for layer in layers for block in layer]
    block_bytes = math.prod(block_shape) * _VOXEL_BYTES
    block_bytes += sum(volume.read_cost.decoding_bytes for volume in images.volumes)
    n_bytes = math.prod(shape) * sum(volume.dtype.itemsize for volume in images.volumes)
    open_components = _Found(_none(), _Border(np.empty(0, np.int64), np.empty(0, np.int64)), {})
    with BoundedMap(resources, block_bytes, n_bytes=n_bytes, about="finding cells") as workers:
        found = workers.map(partial(_find_in_block, images), blocks, result_bytes=block_bytes // 8)
        for layer in layers:
            parts = [open_components]
            for block, part in zip(layer, found, strict=False):
                parts.append(part)
                for label, box in part.boxes.items():
                    boxes[label] = box.joined(boxes.get(label))
                on_voxels(math.prod(side.stop - side.start for side in block))
            last = layer[0][0].stop - 1
            finished, open_components = _join(parts, shape, last if last < shape[0] - 1 else shape[0])
            yield finished


def needed_bytes(shape: Zyx) -> int:
    """Return the least memory for a process that finds the cells of a segmentation of this shape (z, y, x)."""
    return min(math.prod(shape), _BLOCK_VOXELS) * _VOXEL_BYTES + OVERHEAD_BYTES


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


def _layers(shape: Zyx, block_shape: Zyx) -> Iterator[list[Block]]:
    """Yield the blocks, layer by layer along z."""
    z, y, x = (
        [slice(start, min(start + step, n)) for start in range(0, n, step)]
        for n, step in zip(shape, block_shape, strict=True)
    )
    for planes in z:
        yield [(planes, rows, columns) for rows, columns in product(y, x)]


def _none() -> Components:
    one, three = np.empty(0, np.int64), np.empty((0, 3), np.int64)
    return Components(one, three, three, three, one, one, one, one)


def _find_in_block(images: CellImages, block: Block) -> _Found:
    """Find the components of one block."""
    values, labels = read_block(images.segmentation, block), read_block(images.labels, block)
    if images.mask is not None:
        labels = np.where(read_block(images.mask, block), labels, 0)
    boxes = _boxes(labels, block, images.downsampling)
    inside = values != 0 if images.has_volumes else values == INSIDE_CELLS
    if not inside.any():
        return _Found(_none(), _Border(np.empty(0, np.int64), np.empty(0, np.int64)), boxes)
    cells = values if images.has_volumes else inside.view(np.uint8)
    connected = cc3d.connected_components(cells, connectivity=18, binary_image=not images.has_volumes)
    components = _described(connected, labels, values, np.array([side.start for side in block]))
    return _Found(components, _border(connected, block, images.segmentation.shape), boxes)


def _border(connected: npt.NDArray[Any], block: Block, shape: Zyx) -> _Border:
    """Return the voxels of components in the six faces of a block of an image of this shape, each once."""
    places, owner = [], []
    inner = [slice(0, n) for n in connected.shape]
    for axis, n in enumerate(connected.shape):
        for at in sorted({0, n - 1}):
            part = [*inner[:axis], slice(at, at + 1), *inner[axis + 1 :]]
            face = connected[tuple(part)]
            where = np.nonzero(face)
            starts = [side.start + of_block.start for side, of_block in zip(part, block, strict=True)]
            places.append(np.stack(where, axis=1) + starts)
            owner.append(face[where].astype(np.int64) - 1)
        inner[axis] = slice(1, max(n - 1, 1))
    return _Border(_padded_index(np.concatenate(places), shape), np.concatenate(owner))


def _padded_index(places: Integers, shape: Zyx) -> Integers:
    """Return indices in C order into an image with a margin around each plane, in which no voxel has a neighbour."""
    z, y, x = places.T
    index: Integers = (z * (shape[1] + 2) + y) * (shape[2] + 2) + x
    return index


def _described(
    connected: npt.NDArray[Any], labels: npt.NDArray[Any], values: npt.NDArray[Any], corner: Integers
) -> Components:
    """Describe the components of a block that begins at `corner` (z, y, x); `connected` has them from 1.

    A run is a part of a row of voxels (along x) with the same value and label, and thus of one component.
    """
    width = connected.shape[2]
    value, label = values.reshape(-1), labels.reshape(-1)
    begins = np.ones(len(value), np.bool_)
    np.not_equal(value[1:], value[:-1], out=begins[1:])
    begins[1:] |= label[1:] != label[:-1]
    begins[::width] = True
    runs = np.flatnonzero(begins).astype(np.int32)
    lengths, owner = np.diff(runs, append=np.int32(len(value))), connected.reshape(-1)[runs]
    in_cells = np.flatnonzero(owner)
    owner = owner[in_cells] - 1
    n = int(owner.max()) + 1
    if n <= 2**16:
        owner = owner.astype(np.uint16)  # which NumPy sorts ten times as fast
    order = in_cells[np.argsort(owner, kind="stable")]
    runs, lengths = runs[order], lengths[order]
    n_runs = np.bincount(owner, minlength=n)
    firsts = np.cumsum(n_runs) - n_runs
    rows, x = np.divmod(runs, width)
    z, y = np.divmod(rows, connected.shape[1])
    last = x + lengths - 1
    low = np.stack([z[firsts], np.minimum.reduceat(y, firsts), np.minimum.reduceat(x, firsts)], axis=1)
    high = np.stack([z[firsts + n_runs - 1], *(np.maximum.reduceat(axis, firsts) for axis in (y, last))], axis=1)
    n_voxels = np.add.reduceat(lengths, firsts, dtype=np.int64)
    doubled = (2 * z, 2 * y, x + last)  # the mean place of a run may lie between two voxels
    weighted = [np.multiply(axis, lengths, dtype=np.int64) for axis in doubled]
    sums = np.stack([np.add.reduceat(axis, firsts) for axis in weighted], axis=1) // 2
    label = label[runs].astype(np.int64)
    least = np.minimum.reduceat(label, firsts)
    is_uniform = least == np.maximum.reduceat(label, firsts)
    uniform, mixed = np.flatnonzero(is_uniform), ~is_uniform.repeat(n_runs)
    pairs = _summed_pairs(
        np.concatenate([uniform, np.arange(n).repeat(n_runs)[mixed]]),
        np.concatenate([least[uniform], label[mixed]]),
        np.concatenate([n_voxels[uniform], lengths[mixed]]),
    )
    return Components(
        n_voxels,
        sums + n_voxels[:, np.newaxis] * corner,
        low + corner,
        high + corner,
        value[runs[firsts]].astype(np.int64),
        *pairs,
    )


def _summed_pairs(owner: Integers, label: Integers, n_labelled: Integers) -> tuple[Integers, Integers, Integers]:
    """Sort pairs by component and label, and add up those that are equal."""
    order = np.lexsort((label, owner))
    owner, label = owner[order], label[order]
    is_first = np.ones(len(owner), np.bool_)
    is_first[1:] = (owner[1:] != owner[:-1]) | (label[1:] != label[:-1])
    starts = np.flatnonzero(is_first)
    counts = np.add.reduceat(n_labelled[order], starts) if len(starts) else n_labelled
    return owner[starts], label[starts], counts


def _boxes(labels: npt.NDArray[np.generic], block: Block, downsampling: Zyx) -> dict[int, Box]:
    """Return the boxes of the labels at the middle of each voxel of the downsampled grid."""
    first = [math.ceil((side.start - step // 2) / step) for side, step in zip(block, downsampling, strict=True)]
    starts = [at * step + step // 2 - side.start for at, step, side in zip(first, downsampling, block, strict=True)]
    sampled = labels[tuple(slice(start, None, step) for start, step in zip(starts, downsampling, strict=True))]
    places = np.nonzero(sampled)
    if not places[0].size:
        return {}
    label = sampled[places]
    order = np.argsort(label, kind="stable")
    found, starts = np.unique(label[order], return_index=True)
    where = np.stack(places, axis=1)[order] + np.array(first)
    low, high = np.minimum.reduceat(where, starts), np.maximum.reduceat(where, starts)
    return {
        value: Box(tuple(least), tuple(largest))
        for value, least, largest in zip(found.tolist(), low.tolist(), high.tolist(), strict=True)
    }


def _join(parts: Sequence[_Found], shape: Zyx, last_plane: int) -> tuple[Components, _Found]:
    """Join the components of neighbouring blocks; return those that are complete, and those that reach `last_plane`."""
    starts = np.cumsum([0, *(len(part.components) for part in parts)])
    owner = np.concatenate([part.border.owner + start for part, start in zip(parts, starts, strict=False)])
    index = np.concatenate([part.border.index for part in parts])
    order = np.argsort(index)
    border = _Border(index[order], owner[order])
    both = _concatenated([part.components for part in parts], starts)
    root = _roots(len(both), *_touching(border, both.value, shape))
    kept, which = np.unique(root, return_inverse=True)
    joined = _merged(both, which, len(kept))
    border = replace(border, owner=which[border.owner])
    is_open = joined.high[:, 0] >= last_plane
    goes_on = is_open[border.owner] & (border.index >= _padded_index(np.array([[last_plane, 0, 0]]), shape)[0])
    open_ones = np.flatnonzero(is_open)
    place = np.full(len(joined), -1)
    place[open_ones] = np.arange(len(open_ones))
    waiting = _Found(joined.take(open_ones), _Border(border.index[goes_on], place[border.owner[goes_on]]), {})
    complete = np.flatnonzero(~is_open)
    keys = (*joined.sums[complete].T[::-1], joined.high[complete, 0])
    return joined.take(complete[np.lexsort(keys)]), waiting


def _concatenated(parts: Sequence[Components], starts: Integers) -> Components:
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Components)
    }
    columns["owner"] = np.concatenate([part.owner + start for part, start in zip(parts, starts, strict=False)])
    return Components(**columns)


def _touching(border: _Border, value: Integers, shape: Zyx) -> tuple[Integers, Integers]:
    """Return pairs of components that touch each other at the border of blocks."""
    ones, others = [], []
    for step in _AFTER:
        wanted = border.index + int(_padded_index(np.array([step]), shape)[0])
        other = np.minimum(np.searchsorted(border.index, wanted), len(border.index) - 1)
        found = border.index[other] == wanted
        a, b = border.owner[found], border.owner[other[found]]
        equal = (a != b) & (value[a] == value[b])
        ones.append(a[equal])
        others.append(b[equal])
    return np.concatenate(ones), np.concatenate(others)


def _roots(n: int, ones: Integers, others: Integers) -> Integers:
    """Return the least component that each of n components is connected to."""
    root = np.arange(n)
    while True:
        a, b = root[ones], root[others]
        differ = a != b
        if not differ.any():
            return root
        a, b = a[differ], b[differ]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root[root] != root).any():
            root = root[root]


def _merged(parts: Components, which: Integers, n: int) -> Components:
    """Merge components: part i belongs to component which[i] of n."""
    if not n:
        return _none()
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(n))
    return Components(
        np.add.reduceat(parts.n_voxels[order], starts),
        np.add.reduceat(parts.sums[order], starts),
        np.minimum.reduceat(parts.low[order], starts),
        np.maximum.reduceat(parts.high[order], starts),
        parts.value[order[starts]],
        *_summed_pairs(which[parts.owner], parts.label, parts.n_labelled),
    )
