"""Puts damaged TIFF files through `catnip2bids convert` and looks what comes of it.

Whatever the damage: either the command says which file is wrong and leaves nothing behind, or the pixels are those
that libtiff decodes. Never a traceback, never a hang, never more than 1 GiB. As a script, as often as wanted:

    python tests/mutilating.py WORK --cases 2000 --zoo FOLDER_OF_STRANGE_TIFFS --jobs 2
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import ome_types
import zarr

import catnip2bids.build_image
import catnip2bids.cli
import catnip2bids.cli.terminal
import catnip2bids.conversion
from isolated import Ended, isolated
from libtiff import RefusedError, decode
from made_up import Array, some_image
from mutilations import KINDS, N_PLANES, WHOLE, damages, good_bytes, good_planes, mutilate

PRELOADED = (catnip2bids.build_image, catnip2bids.conversion, catnip2bids.cli.terminal, ome_types, zarr)
"""What the command imports: so that it need not be imported by each process anew."""

_MOST_BYTES = 2**30
_SECONDS = 30.0
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Cannot allocate memory")


class Outcome(StrEnum):
    """What became of a damaged file."""

    REFUSED = "refused"
    EQUAL = "converted, pixels as libtiff decodes them"
    ALONE = "converted, libtiff refuses it"
    DIFFERENT = "converted, pixels differ from libtiff's"
    UNNAMED = "refused without naming the file"
    LEFT_BEHIND = "refused, something left behind"
    TRACEBACK = "traceback or crash"
    HANG = "hang"
    MEMORY = "more than 1 GiB"


GOOD = (Outcome.REFUSED, Outcome.EQUAL)


@dataclass(frozen=True)
class Case:
    """One file among good ones.

    Attributes
    ----------
    number
        Of the case.
    kind
        What happened to it.
    where
        What the good file was.
    is_slice
        Whether it is one slice of a series, or a stack by itself.
    content
        The file.
    beside
        The other slices.
    ending
        Of the image that is made.
    """

    number: int
    kind: str
    where: str
    is_slice: bool
    content: bytes
    beside: tuple[bytes, ...]
    ending: str


@dataclass(frozen=True)
class Result:
    """What became of a case, and what the command said."""

    case: Case
    outcome: Outcome
    said: str

    def __str__(self) -> str:
        """One line."""
        case = self.case
        place = "slice" if case.is_slice else "stack"
        said = " ".join(self.said.split())[-300:]
        return f"{case.number}: {case.kind} ({place}, {case.where}) to {case.ending}: {self.outcome}: {said}"


def mutilated(n: int, seed: int, kinds: Sequence[str] = ()) -> Iterator[Case]:
    """Yield so many damaged files: slices and stacks by turns, two of three to OME-Zarr, the others to OME-TIFF."""
    for number, (kind, chance) in enumerate(damages(n, seed, kinds)):
        where, planes, is_slice = chance.choice(WHOLE), good_planes(chance), chance.random() < 0.5
        files = tuple(good_bytes(where, planes[z : z + 1]) for z in range(N_PLANES))
        hit = chance.randrange(N_PLANES)
        whole = files[hit] if is_slice else good_bytes(where, planes)
        beside = files[:hit] + files[hit + 1 :] if is_slice else ()
        ending = chance.choice((".ome.zarr", ".ome.zarr", ".ome.btf"))
        yield Case(number, kind, f"{where} {planes.dtype}", is_slice, mutilate(kind, whole, chance), beside, ending)


def from_zoo(folder: Path, first: int) -> Iterator[Case]:
    """Yield every file of a folder as a slice among good ones of its size and type, and as a stack, to both formats."""
    number = first
    for path in sorted(file for file in folder.rglob("*.*") if file.is_file()):
        try:
            plane = decode(path)[0]
        except RefusedError:
            plane = good_planes(Random(0))[0]
        good = some_image((N_PLANES - 1, *plane.shape), "uint8" if plane.dtype.kind == "b" else plane.dtype)
        beside = tuple(good_bytes("deflate-strips", good[z : z + 1]) for z in range(len(good)))
        for is_slice in (True, False):
            for ending in (".ome.zarr", ".ome.btf"):
                where = str(path.relative_to(folder))
                yield Case(number, "zoo", where, is_slice, path.read_bytes(), beside if is_slice else (), ending)
                number += 1


def outcome_of(case: Case, work: Path) -> Result:
    """Convert the file of a case, and compare what was made with what libtiff decodes; uses a folder of its own."""
    folder = work / f"{case.number}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "made").mkdir(parents=True)
    source, damaged = _written(case, folder)
    image = folder / "made" / f"image{case.ending}"
    ended = isolated(partial(_convert, source, image), folder / "log", _SECONDS, _MOST_BYTES)
    outcome = _of_command(ended, damaged, image)
    said = ended.messages
    if outcome is Outcome.EQUAL:
        ended = isolated(partial(_compare, source, image), folder / "log", _SECONDS, 4 * _MOST_BYTES)
        said = ended.messages
        outcome = _OF_COMPARISON.get(ended.exit_code, Outcome.ALONE)
    if outcome in GOOD:
        shutil.rmtree(folder)
    return Result(case, outcome, said)


def outcomes(cases: Iterable[Case], work: Path, jobs: int) -> Iterator[Result]:
    """Work on cases in so many processes, in order."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(partial(outcome_of, work=work), cases, chunksize=4)


