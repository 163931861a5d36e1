"""Measures `catnip2bids report` on made-up datasets: how long it takes, how much memory, how large the pages are.

Invariant: the command is run as a whole process. A cohort has planes as large as small pictures can be and as many
regions as an atlas; `--large` adds a sample as large as the largest brains, of which only levels exist that are read.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from make_series import read_shape
from measuring import measure
from run import tell

from catnip2bids.bids.cell_tables import CELLS_COLUMNS, UNCOUNTED_COLUMNS, CellBlock, encode_cells, encode_header
from catnip2bids.bids.dataset_paths import CELLS_ENDING, UNCOUNTED_ENDING
from catnip2bids.demo import RunSpec, write_run
from catnip2bids.packaging import Settings, package

_GENOTYPES: Final = ("ko", "wt", "floxed")
_N_BRAINS: Final = 3  # making one up takes long
_N_REGIONS: Final = 600
_BLOCKS: Final = (8, 4, 4)  # of voxels, in which a region of the made-up brain is divided
_NAME: Final = "{day}_{id}_{genotype}_{sex}_{side}_14-48-50_decon_2021-10-28_12-39-11"
_LARGE: Final = (1786, 13413, 10130)
_LARGE_VOXEL_UM: Final = (5.0, 1.0, 1.0)
_LARGE_LEVELS: Final = 5  # of which the last is that of the small brain, and the one before is made of it
_N_CELLS: Final = 1_000_000


def make_dataset(work: Path, n_samples: int, shape: tuple[int, int, int]) -> Path:
    """Make up a cohort and package it, if that was not done yet."""
    dataset = work / f"report-{n_samples}-{'x'.join(map(str, shape))}"
    groups = itertools.cycle(itertools.product(_GENOTYPES, ("female", "male"), ("LH", "RH")))
    for number, (genotype, sex, side) in zip(range(n_samples), groups, strict=False):
        name = _NAME.format(day=210801 + number, id=47000 + number, genotype=genotype, sex=sex, side=side)
        if next(dataset.glob(f"sub-{47000 + number}*"), None) is None:
            tell(f"making up and packaging {name}")
            brain = work / f"brain-{number % _N_BRAINS}-{'x'.join(map(str, shape))}"
            if not brain.exists():
                write_run(work, RunSpec(brain.name, layout="L0", shape=shape, seed=number, exclusion=True))
                _divide_regions(brain)
            brain.rename(work / name)
            package([work / name], dataset, Settings(voxel_size_um=(3.7, 3.7, 5.0), report=False))
            (work / name).rename(brain)
    return dataset


def _divide_regions(run: Path) -> None:
    """Divide the regions of a made-up brain into as many as an atlas has, in its labels and in its tables."""
    volumes = np.zeros(_N_REGIONS + 1, np.int64)
    for folder in ("atlaslabel_def_origspace", "atlaslabel_def_origspace_masked"):
        files = sorted((run / folder).glob("*.tif"))
        for z, file in enumerate(files):
            labels = _divided(tifffile.imread(file), z * _BLOCKS[0] // len(files))
            tifffile.imwrite(file, labels, photometric="minisblack", compression="zlib", metadata=None)
            if folder.endswith("masked"):
                volumes += np.bincount(labels.ravel(), minlength=_N_REGIONS + 1)
    for number, table in enumerate(run.glob("640_FRST_seg*/*.csv")):
        cells = np.random.default_rng(number).poisson(volumes / 2000)
        with table.open("w", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(["Label_ID", "Name", "Acronym", "Cell_Count", "Label_Volume(Pixels)"])
            for label in range(1, _N_REGIONS + 1):
                writer.writerow(
                    [label, f"Made-up_area_number_{label}_layer_2/3", f"MUA{label}", cells[label], volumes[label]]
                )


def _divided(labels: npt.NDArray[Any], block: int) -> npt.NDArray[np.uint16]:
    y, x = (np.arange(n) * n_blocks // n for n, n_blocks in zip(labels.shape, _BLOCKS[1:], strict=True))
    places = (block * _BLOCKS[1] + y[:, np.newaxis]) * _BLOCKS[2] + x
    divided = (labels.astype(np.int64) * 131 + places * 17) % _N_REGIONS + 1
    return np.where(labels == 0, 0, divided).astype(np.uint16)


def make_large_dataset(work: Path) -> Path:
    """Make up a sample whose level 0 has the shape of the largest brains, with a million cells."""
    large = work / "report-large"
    if large.exists():
        return large
    z, y, x = (-(-n // 2 ** (_LARGE_LEVELS - 1)) for n in _LARGE)
    make_dataset(work, 1, (z, y, x)).rename(large)
    provenance = large / "code/catnip2bids/provenance.json"
    document = json.loads(provenance.read_bytes())
    [(key, run)] = document["runs"].items()
    for path, image in run["images"].items():
        if image["role"] in ("N4", "atlas", "hemispheremask"):
            tell(f"enlarging {path}")
            _enlarge(large / path)
            image.update(shape=_LARGE, voxel_size_um=_LARGE_VOXEL_UM[::-1])
    provenance.write_text(json.dumps(document))
    for table in large.glob(f"derivatives/*/sub-*/micr/{key}_*{CELLS_ENDING}"):
        _write_cells(table, _N_CELLS, CELLS_COLUMNS, ())
        _write_cells(
            Path(str(table).replace(CELLS_ENDING, UNCOUNTED_ENDING)), _N_CELLS // 4, UNCOUNTED_COLUMNS, ("outside",)
        )
    return large


def _enlarge(image: Path) -> None:
    """Put larger levels before those of an image: one with pixels, and larger ones that are only declared."""
    n_more = _LARGE_LEVELS - 1
    for level in sorted((int(path.name) for path in image.iterdir() if path.is_dir()), reverse=True):
        (image / str(level)).rename(image / str(level + n_more))
    small = zarr.open_array(image / str(n_more), mode="r")
    document = json.loads((image / str(n_more) / "zarr.json").read_bytes())
    for level in range(n_more):
        (image / str(level)).mkdir()
        document["shape"] = [-(-n // 2**level) for n in _LARGE]
        (image / str(level) / "zarr.json").write_text(json.dumps(document))
    large = zarr.open_array(image / str(n_more - 1), mode="r+")
    depth = large.shards[0] if large.shards else large.chunks[0]
    for z in range(0, large.shape[0], depth):
        part = np.asarray(small[z // 2 : (z + depth) // 2 + 1])
        for axis in range(3):
            part = part.repeat(2, axis=axis)
        large[z : z + depth] = part[: min(depth, large.shape[0] - z), : large.shape[1], : large.shape[2]]
    group = json.loads((image / "zarr.json").read_bytes())
    [multiscale] = group["attributes"]["ome"]["multiscales"]
    n_levels = len(multiscale["datasets"]) + n_more
    multiscale["datasets"] = [
        _dataset(level, [size * 2**level for size in _LARGE_VOXEL_UM]) for level in range(n_levels)
    ]
    (image / "zarr.json").write_text(json.dumps(group))


def _dataset(level: int, scale: list[float]) -> dict[str, Any]:
    return {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}


def _write_cells(table: Path, n_cells: int, columns: tuple[str, ...], reasons: tuple[str, ...]) -> None:
    random = np.random.default_rng(n_cells)
    with table.open("wb") as file:
        file.write(encode_header(columns))
        for first in range(0, n_cells, 2**16):
            n = min(2**16, n_cells - first)
            places, volumes = random.random((n, 3)) * (np.array(_LARGE) - 1), random.integers(50, 900, n)
            regions = np.zeros(n, np.int64) if reasons else random.integers(1, _N_REGIONS + 1, n)
            cells = CellBlock(places, volumes, regions, np.zeros(n, np.bool_), reasons * n)
            file.write(encode_cells(cells, _LARGE_VOXEL_UM, {}))


def measure_report(what: str, make: Callable[[], Path], n_rounds: int, n_threads: int) -> None:
    """Measure the report of a dataset, and print a line."""
    dataset = make()
    words = [sys.executable, "-m", "catnip2bids", "report", str(dataset)]
    report = dataset / "docs/report"
    rounds = [measure(words, report, n_threads) for _ in range(n_rounds)]
    failed = [found.error for found in rounds if found.error is not None]
    if failed:
        raise SystemExit(failed[0])
    pages = [path.stat().st_size for path in report.glob("*.html")]
    sys.stdout.write(
        f"{what}: {median(found.seconds for found in rounds):.1f} s, "
        f"{max(found.peak_bytes for found in rounds) / 1e6:.0f} MB of memory, "
        f"{len(pages)} pages of {sum(pages) / 1e6:.1f} MB, the largest {max(pages) / 1e6:.1f} MB\n"
    )


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure drawing a report.")
    parser.add_argument("--samples", metavar="N", type=int, default=24)
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(96, 640, 544))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument(
        "--large", action="store_true", help="also one sample of 1,786 planes of 13,413 x 10,130 pixels"
    )
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for cohort and dataset")
    given = parser.parse_args()
    samples, size = given.samples, given.size
    measure_report(f"{samples} samples", lambda: make_dataset(given.work, samples, size), given.rounds, given.threads)
    if given.large:
        measure_report("one large sample", lambda: make_large_dataset(given.work), given.rounds, given.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
