"""The plan as TOML: reading it, naming the lines with mistakes, and writing it with comments.

Invariant: reading a written plan gives the same plan; comments are for people only.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from tomlkit.items import Table as TomlTable

from catnip2bids.atomic_write import write_text
from catnip2bids.catnip.component_type import Action
from catnip2bids.catnip.run_name import SAMPLES
from catnip2bids.documents import MOST_JSON_BYTES
from catnip2bids.enums import DEFAULT_STAIN
from catnip2bids.errors import PlanError
from catnip2bids.formatting import SHOWN, format_bytes, format_choices, format_shape
from catnip2bids.paths import is_within, safe_file
from catnip2bids.plan.checks import is_for
from catnip2bids.plan.default_plan import problems_of
from catnip2bids.plan.model import AboutDataset, Participant, Plan, PlannedEntry, PlannedRun
from catnip2bids.scanning import Run, Scan

_TEXTS_AND_COMMENTS = re.compile(  # a text without an end is matched too: looking for it elsewhere takes forever
    r'"""(?:\\.|"{1,2}(?!")|[^"\\])*+(?:"{3,5}|\Z)|"(?:\\.|[^"\\\n])*+"?'
    r"|'''(?:'{1,2}(?!')|[^'])*+(?:'{3,5}|\Z)|'[^'\n]*+'?|#[^\n]*+",
    re.DOTALL,
)
_MOST_MISTAKES = 1000
_MOST_VALUES, _MOST_TABLES, _MOST_DOTS_OF_LINE = 1_000_000, 100_000, 20
"""A value takes Python up to 200 bytes, a table or a part of a dotted key 2 kB, and long dotted keys far more."""

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
_Location = tuple[int | str, ...]

_UNCHANGED = "# sha256 of the lines below as they were written: "
_HEAD = """\
The plan of catnip2bids: what will be done with every file and folder of every run.
Correct it where it is wrong, then: catnip2bids package SOURCE... -o DATASET --plan THIS_FILE
action is "convert" (image or table of the dataset), "copy" (to sourcedata/, as it is) or "exclude".
Whatever you change, give the reason: it is published with the dataset."""

_VOXEL_SIZE_HINT = (
    "X Y Z in micrometers, e.g. [3.7, 3.7, 5.0]; CATNIP does not record it, the microscope's metadata does"
)
_EXAMPLES = {
    "description": (
        "more fields of dataset_description.json, for example:",
        'Funding = ["R01 MH000000"]',
        'ReferencesAndLinks = ["https://doi.org/10.1000/example"]',
    ),
    "acquisition": (
        "fields of the microscopy sidecar that hold for all raw images, for example:",
        'Manufacturer = "Miltenyi Biotec"',
    ),
}
"""Comments in the tables of the dataset, by their key."""


def read_plan(path: Path | str) -> Plan:
    """Read a plan file.

    Parameters
    ----------
    path
        A plan that the command `scan` wrote, as it is or corrected.

    Raises
    ------
    PlanError
        If it cannot be read, is not valid TOML, or not a plan; it names the lines that are wrong.

    Examples
    --------
    >>> read_plan("dataset/code/catnip2bids/plan.toml").dataset.voxel_size_um
    (3.7, 3.7, 5.0)
    """
    path = Path(path)
    try:
        if (n_bytes := path.stat().st_size) > MOST_JSON_BYTES:
            raise PlanError(f"{path}: has {format_bytes(n_bytes)}, which is too much for a plan; scan again")
        text = path.read_text(encoding="utf-8")
        _refuse_excessive(path, text)
        document = tomllib.loads(text)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}; give a plan that scan wrote") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: is not UTF-8 text; save it as UTF-8, or scan again") from error
    except RecursionError as error:
        raise PlanError(f"{path}: is nested too deeply; correct it, or scan again") from error
    except tomllib.TOMLDecodeError as error:
        found = _AT_A_LINE.fullmatch(str(error))
        where, what = (f"{path}, line {found[2]}", found[1]) if found else (path, error)
        raise PlanError(f"{where}: is not valid TOML: {what}; correct it, or scan again") from error
    document["runs"] = document.pop("run", [])
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        if (n_mistakes := error.error_count()) > _MOST_MISTAKES:  # the list of them may take gigabytes
            raise PlanError(f"{path}: has {n_mistakes:,} mistakes; scan again") from None
        messages = [f"{path}{mistake}" for mistake in _mistakes(text, document, error.errors()[:SHOWN])]
        more = [f"and {n_mistakes - SHOWN:,} more mistakes"] if n_mistakes > SHOWN else []
        raise PlanError(*messages, *more) from error


def _refuse_excessive(path: Path, text: str) -> None:
    """Refuse TOML that would take gigabytes of memory."""
    plain = _TEXTS_AND_COMMENTS.sub("", text)
    if (
        sum(map(plain.count, ",={")) > _MOST_VALUES
        or sum(map(plain.count, "[.")) > _MOST_TABLES
        or any(line.count(".") > _MOST_DOTS_OF_LINE for line in plain.split("\n"))
    ):
        raise PlanError(f"{path}: has more values, tables or parts of a key than a plan can have; scan again")


