"""The checksums of all files of a dataset except images.

Invariant: files that packaging always makes, and files that look as if they had been packaged, must have a checksum.
Other files belong to people and are only listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import MARKERS, PARTIAL, final_path, temporary_below
from catnip2bids.bids.checksums import CHECKSUMS, NOT_CHECKED, Checksums, checked_files, file_sha256
from catnip2bids.bids.dataset_paths import (
    CELLS_ENDING,
    COUNTS,
    COUNTS_ENDING,
    DERIVATIVE,
    NEUROGLANCER,
    SOURCEDATA,
    UNCOUNTED_ENDING,
    sidecar_of,
)
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import FOLDER, PLAN, PROVENANCE, Provenance
from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.enums import IMAGE_ENDINGS
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_bytes
from catnip2bids.leftovers import leave_out_leftovers
from catnip2bids.locks import FOLDER_LOCK
from catnip2bids.verification.result import FileProblem, ProblemKind

_READ_BYTES = 2**20
_LARGE_BYTES, _SPARSE = 2**30, 1024
"""A file larger than this that occupies less than 1/1024 of its size on disk was made to keep hashing busy."""
_OF_DATASET = (
    ".bidsignore",
    "CHANGES",
    "README.md",
    "dataset_description.json",
    "participants.json",
    "participants.tsv",
    "samples.json",
    "samples.tsv",
    PLAN.as_posix(),
    PROVENANCE.as_posix(),
    f"{DERIVATIVE}/dataset_description.json",
)
"""Files that every dataset has."""


def verify_files(dataset: Path, checksums: Checksums, resources: Resources) -> Iterator[FileProblem]:
    """Yield the files that have changed; `unlisted_files` lists those that are new."""
    if not checksums.is_intact:
        yield FileProblem(CHECKSUMS.as_posix(), "was changed: its own checksum is not right")

    with BoundedMap(resources, _READ_BYTES, about=dataset) as threads:
        found = threads.map(partial(_compared, dataset), sorted(checksums.files.items()))
        yield from (problem for problem in found if problem is not None)


def _compared(dataset: Path, file_and_sha256: tuple[str, str]) -> FileProblem | None:
    """Compare a file with its checksum."""
    file, sha256 = file_and_sha256
    try:
        state = (dataset / file).stat()
        if state.st_size > _LARGE_BYTES and state.st_blocks * 512 * _SPARSE < state.st_size:
            what = f"has {format_bytes(state.st_size)}, nearly all of it empty: too much to be hashed"
            return FileProblem(file, what)
        same = file_sha256(dataset / file) == sha256
    except FileNotFoundError:
        return FileProblem(file, "does not exist any more", ProblemKind.MISSING)
    except OSError as error:
        return FileProblem(file, f"cannot be read: {error.strerror}", ProblemKind.NOT_READ)
    return None if same else FileProblem(file, "was changed since it was packaged")


def missing_lines(provenance: Provenance, checksums: Checksums) -> list[str]:
    """List the packaged files and folders that have no checksum."""
    return sorted({path for path in _packaged(provenance) if not checksums.below(PurePosixPath(path))})


def _packaged(provenance: Provenance) -> Iterator[str]:
    yield from _OF_DATASET
    for key, run in provenance.runs.items():
        for image in map(PurePosixPath, run.images):
            yield from (sidecar_of(image).as_posix(), hashes_path(image).as_posix())
            if image.suffix == ".zarr":
                yield image.as_posix()  # at least one of the documents inside
        if run.atlas_table is not None:
            table = DERIVATIVE / run.atlas_table
            yield from (table.as_posix(), table.with_suffix(".json").as_posix())
        for cells in run.cells:
            yield from (cells, cells.removesuffix(CELLS_ENDING) + UNCOUNTED_ENDING)
        if run.region_table is not None:
            yield from (run.region_table, PurePosixPath(run.region_table).with_suffix(".json").as_posix())
        decisions = provenance.decisions_of(key)
        targets = (decision.target for decision in decisions.values() if decision.target is not None)
        for target in targets:
            if target.startswith("derivatives/") and target.endswith(COUNTS_ENDING):
                place = "/".join(PurePosixPath(target).parts[:2])
                yield from (target, f"{place}/counts.tsv", f"{place}/counts.json")
        for path, copy in provenance.copies_of(key).items():
            if decisions[path].n_bytes:  # folders may be empty
                yield copy.as_posix()


def unlisted_files(dataset: Path, provenance: Provenance, checksums: Checksums) -> tuple[list[str], list[str]]:
    """List the files without a checksum: first those that look packaged, then those that a person may have added."""
    folders = (SOURCEDATA, DERIVATIVE, COUNTS, NEUROGLANCER, FOLDER)
    ours = [f"{folder}/" for folder in folders]
    for key, run in provenance.runs.items():
        ours += [f"sub-{run.subject}/micr/{key}", f"sub-{run.subject}/sub-{run.subject}_scans."]
    try:
        unlisted = sorted(set(checked_files(dataset)) - checksums.files.keys() - {*_OF_DATASET})
    except OSError as error:
        raise DatasetError(
            f"{error.filename}: cannot be listed: {error.strerror}; make it readable and verify again"
        ) from error
    looking_packaged = [file for file in unlisted if file.startswith(tuple(ours))]
    return looking_packaged, sorted(set(unlisted) - set(looking_packaged))


def unlisted_images(dataset: Path, provenance: Provenance) -> Iterator[str]:
    """Yield the images that provenance does not list, and folders with such names."""
    known = provenance.all_images()
    for parent, folders, files in os.walk(dataset):
        leave_out_leftovers(folders, files)
        if Path(parent) == dataset:
            folders[:] = [name for name in folders if name not in (*NOT_CHECKED, SOURCEDATA.parts[0])]
        for name in sorted([*folders, *files]):
            image = (Path(parent) / name).relative_to(dataset).as_posix()
            if name.endswith(IMAGE_ENDINGS) and image not in known:
                yield image
        folders[:] = [name for name in folders if not name.endswith((*IMAGE_ENDINGS, PARTIAL, MARKERS))]


def unfinished_work(dataset: Path) -> Iterator[FileProblem]:
    """Yield unfinished files of an interrupted command."""
    if (dataset / FOLDER_LOCK).exists():
        what = "is left from packaging that was interrupted, or goes on where locks cannot tell; package again"
        yield FileProblem(FOLDER_LOCK, what, ProblemKind.NOT_READ)
    for path in temporary_below(dataset):
        relative = path.relative_to(dataset)
        final = final_path(relative)
        if final not in (relative, Path(CHECKSUMS)) and relative.parts[0] not in NOT_CHECKED:
            what = "was not finished: a command was interrupted; package again, which finishes it or clears it away"
            yield FileProblem(final.as_posix(), what, ProblemKind.NOT_READ)
