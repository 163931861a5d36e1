"""Choose what runs the work of a command: this process, or the workers of a cluster.

Invariant: both run the same functions. Workers must have the same version and see the same files before they get any
work, and get no more memory than they have.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catnip2bids._version import __version__
from catnip2bids.engine.dask_executor import ClusterExecutor, missing_of, other_version, unseen
from catnip2bids.engine.memory import OVERHEAD_BYTES, USABLE_BY_WORKERS, Resources, default_memory_bytes
from catnip2bids.engine.slurm_cluster import NOT_INSTALLED, SlurmJobs, slurm_cluster
from catnip2bids.engine.system_limits import n_processors
from catnip2bids.enums import Cluster, check_resources
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.locks import supports_locks

if TYPE_CHECKING:
    from distributed import Client

_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER, _SECONDS_TO_LOOK = 20, 60, 0.2
_SECONDS_BETWEEN_NOTES = 15
_SLURM = "slurm"
_PATIENCE_S = 120.0
"""Seconds without any worker until the work fails; never for Slurm, whose jobs may wait in a queue for hours."""


@contextmanager
def resources_for(
    cluster: Cluster | None,
    jobs: int | None,
    memory_bytes: int | None,
    note: Callable[[str], None],
    *,
    reading: Sequence[Path] = (),
    writing: Path | None = None,
) -> Iterator[Resources]:
    """Use this process, or connect to a cluster, which is started if necessary.

    Parameters
    ----------
    cluster
        The cluster; None for threads of this process.
    jobs, memory_bytes
        Processors and memory of this process, or of each worker of a cluster that is started here. For a running
        cluster, memory_bytes can only lower what its workers have.
    note
        Called with messages about the cluster.
    reading
        Paths that all workers must see.
    writing
        Where they will write; it need not exist yet.

    Raises
    ------
    UsageError
        If the cluster cannot be reached or started, has another version, or does not see the same files.
    """
    if cluster is None:
        yield own_resources(jobs, memory_bytes)
        return
    check_resources(jobs, memory_bytes, cluster)
    if memory_bytes is not None and cluster.address == _SLURM:
        _usable_bytes(memory_bytes, 1)  # check first: workers with too little memory are killed as soon as they start
    with _client_of(cluster, jobs, memory_bytes, note) as client:
        paths = [str(path.absolute()) for path in reading]
        facts = _facts_of_workers(client, paths, writing)
        workers = _workers_of(client)
        if facts is None or not workers:
            raise UsageError(f"{cluster.address}: its workers have just left; try again when there are some")
        n_threads = max(worker["nthreads"] for worker in workers)
        n_slots = max(sum(worker["nthreads"] for worker in workers), (cluster.n_workers or 1) * n_threads)
        wanted_bytes = sys.maxsize if memory_bytes is None else memory_bytes
        slot_bytes = min(
            _usable_bytes(min(worker["memory_limit"] or facts.memory_bytes, wanted_bytes), worker["nthreads"])
            for worker in workers
        )
        description = f"{format_count(len(workers), 'worker')} of {format_count(n_threads, 'thread')}"
        note(f"{description}, {format_bytes(slot_bytes)} of memory for each unit")
        patience_s = None if cluster.address == _SLURM else _PATIENCE_S
        with ClusterExecutor(client, n_slots, paths, patience_s) as executor:
            yield Resources(n_slots, slot_bytes, executor)


def own_resources(jobs: int | None, memory_bytes: int | None) -> Resources:
    """Return the resources of this process; None stands for the default.

    Raises
    ------
    UsageError
        If a number is not possible.
    """
    check_resources(jobs, memory_bytes)
    return Resources(jobs or n_processors(), memory_bytes or default_memory_bytes())


@contextmanager
def _client_of(
    cluster: Cluster, jobs: int | None, memory_bytes: int | None, note: Callable[[str], None]
) -> Iterator[Client]:
    """Connect to a cluster, and wait for its first worker."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(NOT_INSTALLED.format("Dask")) from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # important failures become errors of this package
    with _started(cluster, jobs, memory_bytes) as started:
        try:
            client = Client(started.scheduler, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{cluster.address}: no Dask scheduler answers there ({error})") from error
        with client:
            address = client.scheduler_info()["address"]
            is_open = not address.startswith(("tls://", "wss://"))
            caution = "; anyone who can reach it can run code as you (use tls:// to prevent this)" if is_open else ""
            note(f"cluster: {address}, dashboard: {client.dashboard_link}{caution}")
            _wait_for_workers(client, cluster, started, note)
            yield client


def _wait_for_workers(client: Client, cluster: Cluster, started: _Started, note: Callable[[str], None]) -> None:
    """Wait until a worker is connected.

    Raises
    ------
    UsageError
        If the scheduler is gone, or the jobs of workers ended.
    """
    next_note = time.monotonic()
    while not _workers_of(client):
        if client.status != "running":
            raise UsageError(f"{cluster.address}: the scheduler is gone, and no worker had connected")
        if time.monotonic() >= next_note:
            next_note = time.monotonic() + _SECONDS_BETWEEN_NOTES
            note(f"waiting for workers{started.state()} ...")
        time.sleep(_SECONDS_TO_LOOK)


def _workers_of(client: Client) -> list[dict[str, Any]]:
    """Return the scheduler's list of workers; empty if the scheduler is gone."""
    try:
        return list(client.scheduler_info(n_workers=-1).get("workers", {}).values())
    except OSError:
        return []


@dataclass(frozen=True)
class _Started:
    """A running scheduler."""

    scheduler: Any
    state: Callable[[], str] = str  # the state of the starting workers, for people; raises UsageError if they ended


@contextmanager
def _started(cluster: Cluster, jobs: int | None, memory_bytes: int | None) -> Iterator[_Started]:
    """Start the cluster unless it is an address; it ends with the work."""
    if cluster.address == _SLURM:
        with slurm_cluster(jobs, memory_bytes) as slurm:
            slurm.adapt(minimum=1, maximum=cluster.n_workers or 1)
            yield _Started(slurm, state=SlurmJobs(slurm).state)
    else:
        yield _Started(cluster.address)


@dataclass(frozen=True)
class _WorkerFacts:
    """What a worker reports about itself."""

    version: str
    memory_bytes: int
    missing: tuple[str, ...]  # of the paths that it must see
    supports_locks: bool  # whether its file system has them


def _facts_of_workers(client: Client, reading: Sequence[str], writing: Path | None) -> _WorkerFacts | None:
    """Check all workers; returns the facts of the one with the least memory, or None without workers.

    Raises
    ------
    UsageError
        If a worker has another version, or does not see a path or a file that was just written.
    """
    with _test_file(writing) as test_file:
        try:
            facts = _ask_workers(client, reading, test_file)
        except Exception as error:  # any error of a worker; Dask turns some into text
            raise UsageError(
                f"the workers do not answer: {error}; install catnip2bids {__version__} on all of them, and start them"
            ) from error
    for found in facts:
        if found.version != __version__:
            raise UsageError(other_version(found.version, __version__))
        for path in found.missing:
            raise UsageError(unseen(path))
        if not found.supports_locks:
            raise UsageError(
                f"{writing}: its file system has no locks (fcntl), which keep two workers from writing the same file; "
                "mount it with locks, or write to another one"
            )
    return min(facts, key=lambda found: found.memory_bytes, default=None)


def _ask_workers(client: Client, reading: Sequence[str], test_file: str | None) -> list[_WorkerFacts]:
    """Ask all workers for their facts, with a time limit, since `Client.run` waits forever for a worker that hangs."""
    answers: Future[dict[str, _WorkerFacts]] = Future()

    def ask() -> None:
        try:
            answers.set_result(client.run(_facts, reading, test_file))
        except Exception as error:
            answers.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return list(answers.result(_SECONDS_TO_ANSWER).values())
    except TimeoutError as error:
        raise TimeoutError(f"not all {len(_workers_of(client))} answer within {_SECONDS_TO_ANSWER} seconds") from error


@contextmanager
def _test_file(writing: Path | None) -> Iterator[str | None]:
    """Create a temporary file where workers will write, for them to see."""
    if writing is None:
        yield None
        return
    folder = next(path for path in (writing.absolute(), *writing.absolute().parents) if path.is_dir())
    test_file = folder / f".catnip2bids-{uuid.uuid4().hex}"
    try:
        test_file.touch()
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}; write to another folder") from error
    try:
        yield str(test_file)
    finally:
        test_file.unlink()


def _facts(reading: Sequence[str], test_file: str | None) -> _WorkerFacts:
    missing = missing_of([*reading, *([test_file] if test_file else [])])
    return _WorkerFacts(
        __version__,
        default_memory_bytes(),
        missing,
        bool(missing) or test_file is None or supports_locks(Path(test_file)),
    )


def _usable_bytes(limit_bytes: int, n_threads: int) -> int:
    """Return the memory for pixels that each thread of a worker may use."""
    usable = int((limit_bytes * USABLE_BY_WORKERS - OVERHEAD_BYTES) / n_threads)
    if usable <= 0:
        raise UsageError(f"a worker has only {format_bytes(limit_bytes)} of memory; give workers at least 512 MiB")
    return usable
