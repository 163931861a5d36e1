"""Downsample to the next level: mean of intensities, mode of labels, maximum of masks.

Invariant: all implementations give the same voxels. tensorstore downsamples every type and kind; for the unsigned
integers of microscopes and atlases the functions below are four to ten times as fast, because they work on whole rows.
At the end of an odd axis only the existing voxels are merged, which is the same as counting the last ones twice.

Means are rounded half to even. Of labels that are equally frequent the smallest one wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catnip2bids.enums import Kind

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]

DOWNSAMPLING: dict[Kind, Literal["mean", "mode", "max"]] = {
    Kind.IMAGE: "mean",
    Kind.LABELS: "mode",
    Kind.MASK: "max",
}
"""How voxels of each kind are merged; the names are those of tensorstore's downsample driver."""
RULES = {
    Kind.IMAGE: "mean of the merged voxels, of integers rounded half to even",
    Kind.LABELS: "most frequent of the merged voxels, the smallest of equally frequent ones",
    Kind.MASK: "maximum of the merged voxels",
}
"""The same in words, for the metadata of images."""
_MOST_MIXED = 0.2
"""If more of the voxels than this are made of several labels, tensorstore is faster."""


def downsample(
    array: Array, step: Zyx, kind: Kind, threads: Executor | None = None, n_pieces: int = 1, out: Array | None = None
) -> Array:
    """Downsample an array (z, y, x) to the same dtype, by merging `step` voxels along (z, y, x), 1 or 2 each.

    The work is divided into about `n_pieces` pieces of rows, which run on `threads` if there are any. The result goes
    to `out`; by default to a new array.
    """
    shape = [math.ceil(n / s) for n, s in zip(array.shape, step, strict=True)]
    merged = np.empty(shape, array.dtype) if out is None else out
    merge = _merger(array.dtype, kind)
    n_rows = max(math.ceil(shape[1] / n_pieces), 1)

    def merge_rows(top: int) -> None:
        rows = array[:, top * step[1] : (top + n_rows) * step[1]]
        merge(rows, step, merged[:, top : top + n_rows])

    tops = range(0, shape[1], n_rows)
    for _ in map(merge_rows, tops) if threads is None else threads.map(merge_rows, tops):
        pass
    return merged


def downsample_plainly(array: Array, step: Zyx, kind: Kind) -> Array:
    """Downsample as `downsample` does, with tensorstore alone."""
    shape = [math.ceil(n / s) for n, s in zip(array.shape, step, strict=True)]
    merged = np.empty(shape, array.dtype)
    _by_tensorstore(array, step, merged, kind)
    return merged


def _merger(dtype: np.dtype[Any], kind: Kind) -> Callable[[Array, Zyx, Array], None]:
    if kind == Kind.MASK and dtype.kind in "bu":
        return _max
    if kind == Kind.LABELS and dtype.kind == "u" and dtype.itemsize <= 4:
        return _mode
    if kind == Kind.IMAGE and dtype.kind == "u" and dtype.itemsize <= 2:
        return _mean
    return lambda array, step, out: _by_tensorstore(array, step, out, kind)


def _by_tensorstore(array: Array, step: Zyx, out: Array, kind: Kind) -> None:
    import tensorstore as ts  # late: it takes 0.3 s to import

    ts.array(out).write(ts.downsample(ts.array(array), list(step), method=DOWNSAMPLING[kind])).result()


def _max(array: Array, step: Zyx, out: Array) -> None:
    for z, planes in enumerate(_groups(array, step[0])):
        merged = _merged_rows(planes, step[1], np.maximum)
        if step[2] == 2:
            merged = _even(merged, 1)
            merged = np.maximum(merged[:, 0::2], merged[:, 1::2])
        out[z] = merged


def _mean(array: Array, step: Zyx, out: Array) -> None:
    # the sums type must hold four values before neighbours along x are added, and eight afterwards
    small = array.dtype.itemsize == 1 or array.max(initial=0) < 2**14
    sums, shift = np.dtype("u2" if small else "u4"), math.prod(step).bit_length() - 1
    for z, planes in enumerate(_groups(array, step[0])):
        total = _merged_rows([plane.astype(sums, copy=False) for plane in planes], step[1], np.add)
        if step[2] == 2:
            one, other = _split_pairs(np.ascontiguousarray(_even(total, 1)))
            total = one + other
        if shift:
            total = (total + (2 ** (shift - 1) - 1) + ((total >> shift) & 1)) >> shift
        out[z] = total


