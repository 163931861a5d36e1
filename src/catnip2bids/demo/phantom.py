"""Compute a made-up brain as arrays: tissue, cells, regions, masks.

The first axis (z) runs from one side of the head to the other, as in CATNIP's hemisphere atlases: plane 0 is
outside the brain, the midline is at about four fifths of the planes, and a part of the other hemisphere
follows. Rows (y) run from nose to tail and columns (x) from top to bottom.

Invariant: shape and seed determine all voxels. The shapes below use coordinates that span the brain from -1 to 1
(left-right: 0 at the midline), so that brains of all sizes look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.demo.regions import REGIONS
from catnip2bids.errors import UsageError

Shape = tuple[int, int, int]

VOXEL_SIZE_UM: Final = (3.7, 3.7, 5.0)
"""Voxel size (X, Y, Z) of the 2021 data, after the packaging scripts of DANDI 001362."""

SMALLEST_SHAPE: Final = (4, 24, 24)
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
_FRST_FLOOR: Final = 150.0  # contrast in counts that is still tissue, not a cell

_Coordinates = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]
_Volume = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Phantom:
    """A made-up brain. Arrays are (z, y, x), on the native grid unless noted."""

    image: npt.NDArray[np.uint16]  # tissue with cells, 0 outside the brain
    frst: _Volume  # local contrast, never negative: all cells exceed 10000, the brighter ones 15000
    labels: npt.NDArray[np.uint16]  # region ids, 0 outside the brain
    hemisphere_mask: npt.NDArray[np.uint16]  # 1 up to slightly past the midline, 0 in the last planes; same for all x
    exclusion_mask: npt.NDArray[np.uint8]  # 1 in damaged tissue, on the atlas grid
    voxel_size_um: tuple[float, float, float]  # (X, Y, Z) of the native grid


class _Ellipsoid(NamedTuple):
    """Centre and radii: left-right, nose-tail, top-bottom."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]

    def distance(self, coordinates: _Coordinates) -> _Volume:
        """Return the distance from the centre: 1 on the surface."""
        axes = zip(coordinates, self.centre, self.radii, strict=True)
        squares = [np.square((axis - np.float32(mid)) / np.float32(radius)) for axis, mid, radius in axes]
        return np.asarray(np.sqrt(squares[0] + squares[1] + squares[2]), np.float32)


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


def make_phantom(
    shape: Shape,
    seed: int = 1,
    n_cells: int | None = None,
    voxel_size_um: tuple[float, float, float] = VOXEL_SIZE_UM,
) -> Phantom:
    """Make a brain that fills a volume.

    Parameters
    ----------
    shape
        Planes, rows, columns of the native grid.
    seed
        The same seed gives the same brain.
    n_cells
        How many cells to place, at least 1; some fewer appear, as cells keep a distance. By default after
        the volume.
    voxel_size_um
        Voxel size (X, Y, Z) of the native grid; it only determines the shape of the atlas grid.

    Raises
    ------
    UsageError
        If the shape is smaller than `SMALLEST_SHAPE`, or `n_cells` is less than 1.
    """
    if any(size < least for size, least in zip(shape, SMALLEST_SHAPE, strict=True)):
        raise UsageError(f"a made-up brain of {shape} (z, y, x) is too small: use at least {SMALLEST_SHAPE}")
    if n_cells is not None and n_cells < 1:
        raise UsageError(f"a made-up brain with {n_cells} cells has nothing to count: use at least 1")
    rng = np.random.default_rng(seed)
    coordinates = _native_coordinates(shape)
    labels = _paint_regions(shape, coordinates)
    tissue = _tissue(labels, coordinates, rng)
    _add_cells(tissue, _place_cells(labels, n_cells, rng), rng)
    image = _expose(tissue, labels > 0, rng)
    return Phantom(
        image=image,
        frst=_local_contrast(image, labels > 0),
        labels=labels,
        hemisphere_mask=_hemisphere_mask(shape),
        exclusion_mask=_exclusion_mask(shape, voxel_size_um),
        voxel_size_um=voxel_size_um,
    )


def _native_coordinates(shape: Shape) -> _Coordinates:
    return _coordinates([np.arange(size, dtype=np.float64) for size in shape], shape)


def _atlas_coordinates(shape: Shape, voxel_size_um: tuple[float, float, float]) -> _Coordinates:
    """Return the coordinates of the voxel centres of the 25 um grid that covers the native grid."""
    steps = [ATLAS_VOXEL_SIZE_UM / size_um for size_um in reversed(voxel_size_um)]
    counts = [ceil(size / step) for size, step in zip(shape, steps, strict=True)]
    positions = [(np.arange(n) + 0.5) * step - 0.5 for n, step in zip(counts, steps, strict=True)]
    return _coordinates(positions, shape)


