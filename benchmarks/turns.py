"""Some ways to do the same work, run in turn as whole processes on the same processor cores, and the table of it.

Invariant: each round begins with another way, and nothing that was written before is still on its way to the disk.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from measuring import Measurement, measure
from run import tell

OURS: Final = "catnip2bids"


@dataclass(frozen=True)
class Work:
    """Something that can be done in several ways.

    Attributes
    ----------
    name
        What it is.
    ways
        Command line of each way.
    output
        Folder in which they write; it is emptied before each run, and removed in the end.
    good_code
        The exit code of a way that did it.
    """

    name: str
    ways: Mapping[str, list[str]]
    output: Path
    good_code: int = 0


def take_turns(work: Work, rounds: int, n_cores: int) -> dict[str, list[Measurement]]:
    """Run all ways in turn."""
    names = list(work.ways)
    found: dict[str, list[Measurement]] = {way: [] for way in names}
    for number in range(rounds):
        first = number % len(names)
        for way in names[first:] + names[:first]:
            shutil.rmtree(work.output, ignore_errors=True)
            work.output.mkdir(parents=True)
            os.sync()
            measured = measure(work.ways[way], work.output, n_cores, work.good_code)
            if measured.error is not None:
                raise SystemExit(f"{way}: {measured.error}")
            found[way].append(measured)
            tell(f"{work.name}, round {number + 1}: {way}: {measured.seconds:.2f} s")
    shutil.rmtree(work.output)
    return found


def table(found: Mapping[str, Mapping[str, list[Measurement]]]) -> str:
    """Return all medians as a Markdown table: by name of the work, then by way, of which one is ours."""
    lines = [
        "| what | way | seconds | min | max | x ours | peak MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, ways in found.items():
        ours = median(run.seconds for run in ways[OURS])
        for way, runs in ways.items():
            seconds = [run.seconds for run in runs]
            peak = max(run.peak_bytes for run in runs) / 1e6
            figures = [f"{n:.2f}" for n in (median(seconds), min(seconds), max(seconds), median(seconds) / ours)]
            lines.append(f"| {name} | {way} | {' | '.join(figures)} | {peak:.0f} |")
    return "\n".join(lines) + "\n"