def _mode(array: Array, step: Zyx, out: Array) -> None:
    """Take one label of each group of merged voxels, and count only in the groups that hold several labels."""
    n_mixed = 0
    for z, planes in enumerate(_groups(array, step[0])):
        for axis in (0, 1):
            if step[axis + 1] == 2:
                planes = [_even(plane, axis) for plane in planes]
        labels, is_mixed = _any_label(planes, step)
        out[z] = labels
        mixed = np.flatnonzero(is_mixed)
        n_mixed += len(mixed)
        if n_mixed > _MOST_MIXED * out[: z + 1].size:
            _by_tensorstore(array, step, out, Kind.LABELS)
            return
        if len(mixed):
            rows, columns = np.divmod(mixed, out.shape[2])
            n_columns = planes[0].shape[1]
            first = rows * (step[1] * n_columns) + columns * step[2]  # index of each group's first voxel in a plane
            offsets = [y * n_columns + x for y in range(step[1]) for x in range(step[2])]
            values = [plane.reshape(-1)[first + offset] for plane in planes for offset in offsets]
            out[z, rows, columns] = _most_frequent(values)


def _any_label(planes: list[Array], step: Zyx) -> tuple[Array, Array]:
    """Return one label of each group of merged voxels, and whether the group holds other labels too."""
    first, *others = [plane[y :: step[1]] for plane in planes for y in range(step[1])]
    differences = np.zeros(first.shape, first.dtype)
    for other in others:
        differences |= first ^ other
    if step[2] == 1:
        return first, differences != 0
    one, neighbour = _split_pairs(first)
    return one, (_pairs(differences) | (one ^ neighbour)) != 0


def _pairs(rows: Array) -> Array:
    """View neighbours along x, of n bits each, as one word of 2 n bits."""
    return rows.view(f"u{2 * rows.dtype.itemsize}")


def _split_pairs(rows: Array) -> tuple[Array, Array]:
    """Return the two voxels of each pair of neighbours along x, as words of twice the size.

    Much faster than slices with a step of 2, since whole words are read::

        voxels       a    b     c    d     n bits each
        words       [b ── a]   [d ── c]    2 n bits each, the same bytes (little endian)
        low half          a          c     word & (2**n - 1)
        high half    b          d          word >> n

    On a big-endian machine the two results change places, which matters to no caller.
    """
    n_bits, words = 8 * rows.dtype.itemsize, _pairs(rows)
    return words & (2**n_bits - 1), words >> n_bits


def _most_frequent(values: list[Array]) -> Array:
    """Return, element by element, the most frequent of several values, the smallest of equally frequent ones."""
    values = _sorted(values)
    found, best = values[0].copy(), np.ones(len(values[0]), np.uint8)
    n_equal = best.copy()
    for before, value in pairwise(values):
        n_equal *= value == before
        n_equal += 1
        better = n_equal > best
        np.copyto(found, value, where=better)
        np.maximum(best, n_equal, out=best)
    return found


def _sorted(values: list[Array]) -> list[Array]:
    """Sort element by element, with an odd-even transposition network."""
    values = list(values)
    for turn in range(len(values)):
        for i in range(turn % 2, len(values) - 1, 2):
            low, high = values[i], values[i + 1]
            values[i], values[i + 1] = np.minimum(low, high), np.maximum(low, high)
    return values


def _groups(array: Array, n: int) -> list[list[Array]]:
    """Group the planes to merge; if the last plane has no partner, it counts twice."""
    last = len(array) - 1
    return [[array[min(z + i, last)] for i in range(n)] for z in range(0, len(array), n)]


def _merged_rows(planes: list[Array], step: int, by: np.ufunc) -> Array:
    rows = planes[0] if len(planes) == 1 else by(planes[0], planes[1])
    if step == 1:
        return np.asarray(rows)
    rows = _even(rows, 0)
    return np.asarray(by(rows[0::2], rows[1::2]))


def _even(plane: Array, axis: int) -> Array:
    """Make the length of an axis even, by repeating the last row or column."""
    if plane.shape[axis] % 2 == 0:
        return plane
    return np.concatenate([plane, plane[-1:] if axis == 0 else plane[:, -1:]], axis=axis)
