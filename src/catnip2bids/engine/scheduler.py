"""Convert volumes into images, in threads or processes of this machine or on a cluster.

Invariant: units that run at the same time keep within the memory of the whole job, and after a stop no unit starts
another block. Units with a resume marker are skipped; the result lists the hashes of all planes in order, as if the
conversion had never been interrupted.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, starmap
from math import ceil, prod
from threading import Event
from typing import TypeVar

from catnip2bids.engine.memory import (
    OVERHEAD_BYTES,
    PlaneMemory,
    Resources,
    UnitMemory,
    divide_memory,
    divide_memory_by_planes,
    keep_free_memory_together,
)
from catnip2bids.engine.process_pool import WORKER_BYTES, ProcessPool, is_worth_processes, raising_worker_errors
from catnip2bids.engine.sequential_writer import SequentialWrite, resume_sequential_write, write_sequentially
from catnip2bids.engine.unit_results import PixelStatistics, UnitResult, read_marker
from catnip2bids.engine.work_units import (
    RemainingLevels,
    StoppedError,
    WorkUnit,
    convert_unit,
    split_into_units,
    write_remaining_levels,
)
from catnip2bids.errors import UsageError, WriteError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.ome import OmeTiffImage, OmeZarrImage
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import Volume

Item = TypeVar("Item")
Work = TypeVar("Work", WorkUnit, SequentialWrite, RemainingLevels)
Result = TypeVar("Result")
OnVoxels = Callable[[int], None]
Conversion = tuple[Volume, OmeZarrImage | OmeTiffImage]
_MOST_IMAGES = 64
"""Images that a cluster converts at the same time."""
_REMAINING_LEVELS = "rest"
_LOCKED = 0.2
"""Fraction of the time of a unit in which its process holds Python's global lock (measured with py-spy)."""


