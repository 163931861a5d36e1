"""An executor for a Dask cluster, whose workers run the same units on other machines.

Invariant: just enough tasks are submitted to keep all workers busy, and objects that many tasks share are sent once. A
task whose worker was lost runs again on another one, which first waits until the lost worker has stopped: no two
workers write the same files at the same time. Before its first task, each worker checks that it has the same version
and sees the same files, even if it joined late.
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
from catnip2bids.engine.sequential_writer import SequentialWrite
from catnip2bids.engine.unit_results import UnitResult, read_marker
from catnip2bids.engine.work_units import RemainingLevels, WorkUnit, convert_unit, write_remaining_levels
from catnip2bids.errors import WorkerError
from catnip2bids.locks import create_step_lock, hold_step_lock
from catnip2bids.ome import OmeZarrImage
from catnip2bids.paths import SafePath
from catnip2bids.volume import Volume

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

Result = TypeVar("Result")
_TASKS_PER_SLOT = 2
"""One is running, the next one waits at the worker."""
_LOST = (
    "the cluster could not finish some work: its workers died, for lack of memory or time, or it is gone; "
    "run the same command again to go on (Dask says: {})"
)
_NO_WORKER = "no worker is left in the cluster; start workers and run the same command again to go on"
_SECONDS_TO_FETCH, _SECONDS_BETWEEN_POLLS, _SECONDS_TO_CANCEL = 120, 0.5, 5
_SECONDS_BETWEEN_CHECKS = 5.0
"""The scheduler is asked rarely for its workers because it takes 10 ms to list 64 of them."""
_DONE = ".done"
_MOST_SHARED = 256
"""Shared objects that are kept on the cluster."""


class ClusterExecutor(Executor):
    """Submits tasks to a Dask cluster, of which `n_slots` can run at the same time, and more when workers join.

    Each worker must see the paths of `reading`. After `patience_s` seconds without any worker all tasks fail; with
    None they wait forever, for workers in a queue.
    """

    def __init__(
        self, client: Client, n_slots: int, reading: Sequence[str] = (), patience_s: float | None = None
    ) -> None:
        self._client = client
        self._n_slots = n_slots
        self._patience_s, self._workers_seen = patience_s, time.monotonic()
        self._next_check = time.monotonic() + _SECONDS_BETWEEN_CHECKS
        self._command = uuid.uuid4().hex
        self._reading = tuple(reading)
        self._slots = threading.Semaphore(_TASKS_PER_SLOT * n_slots)
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Future[Any], DaskFuture[Any]]] = {}
        self._lost: WorkerError | None = None
        self._shared: OrderedDict[int, tuple[object, Any]] = OrderedDict()
        self._sharing = threading.Lock()
        # a daemon thread, which does not keep the program alive if a worker hangs
        self._finished: SimpleQueue[tuple[Future[Any], DaskFuture[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._pass_results_on, name="results", daemon=True).start()

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Submit a task; block while enough tasks are waiting.

        Submitted tasks cannot be cancelled: a worker may be running them, and callers wait until nothing writes.
        Raises WorkerError if the cluster is lost.
        """
        self._check_workers()
        while not self._slots.acquire(timeout=_SECONDS_BETWEEN_POLLS):
            self._check()
            self._check_workers()
        outcome: Future[Result] = Future()
        outcome.set_running_or_notify_cancel()
        try:
            self._check()
            call = self._remote_call(function, arguments)
            task = self._client.submit(_run_on_worker, __version__, self._reading, *call, pure=False, **options)
        except BaseException as error:
            self._slots.release()
            if _is_of_dask(error):
                self._give_up(WorkerError(_LOST.format(error)))
                self._check()
            raise
        with self._lock:
            self._running[id(outcome)] = outcome, task  # removed when done, so that the scheduler forgets it too
        task.add_done_callback(lambda done: self._finished.put((outcome, done)))
        if self._lost is not None:  # since the check above
            self._give_up(self._lost)
        return outcome

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _check_workers(self) -> None:
        """Submit more tasks at a time if workers have joined; fail all tasks if there have been none for too long.

        The scheduler is asked at most every few seconds.
        """
        with self._lock:
            if time.monotonic() < self._next_check:
                return
            self._next_check = time.monotonic() + _SECONDS_BETWEEN_CHECKS
        workers = workers_of(self._client)
        if workers is None:
            return  # tasks fail if the cluster is lost
        with self._lock:
            n_new = sum(worker["nthreads"] for worker in workers) - self._n_slots
            self._n_slots += max(n_new, 0)
        if n_new > 0:
            self._slots.release(_TASKS_PER_SLOT * n_new)
        if workers or not self._running:
            self._workers_seen = time.monotonic()
        elif self._patience_s is not None and time.monotonic() - self._workers_seen > self._patience_s:
            self._give_up(WorkerError(_NO_WORKER))

    def _give_up(self, error: WorkerError) -> None:
        """Fail all tasks that are not done, and accept no more."""
        with self._lock:
            self._lost = self._lost or error
            unfinished = list(self._running.values())
            self._running.clear()
        for outcome, _ in unfinished:
            outcome.set_exception(error)

    def _pass_results_on(self) -> None:
        while True:
            try:
                finished = self._finished.get(timeout=_SECONDS_BETWEEN_CHECKS)
            except Empty:
                self._check_workers()
                continue
            if finished is None:
                return
            self._pass_on(*finished)
            del finished  # so that the scheduler forgets it

    def _pass_on(self, outcome: Future[Any], done: DaskFuture[Any]) -> None:
        """Pass the outcome of a task on; turn errors of Dask into a `WorkerError` that says what to do."""
        result: Any = None
        error: BaseException | None = None
        try:
            result = done.result(timeout=_SECONDS_TO_FETCH)
            self._workers_seen = time.monotonic()
        except BaseException as failed:  # includes cancellations of asyncio
            if done.status != "error":  # the task itself did not raise it
                self._give_up(WorkerError(_LOST.format(str(failed) or "no answer")))
            error = WorkerError(_LOST.format(failed)) if _is_of_dask(failed) else failed
        with self._lock:
            is_awaited = self._running.pop(id(outcome), None) is not None
        self._slots.release()
        if is_awaited and error is not None:
            outcome.set_exception(error)
        elif is_awaited:
            outcome.set_result(result)

    def _remote_call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the lock, function and arguments to send, in which large objects are replaced by shared ones."""
        first = arguments[0] if arguments else None
        if isinstance(first, WorkUnit):
            parts = self._share(first.volume), self._share(first.image), first.start, first.stop, first.marker
            return (self._lock_of(first.marker), _convert_unit, *parts, *arguments[1:])
        if isinstance(first, SequentialWrite):
            return (self._lock_of(first.marker), function, self._share(first), *arguments[1:])
        if isinstance(first, RemainingLevels):
            lock = self._lock_of(first.marker)
            return (lock, _write_remaining_levels, lock, self._share(first), *arguments[1:])
        if isinstance(function, partial) or hasattr(function, "__self__"):
            function = self._share(function)
        return (None, function, *arguments)

    def _lock_of(self, marker: Path | None) -> Path | None:
        return None if marker is None else create_step_lock(marker, self._command)

    def _share(self, value: object) -> Any:
        """Send an object to the cluster once; if the worker that holds it is lost, the scheduler sends it again."""
        with self._sharing:
            if id(value) not in self._shared:
                self._shared[id(value)] = value, self._client.submit(_same, value, pure=False)
                while len(self._shared) > _MOST_SHARED:
                    self._shared.popitem(last=False)
            return self._shared[id(value)][1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 (as its base class)
        """Leave the cluster; fail unfinished tasks if asked to cancel them."""
        if cancel_futures:
            with self._lock:
                tasks = [task for _, task in self._running.values()]
            self._give_up(WorkerError("the work was stopped; run the same command again to go on"))
            cancelling = threading.Thread(target=self._client.cancel, args=(tasks,), daemon=True)
            cancelling.start()
            cancelling.join(_SECONDS_TO_CANCEL)  # a scheduler may hang
        self._finished.put(None)


def workers_of(client: Client) -> list[dict[str, Any]] | None:
    """Return the scheduler's list of workers; None if the scheduler is gone."""
    try:
        return list(client.scheduler_info(n_workers=-1).get("workers", {}).values())
    except OSError:
        return None


