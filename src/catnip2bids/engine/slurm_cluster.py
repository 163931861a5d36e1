"""Slurm: jobs that become Dask workers, through dask-jobqueue.

Invariant: what Slurm refuses is said before anything waits for a worker, and nobody without the temporary keys of a
cluster can talk to it.
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
"""Of jobs, unless Dask's configuration says where."""
_KEYS = Path("~/.catnip2bids/keys")


def slurm_cluster(jobs: int | None, memory_bytes: int | None) -> Any:
    """Describe the jobs that Slurm is to run, as Dask's configuration and the options say; none is begun yet.

    Parameters
    ----------
    jobs, memory_bytes
        Processors and memory of a job; None for what the configuration says.

    Raises
    ------
    UsageError
        If dask-jobqueue is not installed, or Slurm would not take such a job.
    """
    try:
        with _keeping_signals():
            from dask_jobqueue.slurm import SLURMCluster
            from distributed.security import Security

            security = Security.temporary()
    except ImportError as error:
        raise UsageError(NOT_INSTALLED.format("dask-jobqueue")) from error
    given: dict[str, Any] = {"cores": jobs, "memory": None if memory_bytes is None else f"{memory_bytes}B"}
    given["log_directory"] = str(log_directory())
    try:
        given |= {"security": security, "shared_temp_directory": str(_folder_for_keys())}
        cluster: Any = SLURMCluster(**{key: value for key, value in given.items() if value is not None})
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise UsageError(
            f"--cluster slurm: {error}; say cores, memory, queue and walltime of a job in Dask's configuration "
            "(~/.config/dask/jobqueue.yaml), or cores and memory with --jobs and --memory"
        ) from error
    try:
        _try_out(cluster.job_script())
    except BaseException:
        cluster.close()
        raise
    return cluster


def _folder_for_keys() -> Path:
    """Make the folder of the temporary keys of workers, which is on a disk that all machines see."""
    folder = _KEYS.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def log_directory() -> Path:
    """Where jobs write what they have to say: as Dask's configuration says, or our own choice."""
    import dask.config

    return Path(dask.config.get("jobqueue.slurm.log-directory", None) or _LOGS).expanduser()


class SlurmJobs:
    """The jobs of a cluster, as long as none of them has become a worker."""

    def __init__(self, slurm: Any) -> None:
        self._slurm = slurm
        self._were_over = False

    def news(self) -> str:
        """Say in which states they are.

        Raises
        ------
        UsageError
            If they were over already when somebody asked before.
        """
        states = self._states()
        if states == [] and self._were_over:
            raise UsageError(f"--cluster slurm: jobs end before they become workers; they say why in {log_directory()}")
        self._were_over = states == []
        counts = [f"{(states or []).count(state)} {state.lower()}" for state in sorted(set(states or []))]
        return f" (jobs: {', '.join(counts)})" if counts else ""

    def _states(self) -> list[str] | None:
        """Ask Slurm; None as long as no job was handed over."""
        ids = [job.job_id for job in self._slurm.workers.values() if getattr(job, "job_id", None)]
        if not ids:
            return None
        command = ["squeue", "--noheader", f"--jobs={','.join(ids)}", "--format=%T"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Keep what Ctrl-C does: dask-jobqueue, when it is imported, has it end the program without a word, with exit 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _try_out(script: str) -> None:
    """Ask Slurm whether it would take a job, because waiting for workers does not show that it refused."""
    try:
        asked = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("--cluster slurm: sbatch was not found; run it where Slurm is installed") from error
    if asked.returncode:
        why = " ".join(asked.stderr.split())
        raise UsageError(f"--cluster slurm: {why}; correct it in Dask's configuration (~/.config/dask/jobqueue.yaml)")
