"""Compute a made-up brain as arrays: tissue, cells, regions, masks.

The first axis (z) runs from one side of the head to the other, as in CATNIP's hemisphere atlases: plane 0 is
outside the brain, the midline is at about four fifths of the planes, and a part of the other hemisphere
follows. Rows (y) run from nose to tail and columns (x) from top to bottom.

Invariant: shape and seed determine all voxels. The shapes below use coordinates that span the brain from -1 to 1
(left-right: 0 at the midline), so that brains of all sizes look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from os import cpu_count
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.demo.planted_cells import GAP_VOXELS, middle_of, plant_cells
from catnip2bids.demo.regions import REGIONS
from catnip2bids.demo.watershed import Voxels
from catnip2bids.errors import UsageError

Shape = tuple[int, int, int]

VOXEL_SIZE_UM: Final = (3.7, 3.7, 5.0)
"""Voxel size (X, Y, Z) of the 2021 data, after the packaging scripts of DANDI 001362."""

DOWNSAMPLING: Final = (5, 7, 7)
"""Factors (z, y, x) of CATNIP's downsampled image, whose voxels are about 25 um large."""

SMALLEST_SHAPE: Final = (5, 24, 24)
"""The smallest shape that fits all regions and a cell."""

_MIDLINE: Final = 0.78  # position of the midline along z, as a fraction of the planes
_MASK_MARGIN: Final = 0.08  # how far the hemisphere mask reaches past the midline, in the same fraction
_MASK_TILT: Final = 0.06  # how much farther it reaches at the tail than at the nose
_TISSUE_VOXELS_PER_CELL: Final = 1500
_FEWEST_CELLS: Final = 16
_CELL_RADII_VOXELS: Final = (1.3, 1.7, 1.7)  # standard deviations of a cell (z, y, x)
_CELL_SPACING_VOXELS: Final = 8
_CELL_BRIGHTNESS: Final = (2200.0, 4800.0)  # counts above tissue, dimmest and brightest cell
_FRST_PER_COUNT: Final = 8.0  # so that all cells exceed 10000 and the brighter ones 15000
_FRST_FLOOR: Final = 150.0  # counts above tissue that are not a cell yet
_N_CLOUDS: Final = 12  # waves that together make the texture of tissue

_Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Phantom:
    """A made-up brain. Arrays are (z, y, x), on the native grid unless noted."""

    image: npt.NDArray[np.uint16]  # tissue with cells, 0 outside the brain
    frst: npt.NDArray[np.float32]  # 0 in tissue: all cells exceed 10000, the brighter ones 15000
    labels: npt.NDArray[np.uint16]  # region ids, 0 outside the brain
    hemisphere_mask: npt.NDArray[np.uint16]  # 1 up to slightly past the midline, 0 in the last planes; same for all x
    exclusion_mask: npt.NDArray[np.uint8]  # 1 in damaged tissue, on the atlas grid
    planted_cells: Mapping[str, Voxels]  # voxels (z, y, x), (n, 3), of a cell for each case of the counting rule


