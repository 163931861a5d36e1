"""Messages about mistakes in a plan, with their lines.

Invariant: a message names the line, the entry or run, what is wrong, and what to do, for people who do not know TOML.
"""

from __future__ import annotations

import re
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
_AT_A_LINE = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)
_BARE = re.compile(r"([\w-]+)\s*=[ \t]*([^\"'\[{\s=,}\]][^\"'=,}\]\r]*)")
"""A key, and a value that is neither a text in quotes, nor a list, nor a table."""
_LONGEST_LINE = 2000
"""Looking for such a value takes long in longer lines, which people do not write."""
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
        for label in (label for label in labels if not run.get(label)):
            line = _line(text.splitlines(), document, ("runs", number, label))
            where = f"line {line}, {run['name']}" if line else run["name"]
            messages.append(f"{path}, {where}: {label} is empty; {LABEL_HINTS[label]}{option.format(label)}")
    return messages


def toml_mistake(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the line of what is not TOML, and what to do; texts without quotes are the most frequent mistake."""
    found = _AT_A_LINE.fullmatch(str(error))
    if found is None:
        return f": is not valid TOML: {error}; correct it, or scan again"
    what, number = found[1], int(found[2])
    plain = TEXTS_AND_COMMENTS.sub('""', text.split("\n")[number - 1][:_LONGEST_LINE])
    for key, value in _BARE.findall(plain):
        try:
            tomllib.loads(f"x = {value}")
        except tomllib.TOMLDecodeError:
            quoted = '["...", "..."]' if key == "authors" else '"..."'
            return f", line {number}: the value of {key} is not valid TOML; put text in quotes: {key} = {quoted}"
    advice = "put text in quotes" if what.startswith("Invalid value") else "correct it, or scan again"
    return f", line {number}: is not valid TOML: {what}; {advice}"


def mistakes_of(text: str, document: dict[str, Any], errors: Sequence[ErrorDetails]) -> list[str]:
    """Return a message for each mistake that pydantic found in a plan, with line and entry where they are known.

    `text` is the file, `document` its parsed content with the runs under ``runs``, as in `Plan`.
    """
    lines = text.splitlines()
    messages = []
    for details in errors:
        location = details["loc"]
        line, name = _line(lines, document, location), _name(document, location)
        where = [f"line {line}"] if line else []
        messages.append(f", {', '.join([*where, name] if name else where)}".rstrip(", ") + f": {_what(details)}")
    return messages


def _what(details: ErrorDetails) -> str:
    location, value = details["loc"], details["input"]
    key = next((part for part in reversed(location) if isinstance(part, str)), "")
    if location == ("runs",):
        return "has no [[run]]; scan again"
    if "voxel_size_um" in location:
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
        case kind if kind in _WANTED:
            return f"{key} must be {_WANTED[kind]}, not {value!r}"
    return f"{key} {value!r} is not valid: {details['msg']}"


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
            return _text(document["runs"][run]["entries"][entry], "source")
        case ("runs", int(run), *_):
            return _text(document["runs"][run], "name")
    return ""


def _text(table: object, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""


def _line(lines: Sequence[str], document: dict[str, Any], location: _Location) -> int | None:
    """Return the line, from 1, of the entry or key with the mistake; None if unknown."""
    runs = [number for number, line in enumerate(lines) if _RUN.match(line)]
    start, stop, wanted, further = 0, len(lines), "", 0
    match location:
        case ("runs", int(run), *inside) if run < len(runs):
            start, stop = runs[run], (*runs, len(lines))[run + 1]
            wanted = _assigned(str(inside[-1] if inside else ""))
            if len(inside) > 1 and inside[0] == "entries":
                source = _name(document, location)
                quoted = f"(?:{re.escape(tomlkit.item(source).as_string())}|'{re.escape(source)}')"
                wanted = rf"\bsource\W*=\s*{quoted}" if source else _assigned("entries")
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
    """Return a pattern for a key with a value, or for the last key in the header of a table."""
    return rf"(?:^|[\s{{,.])[\"']?{re.escape(key)}[\"']?\s*[=\]]"
