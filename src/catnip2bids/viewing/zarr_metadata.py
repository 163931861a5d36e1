"""What the viewer reads in the metadata of a group of OME-Zarr 0.4 or 0.5; what it does not need may be anything.

Invariant: all of it is checked when it is read, so that nothing in it can fail later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catnip2bids.errors import SourceError
from catnip2bids.volume.zarr import document_of, read_attributes

# within these bounds no product and no quotient of scales is 0 or infinite
_LARGEST = 1e30
_MOST_LEVELS = 64
_MOST_LABEL_IMAGES = 100
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Shift = Annotated[Number, Field(ge=-_LARGEST, le=_LARGEST)]
Size = Annotated[Number, Field(ge=1 / _LARGEST, le=_LARGEST)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)


class AxisMetadata(_Part):
    """An axis."""

    name: str
    type: str | None = None
    unit: str | None = None


class Scale(_Part):
    """The size of a voxel along each axis."""

    type: Literal["scale"]
    scale: list[Size]


class Translation(_Part):
    """Where the first voxel is."""

    type: Literal["translation"]
    translation: list[Shift]


class Identity(_Part):
    """Changes nothing."""

    type: Literal["identity"]


Transformation = Annotated[Scale | Translation | Identity, Field(discriminator="type")]


class _Transformed(_Part):
    transformations: Annotated[list[Transformation], Field(max_length=2)] | None = Field(
        default=None, alias="coordinateTransformations"
    )

    @property
    def scales(self) -> list[list[float]]:
        """The vectors of its scales."""
        return [step.scale for step in self.transformations or () if isinstance(step, Scale)]

    @property
    def translations(self) -> list[list[float]]:
        """The vectors of its translations."""
        return [step.translation for step in self.transformations or () if isinstance(step, Translation)]


class LevelMetadata(_Transformed):
    """A level."""

    path: str


class Multiscale(_Transformed):
    """An image."""

    axes: list[AxisMetadata] = Field(min_length=1)
    datasets: list[LevelMetadata] = Field(min_length=1, max_length=_MOST_LEVELS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len({axis.name for axis in self.axes}) < len(self.axes):
            raise ValueError("two axes have the same name")
        for part in (self.datasets[0], self):
            if any(len(vector) != len(self.axes) for vector in [*part.scales, *part.translations]):
                raise ValueError("a transformation has not as many numbers as there are axes")
        return self


class Window(_Part):
    """The range of values that is shown, and all of them."""

    min: Number | None = None
    max: Number | None = None
    start: Number | None = None
    end: Number | None = None


class ChannelMetadata(_Part):
    """How a channel is shown."""

    label: str | None = None
    color: Annotated[str, Field(pattern="^#?[0-9A-Fa-f]{6}$")] | None = None
    window: Window | None = None


class Omero(_Part):
    """How channels are shown."""

    channels: list[ChannelMetadata] | None = None


class LabelProperties(_Part):
    """What a label value stands for."""

    value: int = Field(alias="label-value")
    name: str | None = None
    abbreviation: str | None = None


class LabelColor(_Part):
    """The colour of a label value."""

    value: int = Field(alias="label-value")
    rgba: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3)] | None = None


class ImageLabel(_Part):
    """What the values of a label image stand for."""

    properties: list[LabelProperties] | None = None
    colors: list[LabelColor] | None = None


class GroupMetadata(_Part):
    """All that is read of a group."""

    multiscales: list[Multiscale] | None = None
    omero: Omero | None = None
    image_label: ImageLabel | None = Field(default=None, alias="image-label")
    labels: list[str] | None = Field(default=None, max_length=_MOST_LABEL_IMAGES)


def read_metadata(folder: Path) -> GroupMetadata:
    """Read the metadata of a group.

    Raises
    ------
    SourceError
        If they are not there, or not what OME-Zarr says.
    """
    try:
        return GroupMetadata.model_validate(read_attributes(folder))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = ": ".join(filter(None, (where, first["msg"])))
        raise SourceError(f"{folder}: its metadata are wrong ({what}); correct {document_of(folder).name}") from error
