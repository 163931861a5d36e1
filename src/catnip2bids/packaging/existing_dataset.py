"""Read the files of a dataset that packaging merges with new content; check them before the first byte is written.

Invariant: files that pass can be merged, so that no error in an old file stops a command that has begun to write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catnip2bids.atomic_write import too_long
from catnip2bids.bids.checksums import CHECKSUMS, are_set_aside, file_sha256, read_checksums, set_checksums_aside
from catnip2bids.bids.dataset_paths import (
    CELLS_ENDING,
    COUNTS,
    DERIVATIVE,
    UNCOUNTED_ENDING,
    sidecar_of,
    tables_of_counts,
)
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import FOLDER, MOST_BYTES, MOST_PARTS, PLAN, PROVENANCE, Provenance
from catnip2bids.bids.tables import Row, read_rows
from catnip2bids.catnip.component_type import Content
from catnip2bids.documents import json_parts, read_bytes, read_object
from catnip2bids.documents import read_json as read_json_text
from catnip2bids.errors import DatasetError, UsageError, unreadable
from catnip2bids.formatting import format_count
from catnip2bids.leftovers import without_leftovers
from catnip2bids.packaging.region_tables import atlas_tables
from catnip2bids.packaging.tasks import RunTasks
from catnip2bids.paths import spelled_otherwise
from catnip2bids.plan import read_plan

_TABLES: dict[str, tuple[str, ...]] = {
    "participants.tsv": ("participant_id",),
    "samples.tsv": ("participant_id", "sample_id"),
    f"{DERIVATIVE}/samples.tsv": ("participant_id", "sample_id"),
    f"{DERIVATIVE}/descriptions.tsv": ("desc_id",),
}
"""Tables that are merged, and the columns that identify their rows."""
_DOCUMENTS = (
    "participants.json",
    "samples.json",
    "SPIM.json",
    f"{DERIVATIVE}/samples.json",
    f"{DERIVATIVE}/descriptions.json",
    f"{DERIVATIVE}/*dseg.json",
    "derivatives/*/counts.json",
    "derivatives/*/*regions.json",
)
_TEXTS = ("README.md", "derivatives/*/README.md", ".bidsignore", f"{DERIVATIVE}/.bidsignore")

_PARTS_OF_ENTRY, _REGIONS = 40, 600
"""Estimates for provenance: the fields of a decision or an image, and the labels of an atlas image."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Tool(_Strict):
    Name: str = ""


class _Source(_Strict):
    URL: str = ""


