"""Predicts how long a command takes with 1 to 64 processor cores, from one run whose use of the processor is sampled.

The model: while at most one core is busy, more cores do not help; while more are busy, they share the work evenly. So
the command takes its serial seconds plus its parallel CPU seconds divided by the number of cores. The model knows
nothing of disks, memory and the number of units, so it gives a lower bound.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep
from typing import Final

import psutil
from cohort import commands, make_cohort
from make_series import read_shape

_SAMPLE_SECONDS: Final = 0.1
_SERIAL_CORES: Final = 1.2
"""Up to so many busy cores are one thread that works, and others that wait for it most of the time."""
_CORES: Final = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Profile:
    """How a run used the processor."""

    wall_seconds: float
    serial_seconds: float
    parallel_cpu_seconds: float

    def predicted_seconds(self, n_cores: int) -> float:
        """Return how long the same work takes with so many cores."""
        return self.serial_seconds + self.parallel_cpu_seconds / n_cores


def profile(samples: Sequence[tuple[float, float]]) -> Profile:
    """Divide a run into serial and parallel parts; samples are seconds since the start and CPU seconds until then."""
    serial = parallel = 0.0
    for (start, cpu_start), (stop, cpu_stop) in pairwise(samples):
        cpu = max(cpu_stop - cpu_start, 0)
        if cpu <= _SERIAL_CORES * (stop - start):
            serial += stop - start
        else:
            parallel += cpu
    return Profile(samples[-1][0] - samples[0][0], serial, parallel)


def run_sampled(command: Sequence[str], n_cores: int) -> Profile:
    """Run a command on so many cores, and sample how much CPU time all its processes have used."""
    cores = sorted(os.sched_getaffinity(0))[:n_cores]
    start = perf_counter()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    os.sched_setaffinity(child.pid, cores)
    process, samples = psutil.Process(child.pid), [(0.0, 0.0)]
    while child.poll() is None:
        sleep(_SAMPLE_SECONDS)
        samples.append((perf_counter() - start, max(_cpu_seconds(process), samples[-1][1])))
    if child.returncode != 0:
        assert child.stderr is not None
        raise SystemExit(f"{' '.join(command)}: {child.stderr.read().decode(errors='replace')}")
    return profile(samples)


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, of all below it, and of those below it that have ended."""
    seconds = 0.0
    try:
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    except psutil.Error:
        return 0.0  # one of them has just ended; the next sample has its time
    return seconds


def table(profiles: dict[int, Profile]) -> str:
    """Compare measured seconds with those that the run with the most cores predicts."""
    most = profiles[max(profiles)]
    lines = ["| cores | seconds measured | seconds predicted |", "| ---: | ---: | ---: |"]
    for n_cores in sorted({*_CORES, *profiles}):
        measured = f"{profiles[n_cores].wall_seconds:.1f}" if n_cores in profiles else ""
        lines.append(f"| {n_cores} | {measured} | {most.predicted_seconds(n_cores):.1f} |")
    return (
        f"from {max(profiles)} cores: {most.serial_seconds:.1f} s serial, "
        f"{most.parallel_cpu_seconds:.1f} s CPU in parallel\n\n" + "\n".join(lines) + "\n"
    )


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Predict how long packaging a cohort takes with more cores.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(160, 1400, 1200))
    parser.add_argument("--cores", metavar="N", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for cohort and datasets")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    cohort, profiles = make_cohort(given.work, given.size), {}
    for n_cores in given.cores:
        output = given.work / f"packaged-with-{n_cores}"
        package = commands(cohort, output, n_cores)["package"]
        profiles[n_cores] = run_sampled([sys.executable, "-m", "catnip2bids", *package, "--overwrite"], n_cores)
    sys.stdout.write(table(profiles))
    return 0


if __name__ == "__main__":
    sys.exit(main())
