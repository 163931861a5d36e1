"""Run units of work in threads or processes of this machine or on a cluster, each within its share of the memory.

Invariant: units that run at the same time keep within the memory of the whole job, and after a stop no unit starts
another block.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
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
from catnip2bids.engine.process_pool import ProcessPool
from catnip2bids.engine.sequential_writer import SequentialWrite
from catnip2bids.engine.work_units import RemainingLevels, StoppedError, WorkUnit
from catnip2bids.engine.writer_protocols import ImageWriter, PlaneImage
from catnip2bids.errors import UsageError, WorkerError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.volume import Volume

Item = TypeVar("Item")
Work = TypeVar("Work", WorkUnit, SequentialWrite, RemainingLevels)
Result = TypeVar("Result")
OnVoxels = Callable[[int], None]
Conversion = tuple[Volume, ImageWriter | PlaneImage]
_MOST_IMAGES = 64
"""Images that a cluster converts at the same time."""
_SMALL_BYTES = 2**28
"""Pixels that are converted by threads of this process before worker processes would have started."""
_WORKER_BYTES = 96 * 2**20
"""Memory of a worker process before the first pixel is read."""


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


class Scheduler:
    """Runs units of work in threads of this process.

    Parameters
    ----------
    executor
        Runs the units.
    n_images
        Images that are converted at the same time: each has a thread that submits its units and waits for them.
    resources
        Threads and memory of each unit.
    summary
        How the memory is used, for people.
    """

    def __init__(self, executor: Executor, n_images: int, resources: Resources, summary: str = "") -> None:
        self.executor, self.resources, self.summary = executor, resources, summary
        self._supervisors = ThreadPoolExecutor(max(n_images, 1))
        self._stopping = Event()

    def submit(self, function: Callable[..., Result], work: Work, on_voxels: OnVoxels) -> Future[Result]:
        """Submit a unit, or a whole image that is written plane by plane.

        Parameters
        ----------
        function, work
            A function of a module, and its first argument; both can be pickled.
        on_voxels
            Receives the progress after each block or plane; on a cluster, at the end.
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


@contextmanager
def scheduler_for(conversions: Sequence[Conversion], resources: Resources) -> Iterator[Scheduler]:
    """Create a scheduler for some conversions.

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
    """Refuse conversions for which the memory is not enough.

    Raises
    ------
    UsageError
        If the memory is not enough for one of the conversions.
    """
    _divide(conversions, resources)


def _divide(
    conversions: Sequence[Conversion], resources: Resources, most_processes: int = sys.maxsize
) -> tuple[int, Resources, str]:
    """Return how many units run at the same time, the threads and memory of each, and a summary for people.

    On this machine, as many processes convert units as there are processors, units, and memory to run at full speed.
    """
    if resources.executor is not None:
        share = Resources(1, resources.memory_bytes)
        _memory_of_units(conversions, share)
        return resources.n_threads, share, ""
    n_threads, free_bytes = resources.n_threads, resources.memory_bytes - OVERHEAD_BYTES
    n_bytes = sum(prod(volume.shape) * volume.dtype.itemsize for volume, _ in conversions)
    n_most = 1 if n_bytes < _SMALL_BYTES else min(n_threads, sum(_n_units(*conversion) for conversion in conversions))
    for n_processes in range(min(n_most, most_processes), 1, -1):
        share = Resources(ceil(n_threads / n_processes), free_bytes // n_processes - _WORKER_BYTES)
        with suppress(UsageError):
            units = _memory_of_units(conversions, share)
            if all(unit.is_enough for unit in units):
                return n_processes, share, _summary(resources.memory_bytes, n_processes, share, units)
    share = Resources(n_threads, free_bytes)
    return 1, share, _summary(resources.memory_bytes, 1, share, _memory_of_units(conversions, share))


def _n_units(volume: Volume, image: ImageWriter | PlaneImage) -> int:
    return ceil(volume.shape[0] / image.unit_depth) if isinstance(image, ImageWriter) else 1


def _memory_of_units(conversions: Sequence[Conversion], resources: Resources) -> list[UnitMemory | PlaneMemory]:
    return [
        divide_memory(volume, image, resources)
        if isinstance(image, ImageWriter)
        else divide_memory_by_planes(volume, image, resources)
        for volume, image in conversions
    ]


def _summary(memory_bytes: int, n_processes: int, share: Resources, units: Sequence[UnitMemory | PlaneMemory]) -> str:
    text = f"memory: at most {format_bytes(memory_bytes)}; "
    if n_processes > 1:
        text += f"{format_count(n_processes, 'worker')} of "
    text += format_count(share.n_threads, "thread")
    return f"{text}, {max(units, key=lambda unit: unit.total_bytes)}" if units else text
