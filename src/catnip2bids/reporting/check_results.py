"""What validate and verify found last, kept beside the report: ``docs/report/validation.json``, ``verification.json``.

Invariant: an outcome is shown only with the answer to whether the dataset still has the files that were checked: the
same provenance and checksums, and images of the same sizes. It is a claim, which anyone can write who can write the
dataset, and is shown as what a command said at a time; that bytes are the same is what `verify` finds out, not this.
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

REPORT = Path("docs/report")
"""Where the report is, below the dataset."""


class Check(Protocol):
    """What came of a validation or a verification."""

    @property
    def ok(self) -> bool:
        """Whether all is well."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""


class Finding(BaseModel):
    """What a validator found."""

    severity: str
    file: str
    message: str


class ImageProblem(BaseModel):
    """What is wrong with an image."""

    what: str
    level: int | None = None
    planes: list[int] = Field(default_factory=list, fail_fast=True)

    def __str__(self) -> str:
        """Say it in a line, as `verify` does."""
        planes = f", {format_planes(self.planes)}" if self.planes else ""
        return self.what if self.level is None else f"level {self.level}{planes}: {self.what}"


class ImageVerdict(BaseModel):
    """What became of an image that was verified."""

    image: str
    problems: list[ImageProblem] = Field(default_factory=list, fail_fast=True)


class FileProblem(BaseModel):
    """A file that has changed."""

    file: str
    what: str


class Found(BaseModel):
    """What both kinds of checks found, of which each knows its own part."""

    findings: list[Finding] = Field(default_factory=list, fail_fast=True)
    images: list[ImageVerdict] = Field(default_factory=list, fail_fast=True)
    file_problems: list[FileProblem] = Field(default_factory=list, fail_fast=True)


class CheckResult(BaseModel):
    """What a check found.

    Attributes
    ----------
    ok
        Whether all was well.
    time
        When, in UTC, to the minute.
    dataset
        Hash of what the dataset was like then.
    found
        What was found.
    """

    ok: bool
    time: str
    dataset: str | None
    found: Found

    @model_validator(mode="after")
    def _check_ok(self) -> Self:
        is_wrong = any(finding.severity == "error" for finding in self.found.findings)
        is_wrong |= bool(self.found.file_problems) or any(image.problems for image in self.found.images)
        if self.ok == is_wrong:
            raise ValueError("contradicts itself")
        return self


def save_check_result(dataset: Path, name: str, check: Check) -> None:
    """Keep what a check found, for the next report; datasets of others are left alone.

    Parameters
    ----------
    dataset
        The dataset that was checked.
    name
        ``validation`` or ``verification``.
    check
        What came of it.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    if not (dataset / PROVENANCE).is_file():
        return
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    document = {"time": now, "dataset": _state(dataset), "ok": check.ok, "found": check.to_json()}
    path = _path(dataset, name)
    with raising_write_errors(path):
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_check_result(dataset: Path, name: str) -> tuple[CheckResult, bool] | None:
    """Read what a check found last, and whether the dataset is like it was then.

    Returns
    -------
    None if it never ran, or what was kept cannot be read any more.
    """
    try:
        outcome = CheckResult.model_validate_json(read_json(_path(dataset, name)))
    except (OSError, DatasetError, ValidationError):
        return None
    proven = {verdict.image for verdict in outcome.found.images}
    is_whole = name == "validation" or not outcome.ok or proven >= _images_of(dataset)
    return outcome, is_whole and outcome.dataset is not None and outcome.dataset == _state(dataset)


def _path(dataset: Path, name: str) -> SafePath:
    return safe_path(dataset, REPORT / f"{name}.json")


def _state(dataset: Path) -> str:
    """Hash provenance, the checksums of all files but pixels, and number and bytes of the files of each image."""
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
