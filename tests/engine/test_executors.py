"""What a cluster is refused for, before the work and while it goes on."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import catnip2bids
from catnip2bids.engine import resources_for
from catnip2bids.engine.executors import _facts_of_workers, _WorkerFacts
from catnip2bids.enums import Cluster
from catnip2bids.errors import UsageError
from catnip2bids.packaging import package
from cluster_work import (
    IMPATIENT,
    OTHER_VERSION,
    VOXEL_SIZE,
    begun,
    cohort,
    come_later,
    markers_of,
    preload,
    reference,
    said_by,
    series,
    two,
    wait_for_workers,
)
from clusters import DaskCluster, dask_cluster, wait_for
from fork_server import command, start
from runs import settings

__all__ = ["cohort", "preload", "reference", "series", "two"]


@pytest.mark.slow
def test_workers_without_the_package_are_refused(tmp_path: Path, cohort: Path) -> None:
    without = tmp_path / "without.py"
    without.write_text(
        "import sys\nsys.modules.update({name: None for name in sys.modules if name.startswith('catnip2bids')})\n"
    )
    with (
        dask_cluster(tmp_path / "dask", 1, "--preload", str(without)) as cluster,
        pytest.raises(UsageError, match="install catnip2bids"),
    ):
        package([cohort], tmp_path / "out", settings(cluster=Cluster(cluster.address)))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_workers_of_another_version_that_come_later_end_the_work(
    tmp_path: Path, series: Path, preload: tuple[str, str]
) -> None:
    other = tmp_path / "other.py"
    other.write_text(OTHER_VERSION)
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        come_later(cluster, "--preload", str(other))
        told = said_by(running)
    assert running.returncode == 1, told
    assert f"a worker has catnip2bids 0.0.1, and this is {catnip2bids.__version__}" in told
    assert "Traceback" not in told
    assert not target.exists()


@pytest.fixture(scope="module")
def elsewhere(series: Path) -> tuple[str, ...]:
    """A command that runs another one in surroundings in which the volume is not there."""
    script = f'mount -t tmpfs none {series.parent} && exec "$@"'
    within = ("unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh")
    if "CI" not in os.environ and subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs namespaces")
    return within


@pytest.mark.slow
def test_workers_that_see_other_files_are_refused_at_the_start(
    tmp_path: Path, series: Path, elsewhere: tuple[str, ...]
) -> None:
    with dask_cluster(tmp_path / "dask", 0) as cluster:
        cluster.hire(within=elsewhere)
        target = tmp_path / "x.ome.zarr"
        done = command("convert", series, target, *VOXEL_SIZE, "--cluster", cluster.address)
    assert done.returncode == 2, done.stderr
    assert f"{series}: does not exist for a worker; give paths of a shared file system" in done.stderr
    assert not target.exists()


@pytest.mark.slow
def test_workers_that_come_later_and_see_other_files_end_the_work(
    tmp_path: Path, series: Path, preload: tuple[str, str], elsewhere: tuple[str, ...]
) -> None:
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        come_later(cluster, within=elsewhere)
        told = said_by(running)
    assert running.returncode == 1, told
    assert f"{series}: does not exist for a worker" in told
    assert not target.exists()


def test_file_systems_without_locks_are_refused(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as here,
        Client(here) as client,
        monkeypatch.context() as patched,
    ):
        patched.setattr("catnip2bids.locks.fcntl.lockf", none)
        with pytest.raises(UsageError, match="has no locks"):
            _facts_of_workers(client, [str(cohort)], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_workers_of_another_version_are_refused(tmp_path: Path, cohort: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(OTHER_VERSION)
    with dask_cluster(tmp_path / "dask", 1, "--preload", str(other)) as cluster:
        done = command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, "--cluster", cluster.address)
    assert done.returncode == 2
    assert f"a worker has catnip2bids 0.0.1, and this is {catnip2bids.__version__}" in done.stderr
    assert not (tmp_path / "out").exists()


def test_workers_that_see_other_files_are_refused(tmp_path: Path, two: DaskCluster) -> None:
    from distributed import Client

    with Client(two.address) as client:
        client.wait_for_workers(2)
        with pytest.raises(UsageError, match="nowhere: does not exist for a worker"):
            _facts_of_workers(client, [str(tmp_path / "nowhere")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_worker_there_is_nothing_to_know(tmp_path: Path) -> None:
    from distributed import Client

    with dask_cluster(tmp_path / "dask", 0) as cluster, Client(cluster.address) as client:
        assert _facts_of_workers(client, [], None) is None


def test_the_worker_with_the_least_memory_counts() -> None:
    answers = {str(gib): _WorkerFacts(gib * 2**30, None, True) for gib in (8, 2, 4)}
    found = _facts_of_workers(SimpleNamespace(run=lambda *_: answers), [], None)  # type: ignore[arg-type]
    assert found == answers["2"]


@pytest.mark.slow
def test_workers_that_do_not_answer_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.engine.executors._SECONDS_TO_ANSWER", 2)
    with dask_cluster(tmp_path / "dask", 1) as cluster:
        wait_for_workers(cluster, 1)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        asking = resources_for(Cluster(cluster.address), None, None, lambda _: None)
        with pytest.raises(UsageError, match="not all 1 answer within 2 seconds"), asking:
            pass


@pytest.mark.slow
def test_a_scheduler_that_ends_before_a_worker_comes_is_not_waited_for(tmp_path: Path, series: Path) -> None:
    with dask_cluster(tmp_path / "dask", 0) as cluster:
        words = ("convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, "--cluster", cluster.address)
        running = start(IMPATIENT, *words)
        wait_for(lambda: "waiting for workers ..." in running.said)
        assert "anyone who can reach it can run code as you" in running.said
        cluster.scheduler.kill()
        rest = said_by(running, 60)
    assert running.returncode == 2, rest
    assert "the scheduler is gone" in rest
    assert "Traceback" not in rest


def test_workers_with_too_little_memory_are_refused(tmp_path: Path, cohort: Path) -> None:
    where = ("--cluster", "slurm", "--memory", "100MiB")
    done = command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, *where)
    assert done.returncode == 2
    assert "give workers at least 512 MiB" in done.stderr


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "tcp://"])
def test_a_scheduler_that_does_not_answer_is_named(
    tmp_path: Path, cohort: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.engine.executors._SECONDS_TO_CONNECT", 1)
    with pytest.raises(UsageError, match="no Dask scheduler answers there"):
        package([cohort], tmp_path / "out", settings(cluster=Cluster(address)))
    assert not (tmp_path / "out").exists()


def test_workers_without_a_cluster_are_a_mistake(tmp_path: Path) -> None:
    done = command("package", tmp_path, "-o", tmp_path / "out", *VOXEL_SIZE, "--workers", 2)
    assert (done.returncode, "give --cluster too" in done.stderr) == (2, True)


@pytest.mark.parametrize(("address", "missing"), [("tcp://127.0.0.1:9", "distributed"), ("slurm", "dask_jobqueue")])
def test_what_is_not_installed_is_named(
    tmp_path: Path, cohort: Path, address: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # clients of other tests import Dask when they are deleted
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install '\.\[cluster\]'"):
        package([cohort], tmp_path / "out", settings(cluster=Cluster(address)))


def test_a_dry_run_starts_no_cluster(tmp_path: Path, cohort: Path) -> None:
    where = ("--cluster", "tcp://127.0.0.1:9", "--dry-run")
    assert command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, *where).returncode == 0


def test_plain_tcp_has_a_caution_however_the_address_is_typed() -> None:
    from distributed import LocalCluster

    notes: list[str] = []
    with LocalCluster(n_workers=1, processes=False, host="127.0.0.1", protocol="tcp", dashboard_address=":0") as here:
        address = here.scheduler_address.removeprefix("tcp://")
        with resources_for(Cluster(address), 1, None, notes.append):
            pass
    assert "anyone who can reach it can run code as you" in notes[0]
