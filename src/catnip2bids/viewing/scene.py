"""Arrange images as scenes: the images of one sample on one grid, and how each is displayed.

Invariant: all layers of a scene share one grid, so that overlaid voxels correspond.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import cycle
from pathlib import Path

from catnip2bids.bids.dataset_paths import CELLS_ENDING, DERIVATIVE, UNCOUNTED_ENDING, entities_of
from catnip2bids.bids.provenance import PROVENANCE, ImageRecord, RunRecord, read_provenance
from catnip2bids.catnip.component_type import Content
from catnip2bids.catnip.components import WHOLE_LABELS, component_of
from catnip2bids.catnip.counts import counted_segmentation
from catnip2bids.documents import refuse_foreign, refuse_special_file
from catnip2bids.errors import Catnip2bidsError, DatasetError, SourceError, UsageError
from catnip2bids.heatmap_scales import heatmap_scales
from catnip2bids.ome import LabelValue
from catnip2bids.paths import file_name, inside
from catnip2bids.regions import displayed_regions
from catnip2bids.viewing.cell_points import CellTable
from catnip2bids.viewing.image import WHITE
from catnip2bids.viewing.surfaces import has_surfaces
from catnip2bids.viewing.tiff_image import TiffImage
from catnip2bids.viewing.zarr_image import ZarrImage
from catnip2bids.volume import is_ome_zarr, is_tiff, slice_files

_OME_TIFF = (".ome.btf", ".ome.tif", ".ome.tiff")
_CELL_COLORS = ("#f0e442", "#56b4e9", "#d55e00", "#cc79a7")
"""Colours of cells, lowest threshold first: those of Okabe and Ito that stand out from gray for everybody."""
_MASK_COLOR = "#7ee0d0"
_SHOWN_TYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"})
"""Types that Neuroglancer's textures support."""
_MOST_CHANNELS = 100
"""Each channel becomes a layer."""

ViewedImage = ZarrImage | TiffImage


class DisplayMode(StrEnum):
    """How an image is displayed."""

    INTENSITY = "intensity"
    LABELS = "labels"
    MASK = "mask"
    HEATMAP = "heatmap"


@dataclass(frozen=True)
class Layer:
    """An image, or one channel of it, and how it is displayed."""

    name: str
    image: ViewedImage
    mode: DisplayMode
    visible: bool = True  # at first
    color: str = WHITE  # of intensities and masks
    regions: tuple[LabelValue, ...] = ()  # names and colours of label values
    channel: int = 0
    threshold: int | None = None  # FRST threshold of cells and their heat maps
    limits: tuple[float, float] | None = None  # of heat maps: the values shown as black and white

    @property
    def surface_image(self) -> ZarrImage | None:
        """The image that surfaces of its regions can be made from, if any."""
        if self.mode != DisplayMode.LABELS or not isinstance(self.image, ZarrImage):
            return None
        return self.image if has_surfaces(self.image) else None


@dataclass(frozen=True)
class CellLayer:
    """The cells of a threshold as points: those that regions count, or all others."""

    name: str
    table: CellTable
    threshold: int
    visible: bool = False  # at first
    color: str = WHITE


@dataclass(frozen=True)
class Scene:
    """Layers to overlay."""

    sample: str
    title: str
    layers: tuple[Layer, ...]  # from bottom to top
    cells: tuple[CellLayer, ...] = ()  # above the other layers

    def showing(self, number: int) -> Scene:
        """Return the scene with a layer visible; of heat maps, which hide each other, it is the only one."""
        chosen = self.layers[number]
        keep = chosen.mode != DisplayMode.HEATMAP
        layers = (replace(layer, visible=layer is chosen or (keep and layer.visible)) for layer in self.layers)
        return replace(self, layers=tuple(layers))


