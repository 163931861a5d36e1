"""A cluster as an executor: Dask workers that do the same units, on other machines.

Invariant: only so many tasks are handed over at a time as keep all workers busy, and what many tasks share is sent
once. A task that was lost with its worker is done again by another one, which first waits until the lost one does
nothing any more: no two ever write the same files at the same time. No worker does anything before it was found to
have the same version and to see the same files, whenever it came.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from catnip2bids._version import __version__
from catnip2bids.engine.memory import Resources
from catnip2bids.engine.resume_markers import Marker, UnitResult
from catnip2bids.engine.sequential_writer import SequentialWrite, write_sequentially
from catnip2bids.engine.work_units import RemainingLevels, WorkUnit, convert_unit, write_remaining_levels
from catnip2bids.engine.writer_protocols import ImageWriter
from catnip2bids.errors import WorkerError
from catnip2bids.locks import create_step_lock, hold_step_lock
from catnip2bids.volume import Volume

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

Result = TypeVar("Result")
_TASKS_PER_SLOT = 2
"""One is done, the next one waits at the worker."""
_LOST = (
    "the cluster could not finish some work: its workers died, for want of memory or time, or it is gone; "
    "run the same command again to go on (Dask says: {})"
)
_NO_WORKER = "no worker is left in the cluster; start workers and run the same command again to go on"
_SECONDS_TO_FETCH, _SECONDS_TO_LOOK, _SECONDS_TO_CANCEL = 120, 0.5, 5
_SECONDS_BETWEEN_COUNTS = 5.0
"""Workers are counted so rarely because a scheduler takes 10 ms to tell of 64 of them."""
_DONE = ".done"
_MOST_SHARED = 256
"""What tasks share is remembered for so many things."""


class ClusterExecutor(Executor):
    """Hands tasks to a Dask cluster.

    Parameters
    ----------
    client
        The connection.
    n_slots
        Tasks that can be done at the same time, to begin with.
    reading
        What each worker has to see.
    patience_s
        Seconds without any worker after which the work is given up; None where workers wait in a queue.
    """

    def __init__(
        self, client: Client, n_slots: int, reading: Sequence[str] = (), patience_s: float | None = None
    ) -> None:
        self._client = client
        self._n_slots = n_slots
        self._patience_s, self._workers_seen = patience_s, time.monotonic()
        self._next_count = time.monotonic() + _SECONDS_BETWEEN_COUNTS
        self._command = uuid.uuid4().hex
        self._reading = tuple(reading)
        self._room = threading.Semaphore(_TASKS_PER_SLOT * n_slots)
        self._changing = threading.Lock()
        self._doing: dict[int, tuple[Future[Any], DaskFuture[Any]]] = {}
        self._lost: WorkerError | None = None
        self._shared: OrderedDict[int, tuple[object, Any]] = OrderedDict()
        self._sharing = threading.Lock()
        # in a thread that the end of the program does not wait for, since a worker that hangs may have the result
        self._ended: SimpleQueue[tuple[Future[Any], DaskFuture[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._pass_all_on, name="results", daemon=True).start()

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Hand over a task; waits while there are more of them than the workers need.

        What is handed over cannot be cancelled: a worker may be at it, and to wait for the end of all writing is to
        wait for it too.

        Raises
        ------
        WorkerError
            If the cluster is lost, or was given up.
        """
        self._make_room()
        while not self._room.acquire(timeout=_SECONDS_TO_LOOK):
            self._check()
            self._make_room()
        outcome: Future[Result] = Future()
        outcome.set_running_or_notify_cancel()
        try:
            self._check()
            task, *given = self._small(function, arguments)
            doing = self._client.submit(_on_worker, __version__, self._reading, task, *given, pure=False, **options)
        except BaseException as error:
            self._room.release()
            if _is_of_dask(error):
                self._give_up(WorkerError(_LOST.format(error)))
                self._check()
            raise
        with self._changing:
            self._doing[id(outcome)] = outcome, doing  # forgotten when it is done, so that the scheduler forgets it too
        doing.add_done_callback(lambda done: self._ended.put((outcome, done)))
        if self._lost is not None:  # in between
            self._give_up(self._lost)
        return outcome

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _make_room(self) -> None:
        """Hand over more at a time if workers have come; looks for them now and then."""
        with self._changing:
            if time.monotonic() < self._next_count:
                return
            self._next_count = time.monotonic() + _SECONDS_BETWEEN_COUNTS
        try:
            workers = self._client.scheduler_info(n_workers=-1).get("workers", {}).values()
        except OSError:
            return  # the caller that waits for the units learns what became of the cluster
        with self._changing:
            more = sum(worker["nthreads"] for worker in workers) - self._n_slots
            self._n_slots += max(more, 0)
        if more > 0:
            self._room.release(_TASKS_PER_SLOT * more)

    def _give_up(self, error: WorkerError) -> None:
        """Let everything that is not done fail, and take no more."""
        with self._changing:
            self._lost = self._lost or error
            undecided = list(self._doing.values())
            self._doing.clear()
        for outcome, _ in undecided:
            outcome.set_exception(error)

    def _pass_all_on(self) -> None:
        while True:
            try:
                ended = self._ended.get(timeout=_SECONDS_BETWEEN_COUNTS)
            except Empty:
                self._look_for_workers()
                continue
            if ended is None:
                return
            self._pass_on(*ended)
            del ended  # so that the scheduler forgets it

    def _look_for_workers(self) -> None:
        """Give up if no worker is left that could do what is waited for."""
        if self._patience_s is None:
            return
        try:
            workers = self._client.scheduler_info(n_workers=-1).get("workers")
        except OSError:
            return  # the caller that waits for the units learns what became of the cluster
        if workers or not self._doing:
            self._workers_seen = time.monotonic()
        elif time.monotonic() - self._workers_seen > self._patience_s:
            self._give_up(WorkerError(_NO_WORKER))

    def _pass_on(self, outcome: Future[Any], done: DaskFuture[Any]) -> None:
        """Pass the outcome of a task on; what became of the cluster is an error that says what to do."""
        result: Any = None
        error: BaseException | None = None
        try:
            result = done.result(timeout=_SECONDS_TO_FETCH)
        except BaseException as failed:  # asyncio's cancellations too
            if done.status != "error":  # nobody at work raised it
                self._give_up(WorkerError(_LOST.format(str(failed) or "no answer")))
            error = WorkerError(_LOST.format(failed)) if _is_of_dask(failed) else failed
        with self._changing:
            is_awaited = self._doing.pop(id(outcome), None) is not None
        self._room.release()
        if is_awaited and error is not None:
            outcome.set_exception(error)
        elif is_awaited:
            outcome.set_result(result)

    def _small(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Refer to what is large by what was sent before."""
        first = arguments[0] if arguments else None
        if isinstance(first, WorkUnit):
            parts = (self._sent(first.volume), self._sent(first.image), (first.start, first.stop), first.marker)
            return (convert_part, *parts, self._lock_of(first.marker.path), *arguments[1:])
        if isinstance(first, SequentialWrite):
            return (continue_stream, self._sent(first), self._lock_of(first.marker), *arguments[1:])
        if isinstance(first, RemainingLevels):
            return (finish_image, self._sent(first), self._lock_of(first.marker), *arguments[1:])
        if isinstance(function, partial) or hasattr(function, "__self__"):
            return (_call, self._sent(function), *arguments)
        return (function, *arguments)

    def _lock_of(self, marker: Path | None) -> Path | None:
        return None if marker is None else create_step_lock(marker, self._command)

    def _sent(self, thing: object) -> Any:
        """Send something to the cluster, once; if the worker that has it is lost, the scheduler sends it again."""
        with self._sharing:
            if id(thing) not in self._shared:
                self._shared[id(thing)] = thing, self._client.submit(_same, thing, pure=False)
                while len(self._shared) > _MOST_SHARED:
                    self._shared.popitem(last=False)
            return self._shared[id(thing)][1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 (as its base class)
        """Give up what is not done, if that is wanted; this process leaves the cluster."""
        if cancel_futures:
            with self._changing:
                doing = [task for _, task in self._doing.values()]
            self._give_up(WorkerError("the work was stopped; run the same command again to go on"))
            cancelling = threading.Thread(target=self._client.cancel, args=(doing,), daemon=True)
            cancelling.start()
            cancelling.join(_SECONDS_TO_CANCEL)  # a scheduler that hangs is left alone
        self._ended.put(None)


def _is_of_dask(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "distributed"


def convert_part(
    volume: Volume, image: ImageWriter, planes: tuple[int, int], marker: Marker, lock: Path | None, resources: Resources
) -> UnitResult:
    """Convert a unit on a worker, unless another worker that was taken for lost did so in the meantime."""
    with _alone(lock):
        return marker.read(image.folder) or convert_unit(WorkUnit(volume, image, *planes, marker), resources)


def continue_stream(stream: SequentialWrite, lock: Path | None, resources: Resources) -> UnitResult:
    """Write the planes of an image on a worker, from where it stopped."""
    with _alone(lock):
        return write_sequentially(stream, resources)


def finish_image(rest: RemainingLevels, lock: Path | None, n_threads: int) -> None:
    """Write the rest of an image on a worker, unless another worker that was taken for lost did so in the meantime."""
    with _alone(lock):
        done = None if lock is None else lock.with_name(f"{lock.name}{_DONE}")
        if done is None or not done.exists():
            write_remaining_levels(rest, n_threads)
        if done is not None:
            done.touch()


@contextmanager
def _alone(lock: Path | None) -> Iterator[None]:
    """Wait until nobody else works at the same; a worker that dies lets go, wherever it was."""
    if lock is None:
        yield
        return
    if not lock.parent.is_dir():
        raise WorkerError(unseen(lock.parent))
    with _HERE.of(lock), hold_step_lock(lock):  # locks of the file system keep processes apart only
        yield


class _LocksOfProcess:
    """Locks between the threads of this process; one is there as long as somebody has or wants it."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._locks: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()

    def of(self, path: Path) -> threading.Lock:
        with self._looking:
            return self._locks.setdefault(path, threading.Lock())


_HERE = _LocksOfProcess()


def _on_worker(version: str, reading: tuple[str, ...], function: Callable[..., Result], *arguments: Any) -> Result:
    """Do a task, if this worker can be trusted with it."""
    _check_worker(version, reading)
    return function(*arguments)


@cache
def _check_worker(version: str, reading: tuple[str, ...]) -> None:
    """Refuse work on a worker that came later and could not do it; asked once in each process."""
    if version != __version__:
        raise WorkerError(other_version(__version__, version))
    for path in missing_of(reading):
        raise WorkerError(unseen(path))


def missing_of(paths: Sequence[str]) -> tuple[str, ...]:
    """List what is not there, of paths that another machine gave."""
    return tuple(path for path in paths if not os.path.exists(path))  # noqa: PTH110


def unseen(path: object) -> str:
    """Say what to do about something that a worker does not see."""
    return f"{path}: does not exist for a worker; give paths of a shared file system"


def other_version(theirs: str, ours: str) -> str:
    """Say what to do about a worker of another version."""
    return f"a worker has catnip2bids {theirs}, and this is {ours}; install the same on all"


def _call(function: Callable[..., Result], *arguments: Any) -> Result:
    return function(*arguments)


def _same(thing: object) -> object:
    return thing