class _Ellipsoid(NamedTuple):
    """Centre and radii: left-right, nose-tail, top-bottom."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]


_CEREBRUM: Final = _Ellipsoid((0.0, -0.14, -0.02), (0.94, 0.64, 0.80))
_OLFACTORY_BULB: Final = _Ellipsoid((0.0, -0.70, 0.16), (0.55, 0.27, 0.36))
_CEREBELLUM: Final = _Ellipsoid((0.0, 0.56, -0.16), (0.80, 0.33, 0.58))
_BRAIN_STEM: Final = _Ellipsoid((0.0, 0.44, 0.38), (0.56, 0.54, 0.34))
_DAMAGE: Final = _Ellipsoid((0.35, 0.70, -0.22), (0.90, 0.40, 0.72))
_DEEP_REGIONS: Final = {
    382: _Ellipsoid((0.10, 0.16, -0.36), (0.60, 0.24, 0.24)),  # Field_CA1
    549: _Ellipsoid((0.00, 0.10, 0.08), (0.45, 0.24, 0.30)),  # Thalamus
    672: _Ellipsoid((0.25, -0.33, 0.04), (0.60, 0.30, 0.38)),  # Caudoputamen
    1097: _Ellipsoid((0.00, -0.06, 0.52), (0.40, 0.26, 0.26)),  # Hypothalamus
}
_CORTEX_FROM: Final = 0.74  # distance from the centre of the cerebrum at which the layers of cortex begin
_OUTER_CORTEX_FROM: Final = 0.88
_CORPUS_CALLOSUM_FROM: Final = 0.68


def make_phantom(shape: Shape, seed: int = 1) -> Phantom:
    """Make a brain that fills a volume of planes, rows, columns; the same seed gives the same brain."""
    if any(size < least for size, least in zip(shape, SMALLEST_SHAPE, strict=True)):
        raise UsageError(f"a made-up brain of {shape} (z, y, x) is too small: use at least {SMALLEST_SHAPE}")
    grid = _Grid.of_voxels([np.arange(size, dtype=np.float64) for size in shape], shape)
    labels = np.empty(shape, np.uint16)
    image = np.empty(shape, np.uint16)
    clouds, rng = _Clouds(shape, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])

    def paint(z: int) -> None:
        labels[z] = _paint_regions(grid, z)

    def expose(z: int) -> None:
        tissue = _tissue(labels[z], grid, z) * clouds.plane(z) + cells[z]
        image[z] = _expose(tissue, labels[z] > 0, np.random.default_rng([seed, 2, z]))
        frst[z] = _FRST_PER_COUNT * np.maximum(cells[z] - np.float32(_FRST_FLOOR), 0)

    with ThreadPoolExecutor(cpu_count()) as threads:  # NumPy releases the lock of Python
        list(threads.map(paint, range(shape[0])))
        hemisphere_mask, n_cells = _hemisphere_mask(shape), int(np.count_nonzero(labels)) // _TISSUE_VOXELS_PER_CELL
        planted = plant_cells(
            labels, hemisphere_mask, DOWNSAMPLING, np.random.default_rng([seed, 3]), max(1, n_cells // 2)
        )
        voxels = _place_cells(labels, max(_FEWEST_CELLS, n_cells), rng)
        frst = cells = _cells(voxels, planted, shape, rng)  # one array: each plane is read once
        list(threads.map(expose, range(shape[0])))
    return Phantom(
        image=image,
        frst=frst,
        labels=labels,
        hemisphere_mask=hemisphere_mask,
        exclusion_mask=_exclusion_mask(shape),
        planted_cells=planted,
    )


@dataclass(frozen=True)
class _Grid:
    """The coordinates of the brain at the voxels of a grid."""

    left_right: npt.NDArray[np.float32]  # (z,)
    nose_tail: _Plane  # (y, x)
    top_bottom: _Plane  # (y, x)
    in_plane: Mapping[_Ellipsoid, _Plane]  # the parts of squared distances that are the same in all planes, (y, x)

    @classmethod
    def of_voxels(cls, positions: Sequence[npt.NDArray[np.floating[Any]]], shape: Shape) -> _Grid:
        """Compute the coordinates of positions (z, y, x), given in voxels of a native grid of that shape."""
        z, y, x = ((position + 0.5) / size for position, size in zip(positions, shape, strict=True))
        y = y[:, None]
        # warped a little, so that ellipsoids look natural
        nose_tail = (2 * y - 1 + 0.030 * np.sin(11 * x) + 0.012 * np.sin(31 * x + 9 * y)).astype(np.float32)
        top_bottom = (2 * x - 1 + 0.045 * np.cos(9 * y + 1.0) + 0.012 * np.sin(27 * y - 6 * x)).astype(np.float32)
        left_right = (np.abs(_MIDLINE - z) / _MIDLINE).astype(np.float32)
        in_plane = {
            ellipsoid: _squared(nose_tail, ellipsoid.centre[1], ellipsoid.radii[1])
            + _squared(top_bottom, ellipsoid.centre[2], ellipsoid.radii[2])
            for ellipsoid in (_CEREBRUM, _OLFACTORY_BULB, _CEREBELLUM, _BRAIN_STEM, _DAMAGE, *_DEEP_REGIONS.values())
        }
        return cls(left_right, nose_tail, top_bottom, in_plane)

    def squared_distance(self, ellipsoid: _Ellipsoid, z: int) -> _Plane:
        """Return the squared distance of a plane's voxels from the centre of an ellipsoid: 1 on its surface."""
        across = (self.left_right[z] - ellipsoid.centre[0]) / ellipsoid.radii[0]
        return self.in_plane[ellipsoid] + np.float32(across * across)