def scenes_of(path: Path, warn: Callable[[str], None]) -> tuple[Scene, ...]:
    """Return the scenes of all samples of a dataset made by `package`, or of one OME-Zarr or OME-TIFF image.

    `warn` gets a message for each image of a dataset, or label image inside an image, that cannot be shown.
    """
    refuse_special_file(path)
    if (path / PROVENANCE).is_file():
        scenes = tuple(_scenes_of_dataset(path, warn))
        if not scenes:
            raise DatasetError(f"{path}: has no images to look at; package a cohort into it first")
        return scenes
    if not path.exists():
        raise UsageError(f"{path}: does not exist; give a dataset or an image")
    if is_ome_zarr(path) or (path.is_file() and _is_ome_tiff(path)):
        return (_scene_of_image(path, warn),)
    slices = [file for file in slice_files(path) if not _is_ome_tiff(file)] if path.is_dir() else []
    volume = "a folder of TIFF slices" if slices else "a TIFF without OME-XML" if is_tiff(path) else None
    if volume is not None:
        example = f"catnip2bids convert {shlex.quote(str(path))} image.ome.zarr --voxel-size 3.7 3.7 5"
        raise UsageError(f"{path}: is {volume}; convert it, and view the image: {example}")
    raise UsageError(
        f"{path}: is neither a dataset that catnip2bids packaged nor an image; "
        "give such a dataset, a folder of OME-Zarr, or an OME-TIFF (.ome.btf, .ome.tif)"
    )


def _scenes_of_dataset(dataset: Path, warn: Callable[[str], None]) -> Iterator[Scene]:
    """Yield for each run one scene on the native grid and one on the grid of the atlas."""
    try:
        refuse_foreign(dataset)
    except DatasetError as error:
        warn(str(error))
    runs = read_provenance(dataset).runs
    scales = heatmap_scales(runs.values())
    for key, run in runs.items():
        layers = [_on_scale(layer, scales) for layer in _layers(dataset, run, run.images.items(), warn)]
        in_atlas_space = [layer for layer in layers if layer.mode == DisplayMode.HEATMAP]
        if native := _arranged([layer for layer in layers if layer not in in_atlas_space]):
            cells = tuple(_cell_layers(dataset, run, native, warn))
            yield Scene(key, "image, atlas regions and cells", _without_cells(native, cells), cells)
        if in_atlas_space:
            first, *others = _arranged(in_atlas_space)
            layers = [first, *(replace(layer, visible=False) for layer in others)]
            yield Scene(key, "heat maps, in the space of the atlas", tuple(layers))


def _layers(
    dataset: Path, run: RunRecord, images: Iterable[tuple[str, ImageRecord]], warn: Callable[[str], None]
) -> Iterator[Layer]:
    """Yield the layers of images of a dataset; warn about images that cannot be shown."""
    for target, record in images:
        try:
            yield _layer(dataset, run, target, record)
        except Catnip2bidsError as error:
            warn(f"is not shown: {error}")


def _layer(dataset: Path, run: RunRecord, target: str, record: ImageRecord) -> Layer:
    """Choose how to display an image of a dataset."""
    path = dataset / inside(target, PROVENANCE.name)
    image = _open(path, dataset)
    known = component_of(record.role, record.source)
    if known is None:
        raise DatasetError(f"{PROVENANCE}: no image has the role {record.role}; view the dataset with a newer version")
    component, threshold = known
    name = component.titled(threshold)
    is_raw = not path.is_relative_to(dataset / DERIVATIVE)
    match component.content:
        case Content.LABELS:
            regions = _regions(dataset, run, record) or image.labels
            best = record.role == WHOLE_LABELS or all(other.role != WHOLE_LABELS for other in run.images.values())
            return Layer(name, image, DisplayMode.LABELS, visible=best, regions=regions)
        case Content.MASK | Content.CELL_MAP:
            visible = component.is_segmentation
            return Layer(name, image, DisplayMode.MASK, visible=visible, color=_MASK_COLOR, threshold=threshold)
        case Content.HEATMAP:
            return Layer(name, image, DisplayMode.HEATMAP, threshold=threshold)
    return Layer(f"image, {run.stain}" if is_raw else name, image, DisplayMode.INTENSITY, visible=is_raw)


