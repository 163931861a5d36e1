"""The metadata of OME-Zarr groups, version 0.5 (zarr v3) and 0.4 (zarr v2).

Everything that reads an OME-Zarr image reads its group here, within limits. `read_metadata` checks all parts that
the models name and refuses a document with a wrong one; `read_level_0` asks only for what a volume cannot do without.

Invariant: every error names the file and what is wrong with it; what the models hold cannot fail later.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catnip2bids.documents import read_json
from catnip2bids.errors import DatasetError, ReadError, SourceError, unreadable

# within these bounds no product and no quotient of scales is 0 or infinite
_LARGEST = 1e30
_MOST_LEVELS = 64
_MOST_LABEL_IMAGES = 100
SPATIAL = ("z", "y", "x")
DOCUMENTS = ("zarr.json", ".zattrs", ".zgroup")
LENGTH_UNITS = {
    "angstrom": -4,
    "picometer": -6,
    "nanometer": -3,
    "micrometer": 0,
    "millimeter": 3,
    "centimeter": 4,
    "decimeter": 5,
    "meter": 6,
}
"""Units of length of OME-Zarr ("axes"), as powers of ten of a micrometer."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Shift = Annotated[Number, Field(ge=-_LARGEST, le=_LARGEST)]
_Size = Annotated[Number, Field(ge=1 / _LARGEST, le=_LARGEST)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)


class Axis(_Part):
    """An axis of an image."""

    name: str
    type: str | None = None
    unit: str | None = None


class Scale(_Part):
    """Voxel size along each axis."""

    type: Literal["scale"]
    vector: list[_Size] = Field(alias="scale")


class Translation(_Part):
    """Centre of the first voxel along each axis."""

    type: Literal["translation"]
    vector: list[_Shift] = Field(alias="translation")


class Identity(_Part):
    """A transformation that changes nothing."""

    type: Literal["identity"]


_Transformation = Annotated[Scale | Translation | Identity, Field(discriminator="type")]
_Transformations = Annotated[list[_Transformation], Field(max_length=2)]


class Level(_Part):
    """A resolution level."""

    path: str
    transformations: _Transformations | None = Field(default=None, alias="coordinateTransformations")


