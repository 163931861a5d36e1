"""Each OME-Zarr image: valid metadata, arrays that open in two independent readers, levels that fit each other.

Invariant: no array is read as a whole. Only the chunks in the corners of each level are read, and the
last chunk of each shard, to detect a file that was cut off (the index of a shard is at its end).
A missing chunk is legal in Zarr and stands for the fill value; `verify` finds those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, product
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import ome_zarr_models.v04
import ome_zarr_models.v05
import zarr
from pydantic import ValidationError

from catnip2bids.errors import SourceError, refuse_without_memory
from catnip2bids.formatting import format_bytes, format_shape
from catnip2bids.paths import exists, leads_out
from catnip2bids.validation.findings import Finding, error, one_line, warning
from catnip2bids.validation.tree import CATNIP, RECORDS, ROOT, Tree
from catnip2bids.volume.zarr import MOST_CHUNK_BYTES, open_array, read_attributes, read_chunk_grid
from catnip2bids.volume.zarr.metadata import Multiscale

CHECK = "ome-zarr"

_AXES = (("z", "micrometer"), ("y", "micrometer"), ("x", "micrometer"))
_TOLERANCE_UM = 1e-3
_IMAGES_AT_ONCE = 4
_LEAST_SIZE, _MOST_SIZE = 1e-12, 1e12
"""Bounds of voxel sizes in any unit, so that their ratios are finite."""

_error = partial(error, CHECK)
_warning = partial(warning, CHECK)


def check_ome_zarr(tree: Tree) -> list[Finding]:
    """Check every `.ome.zarr` folder of the dataset, except in `sourcedata`."""
    images = [folder for folder in tree.zarrs if folder.name.endswith(".ome.zarr")]
    with ThreadPoolExecutor(_IMAGES_AT_ONCE) as pool:
        return list(chain.from_iterable(pool.map(lambda image: list(_check_image(tree, image)), images)))


def read_multiscale(folder: Path) -> Multiscale:
    """Read the first multiscale image of a group; raise SourceError if its metadata is invalid."""
    attributes = _group_attributes(folder)
    models = ome_zarr_models.v05 if _zarr_format(folder) == 3 else ome_zarr_models.v04
    try:
        first = models.image.ImageAttrs.model_validate(attributes).multiscales[0]
        multiscale = Multiscale.model_validate(first.model_dump(mode="json"))
    except ValidationError as failure:
        raise SourceError(str(failure)) from failure
    for level in multiscale.levels:
        scale, _ = multiscale.placement(level)
        if not all(_LEAST_SIZE <= size <= _MOST_SIZE for size in scale):
            raise SourceError(f"level {level.path} has the scale {scale}; no voxel has such a size")
    return multiscale


def _zarr_format(folder: Path) -> Literal[2, 3]:
    """Tell the Zarr format of a group or array by its metadata file; raise SourceError if it has none."""
    if exists(folder / "zarr.json"):
        return 3
    if exists(folder / ".zgroup") or exists(folder / ".zarray"):
        return 2
    raise SourceError("is not a valid Zarr group: it has neither zarr.json nor .zgroup")


def _group_attributes(folder: Path) -> dict[str, Any]:
    """Read the OME attributes of a group; raise SourceError if it is not one or cannot be read."""
    _zarr_format(folder)
    return read_attributes(folder)


def _check_image(tree: Tree, image: PurePosixPath) -> Iterator[Finding]:
    if image in tree.folder_links:
        what = "is a link to a folder, which uploads skip silently; put the folder here"
        yield _error("OME_ZARR_LINK", image, what)
        return
    yield from _check_group(tree, image)
    yield from _check_labels(tree, image)


def _check_group(tree: Tree, image: PurePosixPath, *, is_embedded: bool = False) -> Iterator[Finding]:
    """Check an image, or a label image that is embedded in another image."""
    folder = tree.root / image
    try:
        attributes = _group_attributes(folder)
        multiscale = read_multiscale(folder)
        grids = [read_chunk_grid(folder, level.path) for level in multiscale.levels]
        _read_with_models(folder, is_label="image-label" in attributes)
    # ome-zarr-models lets through what zarr and pydantic raise; whatever it is, the image cannot be used
    except Exception as failure:
        refuse_without_memory(failure, folder)
        yield _error("OME_ZARR_INVALID", image, f"is not a valid OME-Zarr image: {failure}")
        return
    axes = tuple((axis.name, axis.unit) for axis in multiscale.axes)
    if axes != _AXES:
        yield _error("OME_ZARR_AXES", image, f"axes are {axes}; they must be z, y, x in micrometer")
    yield from _check_label_values(image, attributes)
    if is_embedded or "image-label" in attributes:
        yield from _check_label_types(folder, image, multiscale)
    if "image-label" in attributes and "omero" in attributes:
        what = "is a label image with an omero section, which napari cannot open"
        yield _warning("OME_ZARR_LABEL_OMERO", image, f"{what}; package its run again, which replaces the metadata")
    if RECORDS in tree.folders and tree.dataset_of(image) in (ROOT, CATNIP):
        yield from _check_origin(image, multiscale)
    yield from _compare_levels(image, multiscale, [grid.shape for grid in grids])
    if (n_bytes := max(grid.chunk_bytes for grid in grids)) > MOST_CHUNK_BYTES:
        message = f"was not decoded: its chunks have {format_bytes(n_bytes)}, and validate decodes chunks of at most"
        yield _warning("OME_ZARR_NOT_DECODED", image, f"{message} {format_bytes(MOST_CHUNK_BYTES)}; save smaller ones")
        return
    yield from _try_levels(folder, image, multiscale)


def _check_labels(tree: Tree, image: PurePosixPath) -> Iterator[Finding]:
    """Check the label images inside of an image, as listed in its `labels` group."""
    group = image / "labels"
    if not (tree.root / group).is_dir():
        return
    try:
        names = _group_attributes(tree.root / group).get("labels")
    except SourceError as failure:
        yield _error("OME_ZARR_INVALID", group, f"is not a valid labels group: {failure}")
        return
    if not isinstance(names, list):
        yield _error("OME_ZARR_INVALID", group, "does not list its label images")
        return
    for name in map(str, names):
        if leads_out(name):
            yield _error("OME_ZARR_INVALID", group, f"lists the label image {name!r}, which lies outside of it")
            continue
        yield from _check_group(tree, group / name, is_embedded=True)


def _read_with_models(folder: Path, is_label: bool) -> None:
    version = _zarr_format(folder)
    models = ome_zarr_models.v05 if version == 3 else ome_zarr_models.v04
    group = zarr.open_group(folder, mode="r", zarr_format=version, use_consolidated=False)
    if is_label:
        models.ImageLabel.from_zarr(group)
    else:
        models.Image.from_zarr(group)


def _check_label_values(image: PurePosixPath, attributes: dict[str, Any]) -> Iterator[Finding]:
    for section, rows in (attributes.get("image-label") or {}).items():
        if section not in ("colors", "properties") or not rows:
            continue
        repeated = [value for value, n in Counter(row["label-value"] for row in rows).items() if n > 1]
        if repeated:
            message = f"label values appear more than once in the {section} of image-label: {repeated[:10]}"
            yield _error("OME_ZARR_LABEL_VALUE", image, message)


def _check_label_types(folder: Path, image: PurePosixPath, multiscale: Multiscale) -> Iterator[Finding]:
    """Check that the arrays of a label image hold integers (OME-Zarr, section "labels"), whatever the version.

    Arrays that cannot be opened have a finding of their own.
    """
    for level in multiscale.levels:
        try:
            dtype = open_array(folder, level.path).dtype.numpy_dtype
        except SourceError as failure:
            refuse_without_memory(failure, folder / level.path)
            return
        if dtype.kind not in "iu":
            message = f"is not a valid OME-Zarr label image: level {level.path} holds {dtype}, labels must be integers"
            yield _error("OME_ZARR_INVALID", image, f"{message}; package its run again, which leaves it out")
            return


def _try_levels(folder: Path, image: PurePosixPath, multiscale: Multiscale) -> Iterator[Finding]:
    for level in multiscale.levels:
        try:
            _try_array(folder, level.path)
        # readers raise whatever their stores and codecs raise; whatever it is, the level cannot be read
        except Exception as failure:
            refuse_without_memory(failure, folder / level.path)
            reason = f"level {level.path} cannot be read: {type(failure).__name__}: {one_line(failure)}"
            yield _error("OME_ZARR_UNREADABLE", image, reason)
            return


def _try_array(image: Path, level: str) -> None:
    """Open an array in both readers and read some of it; raise ValueError if they do not agree.

    tensorstore comes first: it decodes no more of a damaged chunk than a chunk can hold.
    """
    by_tensorstore = open_array(image, level)
    by_zarr = zarr.open_array(by_tensorstore.grid.folder, mode="r", zarr_format=_zarr_format(image / level))
    if by_zarr.shape != by_tensorstore.shape or by_zarr.dtype != by_tensorstore.dtype.numpy_dtype:
        raise ValueError("zarr-python and tensorstore do not agree on its shape or type")
    for voxel in product(*({0: None, length - 1: None} for length in by_zarr.shape)):  # the corners
        if by_tensorstore.read(voxel).tobytes() != np.asarray(by_zarr[voxel]).tobytes():
            raise ValueError(f"zarr-python and tensorstore read different values at {voxel}")
    grid = by_tensorstore.grid
    if grid.index is None:
        return
    for place in grid.stored_files():
        axes = zip(place, grid.file_shape, grid.shape, strict=True)
        last_voxel = tuple(min((index + 1) * step, length) - 1 for index, step, length in axes)
        by_tensorstore.read(last_voxel)


def _check_origin(image: PurePosixPath, multiscale: Multiscale) -> Iterator[Finding]:
    """Check that the first voxel is at 0, as in all images that `package` writes: they lie on each other."""
    _, translation = multiscale.placement(multiscale.levels[0])
    if not np.allclose(translation, 0, rtol=0, atol=_TOLERANCE_UM):
        what = f"level {multiscale.levels[0].path} has translation {translation}, and packaged images have 0"
        yield _error("OME_ZARR_TRANSLATION", image, f"{what}; package its run again with --overwrite")


def _compare_levels(
    image: PurePosixPath, multiscale: Multiscale, shapes: Sequence[tuple[int, ...]]
) -> Iterator[Finding]:
    """Compare each level with level 0: its shape is divided by the ratio of scales and rounded up, its origin moved.

    The first voxel of level n merges the first voxels of level 0, so its centre lies half of the difference of
    the voxel sizes further (OME-Zarr: coordinates are those of voxel centres).
    """
    first_scale, first_translation = multiscale.placement(multiscale.levels[0])
    for level, shape in zip(multiscale.levels[1:], shapes[1:], strict=True):
        scale, translation = multiscale.placement(level)
        ratios = [large / small for large, small in zip(scale, first_scale, strict=True)]
        # the small number keeps 4.000000001 from becoming 5
        expected = tuple(math.ceil(length / ratio - 1e-6) for length, ratio in zip(shapes[0], ratios, strict=True))
        if shape != expected:
            found = f"level {level.path} has {format_shape(shape)} voxels"
            yield _error("OME_ZARR_SHAPE", image, f"{found}; by its scale it should have {format_shape(expected)}")
        centres = np.array(first_translation) + 0.5 * (np.array(scale) - np.array(first_scale))
        if not np.allclose(translation, centres, rtol=0, atol=_TOLERANCE_UM):
            found = f"level {level.path} has translation {translation}"
            yield _error("OME_ZARR_TRANSLATION", image, f"{found}; voxel centres are at {tuple(centres.tolist())}")
