"""Run Dask workers on this machine, each in its own process.

Invariant: workers end with the work, and only processes with their temporary keys can talk to them. Each has its own
session, so that Ctrl-C reaches only this process, which then ends them. They are started as programs and not by
multiprocessing, which would import the calling script again.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from catnip2bids.errors import UsageError

_HERE = "127.0.0.1"
_SECONDS_WITHOUT_SCHEDULER, _SECONDS_TO_END = 30, 10


@contextmanager
def local_cluster(n_workers: int, memory_bytes: int) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Run a scheduler in this process, and workers of one thread.

    Yields the scheduler, and a function that raises a `UsageError` if a worker has ended.

    Parameters
    ----------
    n_workers
        Number of workers.
    memory_bytes
        Memory limit of each.
    """
    from distributed import LocalCluster
    from distributed.security import Security

    security = Security.temporary()
    with (
        LocalCluster(
            n_workers=0,
            host=_HERE,
            dashboard_address=f"{_HERE}:0",
            silence_logs=logging.CRITICAL,
            security=security,
            scheduler_kwargs={"dashboard": False},
        ) as scheduler,
        tempfile.TemporaryDirectory(prefix="catnip2bids-", ignore_cleanup_errors=True) as folder,
        ExitStack() as workers,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler.scheduler_address, "--host", _HERE]
        command += ["--nthreads", "1", "--memory-limit", str(memory_bytes), "--no-dashboard"]
        command += ["--dashboard-address", f"{_HERE}:0"]  # of the health check server
        command += _keys(security.get_tls_config_for_role("worker"), Path(folder))
        command += ["--local-directory", folder, "--death-timeout", str(_SECONDS_WITHOUT_SCHEDULER)]
        processes = [workers.enter_context(_running(command)) for _ in range(n_workers)]

        def state() -> str:
            if any(process.poll() is not None for process in processes):
                raise UsageError(f"--cluster local: a worker ended at once; try it: {' '.join(command)}")
            return ""

        yield scheduler, state


def _keys(texts: Mapping[str, str | None], folder: Path) -> list[str]:
    """Write keys into files that only their owner can read; returns the command line options for them."""
    options = []
    for name, text in texts.items():
        if text is not None:
            file = folder / f"{name}.pem"
            file.touch(mode=0o600)
            file.write_text(text, encoding="ascii")
            options += [f"--tls-{name.replace('_', '-')}", str(file)]
    return options


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
