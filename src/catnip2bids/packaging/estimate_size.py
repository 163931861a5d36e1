"""Estimate the size of a dataset and the time to write it, from a small measured sample.

Invariant: nothing is written into the dataset; the sample goes to a temporary folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from catnip2bids.cells.connected_components import needed_bytes as needed_to_find_cells
from catnip2bids.engine import (
    OVERHEAD_BYTES,
    Resources,
    SequentialWrite,
    WorkUnit,
    convert_unit,
    makespan,
    needed_bytes,
    unit_sizes,
    worker_bytes,
    write_sequentially,
)
from catnip2bids.errors import Catnip2bidsError
from catnip2bids.ome import OmeZarrImage, image_size
from catnip2bids.packaging.cells import expected_tables
from catnip2bids.packaging.images import current_metadata, is_current
from catnip2bids.packaging.preflight import Preflight
from catnip2bids.packaging.result import Estimate, PackageResult
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.progress import Progress
from catnip2bids.volume import PlaneSubset, pixel_bytes

WORKERS = (1, 8, 64)
_SAMPLE_BYTES = 192 * 2**20


def expected_result(preflight: Preflight, progress: Progress) -> PackageResult:
    """Return what packaging would do, with an estimate of size and time of the images that have to be made.

    The estimate is None if all images exist, or if the sample cannot be converted, of which `progress` is warned.
    """
    missing = list(_missing_images(preflight))
    made = tuple(task.target for task in missing)
    tables = [table for run in preflight.runs for table in run.counts]
    copies = [copy.target for run in preflight.runs for copy in run.copies]
    cells = [table for run in preflight.runs for table in expected_tables(run)]
    return PackageResult(
        preflight.dataset,
        made=made,
        kept=tuple(task.target for run in preflight.runs for task in run.images if task.target not in made),
        copied=(*(table.target for table in tables), *(table.verbatim for table in tables), *copies, *cells),
        problems=tuple(problem for run in preflight.runs for problem in run.problems.values()),
        warnings=preflight.warnings,
        runs=tuple(run.summary(len(run.images), run.problems.keys()) for run in preflight.runs),
        estimate=_estimate(preflight, missing, progress) if missing else None,
    )


def _estimate(preflight: Preflight, tasks: Sequence[ImageTask], progress: Progress) -> Estimate | None:
    sizes = [pixel_bytes(task.volume) for task in tasks]
    sample = tasks[sizes.index(max(sizes))]
    resources = Resources(1, preflight.resources.memory_bytes - OVERHEAD_BYTES)
    try:
        with tempfile.TemporaryDirectory(prefix="catnip2bids-") as folder:
            speed, ratio = _measure(sample, resources, Path(folder))
    except Catnip2bidsError as error:
        progress.warning(f"no estimate of size and time: {error}")
        return None
    pairs = [(task, task.spec.image(Path(task.target.name))) for task in tasks]
    units = [n_bytes for task, image in pairs for n_bytes in unit_sizes(task.volume, image)]
    others = [result.needed_bytes for run in preflight.runs for result in run.redundancy]
    of_cells = [task.volume.shape for run in preflight.runs for task in run.images if task.component.is_segmentation]
    others += map(needed_to_find_cells, of_cells)
    n_files = sum(image.n_files if isinstance(image, OmeZarrImage) else 1 for _, image in pairs)
    copies = [copy for run in preflight.runs for copy in run.copies]
    if not preflight.settings.overwrite:
        copies = [copy for copy in copies if not (preflight.dataset / copy.target).exists()]
    return Estimate(
        n_bytes_read=sum(sizes),
        n_bytes_written=int(sum(sizes) * ratio) + sum(copy.entry.n_bytes for copy in copies),
        n_files=n_files + sum(copy.entry.n_files for copy in copies),
        n_units=len(units),
        worker_bytes=worker_bytes(max([*(needed_bytes(task.volume, image) for task, image in pairs), *others])),
        bytes_per_second=speed,
        seconds={n: makespan([n_bytes / speed for n_bytes in units], n) for n in WORKERS},
    )


def _missing_images(preflight: Preflight) -> Iterator[ImageTask]:
    """Yield the images that have to be made."""
    for run in preflight.runs:
        known = preflight.provenance.runs.get(str(run.name))
        for task in run.images:
            record = known.images.get(str(task.target)) if known and not preflight.settings.overwrite else None
            if record is None or not (
                is_current(task, preflight.dataset, record) or current_metadata(task, preflight.dataset, record)
            ):
                yield task


def _measure(task: ImageTask, resources: Resources, folder: Path) -> tuple[float, float]:
    """Convert planes in the middle of a volume, where there is more than background.

    Returns bytes of pixels per second, and bytes written per byte of pixels.
    """
    whole = task.volume
    plane_bytes = pixel_bytes(whole) // whole.shape[0]
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
