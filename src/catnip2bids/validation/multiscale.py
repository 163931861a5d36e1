"""The resolution levels that the metadata of an OME-Zarr image promises.

Invariant: metadata is read with the models of ome-zarr-models, so what comes out is valid by the
specification (0.4 or 0.5); anything else is a MetadataError.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ome_zarr_models.v04
import ome_zarr_models.v05
from ome_zarr_models.common.coordinate_transformations import VectorScale, VectorTranslation
from pydantic import ValidationError

from catnip2bids.errors import SourceError
from catnip2bids.volume import zarr

_LEAST_SIZE, _MOST_SIZE = 1e-12, 1e12
"""In whatever unit; their ratios are numbers that can be computed with."""
ZarrFormat = Literal[2, 3]


class MetadataError(ValueError):
    """The metadata of an image cannot be read, or is not what the specification asks for."""


@dataclass(frozen=True)
class Level:
    """One resolution level; scale and translation in the units of the image's axes."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale image of an OME-Zarr group.

    Attributes
    ----------
    axes
        Name and unit of each axis.
    levels
        Level 0 first.
    """

    axes: tuple[tuple[str | None, object], ...]
    levels: tuple[Level, ...]


def zarr_format(folder: Path) -> ZarrFormat:
    """Tell the Zarr format of a group or array by its metadata file.

    Raises
    ------
    MetadataError
        If there is none.
    """
    if (folder / "zarr.json").is_file():
        return 3
    if (folder / ".zgroup").is_file() or (folder / ".zarray").is_file():
        return 2
    raise MetadataError("is not a valid Zarr group: it has neither zarr.json nor .zgroup")


def read_attributes(folder: Path) -> dict[str, Any]:
    """Read the OME attributes of a group: what is below `ome` in 0.5, all attributes in 0.4.

    Raises
    ------
    MetadataError
        If they cannot be read.
    """
    zarr_format(folder)
    try:
        return zarr.read_attributes(folder)
    except SourceError as failure:
        raise MetadataError(str(failure)) from failure


def read_multiscale(folder: Path) -> Multiscale:
    """Read the levels of an image.

    Raises
    ------
    MetadataError
        If the metadata cannot be read or is not valid.
    """
    attributes = read_attributes(folder)
    models = ome_zarr_models.v05 if zarr_format(folder) == 3 else ome_zarr_models.v04
    try:
        first = models.image.ImageAttrs.model_validate(attributes).multiscales[0]
    except ValidationError as failure:
        raise MetadataError(failure) from failure
    axes = tuple((axis.name, axis.unit) for axis in first.axes)
    whole = first.coordinateTransformations or ()
    return Multiscale(
        axes, tuple(_level(data.path, (*data.coordinateTransformations, *whole)) for data in first.datasets)
    )


def _level(path: str, transformations: tuple[object, ...]) -> Level:
    """Apply the transformations one after the other, those of the level before those of the whole image."""
    scale: tuple[float, ...] = ()
    translation: tuple[float, ...] = ()
    for step in transformations:
        if isinstance(step, VectorScale):
            scale = tuple(a * b for a, b in zip(scale or [1.0] * step.ndim, step.scale, strict=True))
            translation = tuple(a * b for a, b in zip(translation or [0.0] * step.ndim, step.scale, strict=True))
        elif isinstance(step, VectorTranslation):
            translation = tuple(a + b for a, b in zip(translation, step.translation, strict=True))
        else:
            raise MetadataError(f"level {path} has a transformation that is not given as numbers")
    if not all(_LEAST_SIZE <= size <= _MOST_SIZE for size in scale):
        raise MetadataError(f"level {path} has the scale {scale}; no voxel has such a size")
    return Level(path, scale, translation)
