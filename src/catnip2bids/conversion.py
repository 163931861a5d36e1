"""One volume to one image.

Invariant: pixels are never changed, and the image stands under its name only when it is whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

from catnip2bids.choices import Kind, OmeZarrVersion, check_voxel_size
from catnip2bids.colors import made_up_color
from catnip2bids.engine import Resources, convert_volume, default_memory_bytes
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.ome import LabelValue, OmeZarrImage, choose_display, image_metadata
from catnip2bids.progress import Progress
from catnip2bids.publish import publication
from catnip2bids.volume import take_census

_ENDING = ".ome.zarr"


@dataclass(frozen=True)
class ConvertedImage:
    """An image that was made of a volume.

    Attributes
    ----------
    path
        The image.
    shape
        Voxels of level 0 along (z, y, x).
    dtype
        Type of the values.
    sha256
        Hash of each plane's pixels.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: str
    sha256: tuple[str, ...]


def convert(
    source: Path | str,
    target: Path | str,
    voxel_size_um: tuple[float, float, float],
    kind: Kind | str = Kind.IMAGE,
    progress: Progress | None = None,
) -> ConvertedImage:
    """Convert a slice folder, a TIFF stack or a NIfTI file to an OME-Zarr 0.5 image.

    Parameters
    ----------
    source
        The volume.
    target
        The image to make; its name ends in ``.ome.zarr``.
    voxel_size_um
        Voxel size X Y Z in micrometers.
    kind
        ``image``, ``labels`` or ``mask``: decides how voxels are merged in the lower resolution levels.
    progress
        Told how the work goes.

    Raises
    ------
    SourceError
        If the volume is not whole, or cannot be read.
    UsageError
        If the target is there already, its name has another ending, or the voxel size is not possible.
    """
    source, target, kind, progress = Path(source), Path(target), Kind(kind), progress or Progress()
    if not target.name.endswith(_ENDING):
        raise UsageError(f"{target}: the name of the image must end in {_ENDING}")
    check_voxel_size(voxel_size_um)
    if target.exists():
        raise UsageError(f"{target}: is there already; remove it, or give another name")
    census = take_census(source)
    if census.volume is None or census.problems:
        raise SourceError("\n".join(census.problems))
    for warning in census.warnings:
        progress.warning(warning)
    volume, (x, y, z), name = census.volume, voxel_size_um, target.name.removesuffix(_ENDING)
    progress.start(prod(volume.shape))
    progress.item(target.name)
    with publication(target) as partial:
        image = OmeZarrImage(partial, volume.shape, volume.dtype.name, (z, y, x), kind, OmeZarrVersion.V05)
        resources = Resources(os.cpu_count() or 1, default_memory_bytes())
        made = convert_volume(
            volume, image, resources, lambda planes: progress.advance(planes * prod(volume.shape[1:]))
        )
        values = sorted(made.labels or ()) if volume.dtype.kind in "iu" else []
        labels = [LabelValue(value, str(value), None, made_up_color(value)) for value in values if value != 0]
        display = choose_display(name, kind, made.value_range, image.read_smallest_level())
        image.finish(image_metadata(name, image.levels, kind, display, labels))
    return ConvertedImage(target, volume.shape, volume.dtype.name, made.sha256)
