"""Slices through a sample: its image, and for each pixel the region and the cells that are there.

Invariant: image, regions and cells of a view lie on one grid, so that a page can lay them over each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.catnip.components import kind_of
from catnip2bids.colors import made_up_color
from catnip2bids.reporting.pictures import gray_picture, heat_picture, map_picture
from catnip2bids.reporting.preview import Preview, display_window, read_preview
from catnip2bids.reporting.samples import Component, Region, Sample

Array = npt.NDArray[Any]

MOST_SEGMENTATIONS = 8
"""The cells of so many segmentations fit into a map."""
_LABELS = ("atlas", "atlasmasked")
_N_BINS = 80
_PROJECTED = ("along z", "along y", "along x")


@dataclass(frozen=True)
class View:
    """A slice through a volume.

    Attributes
    ----------
    title
        What it shows.
    picture, map
        Addresses of the image, and of regions and cells; the map may be empty.
    width, height
        Pixels.
    width_um, height_um
        How large it is.
    plane
        The plane of level 0, counted from 0, if it is one.
    """

    title: str
    picture: str
    map: str
    width: int
    height: int
    width_um: float
    height_um: float
    plane: int | None = None


@dataclass(frozen=True)
class Heatmaps:
    """The largest values along each axis of a heatmap, and of the corrected one, in one scale.

    Attributes
    ----------
    threshold
        Of the segmentation.
    largest
        The value shown as white.
    plain, corrected
        Projections; empty if there is no such heatmap.
    """

    threshold: int | None
    largest: float
    plain: tuple[View, ...]
    corrected: tuple[View, ...]


@dataclass(frozen=True)
class Histogram:
    """How often intensities occur: bin edges (n + 1), voxels (n), and the values shown as black and white."""

    edges: Array
    n_voxels: Array
    window: tuple[float, float]


@dataclass(frozen=True)
class Brain:
    """The small versions of a sample's images, on the grid of the raw one.

    Attributes
    ----------
    image
        The raw image.
    window
        Its values that are shown as black and as white.
    labels
        Label values (z, y, x), if the sample has them.
    regions
        The regions that occur, by ascending label value.
    segmentations
        Whose cells are in `cells`.
    cells
        One bit (z, y, x) for each segmentation.
    """

    image: Preview
    window: tuple[float, float]
    labels: Array | None
    regions: tuple[Region, ...]
    segmentations: tuple[Component, ...]
    cells: Array

    def planes(self, n_most: int) -> list[View]:
        """Return planes from all over the volume."""
        n_planes = len(self.image.planes)
        n = min(n_planes, n_most)
        chosen = [(2 * k + 1) * n_planes // (2 * n) for k in range(n)]
        views = [self._view(0, z, f"plane {self.image.planes[z] + 1}") for z in chosen]
        return [replace(view, plane=self.image.planes[z]) for view, z in zip(views, chosen, strict=True)]

    def orthogonal(self) -> list[View]:
        """Return three slices at right angles through the middle of the brain."""
        inside = self._tissue()
        middle = [int(np.median(where)) if len(where) else n // 2 for where, n in zip(inside, self._shape, strict=True)]
        names = ("XY", "XZ", "YZ")
        return [self._view(axis, at, names[axis]) for axis, at in enumerate(middle)]

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.image.values.shape

    def _tissue(self) -> list[Array]:
        """Return indices along each axis of what lies in regions, or is bright, of a part of the voxels."""
        is_tissue = self.labels != 0 if self.labels is not None else self.image.values > self.window[0]
        every = (2, 4, 4)
        found = np.nonzero(is_tissue[:: every[0], :: every[1], :: every[2]])
        return [where * step for where, step in zip(found, every, strict=True)]

    def _view(self, axis: int, at: int, title: str) -> View:
        values = self.image.values.take(at, axis=axis)
        sizes = [n * step for n, step in zip(self._shape, self.image.step_um, strict=True)]
        height_um, width_um = (size for other, size in enumerate(sizes) if other != axis)
        picture = gray_picture(values, self.window)
        view = View(title, picture, "", values.shape[1], values.shape[0], width_um, height_um)
        if self.labels is None and not self.segmentations:
            return view
        numbers = np.zeros(values.shape, np.uint16)
        if self.labels is not None and self.regions:
            labels, ids = self.labels.take(at, axis=axis), np.array([region.index for region in self.regions])
            numbers = np.where(labels == 0, 0, np.searchsorted(ids, labels) + 1).astype(np.uint16)
        return replace(view, map=map_picture(numbers, self.cells.take(at, axis=axis)))

    def histogram(self) -> Histogram:
        """Count intensities."""
        values = self.image.values[np.isfinite(self.image.values)]
        n_voxels, edges = np.histogram(values, bins=_N_BINS)
        return Histogram(edges, n_voxels, self.window)


def read_brain(dataset: Path, sample: Sample) -> Brain | None:
    """Read the small versions of a sample's images; None if it has no raw image."""
    raw = sample.raw
    if raw is None:
        return None
    image = _read(dataset, raw)
    same_grid = [found for found in sample.components if found.record.shape == raw.record.shape]
    atlas = next((found for found in same_grid if found.role in _LABELS), None)
    cells = np.zeros(image.values.shape, np.uint8)
    segmentations = [found for found in sample.with_role("FRSTseg") if found in same_grid][:MOST_SEGMENTATIONS]
    for bit, component in enumerate(segmentations):
        cells |= (_read(dataset, component).on_grid_of(image) != 0).astype(np.uint8) << bit
    return Brain(
        image,
        display_window(dataset / raw.path, image.values),
        None if atlas is None else _read(dataset, atlas).on_grid_of(image),
        () if atlas is None else _regions_of(sample, atlas.record.label_values or []),
        tuple(segmentations),
        cells,
    )


