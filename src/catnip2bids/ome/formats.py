"""Output formats of images: their options, and the files of a written image."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import tifffile

from catnip2bids.enums import Compression, OmeZarrVersion
from catnip2bids.leftovers import leave_out_leftovers

_LABELS = "labels"
"""Group of label images in an OME-Zarr image (OME-Zarr, section "labels")."""
_ZARR_FILE = re.compile(r"(.*/)?(zarr\.json|\.z(attrs|array|group|metadata)|(\w+/)+(c/)?[0-9]+([./][0-9]+)*)")
"""Metadata, and the chunks or shards of an array."""


@dataclass(frozen=True)
class OmeZarr:
    """OME-Zarr: a folder of shards."""

    version: OmeZarrVersion = OmeZarrVersion.V05
    ending: ClassVar[str] = ".ome.zarr"
    is_folder: ClassVar[bool] = True
    pixel_format: ClassVar[int] = 2  # increased when pixels are written differently, to rewrite existing images

    @property
    def decisive(self) -> list[Any]:
        """The options that affect the files, as JSON values."""
        return [self.version.value]


@dataclass(frozen=True)
class OmeTiff:
    """OME-TIFF: one file."""

    big: bool = True  # BigTIFF (.ome.btf), or a classic TIFF of less than 4 GiB (.ome.tif)
    compression: Compression = Compression.KEEP
    pyramid: bool = False  # whether planes have lower levels
    inspect: bool = True  # whether pixels are decoded even if they are copied
    is_folder: ClassVar[bool] = False
    pixel_format: ClassVar[int] = 3

    @property
    def ending(self) -> str:
        """Ending of the file name."""
        return ".ome.btf" if self.big else ".ome.tif"

    @property
    def decisive(self) -> list[Any]:
        """The options that affect the file and the findings about its pixels, as JSON values."""
        return [self.ending, self.compression.value, self.pyramid, self.inspect]


ImageFormat = OmeZarr | OmeTiff


@dataclass(frozen=True)
class ImageSize:
    """Number and total size of the files of an image."""

    n_files: int
    n_bytes: int


def image_size(image: Path) -> ImageSize:
    """Count files and bytes of an image, without label images in it, leftovers, and broken links."""
    if not image.is_dir():
        return ImageSize(1, image.stat().st_size)
    sizes = [file.stat().st_size for file in _files(image) if file.exists()]
    return ImageSize(len(sizes), sum(sizes))


def unexpected_files(image: Path) -> Iterator[str]:
    """Yield the files of an OME-Zarr image that do not belong to Zarr, as POSIX paths below the image."""
    paths = (file.relative_to(image).as_posix() for file in _files(image))
    return (path for path in sorted(paths) if not _ZARR_FILE.fullmatch(path))


def _files(image: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(image):
        if Path(parent) == image and _LABELS in folders:
            folders.remove(_LABELS)
        leave_out_leftovers(folders, files)
        yield from (Path(parent, name) for name in files)


def description_sha256(image: Path) -> str | None:
    """Hash the OME-XML of an OME-TIFF; None for an OME-Zarr, which has metadata files instead."""
    if image.is_dir():
        return None
    with tifffile.TiffFile(image) as tiff:
        return hashlib.sha256(tiff.pages.first.description.encode()).hexdigest()
