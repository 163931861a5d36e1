"""Axes and channels of images of any format, and the limit of decoding at once."""

from __future__ import annotations

from dataclasses import dataclass

WHITE = "#ffffff"
MOST_DECODED_BYTES = 512 * 2**20
"""Limit of decoding at once: a plane of 16,384 x 16,384 voxels of 16 bits."""


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