def _on_scale(layer: Layer, scales: Mapping[int | None, float]) -> Layer:
    """Draw a heat map on the scale that all samples have."""
    return replace(layer, limits=(0.0, scales[layer.threshold])) if layer.mode == DisplayMode.HEATMAP else layer


def _regions(dataset: Path, run: RunRecord, record: ImageRecord) -> tuple[LabelValue, ...]:
    """Return the regions that occur in an image, with names and colours from the atlas table of its run."""
    if run.atlas_table is not None:
        _refuse_link_out(dataset / DERIVATIVE / run.atlas_table, dataset)
    occurring = None if record.label_values is None else set(record.label_values)
    return tuple(
        LabelValue(region.index, region.name, region.abbreviation or None, region.color)
        for region in displayed_regions(dataset, run).values()
        if occurring is None or region.index in occurring
    )


def has_own_abbreviation(region: LabelValue) -> bool:
    """Tell whether a region has an abbreviation other than its name."""
    return bool(region.abbreviation) and region.abbreviation not in (region.name, region.name.replace(" ", "_"))


def region_label(region: LabelValue) -> str:
    """Return abbreviation and name, such as ``CA1 - Field CA1``; a search finds what begins with its text."""
    return f"{region.abbreviation} - {region.name}" if has_own_abbreviation(region) else region.name


def _arranged(layers: list[Layer]) -> tuple[Layer, ...]:
    """Sort layers: intensities at the bottom, then labels, then cells by threshold; and colour cells."""
    order, colors = list(DisplayMode), _colors(layers)
    colored = (replace(layer, color=colors.get(layer.threshold, layer.color)) for layer in layers)
    return tuple(sorted(colored, key=lambda layer: (order.index(layer.mode), layer.threshold or 0, not layer.visible)))


def _colors(layers: Iterable[Layer]) -> dict[int | None, str]:
    """Return the colour of the cells of each threshold."""
    thresholds = sorted({layer.threshold for layer in layers if layer.threshold is not None})
    return dict(zip(thresholds, cycle(_CELL_COLORS), strict=False))


def _cell_layers(
    dataset: Path, run: RunRecord, layers: Sequence[Layer], warn: Callable[[str], None]
) -> Iterator[CellLayer]:
    """Yield the tables of cells of a run as points; those of the lowest threshold are visible."""
    axes = {axis.name: axis for axis in layers[0].image.axes}
    if axes.keys() != {"x", "y", "z"}:
        return
    colors, visible = _colors(layers), True
    named = next((layer.regions for layer in layers if layer.regions), ())
    regions = tuple((region.value, region_label(region)) for region in named)
    for threshold, path in sorted(_cell_tables(dataset, run)):
        for ending, what, color in (
            (CELLS_ENDING, "counted", colors.get(threshold)),
            (UNCOUNTED_ENDING, "uncounted", WHITE),
        ):
            file = path.with_name(path.name.removesuffix(CELLS_ENDING) + ending)
            try:
                _refuse_link_out(file, dataset)
                if not file.is_file():
                    raise SourceError(f"{file}: does not exist; bring it back from a copy")
            except SourceError as error:
                warn(f"is not shown: {error}")
                continue
            table = CellTable(file, (axes["x"], axes["y"], axes["z"]), regions)
            name = f"{what} cells, threshold {threshold}"
            yield CellLayer(name, table, threshold, visible and ending == CELLS_ENDING, color or _CELL_COLORS[0])
        visible = False


def _cell_tables(dataset: Path, run: RunRecord) -> Iterator[tuple[int, Path]]:
    """Yield the tables of counted cells of a run, with their thresholds."""
    for target in run.cells:
        path = inside(target, PROVENANCE.name)
        counted = counted_segmentation(entities_of(path.name).get("desc", ""))
        if path.name.endswith(CELLS_ENDING) and counted is not None and not counted[1]:
            yield counted[0], dataset / path


