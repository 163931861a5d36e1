"""The same work on a real Slurm of one node."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_work import (
    MAIN,
    VOXEL_SIZE,
    begun,
    cohort,
    markers_of,
    packaged,
    preload,
    reference,
    said_by,
    series,
)
from clusters import Slurm, needs_slurm, slurm, wait_for
from fork_server import command, start
from runs import (
    dataset_files,
    files_of,
)

__all__ = ["cohort", "packaged", "preload", "reference", "series"]


@pytest.fixture(scope="module")
def queue() -> Iterator[Slurm]:
    """Slurm of one node."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    try:
        with slurm(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def of_slurm(tmp_path: Path, queue: Slurm, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Options for one job at a time, in surroundings that find Slurm, with a home of their own."""
    for name, value in {**queue.environment, "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    return ("--cluster", "slurm", "--jobs", 1, "--memory", "1GiB")


@pytest.fixture
def slow_jobs(preload: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers have the same sizes, and take their time."""
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__WORKER_EXTRA_ARGS", str(list(preload)))


@needs_slurm
def test_a_cohort_is_the_same_on_slurm(
    tmp_path: Path, cohort: Path, packaged: Path, queue: Slurm, of_slurm: tuple[object, ...]
) -> None:
    words = ("package", cohort, "-o", tmp_path / "slurm", *VOXEL_SIZE, "--no-report", *of_slurm)
    done = command(*words, "--workers", 2, cwd=tmp_path, seconds=200)
    assert done.returncode == 0, done.stderr
    assert dataset_files(tmp_path / "slurm") == dataset_files(packaged)
    assert {path.name for path in tmp_path.iterdir()} == {"slurm", "home"}
    assert list((tmp_path / "home/.catnip2bids/keys").iterdir()) == []
    wait_for(lambda: queue.running == [])


@needs_slurm
def test_what_slurm_refuses_is_said_at_once(
    tmp_path: Path, cohort: Path, of_slurm: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__QUEUE", "nowhere")
    done = command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, *of_slurm, seconds=60)
    assert done.returncode == 2, done.stderr
    assert "nvalid partition" in done.stderr
    assert list((tmp_path / "home/.catnip2bids/keys").iterdir()) == []
    assert not (tmp_path / "out").exists()


@needs_slurm
@pytest.mark.slow
@pytest.mark.usefixtures("slow_jobs")
def test_interrupted_on_slurm_it_says_so(
    tmp_path: Path, series: Path, queue: Slurm, of_slurm: tuple[object, ...]
) -> None:
    target = tmp_path / "x.ome.zarr"
    running = begun(series, target, *of_slurm)
    wait_for(lambda: markers_of(target), 200)  # jobs of the test before may still have to end
    running.send_signal(signal.SIGINT)
    said = said_by(running, 60)
    assert running.returncode == 130, said
    assert "interrupted; run the same command again to go on" in said
    wait_for(lambda: queue.running == [])


@needs_slurm
@pytest.mark.slow
def test_jobs_that_do_not_become_workers_are_not_waited_for(
    tmp_path: Path, series: Path, of_slurm: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__PYTHON", "/nonexistent/python")
    script = f"import catnip2bids.engine.executors as execution\nexecution._SECONDS_BETWEEN_NOTES = 3\n{MAIN}"
    running = start(script, "convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, *of_slurm)
    said = said_by(running, 100)
    assert running.returncode == 2, said
    assert f"jobs end before they become workers; they say why in {tmp_path / 'home/.catnip2bids/slurm'}" in said


@needs_slurm
@pytest.mark.parametrize(
    ("name", "value"),
    [("HOME", "/proc/nowhere"), ("DASK_JOBQUEUE__SLURM__INTERFACE", "ib0")],
    ids=["logs", "interface"],
)
def test_a_wrong_configuration_of_slurm_is_named(
    tmp_path: Path,
    series: Path,
    of_slurm: tuple[object, ...],
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    done = command("convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, *of_slurm, seconds=100)
    assert done.returncode == 2, done.stderr
    assert "error: --cluster slurm: " in done.stderr


@needs_slurm
@pytest.mark.slow
@pytest.mark.usefixtures("slow_jobs")
def test_a_job_that_is_cancelled_costs_what_it_was_at(
    tmp_path: Path, series: Path, reference: dict[str, bytes], queue: Slurm, of_slurm: tuple[object, ...]
) -> None:
    target = tmp_path / "x.ome.zarr"
    running = begun(series, target, *of_slurm, "--workers", 2)
    wait_for(lambda: markers_of(target), 200)  # jobs of the test before may still have to end
    queue.run("scancel", queue.running[0])
    assert running.poll() is None
    said = said_by(running, 180)
    assert running.returncode == 0, said
    assert files_of(target) == reference
