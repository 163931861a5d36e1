"""The same work on real clusters: Dask schedulers with workers, and Slurm. The same files come out."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import catnip2bids
from catnip2bids.choices import Cluster
from catnip2bids.demo import write_cohort, write_series
from catnip2bids.engine import Resources, employed
from catnip2bids.engine.cluster import _alone
from catnip2bids.engine.staff import _facts_of_workers
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.locks import lock_of
from catnip2bids.packaging import estimate, package, prepare
from catnip2bids.progress import Progress
from clusters import DaskCluster, Slurm, Watch, dask_cluster, needs_slurm, slurm, wait_for
from runs import (
    KO,
    TODAY,
    command,
    dataset_files,
    files_of,
    partials_of,
    python,
    settings,
    slices_of,
    write_l0,
    write_l2,
)

VOXEL_SIZE = ("--voxel-size", 3.7, 3.7, 5)
SIZES = "400000,200000,100000,1000000"
"""Bytes of blocks, shards and units, so that a small volume has many."""
TALL = (384, 320, 320)
"""A volume of many units of these sizes, for which a worker needs a few seconds."""
_SMALL = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from interrupting import settle_sizes
settle_sizes({SIZES!r})
"""
OTHER_VERSION = "import catnip2bids._version\ncatnip2bids._version.__version__ = '0.0.1'\n"
_MAIN = f"{_SMALL}from catnip2bids.__main__ import main\nmain()\n"


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


