"""Write a volume of the source as TIFF slices, a TIFF stack or a NIfTI file.

Invariant: all planes are written in their order, or the file does not get its name.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.atomic_write import final_path
from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.restoration.restored_volume import RestoredVolume
from catnip2bids.volume import Volume, is_nifti, little_endian_bytes, pixel_bytes

_CLASSIC_BYTES = 2**32 - 2**25  # tifffile writes larger files as BigTIFF
_GZIP = 31  # the largest window, plus 16 for the header of gzip


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
    return BoundedMap(resources, *source.memory_bytes, about=about)


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
