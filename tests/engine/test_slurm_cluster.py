"""The same work on a real Slurm of one node."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from catnip2bids.demo import write_cohort
from cluster_work import (
    MAIN,
    VOXEL_SIZE,
    begun,
    cohort,
    markers_of,
    preload,
    reference,
    said_by,
    series,
    two,
)
from clusters import DaskCluster, Slurm, needs_slurm, slurm, wait_for
from runs import (
    dataset_files,
    files_of,
)

__all__ = ["cohort", "preload", "reference", "series", "two"]


@pytest.fixture(scope="module")
def queue() -> Iterator[Slurm]:
    """Slurm of one node."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    try:
        with slurm(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder)


@needs_slurm
def test_the_demo_is_the_same_on_slurm_on_a_cluster_that_is_there_and_here(
    tmp_path: Path, two: DaskCluster, queue: Slurm
) -> None:
    write_cohort(tmp_path / "cohort", shape=(48, 160, 136))
    of_slurm = ("--cluster", "slurm", "--workers", 2, "--jobs", 1, "--memory", "1GiB")
    for name, options in (("here", ()), ("slurm", of_slurm), ("tcp", ("--cluster", two.address))):
        words = ["package", tmp_path / "cohort", "-o", tmp_path / name, *VOXEL_SIZE, "--no-report", *options]
        done = subprocess.run(
            [sys.executable, "-m", "catnip2bids", *map(str, words)],
            env=queue.environment | {"HOME": str(tmp_path / "home")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    here = dataset_files(tmp_path / "here")
    assert sum(path.endswith(".ome.zarr/zarr.json") for path in here) == 20
    assert dataset_files(tmp_path / "slurm") == here
    assert dataset_files(tmp_path / "tcp") == here
    assert {path.name for path in tmp_path.iterdir()} == {"cohort", "here", "slurm", "tcp", "home"}
    wait_for(lambda: queue.running == [])


@needs_slurm
def test_what_slurm_refuses_is_said_at_once(tmp_path: Path, cohort: Path, queue: Slurm) -> None:
    words = [
        "package",
        cohort,
        "-o",
        tmp_path / "out",
        *VOXEL_SIZE,
        "--cluster",
        "slurm",
        "--jobs",
        1,
        "--memory",
        "1GiB",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "catnip2bids", *map(str, words)],
        env=queue.environment | {"HOME": str(tmp_path / "home"), "DASK_JOBQUEUE__SLURM__QUEUE": "nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "nvalid partition" in done.stderr
    assert not (tmp_path / "out").exists()


@needs_slurm
def test_interrupted_on_slurm_it_says_so(
    tmp_path: Path, series: Path, preload: tuple[str, str], queue: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"HOME": str(tmp_path / "home"), "DASK_JOBQUEUE__SLURM__WORKER_EXTRA_ARGS": str(list(preload))}
    for name, value in (queue.environment | more).items():
        monkeypatch.setenv(name, value)
    target = tmp_path / "x.ome.zarr"
    running = begun(series, target, "--cluster", "slurm", "--jobs", 1, "--memory", "1GiB")
    wait_for(lambda: markers_of(target), 100)
    running.send_signal(signal.SIGINT)
    said = said_by(running, 60)
    assert running.returncode == 130, said
    assert "interrupted; run the same command again to go on" in said
    wait_for(lambda: queue.running == [])


@needs_slurm
def test_jobs_that_do_not_become_workers_are_not_waited_for(
    tmp_path: Path, series: Path, queue: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"HOME": str(tmp_path / "home"), "DASK_JOBQUEUE__SLURM__PYTHON": "/nonexistent/python"}
    for name, value in (queue.environment | more).items():
        monkeypatch.setenv(name, value)
    script = f"import catnip2bids.engine.executors as execution\nexecution._SECONDS_BETWEEN_NOTES = 3\n{MAIN}"
    words = ["convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, "--cluster", "slurm", "--jobs", 1]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words), "--memory", "1GiB"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"jobs end before they become workers; they say why in {tmp_path / 'home/.catnip2bids/slurm'}" in done.stderr


@needs_slurm
@pytest.mark.parametrize(
    "broken", [{"HOME": "/proc/nowhere"}, {"DASK_JOBQUEUE__SLURM__INTERFACE": "ib0"}], ids=["logs", "interface"]
)
def test_a_wrong_configuration_of_slurm_is_named(
    tmp_path: Path, series: Path, queue: Slurm, broken: dict[str, str]
) -> None:
    words = ["convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, "--cluster", "slurm", "--jobs", 1]
    done = subprocess.run(
        [sys.executable, "-m", "catnip2bids", *map(str, words), "--memory", "1GiB"],
        env=queue.environment | {"HOME": str(tmp_path)} | broken,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "error: --cluster slurm: " in done.stderr
    assert "Traceback" not in done.stderr


@needs_slurm
def test_a_job_that_is_cancelled_costs_what_it_was_at(
    tmp_path: Path,
    series: Path,
    reference: dict[str, bytes],
    preload: tuple[str, str],
    queue: Slurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = {"HOME": str(tmp_path / "home"), "DASK_JOBQUEUE__SLURM__WORKER_EXTRA_ARGS": str(list(preload))}
    for name, value in (queue.environment | more).items():
        monkeypatch.setenv(name, value)
    target = tmp_path / "x.ome.zarr"
    running = begun(series, target, "--cluster", "slurm", "--workers", 2, "--jobs", 1, "--memory", "1GiB")
    wait_for(lambda: markers_of(target), 100)
    queue.run("scancel", queue.running[0])
    assert running.poll() is None
    said = said_by(running, 180)
    assert running.returncode == 0, said
    assert files_of(target) == reference