def _without_cells(layers: Iterable[Layer], cells: Sequence[CellLayer]) -> tuple[Layer, ...]:
    """Hide the segmentations whose cells are shown as points: from afar, they cover everything."""
    thresholds = {layer.threshold for layer in cells}
    return tuple(replace(layer, visible=layer.visible and layer.threshold not in thresholds) for layer in layers)


def _scene_of_image(path: Path, warn: Callable[[str], None]) -> Scene:
    """Return a scene of one image and the label images inside it, displayed as in its dataset if it has one."""
    for dataset in path.resolve().parents:
        if (dataset / PROVENANCE).is_file():
            target = path.resolve().relative_to(dataset).as_posix()
            runs = read_provenance(dataset).runs
            for key, run in runs.items():
                if target in run.images:
                    layer = replace(_layer(dataset, run, target, run.images[target]), visible=True)
                    layer = _on_scale(layer, heatmap_scales(runs.values()))
                    inside_of_it = _layers(dataset, run, _embedded(run, target), warn)
                    return Scene(key, path.name, _arranged([layer, *inside_of_it]))
    image = _open(path, path)
    if image.labels:
        return Scene("", path.name, (Layer(path.name, image, DisplayMode.LABELS, regions=image.labels),))
    channels = (
        Layer(channel.name, image, DisplayMode.INTENSITY, color=channel.color, channel=index)
        for index, channel in enumerate(image.channels)
    )
    return Scene("", path.name, (*channels, *_label_layers(image, warn)))


def _embedded(run: RunRecord, target: str) -> Iterator[tuple[str, ImageRecord]]:
    """Yield the label images inside an image, with the records of the originals they were copied from."""
    records = {record.fingerprint: record for record in run.images.values()}
    for name, fingerprint in run.images[target].embedded.items():
        if fingerprint in records:
            yield f"{target}/labels/{file_name(name, PROVENANCE.name)}", records[fingerprint]


def _label_layers(image: ViewedImage, warn: Callable[[str], None]) -> Iterator[Layer]:
    """Yield label images inside an image; only the first is visible, because it would hide the others."""
    visible = True
    for folder in image.label_folders:
        try:
            labels = _open(folder, image.path)
        except SourceError as error:
            warn(f"is not shown: {error}")
            continue
        yield Layer(folder.name, labels, DisplayMode.LABELS, visible=visible, regions=labels.labels)
        visible = False


def _is_ome_tiff(path: Path) -> bool:
    return path.name.lower().endswith(_OME_TIFF)


def _open(path: Path, inside_of: Path) -> ViewedImage:
    _refuse_link_out(path, inside_of)
    if not (_is_ome_tiff(path) or path.is_dir()):
        raise SourceError(f"{path}: does not exist; bring it back from a copy")
    image = TiffImage(path) if _is_ome_tiff(path) else ZarrImage(path, inside_of)
    _check_image(image)
    return image


def _check_image(image: ViewedImage) -> None:
    """Refuse an image without axes x and y, with too many channels, or with values that textures do not support."""
    if not {axis.name for axis in image.axes} >= {"x", "y"}:
        names = ", ".join(axis.name for axis in image.axes)
        raise SourceError(f"{image.path}: its axes are {names}; save the image with axes that are called x and y")
    for axis in image.axes:
        if axis.type == "channel" and axis.n_voxels > _MOST_CHANNELS:
            what = f"has {axis.n_voxels:,} channels, and at most {_MOST_CHANNELS} can be shown"
            raise SourceError(f"{image.path}: {what}; save some of them as an image of its own")
    if image.dtype.name not in _SHOWN_TYPES:
        what = f"has values of type {image.dtype}, which Neuroglancer cannot show"
        raise SourceError(f"{image.path}: {what}; open it in napari")


def _refuse_link_out(path: Path, folder: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise SourceError(f"{path}: is a link out of {folder}; replace it by the original")