def _is_of_dask(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "distributed"


def _convert_unit(
    volume: Volume, image: OmeZarrImage, start: int, stop: int, marker: SafePath | None, resources: Resources
) -> UnitResult:
    """Convert a unit on a worker, unless a worker that was believed lost has finished it."""
    return read_marker(marker, image.folder) or convert_unit(WorkUnit(volume, image, start, stop, marker), resources)


def _write_remaining_levels(lock: Path | None, levels: RemainingLevels, resources: Resources) -> None:
    """Write the remaining levels on a worker, unless a worker that was believed lost has finished them."""
    done = None if lock is None else lock.with_name(f"{lock.name}{_DONE}")
    if done is None or not done.exists():
        write_remaining_levels(levels, resources)
    if done is not None:
        done.touch()


def _run_on_worker(
    version: str, reading: tuple[str, ...], lock: Path | None, function: Callable[..., Result], *arguments: Any
) -> Result:
    """Run a task, after checking that this worker can, while no other worker runs the same step."""
    _check_worker(version, reading)
    with _locked(lock):
        return function(*arguments)


@contextmanager
def _locked(lock: Path | None) -> Iterator[None]:
    """Hold the lock of a step, so that only one worker runs it; the death of a worker releases its locks."""
    if lock is None:
        yield
        return
    if not lock.parent.is_dir():
        raise WorkerError(unseen(lock.parent))
    with _THREAD_LOCKS_ACCESS:
        thread_lock = _THREAD_LOCKS.setdefault(lock, threading.Lock())
    with thread_lock, hold_step_lock(lock):  # file locks do not exclude threads of one process
        yield


_THREAD_LOCKS: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()
"""Locks between the threads of this process, by path; a lock lives while a thread holds or awaits it."""
_THREAD_LOCKS_ACCESS = threading.Lock()


@cache
def _check_worker(version: str, reading: tuple[str, ...]) -> None:
    """Refuse tasks on a worker that cannot run them, perhaps because it joined late; checks once in each process."""
    if problem := problem_of_worker(version, reading):
        raise WorkerError(problem)


def problem_of_worker(version: str, reading: Sequence[str]) -> str | None:
    """Return why this worker cannot run tasks: it has another version than the program, or does not see a path."""
    if version != __version__:
        return f"a worker has catnip2bids {__version__}, and this is {version}; install the same on all"
    missing = next((path for path in reading if not os.path.exists(path)), None)  # noqa: PTH110
    return None if missing is None else unseen(missing)


def unseen(path: object) -> str:
    """Return the error for a path that a worker does not see."""
    return f"{path}: does not exist for a worker; give paths of a shared file system"


def _same(value: object) -> object:
    return value
