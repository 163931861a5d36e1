"""Merge what names of runs, the plan, the dataset and a table of the user say about the animals.

Invariant: an unknown value never replaces a known one, and contradicting values are never merged without a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.bids.schema import format_pattern, participant_levels
from catnip2bids.bids.tables import UNKNOWN, Row, Table
from catnip2bids.delimited import Row as GivenRow
from catnip2bids.delimited import TableKind, Warn, has_no_value, ignore, read_lines, read_text
from catnip2bids.errors import PlanError
from catnip2bids.formatting import as_label
from catnip2bids.packaging.tasks import RunTasks

PARTICIPANTS = "participants.tsv"
_ID = "participant_id"
COLUMNS = (_ID, "species", "sex", "age", "strain", "genotype")
_KIND = TableKind(
    what="a table of participants",
    columns={column: (column,) for column in (*COLUMNS, "strain_rrid", "handedness")},
    required=(_ID,),
    remedy="correct the table",
)
_SPOILT_ID = re.compile(r"[0-9]+\.0*|[0-9]+\.?[0-9]*[eE]\+[0-9]+")
"""An id that a spreadsheet program changed into a number: ``45670.0``, ``4.567E+04``."""


@dataclass(frozen=True)
class GivenParticipants:
    """The user's table of participants."""

    path: Path
    table: Table  # with ids and values as BIDS requires
    lines: Mapping[str, int]  # line of each participant in the file


def read_participants(path: Path, warn: Warn = ignore) -> GivenParticipants:
    """Read a user's table of participants (TSV or CSV); ids may have ``sub-``, hyphens and other characters.

    `warn` receives a warning if the encoding had to be guessed. Two different rows of one participant are refused, and
    so are values that BIDS does not allow.
    """
    found: dict[str, GivenRow] = {}
    rows: list[Row] = []
    columns: tuple[str, ...] = (_ID,)
    for row in read_lines(path, read_text(path, warn), _KIND).named(_KIND):
        label = _subject_of(row)
        other = found.setdefault(label, row)
        if other is not row:
            if other.values != row.values:
                column = next(column for column in row.values if row.values[column] != other.values[column])
                what = f"{row.values[column]!r} here and {other.values[column]!r} in line {other.line}"
                raise row.error(column, f"{label} has {what}; give each animal one row and an id of its own")
            continue
        columns = tuple(row.values)
        values: dict[str, str] = {}
        for column, text in row.values.items():
            try:
                values[column] = bids_value(column, text)
            except ValueError as error:
                raise row.error(column, str(error)) from None
        rows.append({**values, _ID: label})
    return GivenParticipants(path, Table(columns, tuple(rows)), {label: row.line for label, row in found.items()})


def _subject_of(row: GivenRow) -> str:
    text = row.values[_ID]
    label = as_label(re.sub("^sub-", "", text, flags=re.IGNORECASE))
    if has_no_value(text) or not label:
        raise row.error(_ID, f"{text!r} is not an id; write that of the animal, or leave out the row")
    if _SPOILT_ID.fullmatch(text):
        raise row.error(_ID, f"{text!r} is a number that a program rewrote; write the id as the lab does")
    return f"sub-{label}"


def bids_value(column: str, text: str) -> str:
    """Return a value of participants.tsv in the notation of BIDS, which is ``n/a`` for unknown values.

    In columns that neither BIDS nor this package defines, ``none`` and ``unknown`` stay. Raises ValueError, which says
    what to write instead, for a value that BIDS does not allow.
    """
    levels = participant_levels().get(column)
    is_ours = levels is not None or column in COLUMNS
    if has_no_value(text):
        return UNKNOWN if is_ours or text.casefold() not in ("none", "null", "unknown") else text
    if column == "sex" and text.casefold() in {level.casefold() for level in levels or ()}:
        return text[0].upper()
    if column == "sex":
        raise ValueError(f"{text!r} is not a sex that BIDS allows; write M, F or O, or n/a if it is unknown")
    is_number = re.fullmatch(format_pattern("number"), text) is not None
    if column == "age" and (not is_number or float(text) < 0):
        what = "is negative, and no age is" if is_number else "is not a number"
        raise ValueError(f"{text!r} {what}; write weeks, such as 12 or 12.5, or n/a if it is unknown")
    if column == "strain_rrid" and not re.fullmatch(format_pattern("rrid"), text):
        example = re.sub(r"^RRID:(\w+):(\w+)$", r"RRID:\1_\2", text)
        example = example if example != text else "RRID:IMSR_JAX:000664"
        raise ValueError(f"{text!r} is not an RRID; write it as {example}, or n/a if it is unknown")
    if levels and text not in levels:
        raise ValueError(f"{text!r} is not a value that BIDS allows; write one of {', '.join(sorted(levels))}, or n/a")
    return text


