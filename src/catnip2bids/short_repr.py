"""Short representations of results: a line in Python, a small table in a notebook.

Invariant: the representation stays short however large the result is, and counts what it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_MOST_LINES: Final = 10
_LONGEST: Final = 300
"""Characters of a name or a problem."""


@dataclass(frozen=True)
class ReprSummary:
    """The content of a representation; only notebooks show rows and problems."""

    about: str  # mostly a path
    facts: tuple[str, ...]
    rows: Sequence[Mapping[str, object]] = ()  # a table: for each row a mapping of columns to values
    problems: Sequence[str] = ()


class ShortRepr:
    """Base class of results; subclasses implement `_summary`."""

    def _summary(self) -> ReprSummary:
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return one line of text."""
        summary = self._summary()
        return f"<{type(self).__name__} {_shortened(summary.about)}: {', '.join(summary.facts)}>"

    def _repr_html_(self) -> str:
        """Return HTML for notebooks."""
        summary = self._summary()
        name, about, facts = type(self).__name__, escape(_shortened(summary.about)), escape(", ".join(summary.facts))
        parts = [f"<p><strong>{name}</strong> <code>{about}</code>: {facts}</p>"]
        if summary.rows:
            parts.append(_table(summary.rows))
        if summary.problems:
            lines = [f"<li>{escape(_shortened(problem))}</li>" for problem in summary.problems[:_MOST_LINES]]
            parts.append(f"<ul>{''.join(lines)}</ul>{_more(len(summary.problems))}")
        return f"<div>{''.join(parts)}</div>"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in rows[0])
    texts = [["" if value is None else _shortened(str(value)) for value in row.values()] for row in rows[:_MOST_LINES]]
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in texts)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{_more(len(rows))}"


def _more(n: int) -> str:
    return f"<p>… and {n - _MOST_LINES:,} more</p>" if n > _MOST_LINES else ""


def _shortened(text: str) -> str:
    # names of files may hold bytes that are not UTF-8
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
