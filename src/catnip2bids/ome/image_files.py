"""How many files an image has, how many bytes, and what an OME-TIFF says about itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tifffile

from catnip2bids.leftovers import leave_out_leftovers

_LABELS = "labels"
"""Group of an OME-Zarr image that holds label images (OME-Zarr, section "labels")."""
_OF_ZARR = re.compile(r"(.*/)?(zarr\.json|\.z(attrs|array|group|metadata)|(\w+/)+(c/)?[0-9]+([./][0-9]+)*)")
"""Documents, and chunks or shards in an array."""


@dataclass(frozen=True)
class ImageSize:
    """Files of an image, and their bytes."""

    n_files: int
    n_bytes: int


def image_size(image: Path) -> ImageSize:
    """Count files and bytes of an image; label images inside of it, leftovers, and links to nothing are left out."""
    if not image.is_dir():
        return ImageSize(1, image.stat().st_size)
    sizes = [file.stat().st_size for file in _files(image) if file.exists()]
    return ImageSize(len(sizes), sum(sizes))


def unexpected_files(image: Path) -> Iterator[str]:
    """Yield the files of an OME-Zarr image that Zarr knows nothing of, as POSIX paths below it."""
    paths = (file.relative_to(image).as_posix() for file in _files(image))
    return (path for path in sorted(paths) if not _OF_ZARR.fullmatch(path))


def _files(image: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(image):
        if Path(parent) == image and _LABELS in folders:
            folders.remove(_LABELS)
        leave_out_leftovers(folders, files)
        yield from (Path(parent, name) for name in files)


def description_sha256(image: Path) -> str | None:
    """Hash the OME-XML of an OME-TIFF; an OME-Zarr has documents instead."""
    if image.is_dir():
        return None
    with tifffile.TiffFile(image) as tiff:
        return hashlib.sha256(tiff.pages.first.description.encode()).hexdigest()