class Scheduler:
    """Runs units of work in threads of this process, each unit with the given resources.

    Of the `n_images` that are converted at the same time, each has a thread that submits its units and waits for them.
    The summary says how the memory is used.
    """

    def __init__(self, executor: Executor, n_images: int, resources: Resources, summary: str = "") -> None:
        self.executor, self.resources, self.summary = executor, resources, summary
        self._supervisors = ThreadPoolExecutor(max(n_images, 1))
        self._stopping = Event()

    def submit(self, function: Callable[..., Result], work: Work, on_voxels: OnVoxels) -> Future[Result]:
        """Submit a unit, or a whole image that is written plane by plane.

        The function and its first argument, the work, can be pickled. `on_voxels` receives the progress after each
        block or plane; on a cluster, at the end.
        """
        return self.executor.submit(function, work, self.resources, partial(self._report, on_voxels))

    def supervise(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Call a function that submits units and waits for them, in a thread of its own."""
        return self._supervisors.submit(function, item)

    def stop(self) -> None:
        """End units at their next block, and start no more."""
        # units stop by themselves when they start: wait() never returns for those that the shutdown of a pool cancels
        self._stopping.set()
        self._supervisors.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Wait until all has ended."""
        self._supervisors.shutdown()
        self.executor.shutdown()

    def _report(self, on_voxels: OnVoxels, n_voxels: int) -> None:
        if self._stopping.is_set():
            raise StoppedError
        on_voxels(n_voxels)


class _ProcessScheduler(Scheduler):
    """Runs units of work in worker processes."""

    executor: ProcessPool

    def submit(self, function: Callable[..., Result], work: Work, on_voxels: OnVoxels) -> Future[Result]:
        with raising_worker_errors():
            return self.executor.submit(function, work, self.resources, self.executor.reporting(on_voxels))

    def stop(self) -> None:
        self.executor.stop()
        super().stop()

    def close(self) -> None:
        super().close()
        if self.executor.error is not None:
            raise self.executor.error


class _ClusterScheduler(Scheduler):
    """Runs units of work on the workers of a cluster, which others use too."""

    def submit(self, function: Callable[..., Result], work: Work, on_voxels: OnVoxels) -> Future[Result]:
        def report_at_end(done: Future[Result]) -> None:
            if not done.cancelled() and done.exception() is None:
                with suppress(StoppedError):  # the unit is finished anyway
                    on_voxels(work.n_voxels)

        self._report(lambda _: None, 0)  # refuses more work after a stop
        converting = self.executor.submit(function, work, self.resources)
        converting.add_done_callback(report_at_end)
        return converting

    def stop(self) -> None:
        super().stop()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        self._supervisors.shutdown()


@dataclass(frozen=True)
class ProgressCallbacks:
    """Functions that report the progress of a conversion in voxels; several threads call them."""

    done: Callable[[int], None]
    skipped: Callable[[int], None]  # written by an interrupted attempt


def convert_volume(
    volume: Volume,
    image: OmeZarrImage | OmeTiffImage,
    scheduler: Scheduler,
    callbacks: ProgressCallbacks,
    markers: SafePath | None = None,
) -> UnitResult:
    """Write a volume into an image: unit by unit, or plane by plane if the image is one file.

    `markers` is the folder of the resume markers; None to write everything. Raises SourceError if a plane cannot be
    read, or holds labels that cannot be trusted; WriteError if something cannot be written; WorkerError if a worker
    process died; and UsageError if the memory is not enough.
    """
    if isinstance(image, OmeZarrImage):
        return _convert_units(volume, image, scheduler, callbacks, markers)
    work = resume_sequential_write(volume, image, markers)
    callbacks.skipped(work.start * work.plane_voxels)
    with raising_worker_errors():
        return scheduler.submit(write_sequentially, work, callbacks.done).result()


def _convert_units(
    volume: Volume, image: OmeZarrImage, scheduler: Scheduler, callbacks: ProgressCallbacks, markers: SafePath | None
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
            if found := read_marker(unit.marker, image.folder):
                results[unit.start] = found
                callbacks.skipped(unit.n_voxels)
            elif not failed.is_set():  # submit may block until a cluster has free workers
                running[unit.start] = scheduler.submit(convert_unit, unit, report)
                running[unit.start].add_done_callback(note_failure)
        wait(running.values(), return_when=FIRST_EXCEPTION)
        with raising_worker_errors():
            results |= {start: future.result() for start, future in running.items() if future.done()}
            marker = None if markers is None else safe_path(markers, _REMAINING_LEVELS)
            scheduler.submit(write_remaining_levels, RemainingLevels(image, marker), report).result()
    finally:
        # after an error, units that have not started never will, and none writes any more when this returns
        failed.set()
        wait([future for future in running.values() if not future.cancel()])
    findings, files = PixelStatistics(image.kind), dict[str, int]()
    for _, result in sorted(results.items()):
        if not result.is_on_disk(image.folder):
            raise WriteError(f"{image.folder}: some of its files disappeared while it was written; run again")
        findings.add(result)
        files |= result.files
    return findings.result(files)


@contextmanager
def scheduler_for(conversions: Sequence[Conversion], resources: Resources) -> Iterator[Scheduler]:
    """Create a scheduler for some conversions, which share the resources; raises what `check_memory` does."""
    if resources.executor is not None:
        _, share, _ = _divide(conversions, resources)
        scheduler: Scheduler = _ClusterScheduler(resources.executor, min(len(conversions), _MOST_IMAGES), share)
    else:
        scheduler = _local_scheduler(conversions, resources)
    try:
        yield scheduler
    except BaseException:
        scheduler.stop()
        raise
    finally:
        scheduler.close()


def _local_scheduler(conversions: Sequence[Conversion], resources: Resources) -> Scheduler:
    keep_free_memory_together()
    n_processes, share, summary = _divide(conversions, resources)
    if n_processes > 1:
        with suppress(OSError, NotImplementedError):  # the system cannot start processes; threads do the same
            return _ProcessScheduler(ProcessPool(n_processes), n_processes + 1, share, summary)
    _, share, summary = _divide(conversions, resources, most_processes=1)
    return Scheduler(ThreadPoolExecutor(1), 2, share, summary)


def check_memory(conversions: Sequence[Conversion], resources: Resources) -> None:
    """Raise UsageError if the memory is not enough for one of the conversions."""
    _divide(conversions, resources)


def _divide(
    conversions: Sequence[Conversion], resources: Resources, most_processes: int = sys.maxsize
) -> tuple[int, Resources, str]:
    """Return how many units run at the same time, the threads and memory of each, and a summary for people.

    On this machine, the number of processes is the one that should be fastest among those with enough memory for
    full speed.
    """
    if resources.executor is not None:
        share = Resources(1, resources.memory_bytes)
        _memory_of_units(conversions, share)
        return resources.n_threads, share, ""
    n_threads, free_bytes = resources.n_threads, resources.memory_bytes - OVERHEAD_BYTES
    sizes = list(chain.from_iterable(starmap(unit_sizes, conversions)))
    n_most = min(n_threads, len(sizes), most_processes) if is_worth_processes(sum(sizes)) else 1
    numbers = sorted(range(1, max(n_most, 1) + 1), key=lambda n: _relative_time(sizes, n, n_threads))
    for n_processes in numbers[: numbers.index(1)]:  # those that are faster than one
        share = Resources(ceil(n_threads / n_processes), free_bytes // n_processes - WORKER_BYTES)
        with suppress(UsageError):
            units = _memory_of_units(conversions, share)
            if all(unit.is_enough for unit in units):
                return n_processes, share, _summary(resources.memory_bytes, n_processes, share, units)
    share = Resources(n_threads, free_bytes)
    return 1, share, _summary(resources.memory_bytes, 1, share, _memory_of_units(conversions, share))


def unit_sizes(volume: Volume, image: OmeZarrImage | OmeTiffImage) -> list[int]:
    """Return the bytes of the pixels of each unit."""
    n_planes, depth = volume.shape[0], image.unit_depth if isinstance(image, OmeZarrImage) else volume.shape[0]
    plane_bytes = prod(volume.shape[1:]) * volume.dtype.itemsize
    return [min(depth, n_planes - start) * plane_bytes for start in range(0, n_planes, depth)]


def _relative_time(sizes: Sequence[int], n_processes: int, n_threads: int) -> float:
    """Predict how long units take in some processes that share the threads."""
    return makespan(sizes, n_processes) * (_LOCKED + (1 - _LOCKED) * n_processes / n_threads)


def makespan(durations: Sequence[float], n_workers: int) -> float:
    """Return the time in which workers finish all units, if each unit goes to the first free worker, longest first."""
    busy_until = [0.0] * n_workers
    for duration in sorted(durations, reverse=True):
        heapq.heapreplace(busy_until, busy_until[0] + duration)
    return max(busy_until)


def _memory_of_units(conversions: Sequence[Conversion], resources: Resources) -> list[UnitMemory | PlaneMemory]:
    return [
        divide_memory(volume, image, resources)
        if isinstance(image, OmeZarrImage)
        else divide_memory_by_planes(volume, image, resources)
        for volume, image in conversions
    ]


def _summary(memory_bytes: int, n_processes: int, share: Resources, units: Sequence[UnitMemory | PlaneMemory]) -> str:
    text = f"memory: at most {format_bytes(memory_bytes)}; "
    if n_processes > 1:
        text += f"{format_count(n_processes, 'worker')} of "
    text += format_count(share.n_threads, "thread")
    return f"{text}, {max(units, key=lambda unit: unit.total_bytes)}" if units else text
