"""Workers, schedulers and commands that end, hang or are interrupted: the same files in the end, nothing done twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cluster_work import (
    IMPATIENT,
    MAIN,
    SMALL,
    VOXEL_SIZE,
    WIDE,
    begun,
    cohort,
    markers_of,
    preload,
    reference,
    said_by,
    series,
    stop_at_work,
    two,
    wait_for_workers,
    watching,
)
from clusters import dask_cluster, wait_for
from fork_server import Program, start
from made_up import some_image, write_slices
from runs import (
    KO,
    files_of,
    write_l0,
)

__all__ = ["cohort", "preload", "reference", "series", "two"]


def test_a_worker_that_is_killed_costs_what_it_was_at(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str]
) -> None:
    with dask_cluster(tmp_path / "dask", 2, *preload) as cluster, watching(tmp_path / "x.ome.zarr") as watch:
        wait_for_workers(cluster, 2)
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(lambda: markers_of(tmp_path / "x.ome.zarr"))
        stop_at_work(cluster.workers[0], preload)
        cluster.workers[0].kill()
        assert running.poll() is None
        said = said_by(running)
    assert running.returncode == 0, said
    assert files_of(tmp_path / "x.ome.zarr") == reference
    assert len(watch.times) > 10
    assert set(watch.times.values()) == {1}  # what it was at had no marker yet


@pytest.mark.slow
def test_a_worker_that_was_given_up_and_goes_on_does_not_disturb(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "8s")
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 2, *preload) as cluster, watching(target) as watch:
        wait_for_workers(cluster, 2)
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: len(markers_of(target)) > 1)
        stop_at_work(cluster.workers[0], preload)
        wait_for_workers(cluster, 1)
        time.sleep(2)  # the other one does all that is not locked
        assert running.poll() is None
        cluster.workers[0].send_signal(signal.SIGCONT)
        said = said_by(running)
    assert running.returncode == 0, said
    assert files_of(target) == reference
    assert len(watch.times) > 10
    assert set(watch.times.values()) == {1}


@pytest.mark.slow
def test_without_a_scheduler_it_ends_with_an_error_and_goes_on_later(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str]
) -> None:
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(lambda: markers_of(tmp_path / "x.ome.zarr"))
        cluster.scheduler.send_signal(signal.SIGKILL)
        assert running.poll() is None
        said = said_by(running)
    assert running.returncode == 1, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    done = set(markers_of(tmp_path / "x.ome.zarr"))
    assert done
    assert not (tmp_path / "x.ome.zarr").exists()
    before = {path.name: path.stat().st_ino for path in done}
    with dask_cluster(tmp_path / "again", 1, *preload) as cluster, watching(tmp_path / "x.ome.zarr") as watch:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        said = said_by(running)
    assert running.returncode == 0, said
    assert files_of(tmp_path / "x.ome.zarr") == reference
    assert before.keys() < watch.times.keys()
    assert {watch.times[name] for name in before} == {1}  # what was done is not done again


@pytest.mark.slow
def test_a_comparison_that_lost_its_cluster_does_not_say_that_the_sides_differ(tmp_path: Path, series: Path) -> None:
    shutil.copytree(series, tmp_path / "copy")
    for plane in (tmp_path / "copy").iterdir():
        plane.write_bytes(plane.read_bytes() + b"\0")  # the same pixels in other files
    with dask_cluster(tmp_path / "dask", 1) as cluster:
        words = ["compare", series, tmp_path / "copy", "-o", tmp_path / "out", "--cluster", cluster.address]
        running = start(IMPATIENT, *words)
        wait_for(lambda: "\n1 worker " in running.said)
        cluster.scheduler.send_signal(signal.SIGKILL)
        said = said_by(running, 60)
    assert running.returncode == 2, said
    assert "the cluster could not finish some work" in said


@pytest.mark.slow
def test_several_images_end_with_the_scheduler(tmp_path: Path, preload: tuple[str, str]) -> None:
    write_l0(tmp_path / "cohort", KO, shape=(48, 80, 72))
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        words = ["package", tmp_path / "cohort", "-o", tmp_path / "out", *VOXEL_SIZE, "--cluster", cluster.address]
        running = start(MAIN, *words)
        wait_for(lambda: list((tmp_path / "out").rglob("planes-*.json")))
        cluster.scheduler.send_signal(signal.SIGKILL)
        said = said_by(running, 60)
    assert running.returncode == 1, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said


def test_interrupted_it_does_not_wait_for_a_worker_that_hangs(
    tmp_path: Path, series: Path, preload: tuple[str, str]
) -> None:
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(lambda: markers_of(tmp_path / "x.ome.zarr"))
        stop_at_work(cluster.workers[0], preload)
        running.send_signal(signal.SIGINT)
        said = said_by(running, 30)
    assert running.returncode == 130, said
    assert "Traceback" not in said


_FETCHING_FOR_EVER = """
import sys, time
import distributed
from catnip2bids.enums import Cluster
from catnip2bids.engine import resources_for
from catnip2bids.interruption import ending_when_interrupted

def fetch(self, timeout):
    print("fetching", flush=True)
    time.sleep(1000)

