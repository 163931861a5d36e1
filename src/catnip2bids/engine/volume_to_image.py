"""Convert a volume into an image: all units, then the remaining levels, in bounded memory.

Invariant: units with a resume marker are skipped; the result lists the hashes of all planes in order, as if the
conversion had never been interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from threading import Event

from catnip2bids.engine.resume_markers import UnitResult
from catnip2bids.engine.scheduler import Scheduler, StoppedError, raising_worker_errors
from catnip2bids.engine.sequential_writer import resume_sequential_write
from catnip2bids.engine.work_units import RemainingLevels, WorkUnit, split_into_units
from catnip2bids.engine.writer_protocols import ImageWriter, PlaneImage
from catnip2bids.errors import WriteError
from catnip2bids.paths import SafePath
from catnip2bids.volume import Volume


@dataclass(frozen=True)
class ProgressCallbacks:
    """Functions that report the progress of a conversion in voxels; several threads call them."""

    done: Callable[[int], None]
    skipped: Callable[[int], None]  # written by an interrupted attempt


def convert_volume(
    volume: Volume,
    image: ImageWriter | PlaneImage,
    scheduler: Scheduler,
    callbacks: ProgressCallbacks,
    markers: SafePath | None = None,
) -> UnitResult:
    """Write a volume into an image: unit by unit, or plane by plane if the image is one file.

    Parameters
    ----------
    volume
        The source of the pixels.
    image
        The image under construction.
    scheduler
        Runs the units.
    callbacks
        Called with the progress.
    markers
        Folder of the resume markers; None to write everything.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    WriteError
        If something cannot be written.
    WorkerError
        If a worker process died.
    UsageError
        If the memory is not enough.
    """
    if isinstance(image, ImageWriter):
        return _convert_units(volume, image, scheduler, callbacks, markers)
    work = resume_sequential_write(volume, image, markers)
    callbacks.skipped(work.start * work.plane_voxels)
    with raising_worker_errors():
        return scheduler.submit(work, callbacks.done).result()


def _convert_units(
    volume: Volume, image: ImageWriter, scheduler: Scheduler, callbacks: ProgressCallbacks, markers: SafePath | None
) -> UnitResult:
    image.create()
    results: dict[int, UnitResult] = {}

    def unfinished_units() -> Iterator[WorkUnit]:
        for unit in split_into_units(volume, image, markers):
            if found := unit.marker.read(image.folder):
                results[unit.start] = found
                callbacks.skipped(unit.n_voxels)
            else:
                yield unit

    results.update(_run_until_first_error(unfinished_units(), scheduler, callbacks.done))
    scheduler.complete(RemainingLevels(image, markers))
    ordered = [results[start] for start in sorted(results)]
    for result in ordered:
        if not result.is_on_disk(image.folder):
            raise WriteError(f"{image.folder}: some of its files disappeared while it was written; run again")
    return _joined(ordered)


def _run_until_first_error(
    units: Iterable[WorkUnit], scheduler: Scheduler, on_voxels: Callable[[int], None]
) -> dict[int, UnitResult]:
    """Run units; after the first error, start no more of them, wait until all have ended, and raise it.

    Returns the results by the first planes of the units.
    """
    running: dict[int, Future[UnitResult]] = {}
    failed = Event()

    def report(n_voxels: int) -> None:
        if failed.is_set():
            raise StoppedError
        on_voxels(n_voxels)

    def note_failure(unit: Future[UnitResult]) -> None:
        if not unit.cancelled() and unit.exception() is not None:
            failed.set()

    try:
        for unit in units:
            if failed.is_set():  # submit may block until a cluster has free workers
                break
            running[unit.start] = scheduler.submit(unit, report)
            running[unit.start].add_done_callback(note_failure)
        wait(running.values(), return_when=FIRST_EXCEPTION)
        with raising_worker_errors():
            for future in running.values():
                if future.done():
                    future.result()
    finally:
        # after an error, units that have not started never will, and none writes any more when this returns
        failed.set()
        wait([future for future in running.values() if not future.cancel()])
    return {start: future.result() for start, future in running.items()}


def _joined(results: list[UnitResult]) -> UnitResult:
    ranges = [result.value_range for result in results if result.value_range is not None]
    found = [result.labels for result in results if result.labels is not None]
    return UnitResult(
        sha256=tuple(h for result in results for h in result.sha256),
        value_range=(min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None,
        labels=frozenset().union(*found) if found else None,
        files={name: n_bytes for result in results for name, n_bytes in result.files.items()},
    )
