"""Size of an image and of its voxels by its own metadata, for all formats.

Invariant: everything is read from the image itself, nothing from its sidecar.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catnip2bids.errors import SourceError
from catnip2bids.validation.multiscale import read_multiscale
from catnip2bids.validation.ome_tiff import OmeXmlError, read_pixels
from catnip2bids.validation.tree import Image
from catnip2bids.volume.zarr import read_chunk_grid


@dataclass(frozen=True)
class Geometry:
    """Number of planes of an image and its voxel size along (x, y, z) in micrometers, as BIDS orders them."""

    n_planes: int
    voxel_size_xyz_um: tuple[float, float, float]


def read_geometry(root: Path, image: Image) -> Geometry | None:
    """Read the geometry of level 0; None where the image has a finding of its own that says why it has none."""
    path = root / image.path
    try:
        return _geometry_of_zarr(path) if image.is_zarr else _geometry_of_tiff(path)
    except (OmeXmlError, SourceError):
        return None


def _geometry_of_zarr(folder: Path) -> Geometry:
    multiscale = read_multiscale(folder)
    names = [axis.name for axis in multiscale.axes]
    shape = read_chunk_grid(folder, multiscale.levels[0].path).shape
    if not {"z", "y", "x"} <= set(names) or len(shape) != len(names):
        raise SourceError("it has no axes z, y and x")
    scale, _ = multiscale.placement(multiscale.levels[0])
    x, y, z = (scale[names.index(axis)] for axis in "xyz")
    return Geometry(shape[names.index("z")], (x, y, z))


def _geometry_of_tiff(file: Path) -> Geometry:
    pixels = read_pixels(file)
    z, y, x = pixels.voxel_size_um
    return Geometry(pixels.shape[0], (x, y, z))
