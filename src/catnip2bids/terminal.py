"""What people see in a terminal: tables, progress, warnings. Everything goes to stderr; stdout is for pipes.

Invariant: nothing is decided here. On a terminal there are colours and a progress bar, elsewhere plain lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from textwrap import shorten
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import progress as bars
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from catnip2bids.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from catnip2bids.comparison import Comparison
    from catnip2bids.packaging import PackageResult, Preparation
    from catnip2bids.plan import ScanReport
    from catnip2bids.restoration import Restoration
    from catnip2bids.scanning import Entry
    from catnip2bids.validation import ValidationReport
    from catnip2bids.verification import Verification

_WIDE = 240  # away from a terminal names are not folded, so that they can be searched for
console = Console(stderr=True, highlight=False)
if not console.is_terminal:
    console.width, console.soft_wrap = _WIDE, True

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_MEGA = 1e6
_SECONDS_BETWEEN_LINES = 30
_LONGEST_MESSAGE = 160  # the whole text is in the JSON


def say(text: str) -> None:
    """Print a line."""
    console.print(escape(text))


def say_error(text: str) -> None:
    """Print why something could not be done."""
    console.print(f"[bold red]error[/]: {escape(text)}")


class JobProgress(Progress):
    """Shows how a job goes: a bar on a terminal, elsewhere a line for each image, and one from time to time."""

    def __init__(self, unit: str = "voxels") -> None:
        self._unit, self._scale = ("Mvoxel/s", _MEGA) if unit == "voxels" else (f"{unit}/s", 1.0)
        self._bar = bars.Progress(
            bars.TextColumn("{task.percentage:>3.0f}%", table_column=Column(no_wrap=True, min_width=4)),
            bars.BarColumn(bar_width=16, table_column=Column(min_width=16)),
            bars.TextColumn("{task.fields[speed]}", table_column=Column(no_wrap=True, min_width=14)),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
            expand=True,
        )
        self._last_told = monotonic()
        self._task = self._bar.add_task("", total=None, speed="", visible=console.is_terminal)

    def __enter__(self) -> Self:
        if console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def looking_at(self, path: str) -> None:
        """Take the census of an entry."""
        self._bar.update(self._task, description=escape(f"looking at {path}"))

    def start(self, n_voxels: int) -> None:
        """Begin work on this many voxels."""
        self._bar.update(self._task, total=n_voxels)

    def item(self, name: str, how: str | None = None) -> None:
        """Begin work on an image; `how` says how its pixels get into it, where there is more than one way."""
        *_, what = name.partition("_stain-")  # the entities before are long, and the same for many images
        self._bar.update(self._task, description=escape(what or name))
        if how is not None:
            say(f"{name}: {how}")
        elif not console.is_terminal:
            say(name)

    def advance(self, n_voxels: int) -> None:
        """Count this many voxels more as done."""
        self._bar.advance(self._task, n_voxels)
        task = self._bar.tasks[0]
        if task.speed:
            self._bar.update(self._task, speed=f"{task.speed / self._scale:.0f} {self._unit}")
        if not console.is_terminal and monotonic() - self._last_told > _SECONDS_BETWEEN_LINES:
            self._last_told = monotonic()
            left = "?" if task.time_remaining is None else timedelta(seconds=round(task.time_remaining))
            say(f"{task.percentage:.0f} %, {task.fields['speed']}, {left} left")

    def skip(self, n_voxels: int) -> None:
        """Learn that this many voxels were done earlier: they are no part of what is left, nor of the speed."""
        total = self._bar.tasks[0].total
        if total is not None:
            self._bar.update(self._task, total=total - n_voxels)

    def note(self, text: str) -> None:
        """Tell something worth knowing."""
        say(text)

    def warning(self, text: str) -> None:
        """Tell something that may be wrong."""
        console.print(f"[yellow]warning[/]: {escape(text)}")

    def problem(self, text: str) -> None:
        """Tell something that was not done because it is wrong."""
        console.print(f"[bold red]problem[/]: {escape(text)}")


def show_scan(report: ScanReport) -> None:
    """Print what was found, a table for each run."""
    for run, planned in zip(report.found.runs, report.plan.runs, strict=True):
        labels = [f"sub-{planned.subject or '?'}", f"sample-{planned.sample or '?'}", f"stain-{planned.stain}"]
        title = f"{run.folder}\n{' '.join(labels)}, layout {run.layout}, atlas {planned.atlas_version or 'unknown'}"
        table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column, justify in (("entry", "left"), ("what", "left"), ("voxels X x Y x Z", "right"), ("action", "left")):
            table.add_column(column, justify="right" if justify == "right" else "left", overflow="fold")
        for entry, line in zip(run.entries, planned.entries, strict=True):
            content = entry.component.content.value if entry.component else "unknown"
            action = "[bold red]problem[/]" if entry.problems else line.action.value
            table.add_row(escape(entry.path), content, _sizes(entry), action)
        console.print(table)
        console.print()


def _sizes(entry: Entry) -> str:
    if entry.volume is None:
        return f"{entry.n_bytes / 1000:.0f} kB"
    return f"{' x '.join(str(n) for n in reversed(entry.volume.shape))} {entry.volume.dtype}"


def show_dry_run(prepared: Preparation) -> None:
    """Print what would be written."""
    for run in prepared.runs:
        console.print(f"[bold]{escape(str(run.name))}[/]")
        targets = {task.entry.path: task.target for task in run.everything}
        for entry in run.planned.entries:
            if entry.source in run.problems:
                becomes = "[bold red]nothing: there is a problem[/]"
            elif entry.source in targets:
                becomes = escape(str(targets[entry.source]))
            else:
                becomes = f"[dim]nothing: {escape(entry.reason)}[/]"
            console.print(f"  {escape(entry.source)}\n    -> {becomes}")
        console.print()


def show_result(result: PackageResult) -> None:
    """Print what was done."""
    counts = [f"{len(result.made)} images made"]
    if result.kept:
        counts.append(f"{len(result.kept)} were there already")
    if result.problems:
        counts.append(f"[bold red]{len(result.problems)} problems[/]")
    if result.warnings:
        counts.append(f"{len(result.warnings)} warnings")
    console.print(f"{escape(str(result.dataset))}: {', '.join(counts)}")


def show_comparison(comparison: Comparison, folder: Path) -> None:
    """Print what a comparison found."""
    from catnip2bids.comparison.sentences import sentence_of

    for problem in comparison.problems:
        console.print(f"[bold red]problem[/]: {escape(problem)}")
    console.print(f"[bold]{comparison.relation.value}[/]: {escape(sentence_of(comparison))}")
    console.print(f"look at {escape(str(folder / 'index.html'))}")


def show_verification(found: Verification) -> None:
    """Print what became of each image, and all that is not as it was."""
    table = Table("image", Column("planes", justify="right"), Column("levels", justify="right"), "", box=None)
    for verdict in found.images:
        mark = "[green]proven[/]" if verdict.ok else "[bold red]not as it was[/]"
        table.add_row(escape(verdict.image), str(verdict.n_planes), str(verdict.n_levels), mark)
    console.print(table)
    for problem in found.problems:
        console.print(f"[bold red]problem[/]: {escape(problem)}")
    for note in found.notes:
        console.print(f"[cyan]note[/]: {escape(note)}")
    n_planes = sum(verdict.n_planes for verdict in found.images)
    read = f"{len(found.images)} images, {n_planes} planes, {found.n_files} other files"
    read += ", and the originals" if found.sources_read else ""
    outcome = "[bold green]everything is as it was read[/]" if found.ok else "[bold red]not as it was[/]"
    console.print(f"{escape(str(found.dataset))}: {outcome} ({read})")


def show_restoration(restored: Restoration) -> None:
    """Print what was restored, and what the dataset does not hold."""
    for path, reason in restored.left_out.items():
        console.print(f"[cyan]left out[/]: {escape(path)}: {escape(reason)}")
    counts = [f"{len(restored.restored)} files and folders restored"]
    if restored.kept:
        counts.append(f"{len(restored.kept)} were there already")
    if restored.problems:
        counts.append(f"[bold red]{len(restored.problems)} problems[/]")
    if restored.left_out:
        counts.append(f"{len(restored.left_out)} are not in the dataset")
    console.print(f"{escape(str(restored.folder))}: {', '.join(counts)}")


def show_validation(report: ValidationReport) -> None:
    """Print the findings of a validation as one table."""
    if report.findings:
        table = Table("severity", "code, file, message", box=None, pad_edge=False)
        for finding in report.findings:
            style = _STYLES[finding.severity.value]
            message = finding.message
            if finding.check == "bids":  # the validator explains its rules at length
                message = shorten(message, _LONGEST_MESSAGE, placeholder=" ...")
            where = f"[bold]{escape(finding.code)}[/] {escape(finding.file)}".rstrip()
            table.add_row(f"[{style}]{finding.severity.value}[/]", f"{where}\n{escape(message)}")
        console.print(table)
    verdict = "[bold green]valid[/]" if report.ok else "[bold red]not valid[/]"
    console.print(
        f"{escape(str(report.dataset))}: {verdict} ({_counted(report)}; checked by {', '.join(report.checks)})"
    )


def _counted(report: ValidationReport) -> str:
    names: Sequence[str] = tuple(_STYLES)
    counts = {name: sum(finding.severity.value == name for finding in report.findings) for name in names}
    return f"{counts['error']} errors, {counts['warning']} warnings"
