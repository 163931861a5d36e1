"""Plant cells in the made-up brain that show one case of CATNIP's counting rule each.

Invariant: planted cells touch no other cells, and their voxels are in regions as their case asks for. A case that does
not fit into a small brain is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from catnip2bids.demo.watershed import Voxels, connected_parts

GAP_VOXELS: Final = 2
"""Planted cells keep this distance from all other cells."""

_OUTSIDE: Final = -1  # in the brain, but not in the hemisphere mask
_MOST_PLACES: Final = 100_000
_REACH_VOXELS: Final = 4  # how far around a place regions are looked up
_MOST_TRIES: Final = 100
_WIDTH: Final = 3  # voxels across a long cell


def _ball(squared_radius: int) -> Voxels:
    """Return the steps (z, y, x) from a voxel to all voxels within a squared radius, the nearest first."""
    reach = int(squared_radius**0.5)
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.square(steps).sum(axis=1)
    order = np.argsort(distances, kind="stable")
    return steps[order[: np.count_nonzero(distances <= squared_radius)]]


def _block(shape: tuple[int, int, int]) -> Voxels:
    return np.argwhere(np.ones(shape, np.bool_))


_NEAR: Final = _ball(60)
_LARGE: Final = _ball(38)
_TWO_PARTS: Final = np.concatenate([_ball(26), np.add(_ball(26), (0, 9, 0))])
_SMALL: Final = _block((2, 2, 3))


@dataclass(frozen=True)
class _Brain:
    """Labels and mask, with random voxels as places for cells."""

    labels: npt.NDArray[np.uint16]
    mask: npt.NDArray[np.uint16]
    downsampling: tuple[int, int, int]
    places: Voxels  # random voxels, (n, 3)

    def regions(self, voxels: Voxels) -> npt.NDArray[np.int64]:
        """Return region ids at voxels (..., 3); -1 outside of the mask, 0 outside of the brain."""
        at = tuple(np.moveaxis(voxels, -1, 0))
        labels = self.labels[at].astype(np.int64)
        return np.where(self.mask[at] > 0, labels, np.where(labels > 0, _OUTSIDE, 0))

    def is_inside(self, voxels: Voxels) -> npt.NDArray[np.bool_]:
        """Tell which voxels (n, 3) are inside the image."""
        inside: npt.NDArray[np.bool_] = np.all((voxels >= 0) & (voxels < self.labels.shape), axis=1)
        return inside

    def places_with(self, n_regions: int, *, outside: bool) -> Voxels:
        """Return places with that many regions around them, and with or without voxels outside of the mask."""
        fits = (self._regions_around[0] == n_regions) & (self._regions_around[1] == outside)
        found: Voxels = self.places[np.flatnonzero(fits)[:_MOST_TRIES]]
        return found

    @cached_property
    def _regions_around(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Number of regions around each place, or -1 at the surface of the brain; whether the mask ends there."""
        steps = _REACH_VOXELS * np.array([(0, 0, 0), *np.eye(3, dtype=int), *-np.eye(3, dtype=int)])
        voxels = np.clip(self.places[:, None] + steps, 0, np.array(self.labels.shape) - 1)
        regions = np.sort(self.regions(voxels), axis=1)
        is_new = np.diff(regions, axis=1, prepend=_OUTSIDE) > 0
        n_regions = np.where((regions == 0).any(axis=1), -1, (is_new & (regions > 0)).sum(axis=1))
        return n_regions, regions[:, 0] == _OUTSIDE


def plant_cells(
    labels: npt.NDArray[np.uint16],
    mask: npt.NDArray[np.uint16],
    downsampling: tuple[int, int, int],
    rng: np.random.Generator,
    most: int,
) -> dict[str, Voxels]:
    """Return the voxels (n, 3) of cells by their case, in places where their regions are as the case wants them.

    Parameters
    ----------
    labels, mask
        Region ids and hemisphere mask, (z, y, x).
    downsampling
        Factors (z, y, x) of the downsampled image.
    rng
        Draws the places.
    most
        The most cells to plant; small brains have room for few.
    """
    brain = _Brain(labels, mask, downsampling, rng.integers(0, labels.shape, (min(_MOST_PLACES, labels.size), 3)))
    middle = middle_of(labels.shape)
    planted: dict[str, Voxels] = {}
    taken = [(middle - 2, middle + 2)]  # the brightest cell is there
    for case, propose in _CASES.items():
        if len(planted) == most:
            break
        free = (voxels for voxels in propose(brain) if _is_free(voxels, taken))
        for voxels in islice(free, 1):
            planted[case] = voxels
            taken.append((voxels.min(axis=0), voxels.max(axis=0)))
    return planted


def middle_of(shape: tuple[int, ...]) -> Voxels:
    """Return the voxel of the cell that every brain has."""
    return np.array([int(0.45 * size) for size in shape])


