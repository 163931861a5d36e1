"""Run units of work on an executor, each within its share of the memory.

Invariant: units that run at the same time keep within the memory of the whole job, and after a stop no unit starts
another block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

from catnip2bids.engine.memory import (
    OVERHEAD_BYTES,
    PlaneMemory,
    Resources,
    UnitMemory,
    default_memory_bytes,
    divide_memory,
    divide_memory_by_planes,
    keep_free_memory_together,
)
from catnip2bids.engine.resume_markers import UnitResult
from catnip2bids.engine.sequential_writer import SequentialWrite, write_sequentially
from catnip2bids.engine.system_limits import n_processors
from catnip2bids.engine.work_units import RemainingLevels, WorkUnit, convert_unit, write_remaining_levels
from catnip2bids.engine.writer_protocols import ImageWriter, PlaneImage
from catnip2bids.errors import UsageError, WorkerError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.volume import Volume

Item = TypeVar("Item")
Result = TypeVar("Result")
_Conversion = tuple[Volume, ImageWriter | PlaneImage]
_MOST_IMAGES = 64
"""Images that a cluster converts at the same time."""
_THREADS_PER_UNIT = 4
"""Threads that one unit keeps busy; more units at a time also cost time for touching new memory."""


class StoppedError(Exception):
    """The work was stopped from outside."""


@contextmanager
def raising_worker_errors() -> Iterator[None]:
    """Turn the death of a worker process into a `WorkerError` that says what to do.

    Raises
    ------
    WorkerError
        If the pool of processes is broken.
    """
    try:
        yield
    except BrokenExecutor as error:
        raise WorkerError(
            "a worker died (killed from outside, or for lack of memory); "
            "run the same command again to go on, with less --memory or fewer --jobs if it happens again"
        ) from error


@dataclass(frozen=True)
class Scheduler:
    """Runs units of work, and the threads that supervise whole images."""

    executor: Executor  # runs the units
    supervisors: Executor  # threads that wait for the units of an image and complete it
    n_units: int  # units at the same time
    resources: Resources  # of each unit
    summary: str = ""  # for people: how the memory is used
    _stopping: Event = field(default_factory=Event)

    def submit(self, work: WorkUnit | SequentialWrite, on_voxels: Callable[[int], None]) -> Future[UnitResult]:
        """Submit a unit, or a sequential write of a whole image.

        Threads of this process report progress after each block or plane, and can be stopped there; workers elsewhere
        report it at the end.
        """

        def report(n_voxels: int) -> None:
            if self._stopping.is_set():
                raise StoppedError
            on_voxels(n_voxels)

        def report_at_end(converting: Future[UnitResult]) -> None:
            if not converting.cancelled() and converting.exception() is None:
                with suppress(StoppedError):  # the unit is finished anyway
                    on_voxels(work.n_voxels)

        def run(function: Callable[..., UnitResult]) -> UnitResult:
            if self._stopping.is_set():
                raise StoppedError
            return function(work, self.resources, report)

        function: Callable[..., UnitResult] = convert_unit if isinstance(work, WorkUnit) else write_sequentially
        if isinstance(self.executor, ThreadPoolExecutor):
            return self.executor.submit(run, function)
        if self._stopping.is_set():
            raise StoppedError
        with raising_worker_errors():
            converting = self.executor.submit(function, work, self.resources)
        converting.add_done_callback(report_at_end)
        return converting

    def complete(self, levels: RemainingLevels) -> None:
        """Write the levels of an image that need more than one unit; wait until they are done."""
        with raising_worker_errors():
            self.executor.submit(write_remaining_levels, levels, self.resources.n_threads).result()

    def supervise(self, work: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Start a function that submits units and waits for them, in a supervising thread."""
        return self.supervisors.submit(work, item)

    def stop(self) -> None:
        """End units at their next block, and start no more."""
        self._stopping.set()


