"""The values of an image: their range, and the labels that occur.

Invariant: label values are collected as they are; a float label that is not a whole number, or may have been rounded,
is an error, because the id behind it may already be wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError


def value_range(array: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Return the smallest and largest finite value; None without finite values."""
    smallest, largest = array.min(), array.max()
    if not (np.isfinite(smallest) and np.isfinite(largest)):
        finite = array[np.isfinite(array)]
        if finite.size == 0:
            return None
        smallest, largest = finite.min(), finite.max()
    return float(smallest), float(largest)


def label_values(array: npt.NDArray[Any]) -> frozenset[int]:
    """Return the values that occur, 0 (background) included.

    Raises
    ------
    SourceError
        If float labels are not whole numbers, or reach the size from which floats skip whole numbers (2^11 for
        float16, 2^24 otherwise): such ids may have been rounded. This holds for float64 too, since most programs
        of the field compute with float32 and some save the result as float64.
    """
    values = np.unique(_without_repetitions(array.reshape(-1)))
    if values.dtype.kind == "f":
        largest_exact = 2 ** (min(np.finfo(values.dtype).nmant, np.finfo(np.float32).nmant) + 1)
        if not np.isfinite(values).all() or (values != np.round(values)).any():
            raise SourceError(
                "has labels that are not whole numbers; its region ids cannot be trusted: save them as integers"
            )
        if (np.abs(values) >= largest_exact).any():
            raise SourceError(
                f"has labels of {largest_exact} or more stored as {values.dtype}, which may have been rounded; "
                "its region ids cannot be trusted: save them as integers from the start"
            )
    return frozenset(int(value) for value in values)


def _without_repetitions(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Leave out values that only repeat those before them: runs of one label are long.

    Words of 8 bytes are looked at, which are several values at a time.
    """
    n_whole = values.nbytes // 8 * 8 // values.dtype.itemsize
    words = values[:n_whole].view(np.uint64)
    changes = np.flatnonzero(words[1:] != words[:-1]) + 1
    kept = words[np.concatenate(([0], changes))] if len(words) else words
    return np.concatenate((kept.view(values.dtype), values[n_whole:]))
