"""Small versions of volumes, out of the lower resolution levels that the dataset holds.

Invariant: a preview takes little memory and, wherever there are levels, reads little, however large the volume is.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.choices import Kind
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.ome import downsample
from catnip2bids.volume.zarr import open_array

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]

_LONGEST_SIDE = 640
_MOST_VOXELS = 48 * 2**20
_MOST_PLANES = 48
"""Planes that are read of a volume without levels along z."""


class DamagedImageError(DatasetError):
    """An image of the dataset cannot be read.

    Attributes
    ----------
    image
        Which one.
    """

    def __init__(self, image: Path, why: Exception) -> None:
        super().__init__(f"{image}: cannot be read ({why}); bring it back from a copy")
        self.image = image


@dataclass(frozen=True)
class Preview:
    """A small version of a volume.

    Attributes
    ----------
    values
        Voxels (z, y, x), of the type of the volume.
    step_um
        Distance of neighbouring voxels (z, y, x) in micrometers.
    planes
        The plane of level 0, counted from 0, in the middle of each plane.
    """

    values: Array
    step_um: tuple[float, float, float]
    planes: tuple[int, ...]

    def on_grid_of(self, other: Preview) -> Array:
        """Return the values at the places of another preview's voxels, if both show the same extent."""
        values = self.values
        for axis, (n, n_wanted) in enumerate(zip(values.shape, other.values.shape, strict=True)):
            if n != n_wanted:
                values = values.take((np.arange(n_wanted) * 2 + 1) * n // (2 * n_wanted), axis=axis)
        return values


def read_preview(image: Path, shape: Zyx, voxel_size_um: tuple[float, float, float], kind: Kind) -> Preview:
    """Read a small version of an image of a dataset.

    Parameters
    ----------
    image
        The OME-Zarr or OME-TIFF.
    shape
        Voxels of its level 0 along (z, y, x).
    voxel_size_um
        Their size (z, y, x).
    kind
        Decides how voxels are merged where no level is small enough.

    Raises
    ------
    DamagedImageError
        If the image cannot be read.
    """
    try:
        values, planes = _of_zarr(image) if image.is_dir() else _of_tiff(image, kind)
    except (OSError, ValueError, KeyError, IndexError, SourceError, tifffile.TiffFileError) as error:
        raise DamagedImageError(image, error) from error
    if not planes:
        planes = tuple(min((2 * z + 1) * shape[0] // (2 * len(values)), shape[0] - 1) for z in range(len(values)))
    step = [size * n / n_small for size, n, n_small in zip(voxel_size_um, shape, values.shape, strict=True)]
    return Preview(values, (step[0], step[1], step[2]), planes)


def display_window(image: Path, values: Array) -> tuple[float, float]:
    """Return the values that are shown as black and as white: as OME-Zarr says, or by the values themselves."""
    if image.is_dir():
        window = _ome_attributes(image)["omero"]["channels"][0]["window"]
        return float(window["start"]), float(window["end"])
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1.0, 99.8]) if finite.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1))


def _of_zarr(image: Path) -> tuple[Array, tuple[int, ...]]:
    """Read the finest level that is small enough, or the coarsest one."""
    datasets = _ome_attributes(image)["multiscales"][0]["datasets"]
    arrays = [open_array(image, dataset["path"]) for dataset in datasets]
    fitting = [array for array in arrays if _is_small(array.shape)]
    array = fitting[0] if fitting else arrays[-1]
    return np.asarray(array.read().result()), ()


def _ome_attributes(image: Path) -> dict[str, Any]:
    """Read the attributes of an OME-Zarr image, of version 0.5 or 0.4."""
    document = image / "zarr.json"
    if document.is_file():
        attributes: dict[str, Any] = json.loads(document.read_bytes())["attributes"]["ome"]
    else:
        attributes = json.loads((image / ".zattrs").read_bytes())
    return attributes


def _is_small(shape: tuple[int, ...]) -> bool:
    return max(shape[1:]) <= _LONGEST_SIDE and math.prod(shape) <= _MOST_VOXELS


def _of_tiff(image: Path, kind: Kind) -> tuple[Array, tuple[int, ...]]:
    """Read some planes from all over the file, of each the level that is small enough, or merged until it is."""
    with tifffile.TiffFile(image) as tiff:
        n_planes = len(tiff.pages)
        n_read = min(n_planes, _MOST_PLANES)
        planes = tuple((2 * n + 1) * n_planes // (2 * n_read) for n in range(n_read))
        return np.stack([_small_plane(tiff.pages[plane].aspage(), kind) for plane in planes]), planes


def _small_plane(page: tifffile.TiffPage, kind: Kind) -> Array:
    levels = [page, *(level.aspage() for level in page.pages or ())]
    fitting = [level for level in levels if max(level.shape) <= _LONGEST_SIDE]
    values = np.asarray((fitting[0] if fitting else levels[-1]).asarray())[np.newaxis]
    while max(values.shape[1:]) > _LONGEST_SIDE:
        values = downsample(values, (1, 2, 2), kind)
    return np.asarray(values[0])
