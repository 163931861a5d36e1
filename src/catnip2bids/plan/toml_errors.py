"""What is wrong in a plan file: the line, the entry, and what is possible instead.

Invariant: only messages are made here; what a plan may hold stands in `model.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from catnip2bids.catnip.component_type import Action
from catnip2bids.formatting import format_choices
from catnip2bids.plan.model import AboutDataset, Participant, Plan, PlannedEntry, PlannedRun

_RUN = re.compile(r"\s*\[\[\s*run\s*\]\]")
_DATASET = re.compile(r"\s*\[\s*dataset\b")
_AT_A_LINE = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)
_WANTED = {
    "string_type": "a text in quotes",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": 'a list, such as ["First Author", "Second Author"]',
    "dict_type": "a table",
    "model_type": "a table",
}
"""What a value must be, by pydantic's type of error."""

_MODELS: dict[str, type[BaseModel]] = {
    "dataset": AboutDataset,
    "runs": PlannedRun,
    "participant": Participant,
    "entries": PlannedEntry,
}
_Place = tuple[int | str, ...]


def syntax_mistake(error: tomllib.TOMLDecodeError) -> str:
    """Say where a file is not TOML: ``line 3: is not valid TOML: ...``."""
    found = _AT_A_LINE.fullmatch(str(error))
    return f", line {found[2]}: is not valid TOML: {found[1]}" if found else f": is not valid TOML: {error}"


def mistakes(text: str, document: dict[str, Any], error: ValidationError) -> list[str]:
    """Say what is wrong in a plan, each with its line and entry where they can be told.

    Parameters
    ----------
    text
        The file.
    document
        What it says; its runs are ``runs``, as in `Plan`.
    error
        What pydantic found.
    """
    lines = text.splitlines()
    said = []
    for details in error.errors():
        place = details["loc"]
        line, name = _line(lines, document, place), _name(document, place)
        where = [f"line {line}"] if line else []
        said.append(f", {', '.join([*where, name] if name else where)}".rstrip(", ") + f": {_what(details)}")
    return said


def _what(details: ErrorDetails) -> str:
    place, value = details["loc"], details["input"]
    key = next((part for part in reversed(place) if isinstance(part, str)), "")
    if place == ("runs",):
        return "has no [[run]] in it; scan again"
    if "voxel_size_um" in place:
        return "voxel_size_um must be three sizes X Y Z in micrometers, such as [3.7, 3.7, 5.0]"
    match details["type"]:
        case "enum":
            return f"{key} {value!r} is unknown; use {format_choices([action.value for action in Action])}"
        case "extra_forbidden":
            return f"the key {key!r} is unknown; use {format_choices(_keys(place))}"
        case "missing":
            return f"has no {key}; add {key} = ..."
        case kind if kind in _WANTED:
            return f"{key} must be {_WANTED[kind]}, not {value!r}"
    return f"{key} {value!r} is not valid: {details['msg']}"


def _keys(place: _Place) -> list[str]:
    """List the keys that are possible where one is unknown."""
    model: type[BaseModel] = Plan
    for part in place[:-1]:
        model = _MODELS.get(str(part), model)
    return ["run" if key == "runs" else key for key in model.model_fields]


def _name(document: dict[str, Any], place: _Place) -> str:
    """Return the name of the entry, or of the run, that a mistake is in."""
    match place:
        case ("runs", int(run), "entries", int(entry), *_):
            return _text(document["runs"][run]["entries"][entry], "source")
        case ("runs", int(run), *_):
            return _text(document["runs"][run], "name")
    return ""


def _text(table: object, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""


def _line(lines: Sequence[str], document: dict[str, Any], place: _Place) -> int | None:
    """Return the line, from 1, of the entry or key that a mistake is in; None where it cannot be told."""
    runs = [number for number, line in enumerate(lines) if _RUN.match(line)]
    start, stop, wanted, further = 0, len(lines), "", 0
    match place:
        case ("runs", int(run), *inside) if run < len(runs):
            start, stop = runs[run], (*runs, len(lines))[run + 1]
            wanted = _assigned(str(inside[-1] if inside else ""))
            if len(inside) > 1 and inside[0] == "entries":
                source = _name(document, place)
                wanted = rf"\bsource\W*=\s*{_quoted(source)}" if source else _assigned("entries")
                further = 0 if source else int(inside[1]) + 1  # `scan` writes an entry a line
        case ("dataset", *inside):
            start = next((number for number, line in enumerate(lines) if _DATASET.match(line)), 0)
            stop = next((number for number in runs if number > start), stop)
            wanted = _assigned(next((part for part in inside if isinstance(part, str)), ""))
        case (str(key),) if key != "runs":
            wanted = rf"^\s*\[*\s*[\"']?{re.escape(key)}\b"
        case _:
            return None
    found = next((number for number in range(start, stop) if re.search(wanted, lines[number])), start)
    return 1 + found + further


def _assigned(key: str) -> str:
    """Return a pattern for a key that gets a value, or is the last part of the header of a table."""
    return rf"(?:^|[\s{{,.])[\"']?{re.escape(key)}[\"']?\s*[=\]]"


def _quoted(text: str) -> str:
    """Return a pattern for a text in either kind of TOML's quotes."""
    return f"(?:{re.escape(tomlkit.item(text).as_string())}|'{re.escape(text)}')"
