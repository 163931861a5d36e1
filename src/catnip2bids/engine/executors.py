"""Choose what runs the work of a command: this process, or the workers of a Dask cluster, which may be jobs of Slurm.

Invariant: all run the same functions. Workers must have the same version and see the same files before they get any
work, and get no more memory than they have. A job that Slurm would refuse is an error before anything waits for
workers, and only processes with the temporary keys of the cluster can talk to it.
"""

from __future__ import annotations

import logging
import signal
import subprocess
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
from catnip2bids.engine.dask_executor import ClusterExecutor, problem_of_worker, workers_of
from catnip2bids.engine.memory import (
    OVERHEAD_BYTES,
    USABLE_BY_WORKERS,
    Resources,
    default_memory_bytes,
    n_processors,
)
from catnip2bids.enums import Cluster, check_resources
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.locks import supports_locks

if TYPE_CHECKING:
    from distributed import Client

_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER, _SECONDS_BETWEEN_POLLS = 20, 60, 0.2
_SECONDS_BETWEEN_NOTES = 15
_SLURM = "slurm"
_NOT_INSTALLED = "--cluster needs {}, which is not installed; in a clone of catnip2bids: pip install '.[cluster]'"
_LOGS = Path("~/.catnip2bids/slurm")
"""Logs of jobs, unless Dask's configuration names another folder."""
_KEYS = Path("~/.catnip2bids/keys")
"""Temporary keys of workers, on a disk that all machines share."""
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

    Jobs and memory are those of this process, or of each worker of a cluster that is started here; for a running
    cluster, memory can only lower what its workers have. All workers must see the paths of `reading`, and the folder
    of `writing`, which need not exist yet. `note` is called with messages about the cluster.

    Raises UsageError if the cluster cannot be reached or started, has another version, or does not see the same files.
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
        workers = workers_of(client)
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
    """Return the resources of this process; None stands for the default. Raises UsageError for impossible numbers."""
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
        raise UsageError(_NOT_INSTALLED.format("Dask")) from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # important failures become errors of this package
    with _scheduler_of(cluster, jobs, memory_bytes) as (scheduler, state_of_jobs):
        try:
            client = Client(scheduler, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{cluster.address}: no Dask scheduler answers there ({error})") from error
        with client:
            address = client.scheduler_info()["address"]
            is_open = not address.startswith(("tls://", "wss://"))
            caution = "; anyone who can reach it can run code as you (use tls:// to prevent this)" if is_open else ""
            note(f"cluster: {address}, dashboard: {client.dashboard_link}{caution}")
            _wait_for_workers(client, cluster, state_of_jobs, note)
            yield client


def _wait_for_workers(
    client: Client, cluster: Cluster, state_of_jobs: Callable[[], str], note: Callable[[str], None]
) -> None:
    """Wait until a worker is connected; raises UsageError if the scheduler is gone, or the jobs of workers ended."""
    next_note = time.monotonic()
    while not workers_of(client):
        if client.status != "running":
            raise UsageError(f"{cluster.address}: the scheduler is gone, and no worker had connected")
        if time.monotonic() >= next_note:
            next_note = time.monotonic() + _SECONDS_BETWEEN_NOTES
            note(f"waiting for workers{state_of_jobs()} ...")
        time.sleep(_SECONDS_BETWEEN_POLLS)


@contextmanager
def _scheduler_of(
    cluster: Cluster, jobs: int | None, memory_bytes: int | None
) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Yield the address of the scheduler, or start the jobs of Slurm, which end with the work.

    Also yields a function that returns the state of the jobs that are not workers yet, for people.
    """
    if cluster.address == _SLURM:
        slurm = _slurm_cluster(jobs, memory_bytes)
        try:
            with slurm:
                slurm.adapt(minimum=1, maximum=cluster.n_workers or 1)
                yield slurm, _SlurmJobs(slurm).state
        finally:
            _remove_keys(slurm)
    else:
        yield cluster.address, str


@dataclass(frozen=True)
class _WorkerFacts:
    """What a worker reports about itself."""

    memory_bytes: int
    problem: str | None  # why it cannot do the work
    supports_locks: bool  # whether its file system has them


def _facts_of_workers(client: Client, reading: Sequence[str], writing: Path | None) -> _WorkerFacts | None:
    """Check all workers; returns the facts of the one with the least memory, or None without workers.

    Raises UsageError if a worker has another version, or does not see a path or a file that was just written.
    """
    with _test_file(writing) as test_file:
        try:
            facts = _ask_workers(client, reading, test_file)
        except Exception as error:  # any error of a worker; Dask turns some into text
            raise UsageError(
                f"the workers do not answer: {error}; install catnip2bids {__version__} on all of them, and start them"
            ) from error
    for found in facts:
        if found.problem is not None:
            raise UsageError(found.problem)
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
            answers.set_result(client.run(_facts, __version__, reading, test_file))
        except Exception as error:
            answers.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return list(answers.result(_SECONDS_TO_ANSWER).values())
    except TimeoutError as error:
        raise TimeoutError(
            f"not all {len(workers_of(client) or ())} answer within {_SECONDS_TO_ANSWER} seconds"
        ) from error


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


def _facts(version: str, reading: Sequence[str], test_file: str | None) -> _WorkerFacts:
    problem = problem_of_worker(version, reading if test_file is None else [*reading, test_file])
    has_locks = problem is not None or test_file is None or supports_locks(Path(test_file))
    return _WorkerFacts(default_memory_bytes(), problem, has_locks)


def _usable_bytes(limit_bytes: int, n_threads: int) -> int:
    """Return the memory for pixels that each thread of a worker may use."""
    usable = int((limit_bytes * USABLE_BY_WORKERS - OVERHEAD_BYTES) / n_threads)
    if usable <= 0:
        raise UsageError(f"a worker has only {format_bytes(limit_bytes)} of memory; give workers at least 512 MiB")
    return usable


def _slurm_cluster(jobs: int | None, memory_bytes: int | None) -> Any:
    """Create a cluster of jobs from Dask's configuration and the options, without starting any yet.

    Raises UsageError if dask-jobqueue is not installed, or Slurm refuses such a job.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue.slurm import SLURMCluster
        from distributed.security import Security

        security = Security.temporary()
    except ImportError as error:
        raise UsageError(_NOT_INSTALLED.format("dask-jobqueue")) from error
    finally:
        # the import of dask-jobqueue makes Ctrl-C end the program silently, with exit code 0
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    options: dict[str, Any] = {
        "cores": jobs,
        "memory": None if memory_bytes is None else f"{memory_bytes}B",
        "log_directory": str(_log_directory()),
    }
    keys = _KEYS.expanduser()
    try:
        keys.mkdir(parents=True, exist_ok=True)
        keys.chmod(0o700)
        options |= {"security": security, "shared_temp_directory": str(keys)}
        cluster: Any = SLURMCluster(**{key: value for key, value in options.items() if value is not None})
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise UsageError(
            f"--cluster slurm: {error}; say cores, memory, queue and walltime of a job in Dask's configuration "
            "(~/.config/dask/jobqueue.yaml), or cores and memory with --jobs and --memory"
        ) from error
    try:
        _refuse_invalid_job(cluster.job_script())
    except BaseException:
        cluster.close()
        _remove_keys(cluster)
        raise
    return cluster


def _remove_keys(cluster: Any) -> None:
    """Remove the temporary keys of a cluster; dask-jobqueue keeps them until Python collects it, which may be never."""
    for name, kept in vars(cluster).items():
        if name.startswith("_job_") and hasattr(kept, "close"):
            kept.close()


def _log_directory() -> Path:
    """Return the folder of the logs of jobs: from Dask's configuration, or the default."""
    import dask.config

    return Path(dask.config.get("jobqueue.slurm.log-directory", None) or _LOGS).expanduser()


class _SlurmJobs:
    """The jobs of a cluster that are not workers yet."""

    def __init__(self, slurm: Any) -> None:
        self._slurm = slurm
        self._had_ended = False

    def state(self) -> str:
        """Return the states of the jobs, for people; raises UsageError if all had ended at the previous call too."""
        states = self._states()
        if states == [] and self._had_ended:
            raise UsageError(
                f"--cluster slurm: jobs end before they become workers; they say why in {_log_directory()}"
            )
        self._had_ended = states == []
        counts = [f"{(states or []).count(state)} {state.lower()}" for state in sorted(set(states or []))]
        return f" (jobs: {', '.join(counts)})" if counts else ""

    def _states(self) -> list[str] | None:
        """Ask Slurm for the states of the jobs; None before the first job is submitted."""
        ids = [job.job_id for job in self._slurm.workers.values() if getattr(job, "job_id", None)]
        if not ids:
            return None
        command = ["squeue", "--noheader", f"--jobs={','.join(ids)}", "--format=%T"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _refuse_invalid_job(script: str) -> None:
    """Test whether Slurm accepts a job, because a refusal does not show while waiting for workers."""
    try:
        asked = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("--cluster slurm: sbatch was not found; run it where Slurm is installed") from error
    if asked.returncode:
        why = " ".join(asked.stderr.split())
        raise UsageError(f"--cluster slurm: {why}; correct it in Dask's configuration (~/.config/dask/jobqueue.yaml)")
