"""Merging voxels into those of the next level: mean of intensities, mode of labels, maximum of masks.

Invariant: all ways to merge give the same voxels. tensorstore merges every type and kind; for the unsigned integers
that microscopes and atlases write there are ways here that are four to ten times as fast, because they work on whole
rows. Voxels beyond the end of an odd axis are left out of the merge, not invented; that is the same as counting the
last ones twice.

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
"""Where more voxels than this hold several labels, tensorstore's way is the faster one."""


def downsample(
    array: Array, step: Zyx, kind: Kind, threads: Executor | None = None, n_pieces: int = 1, out: Array | None = None
) -> Array:
    """Merge voxels of an array (z, y, x); the dtype stays.

    Parameters
    ----------
    array
        The voxels.
    step
        Voxels to merge along (z, y, x), 1 or 2 each.
    kind
        Decides how.
    threads, n_pieces
        Where the work is done, in about so many pieces of rows at a time.
    out
        Where to put the merged voxels; a new array by default.
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
    """Merge voxels as `downsample` does, with tensorstore alone."""
    shape = [math.ceil(n / s) for n, s in zip(array.shape, step, strict=True)]
    merged = np.empty(shape, array.dtype)
    _any_way(array, step, merged, kind)
    return merged


def _merger(dtype: np.dtype[Any], kind: Kind) -> Callable[[Array, Zyx, Array], None]:
    if kind == Kind.MASK and dtype.kind in "bu":
        return _max
    if kind == Kind.LABELS and dtype.kind == "u" and dtype.itemsize <= 4:
        return _mode
    if kind == Kind.IMAGE and dtype.kind == "u" and dtype.itemsize <= 2:
        return _mean
    return lambda array, step, out: _any_way(array, step, out, kind)


def _any_way(array: Array, step: Zyx, out: Array, kind: Kind) -> None:
    import tensorstore as ts  # late: it takes 0.3 s to import

    ts.array(out).write(ts.downsample(ts.array(array), list(step), method=DOWNSAMPLING[kind])).result()


def _max(array: Array, step: Zyx, out: Array) -> None:
    for z, planes in enumerate(_groups(array, step[0])):
        out[z] = _reduced(planes, step, np.maximum)


def _mean(array: Array, step: Zyx, out: Array) -> None:
    # sums of up to four values before those of neighbours along x, and of eight in the end
    small = array.dtype.itemsize == 1 or array.max(initial=0) < 2**14
    sums, shift = np.dtype("u2" if small else "u4"), math.prod(step).bit_length() - 1
    for z, planes in enumerate(_groups(array, step[0])):
        total = _reduced_rows([plane.astype(sums, copy=False) for plane in planes], step[1], np.add)
        if step[2] == 2:
            total = _even(total, 1)
            # two neighbours lie in one word of twice the size, whatever the byte order
            pairs = np.ascontiguousarray(total).view(f"u{2 * sums.itemsize}")
            total = (pairs & (2 ** (8 * sums.itemsize) - 1)) + (pairs >> (8 * sums.itemsize))
        if shift:
            total = (total + (2 ** (shift - 1) - 1) + ((total >> shift) & 1)) >> shift
        out[z] = total


def _mode(array: Array, step: Zyx, out: Array) -> None:
    n_mixed = 0
    for z, planes in enumerate(_groups(array, step[0])):
        even = [_whole(plane, step) for plane in planes]
        first, mixed = _first_and_mixed(even, step)
        out[z] = first
        at = np.flatnonzero(mixed)
        n_mixed += len(at)
        if n_mixed > _MOST_MIXED * out[: z + 1].size:
            _any_way(array, step, out, Kind.LABELS)
            return
        if len(at):
            rows, columns = np.divmod(at, out.shape[2])
            corner = rows * (step[1] * even[0].shape[1]) + columns * step[2]
            values = [
                plane.reshape(-1)[corner + (y * plane.shape[1] + x)]
                for plane in even
                for y in range(step[1])
                for x in range(step[2])
            ]
            out[z, rows, columns] = _most_frequent(values)


def _first_and_mixed(planes: list[Array], step: Zyx) -> tuple[Array, Array]:
    """Return the first of the voxels that are merged, and whether there are other values among them."""
    first, *others = [plane[y :: step[1]] for plane in planes for y in range(step[1])]
    unlike = np.zeros(first.shape, first.dtype)
    for other in others:
        unlike |= first ^ other
    if step[2] == 1:
        return first, unlike != 0
    # two neighbours lie in one word of twice the size, whatever the byte order
    n_bits, word = 8 * first.dtype.itemsize, f"u{2 * first.dtype.itemsize}"
    pairs = first.view(word)
    merged = pairs & (2**n_bits - 1)
    return merged, (unlike.view(word) | (merged ^ (pairs >> n_bits))) != 0


def _most_frequent(values: list[Array]) -> Array:
    """Return, place by place, the most frequent of several values, and the smallest one of those."""
    values = _sorted(values)
    found, best = values[0].copy(), np.ones(len(values[0]), np.uint8)
    n_alike = best.copy()
    for before, value in pairwise(values):
        n_alike *= value == before
        n_alike += 1
        better = n_alike > best
        np.copyto(found, value, where=better)
        np.maximum(best, n_alike, out=best)
    return found


def _sorted(values: list[Array]) -> list[Array]:
    """Sort place by place, by comparing neighbours as often as there are values."""
    values = list(values)
    for turn in range(len(values)):
        for place in range(turn % 2, len(values) - 1, 2):
            low, high = values[place], values[place + 1]
            values[place], values[place + 1] = np.minimum(low, high), np.maximum(low, high)
    return values


def _groups(array: Array, n: int) -> list[list[Array]]:
    """Group planes that are merged; the last one counts twice if it is left alone."""
    last = len(array) - 1
    return [[array[min(z + i, last)] for i in range(n)] for z in range(0, len(array), n)]


def _reduced(planes: list[Array], step: Zyx, by: np.ufunc) -> Array:
    rows = _reduced_rows(planes, step[1], by)
    if step[2] == 1:
        return rows
    rows = _even(rows, 1)
    return np.asarray(by(rows[:, 0::2], rows[:, 1::2]))


def _reduced_rows(planes: list[Array], step: int, by: np.ufunc) -> Array:
    rows = planes[0] if len(planes) == 1 else by(planes[0], planes[1])
    if step == 1:
        return np.asarray(rows)
    rows = _even(rows, 0)
    return np.asarray(by(rows[0::2], rows[1::2]))


def _whole(plane: Array, step: Zyx) -> Array:
    """Make all axes even that are merged."""
    for axis in (0, 1):
        if step[axis + 1] == 2:
            plane = _even(plane, axis)
    return plane


def _even(plane: Array, axis: int) -> Array:
    """Make an axis even: the last row or column counts twice."""
    if plane.shape[axis] % 2 == 0:
        return plane
    return np.concatenate([plane, plane[-1:] if axis == 0 else plane[:, -1:]], axis=axis)
