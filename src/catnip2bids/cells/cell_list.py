"""CATNIP's list of the voxels of all cells: ``cellvolumes/FRSTseg_<T>_cellpixelIDlist.mat`` (MATLAB 7.3, HDF5).

It holds the variable ``cellpixelIDlist``, a cell array with one N x 5 matrix for each label, in shuffled order: uid,
volume, row, column and slice, from 1, of every voxel of every counted cell. The uid is the label plus a fraction, and
differs from cell to cell.

Invariant: voxels are read in pieces, and each cell has as many as its volume says, all of them in the image. No other
file is read, although HDF5 files can refer to others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from catnip2bids.bids.cell_tables import CellBlock
from catnip2bids.errors import SourceError, reason_of
from catnip2bids.formatting import format_bytes

_VARIABLE = "cellpixelIDlist"
_N_FIELDS = 5
_PIECE = 2**20
"""Voxels that are read at a time: 40 MiB."""
_MOST_LABELS = 10**6
_MOST_CHUNK_BYTES = 2**28
"""HDF5 unpacks a chunk as a whole."""
_MOST_ID = 2**53
"""Labels of doubles are exact below."""


def read_cell_list(path: Path, shape: tuple[int, int, int]) -> Iterator[CellBlock]:
    """Yield the cells of each label, labels ascending, cells by their centres (z, y, x).

    `shape` (z, y, x) is that of the image. Raises SourceError if the file cannot be read, or is not such a list.
    """
    try:
        with h5py.File(path, "r") as file:
            yield from _cells(file, shape)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        what = f"is not a list of cells as CATNIP writes it ({reason_of(error)})"
        raise SourceError(f"{path}: {what}; copy it again") from error


def _cells(file: Any, shape: tuple[int, int, int]) -> Iterator[CellBlock]:
    if not isinstance(file.get(_VARIABLE, getlink=True), h5py.HardLink):
        raise ValueError(f"it has no variable {_VARIABLE}")
    variable = _stored_here(file[_VARIABLE])
    if not 0 < variable.size <= _MOST_LABELS:
        raise ValueError(f"it has {variable.size:,} labels")
    by_label = {}
    for voxels in (_stored_here(file[reference]) for reference in np.asarray(variable).reshape(-1)):
        if voxels.attrs.get("MATLAB_empty", 0) or voxels.size == 0:
            continue
        if voxels.dtype.kind != "f":
            raise ValueError(f"a label has a matrix of {voxels.dtype} and not of floating-point numbers")
        if voxels.ndim != 2 or voxels.shape[0] != _N_FIELDS:
            raise ValueError(f"a label has a matrix of {voxels.shape[::-1]} and not of {_N_FIELDS} columns")
        if voxels.shape[1] > math.prod(shape):
            raise ValueError(f"a label has {voxels.shape[1]:,} voxels, and the image has {math.prod(shape):,}")
        if voxels.chunks and math.prod(voxels.chunks) * voxels.dtype.itemsize > _MOST_CHUNK_BYTES:
            raise ValueError(f"it has chunks of more than {format_bytes(_MOST_CHUNK_BYTES)}")
        first = float(voxels[0, 0])
        if not 1 <= first < _MOST_ID:
            raise ValueError(f"{first:g} is not a label with a fraction")
        label = int(first)
        if label in by_label:
            raise ValueError(f"label {label} is there twice")
        by_label[label] = voxels
    for label, voxels in sorted(by_label.items()):
        yield _cells_of_label(label, voxels, shape)


def _stored_here(array: Any) -> Any:
    """Return an array of an HDF5 file, unless its values lie in other files."""
    if array.external or array.is_virtual:
        raise ValueError("its values are in another file")
    return array


def _cells_of_label(label: int, voxels: Any, shape: tuple[int, int, int]) -> CellBlock:
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for start in range(0, voxels.shape[1], _PIECE):
        uid, volume, row, column, plane = voxels[:, start : start + _PIECE]
        places = np.stack([plane, row, column], axis=1) - 1
        if (np.floor(uid) != label).any():
            raise ValueError(f"label {label} has cells of another label")
        if not ((places >= 0) & (places < shape)).all():
            raise ValueError(f"label {label} has voxels outside of the image")
        zyx = places.astype(np.int64)
        if (zyx != places).any():
            raise ValueError(f"label {label} has places between voxels")
        parts.append(_summed(uid, np.ones(len(uid), np.int64), zyx, volume))
    ids, n_voxels, sums, volumes = _summed(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    if (n_voxels != volumes).any():
        raise ValueError(f"label {label} has a cell with another number of voxels than its volume")
    centres = sums / n_voxels[:, np.newaxis]
    order = np.lexsort(centres.T[::-1])
    regions = np.full(len(ids), label, np.int64)
    return CellBlock(centres[order], n_voxels[order], regions, np.zeros(len(ids), np.bool_))


def _summed(
    uids: npt.NDArray[Any], n_voxels: npt.NDArray[Any], sums: npt.NDArray[Any], volumes: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], ...]:
    """Add up voxels and coordinates of all rows of a cell; return them by ascending uid."""
    found, which = np.unique(uids, return_inverse=True)
    n_summed, sums_summed = np.zeros(len(found), np.int64), np.zeros((len(found), 3), np.int64)
    np.add.at(n_summed, which, n_voxels)
    np.add.at(sums_summed, which, sums)
    volume = np.zeros(len(found))
    volume[which] = volumes
    if (volume[which] != volumes).any():
        raise ValueError("a cell has two volumes")
    return found, n_summed, sums_summed, volume
