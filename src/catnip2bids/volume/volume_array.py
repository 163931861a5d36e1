"""Any volume as an array that is read when it is indexed.

Invariant: indexing returns what NumPy would return for the whole volume, and reads no plane that is not asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.formatting import first_problems, format_shape
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.volume.detect_format import inspect_volume
from catnip2bids.volume.volume import Volume, open_planes
from catnip2bids.volume.voxel_size import format_voxel_size, stated_voxel_size

Index = int | np.integer[Any] | slice | EllipsisType


@dataclass(frozen=True, repr=False)
class VolumeArray(ShortRepr):
    """A volume on disk with axes (z, y, x), which is read when it is indexed.

    Integers, slices (with steps, too) and ``...`` index it as they index a NumPy array. ``numpy.asarray`` reads all of
    it; ``dask.array.from_array`` makes a lazy array of it. Each indexing of a ``.nii.gz`` file unpacks the whole file.

    Attributes
    ----------
    path
        The file or folder.
    shape
        Voxels along (z, y, x).
    dtype
        Type of the values, in native byte order.
    voxel_size_um
        Voxel size X Y Z in micrometers, if the files state one.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_size_um: tuple[float, float, float] | None
    _volume: Volume
    ndim: ClassVar[int] = 3

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Index | tuple[Index, ...]) -> npt.NDArray[Any]:
        """Read some voxels.

        Raises
        ------
        IndexError
            If an index is out of bounds, or is neither an integer, a slice nor ``...``.
        SourceError
            If a plane cannot be read.
        """
        (planes, rows, columns), dropped = self._ranges(key)
        out = np.empty((len(planes), len(rows), len(columns)), self.dtype)
        if out.size:
            first, last = min(rows), max(rows)
            band = np.empty((last + 1 - first, self.shape[2]), self.dtype)
            for index, plane in enumerate(open_planes(self._volume, planes)):
                plane.read_rows(first, last + 1, band)
                out[index] = band[np.ix_([row - first for row in rows], columns)]
        return out.squeeze(dropped)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read the whole volume."""
        if copy is False:
            raise ValueError("a volume on disk cannot be an array without a copy")
        return self[...].astype(self.dtype if dtype is None else dtype, copy=False)

    def _ranges(self, key: Index | tuple[Index, ...]) -> tuple[list[range], tuple[int, ...]]:
        """Return the indices that a key selects along each axis, and the axes that integers remove."""
        indices = list(key) if isinstance(key, tuple) else [key]
        ellipses = [place for place, index in enumerate(indices) if index is ...] or [len(indices)]
        if len(ellipses) > 1:
            raise IndexError("an index can only have a single ellipsis ('...')")
        (at,) = ellipses
        before, after = indices[:at], indices[at + 1 :]
        n_missing = self.ndim - len(before) - len(after)
        if n_missing < 0:
            raise IndexError(f"too many indices: the volume has {self.ndim} axes")
        ranges, dropped = [], []
        whole = [*before, *[slice(None)] * n_missing, *after]
        for axis, (index, length) in enumerate(zip(whole, self.shape, strict=True)):
            if isinstance(index, slice):
                ranges.append(range(length)[index])
                continue
            if isinstance(index, bool) or not isinstance(index, int | np.integer):
                raise IndexError("a volume is indexed by integers, slices and '...'; read it with numpy.asarray first")
            if not -length <= index < length:
                raise IndexError(f"index {index} is out of bounds for axis {axis} with size {length}")
            place = range(length)[index]
            ranges.append(range(place, place + 1))
            dropped.append(axis)
        return ranges, tuple(dropped)

    def _summary(self) -> ReprSummary:
        size = "no voxel size" if self.voxel_size_um is None else format_voxel_size(self.voxel_size_um)
        return ReprSummary(str(self.path), (f"{format_shape(self.shape)} voxels", str(self.dtype), size))


def open_volume(path: Path | str, *, slice_number: str | None = None) -> VolumeArray:
    """Open a slice folder, a TIFF stack, a NIfTI file, an OME-TIFF or OME-Zarr as an array that is read lazily.

    Parameters
    ----------
    path
        The volume.
    slice_number
        Pattern for the slice number in the names of slices, as in `convert`.

    Raises
    ------
    SourceError
        If the volume is not whole, or cannot be read.

    Examples
    --------
    >>> brain = open_volume("run/640_N4")
    >>> brain
    <VolumeArray run/640_N4: 36 x 40 x 12 voxels, uint16, no voxel size>
    >>> brain[5, ::2].shape
    (20, 36)
    """
    path = Path(path)
    inspection = inspect_volume(path, slice_number)
    if inspection.volume is None or inspection.problems:
        raise SourceError(*first_problems(inspection.problems))
    volume, stated = inspection.volume, stated_voxel_size(inspection.volume)
    return VolumeArray(path, volume.shape, volume.dtype, stated.voxel_size_um if stated else None, volume)
