"""Draw slices through a sample as data URLs of pictures: its image, and region, mask and cells at each pixel.

Invariant: image, regions and cells of a view share one grid, so that a page can overlay them. Gray and heat pictures
are lossy; maps keep every value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, log10
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.catnip.atlas import ATLAS_LABELS
from catnip2bids.catnip.components import HEMISPHERE_MASK, kind_of
from catnip2bids.formatting import plane_number
from catnip2bids.heatmap_scales import heat_colors
from catnip2bids.html_pages import picture_address
from catnip2bids.ome import ends_apart
from catnip2bids.regions import OTHER_LABELS, DisplayedRegion, region_of
from catnip2bids.reporting.drawn_cells import Slab
from catnip2bids.reporting.preview import Preview, resampled
from catnip2bids.reporting.samples import Counts, Sample, SampleImage

Array = npt.NDArray[Any]

MOST_SEGMENTATIONS = 7
"""Segmentations whose cells fit into a map, one bit each; the last bit is for what is outside the hemisphere mask."""
_OUTSIDE_BIT: Final = 7
_N_BINS = 80
_JPEG_QUALITY = 85
_PROJECTED = ("along z", "along y", "along x")
_EXCLUDED_RGB: Final = (86, 180, 233)
_ROWS_COLUMNS: Final = ((1, 2), (0, 2), (1, 0))
"""Axes of the rows and columns of a slice perpendicular to z, y and x; the last one stands beside the first."""


@dataclass(frozen=True)
class ScaleBar:
    """A bar of a round length over a picture."""

    text: str
    percent: float  # of the width of the picture

    @classmethod
    def of_width(cls, width_um: float) -> ScaleBar:
        """Choose the longest bar of 1, 2 or 5 times a power of ten that takes at most a third of the width."""
        power = 10.0 ** floor(log10(width_um / 3))
        length_um = max(step * power for step in (1, 2, 5) if step * power <= width_um / 3)
        text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} um"
        return cls(text, 100 * length_um / width_um)


@dataclass(frozen=True)
class Picture:
    """A picture of a slice or projection of a volume."""

    title: str
    address: str  # data URL
    width: int
    height: int
    width_um: float
    height_um: float

    @property
    def bar(self) -> ScaleBar:
        """The scale bar."""
        return ScaleBar.of_width(self.width_um)


@dataclass(frozen=True)
class View(Picture):
    """A slice through the images of a sample."""

    map: str  # data URL of regions, mask and cells, or empty
    areas: tuple[int, ...]  # pixels of each region, by its number; of no region first
    slab: Slab  # the part of the volume that it shows
    at: int  # the voxel of level 0 in its middle, along the perpendicular axis
    detail: View | None = None  # the same at the resolution of a large screen

    @property
    def number(self) -> int:
        """The number of the plane (or row, or column) in its middle, counted from 1."""
        return plane_number(self.at)

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes in a page."""
        return len(self.address) + len(self.map)


@dataclass(frozen=True)
class Heatmaps:
    """Maximum projections of a heat map and of the corrected one, on one scale."""

    threshold: int | None  # of the segmentation
    largest: float  # value shown as white
    plain: tuple[Picture, ...]  # along z, y and x; empty if that heat map does not exist
    corrected: tuple[Picture, ...]
    plain_image: str  # file names; empty likewise
    corrected_image: str


@dataclass(frozen=True)
class Histogram:
    """A histogram of intensities: bin edges (n + 1), voxels (n), and the values shown as black and white."""

    edges: Array
    n_voxels: Array
    window: tuple[float, float]


@dataclass(frozen=True)
class CellLayer:
    """The cells of one threshold, from tables of cells or, where there are none, from the segmentation."""

    threshold: int | None
    counts: Counts | None = None  # with tables of cells
    segmentation: Preview | None = None


