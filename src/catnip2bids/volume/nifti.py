"""A volume as a NIfTI file.

Invariant: values are those in the file, never scaled. NIfTI orders voxels (x, y, z) with x fastest, so the
transposed array is (z, y, x) in C order: page k, row j, column i of CATNIP's TIFF twin is voxel [i, j, k]
(CATNIP's nii2tiff).
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy

from catnip2bids.errors import SourceError
from catnip2bids.volume.census import Census
from catnip2bids.volume.volume import PlaneSource


@dataclass(frozen=True)
class NiftiVolume:
    """A volume stored as a NIfTI file, with or without gzip."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the index of a plane along the file's last axis."""
        return PlaneSource(self.path, plane)

    def read_planes(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the planes `start` to `stop` (exclusive) into `out` (stop - start, y, x)."""
        try:
            out[...] = np.asarray(_stored_array(self.path)[..., start:stop]).T
        except (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{self.path}: damaged NIfTI ({error}); replace it by the original") from error


def census_nifti(path: Path) -> Census:
    """Take the census of one NIfTI file from its header."""
    n_bytes = path.stat().st_size

    def refused(problem: str) -> Census:
        return Census(None, 1, n_bytes, (f"{path}: {problem}",))

    try:
        stored = _stored_array(path)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        return refused(f"not a NIfTI file ({error}); replace it by the original")
    if len(stored.shape) != 3 or 0 in stored.shape:
        return refused(f"has the shape {stored.shape}, a volume has three axes")
    if (stored.slope, stored.inter) != (1.0, 0.0):
        return refused(f"its values are scaled (slope {stored.slope}, intercept {stored.inter}); save it unscaled")
    if stored.dtype.kind not in "iuf":
        return refused(f"has values of type {stored.dtype}, not numbers")
    if path.suffix == ".nii" and math.prod(stored.shape) * stored.dtype.itemsize > n_bytes:
        return refused("is cut off; replace it by the original")
    x, y, z = (int(n) for n in stored.shape)
    return Census(NiftiVolume(path, (z, y, x), stored.dtype.newbyteorder("=")), 1, n_bytes)


def _stored_array(path: Path) -> ArrayProxy:
    """Open the array as it is in the file, axes (x, y, z); nothing is read yet."""
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image) or not isinstance(image.dataobj, ArrayProxy):  # NIfTI-2 is one too
        raise ValueError(f"it is of type {type(image).__name__}")
    return image.dataobj