def merged_participants(
    before: Table, runs: Sequence[RunTasks], given: GivenParticipants | None, *, explicit: bool
) -> Table:
    """Merge participants.tsv; priority: the given table, a given plan, the table in the dataset, names of runs.

    `before` is the table in the dataset. Unless `explicit`, the values of the plan come from names of runs.
    """
    table = before.merged([_participant(run) for run in runs], [_ID], keep_known=not explicit)
    if given is None:
        return table
    subjects = {row[_ID] for row in table.rows}
    return table.merged([row for row in given.table.rows if row[_ID] in subjects], [_ID])


def _participant(run: RunTasks) -> Row:
    values = {_ID: f"sub-{run.subject}"}
    for column, value in run.planned.participant.model_dump().items():
        text = UNKNOWN if value is None else f"{value:g}" if column == "age" else str(value)
        try:
            values[column] = bids_value(column, text)
        except ValueError as error:
            raise PlanError(f"{run.planned.name}: the {column} in the plan, {error}") from None
    return values


def contradictions(
    before: Table, runs: Sequence[RunTasks], given: GivenParticipants | None, *, explicit: bool
) -> Iterator[str]:
    """Yield warnings about sources that contradict each other; parameters as in `merged_participants`."""
    merged = {row[_ID]: row for row in merged_participants(before, runs, given, explicit=explicit).rows}
    sources: list[tuple[str, Row]] = []
    if given is not None:
        sources += [(f"{given.path}, line {given.lines[row[_ID]]}", row) for row in given.table.rows]
    sources += [(f"{PARTICIPANTS} of the dataset", row) for row in before.rows]
    what = "the plan for" if explicit else "run"
    sources += [(f"{what} {run.run.folder_name}", _participant(run)) for run in runs]
    of_table = set() if given is None else given.lines.keys() & {row[_ID] for row in before.rows}
    for subject in sorted({f"sub-{run.subject}" for run in runs} | of_table):
        for column in COLUMNS[1:]:
            values = [
                (source, row[column])
                for source, row in sources
                if row[_ID] == subject and not has_no_value(row.get(column, UNKNOWN))
            ]
            if len({_normalized(column, value) for _, value in values}) > 1:
                by_all = ", ".join(f"{value} by {source}" for source, value in values)
                yield f"{subject}: the {column} is {by_all}; {PARTICIPANTS} says {merged[subject][column]}"


def _normalized(column: str, value: str) -> str | float:
    """Return a value that is equal for all notations of the same."""
    if column == "sex":
        return value[0].casefold()
    try:
        return float(value)
    except ValueError:
        return as_label(value).casefold() or value


def unknown_participants(before: Table, runs: Sequence[RunTasks], given: GivenParticipants | None) -> Iterator[str]:
    """Yield warnings about participants of the user's table that are not in the dataset."""

    def alike(label: str) -> str:
        return label.removeprefix("sub-").lstrip("0").casefold()

    known = {row[_ID] for row in before.rows} | {f"sub-{run.subject}" for run in runs}
    if given is None:
        return
    for label, line in given.lines.items():
        if label not in known:
            near = next((f"; is it {other}?" for other in sorted(known) if alike(other) == alike(label)), "")
            yield f"{given.path}, line {line}: {label} is not in the dataset, and left out{near}"
