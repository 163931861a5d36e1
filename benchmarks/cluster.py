"""Measures work on a Dask cluster: how two workers compare with one, and what handing over many units costs.

Invariant: workers are processes of their own, with one thread and one processor core each. Ways take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from make_series import read_shape
from measuring import measure
from run import prepare_series, tell

_WORKER: Final[dict[str, Any]] = {"threads_per_worker": 1, "memory_limit": "2GiB", "dashboard_address": None}


@contextmanager
def pinned_workers(folder: Path, n_workers: int) -> Iterator[str]:
    """Run a scheduler, and workers that each have one processor core, as a job of one core has; yields the address."""
    file, processes = folder / "scheduler.json", []
    file.unlink(missing_ok=True)
    commands = [[sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", str(file), "--port", "0"]]
    for core in range(n_workers):
        words = ["--scheduler-file", str(file), "--nthreads", "1", "--memory-limit", "2GiB", "--no-nanny"]
        pinned = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "distributed.cli.dask_worker", *words]
        commands.append([*pinned, "--no-dashboard"])
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL))
            while not (file.is_file() and file.stat().st_size):
                time.sleep(0.1)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def scaling(series: Path, work: Path, rounds: int) -> str:
    """Convert a series with one and with two workers; returns a sentence."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for n_workers, seconds in found.items():
            output = work / "output"
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir()
            os.sync()
            with pinned_workers(work, n_workers) as address:
                words = [sys.executable, "-m", "catnip2bids", "convert", str(series), str(output / "image.ome.zarr")]
                words += ["--voxel-size", "3.7", "3.7", "5", "--cluster", address]
                measured = measure(words, output, os.cpu_count() or 1)
            if measured.error is not None:
                raise SystemExit(measured.error)
            seconds.append(measured.seconds)
            tell(f"{n_workers} worker(s): {measured.seconds:.2f} s")
    one, two = (median(found[n]) for n in (1, 2))
    return f"one worker {one:.1f} s, two workers {two:.1f} s: {one / two:.2f} times as fast"


_SLOTS = 256
"""Threads of the cluster that units are handed over to as if it had so many: the more, the more are on their way."""


def handing_over(n_units: int) -> str:
    """Hand over units that do nothing; returns a sentence."""
    import psutil
    from distributed import Client, LocalCluster

    from catnip2bids.engine.dask_executor import ClusterExecutor

    with LocalCluster(n_workers=2, **_WORKER) as cluster, Client(cluster) as client:
        executor, scheduler = ClusterExecutor(client, _SLOTS), psutil.Process()
        before, start, most = scheduler.memory_info().rss, perf_counter(), 0
        first = executor.submit(abs, -1).result() and perf_counter() - start
        for number in range(n_units):
            executor.submit(abs, -number)
            if number % 1000 == 0:
                most = max(most, scheduler.memory_info().rss - before)
        seconds = perf_counter() - start
    return (
        f"{n_units:,} units: the first one done after {first:.2f} s, all handed over after {seconds:.0f} s "
        f"({n_units / seconds:.0f} a second), scheduler and client together {most / 1e6:.0f} MB larger at the most"
    )


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure work on a Dask cluster.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(512, 2048, 2560))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--units", metavar="N", type=int, default=100_000)
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for series and images")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    series = prepare_series(given.work, given.size, "image")
    sys.stdout.write(f"{scaling(series, given.work, given.rounds)}\n{handing_over(given.units)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
