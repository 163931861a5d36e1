"""Findings of the checks, and the report of all of them.

Invariant: findings name files relative to the dataset, so a report can be shared. This module imports
nothing heavy, so that the command line may use it at start-up.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr

OUR_CHECK = "catnip2bids"
"""The name of our own checks."""
_LONGEST_MESSAGE = 1000


class Severity(StrEnum):
    """How bad a finding is, worst first."""

    ERROR = "error"
    """The dataset is wrong."""
    WARNING = "warning"
    """The dataset could be better, or a person should check something in it."""
    INFO = "info"
    """A note, such as a check that did not run."""


@dataclass(frozen=True)
class Finding:
    """A result of a check of the dataset.

    Attributes
    ----------
    severity
        How bad it is.
    code
        Short name of this kind of finding, the checking program's own where there is one.
    file
        POSIX path relative to the dataset, "" for the dataset as a whole.
    message
        What is wrong and what to do.
    check
        Which check found it: "bids", "ome-zarr", "ome-tiff", "dandi" or "catnip2bids".
    """

    severity: Severity
    code: str
    file: str
    message: str
    check: str

    def sort_key(self) -> tuple[int, str, str, str, str]:
        """Order worst first, then by file."""
        return (list(Severity).index(self.severity), self.file, self.check, self.code, self.message)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return {**asdict(self), "severity": self.severity.value}


@dataclass(frozen=True, repr=False)
class ValidationReport(ShortRepr):
    """Everything that was found in one dataset.

    Attributes
    ----------
    dataset
        The dataset's folder.
    findings
        Worst first, then by file.
    checks
        The checks that ran, with versions.
    """

    dataset: Path
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True without errors; there may be warnings."""
        return self.count(Severity.ERROR) == 0

    def count(self, severity: Severity) -> int:
        """Count the findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def _summary(self) -> ReprSummary:
        facts = (
            format_count(self.count(Severity.ERROR), "error"),
            format_count(self.count(Severity.WARNING), "warning"),
            f"checked by {', '.join(self.checks)}",
        )
        rows = [
            {"severity": found.severity.value, "code": found.code, "file": found.file, "message": found.message}
            for found in self.findings
        ]
        return ReprSummary(str(self.dataset), facts, rows)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object, without the path of the dataset on this machine."""
        return {
            "ok": self.ok,
            "counts": {severity.value: self.count(severity) for severity in Severity},
            "checks": list(self.checks),
            "findings": [finding.to_json() for finding in self.findings],
        }


def one_line(text: object) -> str:
    """Put text of several lines (an exception, a validator's explanation) on one line of bounded length."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]} …"


def make_finding(severity: Severity, check: str, code: str, file: PurePosixPath, message: object) -> Finding:
    """Return a finding about a file; it is about the whole dataset if the path is empty."""
    name = "" if file == PurePosixPath() else file.as_posix()
    return Finding(severity, code, name, one_line(message), check)


error = partial(make_finding, Severity.ERROR)
warning = partial(make_finding, Severity.WARNING)
info = partial(make_finding, Severity.INFO)
our_error, our_warning = partial(error, OUR_CHECK), partial(warning, OUR_CHECK)
