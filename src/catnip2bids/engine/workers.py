"""Who does the work: an executor for units, and what each unit may use.

Invariant: all units that run at the same time together keep within the memory of the whole job, and once the work is
stopped no unit begins another block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

from catnip2bids.engine.image import ImageWriter
from catnip2bids.engine.markers import UnitResult
from catnip2bids.engine.memory import (
    OVERHEAD_BYTES,
    Portions,
    Resources,
    default_memory_bytes,
    divide_memory,
    keep_free_memory_together,
    shown_bytes,
)
from catnip2bids.engine.units import Unit, convert_unit
from catnip2bids.errors import UsageError
from catnip2bids.volume import Volume

Item = TypeVar("Item")
Result = TypeVar("Result")
_Pair = tuple[Volume, ImageWriter]
_THREADS_PER_UNIT = 4
"""One unit keeps so many threads busy; memory that more units touch for the first time costs time too."""
_COMFORTABLE_BLOCKS = 2
"""With so many blocks at a time each unit reads and writes at the same time."""


class StoppedError(Exception):
    """The work was stopped from outside."""


@dataclass(frozen=True)
class Workers:
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

    def submit(self, unit: Unit, on_voxels: Callable[[int], None]) -> Future[UnitResult]:
        """Have a unit converted.

        Threads of this process tell how it goes after each block, and stop there; all others tell it in the end.
        """

        def tell(n_voxels: int) -> None:
            if self._stopping.is_set():
                raise StoppedError
            on_voxels(n_voxels)

        def tell_in_the_end(converting: Future[UnitResult]) -> None:
            if not converting.cancelled() and converting.exception() is None:
                on_voxels(unit.n_voxels)

        if isinstance(self.executor, ThreadPoolExecutor):
            return self.executor.submit(convert_unit, unit, self.resources, tell)
        converting = self.executor.submit(convert_unit, unit, self.resources)
        converting.add_done_callback(tell_in_the_end)
        return converting

    def complete(self, image: ImageWriter) -> None:
        """Have the levels of an image made that no single unit decides."""
        self.executor.submit(image.write_remaining_levels, self.resources.n_threads).result()

    def begin(self, work: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Begin something that submits units, waits for them and does what is left then."""
        return self.supervisors.submit(work, item)

    def stop(self) -> None:
        """Let units end at their next block, and begin no more."""
        self._stopping.set()


@contextmanager
def local_workers(conversions: Sequence[_Pair], memory_bytes: int | None, jobs: int | None) -> Iterator[Workers]:
    """Hire workers for some conversions: threads of this process.

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
    n_units, resources, portions = _share(conversions, memory_bytes, jobs or default_jobs())
    with ThreadPoolExecutor(n_units) as executor, ThreadPoolExecutor(n_units + 1) as supervisors:
        summary = _summary(memory_bytes, n_units, resources, portions)
        workers = Workers(executor, supervisors, n_units, resources, summary)
        try:
            yield workers
        except BaseException:
            workers.stop()
            for pool in (supervisors, executor):
                pool.shutdown(wait=False, cancel_futures=True)
            raise


def _share(conversions: Sequence[_Pair], memory_bytes: int, n_threads: int) -> tuple[int, Resources, list[Portions]]:
    """Let as many units run at the same time as can work comfortably; returns how many, and what each of them gets."""
    for n_units in range(max(n_threads // _THREADS_PER_UNIT, 1), 0, -1):
        resources = Resources(n_threads, (memory_bytes - OVERHEAD_BYTES) // n_units)
        try:
            portions = [divide_memory(volume, image, resources) for volume, image in conversions]
        except UsageError:
            if n_units == 1:
                raise
            continue
        if n_units == 1 or all(portion.n_blocks >= _COMFORTABLE_BLOCKS for portion in portions):
            break
    return n_units, resources, portions


def _summary(memory_bytes: int, n_units: int, resources: Resources, portions: Sequence[Portions]) -> str:
    text = f"memory: at most {shown_bytes(memory_bytes)}; {resources.n_threads} thread(s)"
    if not portions:
        return text
    largest = max(portions, key=lambda portion: portion.total_bytes)
    text += f", {n_units} unit(s) of work at a time, {largest.n_blocks} block(s) of up to "
    return f"{text}{shown_bytes(largest.block_bytes)} each"


def default_jobs() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
