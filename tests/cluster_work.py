"""Work for clusters: volumes of many small units, clusters that do it, and how far they are."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catnip2bids.packaging import package
from clusters import DaskCluster, Watch, dask_cluster, wait_for
from fork_server import Program, start
from made_up import some_image, write_slices
from runs import (
    KO,
    TODAY,
    files_of,
    settings,
    write_l0,
    write_l2,
)

VOXEL_SIZE = ("--voxel-size", 3.7, 3.7, 5)
SIZES = "90000,1,1,1"
"""Bytes of blocks, shards and units, so that a small volume has many."""
TALL = (48, 80, 72)
"""A volume of 12 units of these sizes, which make all levels."""
WIDE = (24, 64, 260)
"""The same, so wide that its lower level is made when all units are done."""
SMALL = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from interrupting import settle_sizes
settle_sizes({SIZES!r})
"""
SLOW = f"""{SMALL}
import os, time
from pathlib import Path
from catnip2bids.engine import dask_executor

at_work = Path(AT_WORK, str(os.getpid()))

def slowly(*arguments, convert_unit=dask_executor.convert_unit):
    at_work.touch()
    time.sleep(0.3)
    try:
        return convert_unit(*arguments)
    finally:
        at_work.unlink()

if dask_executor.convert_unit.__name__ != "slowly":  # Dask runs this twice
    dask_executor.convert_unit = slowly
"""
"""Lets workers take their time for each unit, so that much can happen meanwhile, and tell that they are at one."""
OTHER_VERSION = """
from catnip2bids.engine import dask_executor, executors
dask_executor.__version__ = executors.__version__ = "0.0.1"
"""
MAIN = f"""{SMALL}
import faulthandler, signal
faulthandler.register(signal.SIGUSR1)
from catnip2bids.__main__ import main
main()
"""
IMPATIENT = f"from catnip2bids.engine import executors\nexecutors._SECONDS_TO_CONNECT = 2\n{MAIN}"
"""The same, for which a scheduler is gone much sooner."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler with two workers."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small runs."""
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, KO)
    write_l2(folder, TODAY, exclusion=True)
    return folder


@pytest.fixture(scope="module")
def packaged(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their dataset, made without a cluster."""
    dataset = tmp_path_factory.mktemp("packaged") / "dataset"
    assert package([cohort], dataset, settings()).ok
    return dataset


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume of many units."""
    folder = tmp_path_factory.mktemp("series") / "640_N4"
    write_slices(folder, some_image(TALL))
    return folder


def begun(series: Path, target: Path, *options: object) -> Program:
    """Begin a conversion of many units."""
    return start(MAIN, "convert", series, target, *VOXEL_SIZE, *options)


def said_by(running: Program, seconds: float = 120) -> str:
    """Wait for the end of a command that runs MAIN; one that does not end tells what all its threads are at."""
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGUSR1)
        time.sleep(1)
        running.kill()
        pytest.fail(f"does not end: {running.said}")
    return running.said


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Options that let workers have the same sizes, and take their time."""
    file = tmp_path_factory.mktemp("preload") / "slowly.py"
    file.write_text(f"AT_WORK = {str(file.parent)!r}\n{SLOW}")
    return "--preload", str(file)


def markers_of(target: Path) -> list[Path]:
    """List the units of an image that are done."""
    return list((target.parent / f".{target.name}.progress").glob("planes-*.json"))


def watching(target: Path) -> Watch:
    """Look on while an image is made."""
    return Watch(target.parent / f".{target.name}.progress")


def stop_at_work(worker: Program | subprocess.Popen[str], preload: tuple[str, str]) -> None:
    """Stop a worker, with SIGSTOP, while it is at a unit."""
    at_work = Path(preload[1]).with_name(str(worker.pid))

    def stopped() -> bool:
        worker.send_signal(signal.SIGSTOP)
        if not at_work.exists():
            worker.send_signal(signal.SIGCONT)
        return at_work.exists()

    wait_for(stopped)


def wait_for_workers(cluster: DaskCluster, n: int, seconds: float = 60) -> None:
    """Wait until the scheduler knows so many workers."""
    from distributed import Client

    with Client(cluster.address) as client:
        wait_for(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == n, seconds)


def come_later(cluster: DaskCluster, *options: str, within: tuple[str, ...] = ()) -> None:
    """Start one more worker while work is under way, and have it come to work before there is none left."""
    cluster.workers[0].send_signal(signal.SIGSTOP)
    cluster.hire(*options, within=within)
    wait_for_workers(cluster, 2)
    time.sleep(1)
    cluster.workers[0].send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def reference(series: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes out without a cluster."""
    target = tmp_path_factory.mktemp("reference") / "x.ome.zarr"
    making = begun(series, target)
    said = said_by(making)
    assert making.returncode == 0, said
    assert len(list((target / "0/c").iterdir())) > 10
    return files_of(target)