def table(results: Iterable[Result]) -> str:
    """Count outcomes by kind, as a table of Markdown."""
    counts: dict[str, Counter[Outcome]] = defaultdict(Counter)
    for result in results:
        counts[result.case.kind][result.outcome] += 1
    seen = [outcome for outcome in Outcome if outcome in GOOD or any(count[outcome] for count in counts.values())]
    rows = [["damage", "files", *seen], ["---", *["---:"] * (len(seen) + 1)]]
    rows += [[kind, str(count.total()), *(str(count[outcome]) for outcome in seen)] for kind, count in counts.items()]
    total = sum(counts.values(), Counter[Outcome]())
    rows.append(["all", str(total.total()), *(str(total[outcome]) for outcome in seen)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _written(case: Case, folder: Path) -> tuple[Path, Path]:
    """Write the files of a case; returns what is converted, and the file of the case in it."""
    if not case.is_slice:
        (folder / "damaged.tif").write_bytes(case.content)
        return folder / "damaged.tif", folder / "damaged.tif"
    series, hit = folder / "series", case.number % (len(case.beside) + 1)
    series.mkdir()
    names = [f"Z{number:04d}.tif" for number in range(1, len(case.beside) + 2)]
    for name, content in zip(names, [*case.beside[:hit], case.content, *case.beside[hit:]], strict=True):
        (series / name).write_bytes(content)
    return series, series / names[hit]


def _convert(source: Path, image: Path) -> None:
    sys.argv = ["catnip2bids", "convert", str(source), str(image), "--voxel-size", "3.7", "3.7", "5"]
    sys.argv += ["--check"] if image.suffix == ".btf" else []
    catnip2bids.cli.main()


def _of_command(ended: Ended, damaged: Path, image: Path) -> Outcome:
    """Tell what became of the file; EQUAL if there is an image, which has to be looked at."""
    said = ended.messages.replace("\n", "")
    error = said[said.find("error: ") :]
    named = damaged.name in error or "OME-TIFF has no pixels of type" in error
    checks: tuple[tuple[bool, Outcome], ...] = (
        (ended.exit_code is None, Outcome.HANG),
        (any(word in said for word in _OUT_OF_MEMORY), Outcome.MEMORY),
        ("Traceback" in said or ended.exit_code not in (0, 1, 2), Outcome.TRACEBACK),
        ((ended.memory_bytes or 0) > _MOST_BYTES, Outcome.MEMORY),
        (ended.exit_code == 0 and image.exists(), Outcome.EQUAL),
        (not named, Outcome.UNNAMED),
        (any(image.parent.iterdir()), Outcome.LEFT_BEHIND),
    )
    return next((outcome for applies, outcome in checks if applies), Outcome.REFUSED)


_SAME, _OTHER, _UNREADABLE = 0, 3, 4
_OF_COMPARISON: dict[int | None, Outcome] = {
    _SAME: Outcome.EQUAL,
    _OTHER: Outcome.DIFFERENT,
    _UNREADABLE: Outcome.ALONE,
}


def _compare(source: Path, image: Path) -> None:
    """Compare an image with its source; the exit code tells."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    try:
        expected = [plane for file in files for plane in decode(file)]
    except RefusedError as error:
        sys.stderr.write(f"libtiff: {error}")
        sys.exit(_UNREADABLE)
    made = _pixels_of(image)
    same = len(made) == len(expected) and all(
        ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
        for ours, theirs in zip(made, expected, strict=True)
    )
    if not same:
        sys.stderr.write(f"ours {made[0].dtype} {made[0].shape}, libtiff's {expected[0].dtype} {expected[0].shape}")
    sys.exit(_SAME if same else _OTHER)


def _pixels_of(image: Path) -> list[Array]:
    if image.suffix == ".zarr":
        array = zarr.open_array(image / "0", mode="r")
        return list(np.asarray(array[...]))
    return decode(image)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", type=Path, help="a folder to work in; what is found wrong stays there")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--zoo", type=Path, help="a folder of TIFF files, each of which is put among good slices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, action="append", help="number of a case, to look at it again")
    parser.add_argument("--kind", choices=KINDS, action="append", help="a kind of damage; all by default")
    given = parser.parse_args()
    cases = list(mutilated(given.cases, given.seed, given.kind or ()))
    cases += from_zoo(given.zoo, len(cases)) if given.zoo else []
    chosen = [case for case in cases if not given.only or case.number in given.only]
    say: Callable[[str], object] = partial(print, flush=True)
    results = []
    for result in outcomes(chosen, given.work, given.jobs):
        results.append(result)
        if result.outcome not in GOOD:
            say(str(result))
    say(table(results))
    sys.exit(0 if all(result.outcome in GOOD for result in results) else 1)


if __name__ == "__main__":
    main()
