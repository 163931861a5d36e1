"""Sums over regions and everything below them.

The numbers of a region are those of its own label value, without those of its children. The sum of a region is its own
numbers and those of all regions below it.

Invariant: each region is in a sum once, whatever the parents are. Parents that form a circle are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RegionTotal:
    """The sums over a region, or a group of regions, and all regions below it.

    Attributes
    ----------
    cell_count, volume_mm3
        The sums over the regions whose numbers are both known.
    n_regions
        Number of these regions. If it is 0, the sums are 0 and mean nothing.
    n_unknown
        Regions that are in neither sum, because CATNIP excluded them or a number is missing.
    """

    cell_count: int = 0
    volume_mm3: float = 0.0
    n_regions: int = 0
    n_unknown: int = 0

    @property
    def density_per_mm3(self) -> float | None:
        """All cells divided by the whole volume, not the mean of densities; None without a volume."""
        return self.cell_count / self.volume_mm3 if self.volume_mm3 else None

    def __add__(self, other: RegionTotal) -> RegionTotal:
        """Add the sums over other regions."""
        return RegionTotal(
            self.cell_count + other.cell_count,
            self.volume_mm3 + other.volume_mm3,
            self.n_regions + other.n_regions,
            self.n_unknown + other.n_unknown,
        )


def region_totals(
    counted: Mapping[int, tuple[int | None, float | None]], parents: Mapping[int, int]
) -> dict[int, RegionTotal]:
    """Add up cells and volumes over regions and everything below them.

    Parameters
    ----------
    counted
        Cell count and volume in mm3 of each region, by index; None for what is unknown.
    parents
        The index of the parent of each region or group that has one. Parents need not be counted themselves.

    Returns
    -------
    dict
        By ascending index: a sum for each counted region and for everything above one.

    Examples
    --------
    >>> totals = region_totals({1: (6, 2.0), 2: (4, 0.5), 3: (None, None)}, {1: 9, 2: 1, 3: 9})
    >>> totals[1].density_per_mm3, totals[9]
    (4.0, RegionTotal(cell_count=10, volume_mm3=2.5, n_regions=2, n_unknown=1))
    """
    parents = without_circles(parents)
    depths = depths_of(parents)
    totals = {index: _total_of(*numbers) for index, numbers in counted.items()}
    for index in sorted(depths, key=lambda index: (-depths[index], index)):  # children before their parents
        if index in totals and index in parents:
            totals[parents[index]] = totals.get(parents[index], RegionTotal()) + totals[index]
    return dict(sorted(totals.items()))


def _total_of(cell_count: int | None, volume_mm3: float | None) -> RegionTotal:
    if cell_count is None or volume_mm3 is None:
        return RegionTotal(n_unknown=1)
    return RegionTotal(cell_count, volume_mm3, n_regions=1)


def without_circles(parents: Mapping[int, int]) -> dict[int, int]:
    """Leave out the parents of regions that are their own parent or ancestor."""
    seen: set[int] = set()
    on_circle: set[int] = set()
    for start in parents:
        path: list[int] = []
        at: int | None = start
        while at is not None and at not in seen:
            seen.add(at)
            path.append(at)
            at = parents.get(at)
        if at is not None and at in path:
            on_circle.update(path[path.index(at) :])
    return {index: parent for index, parent in parents.items() if index not in on_circle}


def depths_of(parents: Mapping[int, int]) -> dict[int, int]:
    """Count the ancestors of each region that has a parent or is one; parents must not form circles."""
    depths: dict[int, int] = {}
    for start in (*parents, *parents.values()):
        path: list[int] = []
        at = start
        while at not in depths and at in parents:
            path.append(at)
            at = parents[at]
        depth = depths.setdefault(at, 0)
        for index in reversed(path):
            depth += 1
            depths[index] = depth
    return depths
