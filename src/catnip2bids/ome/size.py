"""How many files an image has, how many bytes, and what an OME-TIFF says about itself."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import tifffile

_LABELS = "labels"
"""Group of an OME-Zarr image that holds label images (OME-Zarr, section "labels")."""


@dataclass(frozen=True)
class ImageSize:
    """Files of an image, and their bytes."""

    n_files: int
    n_bytes: int


def image_size(image: Path) -> ImageSize:
    """Count files and bytes of an image; label images inside of it are left out."""
    if not image.is_dir():
        return ImageSize(1, image.stat().st_size)
    sizes = []
    for parent, folders, files in os.walk(image):
        if Path(parent) == image and _LABELS in folders:
            folders.remove(_LABELS)
        sizes += [Path(parent, name).stat().st_size for name in files]
    return ImageSize(len(sizes), sum(sizes))


def description_sha256(image: Path) -> str | None:
    """Hash the OME-XML of an OME-TIFF; an OME-Zarr has documents instead."""
    if image.is_dir():
        return None
    with tifffile.TiffFile(image) as tiff:
        return hashlib.sha256(tiff.pages.first.description.encode()).hexdigest()
