"""From a volume to an image: all units, then what is left, in bounded memory.

Invariant: units that are marked as done are not done again; the result lists the hash of every plane in order, as if
everything had been done at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from threading import Event

from catnip2bids.engine.resume_markers import UnitResult
from catnip2bids.engine.scheduler import Scheduler, StoppedError, raising_worker_errors
from catnip2bids.engine.sequential_writer import resume_sequential_write
from catnip2bids.engine.work_units import RemainingLevels, split_into_units
from catnip2bids.engine.writer_protocols import ImageWriter, PlaneImage
from catnip2bids.errors import WriteError
from catnip2bids.paths import SafePath
from catnip2bids.volume import Volume


@dataclass(frozen=True)
class ProgressCallbacks:
    """Who is told about a conversion, in voxels; the functions are called by several threads."""

    done: Callable[[int], None]
    there_already: Callable[[int], None]


def convert_volume(
    volume: Volume,
    image: ImageWriter | PlaneImage,
    workers: Scheduler,
    listener: ProgressCallbacks,
    markers: SafePath | None = None,
) -> UnitResult:
    """Write a volume into an image, unit by unit, or plane after plane if it is one file.

    Parameters
    ----------
    volume
        Where the pixels come from.
    image
        The image under construction.
    workers
        Who does it.
    listener
        Who is told.
    markers
        Folder of the resume markers; None to do everything.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    WriteError
        If something cannot be written.
    WorkerError
        If a process that works on it died.
    UsageError
        If the memory is not enough.
    """
    if isinstance(image, ImageWriter):
        return _convert_units(volume, image, workers, listener, markers)
    stream = resume_sequential_write(volume, image, markers)
    listener.there_already(stream.start * stream.plane_voxels)
    with raising_worker_errors():
        return workers.submit(stream, listener.done).result()


def _convert_units(
    volume: Volume, image: ImageWriter, workers: Scheduler, listener: ProgressCallbacks, markers: SafePath | None
) -> UnitResult:
    image.create()
    results: dict[int, UnitResult] = {}
    running: dict[int, Future[UnitResult]] = {}
    failed = Event()

    def done(n_voxels: int) -> None:
        if failed.is_set():
            raise StoppedError
        listener.done(n_voxels)

    def note_failure(unit: Future[UnitResult]) -> None:
        if not unit.cancelled() and unit.exception() is not None:
            failed.set()

    try:
        for unit in split_into_units(volume, image, markers):
            if found := unit.marker.read(image.folder):
                results[unit.start] = found
                listener.there_already(unit.n_voxels)
            elif failed.is_set():
                break  # a cluster takes only so many units at a time
            else:
                running[unit.start] = workers.submit(unit, done)
                running[unit.start].add_done_callback(note_failure)
        wait(running.values(), return_when=FIRST_EXCEPTION)
        with raising_worker_errors():
            for future in running.values():
                if future.done():
                    future.result()
    finally:
        # after an error units that have not begun never will, and nobody writes any more when this returns
        failed.set()
        wait([future for future in running.values() if not future.cancel()])
    results |= {start: future.result() for start, future in running.items()}
    workers.complete(RemainingLevels(image, markers))
    ordered = [results[start] for start in sorted(results)]
    for result in ordered:
        if not result.is_on_disk(image.folder):
            raise WriteError(f"{image.folder}: files of it vanished while it was written; run again")
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
