"""Find the cells in a segmentation: connected components, their volumes and their regions.

Invariant: a voxel belongs to at most one cell, and every cell lies in the region at its centre voxel.
Time and memory grow with the foreground only, so that sparse segmentations are cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

CELL_SIZE_RANGE_VOXELS: Final = (9, 900)
"""Smallest and largest volume of a cell; the default of CATNIP's ``--cellsizepx``."""

_HALF_OF_26_NEIGHBOURS: Final = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


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
    """Find the components of cell size whose centre voxel lies in a region.

    Parameters
    ----------
    segmentation
        Foreground, (z, y, x).
    labels
        Region ids on the same grid; cells at 0 are not counted.
    """
    voxels, owners = connected_components(segmentation)
    volumes = np.bincount(owners)
    centres = _centre_voxels(voxels, owners, volumes)
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


def connected_components(
    foreground: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find connected components with 26 neighbours, as MATLAB's ``bwconncomp``.

    Parameters
    ----------
    foreground
        Volume, (z, y, x).

    Returns
    -------
    voxels
        Coordinates (z, y, x) of the foreground voxels in C order, shape (m, 3).
    components
        Component of each of these voxels, numbered from 0 in the order of their first voxels, shape (m,).
    """
    voxels = np.argwhere(foreground).astype(np.int64)
    first, second = _neighbour_pairs(voxels, foreground.shape)
    root = np.arange(len(voxels))
    while (root[first] != root[second]).any():
        lowest = np.minimum(root[first], root[second])
        np.minimum.at(root, first, lowest)
        np.minimum.at(root, second, lowest)
        root = root[root]
    return voxels, np.unique(root, return_inverse=True)[1].astype(np.int64)


def _neighbour_pairs(
    voxels: npt.NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the indices of all pairs of neighbouring voxels, each pair once."""
    # One voxel of margin on each side keeps neighbours from wrapping around to the next row.
    strides = np.array([(shape[1] + 2) * (shape[2] + 2), shape[2] + 2, 1], np.int64)
    keys = (voxels + 1) @ strides
    pairs = [_pairs_at(keys, int(np.array(step) @ strides)) for step in _HALF_OF_26_NEIGHBOURS]
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def _pairs_at(keys: npt.NDArray[np.int64], distance: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the indices of the pairs of ascending `keys` that are `distance` apart."""
    _, first, second = np.intersect1d(keys + distance, keys, assume_unique=True, return_indices=True)
    return first.astype(np.int64), second.astype(np.int64)


def _centre_voxels(
    voxels: npt.NDArray[np.int64], owners: npt.NDArray[np.int64], volumes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the voxel nearest to the centre of mass of each component, (n, 3)."""
    sums = np.stack([np.bincount(owners, weights=axis) for axis in voxels.T], axis=-1)
    return np.rint(sums / volumes[:, None]).astype(np.int64)
