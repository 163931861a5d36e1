"""Save and read the last results of validate and verify, ``docs/report/validation.json`` and ``verification.json``.

Invariant: a result is read together with the answer whether it is current: same provenance, checksums, tables and
sidecars, and images of the same sizes. Anyone who can write to the dataset can forge a result, so the report shows it
as what a command said at a time; only `verify` proves that bytes are unchanged.

The models declare only the JSON keys that the report shows, so that it also reads results of other versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from catnip2bids.atomic_write import raising_write_errors, write_text
from catnip2bids.bids.checksums import CHECKSUMS, file_sha256, read_checksums
from catnip2bids.bids.dataset_paths import REPORT
from catnip2bids.bids.provenance import FOLDER, PROVENANCE, read_provenance
from catnip2bids.documents import read_bytes, read_json
from catnip2bids.enums import IMAGE_ENDINGS
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_count, format_planes
from catnip2bids.ome import image_size
from catnip2bids.paths import SafePath, inside, safe_path
from catnip2bids.validation import ValidationReport
from catnip2bids.verification import Verification
from catnip2bids.verification.result import ProblemKind

CHANGED_LATER = "; verify found changes since"


class Finding(BaseModel):
    """A finding of a validator."""

    severity: str
    file: str
    message: str


class _Problem(BaseModel):
    what: str
    kind: str = ""  # empty from versions that did not save it

    @property
    def is_change(self) -> bool:
        """Whether it means that something changed or is missing; if not, something could not be checked."""
        return self.kind != ProblemKind.NOT_READ


class ImageProblem(_Problem):
    """A problem of an image."""

    level: int | None = None
    planes: list[int] = Field(default_factory=list, fail_fast=True)

    def __str__(self) -> str:
        """Return one line, as `verify` prints it."""
        planes = f", {format_planes(self.planes)}" if self.planes else ""
        return self.what if self.level is None else f"level {self.level}{planes}: {self.what}"


class ImageVerdict(BaseModel):
    """An image that was verified."""

    image: str
    problems: list[ImageProblem] = Field(default_factory=list, fail_fast=True)


class FileProblem(_Problem):
    """A problem of another file."""

    file: str


class CountsVerdict(BaseModel):
    """A table of counts whose cells were counted again."""

    ok: bool
    not_compared: list[int] = Field(default_factory=list, fail_fast=True)  # regions with cells but no count


class Found(BaseModel):
    """The details of a result; a validation fills the first field, a verification the others."""

    findings: list[Finding] = Field(default_factory=list, fail_fast=True)
    images: list[ImageVerdict] = Field(default_factory=list, fail_fast=True)
    file_problems: list[FileProblem] = Field(default_factory=list, fail_fast=True)
    # of a validation, these are the numbers of its findings
    counts: Annotated[list[CountsVerdict], Field(fail_fast=True)] | dict[str, object] = Field(default_factory=list)

    @property
    def has_changed(self) -> bool:
        """Whether a verification found changes, not only what could not be checked."""
        problems = [*self.file_problems, *(problem for image in self.images for problem in image.problems)]
        return any(problem.is_change for problem in problems)


class CheckResult(BaseModel):
    """A saved result."""

    ok: bool
    time: str  # UTC, to the minute
    dataset: str | None  # hash of the state of the dataset
    found: Found

    @model_validator(mode="after")
    def _check_ok(self) -> Self:
        is_wrong = any(finding.severity == "error" for finding in self.found.findings)
        is_wrong |= bool(self.found.file_problems) or any(image.problems for image in self.found.images)
        if self.ok == is_wrong:
            raise ValueError("contradicts itself")
        return self


def save_check_result(dataset: Path, name: str, check: ValidationReport | Verification) -> None:
    """Save a ``validation`` or ``verification`` for the next report, unless the dataset was not made by `package`."""
    if not (dataset / PROVENANCE).is_file():
        return
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    is_ok = check.is_proven if isinstance(check, Verification) else check.ok  # counts are shown apart
    document = {"time": now, "dataset": dataset_state(dataset), "ok": is_ok, "found": check.to_json()}
    path = _path(dataset, name)
    with raising_write_errors(path):
        text = json.dumps(document, indent=1, ensure_ascii=False)
        for folder in (dataset.absolute(), dataset.resolve()):  # errors of libraries name it, and it is private
            text = text.replace(json.dumps(f"{folder}/", ensure_ascii=False)[1:-1], "")
        write_text(path, text + "\n")


def read_check_result(dataset: Path, name: str) -> tuple[CheckResult, bool] | None:
    """Read the last result, and whether the dataset is unchanged since; None if there is none that can be read."""
    try:
        result = CheckResult.model_validate_json(read_json(_path(dataset, name)))
    except (OSError, DatasetError, ValidationError):
        return None
    provenance, proven = read_provenance(dataset), {verdict.image for verdict in result.found.images}
    embedded = {path for run in provenance.runs.values() for path in run.embedded_images()}
    is_complete = name == "validation" or not result.ok or proven >= provenance.all_images().keys() | embedded
    return result, is_complete and result.dataset is not None and result.dataset == dataset_state(dataset)


def _path(dataset: Path, name: str) -> SafePath:
    return safe_path(dataset, REPORT / f"{name}.json")


def dataset_state(dataset: Path) -> str:
    """Hash provenance, checksums, tables, sidecars, and the number and total size of the files of each image.

    Of tables of cells, which may be large, only the size is hashed.
    """
    checksums = dataset / CHECKSUMS
    digest = hashlib.sha256(read_bytes(checksums) if checksums.is_file() else b"")
    known = read_checksums(dataset)
    for file in sorted(known.files) if known is not None else ():
        path = dataset / inside(file, CHECKSUMS.name)
        if file.startswith(f"{FOLDER}/") or any(f"{ending}/" in file for ending in IMAGE_ENDINGS) or not path.is_file():
            continue
        if file.endswith((".tsv", ".json")):
            digest.update(f"{file} {file_sha256(path)}\n".encode())
        elif file.endswith(".tsv.gz"):
            digest.update(f"{file} {path.stat().st_size}\n".encode())
    digest.update(bytes.fromhex(file_sha256(dataset / PROVENANCE)))
    for target in sorted(read_provenance(dataset).all_images()):
        path = dataset / inside(target, PROVENANCE.name)
        size = image_size(path) if path.exists() else None
        digest.update(f"{target} {size}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class State:
    """A sentence about the whole dataset, and its style."""

    text: str
    style: str


@dataclass(frozen=True)
class Problem:
    """A problem and its path; the path is empty for the dataset as a whole."""

    where: str
    what: str
    is_change: bool = False  # found by `verify`; if not, it is another problem, or something could not be checked


@dataclass(frozen=True)
class CheckResults:
    """The results of the last validation and verification; None if they never ran or are outdated."""

    validation: CheckResult | None
    verification: CheckResult | None
    states: tuple[State, ...]  # what validate said, what verify said, and what it said of counts, if it counted

    @classmethod
    def of(cls, dataset: Path) -> CheckResults:
        """Read the saved results."""
        validation, verification = (read_check_result(dataset, name) for name in ("validation", "verification"))
        found, proven = (saved[0] if saved and saved[1] else None for saved in (validation, verification))
        is_valid = _state(validation, ("said: valid", "said: not valid"), "validate")
        has_changed = verification is not None and verification[0].found.has_changed
        if found and found.ok and proven and has_changed and proven.time >= found.time:
            is_valid = State(f"validate said: valid on {found.time} UTC{CHANGED_LATER}", "warn")
        not_ok = "found changes" if has_changed else "said: not everything is proven"
        is_proven = _state(verification, ("said: every pixel proven", not_ok), "verify")
        return cls(found, proven, (is_valid, is_proven, *_counted(proven)))

    def findings(self, severity: str) -> list[Problem]:
        """Return the findings of the validators."""
        found = self.validation.found.findings if self.validation else []
        return [Problem(one.file, one.message) for one in found if one.severity == severity]

    def verdicts(self) -> dict[str, list[Problem]]:
        """Return the problems of each verified image, by its path below the dataset."""
        images = self.verification.found.images if self.verification else []
        return {
            image.image: [Problem(image.image, str(problem), problem.is_change) for problem in image.problems]
            for image in images
        }

    def file_problems(self) -> list[Problem]:
        """Return problems of files other than images."""
        found = self.verification.found.file_problems if self.verification else []
        return [Problem(one.file, one.what, one.is_change) for one in found]


def _counted(verification: CheckResult | None) -> Iterator[State]:
    """Yield what ``verify --counts`` said, if it ran."""
    if verification is not None and isinstance(tables := verification.found.counts, list) and tables:
        n_wrong = sum(not table.ok for table in tables)
        n_not_compared = sum(len(table.not_compared) for table in tables)
        but = f" except {format_count(n_not_compared, 'region')} that could not be compared" if n_not_compared else ""
        confirmed = f"CATNIP's counts confirmed{but}"
        text = f"{n_wrong} of {len(tables)} tables of counts not confirmed" if n_wrong else confirmed
        yield State(f"verify --counts said: {text} on {verification.time} UTC", "bad" if n_wrong else "good")


def _state(saved: tuple[CheckResult, bool] | None, words: tuple[str, str], command: str) -> State:
    if saved is None:
        return State(f"not checked yet: catnip2bids {command}", "warn")
    found, is_current = saved
    if not is_current:
        return State(f"changed since {command} ran on {found.time} UTC; run it again", "warn")
    said = f"{command} {words[0 if found.ok else 1]} on {found.time} UTC; not checked again since"
    return State(said, "good" if found.ok else "bad")
