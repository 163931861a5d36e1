"""Run Slurm jobs that become Dask workers, with dask-jobqueue.

Invariant: a job that Slurm would refuse is an error before anything waits for workers, and only processes with the
temporary keys of the cluster can talk to it.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catnip2bids.errors import UsageError

NOT_INSTALLED = "--cluster needs {}, which is not installed; in a clone of catnip2bids: pip install '.[cluster]'"
_LOGS = Path("~/.catnip2bids/slurm")
"""Logs of jobs, unless Dask's configuration names another folder."""
_KEYS = Path("~/.catnip2bids/keys")


def slurm_cluster(jobs: int | None, memory_bytes: int | None) -> Any:
    """Create a cluster of jobs from Dask's configuration and the options, without starting any yet.

    Parameters
    ----------
    jobs, memory_bytes
        Processors and memory of a job; None for the values of the configuration.

    Raises
    ------
    UsageError
        If dask-jobqueue is not installed, or Slurm refuses such a job.
    """
    try:
        with _keeping_signals():
            from dask_jobqueue.slurm import SLURMCluster
            from distributed.security import Security

            security = Security.temporary()
    except ImportError as error:
        raise UsageError(NOT_INSTALLED.format("dask-jobqueue")) from error
    options: dict[str, Any] = {"cores": jobs, "memory": None if memory_bytes is None else f"{memory_bytes}B"}
    options["log_directory"] = str(log_directory())
    try:
        options |= {"security": security, "shared_temp_directory": str(_folder_for_keys())}
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
        raise
    return cluster


def _folder_for_keys() -> Path:
    """Create the folder of the temporary keys of workers, on a disk that all machines share."""
    folder = _KEYS.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def log_directory() -> Path:
    """Return the folder of the logs of jobs: from Dask's configuration, or the default."""
    import dask.config

    return Path(dask.config.get("jobqueue.slurm.log-directory", None) or _LOGS).expanduser()


class SlurmJobs:
    """The jobs of a cluster that are not workers yet."""

    def __init__(self, slurm: Any) -> None:
        self._slurm = slurm
        self._had_ended = False

    def state(self) -> str:
        """Return the states of the jobs, for people.

        Raises
        ------
        UsageError
            If all jobs had ended already at the previous call.
        """
        states = self._states()
        if states == [] and self._had_ended:
            raise UsageError(f"--cluster slurm: jobs end before they become workers; they say why in {log_directory()}")
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


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Keep the handler of Ctrl-C: the import of dask-jobqueue makes it end the program silently, with exit code 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _refuse_invalid_job(script: str) -> None:
    """Test whether Slurm accepts a job, because a refusal does not show while waiting for workers."""
    try:
        asked = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("--cluster slurm: sbatch was not found; run it where Slurm is installed") from error
    if asked.returncode:
        why = " ".join(asked.stderr.split())
        raise UsageError(f"--cluster slurm: {why}; correct it in Dask's configuration (~/.config/dask/jobqueue.yaml)")