def _squared(position: _Plane, centre: float, radius: float) -> _Plane:
    squared: _Plane = np.square((position - np.float32(centre)) / np.float32(radius))
    return squared


def _paint_regions(grid: _Grid, z: int) -> npt.NDArray[np.uint16]:
    """Return the region ids of a plane; later regions overwrite earlier ones."""
    labels = np.zeros(grid.nose_tail.shape, np.uint16)
    np.copyto(labels, 507, where=grid.squared_distance(_OLFACTORY_BULB, z) < 1)
    _paint_cerebrum(labels, grid, z)
    np.copyto(labels, 1007, where=grid.squared_distance(_CEREBELLUM, z) < 1)
    stem = grid.squared_distance(_BRAIN_STEM, z) < 1
    for region, end in ((354, 2), (771, 0.52), (313, 0.24)):
        np.copyto(labels, region, where=stem & (grid.nose_tail < end))
    return labels


def _paint_cerebrum(labels: npt.NDArray[np.uint16], grid: _Grid, z: int) -> None:
    """Paint deep regions in the centre, white matter around them, and cortex as a shell of two layers."""
    squared = grid.squared_distance(_CEREBRUM, z)
    inside, cortex, outer = squared < 1, squared > _CORTEX_FROM**2, squared > _OUTER_CORTEX_FROM**2
    _paint_nearest(labels, grid, z, inside)
    upper = grid.top_bottom < 0.32 + 0.2 * grid.nose_tail
    np.copyto(labels, 776, where=inside & upper & (squared > _CORPUS_CALLOSUM_FROM**2))
    cortex &= inside
    along = grid.nose_tail + 0.15 * grid.top_bottom
    for region_outer, region_inner, there in (
        (12001, 12002, upper),
        (821, 778, upper & (along > 0.08)),
        (943, 648, upper & (along < -0.36)),
        (961, 961, ~upper),
    ):
        np.copyto(labels, region_inner, where=cortex & there)
        np.copyto(labels, region_outer, where=cortex & there & outer)


def _paint_nearest(labels: npt.NDArray[np.uint16], grid: _Grid, z: int, where: npt.NDArray[np.bool_]) -> None:
    """Paint each voxel as the deep region whose centre is nearest."""
    shortest = np.full(labels.shape, np.inf, np.float32)
    for region, ellipsoid in _DEEP_REGIONS.items():
        squared = grid.squared_distance(ellipsoid, z)
        np.copyto(labels, region, where=where & (squared < shortest))
        np.minimum(squared, shortest, out=shortest)


def _hemisphere_mask(shape: Shape) -> npt.NDArray[np.uint16]:
    """Return a mask up to slightly past the midline, tilted so that some planes are nearly empty."""
    reach = _MIDLINE + _MASK_MARGIN + _MASK_TILT * (np.arange(shape[1]) / shape[1] - 0.5)
    last_planes = np.minimum(np.rint(reach * shape[0]), shape[0] - 1)
    mask = np.arange(shape[0])[:, None] < last_planes[None, :]
    return np.broadcast_to(mask.astype(np.uint16)[:, :, None], shape)


def _exclusion_mask(shape: Shape) -> npt.NDArray[np.uint8]:
    """Return the damaged tissue on the 25 um grid that covers the native grid."""
    steps = [ATLAS_VOXEL_SIZE_UM / size_um for size_um in reversed(VOXEL_SIZE_UM)]
    counts = [ceil(size / step) for size, step in zip(shape, steps, strict=True)]
    centres = [(np.arange(n) + 0.5) * step - 0.5 for n, step in zip(counts, steps, strict=True)]
    grid = _Grid.of_voxels(centres, shape)
    return np.array([grid.squared_distance(_DAMAGE, z) < 1 for z in range(counts[0])], np.uint8)


def _tissue(labels: npt.NDArray[np.uint16], grid: _Grid, z: int) -> _Plane:
    """Return the intensity of a plane in counts: a tone for each region, faint layers, attenuation with depth."""
    tissue = _BRIGHTNESS[labels]
    tissue *= 1 + np.float32(0.07) * np.sin(26 * np.sqrt(grid.squared_distance(_CEREBRUM, z)))
    folia = labels == 1007
    tissue[folia] *= 1 + np.float32(0.28) * np.cos(34 * np.sqrt(grid.squared_distance(_CEREBELLUM, z)[folia]))
    tissue *= 1 - np.float32(0.15) * grid.left_right[z]
    return tissue