class Multiscale(_Part):
    """An image with its resolution levels; level 0 comes first."""

    axes: list[Axis] = Field(min_length=1)
    levels: list[Level] = Field(alias="datasets", min_length=1, max_length=_MOST_LEVELS)
    transformations: _Transformations | None = Field(default=None, alias="coordinateTransformations")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len({axis.name for axis in self.axes}) < len(self.axes):
            raise ValueError("two axes have the same name")
        for step in (*(self.levels[0].transformations or ()), *(self.transformations or ())):
            if not isinstance(step, Identity) and len(step.vector) != len(self.axes):
                raise ValueError("a transformation has not as many numbers as there are axes")
        return self

    def placement(self, level: Level) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return scale and translation of a level, in the units of the axes.

        The transformations of the level come first, then those of the whole image (OME-Zarr, "multiscales").
        """
        scale, translation = [1.0] * len(self.axes), [0.0] * len(self.axes)
        for step in (*(level.transformations or ()), *(self.transformations or ())):
            if isinstance(step, Scale):
                scale = [a * b for a, b in zip(scale, step.vector, strict=True)]
                translation = [a * b for a, b in zip(translation, step.vector, strict=True)]
            elif isinstance(step, Translation):
                translation = [a + b for a, b in zip(translation, step.vector, strict=True)]
        return tuple(scale), tuple(translation)


class Window(_Part):
    """Range of values that is displayed, and range of all values."""

    min: Number | None = None
    max: Number | None = None
    start: Number | None = None
    end: Number | None = None


class Channel(_Part):
    """Display settings of a channel."""

    label: str | None = None
    color: Annotated[str, Field(pattern="^#?[0-9A-Fa-f]{6}$")] | None = None
    window: Window | None = None


class Omero(_Part):
    """Display settings of all channels."""

    channels: list[Channel] | None = None


class LabelProperties(_Part):
    """Names of a label value."""

    value: int = Field(alias="label-value")
    name: str | None = None
    abbreviation: str | None = None


class LabelColor(_Part):
    """Colour of a label value."""

    value: int = Field(alias="label-value")
    rgba: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3)] | None = None


class ImageLabel(_Part):
    """Names and colours of the values of a label image."""

    properties: list[LabelProperties] | None = None
    colors: list[LabelColor] | None = None


class GroupMetadata(_Part):
    """The metadata of a group."""

    multiscales: list[Multiscale] | None = None
    omero: Omero | None = None
    image_label: ImageLabel | None = Field(default=None, alias="image-label")
    labels: list[str] | None = Field(default=None, max_length=_MOST_LABEL_IMAGES)


@dataclass(frozen=True)
class Level0:
    """The description of level 0 in the metadata of an image."""

    path: str
    axes: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None  # (x, y, z)
    is_ours: bool = False  # whether catnip2bids wrote the image
    is_moved: bool = False  # whether its first voxel has another place than 0


def document_of(path: Path) -> Path:
    """Return the file that holds the metadata of a group: ``zarr.json``, or ``.zattrs`` in version 0.4."""
    document = path / "zarr.json"
    return document if document.is_file() else path / ".zattrs"


def _read_json(document: Path) -> object:
    try:
        content: object = json.loads(read_json(document))
    except FileNotFoundError as error:
        raise SourceError(
            f"{document.parent}: has no metadata of OME-Zarr in it (zarr.json or .zattrs); replace it by the original"
        ) from error
    except DatasetError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise ReadError(unreadable(document, error)) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{document}: damaged JSON ({error}); replace it by the original") from error
    return content


def read_attributes(path: Path) -> dict[str, Any]:
    """Read the OME attributes of a group as they are: what is below ``ome`` in version 0.5, all attributes in 0.4.

    Metadata without OME attributes gives an empty dictionary.
    """
    document = document_of(path)
    attributes: dict[str, Any] = {}
    match _read_json(document):
        case {"attributes": {"ome": dict() as found}} if document.name == "zarr.json":
            attributes = found
        case dict() as found if document.name != "zarr.json":
            attributes = found
    match attributes.get("multiscales"):
        case [{"datasets": [*levels]}, *_] if len(levels) > _MOST_LEVELS:
            raise SourceError(f"{document}: has {len(levels):,} levels, and images have at most {_MOST_LEVELS}")
    return attributes


def read_metadata(path: Path) -> GroupMetadata:
    """Read and check all metadata of a group."""
    try:
        return GroupMetadata.model_validate(read_attributes(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = ": ".join(filter(None, (where, first["msg"])))
        raise SourceError(f"{path}: its metadata are wrong ({what}); correct {document_of(path).name}") from error


def read_level_0(path: Path) -> Level0:
    """Read the path and axes of level 0 of the only image, and its voxel size if stated and valid."""
    document = document_of(path)
    match read_attributes(path):
        case {"multiscales": [dict() as image]}:
            return _check_level_0(image, document)
        case {"multiscales": [dict(), *others]}:
            raise SourceError(
                f"{document}: describes {1 + len(others)} images (multiscales); save the one you want as an OME-Zarr "
                "of its own"
            )
    raise SourceError(f"{document}: describes no OME-Zarr image (multiscales); give the folder of the image itself")


def _check_level_0(image: dict[Any, object], document: Path) -> Level0:
    match image.get("datasets"):
        case [dict() as dataset, *lower] if isinstance(level := dataset.get("path"), str) and level:
            pass
        case _:
            raise SourceError(f"{document}: does not tell where level 0 is (datasets); replace it by the original")
    described = image.get("axes")
    axes: tuple[str, ...] = ()
    units: list[object] = []
    for axis in described if isinstance(described, list) else ():
        match axis:
            case str(name):  # version 0.3
                axes, units = (*axes, name), [*units, None]
            case {"name": str(name)}:
                axes, units = (*axes, name), [*units, axis.get("unit")]
            case _:
                raise SourceError(f"{document}: has an axis without a name; replace it by the original")
    if tuple(axis for axis in axes if axis in SPATIAL) != SPATIAL:
        names = ", ".join(axes) or "none"
        raise SourceError(f"{document}: its axes are {names}; save the image with the axes z, y, x in this order")
    scales = _scale(dataset, len(axes)), _scale(image, len(axes))
    for other in lower:
        smaller = _scale(other, len(axes)) if isinstance(other, dict) else None
        if scales[0] and smaller and any(b < a for a, b in zip(scales[0], smaller, strict=True)):
            raise SourceError(
                f"{document}: its levels (datasets) do not begin with the one of the smallest voxels; put them in order"
            )
    is_moved = any(map(_is_moved, (dataset, image)))
    return Level0(level, axes, _voxel_size_um(axes, units, scales), _is_ours(image), is_moved)


def _is_ours(image: dict[Any, object]) -> bool:
    """Tell whether the metadata names the function with which catnip2bids makes lower levels."""
    match image.get("metadata"):
        case {"method": str(method)}:
            return method.startswith("catnip2bids.")
    return False


def _scale(described: dict[Any, object], n_axes: int) -> list[float] | None:
    """Return the scale of a level or of the whole image; None if it has none for all axes."""
    match described.get("coordinateTransformations"):
        case [*transformations]:
            for transformation in transformations:
                match transformation:
                    case {"type": "scale", "scale": [*scale]} if len(scale) == n_axes:
                        return list(map(_number, scale))
    return None


def _is_moved(described: dict[Any, object]) -> bool:
    """Tell whether a level or the whole image has a translation, other than by zeros."""
    match described.get("coordinateTransformations"):
        case [*transformations]:
            for transformation in transformations:
                match transformation:
                    case {"type": "translation", "translation": [*shift]} if any(shift):
                        return True
    return False


def _number(value: object) -> float:
    """Return a number of JSON, or NaN for anything else; JSON has integers that no float can hold."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _voxel_size_um(
    axes: tuple[str, ...], units: list[object], scales: tuple[list[float] | None, list[float] | None]
) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z); scales of the dataset and of the image are multiplied (OME-Zarr)."""
    of_level, of_image = scales
    if of_level is None:
        return None
    sizes = {}
    for index, (axis, unit) in enumerate(zip(axes, units, strict=True)):
        size, power = of_level[index] * (1.0 if of_image is None else of_image[index]), LENGTH_UNITS.get(str(unit))
        if axis in SPATIAL and power is not None and math.isfinite(size) and size > 0:
            sizes[axis] = size * 10**power if power >= 0 else size / 10**-power  # exact powers keep 3700 nm 3.7
    return (sizes["x"], sizes["y"], sizes["z"]) if len(sizes) == len(SPATIAL) else None
