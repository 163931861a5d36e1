"""Which labels one side of a comparison has nowhere.

Invariant: a label is lost if it occurs on one side, and in no plane of the other; planes are looked through until all
labels in question were found.
"""

from __future__ import annotations

from catnip2bids.comparison.planes import band_height
from catnip2bids.comparison.sides import Side
from catnip2bids.volume import label_values


def values_of(side: Side, number: int) -> frozenset[int]:
    """Return the values that occur in a plane of labels."""
    with side.open(number) as opened:
        return frozenset().union(*(label_values(rows) for rows in opened.bands(band_height(opened.layout))))
