"""Messages about mistakes in a plan, with their lines.

Invariant: a message names the line, the entry or run, what is wrong, and what to do, for people who do not know TOML.
"""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from catnip2bids.catnip.component_type import Action
from catnip2bids.catnip.run_name import SAMPLES
from catnip2bids.enums import DEFAULT_STAIN
from catnip2bids.formatting import format_choices
from catnip2bids.plan.model import AboutDataset, Participant, Plan, PlannedEntry, PlannedRun

TEXTS_AND_COMMENTS = re.compile(  # a text without an end is matched too: looking for it elsewhere takes forever
    r'"""(?:\\.|"{1,2}(?!")|[^"\\])*+(?:"{3,5}|\Z)|"(?:\\.|[^"\\\n])*+"?'
    r"|'''(?:'{1,2}(?!')|[^'])*+(?:'{3,5}|\Z)|'[^'\n]*+'?|#[^\n]*+",
    re.DOTALL,
)
_RUN = re.compile(r"\s*\[\[\s*run\s*\]\]")
_DATASET = re.compile(r"\s*\[\s*dataset\b")
_STATEMENT = re.compile(r"\s*(?:\[+\s*[\w.]+\s*\]|[\w-]+\s*=)")
_BARE = re.compile(r"([\w-]+)\s*=[ \t]*([^\"'\[{\s=,}\]][^\"'=,}\]\r]*)")
"""A key, and a value that is neither a text in quotes, nor a list, nor a table."""
_LONGEST_LINE = 2000
"""Looking for such a value takes long in longer lines, which people do not write."""
_WANTED = {
    "string_type": "a text in quotes",
    "float_type": "a number",
    "float_parsing": "a number",
    "dict_type": "a table",
    "model_type": "a table",
}
"""What a value must be, by pydantic's type of error."""
_LISTS = {
    "authors": '["First Author", "Second Author"]',
    "entries": '[{source = "...", action = "copy", reason = "..."}]',
}

_MODELS: dict[str, type[BaseModel]] = {
    "dataset": AboutDataset,
    "runs": PlannedRun,
    "participant": Participant,
    "entries": PlannedEntry,
}
_Location = tuple[int | str, ...]

LABEL_HINTS = {
    "subject": "fill in: letters and digits",
    "sample": f"fill in: {', '.join(SAMPLES.values())}",
    "stain": f"fill in, for example: {DEFAULT_STAIN}",
}
"""What to write into an empty label."""


def empty_labels(path: Path, labels: Collection[str]) -> list[str]:
    """Return a message for each run of a plan and each of these labels, such as ``subject``, that is empty there."""
    text = path.read_text(encoding="utf-8-sig")
    document: dict[str, Any] = {"runs": tomllib.loads(text)["run"]}
    messages = []
    option = ", or give --{}" if len(document["runs"]) == 1 else ""
    for number, run in enumerate(document["runs"]):
        for label in (label for label in labels if not str(run.get(label, "")).strip()):
            line = _line(text.splitlines(), document, ("runs", number, label))
            where = f"line {line}, {run['name']}" if line else run["name"]
            messages.append(f"{path}, {where}: {label} is empty; {LABEL_HINTS[label]}{option.format(label)}")
    return messages


