"""Draw slices through a sample as data URLs of pictures: its image, and the region and cells at each pixel.

Invariant: image, regions and cells of a view share one grid, so that a page can overlay them. Gray and heat pictures
are lossy; maps keep every value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.catnip.atlas import ATLAS_LABELS
from catnip2bids.catnip.components import kind_of
from catnip2bids.formatting import format_planes, plane_number
from catnip2bids.html_pages import picture_address
from catnip2bids.ome import ends_apart
from catnip2bids.regions import OTHER_LABELS, DisplayedRegion, region_of
from catnip2bids.reporting.preview import Preview
from catnip2bids.reporting.samples import Sample, SampleImage

Array = npt.NDArray[Any]

MOST_SEGMENTATIONS = 8
"""Segmentations whose cells fit into a map, one bit each."""
_N_BINS = 80
_QUALITY = 72
_PROJECTED = ("along z", "along y", "along x")


@dataclass(frozen=True)
class View:
    """A slice through a volume."""

    title: str
    picture: str  # data URL of the image
    map: str  # data URL of regions and cells, or empty
    width: int
    height: int
    width_um: float
    height_um: float
    number: int | None = None  # of the plane of level 0, counted from 1, if it is one


@dataclass(frozen=True)
class Heatmaps:
    """Maximum projections of a heat map and of the corrected one, on one scale."""

    threshold: int | None  # of the segmentation
    largest: float  # value shown as white
    plain: tuple[View, ...]  # along z, y and x; empty if that heat map does not exist
    corrected: tuple[View, ...]


@dataclass(frozen=True)
class Histogram:
    """A histogram of intensities: bin edges (n + 1), voxels (n), and the values shown as black and white."""

    edges: Array
    n_voxels: Array
    window: tuple[float, float]


@dataclass(frozen=True)
class Brain:
    """The small versions of a sample's images, on the grid of the raw one."""

    image: Preview  # the raw image
    labels: Preview | None
    regions: tuple[DisplayedRegion, ...]  # by ascending label value; the last one stands for all other labels
    segmentations: tuple[tuple[SampleImage, Preview], ...]

    def planes(self, n_most: int) -> list[View]:
        """Return up to `n_most` evenly spaced planes."""
        n_planes = len(self.image.planes)
        n = min(n_planes, n_most)
        chosen = [(2 * k + 1) * n_planes // (2 * n) for k in range(n)]
        planes = [(z, self.image.planes[z]) for z in chosen]
        return [replace(self._view(0, z, format_planes([plane])), number=plane_number(plane)) for z, plane in planes]

    def orthogonal(self) -> list[View]:
        """Return three orthogonal slices through the middle of the brain."""
        names = ("XY", "XZ", "YZ")
        return [self._view(axis, at, names[axis]) for axis, at in enumerate(self._middle())]

    def _middle(self) -> list[int]:
        """Return the median position of labelled or, without labels, bright voxels."""
        small = self.image.whole if self.labels is None else self.labels.whole
        inside = small > self.image.window[0] if self.labels is None else small != 0
        axes = range(inside.ndim)
        profiles = [inside.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
        return [_median(profile) * n // len(profile) for profile, n in zip(profiles, self.image.shape, strict=True)]

    def _view(self, axis: int, at: int, title: str) -> View:
        values = self.image.slice(axis, at)
        height_um, width_um = _without(self.image.extent_um, axis)
        picture = gray_picture(values, self.image.window)
        view = View(title, picture, "", values.shape[1], values.shape[0], width_um, height_um)
        if self.labels is None and not self.segmentations:
            return view
        numbers, cells = np.zeros(values.shape, np.uint16), np.zeros(values.shape, np.uint8)
        if self.labels is not None:
            numbers = self._numbers(self.labels.slice_like(self.image, axis, at))
        for bit, (_, segmentation) in enumerate(self.segmentations):
            cells |= (segmentation.slice_like(self.image, axis, at) != 0).astype(np.uint8) << bit
        return replace(view, map=map_picture(numbers, cells))

    def _numbers(self, labels: Array) -> Array:
        """Map labels to numbers of regions, from 1 on; labels without a name get the last one."""
        ids = np.array([region.index for region in self.regions[:-1]])
        indices = np.minimum(np.searchsorted(ids, labels), max(len(ids) - 1, 0))
        is_known = ids[indices] == labels if len(ids) else np.zeros(labels.shape, np.bool_)
        numbers = np.where(is_known, indices + 1, len(self.regions))
        return np.where(labels == 0, 0, numbers).astype(np.uint16)

    def histogram(self) -> Histogram:
        """Return the histogram of intensities."""
        halves = self.image.whole[np.isfinite(self.image.whole)] / 2  # avoids overflow of the range
        ends = ends_apart(float(halves.min()), float(halves.max())) if halves.size else (0.0, 0.5)
        n_voxels, edges = np.histogram(halves, bins=_N_BINS, range=ends)
        return Histogram(2 * edges.astype(np.float64), n_voxels, self.image.window)


def _median(profile: Array) -> int:
    """Return the index that halves the sum of a profile; the middle if all is 0."""
    sums = profile.cumsum()
    return int(np.searchsorted(sums, sums[-1] / 2)) if sums[-1] else len(profile) // 2


def read_brain(dataset: Path, sample: Sample) -> Brain | None:
    """Open the small versions of a sample's images; None if it has no raw image."""
    raw = sample.raw
    if raw is None:
        return None
    same_grid = [found for found in sample.images if found.record.shape == raw.record.shape]
    labels = [found for found in same_grid if found.record.role in ATLAS_LABELS]
    atlas = min(labels, key=lambda found: ATLAS_LABELS.index(found.record.role), default=None)
    regions: list[DisplayedRegion] = []
    if atlas is not None:
        values = sorted(set(atlas.record.label_values or []) - {0})
        regions = [*(region_of(sample.regions, value) for value in values), OTHER_LABELS]
    segmentations = [found for found in sample.segmentations if found in same_grid]
    return Brain(
        _preview(dataset, raw),
        None if atlas is None else _preview(dataset, atlas),
        tuple(regions),
        tuple((found, _preview(dataset, found)) for found in segmentations[:MOST_SEGMENTATIONS]),
    )


def _preview(dataset: Path, image: SampleImage) -> Preview:
    return Preview(dataset / image.path, image.record.shape, image.voxel_size_um, kind_of(image.record.role))


def read_heatmaps(dataset: Path, sample: Sample) -> list[Heatmaps]:
    """Project the plain and corrected heat maps of each threshold."""
    plain = {found.threshold: found for found in sample.heatmaps(is_corrected=False)}
    corrected = {found.threshold: found for found in sample.heatmaps(is_corrected=True)}
    found = []
    for threshold in dict.fromkeys([*plain, *corrected]):
        both = [_projections(dataset, maps.get(threshold)) for maps in (plain, corrected)]
        largest = max((float(values.max()) for projections in both for values, _ in projections), default=0.0)
        views = [tuple(_heat_view(*each, largest, n) for n, each in enumerate(projections)) for projections in both]
        found.append(Heatmaps(threshold, largest, *views))
    return found


def _projections(dataset: Path, image: SampleImage | None) -> list[tuple[Array, tuple[float, float]]]:
    """Return the maximum projection along each axis with its height and width in micrometers."""
    if image is None:
        return []
    preview = _preview(dataset, image)
    values = np.nan_to_num(preview.whole)
    return [(values.max(axis=axis), _without(preview.extent_um, axis)) for axis in range(3)]


def _without(sizes: Sequence[float], axis: int) -> tuple[float, float]:
    height, width = (size for other, size in enumerate(sizes) if other != axis)
    return height, width


def _heat_view(values: Array, size_um: tuple[float, float], largest: float, axis: int) -> View:
    picture = heat_picture(values, largest)
    return View(_PROJECTED[axis], picture, "", values.shape[1], values.shape[0], size_um[1], size_um[0])


def gray_picture(values: Array, window: tuple[float, float]) -> str:
    """Encode intensities, (rows, columns), in gray; `window` holds the values of black and white."""
    shades = _scaled(values, window)
    return _webp(np.repeat(shades[..., np.newaxis], 3, axis=2))


def heat_picture(values: Array, largest: float) -> str:
    """Encode values from 0 to `largest` in colours from black over red and yellow to white."""
    heat = 3 * _scaled(values, (0.0, largest)).astype(np.int16)
    return _webp(np.stack([np.clip(heat - 255 * n, 0, 255) for n in range(3)], axis=-1).astype(np.uint8))


def map_picture(regions: Array, cells: Array) -> str:
    """Encode region numbers below 65,536 as red + 256 * green, and 8 bits of cells as blue."""
    channels = (regions & 255, regions >> 8, cells)
    pixels = np.stack([channel.astype(np.uint8) for channel in channels], axis=-1)
    return picture_address("png", imagecodecs.png_encode(np.ascontiguousarray(pixels), level=9))


def _scaled(values: Array, window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = (end / 2 for end in window)  # halves, because the difference of the ends may overflow
    halves = np.nan_to_num(values.astype(np.float64), nan=window[0]) / 2
    shades = (halves - low) / max(high - low, 1e-12) * 255
    return np.asarray(np.clip(np.rint(shades), 0, 255), np.uint8)


def _webp(pixels: Array) -> str:
    return picture_address("webp", imagecodecs.webp_encode(np.ascontiguousarray(pixels), level=_QUALITY))
