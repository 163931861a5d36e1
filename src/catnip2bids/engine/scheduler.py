"""Run units of work in threads or processes of this machine or on a cluster, each within its share of the memory.

Invariant: units that run at the same time keep within the memory of the whole job, and after a stop no unit starts
another block.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from catnip2bids.engine.sequential_writer import SequentialWrite
from catnip2bids.engine.work_units import RemainingLevels, StoppedError, WorkUnit
from catnip2bids.engine.writer_protocols import ImageWriter, PlaneImage
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.volume import Volume

Item = TypeVar("Item")
Work = TypeVar("Work", WorkUnit, SequentialWrite, RemainingLevels)
Result = TypeVar("Result")
OnVoxels = Callable[[int], None]
Conversion = tuple[Volume, ImageWriter | PlaneImage]
_MOST_IMAGES = 64
"""Images that a cluster converts at the same time."""
_LOCKED = 0.2
"""Fraction of the time of a unit in which its process holds Python's global lock (measured with py-spy)."""


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

    On this machine, the number of processes is the one that should be fastest, of those that the memory lets run at
    full speed.
    """
    if resources.executor is not None:
        share = Resources(1, resources.memory_bytes)
        _memory_of_units(conversions, share)
        return resources.n_threads, share, ""
    n_threads, free_bytes = resources.n_threads, resources.memory_bytes - OVERHEAD_BYTES
    sizes = sorted(chain.from_iterable(starmap(_unit_sizes, conversions)), reverse=True)
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


def _unit_sizes(volume: Volume, image: ImageWriter | PlaneImage) -> list[int]:
    """Return the bytes of the pixels of each unit."""
    n_planes, depth = volume.shape[0], image.unit_depth if isinstance(image, ImageWriter) else volume.shape[0]
    plane_bytes = prod(volume.shape[1:]) * volume.dtype.itemsize
    return [min(depth, n_planes - start) * plane_bytes for start in range(0, n_planes, depth)]


def _relative_time(sizes: Sequence[int], n_processes: int, n_threads: int) -> float:
    """Predict how long units take in some processes that share the threads; `sizes` are sorted, the largest first."""
    loads = [0] * n_processes
    for n_bytes in sizes:
        heapq.heapreplace(loads, loads[0] + n_bytes)
    return max(loads) * (_LOCKED + (1 - _LOCKED) * n_processes / n_threads)


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
