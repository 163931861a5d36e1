"""What a command has its work done with: this process, or the workers of a cluster.

Invariant: whatever does it, the same functions do. Workers are asked first whether they have the same version and see
the same files, and are given no more memory than they have.
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
from catnip2bids.engine.local_cluster import local_cluster
from catnip2bids.engine.memory import OVERHEAD_BYTES, USABLE_BY_WORKERS, Resources, default_memory_bytes
from catnip2bids.engine.slurm_cluster import NOT_INSTALLED, SlurmJobs, slurm_cluster
from catnip2bids.engine.system_limits import n_processors
from catnip2bids.enums import Cluster, check_resources
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.locks import supports_locks

if TYPE_CHECKING:
    from distributed import Client

_LEAST_BYTES = 2**30
"""Of a local worker, unless told."""
_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER, _SECONDS_TO_LOOK = 20, 60, 0.2
_SECONDS_BETWEEN_WORDS = 15
_SLURM, _LOCAL = "slurm", "local"
_PATIENCE_S: dict[str, float | None] = {_LOCAL: 10.0, _SLURM: None}
_PATIENCE_WITH_OTHERS_S = 120.0
"""Without any worker, until the work is given up: jobs of Slurm may wait for hours until they are workers again."""


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
    """Have work done by this process, or connect to a cluster, starting it if need be.

    Parameters
    ----------
    cluster
        The cluster; None for threads of this process.
    jobs, memory_bytes
        Processors and memory: of this process, or of each worker of a cluster that is started. Of a cluster that is
        there only less memory than it has can be used.
    note
        Told about the cluster.
    reading
        What all workers have to see.
    writing
        Where they will write; it need not be there yet.

    Raises
    ------
    UsageError
        If the cluster cannot be had, has another version, or does not see the same files.
    """
    if cluster is None:
        yield own_resources(jobs, memory_bytes)
        return
    check_resources(jobs, memory_bytes, cluster)
    if memory_bytes is not None and cluster.address in (_LOCAL, _SLURM):
        _usable_bytes(memory_bytes, 1)  # now, since workers with too little memory are killed as soon as they start
    with _connected(cluster, jobs, memory_bytes, note) as client:
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
        who = f"{format_count(len(workers), 'worker')} of {format_count(n_threads, 'thread')}"
        note(f"{who}, {format_bytes(slot_bytes)} of memory for each unit")
        patience_s = _PATIENCE_S.get(cluster.address, _PATIENCE_WITH_OTHERS_S)
        with ClusterExecutor(client, n_slots, paths, patience_s) as executor:
            yield Resources(n_slots, slot_bytes, executor)


def own_resources(jobs: int | None, memory_bytes: int | None) -> Resources:
    """Return what this process may use; None is the default.

    Raises
    ------
    UsageError
        If that is not possible.
    """
    check_resources(jobs, memory_bytes)
    return Resources(jobs or n_processors(), memory_bytes or default_memory_bytes())


@contextmanager
def _connected(
    cluster: Cluster, jobs: int | None, memory_bytes: int | None, tell: Callable[[str], None]
) -> Iterator[Client]:
    """Connect to a cluster, and wait until there is a worker."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(NOT_INSTALLED.format("Dask")) from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it becomes an error of ours
    with _started(cluster, jobs, memory_bytes) as started:
        try:
            client = Client(started.scheduler, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{cluster.address}: no Dask scheduler answers there ({error})") from error
        with client:
            dashboard = f", dashboard: {client.dashboard_link}" if cluster.address != _LOCAL else ""
            is_open = cluster.address.startswith("tcp://")
            caution = "; anyone who can reach it can run code as you (use tls:// to prevent this)" if is_open else ""
            tell(f"cluster: {client.scheduler_info()['address']}{dashboard}{caution}")
            _wait_for_workers(client, cluster, started, tell)
            yield client


def _wait_for_workers(client: Client, cluster: Cluster, started: _Started, tell: Callable[[str], None]) -> None:
    """Wait until there are workers, as long as there is hope.

    Raises
    ------
    UsageError
        If the scheduler is gone, or what should become workers ended.
    """
    next_word = time.monotonic()
    while len(_workers_of(client)) < started.n_workers:
        if client.status != "running":
            raise UsageError(f"{cluster.address}: the scheduler is gone, and no worker had come")
        if time.monotonic() >= next_word:
            next_word = time.monotonic() + _SECONDS_BETWEEN_WORDS
            tell(f"waiting for workers{started.news()} ...")
        time.sleep(_SECONDS_TO_LOOK)


def _workers_of(client: Client) -> list[dict[str, Any]]:
    """List the workers that the scheduler knows; none if it is gone."""
    try:
        return list(client.scheduler_info(n_workers=-1).get("workers", {}).values())
    except OSError:
        return []


@dataclass(frozen=True)
class _Started:
    """A scheduler, how many workers to wait for, and who knows what becomes of them: in words, or as an error."""

    scheduler: Any
    n_workers: int = 1
    news: Callable[[], str] = str


@contextmanager
def _started(cluster: Cluster, jobs: int | None, memory_bytes: int | None) -> Iterator[_Started]:
    """Start a cluster that is not there yet; it ends with the work."""
    if cluster.address == _LOCAL:
        n_workers = cluster.n_workers or jobs or n_processors()
        worker_bytes = memory_bytes or max(default_memory_bytes() // n_workers, _LEAST_BYTES)
        with local_cluster(n_workers, worker_bytes) as (scheduler, news):
            yield _Started(scheduler, n_workers, news)
    elif cluster.address == _SLURM:
        with slurm_cluster(jobs, memory_bytes) as slurm:
            slurm.adapt(minimum=1, maximum=cluster.n_workers or 1)
            yield _Started(slurm, news=SlurmJobs(slurm).news)
    else:
        yield _Started(cluster.address)


@dataclass(frozen=True)
class _Facts:
    """What a worker says of itself, and of the files that it was asked for."""

    version: str
    memory_bytes: int
    missing: tuple[str, ...]
    supports_locks: bool


def _facts_of_workers(client: Client, reading: Sequence[str], writing: Path | None) -> _Facts | None:
    """Ask all workers, and refuse those that could not do the work; returns what the smallest said, if there are any.

    Raises
    ------
    UsageError
        If one has another version, or does not see a folder, or a file that was written just now.
    """
    with _signed(writing) as sign:
        try:
            facts = _asked(client, reading, sign)
        except Exception as error:  # theirs, whatever it is; some come as nothing but text
            raise UsageError(
                f"the workers cannot be asked: {error}; install catnip2bids {__version__} on all, and let them be there"
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


def _asked(client: Client, reading: Sequence[str], sign: str | None) -> list[_Facts]:
    """Ask all workers for their facts; a worker that hangs would be waited for without end."""
    answers: Future[dict[str, _Facts]] = Future()

    def ask() -> None:
        try:
            answers.set_result(client.run(_facts, reading, sign))
        except Exception as error:
            answers.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return list(answers.result(_SECONDS_TO_ANSWER).values())
    except TimeoutError as error:
        raise TimeoutError(f"not all {len(_workers_of(client))} answer within {_SECONDS_TO_ANSWER} seconds") from error


@contextmanager
def _signed(writing: Path | None) -> Iterator[str | None]:
    """Leave a file where workers will write, as long as they look for it."""
    if writing is None:
        yield None
        return
    place = next(path for path in (writing.absolute(), *writing.absolute().parents) if path.is_dir())
    sign = place / f".catnip2bids-{uuid.uuid4().hex}"
    try:
        sign.touch()
    except OSError as error:
        raise UsageError(f"{place}: cannot be written: {error.strerror}; write to another folder") from error
    try:
        yield str(sign)
    finally:
        sign.unlink()


def _facts(reading: Sequence[str], sign: str | None) -> _Facts:
    missing = missing_of([*reading, *([sign] if sign else [])])
    return _Facts(
        __version__, default_memory_bytes(), missing, bool(missing) or sign is None or supports_locks(Path(sign))
    )


def _usable_bytes(limit_bytes: int, n_threads: int) -> int:
    """Return the memory for pixels of one of a worker's threads."""
    usable = int((limit_bytes * USABLE_BY_WORKERS - OVERHEAD_BYTES) / n_threads)
    if usable <= 0:
        raise UsageError(f"a worker has only {format_bytes(limit_bytes)} of memory; give workers at least 512 MiB")
    return usable