@contextmanager
def local_scheduler(
    conversions: Sequence[_Conversion], memory_bytes: int | None, jobs: int | None
) -> Iterator[Scheduler]:
    """Create a scheduler for some conversions that runs threads of this process.

    Parameters
    ----------
    conversions
        The volumes and their images.
    memory_bytes
        Largest memory of the whole process; None for a quarter of the machine's memory, at most 8 GiB.
    jobs
        Processors to use; None for all.

    Raises
    ------
    UsageError
        If the memory is not enough for one of the conversions.
    """
    memory_bytes = default_memory_bytes() if memory_bytes is None else memory_bytes
    keep_free_memory_together()
    n_units, resources, divided = _divide_among_units(conversions, memory_bytes, jobs or n_processors())
    with ThreadPoolExecutor(n_units) as executor, ThreadPoolExecutor(n_units + 1) as supervisors:
        summary = _summary(memory_bytes, n_units, resources, divided)
        scheduler = Scheduler(executor, supervisors, n_units, resources, summary)
        try:
            yield scheduler
        except BaseException:
            # units are not cancelled but stop at once when they start: wait() never returns for futures that the
            # shutdown of a pool cancels
            scheduler.stop()
            supervisors.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def scheduler_for(conversions: Sequence[_Conversion], resources: Resources) -> Iterator[Scheduler]:
    """Create a scheduler for some conversions that runs workers of the cluster, or else threads of this process.

    Parameters
    ----------
    conversions
        The volumes and their images.
    resources
        Threads, memory and cluster for all of them.

    Raises
    ------
    UsageError
        If the memory is not enough for one of the conversions.
    """
    if resources.executor is None:
        with local_scheduler(conversions, resources.memory_bytes, resources.n_threads) as scheduler:
            yield scheduler
        return
    check_memory(conversions, resources)
    with ThreadPoolExecutor(max(min(len(conversions), _MOST_IMAGES), 1)) as supervisors:
        unit_resources = Resources(1, resources.memory_bytes)
        scheduler = Scheduler(resources.executor, supervisors, resources.n_threads, unit_resources)
        try:
            yield scheduler
        except BaseException:
            scheduler.stop()
            resources.executor.shutdown(wait=False, cancel_futures=True)
            supervisors.shutdown(wait=False, cancel_futures=True)
            raise


def check_memory(conversions: Sequence[_Conversion], resources: Resources) -> None:
    """Refuse conversions for which the memory is not enough.

    Raises
    ------
    UsageError
        If the memory is not enough for one of the conversions.
    """
    if resources.executor is None:
        _divide_among_units(conversions, resources.memory_bytes, resources.n_threads)
        return
    for volume, image in conversions:
        _divide(volume, image, Resources(1, resources.memory_bytes))


def _divide(volume: Volume, image: ImageWriter | PlaneImage, resources: Resources) -> UnitMemory | PlaneMemory:
    if isinstance(image, ImageWriter):
        return divide_memory(volume, image, resources)
    return divide_memory_by_planes(volume, image, resources)


def _divide_among_units(
    conversions: Sequence[_Conversion], memory_bytes: int, n_threads: int
) -> tuple[int, Resources, list[UnitMemory | PlaneMemory]]:
    """Choose the most units at a time that still run at full speed; returns their number and the memory of each."""
    for n_units in range(max(n_threads // _THREADS_PER_UNIT, 1), 0, -1):
        resources = Resources(n_threads, (memory_bytes - OVERHEAD_BYTES) // n_units)
        try:
            divided = [_divide(volume, image, resources) for volume, image in conversions]
        except UsageError:
            if n_units == 1:
                raise
            continue
        if n_units == 1 or all(memory.is_enough for memory in divided):
            break
    return n_units, resources, divided


def _summary(memory_bytes: int, n_units: int, resources: Resources, divided: Sequence[UnitMemory | PlaneMemory]) -> str:
    text = f"memory: at most {format_bytes(memory_bytes)}; {format_count(resources.n_threads, 'thread')}"
    if not divided:
        return text
    largest = max(divided, key=lambda memory: memory.total_bytes)
    return f"{text}, {format_count(n_units, 'unit')} of work at a time, {largest}"
