"""Real clusters on this machine: a Dask scheduler with workers, forked with all imports done, and Slurm on one node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fork_server import DASK_SCHEDULER, DASK_WORKER, Program, start

_SLURM = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
_PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
needs_slurm = pytest.mark.skipif(
    not all(shutil.which(program, path=_PATHS) for program in _SLURM) and "CI" not in os.environ, reason="needs Slurm"
)


@dataclass
class DaskCluster:
    """A scheduler and its workers, each a process of its own that stands in a folder of its own.

    Attributes
    ----------
    address
        Of the scheduler.
    scheduler
        Its process.
    workers
        Their processes.
    """

    address: str
    scheduler: Program
    workers: list[Program | subprocess.Popen[str]] = field(default_factory=list)
    _folder: Path = Path()
    _stack: ExitStack = field(default_factory=ExitStack)

    def hire(self, *options: str, within: tuple[str, ...] = ()) -> None:
        """Start one more worker; `within` is a command that starts it as a new Python, for other surroundings."""
        given = (self.address, *("--nthreads", "1", "--memory-limit", "2GiB", "--no-dashboard", "--no-nanny"), *options)
        place = self._folder / f"worker-{len(self.workers)}"
        place.mkdir(parents=True)
        worker: Program | subprocess.Popen[str]
        if within:
            worker = _daemon([*within, sys.executable, "-m", "distributed.cli.dask_worker", *given], place)
        else:
            worker = start(DASK_WORKER, *given, cwd=place, own_session=True)
        self._stack.callback(_ended, worker)
        self.workers.append(worker)


@contextmanager
def dask_cluster(folder: Path, n_workers: int, *options: str) -> Iterator[DaskCluster]:
    """Run a scheduler and some workers of one thread; `options` are for these."""
    with ExitStack() as stack:
        file = folder / "scheduler.json"
        folder.mkdir(parents=True, exist_ok=True)
        words = ("--scheduler-file", file, "--port", "0", "--no-dashboard")
        scheduler = start(DASK_SCHEDULER, *words, cwd=folder, own_session=True)
        stack.callback(_ended, scheduler)
        wait_for(lambda: file.is_file() and file.stat().st_size > 0)
        address = f"tcp://{file.read_text().partition('tcp://')[2].partition(chr(34))[0]}"
        cluster = DaskCluster(address, scheduler, [], folder, stack)
        for _ in range(n_workers):
            cluster.hire(*options)
        yield cluster


def _ended(process: Program | subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Watch:
    """Looks on while an image is made: how often each of its units is written.

    A unit that is done appears in the folder of markers; one that is done again appears as another file.
    """

    def __init__(self, markers: Path) -> None:
        self._markers, self._ending = markers, threading.Event()
        self._seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def times(self) -> dict[str, int]:
        """How often each unit was written."""
        return {name: len(files) for name, files in self._seen.items()}

    def _look(self) -> None:
        while not self._ending.wait(0.02):
            for path in self._markers.glob("planes-*.json"):
                with suppress(FileNotFoundError):
                    found = path.stat()
                    self._seen[path.name].add((found.st_ino, found.st_mtime_ns))


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@dataclass(frozen=True)
class Slurm:
    """A Slurm of one node.

    Attributes
    ----------
    environment
        What programs need to talk to it.
    """

    environment: dict[str, str]

    def run(self, *words: str) -> str:
        """Run one of its commands."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    @property
    def running(self) -> list[str]:
        """Ids of the jobs that run."""
        return self.run("squeue", "--noheader", "--states=R", "--format=%i").split()


_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
{node} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Run munge and Slurm, all in one folder; its path must be short and open to others, as munge wants it."""
    for place in (folder, folder / "state", folder / "spool"):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
    environment = {**os.environ, "PATH": _PATHS, "SLURM_CONF": str(folder / "slurm.conf")}
    # the node tells what it has; the same must stand in the configuration
    node = subprocess.run(["slurmd", "-C"], env=environment, capture_output=True, text=True, check=True).stdout
    host, port = node.split()[0].partition("=")[2], 20000 + os.getpid() % 20000
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            host=host, port=port, node_port=port + 1, user=user, folder=folder, node=node.splitlines()[0]
        )
    )
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
    files["log-file"] = "munged.log"
    munged = ["munged", "--force", "--foreground", *(f"--{name}={folder / file}" for name, file in files.items())]
    with ExitStack() as stack:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.callback(_ended, _daemon(command, folder, environment=environment))
            if command is munged:
                wait_for((folder / "munge.socket").exists)
        started = Slurm(environment)
        wait_for(lambda: "idle" in started.run("sinfo", "--noheader", "--format=%t"))
        yield started


def _daemon(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    with (folder / f"{command[0]}.out").open("w") as out:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=out, text=True, start_new_session=True
        )
