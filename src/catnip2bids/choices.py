"""Choices that users make by name. Light, so that the command line can offer them without waiting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from catnip2bids.errors import UsageError


@dataclass(frozen=True)
class Cluster:
    """Where the work is done, if not by this process.

    Attributes
    ----------
    address
        ``tcp://...`` of a Dask scheduler, ``slurm`` for jobs of Slurm, ``local`` for processes of this machine.
    n_workers
        Workers at the most, of clusters that are started for this; None for one, and locally for all processors.
    """

    address: str
    n_workers: int | None = None


class OmeZarrVersion(StrEnum):
    """Versions of OME-Zarr that can be written."""

    V05 = "0.5"
    V04 = "0.4"


class Format(StrEnum):
    """Formats that the images of a dataset can have."""

    OME_ZARR = "ome-zarr"
    OME_TIFF = "ome-tiff"


IMAGE_ENDINGS = (".ome.zarr", ".ome.btf", ".ome.tif")
"""Of the names of images in these formats: OME-Zarr, OME-TIFF that may be large (BigTIFF), and classic OME-TIFF."""


class Compression(StrEnum):
    """How pixels of an OME-TIFF are compressed."""

    KEEP = "keep"
    """As in the source; Deflate where that cannot be taken over."""
    DEFLATE = "deflate"
    NONE = "none"


class Naming(StrEnum):
    """How files that BIDS has no name for yet are named."""

    BIDS = "bids"
    """Only names that the BIDS schema allows for microscopy."""
    DSEG = "dseg"
    """The names of DANDI 001362: ``_dseg``, ``_mask`` and ``_counts``, with the ``.bidsignore`` they need."""


class Kind(StrEnum):
    """What the values of a volume mean, which decides how voxels may be merged in a pyramid."""

    IMAGE = "image"
    """Intensities, or any quantity that can be averaged (N4, FRST, heat maps)."""
    LABELS = "labels"
    """Ids of regions: merged by the most frequent one."""
    MASK = "mask"
    """Binary masks and cell maps: merged by maximum, so that small cells stay visible."""


def check_voxel_size(voxel_size_um: tuple[float, float, float]) -> None:
    """Refuse a voxel size X Y Z that is not possible.

    Raises
    ------
    UsageError
        If a size is not above 0.
    """
    if not all(math.isfinite(size) and size > 0 for size in voxel_size_um):
        raise UsageError(f"the voxel size {voxel_size_um} is not possible; give X Y Z in micrometers, all above 0")