@dataclass(frozen=True)
class Brain:
    """The small versions of a sample's images, on the grid of the raw one."""

    image: Preview  # the raw image
    labels: Preview | None
    mask: Preview | None  # 1 inside, where cells are counted
    regions: tuple[DisplayedRegion, ...]  # by ascending label value; the last one stands for all other labels
    layers: tuple[CellLayer, ...]  # thresholds ascending

    def planes(self, n_most: int) -> list[View]:
        """Return up to `n_most` evenly spaced planes."""
        n_planes = len(self.image.planes)
        n = min(n_planes, n_most)
        return [self._view(0, (2 * k + 1) * n_planes // (2 * n)) for k in range(n)]

    def orthogonal(self) -> list[View]:
        """Return three orthogonal slices through the middle of the brain."""
        return [self._view(axis, at) for axis, at in enumerate(self._middle())]

    def with_details(self, views: Sequence[View]) -> list[View]:
        """Return planes with details at the resolution of a large screen, unless the image has no finer level."""
        planes = [view.at for view in views]
        values = self.image.details(planes)
        if all(max(found.shape) <= max(view.height, view.width) for found, view in zip(values, views, strict=True)):
            return list(views)
        overlays = [None if one is None else one.details(planes) for one in self._overlays()]
        detailed = []
        for n, (view, found) in enumerate(zip(views, values, strict=True)):
            others = [None if one is None else resampled(one[n], found.shape) for one in overlays]
            detailed.append(replace(view, detail=self._drawn(view.slab, view.at, found, others)))
        return detailed

    def _overlays(self) -> list[Preview | None]:
        return [self.labels, self.mask, *(layer.segmentation for layer in self.layers)]

    def _middle(self) -> list[int]:
        """Return the median position of labelled or, without labels, bright voxels."""
        small = self.image.whole if self.labels is None else self.labels.whole
        inside = small > self.image.window[0] if self.labels is None else small != 0
        axes = range(inside.ndim)
        profiles = [inside.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
        return [_median(profile) * n // len(profile) for profile, n in zip(profiles, self.image.shape, strict=True)]

    def _view(self, axis: int, at: int) -> View:
        rows, columns = _ROWS_COLUMNS[axis]
        low, high = self.image.span(axis, at)
        middle = self.image.planes[at] if axis == 0 else floor((low + high + 1) / 2)
        values = self.image.slice(axis, at)
        others = [None if one is None else one.slice_like(self.image, axis, at) for one in self._overlays()]
        if rows > columns:
            values, others = values.T, [None if other is None else other.T for other in others]
        return self._drawn(Slab(axis, low, high, rows, columns), middle, values, others)

    def _drawn(self, slab: Slab, at: int, values: Array, others: Sequence[Array | None]) -> View:
        """Draw a slice; `others` are labels, mask and segmentations of the same shape."""
        extent_um = self.image.extent_um
        labels, mask, *segmentations = others
        numbers, bits = np.zeros(values.shape, np.uint16), np.zeros(values.shape, np.uint8)
        if labels is not None:
            numbers = self._numbers(labels)
        if mask is not None:
            bits |= (mask == 0).astype(np.uint8) << _OUTSIDE_BIT
        for bit, cells in enumerate(found for found in segmentations if found is not None):
            bits |= (cells != 0).astype(np.uint8) << bit
        is_empty = all(other is None for other in others)
        return View(
            "zyx"[slab.columns].upper() + "zyx"[slab.rows].upper(),
            gray_picture(values, self.image.window),
            values.shape[1],
            values.shape[0],
            extent_um[slab.columns],
            extent_um[slab.rows],
            "" if is_empty else map_picture(numbers, bits),
            tuple(np.bincount(numbers.ravel(), minlength=len(self.regions) + 1).tolist()),
            slab,
            at,
        )

    def _numbers(self, labels: Array) -> Array:
        """Map labels to numbers of regions, from 1 on; labels without a name get the last one."""
        ids = np.array([region.index for region in self.regions[:-1]])

        def numbered(labels: Array) -> Array:
            indices = np.minimum(np.searchsorted(ids, labels), max(len(ids) - 1, 0))
            is_known = ids[indices] == labels if len(ids) else np.zeros(labels.shape, np.bool_)
            numbers = np.where(is_known, indices + 1, len(self.regions))
            return np.where(labels == 0, 0, numbers).astype(np.uint16)

        return _by_value(numbered, labels)

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
    mask = next((found for found in same_grid if found.record.role == HEMISPHERE_MASK.role), None)
    regions: list[DisplayedRegion] = []
    if atlas is not None:
        values = sorted(set(atlas.record.label_values or []) - {0})
        regions = [*(region_of(sample.regions, value) for value in values), OTHER_LABELS]
    return Brain(
        _preview(dataset, raw),
        None if atlas is None else _preview(dataset, atlas),
        None if mask is None else _preview(dataset, mask),
        tuple(regions),
        tuple(_cell_layers(dataset, sample, [found for found in sample.segmentations if found in same_grid])),
    )


def _cell_layers(dataset: Path, sample: Sample, segmentations: Sequence[SampleImage]) -> list[CellLayer]:
    """Return the cells to draw: from all tables, and from as many segmentations as fit into a map."""
    counts = {found.threshold: found for found in sample.counts if found.cell_tables}
    layers = [CellLayer(threshold, found) for threshold, found in counts.items()]
    others = [found for found in segmentations if found.threshold not in counts][:MOST_SEGMENTATIONS]
    layers += [CellLayer(found.threshold, segmentation=_preview(dataset, found)) for found in others]
    return sorted(layers, key=lambda layer: layer.threshold or 0)


def _preview(dataset: Path, image: SampleImage) -> Preview:
    return Preview(dataset / image.path, image.record.shape, image.voxel_size_um, kind_of(image.record.role))


def read_heatmaps(dataset: Path, sample: Sample, scales: Mapping[int | None, float]) -> list[Heatmaps]:
    """Project the plain and corrected heat maps of each threshold; `scales` has the value shown as white of each."""
    plain = {found.threshold: found for found in sample.heatmaps(is_corrected=False)}
    corrected = {found.threshold: found for found in sample.heatmaps(is_corrected=True)}
    found = []
    for threshold in dict.fromkeys([*plain, *corrected]):
        before, after = (_heat_values(dataset, maps.get(threshold)) for maps in (plain, corrected))
        largest = scales[threshold]
        views = (_heat_pictures(before, largest, None), _heat_pictures(after, largest, before))
        names = ("" if image is None else image.path.name for image in (plain.get(threshold), corrected.get(threshold)))
        found.append(Heatmaps(threshold, largest, *views, *names))
    return found


def _heat_values(dataset: Path, image: SampleImage | None) -> tuple[Array, Preview] | None:
    if image is None:
        return None
    preview = _preview(dataset, image)
    return np.nan_to_num(preview.whole, copy=False), preview


def _heat_pictures(
    heat: tuple[Array, Preview] | None, largest: float, uncorrected: tuple[Array, Preview] | None
) -> tuple[Picture, ...]:
    """Draw the maximum projection along each axis; values lower than those of `uncorrected` are tinted."""
    if heat is None:
        return ()
    pictures = []
    for axis, title in enumerate(_PROJECTED):
        values = heat[0].max(axis=axis)
        lost = None if uncorrected is None else np.asarray(values < uncorrected[0].max(axis=axis))
        rows, columns = _ROWS_COLUMNS[axis]
        if rows > columns:
            values, lost = values.T, None if lost is None else lost.T
        extent_um = heat[1].extent_um
        address = heat_picture(values, largest, lost)
        pictures.append(Picture(title, address, values.shape[1], values.shape[0], extent_um[columns], extent_um[rows]))
    return tuple(pictures)


def gray_picture(values: Array, window: tuple[float, float]) -> str:
    """Encode intensities, (rows, columns), in gray; `window` holds the values of black and white."""
    return _jpeg(_scaled(values, window))


def heat_picture(values: Array, largest: float, excluded: Array | None = None) -> str:
    """Encode values from 0 to `largest` in black over red and yellow to white; tint `excluded` pixels blue."""
    pixels = heat_colors(_scaled(values, (0.0, largest)))
    if excluded is not None:
        pixels[excluded] = (pixels[excluded].astype(np.uint16) + _EXCLUDED_RGB) // 2
    return _jpeg(pixels)


def map_picture(regions: Array, bits: Array) -> str:
    """Encode region numbers below 65,536 as red + 256 * green, and 8 bits of mask and cells as blue."""
    channels = (regions & 255, regions >> 8, bits)
    pixels = np.stack([channel.astype(np.uint8) for channel in channels], axis=-1)
    # PNG's filters, of differences of neighbours, take three times as long, and make maps hardly smaller or even larger
    return picture_address("png", imagecodecs.png_encode(np.ascontiguousarray(pixels), level=4, filter=0))


def _scaled(values: Array, window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = (end / 2 for end in window)  # halves, because the difference of the ends may overflow

    def scaled(values: Array) -> Array:
        halves = np.nan_to_num(values.astype(np.float64), nan=window[0]) / 2
        shades = (halves - low) / max(high - low, 1e-12) * 255
        return np.asarray(np.clip(np.rint(shades), 0, 255), np.uint8)

    return _by_value(scaled, values)


def _by_value(function: Callable[[Array], Array], pixels: Array) -> Array:
    """Call a function of single values for all pixels, or once for each value that they can have if these are fewer."""
    if pixels.dtype.kind == "u" and pixels.size > 256**pixels.dtype.itemsize:
        values = np.arange(256**pixels.dtype.itemsize).astype(pixels.dtype)
        return function(values)[pixels]
    return function(pixels)


def _jpeg(pixels: Array) -> str:
    """Encode gray or RGB pixels: in a fiftieth of the time of WebP, which counts for planes in detail."""
    jpeg = imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=_JPEG_QUALITY, subsampling="444")
    return picture_address("jpeg", jpeg)