def _coordinates(positions: Sequence[npt.NDArray[np.floating[Any]]], shape: Shape) -> _Coordinates:
    """Return brain coordinates of positions in native voxels, as arrays that broadcast to the grid (z, y, x)."""
    fractions = [(position + 0.5) / size for position, size in zip(positions, shape, strict=True)]
    z, y, x = np.ix_(*fractions)
    left_right = np.abs(_MIDLINE - z) / _MIDLINE
    # warped a little, so that ellipsoids look natural
    nose_tail = 2 * y - 1 + 0.030 * np.sin(11 * x) + 0.012 * np.sin(31 * x + 9 * y)
    top_bottom = 2 * x - 1 + 0.045 * np.cos(9 * y + 1.0) + 0.012 * np.sin(27 * y - 6 * x)
    return left_right.astype(np.float32), nose_tail.astype(np.float32), top_bottom.astype(np.float32)


def _paint_regions(shape: Shape, coordinates: _Coordinates) -> npt.NDArray[np.uint16]:
    """Return region ids; later regions overwrite earlier ones."""
    labels = np.zeros(shape, np.uint16)
    _, nose_tail, _ = np.broadcast_arrays(*coordinates)
    labels[_OLFACTORY_BULB.distance(coordinates) < 1] = 507
    _paint_cerebrum(labels, coordinates)
    labels[_CEREBELLUM.distance(coordinates) < 1] = 1007
    stem = _BRAIN_STEM.distance(coordinates) < 1
    labels[stem] = np.select([nose_tail[stem] < 0.24, nose_tail[stem] < 0.52], [313, 771], 354)
    return labels


def _paint_cerebrum(labels: npt.NDArray[np.uint16], coordinates: _Coordinates) -> None:
    """Paint deep regions in the centre, white matter around them, and cortex as a shell of two layers."""
    distance = _CEREBRUM.distance(coordinates)
    inside = distance < 1
    labels[inside] = _nearest_deep_region(coordinates)[inside]
    _, nose_tail, top_bottom = np.broadcast_arrays(*coordinates)
    upper = top_bottom < 0.32 + 0.2 * nose_tail
    labels[inside & upper & (distance > _CORPUS_CALLOSUM_FROM)] = 776
    cortex = inside & (distance > _CORTEX_FROM)
    outer = distance[cortex] > _OUTER_CORTEX_FROM
    along = nose_tail[cortex] + 0.15 * top_bottom[cortex]
    motor, visual, ventral = along < -0.36, along > 0.08, ~upper[cortex]
    labels[cortex] = np.select(
        [ventral, motor & outer, motor, visual & outer, visual, outer],
        [961, 943, 648, 821, 778, 12001],
        12002,
    )


def _nearest_deep_region(coordinates: _Coordinates) -> npt.NDArray[np.uint16]:
    ids = list(_DEEP_REGIONS)
    nearest = np.full(np.broadcast_shapes(*(axis.shape for axis in coordinates)), ids[0], np.uint16)
    shortest = _DEEP_REGIONS[ids[0]].distance(coordinates)
    for region_id in ids[1:]:
        distance = _DEEP_REGIONS[region_id].distance(coordinates)
        nearest[distance < shortest] = region_id
        np.minimum(distance, shortest, out=shortest)
    return nearest


def _hemisphere_mask(shape: Shape) -> npt.NDArray[np.uint16]:
    """Return a mask up to slightly past the midline, tilted so that some planes are nearly empty."""
    reach = _MIDLINE + _MASK_MARGIN + _MASK_TILT * (np.arange(shape[1]) / shape[1] - 0.5)
    last_planes = np.minimum(np.rint(reach * shape[0]), shape[0] - 1)
    mask = np.arange(shape[0])[:, None] < last_planes[None, :]
    return np.repeat(mask.astype(np.uint16)[:, :, None], shape[2], axis=2)


def _exclusion_mask(shape: Shape, voxel_size_um: tuple[float, float, float]) -> npt.NDArray[np.uint8]:
    damaged: npt.NDArray[np.bool_] = _DAMAGE.distance(_atlas_coordinates(shape, voxel_size_um)) < 1
    return damaged.astype(np.uint8)


def _tissue(labels: npt.NDArray[np.uint16], coordinates: _Coordinates, rng: np.random.Generator) -> _Volume:
    """Return the tissue intensity in counts: a tone for each region, faint layers, clouds, attenuation with depth."""
    tissue = _lookup({region.id: region.brightness for region in REGIONS})[labels]
    tissue *= 1 + 0.07 * np.sin(26 * _CEREBRUM.distance(coordinates))
    folia = labels == 1007
    tissue[folia] *= 1 + 0.28 * np.cos(34 * _CEREBELLUM.distance(coordinates)[folia])
    tissue *= 1 + 0.22 * _clouds(labels.shape, rng)
    tissue *= 1 - 0.15 * coordinates[0]
    return tissue