@pytest.mark.parametrize("options", [("--format", "ome-tiff", "--pyramid"), ("--ome-zarr-version", "0.4")])
def test_a_cluster_makes_the_same_dataset(
    tmp_path: Path, cohort: Path, two: DaskCluster, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    words = ("package", os.path.relpath(cohort, tmp_path), *VOXEL_SIZE, "--no-report", *options)
    monkeypatch.chdir(tmp_path)  # names that are relative mean other places to workers
    assert command(*words, "-o", "here", cwd=tmp_path).returncode == 0
    done = command(*words, "-o", "there", "--cluster", two.address, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"cluster: {two.address}, dashboard: " in done.stderr
    assert "2 workers of 1 thread" in done.stderr
    assert dataset_files(tmp_path / "there") == dataset_files(tmp_path / "here")
    assert partials_of(tmp_path / "there") == []


def test_verifying_comparing_and_converting_is_the_same_too(tmp_path: Path, cohort: Path, two: DaskCluster) -> None:
    where = ("--cluster", two.address)
    package([cohort], tmp_path / "dataset", settings())
    done = command("verify", tmp_path / "dataset", "--source", cohort, "--deep", *where)
    assert done.returncode == 0, done.stderr
    assert "and the originals" in done.stderr
    image = next((tmp_path / "dataset/sub-45670ko/micr").glob("*.ome.zarr"))
    chunk = next(path for path in (image / "0").rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-8] + b"damaged!")
    assert command("verify", tmp_path / "dataset", *where).returncode == 1
    labels, masked = (cohort / KO / name for name in ("atlaslabel_def_origspace", "atlaslabel_def_origspace_masked"))
    for name, options in (("here", ()), ("there", where)):
        assert command("compare", labels, masked, "-o", tmp_path / name, *options).returncode == 1
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    for name, options in (("here", ()), ("there", where)):
        target = tmp_path / f"{name}.ome.zarr"
        assert command("convert", labels, target, *VOXEL_SIZE, "--kind", "labels", *options).returncode == 0
    here, there = files_of(tmp_path / "here.ome.zarr"), files_of(tmp_path / "there.ome.zarr")
    assert {path: content for path, content in here.items() if path != "zarr.json"} == {
        path: content for path, content in there.items() if path != "zarr.json"
    }  # the name of the image stands in the one document


def test_processes_of_this_machine_are_a_cluster_too(tmp_path: Path, cohort: Path) -> None:
    package([cohort], tmp_path / "here", settings())
    done = command("package", cohort, "-o", tmp_path / "there", *VOXEL_SIZE, "--cluster", "local", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "2 workers of 1 thread" in done.stderr
    assert dataset_files(tmp_path / "there") == dataset_files(tmp_path / "here")


def test_an_error_on_a_worker_is_the_error_of_here(tmp_path: Path, cohort: Path, two: DaskCluster) -> None:
    shutil.copytree(cohort / KO, tmp_path / "run" / Path(KO).name)
    damaged = slices_of(tmp_path / "run" / Path(KO).name / "640_FRST")[4]
    content = bytearray(damaged.read_bytes())
    content[200:400] = bytes(200)
    damaged.write_bytes(content)
    result = package([tmp_path / "run"], tmp_path / "out", settings(cluster=Cluster(two.address)))
    assert [str(damaged) in problem for problem in result.problems] == [True]
    with pytest.raises(SourceError, match=damaged.name):
        catnip2bids.convert(damaged.parent, tmp_path / "x.ome.zarr", (3.7, 3.7, 5.0), cluster=Cluster(two.address))


def begun(series: Path, target: Path, *options: object) -> subprocess.Popen[str]:
    """Begin a conversion of many units."""
    words = ["convert", series, target, *VOXEL_SIZE, *options]
    command = [sys.executable, "-c", _MAIN, *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Options that let workers have the same sizes."""
    file = tmp_path_factory.mktemp("preload") / "sizes.py"
    file.write_text(_SMALL)
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


def test_a_worker_that_is_killed_costs_what_it_was_at(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str]
) -> None:
    with dask_cluster(tmp_path / "dask", 2, *preload) as cluster, watching(tmp_path / "x.ome.zarr") as watch:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(lambda: markers_of(tmp_path / "x.ome.zarr"))
        cluster.workers[0].send_signal(signal.SIGKILL)
        assert running.poll() is None
        _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert files_of(tmp_path / "x.ome.zarr") == reference
    assert len(watch.times) > 20
    assert set(watch.times.values()) == {1}  # what it was at had no marker yet


def test_a_worker_that_was_given_up_and_goes_on_does_not_disturb(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "3s")
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 2, *preload) as cluster, watching(target) as watch:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: len(markers_of(target)) > 1)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        wait_for(lambda: n_known(cluster) == 1)
        time.sleep(2)  # the other one does all that is not locked
        assert running.poll() is None
        cluster.workers[0].send_signal(signal.SIGCONT)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert files_of(target) == reference
    assert len(watch.times) > 20
    assert set(watch.times.values()) == {1}


def test_without_a_scheduler_it_ends_with_an_error_and_goes_on_later(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str]
) -> None:
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(lambda: markers_of(tmp_path / "x.ome.zarr"))
        cluster.scheduler.send_signal(signal.SIGKILL)
        assert running.poll() is None
        _, said = running.communicate(timeout=120)
    assert running.returncode == 1, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    done = set(markers_of(tmp_path / "x.ome.zarr"))
    assert done
    assert not (tmp_path / "x.ome.zarr").exists()
    before = {path.name: path.stat().st_ino for path in done}
    with dask_cluster(tmp_path / "again", 1, *preload) as cluster, watching(tmp_path / "x.ome.zarr") as watch:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert files_of(tmp_path / "x.ome.zarr") == reference
    assert before.keys() < watch.times.keys()
    assert {watch.times[name] for name in before} == {1}  # what was done is not done again


def test_several_images_end_with_the_scheduler(tmp_path: Path, preload: tuple[str, str]) -> None:
    write_l0(tmp_path / "cohort", KO, shape=(96, 240, 208))
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        words = ["package", tmp_path / "cohort", "-o", tmp_path / "out", *VOXEL_SIZE, "--cluster", cluster.address]
        command = [sys.executable, "-c", _MAIN, *map(str, words)]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        wait_for(lambda: list((tmp_path / "out").rglob("planes-*.json")))
        cluster.scheduler.send_signal(signal.SIGKILL)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 1, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said


def test_interrupted_it_does_not_wait_for_a_worker_that_hangs(
    tmp_path: Path, series: Path, preload: tuple[str, str]
) -> None:
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(lambda: markers_of(tmp_path / "x.ome.zarr"))
        cluster.workers[0].send_signal(signal.SIGSTOP)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "Traceback" not in said


@pytest.mark.parametrize("seconds", [2, 4])
def test_interrupted_from_a_terminal_workers_of_this_machine_say_nothing(
    tmp_path: Path, series: Path, seconds: int
) -> None:
    words = ["convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, "--cluster", "local", "--workers", 2]
    running = subprocess.Popen(
        [sys.executable, "-m", "catnip2bids", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode in {0, 130}, said  # it may be done by then
    assert "Traceback" not in said


def test_interrupted_it_hands_over_no_more(
    tmp_path: Path, series: Path, reference: dict[str, bytes], preload: tuple[str, str]
) -> None:
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130, said
        assert not target.exists()
        done = {path: path.stat().st_mtime_ns for path in markers_of(target)}
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: len(markers_of(target)) > len(done) + 2 or running.poll() is not None)
        # what was done is not done again, but for what a worker was still at
        again = [path for path, at in done.items() if path.exists() and path.stat().st_mtime_ns != at]
        _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert len(again) <= 1
    assert files_of(target) == reference


def test_without_the_cluster_and_with_other_settings_it_waits_for_a_worker_that_is_still_writing(
    tmp_path: Path, series: Path, preload: tuple[str, str]
) -> None:
    target = tmp_path / "x.ome.zarr"
    running = begun(series, tmp_path / "y" / "x.ome.zarr", "--kind", "labels")
    _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        cluster.workers[0].send_signal(signal.SIGSTOP)
        running.kill()
        running.communicate()
        again = begun(series, target, "--kind", "labels")
        with pytest.raises(subprocess.TimeoutExpired):
            again.wait(4)
        cluster.workers[0].send_signal(signal.SIGCONT)
        _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert files_of(target) == files_of(tmp_path / "y" / "x.ome.zarr")


# ---- the levels that no unit makes


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume so wide that its lowest levels are made when all units are done."""
    folder = tmp_path_factory.mktemp("wide") / "640_N4"
    write_series(folder, (128, 1100, 320), "uint16")
    return folder


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, str]:
    """Options for workers that take their time for these levels, and say that they are at them."""
    file = tmp_path / "slow.py"
    file.write_text(
        f"{_SMALL}import os, time\nfrom pathlib import Path\nfrom catnip2bids.ome.zarr import OmeZarrImage\n"
        "def slowly(*arguments, write_rest=OmeZarrImage.write_remaining_levels):\n"
        f"    with Path({str(tmp_path / 'at-levels')!r}).open('a') as log: print(os.getpid(), file=log)\n"
        "    time.sleep(1.5)\n    write_rest(*arguments)\n    time.sleep(1.5)\n"
        "if OmeZarrImage.write_remaining_levels.__name__ != 'slowly':  # Dask runs this twice\n"
        "    OmeZarrImage.write_remaining_levels = slowly\n"
    )
    return "--preload", str(file)


def whole(running: subprocess.Popen[str], target: Path) -> dict[str, bytes]:
    """Wait for an image."""
    _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    return files_of(target)


def test_a_worker_that_was_given_up_at_the_lowest_levels_does_not_disturb(
    tmp_path: Path, wide: Path, slow: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = whole(begun(wide, tmp_path / "y" / "x.ome.zarr"), tmp_path / "y" / "x.ome.zarr")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "3s")
    log = tmp_path / "at-levels"
    with dask_cluster(tmp_path / "dask", 1, *slow) as cluster:
        running = begun(wide, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        wait_for(log.exists)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        cluster.hire(*slow)
        wait_for(lambda: n_known(cluster) == 2)
        wait_for(lambda: n_known(cluster) == 1)
        time.sleep(2)
        cluster.workers[0].send_signal(signal.SIGCONT)
        assert whole(running, tmp_path / "x.ome.zarr") == reference
    assert log.read_text().split()[0] == str(cluster.workers[0].pid)
    assert len(log.read_text().split()) <= 2  # one after the other


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
        running.communicate()
        again = begun(wide, target, *mask)
        time.sleep(1.5)
        assert again.poll() is None
        assert whole(again, target) == reference


def test_no_two_threads_of_a_worker_are_at_the_same_unit(tmp_path: Path) -> None:
    lock, order = lock_of(tmp_path / "planes-000000.json", "run"), []

    def work(name: str) -> None:
        with _alone(lock):
            order.append(f"{name} begins")
            time.sleep(0.2)
            order.append(f"{name} ends")

    with ThreadPoolExecutor() as threads:
        list(threads.map(work, "abc"))
    for begins, ends in zip(order[::2], order[1::2], strict=True):
        assert begins.split()[0] == ends.split()[0]


def test_no_more_is_handed_over_than_workers_need(two: DaskCluster) -> None:
    from distributed import Client

    def n_tasks(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    most = 0
    with employed(Cluster(two.address), None, None, lambda _: None) as resources, Client(two.address) as watching:
        assert resources.executor is not None
        doing = []
        for number in range(200):
            doing.append(resources.executor.submit(abs, -number))
            if number % 10 == 0:
                most = max(most, watching.run_on_scheduler(n_tasks))
        assert [future.result() for future in doing] == list(range(200))
    assert 0 < most <= 2 * resources.n_threads + 2


def test_workers_of_several_threads_share_their_memory(tmp_path: Path, cohort: Path) -> None:
    package([cohort], tmp_path / "here", settings())
    with dask_cluster(tmp_path / "dask", 1, "--nthreads", "2", "--memory-limit", "3GiB") as cluster:
        words = ("package", cohort, "-o", tmp_path / "there", *VOXEL_SIZE, "--no-report")
        done = command(*words, "--cluster", cluster.address)
    assert done.returncode == 0, done.stderr
    assert "1 worker of 2 threads" in done.stderr
    assert dataset_files(tmp_path / "there") == dataset_files(tmp_path / "here")


def test_workers_that_come_later_are_given_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    def n_tasks(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    with (
        dask_cluster(tmp_path / "dask", 1) as cluster,
        employed(Cluster(cluster.address), None, None, lambda _: None) as resources,
        Client(cluster.address) as watching,
        ThreadPoolExecutor(1) as handing_over,
    ):
        monkeypatch.setattr("catnip2bids.engine.cluster._SECONDS_BETWEEN_COUNTS", 0.5)
        executor = resources.executor
        assert executor is not None
        doing = handing_over.submit(lambda: [executor.submit(time.sleep, 0.5) for _ in range(30)])
        time.sleep(1)
        assert watching.run_on_scheduler(n_tasks) <= 3
        cluster.hire()  # the first count is after five seconds
        wait_for(lambda: watching.run_on_scheduler(n_tasks) >= 4, 20)
        for future in doing.result():
            future.result()


# ---- what cannot be


def test_workers_without_the_package_are_refused(tmp_path: Path, cohort: Path) -> None:
    without = tmp_path / "without.py"
    without.write_text("import sys\nsys.modules['catnip2bids'] = None\n")
    with dask_cluster(tmp_path / "dask", 1, "--preload", str(without)) as cluster:
        done = command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, "--cluster", cluster.address)
    assert done.returncode == 2, done.stderr
    assert "install catnip2bids" in done.stderr
    assert not (tmp_path / "out").exists()


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
        _, told = running.communicate(timeout=120)
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


def test_workers_that_see_other_files_are_refused_at_the_start(
    tmp_path: Path, series: Path, elsewhere: tuple[str, ...]
) -> None:
    with dask_cluster(tmp_path / "dask", 0) as cluster:
        cluster.hire(within=elsewhere)
        target = tmp_path / "x.ome.zarr"
        done = command("convert", series, target, *VOXEL_SIZE, "--cluster", cluster.address)
    assert done.returncode == 2, done.stderr
    assert f"{series}: is not there for a worker; give paths of a shared file system" in done.stderr
    assert not target.exists()


def test_workers_that_come_later_and_see_other_files_end_the_work(
    tmp_path: Path, series: Path, preload: tuple[str, str], elsewhere: tuple[str, ...]
) -> None:
    target = tmp_path / "x.ome.zarr"
    with dask_cluster(tmp_path / "dask", 1, *preload) as cluster:
        running = begun(series, target, "--cluster", cluster.address)
        wait_for(lambda: markers_of(target))
        come_later(cluster, within=elsewhere)
        _, told = running.communicate(timeout=120)
    assert running.returncode == 1, told
    assert f"{series}: is not there for a worker" in told
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

    with Client(two.address) as client, pytest.raises(UsageError, match="nowhere: is not there for a worker"):
        _facts_of_workers(client, [str(tmp_path / "nowhere")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_workers_with_as_much_memory_as_estimated_are_enough(tmp_path: Path, cohort: Path) -> None:
    prepared = prepare([cohort], tmp_path / "out", settings(), None, Resources(1, 2**30), Progress())
    expected = estimate(prepared, Progress())
    assert expected is not None
    with dask_cluster(tmp_path / "dask", 1, "--memory-limit", str(expected.worker_bytes)) as cluster:
        done = command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, "--cluster", cluster.address)
    assert done.returncode == 0, done.stderr


def test_workers_that_do_not_answer_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.engine.staff._SECONDS_TO_ANSWER", 2)
    with dask_cluster(tmp_path / "dask", 1) as cluster:
        wait_for(lambda: n_known(cluster) == 1)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        asking = employed(Cluster(cluster.address), None, None, lambda _: None)
        with pytest.raises(UsageError, match="not all 1 answer within 2 seconds"), asking:
            pass


def test_a_scheduler_that_ends_before_a_worker_comes_is_not_waited_for(
    tmp_path: Path, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")
    with dask_cluster(tmp_path / "dask", 0) as cluster:
        running = begun(series, tmp_path / "x.ome.zarr", "--cluster", cluster.address)
        assert running.stderr is not None
        said = [running.stderr.readline(), running.stderr.readline()]
        assert "waiting for workers ..." in said[1]
        cluster.scheduler.kill()
        _, rest = running.communicate(timeout=60)
    assert running.returncode == 2, rest
    assert "the scheduler is gone" in rest
    assert "Traceback" not in rest


def test_workers_with_too_little_memory_are_refused(tmp_path: Path, cohort: Path) -> None:
    where = ("--cluster", "local", "--workers", 1, "--memory", "100MiB")
    done = command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, *where)
    assert done.returncode == 2
    assert "give workers at least 512 MiB" in done.stderr


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "tcp://"])
def test_a_scheduler_that_does_not_answer_is_named(
    tmp_path: Path, cohort: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.engine.staff._SECONDS_TO_CONNECT", 1)
    with pytest.raises(UsageError, match="no Dask scheduler answers there"):
        package([cohort], tmp_path / "out", settings(cluster=Cluster(address)))
    assert not (tmp_path / "out").exists()


def test_workers_without_a_cluster_are_a_mistake(tmp_path: Path) -> None:
    done = command("package", tmp_path, "-o", tmp_path / "out", *VOXEL_SIZE, "--workers", 2)
    assert (done.returncode, "say --cluster too" in done.stderr) == (2, True)


@pytest.mark.parametrize(("address", "missing"), [("local", "distributed"), ("slurm", "dask_jobqueue")])
def test_what_is_not_installed_is_named(tmp_path: Path, cohort: Path, address: str, missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from catnip2bids.__main__ import main; "
        f"sys.argv = ['catnip2bids', 'package', {str(cohort)!r}, '-o', {str(tmp_path / 'out')!r}, "
        f"'--voxel-size', '3.7', '3.7', '5', '--cluster', {address!r}]; main()"
    )
    done = python(script)
    assert done.returncode == 2
    assert "pip install '.[cluster]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_starts_no_cluster(tmp_path: Path, cohort: Path) -> None:
    where = ("--cluster", "tcp://127.0.0.1:9", "--dry-run")
    assert command("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, *where).returncode == 0


# ---- Slurm


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
    write_cohort(tmp_path / "cohort")
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
    _, said = running.communicate(timeout=60)
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
    script = f"import catnip2bids.engine.staff as staff\nstaff._SECONDS_BETWEEN_WORDS = 3\n{_MAIN}"
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
    _, said = running.communicate(timeout=180)
    assert running.returncode == 0, said
    assert files_of(target) == reference
