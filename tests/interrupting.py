"""Kills packaging at random moments, again and again, and looks whether anything is wrong afterwards.

Whatever the moment: no image ever stands under its final name incomplete, and running the same command again gives,
byte for byte, the dataset of an uninterrupted run. As a script, on any cohort:

    python tests/interrupting.py SOURCE WORK --kills 50 --format ome-tiff
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fork_server import Program, start
from runs import dataset_files, files_of, images_of, partials_of

_PACKAGE = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from MAIN import main
from interrupting import settle_sizes
settle_sizes(sys.argv.pop(1))
main()
"""
USUAL = ",".join(str(n * 2**20) for n in (64, 40, 24, 1024))
SMALL = "4194304,1,1048576,65536"
"""Blocks and units so small that small volumes have several of each."""


def settle_sizes(sizes: str) -> None:
    """Let blocks and units of this process have other sizes."""
    from catnip2bids.engine import sequential_writer
    from catnip2bids.ome import levels

    usual, smallest, shard, unit = map(int, sizes.split(","))
    levels.USUAL_BLOCK_BYTES, levels.SMALLEST_BLOCK_BYTES = usual, smallest
    levels.SMALLEST_SHARD_BYTES = shard
    levels.SMALLEST_UNIT_BYTES = sequential_writer.BYTES_PER_MARKER = unit


@dataclass(frozen=True)
class Interrupted:
    """A dataset that is packaged again and again.

    Attributes
    ----------
    sources
        What is packaged.
    dataset
        The dataset.
    reference
        The same, packaged without an interruption.
    sizes
        Bytes of blocks, small blocks, small shards and units.
    options
        More words of the command.
    forked
        Whether programs are forked from one that has imported all, to be quick.
    """

    sources: Sequence[Path]
    dataset: Path
    reference: Path
    sizes: str = USUAL
    options: Sequence[str] = ()
    forked: bool = False

    def begin(
        self,
        dataset: Path | None = None,
        main: str = "catnip2bids.__main__",
        environment: Mapping[str, str] | None = None,
        before: Sequence[str | Path] = (),
    ) -> Program | subprocess.Popen[str]:
        """Start to package.

        Parameters
        ----------
        dataset
            Another dataset.
        main
            The module whose function `main` is the command line.
        environment
            Variables of the program.
        before
            Words in front of the command, such as those of another program that runs it.
        """
        words = ["package", *self.sources, "-o", dataset or self.dataset, "--voxel-size", 3.7, 3.7, 5, "--no-report"]
        words += self.options
        script = _PACKAGE.replace("MAIN", main)
        if self.forked and not before:
            return start(script, self.sizes, *words, environment=environment)
        command = [*before, sys.executable, "-c", script, self.sizes, *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)

    def package(self, dataset: Path | None = None) -> float:
        """Package to the end; returns how many seconds it took."""
        begin = time.perf_counter()
        process = self.begin(dataset)
        messages = said_by(process)
        if process.returncode != 0:
            raise AssertionError(f"packaging ended with {process.returncode}: {messages}")
        return time.perf_counter() - begin

    def kill(self, seconds: float) -> bool:
        """Package, and kill it after so many seconds; tells whether it was still at work then."""
        process = self.begin()
        try:
            said_by(process, seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said_by(process)
        return process.returncode == -signal.SIGKILL

    def broken_images(self) -> list[str]:
        """List the images that stand under their final names and are not what they should be."""
        if not self.dataset.exists():
            return []
        return [
            image
            for image in sorted(images_of(self.dataset))
            if files_of(self.dataset / image) != files_of(self.reference / image)
        ]

    def differences(self) -> list[str]:
        """List the files that differ from those of an uninterrupted run, and what was left behind."""
        ours, theirs = dataset_files(self.dataset), dataset_files(self.reference)
        differing = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
        return differing + [str(path) for path in partials_of(self.dataset)]


def said_by(process: Program | subprocess.Popen[str], seconds: float = 600) -> str:
    """Wait for the end of a program; returns its messages."""
    if isinstance(process, Program):
        process.wait(seconds)
        return process.said
    return process.communicate(timeout=seconds)[1]


def interruptions(job: Interrupted, n_kills: int, seed: int = 0) -> Iterator[str]:
    """Kill packaging so many times at random moments; yields a line on each, and raises where something is wrong.

    Some datasets are killed once, others several times before they are finished.
    """
    chance = random.Random(seed)
    seconds = job.package(job.reference)
    yield f"uninterrupted: {seconds:.1f} s"
    n_left = n_kills
    while n_left:
        shutil.rmtree(job.dataset, ignore_errors=True)
        moments = []
        for _ in range(min(chance.choice((1, 1, 2, 4)), n_left)):
            moments.append(chance.uniform(0, seconds))
            at_work = job.kill(moments[-1])
            n_left -= 1
            if broken := job.broken_images():
                raise AssertionError(f"killed after {moments}: incomplete under their final names: {broken}")
            if not at_work:
                break
        n_whole = len(images_of(job.dataset)) if job.dataset.exists() else 0
        again = job.package()
        if found := job.differences():
            raise AssertionError(f"killed after {moments} and finished: {found}")
        shown = ", ".join(f"{moment:.2f} s" for moment in moments)
        yield f"killed after {shown}: {n_whole} images whole; finished in {again:.1f} s, the same; {n_left} kills left"


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, nargs="+", help="a cohort, and at last the folder to work in")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small-units", action="store_true", help="let small volumes have several units")
    parser.add_argument("--format", default="ome-zarr")
    given = parser.parse_args()
    *sources, work = given.source
    sizes = SMALL if given.small_units else USUAL
    job = Interrupted(sources, work / "dataset", work / "reference", sizes, ("--format", given.format))
    for line in interruptions(job, given.kills, given.seed):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