distributed.Future.result = fetch
with ending_when_interrupted(), resources_for(Cluster(sys.argv[1]), None, None, str) as resources:
    resources.executor.submit(int).result()
"""


def test_interrupted_it_does_not_wait_for_a_result_that_does_not_come(tmp_path: Path) -> None:
    with dask_cluster(tmp_path / "dask", 1) as cluster:
        running = start(_FETCHING_FOR_EVER, cluster.address)
        wait_for(lambda: running.printed == "fetching\n")
        running.send_signal(signal.SIGINT)
        said = said_by(running, 30)
    assert (running.returncode, said) == (130, "error: interrupted; run the same command again to go on\n")


@pytest.mark.slow
def test_interrupted_it_hands_over_no_more(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str]
) -> None:
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        stop_at_work(cluster.workers[0], preload)  # or it may have done all before the command is told
        running.send_signal(signal.SIGINT)
        said = said_by(running, 60)
        cluster.workers[0].send_signal(signal.SIGCONT)
        assert running.returncode == 130, said
        assert not target.exists()
        done = {path: path.stat().st_mtime_ns for path in markers_of(target)}
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: len(markers_of(target)) > len(done) + 2 or running.poll() is not None)
        # what was done is not done again, but for what a worker was still at
        again = [path for path, at in done.items() if path.exists() and path.stat().st_mtime_ns != at]
        said = said_by(running)
    assert running.returncode == 0, said
    assert len(again) <= 1
    assert files_of(target) == reference


@pytest.mark.slow
def test_without_the_cluster_and_with_other_settings_it_waits_for_a_worker_that_is_still_writing(
    tmp_path: Path, series: Path, preload: tuple[str, str]
) -> None:
    target = tmp_path / "x.ome.zarr"
    running = begun(series, tmp_path / "y" / "x.ome.zarr", "--kind", "labels")
    said = said_by(running)
    assert running.returncode == 0, said
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        stop_at_work(cluster.workers[0], preload)
        running.kill()
        running.wait(10)  # until it ends, it is still writing
        again = begun(series, target, "--kind", "labels")
        with suppress(subprocess.TimeoutExpired):
            again.wait(4)
        assert again.returncode is None, said_by(again)
        cluster.workers[0].send_signal(signal.SIGCONT)
        said = said_by(again)
    assert again.returncode == 0, said
    assert files_of(target) == files_of(tmp_path / "y" / "x.ome.zarr")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume so wide that its lowest levels are made when all units are done."""
    folder = tmp_path_factory.mktemp("wide") / "640_N4"
    write_slices(folder, some_image(WIDE))
    return folder


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, str]:
    """Options for workers that take their time for these levels, and say that they are at them."""
    file = tmp_path / "slow.py"
    file.write_text(
        f"{SMALL}import os, time\nfrom pathlib import Path\nfrom catnip2bids.ome.ome_zarr import OmeZarrImage\n"
        "def slowly(*arguments, write_rest=OmeZarrImage.write_remaining_levels):\n"
        f"    with Path({str(tmp_path / 'at-levels')!r}).open('a') as log: print(os.getpid(), file=log)\n"
        "    time.sleep(1.5)\n    write_rest(*arguments)\n    time.sleep(1.5)\n"
        "if OmeZarrImage.write_remaining_levels.__name__ != 'slowly':  # Dask runs this twice\n"
        "    OmeZarrImage.write_remaining_levels = slowly\n"
    )
    return "--preload", str(file)


def whole(running: Program, target: Path) -> dict[str, bytes]:
    """Wait for an image."""
    said = said_by(running)
    assert running.returncode == 0, said
    return files_of(target)


@pytest.mark.slow
def test_a_worker_that_was_given_up_at_the_lowest_levels_does_not_disturb(
    tmp_path: Path, wide: Path, slow: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = whole(begun(wide, tmp_path / "y" / "x.ome.zarr"), tmp_path / "y" / "x.ome.zarr")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "8s")
    log = tmp_path / "at-levels"
    with dask_cluster(tmp_path / "dask", 1, *slow) as cluster:
        running = begun(wide, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(log.exists)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        cluster.hire(*slow)
        wait_for_workers(cluster, 2)
        wait_for_workers(cluster, 1)
        time.sleep(2)
        cluster.workers[0].send_signal(signal.SIGCONT)
        assert whole(running, tmp_path / "x.ome.zarr") == reference
    assert log.read_text().split()[0] == str(cluster.workers[0].pid)
    assert len(log.read_text().split()) <= 2  # one after the other


@pytest.mark.slow
def test_the_next_run_waits_for_a_worker_at_the_lowest_levels(
    tmp_path: Path, wide: Path, slow: tuple[str, str]
) -> None:
    mask = ("--kind", "mask")
    reference = whole(begun(wide, tmp_path / "y" / "x.ome.zarr", *mask), tmp_path / "y" / "x.ome.zarr")
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 1, *slow) as cluster:
        running = begun(wide, target, "--cluster", cluster.address)
        wait_for((tmp_path / "at-levels").exists)
        running.kill()
        running.wait(10)  # until it ends, it is still writing
        again = begun(wide, target, *mask)
        time.sleep(1.5)
        assert again.poll() is None
        assert whole(again, target) == reference