def _lookup(values: Mapping[int, float]) -> npt.NDArray[np.float32]:
    """Return an array that maps ids to values by indexing; 0 for unknown ids."""
    table = np.zeros(max(values) + 1, np.float32)
    table[list(values)] = list(values.values())
    return table


_BRIGHTNESS: Final = _lookup({region.id: region.brightness for region in REGIONS})
_CELL_DENSITY: Final = _lookup({region.id: region.cell_density for region in REGIONS})


class _Clouds:
    """A texture that varies slowly around 1: waves of random lengths along each axis, multiplied and added up."""

    def __init__(self, shape: Shape, rng: np.random.Generator) -> None:
        """Draw the waves."""
        turns, phases = rng.uniform(2, 11, (3, 1, _N_CLOUDS)), rng.uniform(0, 2 * np.pi, (3, 1, _N_CLOUDS))
        z, y, x = (
            np.sin(np.linspace(0, 2, size)[:, None] * turn + phase).astype(np.float32)
            for size, turn, phase in zip(shape, turns * np.pi, phases, strict=True)
        )
        self._weights, self._rows, self._columns = 0.12 * z, y, x.T

    def plane(self, z: int) -> _Plane:
        """Return one plane, (y, x)."""
        waves: _Plane = (self._rows * self._weights[z]) @ self._columns
        return 1 + np.clip(waves, np.float32(-0.44), np.float32(0.44))


def _cells(
    voxels: Voxels, planted: Mapping[str, Voxels], shape: Shape, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return the counts that cells add to tissue, (z, y, x).

    Cells at `voxels` are Gaussian spots, the brightest first, except for those that planted cells replace.
    """
    windows = [(cell.min(axis=0) - GAP_VOXELS, cell.max(axis=0) + GAP_VOXELS) for cell in planted.values()]
    for low, high in windows:
        voxels = voxels[((voxels < low - GAP_VOXELS) | (voxels > high + GAP_VOXELS)).any(axis=1)]
    dimmest, brightest = _CELL_BRIGHTNESS
    heights = np.linspace(brightest, dimmest, len(voxels), dtype=np.float32)
    rng.shuffle(heights[1:])
    cells = np.zeros(shape, np.float32)
    spot = _spot()
    reach = np.array(spot.shape) // 2
    for voxel, height in zip(voxels, heights, strict=True):
        start, stop = voxel - reach, voxel + reach + 1
        low, high = np.maximum(start, 0), np.minimum(stop, shape)
        there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        here = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        cells[there] += height * spot[here]
    for low, high in windows:
        cells[tuple(slice(max(a, 0), b + 1) for a, b in zip(low, high, strict=True))] = 0
    for cell in planted.values():
        cells[tuple(cell.T)] = brightest
    return cells


def _place_cells(labels: npt.NDArray[np.uint16], wanted: int, rng: np.random.Generator) -> Voxels:
    """Draw voxels (z, y, x) of cells: one in the middle, others by density of the regions, at most one per block."""
    voxels = [middle_of(labels.shape)[None]]
    while sum(map(len, voxels)) < wanted:
        drawn = rng.integers(0, labels.shape, (4 * wanted, 3))
        voxels.append(drawn[rng.random(len(drawn)) * _CELL_DENSITY.max() < _CELL_DENSITY[labels[tuple(drawn.T)]]])
    chosen = np.concatenate(voxels)[:wanted]
    _, first = np.unique(chosen // _CELL_SPACING_VOXELS, axis=0, return_index=True)
    return chosen[np.sort(first)]


def _spot() -> npt.NDArray[np.float32]:
    """Return a Gaussian of height 1 up to four standard deviations."""
    bells = [
        np.exp(-0.5 * np.square(np.arange(-ceil(4 * radius), ceil(4 * radius) + 1) / radius))
        for radius in _CELL_RADII_VOXELS
    ]
    z, y, x = np.ix_(*bells)
    return np.asarray(z * y * x, np.float32)


def _expose(tissue: _Plane, brain: npt.NDArray[np.bool_], rng: np.random.Generator) -> _Plane:
    """Simulate a camera: shot noise that grows with intensity, 0 outside the brain."""
    noise = rng.standard_normal(tissue.shape, np.float32)
    noise *= np.float32(0.5) * np.sqrt(tissue)
    noise += tissue
    return np.clip(np.rint(noise), 1, 65535) * brain
