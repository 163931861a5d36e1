"""Convert a volume into an image: all units, then the remaining levels, in bounded memory.

Invariant: units with a resume marker are skipped; the result lists the hashes of all planes in order, as if the
conversion had never been interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from threading import Event

from catnip2bids.engine.process_pool import raising_worker_errors
from catnip2bids.engine.resume_markers import UnitResult
from catnip2bids.engine.scheduler import Scheduler
from catnip2bids.engine.sequential_writer import resume_sequential_write, write_sequentially
from catnip2bids.engine.work_units import (
    RemainingLevels,
    StoppedError,
    convert_unit,
    split_into_units,
    write_remaining_levels,
)
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
        return scheduler.submit(write_sequentially, work, callbacks.done).result()


def _convert_units(
    volume: Volume, image: ImageWriter, scheduler: Scheduler, callbacks: ProgressCallbacks, markers: SafePath | None
) -> UnitResult:
    """Convert all units, then the remaining levels.

    After the first error, no more units start; it is raised when all have ended.
    """
    results: dict[int, UnitResult] = {}
    running: dict[int, Future[UnitResult]] = {}
    failed = Event()

    def report(n_voxels: int) -> None:
        if failed.is_set():
            raise StoppedError
        callbacks.done(n_voxels)

    def note_failure(unit: Future[UnitResult]) -> None:
        if not unit.cancelled() and unit.exception() is not None:
            failed.set()

    image.create()
    try:
        for unit in split_into_units(volume, image, markers):
            if found := unit.marker.read(image.folder):
                results[unit.start] = found
                callbacks.skipped(unit.n_voxels)
            elif not failed.is_set():  # submit may block until a cluster has free workers
                running[unit.start] = scheduler.submit(convert_unit, unit, report)
                running[unit.start].add_done_callback(note_failure)
        wait(running.values(), return_when=FIRST_EXCEPTION)
        with raising_worker_errors():
            results |= {start: future.result() for start, future in running.items() if future.done()}
            scheduler.submit(write_remaining_levels, RemainingLevels(image, markers), report).result()
    finally:
        # after an error, units that have not started never will, and none writes any more when this returns
        failed.set()
        wait([future for future in running.values() if not future.cancel()])
    ordered = [results[start] for start in sorted(results)]
    for result in ordered:
        if not result.is_on_disk(image.folder):
            raise WriteError(f"{image.folder}: some of its files disappeared while it was written; run again")
    return _joined(ordered)


def _joined(results: list[UnitResult]) -> UnitResult:
    ranges = [result.value_range for result in results if result.value_range is not None]
    found = [result.labels for result in results if result.labels is not None]
    return UnitResult(
        sha256=tuple(h for result in results for h in result.sha256),
        value_range=(min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None,
        labels=frozenset().union(*found) if found else None,
        files={name: n_bytes for result in results for name, n_bytes in result.files.items()},
    )
