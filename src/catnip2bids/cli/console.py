"""Lines for people: coloured and folded on a terminal; elsewhere plain and whole, one fact a line, to be searched.

Invariant: everything goes to stderr, since stdout is for pipes; no line is wider than the terminal it is shown on;
nothing in a name can command the terminal; and what is wrong is said even when all else is to be quiet.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from catnip2bids.formatting import format_count

ON_TERMINAL = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
"""Whether a person looks on."""

BAD, GOOD, HEADING = "bold red", "bold green", "bold"
_STYLES = {"error": BAD, "problem": BAD, "warning": "yellow", "info": "cyan", "note": "cyan", "left out": "cyan"}
_EVEN_IF_QUIET = ("error", "problem")
# all but the newlines of our own lines; those that turn the direction of writing would show another name
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FEWEST_CELLS, _GOOD_CELLS = 12, 24  # of a name that is shortened

console = Console(stderr=True, highlight=False, force_terminal=ON_TERMINAL)
_alarm = Console(stderr=True, highlight=False, force_terminal=ON_TERMINAL)  # `console` may have to be quiet


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    title
        What stands above it on a terminal.
    unit
        What its numbers count, in the singular.
    right
        Whether it is aligned at its right side, as numbers always are.
    may_go
        Whether it is left out on a terminal that is too narrow for all columns.
    """

    title: str
    unit: str = ""
    right: bool = False
    may_go: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes
    ----------
    name
        What stands in the first column on a terminal; shortened in its middle if there is not enough room.
    path
        Whole name, which is printed elsewhere.
    facts
        What stands in the other columns.
    bad
        Whether something is wrong with it.
    """

    name: str
    path: str
    facts: tuple[str | int, ...]
    bad: bool = False


def be_quiet() -> None:
    """Say nothing any more but what is wrong."""
    console.quiet = True


def is_quiet() -> bool:
    """Tell whether only that is said."""
    return console.quiet


def say(text: str, style: str = "") -> None:
    """Print a line."""
    console.print(Text(_laid_out(text), style), soft_wrap=True)


def say_address(text: str) -> None:
    """Print an address on a line of its own, which is never folded, so that it can be copied."""
    console.print(Text(visible(text), HEADING), soft_wrap=True)


def say_that(label: str, text: str) -> None:
    """Print a line after a word that says what kind of line it is, such as ``warning``."""
    chosen = _alarm if console.quiet and label in _EVEN_IF_QUIET else console  # which knows of the progress bar
    style = _STYLES[label]
    if not ON_TERMINAL:
        chosen.print(Text.assemble((label, style), f": {_one_line(text)}"), soft_wrap=True)
        return
    begin = f"{label}: "
    lines = folded(visible(text), console.width - len(begin))
    chosen.print(Text.assemble((label, style), ": ", f"\n{' ' * len(begin)}".join(lines)), soft_wrap=True)


def say_error(text: str) -> None:
    """Print why something could not be done."""
    say_that("error", text)


def say_result(what: object, outcome: str, style: str, facts: Iterable[str] = ()) -> None:
    """Print the last line of a command: what came of something, and a few numbers."""
    shown = Text(_laid_out(", ".join((f"{what}: {outcome}", *facts))))
    shown.highlight_regex(re.escape(outcome).replace(r"\ ", r"\s+"), style)
    console.print(shown, soft_wrap=True)


def say_heading(text: str, more: str = "") -> None:
    """Print what the lines below are about, and more about it; elsewhere only that, since they say it themselves."""
    if ON_TERMINAL:
        say(text, HEADING)
    if more:
        say(more if ON_TERMINAL else f"{text}: {more}")


def say_end() -> None:
    """Print an empty line after a table, on a terminal."""
    if ON_TERMINAL:
        console.print()


def say_rows(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table on a terminal; elsewhere a line for each row.

    Parameters
    ----------
    columns
        The first is that of the names.
    rows
        As many facts as there are other columns.
    """
    rows = [_visible_row(row) for row in rows]
    if ON_TERMINAL:
        console.print(_table(columns, rows))
        return
    for row in rows:
        facts = (_with_unit(fact, column) for fact, column in zip(row.facts, columns[1:], strict=True))
        say(f"{row.path}: {', '.join(filter(None, facts))}")


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Lay out rows so that they fit: the first column gives way, and then those that may go."""
    cells = [[row.name, *map(str, row.facts)] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip([c.title for c in columns], *cells, strict=True)]
    shown = list(range(len(columns)))
    for number, column in enumerate(columns):
        if column.may_go and _room(widths, shown) < min(widths[0], _GOOD_CELLS):
            shown.remove(number)
    room = max(_room(widths, shown), _FEWEST_CELLS)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in (columns[number] for number in shown):
        is_number = column.right or bool(column.unit)
        table.add_column(column.title, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    names = [shortened(row.name, room) for row in rows]
    if len(set(names)) < len(names):  # each has to be recognised
        names = ["\n".join(folded(row.name, room)) for row in rows]
    for row, name, (_, *facts) in zip(rows, names, cells, strict=True):
        texts = [name, *facts]
        table.add_row(*(Text(texts[number]) for number in shown), style=BAD if row.bad else "")
    return table


def say_pairs(pairs: Sequence[tuple[str, str]], style: str = "") -> None:
    """Print at least one pair of texts beside each other, both whole; for a terminal."""
    width = console.width - 2
    pairs = [(visible_name(left), visible_name(right)) for left, right in pairs]
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
    """Write control characters as Python does: what is in the name of a file must not command a terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_name(name: str) -> str:
    """Write control characters, and ends of lines, which a name has no use for."""
    return visible(name).replace("\n", r"\n")


def shortened(text: str, width: int) -> str:
    """Leave out the middle of a text that is too long: both ends of a file name tell something."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{set_cell_size(text, width - 1 - end)}…{set_cell_size(text[::-1], end)[::-1]}"


def folded(text: str, width: int) -> list[str]:
    """Break a text into lines, at spaces, and in the long names of files at their separators where that helps.

    Parameters
    ----------
    text
        The text; its own lines stay lines.
    width
        Cells of a line.
    """
    return [line for own_line in text.splitlines() or [""] for line in _folded_line(own_line, width)]


def _folded_line(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        begun = f"{lines[-1]} " if lines[-1] else ""
        if cell_len(begun + word) <= width:
            lines[-1] = begun + word
        elif cell_len(word) <= width:
            lines.append(word)
        else:
            lines[-1:] = _folded_name(begun, word, width)
    return lines


def _folded_name(begun: str, name: str, width: int) -> list[str]:
    """Break a name that is longer than a line, from what stands in the line already."""
    lines = [begun]
    for part in re.findall(r"[/_]*[^/_]+[/_]*|[/_]+", name):
        if cell_len(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines += chop_cells(part, width)
    return [line.rstrip() for line in lines if line]


def _visible_row(row: Row) -> Row:
    facts = tuple(fact if isinstance(fact, int) else visible_name(fact) for fact in row.facts)
    return Row(visible_name(row.name), visible_name(row.path), facts, row.bad)


def _laid_out(text: str) -> str:
    return "\n".join(folded(visible(text), console.width)) if ON_TERMINAL else _one_line(text)


def _one_line(text: str) -> str:
    return " ".join(visible(text).splitlines())


def _with_unit(fact: str | int, column: Column) -> str:
    return format_count(fact, column.unit) if isinstance(fact, int) else fact


def _room(widths: Sequence[int], shown: Sequence[int]) -> int:
    """Cells that are left for the first column."""
    return console.width - sum(widths[number] + 2 for number in shown[1:])
