"""One volume to one image.

Invariant: pixels are never changed, and the image stands under its name only when it is whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from catnip2bids.building import ImagePlan, build_image
from catnip2bids.choices import Kind, check_voxel_size
from catnip2bids.colors import made_up_color
from catnip2bids.engine import Conversion, Listener, local_workers
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.ome import LabelValue
from catnip2bids.progress import Progress
from catnip2bids.publish import forget_construction, is_unfinished, keep_apart, naming_what_cannot_be_written, reserved
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
    *,
    jobs: int | None = None,
    memory_bytes: int | None = None,
    overwrite: bool = False,
) -> ConvertedImage:
    """Convert a slice folder, a TIFF stack or a NIfTI file to an OME-Zarr 0.5 image.

    Interrupted, it goes on where it stopped when it is called again.

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
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB.
    overwrite
        Whether an image that is there is replaced; what an interrupted conversion left is thrown away then.

    Raises
    ------
    SourceError
        If the volume is not whole, or cannot be read.
    UsageError
        If the target is there already, its name has another ending, the voxel size is not possible, or the memory is
        not enough.
    """
    source, target, kind, progress = Path(source), Path(target), Kind(kind), progress or Progress()
    if not target.name.endswith(_ENDING):
        raise UsageError(f"{target}: the name of the image must end in {_ENDING}")
    check_voxel_size(voxel_size_um)
    keep_apart(source, target)
    if target.exists() and not overwrite and not is_unfinished(target):
        raise UsageError(f"{target}: is there already; remove it, give another name, or have it made anew: --overwrite")
    census = take_census(source)
    if census.volume is None or census.problems:
        raise SourceError("\n".join(census.problems))
    for warning in census.warnings:
        progress.warning(warning)
    volume, name = census.volume, target.name.removesuffix(_ENDING)
    plan = ImagePlan(volume, name, name, voxel_size_um, kind)

    def labels_of(converted: Conversion) -> list[LabelValue]:
        values = sorted(converted.labels or ()) if volume.dtype.kind in "iu" else []
        return [LabelValue(value, str(value), None, made_up_color(value)) for value in values if value != 0]

    with (
        local_workers([(volume, plan.image(target))], memory_bytes, jobs) as workers,
        naming_what_cannot_be_written(target),
        reserved(target),
    ):
        if overwrite:
            forget_construction(target)
        progress.note(workers.summary)
        progress.start(prod(volume.shape))
        progress.item(target.name)
        listener = Listener(progress.advance, progress.skip)
        made, _ = build_image(plan, target, [str(source.resolve())], workers, listener, labels_of)
        forget_construction(target)
    return ConvertedImage(target, volume.shape, volume.dtype.name, made.sha256)