def _is_free(voxels: Voxels, taken: list[tuple[Voxels, Voxels]]) -> bool:
    low, high = voxels.min(axis=0) - GAP_VOXELS, voxels.max(axis=0) + GAP_VOXELS
    return all((high < other_low).any() or (low > other_high).any() for other_low, other_high in taken)


def _blend(brain: _Brain, shares: tuple[int, ...], outside: int = 0) -> Iterator[Voxels]:
    """Propose round cells that have `shares` voxels in different regions, and `outside` voxels outside of the mask."""
    for place in brain.places_with(len(shares), outside=outside > 0):
        voxels = place + _NEAR
        voxels = voxels[brain.is_inside(voxels)]
        regions = brain.regions(voxels)
        nearest = [region for region in dict.fromkeys(regions.tolist()) if region > 0][: len(shares)]
        wanted = dict(zip([*nearest, _OUTSIDE], [*shares, outside], strict=False))
        chosen = [voxels[regions == region][:share] for region, share in wanted.items()]
        cell = np.concatenate(chosen)
        if len(cell) == sum(shares) + outside and len(connected_parts(cell)) == 1:
            yield cell


def _shape(brain: _Brain, steps: Voxels) -> Iterator[Voxels]:
    """Propose cells of that shape in a single region."""
    for place in brain.places_with(1, outside=False):
        voxels = place + steps
        if brain.is_inside(voxels).all() and len(found := np.unique(brain.regions(voxels))) == 1 and found[0] > 0:
            yield voxels


def _from_image_border(brain: _Brain) -> Iterator[Voxels]:
    """Propose long cells that begin in the first plane, outside of the brain, and have most voxels in one region.

    The region begins so near to the first plane that its box begins there.
    """
    near = brain.places[brain.places[:, 0] < 2 * brain.downsampling[0]]
    for _, y, x in near[brain.regions(near) > 0][:_MOST_TRIES]:
        first_plane = int((brain.labels[:, y, x] > 0).argmax())
        voxels = np.add(_block((2 * first_plane + 2, _WIDTH, _WIDTH)), (0, y - _WIDTH // 2, x - _WIDTH // 2))
        if brain.is_inside(voxels).all():
            regions = brain.regions(voxels)
            values, n_voxels = np.unique(regions, return_counts=True)
            region, depths = values[n_voxels.argmax()], voxels[regions == values[n_voxels.argmax()], 0]
            if region > 0 and 2 * len(depths) > len(voxels) and depths.min() < 2 * brain.downsampling[0]:
                yield voxels


def _across_box(brain: _Brain, region: int) -> Iterator[Voxels]:
    """Propose a long cell that has most voxels outside of a region, but not in the region's box.

    It begins where the region does, at its first column. The box begins at most one downsampled voxel and 5 voxels
    before that.
    """
    columns = np.zeros(brain.labels.shape[2], np.bool_)
    for plane, mask in zip(brain.labels, brain.mask, strict=True):
        columns |= ((plane == region) & (mask > 0)).any(axis=0)
    x = int(columns.argmax())
    tips = np.argwhere((brain.labels[:, :, x] == region) & (brain.mask[:, :, x] > 0))
    n_kept = brain.downsampling[2] + 5  # the most voxels of a row between box and region
    n_inside, n_outside = n_kept + 2, n_kept + 4
    for z, y in tips[len(tips) // 2 :]:
        start = (z - _WIDTH // 2, y - _WIDTH // 2, x - n_outside)
        voxels = np.add(_block((_WIDTH, _WIDTH, n_inside + n_outside)), start)
        if brain.is_inside(voxels).all():
            n_in_region = np.count_nonzero(brain.regions(voxels) == region)
            if n_kept * _WIDTH**2 < n_in_region < len(voxels) / 2:
                yield voxels


_SIMPLE_LOBULE: Final = 1007
_CASES: Final[Mapping[str, Callable[[_Brain], Iterator[Voxels]]]] = {
    "at the border of the image": _from_image_border,
    "most voxels outside of the mask": partial(_blend, shares=(20,), outside=40),
    "most voxels in one of two regions": partial(_blend, shares=(40, 20)),
    "half of the voxels in each of two regions": partial(_blend, shares=(30, 30)),
    "too small": partial(_blend, shares=(8,)),
    "outside of the mask": partial(_blend, shares=(), outside=60),
    "three regions, none with most voxels": partial(_blend, shares=(20, 20, 20)),
    "some voxels outside of the mask": partial(_blend, shares=(40,), outside=20),
    "smallest": partial(_blend, shares=(9,)),
    "two that touch by an edge": partial(_shape, steps=np.concatenate([_SMALL, np.add(_SMALL, (2, 2, 0))])),
    "two that touch by a corner": partial(_shape, steps=np.concatenate([_SMALL, np.add(_SMALL, (2, 2, 3))])),
    "too large": partial(_shape, steps=_LARGE),
    "too large, of two parts": partial(_shape, steps=_TWO_PARTS),
    "cut by the box of a region": partial(_across_box, region=_SIMPLE_LOBULE),
}
"""Proposals for each case; small brains get the first ones, the smallest one of them."""
