"""Save and read the last results of validate and verify, ``docs/report/validation.json`` and ``verification.json``.

Invariant: a result is read together with the answer whether it is current: same provenance and checksums, and images of
the same sizes. Anyone who can write to the dataset can forge a result, so the report shows it as what a command said at
a time; only `verify` proves that bytes are unchanged.

The models declare only the JSON keys that the report shows, so that it also reads results of other versions.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from catnip2bids.atomic_write import raising_write_errors, write_text
from catnip2bids.bids.checksums import CHECKSUMS, file_sha256
from catnip2bids.bids.provenance import PROVENANCE, read_provenance
from catnip2bids.documents import read_bytes, read_json
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_planes
from catnip2bids.ome import image_size
from catnip2bids.paths import SafePath, inside, safe_path
from catnip2bids.verification.result import ProblemKind

REPORT = Path("docs/report")
"""Where the report is, below the dataset."""


class Check(Protocol):
    """The result of a validation or a verification."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""


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


class Found(BaseModel):
    """The details of a result; a validation fills the first field, a verification the others."""

    findings: list[Finding] = Field(default_factory=list, fail_fast=True)
    images: list[ImageVerdict] = Field(default_factory=list, fail_fast=True)
    file_problems: list[FileProblem] = Field(default_factory=list, fail_fast=True)

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


def save_check_result(dataset: Path, name: str, check: Check) -> None:
    """Save a result for the next report, unless the dataset was not made by `package`.

    Parameters
    ----------
    dataset
        The dataset that was checked.
    name
        ``validation`` or ``verification``.
    check
        The result.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    if not (dataset / PROVENANCE).is_file():
        return
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    document = {"time": now, "dataset": dataset_state(dataset), "ok": check.ok, "found": check.to_json()}
    path = _path(dataset, name)
    with raising_write_errors(path):
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_check_result(dataset: Path, name: str) -> tuple[CheckResult, bool] | None:
    """Read the last result, and whether the dataset is unchanged since.

    Returns
    -------
    None if the check never ran or its result cannot be read.
    """
    try:
        result = CheckResult.model_validate_json(read_json(_path(dataset, name)))
    except (OSError, DatasetError, ValidationError):
        return None
    proven = {verdict.image for verdict in result.found.images}
    embedded = {path for run in read_provenance(dataset).runs.values() for path in run.embedded_images()}
    is_complete = name == "validation" or not result.ok or proven >= _images_of(dataset) | embedded
    return result, is_complete and result.dataset is not None and result.dataset == dataset_state(dataset)


def _path(dataset: Path, name: str) -> SafePath:
    return safe_path(dataset, REPORT / f"{name}.json")


def dataset_state(dataset: Path) -> str:
    """Hash provenance, checksums, and the number and total size of the files of each image."""
    checksums = dataset / CHECKSUMS
    digest = hashlib.sha256(read_bytes(checksums) if checksums.is_file() else b"")
    digest.update(bytes.fromhex(file_sha256(dataset / PROVENANCE)))
    for target in sorted(_images_of(dataset)):
        path = dataset / inside(target, PROVENANCE.name)
        size = image_size(path) if path.exists() else None
        digest.update(f"{target} {size}\n".encode())
    return digest.hexdigest()


def _images_of(dataset: Path) -> set[str]:
    return {target for run in read_provenance(dataset).runs.values() for target in run.images}
