"""How large a dataset becomes and how long it takes: an estimate, from a small measured sample.

Invariant: nothing of the dataset is written; the sample goes to a temporary folder, and is called an estimate wherever
it is shown.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from catnip2bids.engine import (
    OVERHEAD_BYTES,
    Resources,
    SequentialWrite,
    WorkUnit,
    convert_unit,
    needed_bytes,
    split_into_units,
    worker_bytes,
    write_sequentially,
)
from catnip2bids.errors import Catnip2bidsError
from catnip2bids.ome import OmeTiffImage, OmeZarrImage, image_size
from catnip2bids.packaging.images import is_current
from catnip2bids.packaging.preflight import Preflight
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.progress import Progress
from catnip2bids.volume import PlaneSubset

WORKERS = (1, 8, 64)
_SAMPLE_BYTES = 192 * 2**20


@dataclass(frozen=True)
class Estimate:
    """What is to be expected.

    Attributes
    ----------
    n_bytes_read
        Bytes of all pixels, decoded, of the images that are not there yet.
    n_bytes_written, n_files
        Bytes and files of all images.
    n_units
        Units of work.
    worker_bytes
        The least memory that a worker of one thread needs.
    bytes_per_second
        What one thread of this machine did of the sample: pixels, decoded.
    seconds
        Time by number of workers of one thread, as fast as this machine and with a file system that keeps up.
    """

    n_bytes_read: int
    n_bytes_written: int
    n_files: int
    n_units: int
    worker_bytes: int
    bytes_per_second: float
    seconds: dict[int, float]


def estimate(prepared: Preflight, progress: Progress) -> Estimate | None:
    """Estimate what it takes to make all images that are not there yet.

    Returns None if there are none, or if the sample cannot be converted, which `progress` is told.
    """
    tasks = list(_missing_images(prepared))
    if not tasks:
        return None
    sizes = [_pixel_bytes(task) for task in tasks]
    sample = tasks[sizes.index(max(sizes))]
    resources = Resources(1, prepared.resources.memory_bytes - OVERHEAD_BYTES)
    try:
        with tempfile.TemporaryDirectory(prefix="catnip2bids-") as folder:
            speed, ratio = _measure(sample, resources, Path(folder))
    except Catnip2bidsError as error:
        progress.warning(f"no estimate of size and time: {error}")
        return None
    units = [n_bytes for task in tasks for n_bytes in _unit_bytes(task)]
    images = [task.spec.image(Path(task.target.name)) for task in tasks]
    pairs = list(zip(tasks, images, strict=True))
    to_compare = [result.check.needed_bytes for run in prepared.runs for result in run.redundancy]
    n_files = sum(image.n_files if isinstance(image, OmeZarrImage) else 1 for image in images)
    return Estimate(
        n_bytes_read=sum(sizes),
        n_bytes_written=int(sum(sizes) * ratio),
        n_files=n_files,
        n_units=len(units),
        worker_bytes=worker_bytes(max(*(needed_bytes(task.volume, image) for task, image in pairs), *to_compare)),
        bytes_per_second=speed,
        seconds={n: makespan([n_bytes / speed for n_bytes in units], n) for n in WORKERS},
    )


def makespan(seconds: Sequence[float], n_workers: int) -> float:
    """Return when the last of some units is done, if each goes to the first worker that is free, longest first."""
    free = [0.0] * min(n_workers, len(seconds))
    for duration in sorted(seconds, reverse=True):
        first = free.index(min(free))
        free[first] += duration
    return max(free)


def _missing_images(prepared: Preflight) -> Iterator[ImageTask]:
    """List what would be made: all images that are not there as they would be made now."""
    for run in prepared.runs:
        known = prepared.provenance.runs.get(str(run.name))
        for task in run.images:
            record = known.images.get(str(task.target)) if known and not prepared.settings.overwrite else None
            if record is None or not is_current(task, prepared.dataset, record):
                yield task


def _pixel_bytes(task: ImageTask) -> int:
    return math.prod(task.volume.shape) * task.volume.dtype.itemsize


def _unit_bytes(task: ImageTask) -> list[int]:
    """Return the bytes of pixels of each unit of an image; an OME-TIFF is one."""
    image = task.spec.image(Path(task.target.name))
    if isinstance(image, OmeTiffImage):
        return [_pixel_bytes(task)]
    return [unit.n_voxels * task.volume.dtype.itemsize for unit in split_into_units(task.volume, image)]


def _measure(task: ImageTask, resources: Resources, folder: Path) -> tuple[float, float]:
    """Convert planes in the middle of a volume, where there is more than background.

    Returns bytes of pixels in a second, and bytes written for each of them.
    """
    whole = task.volume
    plane_bytes = _pixel_bytes(task) // whole.shape[0]
    n_planes = min(max(_SAMPLE_BYTES // plane_bytes, 1), whole.shape[0])
    volume = PlaneSubset(whole, (whole.shape[0] - n_planes) // 2, n_planes)
    image = replace(task.spec, volume=volume).image(folder / task.target.name)
    start = perf_counter()
    if isinstance(image, OmeZarrImage):
        image.create()
        convert_unit(WorkUnit(volume, image, 0, n_planes), resources)
    else:
        write_sequentially(SequentialWrite(volume, image), resources)
    seconds = perf_counter() - start
    n_bytes = n_planes * plane_bytes
    return n_bytes / seconds, image_size(folder / task.target.name).n_bytes / n_bytes
