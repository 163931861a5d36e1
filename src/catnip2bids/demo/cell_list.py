"""Write the voxels of all cells as CATNIP does: as a list in a MATLAB 7.3 file, and as an image made from the list.

Invariant: list and image agree. Where cells overlap, the last one of the list is in the image. The same cells give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import numpy.typing as npt

from catnip2bids.demo.cells import Cells
from catnip2bids.demo.regions import REGIONS

_REGION_IDS: Final = tuple(region.id for region in REGIONS)
_VARIABLE: Final = "cellpixelIDlist"
_TITLE: Final = "MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Sat May  2 09:12:33 2026 HDF5 schema 1.00 ."
_USER_BLOCK: Final = (_TITLE.encode("ascii").ljust(116) + bytes(8) + b"\x00\x02IM").ljust(512, b"\0")
"""Title, no subsystem data, version 2, little-endian (MAT-File Versions, MATLAB documentation)."""


def write_cell_list(path: Path, cells: Cells, region_ids: Sequence[int] = _REGION_IDS) -> None:
    """Write the list of all cells as CATNIP's ``FRSTseg_<T>_cellpixelIDlist.mat`` (``Generate_Stats.m``).

    The file has one variable, a cell array with an element for each region, in shuffled order. An element has a row for
    each voxel: uid, volume of the cell in voxels, row, column, slice, the last three counted from 1. The uid of cell n
    of a region with `count` cells is ``region id + n / (2 * count)``. HDF5 shows arrays transposed: the list as
    (1, regions), an element as (5, voxels). An empty element holds its size, as MATLAB writes it.

    Parameters
    ----------
    path
        File to write, in an existing folder.
    cells
        Cells, sorted by region, from `find_cells`.
    region_ids
        Ids of the atlas table; cells of other regions are not written.
    """
    with h5py.File(path, "w", userblock_size=len(_USER_BLOCK)) as file:
        elements = file.create_group("#refs#")
        references = np.empty((1, len(region_ids)), h5py.ref_dtype)
        for index, region_id in enumerate(_shuffled(region_ids)):
            element = _element(elements, str(index), _rows(cells, region_id))
            references[0, index] = element.ref
        variable = file.create_dataset(_VARIABLE, data=references, dtype=h5py.ref_dtype, track_times=False)
        variable.attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as raw:
        raw.write(_USER_BLOCK)


def filtered_image(
    cells: Cells, shape: tuple[int, int, int], region_ids: Sequence[int] = _REGION_IDS
) -> npt.NDArray[np.uint16]:
    """Return an image (z, y, x) in which each voxel of a cell has the cell's volume, up to 65535, and others are 0.

    This is CATNIP's ``FRSTseg_<T>_filtered`` (``FRSTsegcorrect.m``), which it makes from the list.
    """
    image = np.zeros(shape, np.uint16)
    volumes = np.repeat(np.minimum(cells.volumes_voxels, 65535), cells.volumes_voxels)
    for region_id in _shuffled(region_ids):
        _, there = cells.of_region(region_id)
        image[tuple(cells.voxels[there].T)] = volumes[there]
    return image


def _shuffled(region_ids: Sequence[int]) -> list[int]:
    """Return ids in the order of the list; CATNIP draws another one in each run."""
    return [region_ids[index] for index in np.random.default_rng(0).permutation(len(region_ids)).tolist()]


def _rows(cells: Cells, region_id: int) -> npt.NDArray[np.float64]:
    """Return the element of a region as HDF5 shows it, (5, m)."""
    which, there = cells.of_region(region_id)
    volumes = cells.volumes_voxels[which]
    uids = region_id + np.arange(1, len(volumes) + 1) / (2 * max(len(volumes), 1))
    rows = np.empty((5, int(volumes.sum())))
    rows[:2] = np.repeat([uids, volumes], volumes, axis=1)
    rows[2:] = cells.voxels[there][:, [1, 2, 0]].T + 1
    return rows


def _element(elements: h5py.Group, name: str, rows: npt.NDArray[np.float64]) -> h5py.Dataset:
    """Write a matrix of doubles; of an empty one, MATLAB writes the size."""
    data = rows if rows.size else np.zeros(2, np.uint64)
    element = elements.create_dataset(name, data=data, track_times=False)
    element.attrs["MATLAB_class"] = np.bytes_("double")
    if not rows.size:
        element.attrs["MATLAB_empty"] = np.uint8(1)
    return element
