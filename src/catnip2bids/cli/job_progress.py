"""Show the progress of a job: a bar on a terminal, and lines elsewhere.

Invariant: only events worth a line in a log are printed; all others update the bar.
"""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Self

from rich import progress as bars
from rich.markup import escape
from rich.table import Column as BarColumn
from rich.text import Text

from catnip2bids.cli.console import ON_TERMINAL, console, print_line, print_message, visible_name
from catnip2bids.formatting import format_count, format_duration
from catnip2bids.progress import Progress

_MEGA = 1e6
_SECONDS_BETWEEN_LINES = 30


class _Percentage(bars.TextColumn):
    """The percentage done, once the total is known."""

    def render(self, task: bars.Task) -> Text:
        """Return the percentage, or nothing without a total."""
        return super().render(task) if task.total else Text()


class JobProgress(Progress):
    """Show a bar on a terminal; elsewhere print a line for each image and one every 30 seconds."""

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
            redirect_stdout=False,  # stdout is for pipes, not for the bar
            redirect_stderr=False,
        )
        self._names_by_method: dict[str, list[str]] = {}
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
        for how, names in self._names_by_method.items():
            print_line(f"{names[0] if len(names) == 1 else format_count(len(names), 'image')}: {how}")

    def looking_at(self, path: str) -> None:
        """Show that a file or folder is being inspected."""
        self._bar.update(self._task, description=escape(visible_name(f"looking at {path}")))

    def start(self, n_voxels: int) -> None:
        """Set the total number of voxels."""
        self._bar.update(self._task, total=n_voxels)

    def item(self, name: str, how: str | None = None) -> None:
        """Show the current image; `how` says how its pixels are written, if there are several ways."""
        *_, what = name.partition("_stain-")  # the entities before it are long and the same for many images
        self._bar.update(self._task, description=escape(visible_name(what or name)))
        if not ON_TERMINAL:
            print_line(f"{self._doing} {name}" if how is None else f"{self._doing} {name}: {how}")
        elif how is not None:
            self._names_by_method.setdefault(how, []).append(name)

    def advance(self, n_voxels: int) -> None:
        """Count this many more voxels as done."""
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
                print_line(facts)

    def skip(self, n_voxels: int) -> None:
        """Subtract voxels that were done earlier from the total; they do not count for the speed."""
        total = self._bar.tasks[0].total
        if total is not None:
            self._bar.update(self._task, total=total - n_voxels)

    def note(self, text: str) -> None:
        """Print a note."""
        print_line(text)

    def warning(self, text: str) -> None:
        """Print a warning."""
        print_message("warning", text)

    def problem(self, text: str) -> None:
        """Print a problem."""
        print_message("problem", text)
