"""Measures `catnip2bids verify` and `restore` against reading and hashing the same image plainly.

Invariant: both read the same dataset, run as whole processes on the same processor cores, and take turns. The plain way
reads level 0 with zarr-python (blocks of whole shards) or tifffile (planes) in threads, hashes each plane, and does
nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from make_series import read_shape
from run import prepare_series, tell
from turns import OURS, Work, table, take_turns

RUN: Final = "210810_1_wt_female_LH_14-48-50_decon_2021-10-28_12-39-11"
FORMATS: Final = ("ome-zarr", "ome-tiff")


def package(series: Path, work: Path, image_format: str) -> Path:
    """Package the series as the image of one run, if that was not done yet; returns the dataset."""
    from catnip2bids import Format, Settings
    from catnip2bids import package as package_sources

    cohort, dataset = work / f"cohort-{series.name}", work / f"dataset-{series.name}-{image_format}"
    if not cohort.exists():
        (cohort / RUN).mkdir(parents=True)
        (cohort / RUN / "640_N4").symlink_to(series.resolve())
    if not dataset.exists():
        tell(f"packaging as {image_format}")
        package_sources(
            [cohort], dataset, Settings(voxel_size_um=(3.7, 3.7, 5.0), image_format=Format(image_format), report=False)
        )
    return dataset


def read_plainly(dataset: Path, threads: int) -> None:
    """Read and hash level 0 of the image of a dataset."""
    (image,) = dataset.glob("sub-*/micr/*_SPIM.ome.*[rf]")
    with ThreadPoolExecutor(threads) as pool:
        if image.is_file():
            with tifffile.TiffFile(image) as tiff:
                n_planes = len(tiff.pages)
            hashes = list(pool.map(lambda plane: [_sha256(tifffile.imread(image, key=plane))], range(n_planes)))
        else:
            array = zarr.open_array(image / "0", mode="r")
            depth = (array.shards or array.chunks)[0]
            hashes = list(pool.map(lambda start: _hash_planes(array, start, depth), range(0, array.shape[0], depth)))
    sys.stdout.write(f"{sum(map(len, hashes))} planes\n")


def _hash_planes(array: zarr.Array, start: int, depth: int) -> list[str]:  # type: ignore[type-arg]
    """Hash some planes, which are stored in blocks of rows."""
    height = (array.shards or array.chunks)[1]
    planes = np.concatenate(
        [np.asarray(array[start : start + depth, top : top + height]) for top in range(0, array.shape[1], height)],
        axis=1,
    )
    return [_sha256(plane) for plane in planes]


def _sha256(plane: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(plane).data).hexdigest()


def work_of(dataset: Path, image_format: str, output: Path, threads: int) -> list[Work]:
    """Return what is measured."""
    ours = [sys.executable, "-m", "catnip2bids"]
    jobs = ["--jobs", str(threads)]
    verifying = {
        OURS: [*ours, "verify", str(dataset), *jobs],
        f"{OURS} --deep": [*ours, "verify", str(dataset), *jobs, "--deep"],
        "read and hash plainly": [sys.executable, __file__, "--plainly", str(dataset), "--threads", str(threads)],
    }
    restoring = {OURS: [*ours, "restore", str(dataset), "-o", str(output / "restored"), *jobs]}
    return [Work(f"verify {image_format}", verifying, output), Work(f"restore {image_format}", restoring, output)]


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure verifying and restoring a dataset.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(192, 2048, 2560))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--work", metavar="DIR", type=Path, help="for series, datasets and results")
    parser.add_argument("--plainly", metavar="DATASET", type=Path, help="only read and hash a dataset")
    given = parser.parse_args()
    if given.plainly:
        read_plainly(given.plainly, given.threads)
        return 0
    if given.work is None:
        parser.error("give a folder with --work")
    given.work.mkdir(parents=True, exist_ok=True)
    series = prepare_series(given.work, given.size, "image")
    datasets = {image_format: package(series, given.work, image_format) for image_format in FORMATS}
    works = [
        work
        for image_format, dataset in datasets.items()
        for work in work_of(dataset, image_format, given.work / "output", given.threads)
    ]
    found = {work.name: take_turns(work, given.rounds, given.threads) for work in works}
    (given.work / "results-verifying.md").write_text(table(found), encoding="utf-8")
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
