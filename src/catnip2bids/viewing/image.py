"""What the viewer has to know of an image, however it is stored, to place it and to choose its contrast.

Invariant: an image hands out nothing but its own files, or bytes that stand for them, by POSIX paths below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from catnip2bids.errors import SourceError
from catnip2bids.ome import LabelValue

_SHOWN_TYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"})
"""What Neuroglancer's textures can hold."""
WHITE = "#ffffff"
MOST_DECODED_BYTES = 512 * 2**20
"""What is decoded at a time, at the most: planes of 16,384 x 16,384 voxels of 16 bits."""
_MOST_CHANNELS = 100
"""Each is a layer."""


@dataclass(frozen=True)
class Axis:
    """An axis of an image.

    Attributes
    ----------
    name, type
        As in OME-Zarr ("axes"): x, y, z of type ``space``, c of type ``channel``, t of type ``time``.
    n_voxels
        Voxels of level 0.
    step, unit
        Size of a voxel of level 0; in meters or seconds, or a plain number where the unit is empty.
    first
        Where the centre of the first voxel is, in voxels.
    """

    name: str
    type: str
    n_voxels: int
    step: float
    unit: str
    first: float = 0.0

    @property
    def middle(self) -> float:
        """The centre of the voxel in the middle, in voxels."""
        return self.first + self.n_voxels // 2


@dataclass(frozen=True)
class Channel:
    """How a channel is shown.

    Attributes
    ----------
    name, color
        Its name, and ``#rrggbb``.
    window
        The values shown as black and as white.
    limits
        Smallest and largest value.
    """

    name: str
    color: str
    window: tuple[float, float]
    limits: tuple[float, float]


class ViewedImage(Protocol):
    """An image that can be served as OME-Zarr."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Its axes, in the order of the array."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values that are served."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """How its channels are shown; one for an image without a channel axis."""

    @property
    def labels(self) -> tuple[LabelValue, ...]:
        """Names and colours of its values, where its own metadata tell them."""

    @property
    def label_folders(self) -> tuple[Path, ...]:
        """Label images inside of it, in OME-Zarr."""

    @property
    def zarr_format(self) -> int:
        """Version of Zarr that it is served in, 2 or 3."""

    def read(self, path: str) -> Path | bytes | None:
        """Return the file at a path below the image, or what would stand in it; None if there is none."""


def check_image(image: ViewedImage) -> None:
    """Refuse an image that Neuroglancer cannot show.

    Raises
    ------
    SourceError
        If its metadata cannot be understood, it has no plane of x and y, it has too many channels, or no texture can
        hold its values.
    """
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
