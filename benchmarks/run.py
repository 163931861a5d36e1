"""Measures all ways to make an image of a folder of slices against each other, in one sitting.

Invariant: all ways get the same slices, the same number of processor cores and an empty output folder, each runs as a
whole process while nothing else of the benchmark does, and they take turns, so that a machine that becomes slower
becomes slower for all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import tifffile
from checking import check
from make_series import KINDS, Brain, Shape, make_series, make_stack, read_shape
from measuring import Measurement, last_line, measure
from results import SeriesResult, Sitting, WayResult
from tools import LIMITS, OURS, READING_STACKS, WAYS, ToolError, all_ways, prepare, versions


@dataclass(frozen=True)
class Runner:
    """Runs ways on one series.

    Attributes
    ----------
    series
        Folder of slices.
    kind
        What the slices are.
    threads
        Threads each way may use.
    work
        Folder for outputs.
    pythons
        The Python of each way that can be run.
    """

    series: Path
    kind: str
    threads: int
    work: Path
    pythons: dict[str, str]

    @property
    def our_image(self) -> Path:
        """Our image of the series, which the limit of encoding starts from."""
        return self.work / "ours" / "image.ome.zarr"

    def run(self, way: str, result: WayResult) -> None:
        """Run a way once, and add what was found to its result; its output is removed."""
        output = self.work / "output"
        measured = self._measure(way, output)
        if measured.error is not None:
            result.error = measured.error
        elif way not in LIMITS and not result.runs:
            try:
                result.check = check(output, self.series)
            except Exception as error:  # whatever another tool may write
                result.error = f"its output cannot be read: {last_line(str(error))}"
        result.runs.append(measured)
        shutil.rmtree(output)

    def make_our_image(self) -> str | None:
        """Make our image; returns why it could not be made."""
        return self._measure(OURS, self.our_image.parent).error

    def _measure(self, way: str, output: Path) -> Measurement:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        os.sync()  # nothing that was written before is still on its way to the disk
        source = self.our_image if way == "encode_only" else self.series
        script, target = WAYS / f"{way}.py", output / "image.ome.zarr"
        words = [self.pythons[way], script, source, target, "--kind", self.kind, "--threads", self.threads]
        return measure([str(word) for word in words], output, self.threads)


def run_series(runner: Runner, ways: dict[str, WayResult], rounds: int) -> None:
    """Run all ways in turn, so many rounds; each round begins with another way."""
    if "encode_only" in ways and ways["encode_only"].error is None:
        ways["encode_only"].error = runner.make_our_image()
    for number in range(rounds):
        names = list(ways)
        first = number % len(names)
        for way in names[first:] + names[:first]:
            if ways[way].error is None:
                runner.run(way, ways[way])
                tell(f"round {number + 1}: {way}: {ways[way].error or f'{ways[way].seconds[-1]:.2f} s'}")
    shutil.rmtree(runner.our_image.parent, ignore_errors=True)


def prepare_series(work: Path, shape: Shape, kind: str) -> Path:
    """Make the series of a size if it is not there yet; returns its folder."""
    folder = work / f"{kind}-{'x'.join(map(str, shape))}"
    if not folder.exists():
        tell(f"making {folder.name}")
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        make_series(partial, Brain(shape, 0), kind)
        partial.rename(folder)
    return folder


def prepare_stack(series: Path) -> None:
    """Make the stack of a series, beside its folder, if it is not there yet."""
    stack = series.with_suffix(".tif")
    if not stack.exists():
        tell(f"making {stack.name}")
        partial = stack.with_name(stack.name + ".partial")
        make_stack(partial, series)
        partial.rename(stack)


def prepare_ways(names: list[str], base_python: str) -> tuple[dict[str, str], dict[str, str]]:
    """Make the environments of the ways; returns their Pythons, and why others cannot be run."""
    pythons, errors = {}, {}
    for way in names:
        tell(f"preparing {way}")
        try:
            pythons[way] = prepare(way, base_python)
        except ToolError as error:
            errors[way] = f"cannot be installed: {error}"
    return pythons, errors


def describe_machine() -> dict[str, str]:
    """Say what the figures depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
    }


def tell(message: str) -> None:
    """Say how it goes, beside the results."""
    sys.stderr.write(message + "\n")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure all ways to make an image of a folder of slices.")
    known = all_ways()

    def read_ways(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"no such way: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, nargs="+", required=True, help="one or several")
    parser.add_argument("--kind", choices=KINDS, default="image")
    parser.add_argument("--rounds", metavar="N", type=int, default=5)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for series, outputs and results")
    parser.add_argument("--ways", metavar="WAY,WAY", type=read_ways, default=known, help=f"of {', '.join(known)}")
    parser.add_argument("--tools-python", metavar="PYTHON", default=sys.executable, help="for the other tools")
    given = parser.parse_args()
    if "encode_only" in given.ways and OURS not in given.ways:
        parser.error(f"encode_only starts from our image: name {OURS} too")
    return given


def main() -> int:
    """Run the benchmark as the command line says; returns 1 if a way failed."""
    given = read_arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    pythons, errors = prepare_ways(given.ways, given.tools_python)
    found = {way: versions(way, python) for way, python in pythons.items()}
    sitting = Sitting(given.kind, given.threads, given.rounds, describe_machine(), found)
    for shape in given.size:
        folder = prepare_series(given.work, shape, given.kind)
        if set(given.ways) & set(READING_STACKS):
            prepare_stack(folder)
        slices = list(folder.iterdir())
        n_bytes = len(slices) * int(tifffile.imread(slices[0]).nbytes)
        compressed_bytes = sum(path.stat().st_size for path in slices)
        ways = {way: WayResult(error=errors.get(way)) for way in given.ways}
        sitting.series.append(SeriesResult(shape, n_bytes, compressed_bytes, ways))
        run_series(Runner(folder, given.kind, given.threads, given.work, pythons), ways, given.rounds)
        (given.work / f"results-{given.kind}.md").write_text(sitting.markdown(), encoding="utf-8")
        document = json.dumps(sitting.document(), indent=2) + "\n"
        (given.work / f"results-{given.kind}.json").write_text(document, encoding="utf-8")
    sys.stdout.write(sitting.markdown())
    return int(any(way.error is not None for result in sitting.series for way in result.ways.values()))


if __name__ == "__main__":
    sys.exit(main())
