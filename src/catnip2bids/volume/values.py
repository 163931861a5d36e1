"""What values occur in an image: the range, and the labels.

Invariant: label values are collected as they are; a label that is no whole number, or too large for a float of
its type, is an error, because the id behind it may already be wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError


def value_range(array: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Smallest and largest finite value; None where there is none."""
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
        If float labels are not whole numbers, or reach the size from which their type skips whole numbers
        (2^24 for float32): such ids were rounded by whoever stored them as float.
    """
    # runs of one label are long: looking at their first voxels alone is much faster
    flat = array.reshape(-1)
    starts = flat[np.concatenate(([True], flat[1:] != flat[:-1]))] if flat.size else flat
    values = np.unique(starts)
    if values.dtype.kind == "f":
        largest_exact = 2 ** (np.finfo(values.dtype).nmant + 1)
        if not np.isfinite(values).all() or (values != np.round(values)).any():
            raise SourceError("has labels that are not whole numbers; the region ids in it cannot be trusted")
        if (np.abs(values) >= largest_exact).any():
            raise SourceError(
                f"has labels of {largest_exact} or more stored as {values.dtype}, which rounds them; "
                "the region ids in it cannot be trusted"
            )
    return frozenset(int(value) for value in values)
