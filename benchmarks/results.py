"""What was measured in one sitting: as a JSON document with every single value, and as Markdown tables for people.

Invariant: every way that was asked for has its row; one that failed says why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from checking import Check
from make_series import Shape
from measuring import Measurement
from tools import LIMITS, OURS

_HEADER = ("way", "seconds", "min", "max", "x ours", "peak MB", "files", "MB written", "level 0")
_MB = 1e6


@dataclass
class WayResult:
    """All runs of one way on one series.

    Attributes
    ----------
    runs
        In order of the rounds.
    check
        What its first output was found to be; None for the limits, and where it failed.
    error
        Why the way failed, else None; it is not run again then.
    """

    runs: list[Measurement] = field(default_factory=list)
    check: Check | None = None
    error: str | None = None

    @property
    def seconds(self) -> list[float]:
        """Seconds of each run: of the part that was to be measured, else of the whole process; none if it failed."""
        if self.error is not None:
            return []
        return [run.seconds if run.part_seconds is None else run.part_seconds for run in self.runs]


@dataclass
class SeriesResult:
    """All ways on one series.

    Attributes
    ----------
    shape
        Voxels along (z, y, x).
    n_bytes
        Bytes of the pixels.
    compressed_bytes
        Bytes of the slices.
    ways
        The results by name of the way.
    """

    shape: Shape
    n_bytes: int
    compressed_bytes: int
    ways: dict[str, WayResult]

    @property
    def name(self) -> str:
        """Shape as people write it."""
        return "x".join(map(str, self.shape))


@dataclass
class Sitting:
    """All that was measured, and on what.

    Attributes
    ----------
    kind, threads, rounds
        As asked for.
    machine
        What the machine says of itself.
    versions
        Python and libraries of each way.
    series
        Results by size.
    """

    kind: str
    threads: int
    rounds: int
    machine: dict[str, str]
    versions: dict[str, dict[str, str]]
    series: list[SeriesResult] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """Tables for people."""
        paragraphs = [f"# Kind `{self.kind}`, {self.threads} threads, {self.rounds} rounds", _list(self.machine)]
        for result in self.series:
            paragraphs += _series_paragraphs(result)
        if len(self.series) > 1:
            paragraphs += ["## Seconds per GB of pixels", _scaling_table(self.series)]
        paragraphs += ["## Versions", "\n".join(f"- {way}: {_join(found)}" for way, found in self.versions.items())]
        return "\n\n".join(paragraphs) + "\n"


def _series_paragraphs(result: SeriesResult) -> list[str]:
    ours = result.ways.get(OURS, WayResult()).seconds
    rows = [_row(way, found, median(ours) if ours else None) for way, found in result.ways.items()]
    sizes = f"{result.n_bytes / _MB:.0f} MB of pixels in {result.compressed_bytes / _MB:.0f} MB of slices"
    levels = [
        f"- {way}: {', '.join('x'.join(map(str, level)) for level in found.check.levels)}"
        for way, found in result.ways.items()
        if found.check is not None
    ]
    paragraphs = [f"## {result.name}: {sizes}", _table(_HEADER, rows)]
    limits = [result.ways[way].seconds for way in LIMITS if way in result.ways]
    if ours and len(limits) == len(LIMITS) and all(limits):
        ratio = median(ours) / sum(map(median, limits))
        paragraphs.append(f"{OURS} / ({' + '.join(LIMITS)}): **{ratio:.2f}**")
    if levels:
        paragraphs += ["Levels that were written, in the order of each image's own axes:", "\n".join(levels)]
    return paragraphs


def _row(way: str, found: WayResult, ours: float | None) -> list[str]:
    if found.error is not None:
        return [way, f"failed: {found.error}", *[""] * (len(_HEADER) - 2)]
    seconds, last = found.seconds, found.runs[-1]
    same = "" if found.check is None else "equal" if found.check.is_equal else "**differs**"
    return [
        way,
        f"{median(seconds):.2f}",
        f"{min(seconds):.2f}",
        f"{max(seconds):.2f}",
        f"{median(seconds) / ours:.2f}" if ours else "",
        f"{median(run.peak_bytes for run in found.runs) / _MB:.0f}",
        str(last.n_files),
        f"{last.n_bytes / _MB:.1f}",
        same,
    ]


def _scaling_table(series: list[SeriesResult]) -> str:
    def cell(way: str, result: SeriesResult) -> str:
        seconds = result.ways[way].seconds
        return f"{median(seconds) / result.n_bytes * 1e9:.2f}" if seconds else "failed"

    rows = [[way, *(cell(way, result) for result in series)] for way in series[0].ways]
    return _table(["way", *(result.name for result in series)], rows)


def _table(header: Any, rows: list[list[str]]) -> str:
    cells = [list(header), ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells)


def _list(values: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())


def _join(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
