"""Measures the whole job on a made-up cohort: packaging, packaging again, verifying and restoring.

Also converts a stack with strips of one row, as CATNIP writes them, with one and with all processors.

Invariant: each command runs as a whole process. Several Pythons, with a version of catnip2bids each, take turns.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from make_series import read_shape
from measuring import Measurement, measure
from run import tell

from catnip2bids.demo import write_cohort

_VOXEL_SIZE = ["--voxel-size", "3.7", "3.7", "5"]


def make_cohort(work: Path, shape: tuple[int, int, int]) -> Path:
    """Write a cohort of two animals, unless an earlier call did."""
    cohort = work / f"cohort-{'x'.join(map(str, shape))}"
    if not cohort.exists():
        tell(f"making up {cohort.name}")
        write_cohort(cohort, shape=shape, atlas_table=work / "atlas_info.txt")
    return cohort


def commands(cohort: Path, output: Path, n_threads: int) -> dict[str, list[str]]:
    """Return the arguments of all commands, in the order in which they run."""
    dataset, table, jobs = str(output / "dataset"), str(cohort.with_name("atlas_info.txt")), ["--jobs", str(n_threads)]
    package = ["package", str(cohort), "-o", dataset, "--atlas-table", table, *_VOXEL_SIZE, *jobs]
    stack = next(cohort.rglob("640_FRST_seg/*.tif"))
    convert = ["convert", str(stack), *_VOXEL_SIZE, "--kind", "mask"]
    return {
        "package": package,
        "package again": package,
        "verify": ["verify", dataset, *jobs],
        "restore": ["restore", dataset, "-o", str(output / "restored"), *jobs],
        "convert a stack, all jobs": [*convert, str(output / "image.ome.zarr"), *jobs],
        "convert a stack, 1 job": [*convert, str(output / "image-1.ome.zarr"), "--jobs", "1"],
    }


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure packaging, verifying and restoring a cohort.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(160, 1400, 1200))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--pythons", metavar="PYTHON", nargs="+", default=[sys.executable])
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for cohort, datasets and images")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    cohort = make_cohort(given.work, given.size)
    found: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    output = given.work / "packaging"
    for number in range(given.rounds):
        for python in given.pythons:
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir()
            for name, words in commands(cohort, output, given.threads).items():
                os.sync()
                measured = measure([python, "-m", "catnip2bids", *words], output, given.threads)
                if measured.error is not None:
                    raise SystemExit(f"{python}: {name}: {measured.error}")
                found[name, python].append(measured)
                tell(f"round {number + 1}: {name}: {measured.seconds:.2f} s")
    shutil.rmtree(output)
    sys.stdout.write("| what | Python | seconds | min | max | peak MB |\n| --- | --- | ---: | ---: | ---: | ---: |\n")
    for (name, python), runs in found.items():
        seconds = [run.seconds for run in runs]
        figures = " | ".join(f"{n:.2f}" for n in (median(seconds), min(seconds), max(seconds)))
        sys.stdout.write(f"| {name} | {python} | {figures} | {max(run.peak_bytes for run in runs) / 1e6:.0f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
