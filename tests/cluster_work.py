"""Work for clusters: volumes of many small units, clusters that do it, and how far they are."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catnip2bids.demo import write_series
from clusters import DaskCluster, Watch, dask_cluster, wait_for
from runs import (
    KO,
    TODAY,
    files_of,
    write_l0,
    write_l2,
)

VOXEL_SIZE = ("--voxel-size", 3.7, 3.7, 5)
SIZES = "400000,200000,100000,1000000"
"""Bytes of blocks, shards and units, so that a small volume has many."""
TALL = (384, 320, 320)
"""A volume of many units of these sizes, for which a worker needs a few seconds."""
SMALL = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from interrupting import settle_sizes
settle_sizes({SIZES!r})
"""
OTHER_VERSION = "import catnip2bids._version\ncatnip2bids._version.__version__ = '0.0.1'\n"
MAIN = f"""{SMALL}
import faulthandler, signal
faulthandler.register(signal.SIGUSR1)
from catnip2bids.__main__ import main
main()
"""


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
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume that takes a while."""
    folder = tmp_path_factory.mktemp("series") / "640_N4"
    write_series(folder, TALL, "uint16")
    return folder


def begun(series: Path, target: Path, *options: object) -> subprocess.Popen[str]:
    """Begin a conversion of many units."""
    words = ["convert", series, target, *VOXEL_SIZE, *options]
    command = [sys.executable, "-c", MAIN, *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def said_by(running: subprocess.Popen[str], seconds: float = 120) -> str:
    """Wait for the end of a command that runs MAIN; one that does not end tells what all its threads are at."""
    try:
        return running.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGUSR1)
        time.sleep(1)
        running.kill()
        pytest.fail(f"does not end: {running.communicate(timeout=10)[1]}")


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Options that let workers have the same sizes."""
    file = tmp_path_factory.mktemp("preload") / "sizes.py"
    file.write_text(SMALL)
    return "--preload", str(file)


def markers_of(target: Path) -> list[Path]:
    """List the units of an image that are done."""
    return list((target.parent / f".{target.name}.progress").glob("planes-*.json"))


def watching(target: Path) -> Watch:
    """Look on while an image is made."""
    return Watch(target.parent / f".{target.name}.progress")


def n_known(cluster: DaskCluster) -> int:
    """Count the workers that the scheduler knows."""
    from distributed import Client

    with Client(cluster.address) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])


def come_later(cluster: DaskCluster, *options: str, within: tuple[str, ...] = ()) -> None:
    """Start one more worker while work is under way, and have it come to work before there is none left."""
    cluster.workers[0].send_signal(signal.SIGSTOP)
    cluster.hire(*options, within=within)
    wait_for(lambda: n_known(cluster) == 2)
    time.sleep(1)
    cluster.workers[0].send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def reference(series: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes out without a cluster."""
    target = tmp_path_factory.mktemp("reference") / "x.ome.zarr"
    making = begun(series, target)
    _, said = making.communicate(timeout=120)
    assert making.returncode == 0, said
    assert len(list((target / "0/c").iterdir())) > 20
    return files_of(target)
