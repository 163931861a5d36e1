"""Measures `catnip2bids convert` to OME-TIFF against the usual script and against copying, of slices and of a stack.

Invariant: all ways get the same files, run as whole processes on the same processor cores, and take turns. What ours
writes is compared with the slices once, by tifffile.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import numpy as np
import tifffile
from make_series import ROWS_PER_STRIP, read_shape
from run import prepare_series, tell
from turns import OURS, Work, table, take_turns

VOXEL_SIZE_UM: Final = ("3.7", "3.7", "5")
_WAYS: Final = Path(__file__).parent / "ways"


def make_stack(series: Path, stack: Path, rows_per_strip: int) -> None:
    """Put all slices into one TIFF without OME-XML, if that was not done yet."""
    if stack.exists():
        return
    tell(f"making {stack.name}")
    partial = stack.with_suffix(".partial")
    with tifffile.TiffWriter(partial, bigtiff=True) as tiff:
        for path in sorted(series.iterdir()):
            plane = tifffile.imread(path)
            tiff.write(plane, compression="ADOBE_DEFLATE", rowsperstrip=rows_per_strip, contiguous=False, metadata=None)
    partial.rename(stack)


def usual_way(stack: Path, target: Path) -> None:
    """Read the stack into memory, and write it again with OME-XML and Deflate."""
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 5.0, "PhysicalSizeY": 3.7, "PhysicalSizeX": 3.7}
    tifffile.imwrite(
        target,
        tifffile.imread(stack),
        bigtiff=True,
        ome=True,
        photometric="minisblack",
        metadata=metadata,
        compression="ADOBE_DEFLATE",
    )


def ours(source: Path, output: Path, *options: str) -> list[str]:
    """Return our command line."""
    words = ["-m", "catnip2bids", "convert", str(source), str(output / "image.ome.btf"), "--voxel-size"]
    return [sys.executable, *words, *VOXEL_SIZE_UM, *options]


def works(series: Path, stack: Path, output: Path, threads: int, *, usual: bool) -> list[Work]:
    """Return what is measured, with or without the usual script."""
    jobs, image = ("--jobs", str(threads)), str(output / "image.ome.btf")
    script = [str(_WAYS / "prior_art_ome_tiff.py"), str(series), image, "--threads", str(threads)]
    aggregate = {
        OURS: ours(series, output, *jobs),
        f"{OURS} --check": ours(series, output, *jobs, "--check"),
        f"{OURS} --pyramid": ours(series, output, *jobs, "--pyramid"),
        "usual script": [sys.executable, *script],
        "cp -r": ["cp", "-r", str(series), str(output)],
        "cp -r, and to disk": ["sh", "-c", f"cp -r '{series}' '{output}' && sync '{output}'/*/*"],
    }
    describe = {
        OURS: ours(stack, output, *jobs),
        f"{OURS} --check": ours(stack, output, *jobs, "--check"),
        "usual script": [sys.executable, str(Path(__file__)), "--usual", str(stack), image],
        "cp": ["cp", str(stack), image],
        "cp, and to disk": ["sh", "-c", f"cp '{stack}' '{image}' && sync '{image}'"],
    }
    if not usual:
        del aggregate["usual script"], describe["usual script"]
    return [Work("slices to one OME-TIFF", aggregate, output), Work("OME-XML onto a stack", describe, output)]


def check(series: Path, source: Path, output: Path) -> None:
    """Refuse to go on if what ours writes has other pixels than the slices."""
    from catnip2bids import convert

    output.mkdir(parents=True, exist_ok=True)
    made = convert(source, output / "check.ome.btf", (3.7, 3.7, 5.0), overwrite=True).path
    with tifffile.TiffFile(made) as tiff:
        for page, path in zip(tiff.pages, sorted(series.iterdir()), strict=True):
            if not np.array_equal(page.asarray(), tifffile.imread(path)):
                raise SystemExit(f"{path.name}: other pixels in the OME-TIFF")


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure writing OME-TIFF.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(192, 2048, 2560))
    parser.add_argument("--rows-per-strip", metavar="N", type=int, default=ROWS_PER_STRIP, help="of the stack")
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--work", metavar="DIR", type=Path, help="for series and results")
    parser.add_argument("--not-usual", action="store_true", help="leave the usual script out: it reads all into memory")
    parser.add_argument("--usual", metavar=("STACK", "TARGET"), type=Path, nargs=2, help="only run the usual script")
    given = parser.parse_args()
    if given.usual:
        usual_way(*given.usual)
        return 0
    if given.work is None:
        parser.error("give a folder with --work")
    given.work.mkdir(parents=True, exist_ok=True)
    series = prepare_series(given.work, given.size, "image")
    stack = given.work / f"{series.name}-rows-{given.rows_per_strip}.tif"
    make_stack(series, stack, given.rows_per_strip)
    output = given.work / "output"
    for source in (series, stack):
        check(series, source, output)
    measured = works(series, stack, output, given.threads, usual=not given.not_usual)
    found = {work.name: take_turns(work, given.rounds, given.threads) for work in measured}
    (given.work / "results-ome-tiff.md").write_text(table(found), encoding="utf-8")
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
