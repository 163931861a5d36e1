"""Write a volume of the source as TIFF slices, a TIFF stack or a NIfTI file.

Invariant: a plane is written only if its pixels have the hash from packaging; a product of two images, only if both
have theirs.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.atomic_write import final_path
from catnip2bids.bids.plane_hashes import PlaneRecord
from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_planes
from catnip2bids.volume import Volume, is_nifti, little_endian_bytes, pixel_bytes, plane_sha256

_COPIES_IN_MEMORY = 4
"""Copies of a plane in memory: decoded, multiplied, and encoded."""
_CLASSIC_BYTES = 2**32 - 2**25  # tifffile writes larger files as BigTIFF
_GZIP = 31  # the largest window, plus 16 for the header of gzip


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


def plane_bytes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Return the memory of a plane while it is written."""
    return shape[1] * shape[2] * dtype.itemsize * _COPIES_IN_MEMORY


def write_slices(
    source: RestoredVolume, folder: Path, names: Sequence[str], resources: Resources, on_voxels: Callable[[int], None]
) -> None:
    """Write one file for each plane into a new folder."""
    folder.mkdir()
    with _threads(source, resources, final_path(folder).name) as threads:
        for n_voxels in threads.map(partial(_write_slice, source, folder, names), range(len(names))):
            on_voxels(n_voxels)


def write_file(
    source: RestoredVolume, file: Path, name: str, resources: Resources, on_voxels: Callable[[int], None]
) -> None:
    """Write all planes into one file: a TIFF stack or a NIfTI file, as `name` says."""
    volume = source.image.volume
    with _threads(source, resources, name) as threads:
        planes = _reporting(threads.map(source.read, range(volume.shape[0])), on_voxels)
        if is_nifti(Path(name)):
            _write_nifti(planes, volume, file, name)
            return
        with tifffile.TiffWriter(file, bigtiff=pixel_bytes(volume) > _CLASSIC_BYTES) as tiff:
            for plane in planes:
                _write_page(tiff, plane)


def _threads(source: RestoredVolume, resources: Resources, about: str) -> BoundedMap:
    """Return threads to read planes, as many as fit into the memory that is not held until the end."""
    volume = source.image.volume
    held = sum(image.volume.read_cost.shared_bytes for image in (source.image, source.mask) if image is not None)
    return BoundedMap(resources, plane_bytes(volume.shape, volume.dtype), held, about=about)


def _write_slice(source: RestoredVolume, folder: Path, names: Sequence[str], plane: int) -> int:
    pixels = source.read(plane)
    with tifffile.TiffWriter(folder / names[plane]) as tiff:
        _write_page(tiff, pixels)
    return pixels.size


def _write_page(tiff: tifffile.TiffWriter, plane: npt.NDArray[Any]) -> None:
    tiff.write(plane, compression="ADOBE_DEFLATE", photometric="minisblack", metadata=None, contiguous=False)


def _write_nifti(planes: Iterator[npt.NDArray[Any]], volume: Volume, file: Path, name: str) -> None:
    """Write the planes one by one; `name` tells whether to compress, as the temporary name of `file` does not."""
    content = chain([memoryview(_nifti_header(volume))], map(little_endian_bytes, planes))  # z is slowest in both
    with file.open("wb") as out:
        out.writelines(_compressed(content) if name.lower().endswith(".gz") else content)


def _nifti_header(volume: Volume) -> bytes:
    """Return the header: shape, type, and no scaling of values."""
    header = nib.nifti1.Nifti1Header(endianness="<")
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape[::-1])
    header.set_sform(np.eye(4), code="aligned")
    header.set_qform(np.eye(4), code="unknown")
    header.set_slope_inter(1, 0)
    written = io.BytesIO()
    header.write_to(written)
    return written.getvalue()


def _compressed(content: Iterable[memoryview]) -> Iterator[bytes]:
    """Compress as gzip does, without a time."""
    compressor = zlib.compressobj(zlib.Z_BEST_COMPRESSION, wbits=_GZIP)
    yield from map(compressor.compress, content)
    yield compressor.flush()


def _reporting(planes: Iterator[npt.NDArray[Any]], on_voxels: Callable[[int], None]) -> Iterator[npt.NDArray[Any]]:
    for plane in planes:
        yield plane
        on_voxels(plane.size)
