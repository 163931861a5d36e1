"""Choices that users make by name. Light, so that the command line can offer them without waiting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral, Real
from typing import TypeVar

from catnip2bids.errors import UsageError

_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True)
class Cluster:
    """Where the work is done, if not by this process.

    Attributes
    ----------
    address
        ``tls://...`` or ``tcp://...`` of a Dask scheduler, or ``slurm`` for jobs of Slurm.
    n_workers
        Most jobs of Slurm at the same time; None for one.
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


DEFAULT_STAIN = "cFos"
"""The stain that CATNIP was made for, used if no other is given."""


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


def parse_choice(choices: type[_Choice], value: str) -> _Choice:
    """Return the choice of that name; raises UsageError if there is none."""
    try:
        return choices(value)
    except ValueError as error:
        raise UsageError(f"{value!r} is not a valid choice; choose one of {', '.join(choices)}") from error


SMALLEST_UM, LARGEST_UM = 1e-9, 1e9
"""The smallest and largest size of a voxel that is stored; others are mistakes."""


def parse_voxel_size(voxel_size_um: Iterable[float]) -> tuple[float, float, float]:
    """Return a voxel size X Y Z; raises UsageError if it is not three numbers that can be sizes."""
    sizes = list(voxel_size_um) if isinstance(voxel_size_um, Iterable) else []
    numbers = [float(size) for size in sizes if isinstance(size, Real) and SMALLEST_UM <= size <= LARGEST_UM]
    if len(sizes) != 3 or len(numbers) != 3:
        most = f"{LARGEST_UM:,.0f}"
        raise UsageError(
            f"the voxel size {voxel_size_um} is not possible; give X Y Z in micrometers, all above 0 and at most {most}"
        )
    return numbers[0], numbers[1], numbers[2]


def voxel_size_unit_warning(voxel_size_um: tuple[float, float, float]) -> str | None:
    """Ask whether a voxel size X Y Z is in another unit, where light microscopes have no such voxels."""
    if max(voxel_size_um) < 0.1:
        unit, unit_um = "millimetres", 1000.0
    elif min(voxel_size_um) > 500:
        unit, unit_um = "nanometres", 0.001
    else:
        return None
    given, meant = (" ".join(f"{size * factor:.6g}" for size in voxel_size_um) for factor in (1, unit_um))
    return f"the voxel size {given} is taken as micrometers; is it in {unit}? Then give {meant}"


def check_resources(jobs: int | None, memory_bytes: int | None = None, cluster: Cluster | None = None) -> None:
    """Raise UsageError for a number of processors, memory, or a cluster that is not possible."""
    for what, number in (("jobs", jobs), ("memory_bytes", memory_bytes)):
        if number is not None and (not isinstance(number, Integral) or isinstance(number, bool) or number <= 0):
            raise UsageError(f"{what}={number!r} is not possible; give a whole number above 0, or None for the default")
    if cluster is not None and not isinstance(cluster, Cluster):
        raise UsageError(f"cluster={cluster!r} is not possible; give for example Cluster({str(cluster)!r})")
    if cluster is not None and cluster.address == "local":
        raise UsageError("cluster 'local' is not possible; give none to use worker processes of this machine")
