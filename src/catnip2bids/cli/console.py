"""Print lines and tables to stderr: coloured and wrapped on a terminal, elsewhere one plain, unwrapped line per fact.

Invariant: stdout stays free for pipes; no line is wider than the terminal; names of files cannot send control
characters to the terminal; errors and problems are printed even with --quiet.
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
"""Whether stderr is a terminal that understands escape sequences."""

BAD, GOOD, HEADING = "bold red", "bold green", "bold"
_STYLES = {"error": BAD, "problem": BAD, "warning": "yellow", "info": "cyan", "note": "cyan", "left out": "cyan"}
_EVEN_IF_QUIET = ("error", "problem")
# control characters but newlines, and characters that reverse the writing direction, which would disguise a name
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FEWEST_CELLS, _GOOD_CELLS = 12, 24  # of a shortened name

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


def print_message(label: str, text: str) -> None:
    """Print a line after its label, such as ``warning``."""
    # `console` moves the progress bar out of the way, so use it if it is not quiet
    chosen = _alarm if console.quiet and label in _EVEN_IF_QUIET else console
    style = _STYLES[label]
    if not ON_TERMINAL:
        chosen.print(Text.assemble((label, style), f": {_one_line(text)}"), soft_wrap=True)
        return
    begin = f"{label}: "
    lines = folded(visible(text), console.width - len(begin))
    chosen.print(Text.assemble((label, style), ": ", f"\n{' ' * len(begin)}".join(lines)), soft_wrap=True)


def print_error(text: str) -> None:
    """Print an error."""
    print_message("error", text)


def print_result(what: object, outcome: str, style: str, facts: Iterable[str] = ()) -> None:
    """Print the last line of a command: its outcome and a few numbers."""
    shown = Text(_laid_out(", ".join((f"{what}: {outcome}", *facts))))
    shown.highlight_regex(re.escape(outcome).replace(r"\ ", r"\s+"), style)
    console.print(shown, soft_wrap=True)


def print_heading(text: str, more: str = "") -> None:
    """Print a heading and a line about it; elsewhere than on a terminal only the line, if there is one."""
    if ON_TERMINAL:
        print_line(text, HEADING)
    if more:
        print_line(more if ON_TERMINAL else f"{text}: {more}")


def print_blank_line() -> None:
    """Print an empty line after a table, on a terminal."""
    if ON_TERMINAL:
        console.print()


def print_table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table on a terminal; elsewhere a line for each row.

    Parameters
    ----------
    columns
        The first holds the names.
    rows
        As many facts as there are other columns.
    """
    rows = [_visible_row(row) for row in rows]
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
    """Escape control characters as Python does: names of files must not send them to the terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_name(name: str) -> str:
    """Escape control characters and newlines."""
    return visible(name).replace("\n", r"\n")


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
    facts = tuple(fact if isinstance(fact, int) else visible_name(fact) for fact in row.facts)
    return Row(visible_name(row.name), visible_name(row.path), facts, row.bad)


def _laid_out(text: str) -> str:
    return "\n".join(folded(visible(text), console.width)) if ON_TERMINAL else _one_line(text)


def _one_line(text: str) -> str:
    return " ".join(visible(text).splitlines())


def _first_width(widths: Sequence[int], shown: Sequence[int]) -> int:
    """Return the cells that the other columns leave for the first one."""
    return console.width - sum(widths[number] + 2 for number in shown[1:])
