"""Worker processes on this machine, which decode and encode without sharing one global lock of Python.

Invariant: a worker ends with the process that started it, however that ends, and Ctrl-C reaches it through that process
alone. Workers import this package, but not the script that called it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from multiprocessing.popen_forkserver import Popen
from threading import Lock, Thread
from types import ModuleType
from typing import Any

from catnip2bids.engine.memory import OVERHEAD_BYTES, Resources, keep_free_memory, keep_free_memory_together
from catnip2bids.engine.work_units import StoppedError
from catnip2bids.errors import WorkerError
from catnip2bids.volume.zarr import decode_in_one_thread

_PRELOADED: tuple[str, ...] = (
    ("catnip2bids.engine.work_units", "catnip2bids.engine.sequential_writer", "tensorstore")
    if sys.platform == "linux"
    else ()  # libraries of macOS may start threads when they are loaded, and must not be forked then
)
"""What the fork server imports, once for all workers."""
_SMALL_BYTES = 2**28
"""Threads can read this many bytes of pixels before worker processes have started."""
WORKER_BYTES = 96 * 2**20
"""Memory of a worker process before the first pixel is read."""
_STARTING = Lock()
"""Held while a worker process starts: the main module is hidden then."""
_REPORT = struct.Struct("qq")
"""Index of a callback, number of voxels. So few bytes are written atomically, without a lock that may stay behind."""


def is_worth_processes(n_bytes: int) -> bool:
    """Tell whether worker processes are faster than threads for pixels of so many bytes."""
    return n_bytes >= _SMALL_BYTES


@contextmanager
def raising_worker_errors() -> Iterator[None]:
    """Turn the death of a worker process into a `WorkerError` that says what to do."""
    try:
        yield
    except BrokenExecutor as error:
        raise WorkerError(
            "a worker died (killed from outside, or for lack of memory); "
            "run the same command again to go on, with less --memory or fewer --jobs if it happens again"
        ) from error


def prepare_processes(resources: Resources, n_bytes: int) -> None:
    """Start what starts worker processes, if pixels of so many bytes will need them: its imports take a while."""
    needed_bytes = OVERHEAD_BYTES + 2 * resources.n_threads * WORKER_BYTES
    has_memory = resources.n_threads > 1 and resources.memory_bytes >= needed_bytes
    if resources.prepares_processes and resources.executor is None and has_memory and is_worth_processes(n_bytes):
        with suppress(OSError, NotImplementedError):  # a pool will have threads instead
            _start_fork_server()


def _start_fork_server() -> None:
    """Start the fork server with Ctrl-C blocked: it ignores that only after its imports, and would show a traceback."""
    multiprocessing.set_forkserver_preload(list(_PRELOADED))
    resource_tracker.ensure_running()  # the fork server needs it, and starting it ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ProcessPool(ProcessPoolExecutor):
    """A pool of worker processes that report their progress and stop when asked to.

    Each keeps up to `kept_bytes` of free memory for its next item.
    Raises OSError or NotImplementedError if the system cannot start any: it has no folder for sockets with short names,
    or no semaphores.
    """

    def __init__(self, n_processes: int, kept_bytes: int = 0) -> None:
        context = _Context()
        _start_fork_server()  # it imports while this process goes on
        self.error: BaseException | None = None  # of a callback
        self._callbacks: list[Callable[[int], None]] = []
        self._reports, self._writer = context.Pipe(duplex=False)
        self._stopping = context.RawValue("b", 0)
        given = self._writer, self._stopping, kept_bytes
        super().__init__(n_processes, mp_context=context, initializer=_start_worker, initargs=given)
        self._reporting = Thread(target=self._pass_reports_on, name="progress", daemon=True)
        self._reporting.start()

    def reporting(self, on_voxels: Callable[[int], None]) -> RemoteProgress:
        """Return a picklable function that calls `on_voxels` in this process."""
        self._callbacks.append(on_voxels)
        return RemoteProgress(len(self._callbacks) - 1)

    def stop(self) -> None:
        """Stop all workers when they report next."""
        self._stopping.value = 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers; `wait` until they have ended, and all their reports are passed on."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._writer.close()
            self._reporting.join()

    def _pass_reports_on(self) -> None:
        with suppress(EOFError):  # when the workers have ended
            while True:
                index, n_voxels = _REPORT.unpack(self._reports.recv_bytes())
                try:
                    self._callbacks[index](n_voxels)
                except StoppedError:  # the worker learns of it by itself
                    continue
                except BaseException as error:
                    self.error = self.error or error
                    self.stop()


@dataclass(frozen=True)
class RemoteProgress:
    """Reports the progress of a worker to a callback in the process that started it."""

    index: int

    def __call__(self, n_voxels: int) -> None:
        """Report voxels; raises StoppedError if the work has to stop."""
        if _WORKER.stopping.value:
            raise StoppedError
        _WORKER.writer.send_bytes(_REPORT.pack(self.index, n_voxels))


class _Worker:
    """The connection of a worker process to the one that started it."""

    writer: Connection
    stopping: Any


_WORKER = _Worker()


def _start_worker(writer: Connection, stopping: Any, kept_bytes: int) -> None:
    _WORKER.writer, _WORKER.stopping = writer, stopping
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes of a command
    keep_free_memory_together()
    decode_in_one_thread()
    if kept_bytes:
        keep_free_memory(kept_bytes)
    Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


class _Process(ForkServerProcess):
    """A process that does not import the main module of the program that starts it."""

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802 (as its base class)
        with _STARTING, _without_main_module():
            return Popen(process_obj)


class _Context(ForkServerContext):
    Process = _Process


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide the main module: multiprocessing would run a script that calls `package` again in each worker."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
