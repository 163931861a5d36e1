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
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catnip2bids.choices import Kind

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]

DOWNSAMPLING: dict[Kind, Literal["mean", "mode", "max"]] = {
    Kind.IMAGE: "mean",
    Kind.LABELS: "mode",
    Kind.MASK: "max",
}
"""How voxels of each kind are merged; the names are those of tensorstore's downsample driver."""
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


def _merger(dtype: np.dtype[Any], kind: Kind) -> Callable[[Array, Zyx, Array], None]:
    if kind == Kind.MASK and dtype.kind in "bu":
        return _max
    if kind == Kind.LABELS and dtype.kind == "u":
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
        largest, smallest = _reduced(planes, step, np.maximum), _reduced(planes, step, np.minimum)
        out[z] = largest
        rows, columns = np.nonzero(largest != smallest)
        n_mixed += len(rows)
        if n_mixed > _MOST_MIXED * out[: z + 1].size:
            _any_way(array, step, out, Kind.LABELS)
            return
        if len(rows):
            values = [
                plane[
                    np.minimum(rows * step[1] + y, plane.shape[0] - 1),
                    np.minimum(columns * step[2] + x, plane.shape[1] - 1),
                ]
                for plane in planes
                for y in range(step[1])
                for x in range(step[2])
            ]
            out[z, rows, columns] = _most_frequent(np.stack(values, axis=1))


def _most_frequent(values: Array) -> Array:
    """Return the most frequent value of each row, the smallest one of several."""
    values = np.sort(values, axis=1)
    n = values.shape[1]
    found, open_rows = values[:, 0].copy(), np.arange(len(values))
    for count in range(n, 1, -1):
        # in sorted rows, a value is there `count` times if it is there again so many places on
        again = values[open_rows, : n - count + 1] == values[open_rows, count - 1 :]
        decided = again.any(axis=1)
        rows = open_rows[decided]
        found[rows] = values[rows, again[decided].argmax(axis=1)]
        open_rows = open_rows[~decided]
    return found


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


def _even(plane: Array, axis: int) -> Array:
    """Make an axis even: the last row or column counts twice."""
    if plane.shape[axis] % 2 == 0:
        return plane
    return np.concatenate([plane, plane[-1:] if axis == 0 else plane[:, -1:]], axis=axis)