class _Description(_Strict):
    """The fields of dataset_description.json that are merged or used."""

    Name: str = ""
    License: str = ""
    Authors: list[str] = Field(default=[], fail_fast=True)
    GeneratedBy: list[_Tool] = Field(default=[], fail_fast=True)
    SourceDatasets: list[_Source] = Field(default=[], fail_fast=True)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object whose text can be written again; return an empty one if the file does not exist."""
    if not path.is_file():
        return {}
    try:
        document = read_object(path)
        json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        raise DatasetError(f"{path}: is not a valid JSON object ({error}); correct it and run again") from error
    return document


def read_text(path: Path) -> str:
    """Read a text file; return an empty text if it does not exist."""
    try:
        return read_bytes(path).decode() if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8 and run again") from error


def check_existing(dataset: Path, provenance: Provenance, runs: Sequence[RunTasks]) -> None:
    """Refuse a dataset with files that cannot be merged with new content."""
    records = [provenance.runs[str(run.name)] for run in runs if str(run.name) in provenance.runs]
    images = {task.target for run in runs for task in run.images}
    images |= {PurePosixPath(target) for record in records for target in record.images}
    _check(dataset, ["dataset_description.json", f"{DERIVATIVE}/dataset_description.json"], _read_description)
    _check(dataset, [*_DOCUMENTS, *sorted({str(sidecar_of(image)) for image in images})], read_json)
    for pattern, columns in _TABLES.items():
        _check(dataset, [pattern], _read_keyed_rows, *columns)
    remade = {dataset / task.target for run in runs for task in run.counts}
    counts = sorted(set(tables_of_counts(dataset)) - remade)
    _check(dataset, [str(path.relative_to(dataset)) for path in counts], read_rows, "index")
    scans = {f"sub-{run.subject}/sub-{run.subject}_scans" for run in runs}
    _check(dataset, [f"{name}.tsv" for name in scans], _read_keyed_rows, "filename")
    _check(dataset, [f"{name}.json" for name in scans], read_json)
    atlas_tables(dataset)
    _check(dataset, _TEXTS, read_text)
    _check(dataset, [PLAN.as_posix()], read_plan)
    read_checksums(dataset)
    _check_folders(dataset, runs)


def check_checksums(dataset: Path, provenance: Provenance) -> None:
    """Refuse a dataset whose checksums were changed or removed: new ones would hide what else was.

    They may be missing after a command was killed.
    """
    checksums = read_checksums(dataset)
    if checksums is None and (are_set_aside(dataset) or not provenance.decisions):
        return
    if checksums is None or not checksums.is_intact:
        what = "is missing" if checksums is None else "was changed"
        raise DatasetError(
            f"{dataset / CHECKSUMS}: {what}, so nothing proves the other files; bring it back from a copy, or package "
            "all runs again with --overwrite"
        )


def check_counts(dataset: Path, rewritten: Iterable[Path]) -> None:
    """Refuse tables of counts that were changed: counts.tsv would repeat the change, with a new checksum.

    `rewritten` are those that this command writes or removes; they may have changed.
    """
    checksums = read_checksums(dataset)
    if checksums is None or not checksums.is_intact:  # a command was killed, or everything is packaged again
        return
    for path in sorted(set(tables_of_counts(dataset)) - set(rewritten)):
        sha256 = checksums.files.get(path.relative_to(dataset).as_posix())
        if sha256 is not None and path.is_file() and file_sha256(path) != sha256:
            raise DatasetError(
                f"{path}: was changed since it was packaged, and counts.tsv would repeat the change; bring it back "
                "from a copy, or package its run again with CATNIP's table of counts"
            )


def check_names(dataset: Path, runs: Sequence[RunTasks]) -> None:
    """Refuse labels that make names of files or their paths too long for a file system."""
    for run in runs:
        images = [task.target for task in run.images]
        for path in (*images, *map(hashes_path, images), *(task.target for task in run.counts)):
            if what := too_long(path, dataset):
                raise UsageError(
                    f"{run.run.folder}: {path}: {what}; give shorter labels (--subject, --sample, --stain, or in the "
                    "plan), or another place with -o"
                )


def check_provenance_size(dataset: Path, provenance: Provenance, runs: Sequence[RunTasks]) -> None:
    """Refuse runs with which provenance would become too large to be read again.

    The number of labels is an estimate, as images are not made yet.
    """
    file = dataset / PROVENANCE
    n_parts = json_parts(read_json_text(file, MOST_BYTES, MOST_PARTS)) if file.is_file() else 0
    new = [run for run in runs if str(run.name) not in provenance.runs]
    for run in new:
        evidence = [run.evidence_of(entry) for entry in run.run.entries]
        n_label_images = sum(task.component.content == Content.LABELS for task in run.images)
        n_parts += json_parts(json.dumps(evidence, default=str).encode())
        n_parts += _PARTS_OF_ENTRY * (len(evidence) + len(run.images)) + _REGIONS * n_label_images
    if new and n_parts > MOST_PARTS:
        raise UsageError(
            f"{dataset}: with {format_count(len(new), 'run')} more, {PROVENANCE.name} would have about {n_parts:,} "
            f"fields and values, and it may have {MOST_PARTS:,}; package them into another dataset"
        )


def _check(dataset: Path, patterns: Sequence[str], read: Callable[..., Any], *columns: str) -> None:
    for path in (path for pattern in patterns for path in sorted(without_leftovers(dataset.glob(pattern)))):
        if path.is_dir():
            raise DatasetError(f"{path}: is a folder, and a file of this name is to be written; rename the folder")
        try:
            read(path, *columns)
        except OSError as error:
            raise DatasetError(unreadable(path, error)) from error


def _read_keyed_rows(path: Path, *columns: str) -> None:
    """Read a table, and refuse different rows of one key: merging would keep only one of them."""
    first: dict[tuple[str, ...], Row] = {}
    for row in read_rows(path, *columns):
        key = tuple(row[column] for column in columns)
        if first.setdefault(key, row) != row:
            raise DatasetError(f"{path}: has different rows for {' '.join(key)}; make one row of them")


def _read_description(path: Path) -> None:
    try:
        _Description.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{path}: field {field}: {first['msg']}; correct it and run again") from error


def _check_folders(dataset: Path, runs: Sequence[RunTasks]) -> None:
    """Refuse files in the place of folders that have to be created."""
    folders = {DERIVATIVE, COUNTS, FOLDER / "pixels"}
    folders |= {task.target.parent for run in runs for task in run.all_tasks}
    folders |= {task.verbatim.parent for run in runs for task in run.counts}
    folders |= {parent for folder in folders for parent in folder.parents}
    for path in (dataset / folder for folder in sorted(folders)):
        if os.path.lexists(path) and not path.is_dir():
            raise DatasetError(f"{path}: is a file, and a folder of this name is needed; rename the file")
        if other := spelled_otherwise(dataset, path.relative_to(dataset)):
            raise DatasetError(
                f"{other}: and {path}, which is to be written, are the same name on macOS and Windows; rename it, or "
                "take the animal out with package --remove"
            )


def set_aside(dataset: Path, provenance: Provenance, *, is_new: bool = False) -> dict[str, str]:
    """Set the checksums aside, as `set_checksums_aside` does, and return them.

    After an interrupted command, those of files that it removed are left out: files that are gone, and that provenance
    does not name any more.
    """
    was_interrupted, checksums = are_set_aside(dataset), dict(set_checksums_aside(dataset, is_new=is_new))
    if not was_interrupted:
        return checksums
    named = set(map(PurePosixPath, provenance.all_images()))
    named |= {hashes_path(image) for image in named}
    named |= {PurePosixPath(found.target) for found in provenance.decisions if found.target is not None}
    for key, run in provenance.runs.items():
        named |= set(provenance.copies_of(key).values())
        for table in map(PurePosixPath, run.cells):
            named |= {table, table.with_name(table.name.replace(CELLS_ENDING, UNCOUNTED_ENDING))}

    def is_named(file: PurePosixPath) -> bool:
        return file in named or not named.isdisjoint(file.parents)

    return {
        file: sha256 for file, sha256 in checksums.items() if is_named(PurePosixPath(file)) or (dataset / file).exists()
    }
