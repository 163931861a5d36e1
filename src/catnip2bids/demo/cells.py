"""Find the cells in a segmentation: connected components, their volumes and their regions.

Invariant: a voxel belongs to at most one cell, and every cell lies in the region at its centre voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
import numpy.typing as npt

CELL_SIZE_RANGE_VOXELS: Final = (9, 900)
"""Smallest and largest volume of a cell; the default of CATNIP's ``--cellsizepx``."""


@dataclass(frozen=True)
class Cells:
    """The n cells of one segmentation, with m voxels in all."""

    labels: npt.NDArray[np.int64]  # region id of each cell, (n,)
    volumes_voxels: npt.NDArray[np.int64]  # volume of each cell, (n,)
    centres: npt.NDArray[np.int64]  # centre voxel (z, y, x) of each cell, (n, 3)
    voxels: npt.NDArray[np.int64]  # voxels (z, y, x) of all cells, (m, 3)
    owners: npt.NDArray[np.int64]  # the cell, 0 to n - 1, of each voxel, (m,)

    def volume_image(self, shape: tuple[int, int, int]) -> npt.NDArray[np.uint16]:
        """Return an image in which each voxel of a cell has the volume of the cell, up to 65535, and others are 0.

        This is CATNIP's ``FRSTseg_<T>_filtered`` (``FRSTsegcorrect.m``).
        """
        image = np.zeros(shape, np.uint16)
        image[tuple(self.voxels.T)] = np.minimum(self.volumes_voxels, 65535)[self.owners]
        return image


def find_cells(segmentation: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint16]) -> Cells:
    """Find the components of cell size in a foreground whose centre voxel lies in a region: not at label 0."""
    voxels, owners = connected_components(segmentation)
    volumes = np.bincount(owners)
    sums = np.stack([np.bincount(owners, weights=axis) for axis in voxels.T], axis=-1)
    centres = np.rint(sums / volumes[:, None]).astype(np.int64)  # of mass, (n, 3)
    at_centre = labels[tuple(centres.T)].astype(np.int64)
    smallest, largest = CELL_SIZE_RANGE_VOXELS
    keep = (volumes >= smallest) & (volumes <= largest) & (at_centre > 0)
    kept_voxels = keep[owners]
    return Cells(
        labels=at_centre[keep],
        volumes_voxels=volumes[keep],
        centres=centres[keep],
        voxels=voxels[kept_voxels],
        owners=(np.cumsum(keep) - 1)[owners[kept_voxels]],
    )


def connected_components(foreground: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find connected components with 26 neighbours, as MATLAB's ``bwconncomp``.

    Returns the coordinates (z, y, x) of the foreground voxels in C order, (m, 3), and the component of each of these
    voxels, numbered from 0, (m,).
    """
    components = cc3d.connected_components(foreground, connectivity=26).ravel()
    indices = np.flatnonzero(components)
    voxels = np.stack(np.unravel_index(indices, foreground.shape), axis=-1)
    return voxels, components[indices].astype(np.int64) - 1
