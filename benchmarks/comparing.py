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
from statistics import median
from typing import Final

import tifffile
from make_series import read_shape
from measuring import Measurement, measure
from run import prepare_series, tell

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


def commands(one: Path, two: Path, output: Path) -> dict[str, list[str]]:
    """Return the command line of each way."""
    ours = ["-m", "catnip2bids", "compare", str(one), str(two), "-o", str(output)]
    return {
        "catnip2bids": [sys.executable, *ours],
        "usual loop": [sys.executable, str(Path(__file__)), "--loop", str(one), str(two)],
    }


def measure_case(case: str, series: Path, work: Path, rounds: int, n_cores: int) -> dict[str, list[Measurement]]:
    """Run both ways in turn; each round begins with the other one."""
    output = work / "output"
    ways = commands(series, work / f"{series.name}-{case}", output)
    found: dict[str, list[Measurement]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            measured = measure(ways[way], output, n_cores, EXIT_CODES[case])
            if measured.error is not None:
                raise SystemExit(f"{way}: {measured.error}")
            found[way].append(measured)
            tell(f"{case}, round {number + 1}: {way}: {measured.seconds:.2f} s")
    shutil.rmtree(output)
    return found


def table(found: dict[str, dict[str, list[Measurement]]]) -> str:
    """Return all medians as a Markdown table."""
    lines = [
        "| what | way | seconds | min | max | x ours | peak MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, ways in found.items():
        ours = median(run.seconds for run in ways["catnip2bids"])
        for way, runs in ways.items():
            seconds = [run.seconds for run in runs]
            peak = max(run.peak_bytes for run in runs) / 1e6
            figures = [f"{n:.2f}" for n in (median(seconds), min(seconds), max(seconds), median(seconds) / ours)]
            lines.append(f"| {CASES[case]} | {way} | {' | '.join(figures)} | {peak:.0f} |")
    return "\n".join(lines) + "\n"


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
    found = {case: measure_case(case, series, given.work, given.rounds, given.threads) for case in CASES}
    (given.work / "results-comparing.md").write_text(table(found), encoding="utf-8")
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
