"""Who does the work: threads of this process, or the workers of a cluster.

Invariant: whatever does it, the same functions get the same arguments. Workers are asked first whether they have the
same version and see the same files, and are given no more memory than they have.
"""

from __future__ import annotations

import logging
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catnip2bids._version import __version__
from catnip2bids.choices import Cluster
from catnip2bids.engine.cluster import ClusterExecutor
from catnip2bids.engine.memory import OVERHEAD_BYTES, USABLE_BY_WORKERS, Resources, default_memory_bytes, shown_bytes
from catnip2bids.engine.workers import default_jobs
from catnip2bids.errors import UsageError
from catnip2bids.publish import naming_what_cannot_be_written

if TYPE_CHECKING:
    from distributed import Client

_LEAST_BYTES = 2**30
"""Of a local worker, unless told."""
_NOT_INSTALLED = "--cluster needs {}, which is not installed; install it: pip install 'catnip2bids[cluster]'"
_SECONDS_TO_CONNECT = 20
_LOGS = Path("~/.catnip2bids/slurm")
"""Of jobs, unless Dask's configuration says where."""
_SLURM, _LOCAL = "slurm", "local"


@contextmanager
def employed(
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
        yield Resources(jobs or default_jobs(), memory_bytes or default_memory_bytes())
        return
    if memory_bytes is not None and cluster.address in (_LOCAL, _SLURM):
        _usable_bytes(memory_bytes, 1)  # now, since workers with too little memory are killed as soon as they start
    with _connected(cluster, jobs, memory_bytes, note) as client:
        facts = _facts_of_workers(client, reading, writing)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            raise UsageError(f"{cluster.address}: its workers have just left; try again when there are some")
        n_threads = max(worker["nthreads"] for worker in workers)
        n_slots = max(sum(worker["nthreads"] for worker in workers), (cluster.n_workers or 1) * n_threads)
        usable = min(
            _usable_bytes(worker["memory_limit"] or facts.memory_bytes, worker["nthreads"]) for worker in workers
        )
        slot_bytes = usable if memory_bytes is None else min(usable, memory_bytes // n_threads)
        note(f"{len(workers)} worker(s) of {n_threads} thread(s), {shown_bytes(slot_bytes)} of memory for each unit")
        yield Resources(n_slots, slot_bytes, ClusterExecutor(client, n_slots))


@contextmanager
def _connected(
    cluster: Cluster, jobs: int | None, memory_bytes: int | None, tell: Callable[[str], None]
) -> Iterator[Client]:
    """Connect to a cluster, and wait until there is a worker."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(_NOT_INSTALLED.format("Dask")) from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it becomes an error of ours
    with _started(cluster, jobs, memory_bytes) as scheduler:
        try:
            client = Client(scheduler, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{cluster.address}: no Dask scheduler answers there ({error})") from error
        with client:
            tell(f"cluster: {client.scheduler_info()['address']}, dashboard: {client.dashboard_link}")
            if not client.scheduler_info(n_workers=-1)["workers"]:
                tell("waiting for the first worker ...")
                client.wait_for_workers(1)
            yield client


@contextmanager
def _started(cluster: Cluster, jobs: int | None, memory_bytes: int | None) -> Iterator[Any]:
    """Start a cluster that is not there yet; it ends with the work."""
    if cluster.address == _LOCAL:
        from distributed import LocalCluster

        n_workers = cluster.n_workers or jobs or default_jobs()
        with LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=memory_bytes or max(default_memory_bytes() // n_workers, _LEAST_BYTES),
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as local:
            yield local
    elif cluster.address == _SLURM:
        with _slurm_cluster(jobs, memory_bytes) as slurm:
            _try_out(slurm.job_script())
            slurm.adapt(minimum=1, maximum=cluster.n_workers or 1)
            yield slurm
    else:
        yield cluster.address


def _slurm_cluster(jobs: int | None, memory_bytes: int | None) -> Any:
    """Describe the jobs that Slurm is to run, as Dask's configuration and the options say."""
    try:
        import dask.config
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise UsageError(_NOT_INSTALLED.format("dask-jobqueue")) from error
    given: dict[str, Any] = {"cores": jobs, "memory": None if memory_bytes is None else f"{memory_bytes}B"}
    if dask.config.get("jobqueue.slurm.log-directory", None) is None:
        given["log_directory"] = str(_LOGS.expanduser())
    try:
        return SLURMCluster(**{key: value for key, value in given.items() if value is not None})
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"--cluster slurm: {error}; say cores, memory, queue and walltime of a job in Dask's configuration "
            "(~/.config/dask/jobqueue.yaml), or cores and memory with --jobs and --memory"
        ) from error


def _try_out(script: str) -> None:
    """Ask Slurm whether it would take a job, because whoever waits for workers does not learn that it did not."""
    try:
        asked = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("--cluster slurm: there is no sbatch here; run it where Slurm is") from error
    if asked.returncode:
        why = " ".join(asked.stderr.split())
        raise UsageError(f"--cluster slurm: {why}; mend it in Dask's configuration (~/.config/dask/jobqueue.yaml)")


@dataclass(frozen=True)
class _Facts:
    """What a worker says of itself."""

    version: str
    memory_bytes: int
    missing: tuple[str, ...]


def _facts_of_workers(client: Client, reading: Sequence[Path], writing: Path | None) -> _Facts:
    """Ask all workers, and refuse those that could not do the work.

    Raises
    ------
    UsageError
        If one has another version, or does not see a folder, or a file that was written just now.
    """
    with _signed(writing) as signs:
        try:
            paths = [str(path.absolute()) for path in (*reading, *signs)]
            facts: list[_Facts] = list(client.run(_facts, paths).values())
        except ModuleNotFoundError as error:
            raise UsageError(f"the workers cannot do it: {error}; install catnip2bids {__version__} there") from error
        except OSError as error:
            raise UsageError(f"a worker has just left ({error}); see why in its log, and try again") from error
    for found in facts:
        if found.version != __version__:
            raise UsageError(f"a worker has catnip2bids {found.version}, and this is {__version__}; install the same")
        if found.missing:
            raise UsageError(f"{found.missing[0]}: is not there for a worker; give paths of a shared file system")
    return min(facts, key=lambda found: found.memory_bytes)


@contextmanager
def _signed(writing: Path | None) -> Iterator[list[Path]]:
    """Leave a file where workers will write, as long as they look for it."""
    if writing is None:
        yield []
        return
    place = next(path for path in (writing.absolute(), *writing.absolute().parents) if path.is_dir())
    sign = place / f".catnip2bids-{uuid.uuid4().hex}"
    with naming_what_cannot_be_written(place):
        sign.write_text("")
    try:
        yield [sign]
    finally:
        sign.unlink()


def _facts(paths: Sequence[str]) -> _Facts:
    missing = tuple(path for path in paths if not os.path.exists(path))  # noqa: PTH110 (of another machine's paths)
    return _Facts(__version__, default_memory_bytes(), missing)


def _usable_bytes(limit_bytes: int, n_threads: int) -> int:
    """Return the memory for pixels of one of a worker's threads."""
    usable = int((limit_bytes * USABLE_BY_WORKERS - OVERHEAD_BYTES) / n_threads)
    if usable <= 0:
        raise UsageError(f"a worker has only {shown_bytes(limit_bytes)} of memory; give workers at least 512 MiB")
    return usable
