"""The pixels of the volumes of the source, as the images of a dataset give them back.

Invariant: a plane is handed out only if its pixels have the hash from packaging; a product of two images, only if both
have theirs.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.bids.plane_hashes import PlaneRecord, pixels_sha256
from catnip2bids.bids.provenance import PROVENANCE
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_planes, format_shape
from catnip2bids.restoration.restorable import VolumeItem
from catnip2bids.volume import Volume, plane_sha256

_COPIES_IN_MEMORY = 4
"""Copies of a plane in memory: decoded, multiplied, and encoded."""


@dataclass(frozen=True)
class StoredImage:
    """An image of the dataset, with the hashes of its planes."""

    volume: Volume
    planes: tuple[PlaneRecord, ...]

    def read(self, plane: int) -> npt.NDArray[Any]:
        """Read a plane of shape (y, x); raises DatasetError if its pixels do not have the recorded hash."""
        out = np.empty(self.volume.shape[1:], self.volume.dtype)
        with closing(self.volume.open_plane(plane)) as opened:
            opened.read_rows(0, len(out), out)
        if plane_sha256(out) != self.planes[plane].sha256:
            where = f"{self.volume.plane_source(plane).path}: {format_planes([plane])}"
            raise DatasetError(f"{where} is not what was read from {self.planes[plane].source}")
        return out


@dataclass(frozen=True)
class RestoredVolume:
    """The pixels of a volume of the source: an image, or the product of an image and a mask."""

    image: StoredImage
    mask: StoredImage | None = None

    def check(self, item: VolumeItem) -> None:
        """Raise DatasetError if the images do not fit, or have other pixels than when a volume was left out."""
        if self.mask is not None and self.mask.volume.shape != self.image.volume.shape:
            sizes = " and ".join(format_shape(stored.volume.shape) for stored in (self.image, self.mask))
            raise DatasetError(f"{PROVENANCE}: {item.image} and its mask have {sizes} voxels; bring that back")
        images = [stored.planes for stored in (self.image, self.mask) if stored is not None]
        if item.pixels_sha256 not in (None, pixels_sha256(*images)):
            raise DatasetError(
                f"{item.image} or its mask has other pixels than when {item.path} was left out; bring them back from a "
                "copy"
            )

    def read(self, plane: int) -> npt.NDArray[Any]:
        """Return a plane of shape (y, x); refuse a mask with values other than 0 and 1."""
        pixels = self.image.read(plane)
        if self.mask is None:
            return pixels
        mask = self.mask.read(plane)
        if mask.max(initial=0) > 1:
            where = f"{self.mask.volume.plane_source(plane).path}: {format_planes([plane])}"
            raise DatasetError(f"{where} is not a mask: it has values other than 0 and 1; bring it back from a copy")
        product: npt.NDArray[Any] = pixels * mask.astype(pixels.dtype)
        return product

    def plane_sha256(self, plane: int) -> str:
        """Return the hash of a plane; that of an image is recorded."""
        return self.image.planes[plane].sha256 if self.mask is None else plane_sha256(self.read(plane))

    @property
    def memory_bytes(self) -> tuple[int, int]:
        """The memory of a plane while it is written, and what the images hold until the end."""
        volume = self.image.volume
        held = sum(image.volume.read_cost.shared_bytes for image in (self.image, self.mask) if image is not None)
        return plane_bytes(volume.shape, volume.dtype), held


def plane_bytes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Return the memory of a plane while it is written."""
    return shape[1] * shape[2] * dtype.itemsize * _COPIES_IN_MEMORY
