"""The plan as TOML: reading it, and writing it with comments.

Invariant: reading a written plan gives the same plan; comments are for people only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import tomlkit
from pydantic import ValidationError
from tomlkit.items import Table as TomlTable

from catnip2bids.atomic_write import write_text
from catnip2bids.documents import MOST_JSON_BYTES
from catnip2bids.enums import DEFAULT_STAIN
from catnip2bids.errors import PlanError
from catnip2bids.formatting import SHOWN, format_bytes, format_shape
from catnip2bids.paths import is_within, safe_file
from catnip2bids.plan.checks import is_for
from catnip2bids.plan.default_plan import problems_of
from catnip2bids.plan.mistakes import LABEL_HINTS, TEXTS_AND_COMMENTS, mistakes_of, toml_mistake
from catnip2bids.plan.model import AboutDataset, Plan, PlannedRun
from catnip2bids.scanning import Run, Scan

_MOST_MISTAKES = 1000
_MOST_VALUES, _MOST_TABLES, _MOST_DOTS_OF_LINE = 1_000_000, 100_000, 20
"""A value takes Python up to 200 bytes, a table or a part of a dotted key 2 kB, and long dotted keys far more."""

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
        text = path.read_text(encoding="utf-8-sig")
        _refuse_excessive(path, text)
        document = tomllib.loads(text)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}; give a plan that scan wrote") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: is not UTF-8 text; save it as UTF-8, or scan again") from error
    except RecursionError as error:
        raise PlanError(f"{path}: is nested too deeply; correct it, or scan again") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}{toml_mistake(text, error)}") from error
    document["runs"] = document.pop("run", [])
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        if (n_mistakes := error.error_count()) > _MOST_MISTAKES:  # the list of them may take gigabytes
            raise PlanError(f"{path}: has {n_mistakes:,} mistakes; scan again") from None
        messages = [f"{path}{mistake}" for mistake in mistakes_of(text, document, error.errors()[:SHOWN])]
        more = [f"and {n_mistakes - SHOWN:,} more mistakes"] if n_mistakes > SHOWN else []
        raise PlanError(*messages, *more) from error


def _refuse_excessive(path: Path, text: str) -> None:
    """Refuse TOML that would take gigabytes of memory."""
    plain = TEXTS_AND_COMMENTS.sub("", text)
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
    """Refuse a file that is in a source, cannot be written, or is not a plan as `write_plan` wrote it."""
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
    for key in ("subject", "sample"):
        if not getattr(run, key):
            table[key].comment(LABEL_HINTS[key])
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