def _lookup(values: Mapping[int, float]) -> _Volume:
    """Return an array that maps ids to values by indexing; 0 for unknown ids."""
    table = np.zeros(max(values) + 1, np.float32)
    table[list(values)] = list(values.values())
    return table


def _clouds(shape: tuple[int, ...], rng: np.random.Generator) -> _Volume:
    """Return a smooth random texture, -2 to 2."""
    noise = rng.standard_normal(shape, np.float32)
    for radius in (1, max(2, min(shape) // 16)):
        noise = _box_mean(noise, (radius, radius, radius))
    return np.asarray(np.clip(noise / noise.std(), -2, 2), np.float32)


def _place_cells(
    labels: npt.NDArray[np.uint16], n_cells: int | None, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw voxels (z, y, x) of cells: one in the middle, others by density of the regions, at most one per block."""
    tissue = np.flatnonzero(labels)
    wanted = max(_FEWEST_CELLS, tissue.size // _TISSUE_VOXELS_PER_CELL) if n_cells is None else n_cells
    density = _lookup({region.id: region.cell_density for region in REGIONS})
    share = np.cumsum(density[labels.ravel()[tissue]], dtype=np.float64)
    drawn = tissue[np.searchsorted(share, rng.random(wanted - 1) * share[-1], side="right")]
    middle = [[int(0.45 * size) for size in labels.shape]]
    voxels = np.concatenate([middle, np.stack(np.unravel_index(drawn, labels.shape), axis=-1)])
    _, first = np.unique(voxels // _CELL_SPACING_VOXELS, axis=0, return_index=True)
    return voxels[np.sort(first)]


def _add_cells(tissue: _Volume, voxels: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    """Add a Gaussian spot at each voxel: the brightest at the first, all others in random order."""
    dimmest, brightest = _CELL_BRIGHTNESS
    heights = np.linspace(brightest, dimmest, len(voxels), dtype=np.float32)
    rng.shuffle(heights[1:])
    spot = _spot()
    reach = np.array(spot.shape) // 2
    for voxel, height in zip(voxels, heights, strict=True):
        start, stop = voxel - reach, voxel + reach + 1
        low, high = np.maximum(start, 0), np.minimum(stop, tissue.shape)
        there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        here = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        tissue[there] += height * spot[here]


def _spot() -> _Volume:
    """Return a Gaussian of height 1 up to four standard deviations."""
    bells = [
        np.exp(-0.5 * np.square(np.arange(-ceil(4 * radius), ceil(4 * radius) + 1) / radius))
        for radius in _CELL_RADII_VOXELS
    ]
    z, y, x = np.ix_(*bells)
    return np.asarray(z * y * x, np.float32)


def _expose(tissue: _Volume, brain: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Simulate a camera: shot noise that grows with intensity, 0 outside the brain."""
    noise = rng.standard_normal(tissue.shape, np.float32)
    noise *= np.float32(0.5) * np.sqrt(tissue)
    noise += tissue
    return np.where(brain, np.clip(np.rint(noise), 1, 65535), 0).astype(np.uint16)


def _local_contrast(image: npt.NDArray[np.uint16], brain: npt.NDArray[np.bool_]) -> _Volume:
    """Return the contrast of each voxel to the brain around it, in steps of 1/4 so that it compresses well."""
    wide = (5, 8, 8)
    contrast = _box_mean(image.astype(np.float32), (0, 1, 1))
    around = _box_mean(contrast, wide) / np.maximum(_box_mean(brain.astype(np.float32), wide), 1e-3)
    contrast -= around
    contrast -= np.float32(_FRST_FLOOR)
    np.maximum(contrast, 0, out=contrast)
    contrast *= np.float32(_FRST_PER_COUNT) * brain
    return np.asarray(np.rint(contrast * 4) / 4, np.float32)


def _box_mean(volume: _Volume, radii: tuple[int, int, int]) -> _Volume:
    """Return the mean over a box around each voxel, with 0 outside the volume."""
    for axis, radius in enumerate(radii):
        if radius > 0:
            volume = _running_mean(volume, axis, radius)
    return volume


def _running_mean(volume: _Volume, axis: int, radius: int) -> _Volume:
    """Return the mean over `2 * radius + 1` voxels along one axis, as the difference of two running sums."""
    margin = [(0, 0)] * volume.ndim
    margin[axis] = (radius + 1, radius)
    sums = np.moveaxis(np.cumsum(np.pad(volume, margin), axis=axis, dtype=np.float64), axis, 0)
    means = (sums[2 * radius + 1 :] - sums[: -2 * radius - 1]) / (2 * radius + 1)
    return np.ascontiguousarray(np.moveaxis(means, 0, axis), np.float32)
