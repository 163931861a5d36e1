"""Print lines, tables and progress to stderr: for a terminal, or elsewhere one plain, unwrapped line per fact.

Invariant: stdout stays free for pipes; no line is wider than the terminal; names of files cannot send control
characters to the terminal; errors and problems are printed even with --quiet. Of the events of a job only those worth
a line in a log are printed; all others update the bar.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Self

from rich import progress as bars
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Column as BarColumn
from rich.table import Table
from rich.text import Text

from catnip2bids.formatting import format_count, format_duration
from catnip2bids.progress import Progress

ON_TERMINAL = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
"""Whether stderr is a terminal that understands escape sequences."""

BAD, HEADING = "bold red", "bold"
_STYLES = {"error": BAD, "problem": BAD, "warning": "yellow", "info": "cyan", "note": "cyan", "left out": "cyan"}
_EVEN_IF_QUIET = ("error", "problem")
# control characters, and characters that reverse the writing direction, which would disguise a name
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FEWEST_CELLS, _GOOD_CELLS = 12, 24  # of a shortened name
_SECONDS_BETWEEN_LINES = 30  # about the progress of a job

console = Console(stderr=True, highlight=False, force_terminal=ON_TERMINAL)
_alarm = Console(stderr=True, highlight=False, force_terminal=ON_TERMINAL)  # `console` may have to be quiet


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    unit: str = ""  # what its numbers count, in the singular
    right: bool = False  # align right, as numbers always are
    is_optional: bool = False  # leave it out if the terminal is too narrow


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    name: str  # first column on a terminal, shortened in the middle if it is too long
    path: str  # whole name, for output that is not a terminal
    facts: tuple[str | int, ...]  # the other columns
    bad: bool = False


def be_quiet() -> None:
    """Print only errors and problems from now on."""
    console.quiet = True


def is_quiet() -> bool:
    """Tell whether only errors and problems are printed."""
    return console.quiet


def print_line(text: str, style: str = "") -> None:
    """Print a line."""
    console.print(Text(_laid_out(text), style), soft_wrap=True)


def print_address(text: str) -> None:
    """Print an address on a line of its own, without wrapping, so that it can be copied."""
    console.print(Text(visible(text), HEADING), soft_wrap=True)


def print_message(label: str, *facts: str) -> None:
    """Print facts after a label, such as ``warning``; on a terminal, each of them begins a line."""
    # `console` moves the progress bar out of the way, so use it if it is not quiet
    chosen = _alarm if console.quiet and label in _EVEN_IF_QUIET else console
    style = _STYLES[label]
    if not ON_TERMINAL:
        chosen.print(Text.assemble((label, style), f": {visible(' '.join(facts))}"), soft_wrap=True)
        return
    begin = f"{label}: "
    lines = [line for fact in facts for line in folded(visible(fact), console.width - len(begin))]
    chosen.print(Text.assemble((label, style), ": ", f"\n{' ' * len(begin)}".join(lines)), soft_wrap=True)


def print_result(what: object, outcome: str, facts: Iterable[str], *, ok: bool) -> None:
    """Print the last line of a command: its outcome and a few numbers."""
    shown = Text(_laid_out(", ".join((f"{what}: {outcome}", *facts))))
    shown.highlight_regex(re.escape(outcome).replace(r"\ ", r"\s+"), "bold green" if ok else BAD)
    console.print(shown, soft_wrap=True)


def print_heading(text: str, more: str = "") -> None:
    """Print a heading and a line about it; without a terminal, print only the line, if there is one."""
    if ON_TERMINAL:
        print_line(text, HEADING)
    if more:
        print_line(more if ON_TERMINAL else f"{text}: {more}")


def print_blank_line() -> None:
    """Print an empty line after a table, on a terminal."""
    if ON_TERMINAL:
        console.print()


def print_table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table on a terminal, elsewhere a line for each row; bad rows first. The first column holds the names."""
    rows = sorted(map(_visible_row, rows), key=lambda row: not row.bad)
    if ON_TERMINAL:
        console.print(_table(columns, rows))
        return
    for row in rows:
        facts = (
            format_count(fact, column.unit) if isinstance(fact, int) else fact
            for fact, column in zip(row.facts, columns[1:], strict=True)
        )
        print_line(f"{row.path}: {', '.join(filter(None, facts))}")


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Lay out rows to fit the terminal: leave out optional columns and shorten the first one."""
    cells = [[row.name, *map(str, row.facts)] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip([c.title for c in columns], *cells, strict=True)]
    shown = list(range(len(columns)))
    for number, column in enumerate(columns):
        if column.is_optional and _first_width(widths, shown) < min(widths[0], _GOOD_CELLS):
            shown.remove(number)
    width = max(_first_width(widths, shown), _FEWEST_CELLS)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in (columns[number] for number in shown):
        is_number = column.right or bool(column.unit)
        table.add_column(column.title, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    names = [shortened(row.name, width) for row in rows]
    if len(set(names)) < len(names):  # shortened names are ambiguous
        names = ["\n".join(folded(row.name, width)) for row in rows]
    for row, name, (_, *facts) in zip(rows, names, cells, strict=True):
        texts = [name, *facts]
        table.add_row(*(Text(texts[number]) for number in shown), style=BAD if row.bad else "")
    return table


def print_pairs(pairs: Sequence[tuple[str, str]], style: str = "") -> None:
    """Print one or more pairs of texts in two columns, both whole; for a terminal."""
    width = console.width - 2
    pairs = [(visible(left), visible(right)) for left, right in pairs]
    longest = [max(map(cell_len, texts)) for texts in zip(*pairs, strict=True)]
    left_width = min(longest[0], max(width * 2 // 5, width - 2 - longest[1]))
    widths = (left_width, width - left_width - 2)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for column_width in widths:
        table.add_column(width=column_width)
    for pair in pairs:
        texts = ("\n".join(folded(text, column_width)) for text, column_width in zip(pair, widths, strict=True))
        table.add_row(*map(Text, texts), style=style)
    console.print(Padding(table, (0, 0, 0, 2)))


def visible(text: str) -> str:
    """Escape control characters and newlines as Python does: names of files must not send them to the terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str, width: int) -> str:
    """Replace the middle of a text that is too long by an ellipsis: both ends of a file name are informative."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{set_cell_size(text, width - 1 - end)}…{set_cell_size(text[::-1], end)[::-1]}"


def folded(text: str, width: int) -> list[str]:
    """Wrap each line of a text to `width` cells: at spaces, and in long words after slashes and underscores.

    Rich would break long words anywhere, which makes names of files hard to read.
    """
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        lines.append("")
        for word in line.split(" "):
            begun = f"{lines[-1]} " if lines[-1] else ""
            if cell_len(begun + word) <= width:
                lines[-1] = begun + word
            elif cell_len(word) <= width:
                lines.append(word)
            else:
                lines[-1] = begun
                for part in re.findall(r"[/_]*[^/_]+[/_]*|[/_]+", word):
                    if cell_len(lines[-1] + part) <= width:
                        lines[-1] += part
                    else:
                        lines[-1:] = filter(None, [lines[-1], *chop_cells(part, width)])
    return [line.rstrip() for line in lines]


def _visible_row(row: Row) -> Row:
    facts = tuple(fact if isinstance(fact, int) else visible(fact) for fact in row.facts)
    return Row(visible(row.name), visible(row.path), facts, row.bad)


def _laid_out(text: str) -> str:
    return "\n".join(folded(visible(text), console.width)) if ON_TERMINAL else visible(text)


def _first_width(widths: Sequence[int], shown: Sequence[int]) -> int:
    """Return the cells that the other columns leave for the first one."""
    return console.width - sum(widths[number] + 2 for number in shown[1:])


class _Percentage(bars.TextColumn):
    """The percentage done, once the total is known."""

    def render(self, task: bars.Task) -> Text:
        """Return the percentage, or nothing without a total."""
        return super().render(task) if task.total else Text()


class _Speed(bars.ProgressColumn):
    """How much is done in a second, once that is known."""

    def __init__(self, unit: str, scale: float) -> None:
        super().__init__(table_column=BarColumn(no_wrap=True, min_width=14))
        self._unit, self._scale = unit, scale

    def render(self, task: bars.Task) -> Text:
        """Return the speed, or nothing before the first step."""
        return Text(self.text(task))

    def text(self, task: bars.Task) -> str:
        """Return the speed with its unit, or nothing."""
        speed = (task.speed or 0) / self._scale
        shown = f"{speed:.{0 if speed >= 10 else 1}f}"
        return f"{shown} {self._unit}" if float(shown) else ""


class JobProgress(Progress):
    """Show a bar on a terminal; elsewhere print a line for each image and one every 30 seconds."""

    def __init__(self, doing: str = "writing", unit: str = "voxels") -> None:
        self._doing = doing
        self._speed = _Speed("Mvoxel/s", 1e6) if unit == "voxels" else _Speed(f"{unit}/s", 1)
        self._bar = bars.Progress(
            _Percentage("{task.percentage:>3.0f}%", table_column=BarColumn(no_wrap=True, min_width=4)),
            bars.BarColumn(bar_width=16, table_column=BarColumn(min_width=16)),
            self._speed,
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
        self._task = self._bar.add_task("", total=None, visible=ON_TERMINAL)

    def __enter__(self) -> Self:
        if ON_TERMINAL and not console.quiet:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()
        for how, names in self._names_by_method.items():
            print_line(f"{names[0] if len(names) == 1 else format_count(len(names), 'image')}: {how}")

    def looking_at(self, path: str) -> None:
        """Show that a file or folder is being inspected."""
        self._bar.update(self._task, description=escape(visible(f"looking at {path}")))

    def start(self, n_voxels: int) -> None:
        """Set the total number of voxels of a step; the next step starts from 0."""
        if self._bar.tasks[0].total is None:
            self._bar.update(self._task, total=n_voxels)
        else:
            self._bar.reset(self._task, total=n_voxels, visible=ON_TERMINAL)

    def item(self, name: str, how: str | None = None) -> None:
        """Show the current image; `how` says how its pixels are written, if there are several ways."""
        *_, what = name.partition("_stain-")  # the entities before it are long and the same for many images
        self._bar.update(self._task, description=escape(visible(what or name)))
        if not ON_TERMINAL:
            print_line(f"{self._doing} {name}" if how is None else f"{self._doing} {name}: {how}")
        elif how is not None:
            self._names_by_method.setdefault(how, []).append(name)

    def advance(self, n_voxels: int) -> None:
        """Count this many more voxels as done."""
        self._bar.advance(self._task, n_voxels)
        if not ON_TERMINAL and monotonic() - self._last_told > _SECONDS_BETWEEN_LINES:
            self._last_told, task = monotonic(), self._bar.tasks[0]
            left = "" if task.time_remaining is None else f"about {format_duration(task.time_remaining)} left"
            done = f"{task.percentage:.0f} % done" if task.total else ""
            if facts := ", ".join(filter(None, (done, self._speed.text(task), left))):
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
