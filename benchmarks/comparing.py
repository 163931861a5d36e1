"""Measures `catnip2bids compare` against the usual loop, which decodes and hashes two folders plane after plane.

Invariant: both get the same two folders, run as whole processes on the same processor cores, and take turns.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import tifffile
from make_series import read_shape
from run import prepare_series, tell
from turns import OURS, Work, table, take_turns

CASES: Final = {
    "other_bytes": "same pixels, all files differ in bytes",
    "one_voxel": "one voxel of each plane differs",
    "same_bytes": "all files are copies",
}
EXIT_CODES: Final = {"other_bytes": 0, "one_voxel": 1, "same_bytes": 0}
_LEVEL, _ROWS_PER_STRIP = 9, 32  # not those of the series


def make_case(case: str, series: Path, folder: Path) -> None:
    """Make the folder that the series is compared with, if it is not there yet."""
    if folder.exists():
        return
    tell(f"making {folder.name}")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in sorted(series.iterdir()):
        if case == "same_bytes":
            shutil.copyfile(path, partial / path.name)
            continue
        plane = tifffile.imread(path)
        if case == "one_voxel":
            plane[plane.shape[0] // 2, plane.shape[1] // 2] ^= 1
        tifffile.imwrite(
            partial / path.name,
            plane,
            compression="ADOBE_DEFLATE",
            compressionargs={"level": _LEVEL},
            rowsperstrip=_ROWS_PER_STRIP,
            metadata=None,
        )
    partial.rename(folder)


def usual_loop(one: Path, two: Path) -> bool:
    """Decode and hash both sides of each pair, one after the other; tells whether pairs differ."""
    n_different = 0
    for path_1, path_2 in zip(sorted(one.iterdir()), sorted(two.iterdir()), strict=True):
        hashes = [hashlib.sha256(tifffile.imread(path).tobytes()).hexdigest() for path in (path_1, path_2)]
        n_different += hashes[0] != hashes[1]
    return n_different > 0


def work_of(case: str, series: Path, folder: Path) -> Work:
    """Return what is measured in a case, by name and command lines."""
    output = folder / "output"
    pair = [str(series), str(folder / f"{series.name}-{case}")]
    ways = {
        OURS: [sys.executable, "-m", "catnip2bids", "compare", *pair, "-o", str(output)],
        "usual loop": [sys.executable, str(Path(__file__)), "--loop", *pair],
    }
    return Work(CASES[case], ways, output, EXIT_CODES[case])


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure comparing two folders of slices.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(192, 2048, 2560))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--work", metavar="DIR", type=Path, help="for series and results")
    parser.add_argument("--loop", metavar="DIR", type=Path, nargs=2, help="only run the usual loop on two folders")
    given = parser.parse_args()
    if given.loop:
        return int(usual_loop(*given.loop))
    if given.work is None:
        parser.error("give a folder with --work")
    given.work.mkdir(parents=True, exist_ok=True)
    series = prepare_series(given.work, given.size, "image")
    for case in CASES:
        make_case(case, series, given.work / f"{series.name}-{case}")
    works = [work_of(case, series, given.work) for case in CASES]
    found = {work.name: take_turns(work, given.rounds, given.threads) for work in works}
    (given.work / "results-comparing.md").write_text(table(found), encoding="utf-8")
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
