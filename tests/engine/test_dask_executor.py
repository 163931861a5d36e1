"""The same work on real clusters: Dask schedulers with workers. The same files come out."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

import catnip2bids
from catnip2bids.engine import Resources, resources_for
from catnip2bids.engine.dask_executor import ClusterExecutor, _locked
from catnip2bids.enums import Cluster
from catnip2bids.errors import SourceError, WorkerError
from catnip2bids.locks import create_step_lock
from catnip2bids.packaging import expected_result, package, run_preflight
from catnip2bids.progress import Progress
from cluster_work import (
    VOXEL_SIZE,
    cohort,
    packaged,
    two,
)
from clusters import DaskCluster, dask_cluster, wait_for
from fork_server import command
from runs import (
    KO,
    dataset_files,
    files_of,
    partials_of,
    settings,
    slices_of,
)

__all__ = ["cohort", "packaged", "two"]


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "ome-tiff", "--pyramid"),
        pytest.param(("--ome-zarr-version", "0.4"), marks=pytest.mark.slow),
    ],
    ids=["ome-tiff", "0.4"],
)
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


@pytest.mark.slow
def test_verifying_comparing_and_converting_is_the_same_too(
    tmp_path: Path, cohort: Path, packaged: Path, two: DaskCluster
) -> None:
    where = ("--cluster", two.address)
    shutil.copytree(packaged, tmp_path / "dataset")
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


@pytest.mark.slow
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


def test_no_two_threads_of_a_worker_are_at_the_same_unit(tmp_path: Path) -> None:
    lock, order = create_step_lock(tmp_path / "planes-000000.json", "run"), []

    def work(name: str) -> None:
        with _locked(lock):
            order.append(f"{name} begins")
            time.sleep(0.2)
            order.append(f"{name} ends")

    with ThreadPoolExecutor() as threads:
        list(threads.map(work, "abc"))
    for begins, ends in zip(order[::2], order[1::2], strict=True):
        assert begins.split()[0] == ends.split()[0]


@pytest.mark.slow
def test_no_more_is_handed_over_than_workers_need(two: DaskCluster) -> None:
    from distributed import Client

    def n_tasks(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    most = 0
    with resources_for(Cluster(two.address), None, None, lambda _: None) as resources, Client(two.address) as watching:
        assert resources.executor is not None
        doing = []
        for number in range(200):
            doing.append(resources.executor.submit(abs, -number))
            if number % 10 == 0:
                most = max(most, watching.run_on_scheduler(n_tasks))
        assert [future.result() for future in doing] == list(range(200))
    assert 0 < most <= 2 * resources.n_threads + 2


@pytest.mark.slow
def test_workers_of_several_threads_share_their_memory(tmp_path: Path, cohort: Path, packaged: Path) -> None:
    with dask_cluster(tmp_path / "dask", 1, "--nthreads", "2", "--memory-limit", "3GiB") as cluster:
        words = ("package", cohort, "-o", tmp_path / "there", *VOXEL_SIZE, "--no-report")
        done = command(*words, "--cluster", cluster.address)
    assert done.returncode == 0, done.stderr
    assert "1 worker of 2 threads" in done.stderr
    assert dataset_files(tmp_path / "there") == dataset_files(packaged)


@pytest.mark.slow
def test_workers_that_come_later_are_given_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    def n_tasks(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    with (
        dask_cluster(tmp_path / "dask", 1) as cluster,
        resources_for(Cluster(cluster.address), None, None, lambda _: None) as resources,
        Client(cluster.address) as watching,
        ThreadPoolExecutor(1) as handing_over,
    ):
        monkeypatch.setattr("catnip2bids.engine.dask_executor._SECONDS_BETWEEN_CHECKS", 0.5)
        executor = resources.executor
        assert executor is not None
        doing = handing_over.submit(lambda: [executor.submit(time.sleep, 0.5) for _ in range(30)])
        time.sleep(1)
        assert watching.run_on_scheduler(n_tasks) <= 3
        cluster.hire()  # the first count is after five seconds
        wait_for(lambda: watching.run_on_scheduler(n_tasks) >= 4, 20)
        for future in doing.result():
            future.result()


@pytest.mark.slow
def test_workers_with_as_much_memory_as_estimated_are_enough(tmp_path: Path, cohort: Path) -> None:
    prepared = run_preflight([cohort], tmp_path / "out", settings(), None, Resources(1, 2**30), Progress())
    expected = expected_result(prepared, Progress()).estimate
    assert expected is not None
    with dask_cluster(tmp_path / "dask", 0) as cluster:
        cluster.hire("--memory-limit", str(expected.worker_bytes), within=("env",))  # a forked one holds all imports
        words = ("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, "--no-report")
        done = command(*words, "--cluster", cluster.address)
    assert done.returncode == 0, done.stderr


def test_patience_begins_when_the_last_task_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.engine.dask_executor._SECONDS_BETWEEN_CHECKS", 0.1)
    client = ClientWithoutWorkers()
    executor = ClusterExecutor(cast(Any, client), 4, patience_s=2)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:  # tasks end so often that nobody looks for workers meanwhile
        ended = executor.submit(len, "x")
        client.tasks[-1].end()
        assert ended.result(5) == 7
        time.sleep(0.02)
    begun = time.monotonic()
    with pytest.raises(WorkerError, match="no worker is left"):
        executor.submit(len, "x").result(10)
    assert time.monotonic() - begun > 1.5
    executor.shutdown()


class ClientWithoutWorkers:
    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:  # noqa: ARG002 (as Dask's)
        return {"workers": {}}

    def submit(self, *_arguments: Any, **_options: Any) -> Task:
        self.tasks.append(Task())
        return self.tasks[-1]


class Task:
    status = "finished"

    def add_done_callback(self, callback: Callable[[Task], object]) -> None:
        self.callback = callback

    def end(self) -> None:
        self.callback(self)

    def result(self, timeout: float) -> int:  # noqa: ARG002 (as Dask's)
        return 7
