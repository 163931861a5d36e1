"""What people see of a job while it goes on: a bar on a terminal, and lines elsewhere.

Invariant: a line is printed for what is worth a line in a log; all else moves the bar.
"""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Self

from rich import progress as bars
from rich.markup import escape
from rich.table import Column as BarColumn
from rich.text import Text

from catnip2bids.cli.console import ON_TERMINAL, console, say, say_that, visible_name
from catnip2bids.formatting import format_count, format_duration
from catnip2bids.progress import Progress

_MEGA = 1e6
_SECONDS_BETWEEN_LINES = 30


class _Percentage(bars.TextColumn):
    """How much is done, once it is known how much there is to do."""

    def render(self, task: bars.Task) -> Text:
        """Return it, or nothing."""
        return super().render(task) if task.total else Text()


class JobProgress(Progress):
    """Shows how a job goes: a bar on a terminal; elsewhere a line for each image, and one from time to time."""

    def __init__(self, doing: str = "writing", unit: str = "voxels") -> None:
        self._doing = doing
        self._unit, self._scale = ("Mvoxel/s", _MEGA) if unit == "voxels" else (f"{unit}/s", 1.0)
        self._bar = bars.Progress(
            _Percentage("{task.percentage:>3.0f}%", table_column=BarColumn(no_wrap=True, min_width=4)),
            bars.BarColumn(bar_width=16, table_column=BarColumn(min_width=16)),
            bars.TextColumn("{task.fields[speed]}", table_column=BarColumn(no_wrap=True, min_width=14)),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.description}", table_column=BarColumn(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,  # what is meant for pipes must not be taken for something to be shown
            redirect_stderr=False,
        )
        self._ways: dict[str, list[str]] = {}
        self._last_told = monotonic()
        self._task = self._bar.add_task("", total=None, speed="", visible=ON_TERMINAL)

    def __enter__(self) -> Self:
        if ON_TERMINAL and not console.quiet:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar.live.is_started:
            self._bar.stop()
        for how, names in self._ways.items():
            say(f"{names[0] if len(names) == 1 else format_count(len(names), 'image')}: {how}")

    def looking_at(self, path: str) -> None:
        """Take the census of an entry."""
        self._bar.update(self._task, description=escape(visible_name(f"looking at {path}")))

    def start(self, n_voxels: int) -> None:
        """Begin work on this many voxels."""
        self._bar.update(self._task, total=n_voxels)

    def item(self, name: str, how: str | None = None) -> None:
        """Begin work on an image; `how` says how its pixels get into it, where there is more than one way."""
        *_, what = name.partition("_stain-")  # the entities before are long, and the same for many images
        self._bar.update(self._task, description=escape(visible_name(what or name)))
        if not ON_TERMINAL:
            say(f"{self._doing} {name}" if how is None else f"{self._doing} {name}: {how}")
        elif how is not None:
            self._ways.setdefault(how, []).append(name)

    def advance(self, n_voxels: int) -> None:
        """Count this many voxels more as done."""
        self._bar.advance(self._task, n_voxels)
        task = self._bar.tasks[0]
        if task.speed:
            speed = f"{task.speed / self._scale:.{0 if task.speed >= 10 * self._scale else 1}f}"
            self._bar.update(self._task, speed=f"{speed} {self._unit}" if float(speed) else "")
        if not ON_TERMINAL and monotonic() - self._last_told > _SECONDS_BETWEEN_LINES:
            self._last_told = monotonic()
            left = "" if task.time_remaining is None else f"about {format_duration(task.time_remaining)} left"
            done = f"{task.percentage:.0f} % done" if task.total else ""
            if facts := ", ".join(filter(None, (done, task.fields["speed"], left))):
                say(facts)

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
        say_that("warning", text)

    def problem(self, text: str) -> None:
        """Tell something that was not done because it is wrong."""
        say_that("problem", text)