def _read(dataset: Path, component: Component) -> Preview:
    record = component.record
    return read_preview(dataset / component.path, record.shape, component.voxel_size_um, kind_of(component.role))


def _regions_of(sample: Sample, values: Sequence[int]) -> tuple[Region, ...]:
    """Name label values; those that no table knows go without a name."""
    ids = sorted(set(values) - {0})
    return tuple(sample.regions.get(id_, Region(id_, f"label {id_}", "", made_up_color(id_))) for id_ in ids)


def read_heatmaps(dataset: Path, sample: Sample) -> list[Heatmaps]:
    """Project the heatmaps of each threshold, the corrected ones beside them."""
    plain = {found.threshold: found for found in sample.with_role("heatmap")}
    corrected = {found.threshold: found for found in sample.with_role("heatmapcorrected")}
    found = []
    for threshold in dict.fromkeys([*plain, *corrected]):
        both = [_projected(dataset, side.get(threshold)) for side in (plain, corrected)]
        largest = max((float(values.max()) for side in both for values, _ in side), default=0.0)
        sides = [tuple(_heat_view(*projection, largest, n) for n, projection in enumerate(side)) for side in both]
        found.append(Heatmaps(threshold, largest, *sides))
    return found


def _projected(dataset: Path, component: Component | None) -> list[tuple[Array, tuple[float, float]]]:
    """Return the largest values along each axis, and the height and width of what is seen."""
    if component is None:
        return []
    preview = _read(dataset, component)
    values = np.nan_to_num(preview.values)
    sizes = [n * step for n, step in zip(values.shape, preview.step_um, strict=True)]
    return [(values.max(axis=axis), _without(sizes, axis)) for axis in range(3)]


def _without(sizes: Sequence[float], axis: int) -> tuple[float, float]:
    height, width = (size for other, size in enumerate(sizes) if other != axis)
    return height, width


def _heat_view(values: Array, size_um: tuple[float, float], largest: float, axis: int) -> View:
    picture = heat_picture(values, largest)
    return View(_PROJECTED[axis], picture, "", values.shape[1], values.shape[0], size_um[1], size_um[0])
