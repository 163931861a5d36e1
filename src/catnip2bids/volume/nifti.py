"""A volume as a NIfTI file.

Invariant: values are those in the file, never scaled. NIfTI orders voxels (x, y, z) with x fastest, so the
transposed array is (z, y, x) in C order: page k, row j, column i of CATNIP's TIFF twin is voxel [i, j, k]
(CATNIP's nii2tiff).
"""

from __future__ import annotations

import gzip
import logging
import math
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from catnip2bids.documents import refuse_padding, refuse_special_file
from catnip2bids.errors import SourceError
from catnip2bids.volume.open_plane import OpenPlane, WholePlane
from catnip2bids.volume.tiff_checks import LARGEST_DEFLATE_RATIO
from catnip2bids.volume.volume import Inspection, ReadCost, SingleFile, size_on_disk

if TYPE_CHECKING:
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.nifti1 import Nifti1Header

# what gzip, nibabel and numpy raise on damaged files
_DAMAGED = (ArithmeticError, EOFError, MemoryError, OSError, TypeError, ValueError, zlib.error)


@dataclass(frozen=True)
class NiftiVolume(SingleFile):
    """A volume stored as a NIfTI file, with or without gzip; planes are counted along the file's third axis."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @property
    def read_cost(self) -> ReadCost:
        """Nothing for an uncompressed file; a gzip file is held unpacked as a whole."""
        packed = _is_packed(self.path)
        shared_bytes = math.prod(self.shape) * self.dtype.itemsize if packed else 0
        return ReadCost(by_rows=not packed, shared_bytes=shared_bytes)

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane of the file; planes that are open at the same time share the unpacked file."""
        if _is_packed(self.path):
            voxels = _unpacked(self.path)
            return WholePlane(lambda: voxels[:, :, plane].T)
        with _damage(self.path):
            _, stored = _loaded(self.path)
            return _StoredPlane(self.path, stored, plane)


def inspect_nifti(path: Path) -> Inspection:
    """Inspect a NIfTI file by its header."""
    n_bytes = size_on_disk(path)
    try:
        return Inspection(_checked(path, n_bytes), 1, n_bytes)
    except SourceError as error:
        return Inspection(None, 1, n_bytes, (str(error),))


def _checked(path: Path, n_bytes: int) -> NiftiVolume:
    """Check the header of a file of `n_bytes`, which must be a volume of unscaled numbers."""
    refuse_special_file(path)
    try:
        header, stored = _loaded(path)
    except _DAMAGED as error:
        raise SourceError(f"{path}: not a NIfTI file ({error}); replace it by the original") from error
    shape = _without_trailing_ones(stored.shape)
    if len(shape) != 3 or min(shape) < 1:
        raise SourceError(
            f"{path}: has the shape {' x '.join(map(str, stored.shape))}, and a volume has the three axes x, y, z; "
            "save all planes as one 3D file, and of several volumes each as a file of its own"
        )
    if stored.offset < header.single_vox_offset:
        raise SourceError(
            f"{path}: says that its voxels begin at byte {stored.offset}, inside the header; save it again with the "
            "program that wrote it, or replace it by the original"
        )
    if (stored.slope, stored.inter) != (1.0, 0.0):
        raise SourceError(
            f"{path}: its values are scaled (slope {stored.slope:g}, intercept {stored.inter:g}), and pixels are never "
            "changed here; save it without scaling, for example the scaled values as float32"
        )
    if stored.dtype.kind not in "iuf":
        raise SourceError(f"{path}: has values of type {stored.dtype}; save it as integers or as float32")
    largest_ratio = LARGEST_DEFLATE_RATIO if _is_packed(path) else 1
    promised = stored.offset + math.prod(int(n) for n in stored.shape) * stored.dtype.itemsize
    if promised > n_bytes * largest_ratio:
        raise SourceError(f"{path}: is cut off, or promises more pixels than it can hold; replace it by the original")
    x, y, z = shape
    return NiftiVolume(path, (z, y, x), stored.dtype.newbyteorder("="))


def nifti_header(path: Path) -> Nifti1Header:
    """Read the header of a file that was inspected."""
    with _damage(path):
        header, _ = _loaded(path)
        return header


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop axes of length 1 after the third: programs such as ANTs write volumes of the shape (x, y, z, 1)."""
    return tuple(int(n) for n in (shape[:3] if set(shape[3:]) <= {1} else shape))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn the errors of nibabel on damaged files into a SourceError that names the file."""
    try:
        yield
    except _DAMAGED as error:
        raise SourceError(f"{path}: damaged NIfTI ({error}); replace it by the original") from error


@dataclass(frozen=True)
class _StoredPlane:
    """A plane of an uncompressed file."""

    path: Path
    stored: ArrayProxy
    plane: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        with _damage(self.path):
            beyond = (0,) * (len(self.stored.shape) - 3)
            out[...] = np.asarray(self.stored[:, start:stop, self.plane, *beyond]).T

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""


_in_use: WeakValueDictionary[Path, npt.NDArray[Any]] = WeakValueDictionary()
_unpacking = threading.Lock()


def _unpacked(path: Path) -> npt.NDArray[Any]:
    """Return all voxels (x, y, z) of a gzip file, which all open planes of it share: CATNIP's are on small grids."""
    with _unpacking:
        voxels = _in_use.get(path)
        if voxels is None:
            with _damage(path):
                voxels = _in_use[path] = _unpack(path)
        return voxels


def _unpack(path: Path) -> npt.NDArray[Any]:
    """Read a gzip file to its end, where its checksum is."""
    _, stored = _loaded(path)
    with gzip.open(path) as file:
        file.seek(stored.offset)
        data = file.read(math.prod(stored.shape) * stored.dtype.itemsize)
        while file.read(2**20):
            pass
    return np.ndarray(_without_trailing_ones(stored.shape), stored.dtype, data, order="F")


def _loaded(path: Path) -> tuple[Nifti1Header, ArrayProxy]:
    """Read the header, and open the array as it is in the file, axes (x, y, z); no voxel is read yet."""
    import nibabel as nib  # late: it takes 0.1 s

    if _is_packed(path) and path.exists():
        refuse_padding(path)
    nib.imageglobals.logger.setLevel(logging.CRITICAL)  # it complains on the terminal, besides what it raises

    try:
        image = nib.load(path)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise ValueError(str(error)) from error
    except FileNotFoundError as error:
        if path.exists():  # nibabel looked for another name
            raise SourceError(f"{path}: has an ending of mixed case; rename it to end in .nii or .nii.gz") from error
        raise
    if isinstance(image, nib.Nifti1Image):  # NIfTI-2 is one too
        stored = image.dataobj
        if isinstance(stored, nib.arrayproxy.ArrayProxy):
            return image.header, stored
    raise ValueError(f"it is of type {type(image).__name__}")
