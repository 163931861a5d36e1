"""Measures how long it takes to find and list the cells of a segmentation, beside converting the segmentation.

Invariant: both run as whole processes and take turns. The cells are found by `package` of a dataset that lacks nothing
but its tables of cells, less the time of `package` of a dataset that lacks nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import sys
from pathlib import Path
from statistics import median

from make_series import Brain, Shape, make_series, read_shape
from measuring import Measurement, measure
from run import tell

_RUN = "210810_45670_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11"
_VOXEL_SIZE = ["--voxel-size", "3.7", "3.7", "5"]
_SEGMENTATION = "FRST_seg/FRSTseg_00010000"
_SERIES = {_SEGMENTATION: "mask", "atlaslabel_def_origspace_masked": "labels"}


def make_run(work: Path, shape: Shape) -> Path:
    """Write a run with a segmentation and labels, unless an earlier call did."""
    run = work / f"cells-{'x'.join(map(str, shape))}" / _RUN
    brain = Brain(shape, seed=0, has_separate_cells=True)
    for folder, kind in _SERIES.items():
        if not (run / folder).exists():
            tell(f"making up {folder}")
            make_series(run / folder, brain, kind)
    return run


def count_cells(dataset: Path) -> int:
    """Count the rows of all tables of cells."""
    n_rows = 0
    for table in dataset.rglob("*_cells.tsv.gz"):
        with gzip.open(table) as file:
            n_rows += sum(1 for _ in file) - 1
    return n_rows


def forget_cells(dataset: Path) -> None:
    """Remove the tables of cells, and their checksums, as if they had never been made."""
    provenance = dataset / "code/catnip2bids/provenance.json"
    document = json.loads(provenance.read_text())
    for run in document["runs"].values():
        for record in run["cells"].values():
            record["fingerprint"] = ""
    provenance.write_text(json.dumps(document))


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure finding and listing cells.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(192, 2048, 2560))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--memory", metavar="SIZE", default="1GiB")
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for run, dataset and image")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    run = make_run(given.work, given.size)
    dataset, image = given.work / "dataset-of-cells", given.work / "segmentation.ome.zarr"
    limits = ["--jobs", str(given.threads), "--memory", given.memory]
    package = ["package", str(run.parent), "-o", str(dataset), *_VOXEL_SIZE, *limits, "--no-report"]
    convert = ["convert", str(run / _SEGMENTATION), str(image), *_VOXEL_SIZE, "--kind", "mask", *limits]

    def measured(words: list[str]) -> Measurement:
        os.sync()
        found = measure([sys.executable, "-m", "catnip2bids", *words], given.work, given.threads)
        if found.error is not None:
            raise SystemExit(f"{words[0]}: {found.error}")
        tell(f"{words[0]}: {found.seconds:.2f} s, {found.peak_bytes / 1e6:.0f} MB")
        return found

    shutil.rmtree(dataset, ignore_errors=True)
    measured(package)
    times: dict[str, list[float]] = {"convert": [], "nothing to do": [], "cells": []}
    peaks = []
    for _ in range(given.rounds):
        shutil.rmtree(image, ignore_errors=True)
        times["convert"].append(measured(convert).seconds)
        times["nothing to do"].append(measured(package).seconds)
        forget_cells(dataset)
        with_cells = measured(package)
        times["cells"].append(with_cells.seconds)
        peaks.append(with_cells.peak_bytes)
    medians = {what: median(seconds) for what, seconds in times.items()}
    cells = medians["cells"] - medians["nothing to do"]
    n_cells = count_cells(dataset)
    sys.stdout.write(
        f"{n_cells:,} cells: {cells:.2f} s, converting the segmentation {medians['convert']:.2f} s, "
        f"ratio {cells / medians['convert']:.2f}; peak {max(peaks) / 2**20:.0f} MiB with --memory {given.memory}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