def write_plan(plan: Plan, path: Path | str, found: Scan | None = None, *, overwrite: bool = False) -> None:
    """Write a plan as TOML with comments.

    Parameters
    ----------
    plan
        The plan.
    path
        The file to write, outside of the sources.
    found
        What `scan` found, for comments on sizes and problems.
    overwrite
        Whether to replace another plan in this file.

    Raises
    ------
    PlanError
        If the file exists with other content, is inside a source of `found`, or cannot be written.

    Examples
    --------
    >>> found = scan("cohort")
    >>> write_plan(make_plan(found), "plan.toml", found)
    """
    path = Path(path)
    refuse_plan_file(path, found.sources if found else (), overwrite=overwrite)
    lines = to_toml(plan, found)
    text = f"{_UNCHANGED}{sha256(lines.encode()).hexdigest()}\n{lines}"
    try:
        if path.exists() and not overwrite and path.read_bytes() != text.encode():
            raise PlanError(f"{path}: exists and is different; use -o or --overwrite")
        write_text(safe_file(path), text)
    except OSError as error:
        raise PlanError(f"{path}: cannot be written: {error.strerror}; give another place with -o") from error


def refuse_plan_file(path: Path, sources: Sequence[Path | str], *, overwrite: bool = False) -> None:
    """Refuse a file that is in a source, cannot be written, or holds something else than what `write_plan` wrote."""
    for source in map(Path, sources):
        if is_within(path, source):
            raise PlanError(f"{path}: is inside the source {source}, which is only read; give another place with -o")
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if (path.is_dir() or not os.access(existing, os.W_OK)) or (existing != path and not existing.is_dir()):
        raise PlanError(f"{path}: cannot be written; give another place with -o")
    if path.exists() and not overwrite and not _is_unchanged(path):
        raise PlanError(f"{path}: exists and may have been corrected by hand; use -o or --overwrite")


def _is_unchanged(path: Path) -> bool:
    """Tell whether a file is a plan that has not changed since it was written."""
    try:
        first, _, lines = path.read_bytes().partition(b"\n")
    except OSError:
        return False
    return first.decode(errors="replace") == f"{_UNCHANGED}{sha256(lines).hexdigest()}"


def to_toml(plan: Plan, found: Scan | None = None) -> str:
    """Return a plan as TOML, with comments on sizes and problems if it is given what `scan` found."""
    document = tomlkit.document()
    for line in _HEAD.splitlines():
        document.add(tomlkit.comment(line))
    document.add("dataset", _dataset_toml(plan.dataset))
    runs = tomlkit.aot()
    for run in plan.runs:
        scanned = next((other for other in found.runs if is_for(run, other, found)), None) if found else None
        runs.append(_run_toml(run, scanned))
    document.add("run", runs)
    return tomlkit.dumps(document)


def _dataset_toml(dataset: AboutDataset) -> TomlTable:
    table = tomlkit.table()
    table.add("name", dataset.name)
    table["name"].comment("title of the dataset; if empty, the dataset keeps its title, or gets a general one")
    table.add("authors", dataset.authors)
    table.add("license", dataset.license or "")
    table["license"].comment('e.g. "CC0" or "CC-BY-4.0"')
    if dataset.voxel_size_um is None:
        table.add(tomlkit.comment(f"voxel_size_um = []  # {_VOXEL_SIZE_HINT}"))
    else:
        table.add("voxel_size_um", list(dataset.voxel_size_um))
        table["voxel_size_um"].comment("a [[run]] with other voxels has a line of its own like this one")
    for key, fields in (("description", dataset.description), ("acquisition", dataset.acquisition)):
        part = tomlkit.table()
        for comment in _EXAMPLES[key]:
            part.add(tomlkit.comment(comment))
        for name, value in fields.items():
            part.add(name, value)
        table.add(key, part)
    return table


def _run_toml(run: PlannedRun, scanned: Run | None) -> TomlTable:
    table = tomlkit.table()
    for key in ("name", "source", "source_id", "subject", "sample", "stain", "acquired", "atlas_version"):
        table.add(key, getattr(run, key) or "")
    for key, hint in (
        ("subject", "fill in: letters and digits"),
        ("sample", f"fill in: {', '.join(SAMPLES.values())}"),
    ):
        if not getattr(run, key):
            table[key].comment(hint)
    if run.stain == DEFAULT_STAIN:
        table["stain"].comment("the default: CATNIP does not record the stain, so check it")
    if run.voxel_size_um is not None:
        table.add("voxel_size_um", list(run.voxel_size_um))
    participant = tomlkit.inline_table()
    for key, value in run.participant.model_dump().items():
        participant.add(key, "" if value is None else value)
    table.add("participant", participant)
    table["participant"].comment("species in Latin, age in weeks")
    entries = tomlkit.array()
    comments = _comments(scanned, run) if scanned else {}
    for entry in run.entries:
        line = tomlkit.inline_table()
        for key, value in entry.model_dump(mode="json", exclude_none=True).items():
            line.add(key, value)
        entries.add_line(line, comment=" ".join(comments.get(entry.source, "").split()) or None)
    entries.add_line(indent="")
    table.add("entries", entries)
    return table


def _comments(run: Run, planned: PlannedRun) -> dict[str, str]:
    problems = problems_of(run, planned)
    comments = {}
    for entry in run.entries:
        if entry.path in problems:
            comments[entry.path] = f"PROBLEM: {problems[entry.path]}"
        elif entry.volume is not None:
            comments[entry.path] = f"{format_shape(entry.volume.shape)} voxels, {entry.volume.dtype}"
    return comments


# ---- messages about mistakes


def _mistakes(text: str, document: dict[str, Any], errors: Sequence[ErrorDetails]) -> list[str]:
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
