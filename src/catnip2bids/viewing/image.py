"""The interface between the viewer and images of any format: axes, contrast, and files to serve.

Invariant: an image serves only its own files, or bytes in their place, by POSIX paths below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from catnip2bids.errors import SourceError
from catnip2bids.ome import LabelValue

_SHOWN_TYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"})
"""Types that Neuroglancer's textures support."""
WHITE = "#ffffff"
MOST_DECODED_BYTES = 512 * 2**20
"""Limit of decoding at once: a plane of 16,384 x 16,384 voxels of 16 bits."""
_MOST_CHANNELS = 100
"""Each channel becomes a layer."""


@dataclass(frozen=True)
class Axis:
    """An axis of an image, at level 0."""

    name: str  # name and type as in OME-Zarr ("axes"): x, y, z: space; c: channel; t: time
    type: str
    n_voxels: int
    step: float  # size of a voxel in `unit`
    unit: str  # m or s, or empty for a plain number
    first: float = 0.0  # position of the centre of the first voxel, in voxels

    @property
    def middle(self) -> float:
        """Position of the centre of the middle voxel, in voxels."""
        return self.first + self.n_voxels // 2


@dataclass(frozen=True)
class Channel:
    """How a channel is displayed."""

    name: str
    color: str  # #rrggbb
    window: tuple[float, float]  # values shown as black and white
    limits: tuple[float, float]  # smallest and largest value


class ViewedImage(Protocol):
    """An image that can be served as OME-Zarr."""

    @property
    def path(self) -> Path:
        """Path of the image."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes in the order of the array."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the served values."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Display of its channels; one for an image without a channel axis."""

    @property
    def labels(self) -> tuple[LabelValue, ...]:
        """Names and colours of label values, from its own metadata."""

    @property
    def label_folders(self) -> tuple[Path, ...]:
        """Label images inside an OME-Zarr."""

    @property
    def zarr_format(self) -> int:
        """Zarr format of the served files, 2 or 3."""

    def read(self, path: str) -> Path | bytes | None:
        """Return the file at a path below the image, or its content; None if it does not exist."""


def check_image(image: ViewedImage) -> None:
    """Refuse an image that Neuroglancer cannot show.

    Raises
    ------
    SourceError
        If its metadata are invalid, it lacks axis x or y, it has too many channels, or textures do not support its
        values.
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