def toml_mistake(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the line of what is not TOML, and what to do; texts without quotes are the most frequent mistake."""
    what, _, place = str(error).partition(" (at ")
    at_end, lines = place.startswith("end"), text.split("\n")
    number = int(place.split()[1].strip(",")) if place.startswith("line") else 1 + text.rstrip().count("\n")
    if (at_end or _STATEMENT.match(lines[number - 1])) and (begin := _open_list(text, number - (not at_end))):
        return f", line {begin}: the list that begins here has no end; close it with ]"
    plain = TEXTS_AND_COMMENTS.sub('""', lines[number - 1][:_LONGEST_LINE])
    for key, value in _BARE.findall(plain):
        try:
            tomllib.loads(f"x = {value}")
        except tomllib.TOMLDecodeError:
            quoted = '["...", "..."]' if key == "authors" else '"..."'
            return f", line {number}: the value of {key} is not valid TOML; put text in quotes: {key} = {quoted}"
    advice = "put text in quotes" if what.startswith("Invalid value") else "correct it, or scan again"
    return f", line {number}: is not valid TOML: {what}; {advice}"


def _open_list(text: str, n_lines: int) -> int:
    """Return the line, from 1, of a list that does not end in the first lines of a text; 0 if all end."""
    plain = TEXTS_AND_COMMENTS.sub(lambda found: "\n" * found[0].count("\n"), text)
    begin = depth = 0
    for number, line in enumerate(plain.split("\n")[:n_lines], 1):
        for bracket in re.findall(r"[][]", line):
            begin = begin if depth else number
            depth += 1 if bracket == "[" else -1
    return begin if depth > 0 else 0


def mistakes_of(text: str, document: dict[str, Any], errors: Sequence[ErrorDetails]) -> list[str]:
    """Return a message for each mistake that pydantic found in a plan, with line and entry where they are known.

    `text` is the file, `document` its parsed content with the runs under ``runs``, as in `Plan`.
    """
    lines = text.splitlines()
    messages = []
    for details in errors:
        line, name = _line(lines, document, details["loc"]), _name(document, details["loc"])
        where = (f"line {line}" if line else "", name)
        messages.append("".join(f", {part}" for part in where if part) + f": {_what(details)}")
    return messages


def _what(details: ErrorDetails) -> str:
    location, value, key = details["loc"], details["input"], _key(details["loc"])
    if location == ("runs",):
        return "has no [[run]]; scan again" if value == [] else "a run begins with [[run]], in double brackets"
    if key == "voxel_size_um":
        return "voxel_size_um must be three sizes X Y Z in micrometers, such as [3.7, 3.7, 5.0]"
    match details["type"]:
        case "enum":
            return f"{key} {value!r} is unknown; use {format_choices([action.value for action in Action])}"
        case "extra_forbidden":
            return f"the key {key!r} is unknown; use {format_choices(_keys(location))}"
        case "missing":
            return f"has no {key}; add {key} = ..."
        case "own_field" | "no_reason":
            return details["msg"]
        case "list_type":
            return f"{key} must be a list, such as {_LISTS[key]}, not {reprlib.repr(value)}"
        case kind if kind in _WANTED:
            each = "each of " if isinstance(location[-1], int) else ""
            return f"{each}{key} must be {_WANTED[kind]}, not {reprlib.repr(value)}"
    return f"{key} {value!r} is not valid: {details['msg']}"


def _key(location: _Location) -> str:
    """Return the innermost key, as it stands in the file."""
    key = next((part for part in reversed(location) if isinstance(part, str)), "")
    return "run" if key == "runs" else key


def _keys(location: _Location) -> list[str]:
    """List the keys that are allowed in the table of an unknown key."""
    model: type[BaseModel] = Plan
    for part in location[:-1]:
        model = _MODELS.get(str(part), model)
    return ["run" if key == "runs" else key for key in model.model_fields]


def _name(document: dict[str, Any], location: _Location) -> str:
    """Return the source of the entry, or the name of the run, with the mistake."""
    match location:
        case ("runs", int(run), "entries", int(entry), *_):
            table, key = document["runs"][run]["entries"][entry], "source"
        case ("runs", int(run), *_):
            table, key = document["runs"][run], "name"
        case _:
            return ""
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""


def _line(lines: Sequence[str], document: dict[str, Any], location: _Location) -> int | None:
    """Return the line, from 1, of the entry or key with the mistake; None if unknown."""
    runs = [number for number, line in enumerate(lines) if _RUN.match(line)]
    start, stop, otherwise, wanted = 0, len(lines), None, _assigned(_key(location))
    match location:
        case ("runs", int(run), *inside) if run < len(runs):
            start, stop, otherwise = runs[run], (*runs, len(lines))[run + 1], runs[run] + 1
            if len(inside) > 1 and inside[0] == "entries":
                source = _name(document, location)
                quoted = f"(?:{re.escape(tomlkit.item(source).as_string())}|'{re.escape(source)}')"
                wanted = rf"\bsource\W*=\s*{quoted}" if source else _assigned("entries")
                rows = [number for number in range(start, stop) if lines[number].lstrip().startswith("{")]
                if not source and int(inside[1]) < len(rows):  # `scan` writes an entry a line
                    return rows[int(inside[1])] + 1
        case ("dataset", *_):
            start = next((number for number, line in enumerate(lines) if _DATASET.match(line)), 0)
            stop = next((number for number in runs if number > start), stop)
    return next((number + 1 for number in range(start, stop) if re.search(wanted, lines[number])), otherwise)


def _assigned(key: str) -> str:
    """Return a pattern for a key with a value, or in the header of a table."""
    return rf"(?:^|[\s{{,.[])[\"']?{re.escape(key)}[\"']?\s*[=\].]"
