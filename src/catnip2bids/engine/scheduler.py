"""Workers for units: an executor, and what each unit may use.

Invariant: all units that run at the same time together keep within the memory of the whole job, and once the work is
stopped no unit begins another block.
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
_Pair = tuple[Volume, ImageWriter | PlaneImage]
_MOST_IMAGES = 64
"""Images that a cluster works on at the same time."""
_THREADS_PER_UNIT = 4
"""One unit keeps so many threads busy; memory that more units touch for the first time costs time too."""


class StoppedError(Exception):
    """The work was stopped from outside."""


@contextmanager
def raising_worker_errors() -> Iterator[None]:
    """Turn the end of a worker process into an error that says what to do.

    Raises
    ------
    WorkerError
        If the pool of processes is broken.
    """
    try:
        yield
    except BrokenExecutor as error:
        raise WorkerError(
            "a worker died (killed from outside, or for want of memory); "
            "run the same command again to go on, with less --memory or fewer --jobs if it happens again"
        ) from error


@dataclass(frozen=True)
class Scheduler:
    """Workers for units.

    Attributes
    ----------
    executor
        Where units run.
    supervisors
        Threads that wait for the units of an image and do what is left then.
    n_units
        Units at the same time.
    resources
        What each of them may use.
    summary
        What the memory led to, for people.
    """

    executor: Executor
    supervisors: Executor
    n_units: int
    resources: Resources
    summary: str = ""
    _stopping: Event = field(default_factory=Event)

    def submit(self, work: WorkUnit | SequentialWrite, on_voxels: Callable[[int], None]) -> Future[UnitResult]:
        """Have a unit converted, or all planes of an image that is written plane after plane.

        Threads of this process tell how it goes after each block or plane, and stop there; all others tell it in the
        end.
        """

        def tell(n_voxels: int) -> None:
            if self._stopping.is_set():
                raise StoppedError
            on_voxels(n_voxels)

        def tell_in_the_end(converting: Future[UnitResult]) -> None:
            if not converting.cancelled() and converting.exception() is None:
                with suppress(StoppedError):  # it is done already
                    on_voxels(work.n_voxels)

        def begin(function: Callable[..., UnitResult]) -> UnitResult:
            if self._stopping.is_set():
                raise StoppedError
            return function(work, self.resources, tell)

        function: Callable[..., UnitResult] = convert_unit if isinstance(work, WorkUnit) else write_sequentially
        if isinstance(self.executor, ThreadPoolExecutor):
            return self.executor.submit(begin, function)
        if self._stopping.is_set():
            raise StoppedError
        with raising_worker_errors():
            converting = self.executor.submit(function, work, self.resources)
        converting.add_done_callback(tell_in_the_end)
        return converting

    def complete(self, rest: RemainingLevels) -> None:
        """Have the levels of an image made that no single unit decides."""
        with raising_worker_errors():
            self.executor.submit(write_remaining_levels, rest, self.resources.n_threads).result()

    def begin(self, work: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Begin something that submits units, waits for them and does what is left then."""
        return self.supervisors.submit(work, item)

    def stop(self) -> None:
        """Let units end at their next block, and begin no more."""
        self._stopping.set()


@contextmanager
def local_scheduler(conversions: Sequence[_Pair], memory_bytes: int | None, jobs: int | None) -> Iterator[Scheduler]:
    """Start workers for some conversions: threads of this process.

    Parameters
    ----------
    conversions
        What is to be done.
    memory_bytes
        The most that the whole process may hold; None for a quarter of the machine's memory, at most 8 GiB.
    jobs
        Processors to use; None for all.

    Raises
    ------
    UsageError
        If one of the volumes cannot be converted in so little memory.
    """
    memory_bytes = default_memory_bytes() if memory_bytes is None else memory_bytes
    keep_free_memory_together()
    n_units, resources, portions = _share(conversions, memory_bytes, jobs or n_processors())
    with ThreadPoolExecutor(n_units) as executor, ThreadPoolExecutor(n_units + 1) as supervisors:
        summary = _summary(memory_bytes, n_units, resources, portions)
        workers = Scheduler(executor, supervisors, n_units, resources, summary)
        try:
            yield workers
        except BaseException:
            # units are not cancelled here, they stop at once when their turn comes: a caller who waits for several
            # is never told of those that a pool cancels
            workers.stop()
            supervisors.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def scheduler_for(conversions: Sequence[_Pair], resources: Resources) -> Iterator[Scheduler]:
    """Start workers for some conversions: of the cluster, if there is one, or threads of this process.

    Parameters
    ----------
    conversions
        What is to be done.
    resources
        What may be used for all of it.

    Raises
    ------
    UsageError
        If one of the volumes cannot be converted in so little memory.
    """
    if resources.executor is None:
        with local_scheduler(conversions, resources.memory_bytes, resources.n_threads) as workers:
            yield workers
        return
    check_memory(conversions, resources)
    of_unit = Resources(1, resources.memory_bytes)
    with ThreadPoolExecutor(max(min(len(conversions), _MOST_IMAGES), 1)) as supervisors:
        workers = Scheduler(resources.executor, supervisors, resources.n_threads, of_unit)
        try:
            yield workers
        except BaseException:
            workers.stop()
            resources.executor.shutdown(wait=False, cancel_futures=True)
            supervisors.shutdown(wait=False, cancel_futures=True)
            raise


def check_memory(conversions: Sequence[_Pair], resources: Resources) -> None:
    """Refuse conversions for which the memory is not enough.

    Raises
    ------
    UsageError
        If one of the volumes cannot be converted in so little memory.
    """
    if resources.executor is None:
        _share(conversions, resources.memory_bytes, resources.n_threads)
        return
    for volume, image in conversions:
        _divide(volume, image, Resources(1, resources.memory_bytes))


def _divide(volume: Volume, image: ImageWriter | PlaneImage, resources: Resources) -> UnitMemory | PlaneMemory:
    if isinstance(image, ImageWriter):
        return divide_memory(volume, image, resources)
    return divide_memory_by_planes(volume, image, resources)


def _share(
    conversions: Sequence[_Pair], memory_bytes: int, n_threads: int
) -> tuple[int, Resources, list[UnitMemory | PlaneMemory]]:
    """Let as many units run at the same time as can work comfortably; returns how many, and what each of them gets."""
    for n_units in range(max(n_threads // _THREADS_PER_UNIT, 1), 0, -1):
        resources = Resources(n_threads, (memory_bytes - OVERHEAD_BYTES) // n_units)
        try:
            portions = [_divide(volume, image, resources) for volume, image in conversions]
        except UsageError:
            if n_units == 1:
                raise
            continue
        if n_units == 1 or all(portion.is_comfortable for portion in portions):
            break
    return n_units, resources, portions


def _summary(
    memory_bytes: int, n_units: int, resources: Resources, portions: Sequence[UnitMemory | PlaneMemory]
) -> str:
    text = f"memory: at most {format_bytes(memory_bytes)}; {format_count(resources.n_threads, 'thread')}"
    if not portions:
        return text
    largest = max(portions, key=lambda portion: portion.total_bytes)
    return f"{text}, {format_count(n_units, 'unit')} of work at a time, {largest}"
