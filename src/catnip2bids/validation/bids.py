"""The BIDS validator, run on the dataset and on each of its derivatives.

Invariant: every part of the dataset is either validated or has a finding that says why it was not.

The validator skips `derivatives/` unless told to with `-r`, and with `-r` from the root version 3.0.2 loses the
`.bidsignore` of a derivative (its file reader drops every dotfile below the root). So each derivative that has a
`dataset_description.json` is validated by itself, with `-r` for derivatives inside it; the root is validated without.
BIDS allows folders in `derivatives/` that have no `dataset_description.json` ("non-compliant derivatives"): they are
skipped. `--max-rows -1` because only 1000 rows of a table are read by default.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from catnip2bids.errors import DatasetError
from catnip2bids.validation.external_programs import find_program, last_words, run_program
from catnip2bids.validation.findings import Finding, Severity, error, one_line
from catnip2bids.validation.tree import DESCRIPTION, ROOT, find_datasets

CHECK = "bids"
PROGRAM = "bids-validator-deno"

_EXIT_CODES = (0, 16)
"""No errors found, errors found; anything else is a failure of the program itself."""
_SEVERITIES = {"error": Severity.ERROR, "warning": Severity.WARNING, "ignore": Severity.INFO}

_LINK = re.compile(r"\[([^]]*)\]\(SPEC_ROOT[^)]*\)")
_ADDRESS = re.compile(r"SPEC_ROOT\S*")
_ABOUT_DATASET = {
    "Authors": "names no authors; add them to the plan (dataset.authors) and package again",
    "License": "has no License; add one to the plan (dataset.license) and package again",
    "HEDVersion": "has no HEDVersion; ignore this unless you added HED tags to the dataset",
}
_ABOUT_AUTHORS = {
    "NO_AUTHORS": _ABOUT_DATASET["Authors"],
    "TOO_FEW_AUTHORS": "names fewer than two authors; "
    "if somebody is missing, complete the plan (dataset.authors) and package again",
}


class _Output(BaseModel):
    """Part of the validator's JSON output, whose keys are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class _Issue(_Output):
    code: str
    severity: Literal["error", "warning", "ignore"]
    sub_code: str = ""
    location: str = ""
    issue_message: str = ""
    line: int | None = None
    affects: tuple[str, ...] = ()


class _Issues(_Output):
    issues: tuple[_Issue, ...]
    code_messages: dict[str, str]


class _Report(_Output):
    issues: _Issues
    derivatives_summary: dict[str, _Report] = Field(default_factory=dict)


def check_bids(dataset: Path) -> list[Finding]:
    """Validate the dataset and all its derivatives; raise DatasetError if the validator is not installed."""
    program = find_program(PROGRAM)
    if program is None:
        raise DatasetError(
            f"{PROGRAM} is neither beside the running Python nor on the PATH; install it: pip install {PROGRAM}"
        )
    parts = find_datasets(dataset)
    with ThreadPoolExecutor() as pool:
        return list(chain.from_iterable(pool.map(lambda part: _check_part(program, dataset, part), parts)))


def without_repeated_authors(findings: list[Finding]) -> list[Finding]:
    """Keep one finding about missing authors, the outermost: derivatives get those of the dataset."""
    about = [finding for finding in findings if finding.code in _ABOUT_AUTHORS]
    if not about:
        return findings
    kept = min(about, key=lambda finding: (len(PurePosixPath(finding.file).parts), finding.code))
    return [finding for finding in findings if finding is kept or finding.code not in _ABOUT_AUTHORS]


def _check_part(program: Path, dataset: Path, part: PurePosixPath) -> list[Finding]:
    command = [str(program), "--format", "json", "--max-rows", "-1", str(dataset / part)]
    if part != ROOT:
        command.append("-r")
    try:
        finished = run_program(command, {})
    except (OSError, subprocess.TimeoutExpired) as failure:
        return [_failure(part, failure)]
    if finished.returncode not in _EXIT_CODES:
        return [_failure(part, last_words(finished))]
    try:
        report = _Report.model_validate_json(finished.stdout)
    except ValidationError as failure:
        return [_failure(part, f"its output cannot be understood ({failure}); {last_words(finished)}")]
    return list(_findings(report, part))


def _failure(part: PurePosixPath, reason: object) -> Finding:
    what = f"{PROGRAM} could not check this dataset: {reason}"
    return error(CHECK, "BIDS_VALIDATOR_FAILED", part / DESCRIPTION, what)


def _findings(report: _Report, part: PurePosixPath) -> Iterator[Finding]:
    for issue in report.issues.issues:
        general = report.issues.code_messages.get(issue.code, "")
        severity, file = _SEVERITIES[issue.severity], _file(issue, part)
        to_do = advice(issue.code, issue.sub_code, PurePosixPath(file)) if severity == Severity.WARNING else None
        yield Finding(severity, issue.code, file, to_do or _message(issue, general), CHECK)
    for inner, inner_report in report.derivatives_summary.items():
        yield from _findings(inner_report, part / inner.strip("/"))


def _file(issue: _Issue, part: PurePosixPath) -> str:
    """Make the issue's path relative to the whole dataset; the validator's own starts and may end with a slash."""
    location = issue.location or next(iter(issue.affects), "")
    path = part / location.strip("/")
    return "" if path == ROOT else path.as_posix()


def _message(issue: _Issue, general: str) -> str:
    line = f"line {issue.line}" if issue.line is not None else ""
    others = f"see also {', '.join(issue.affects)}" if issue.location and issue.affects else ""
    said = (issue.sub_code, line, general, issue.issue_message, others)
    return one_line(without_links("; ".join(text.strip() for text in said if text.strip())))


def advice(code: str, key: str, file: PurePosixPath) -> str | None:
    """Say what to do about a warning, or None if that is unknown; `key` is the JSON key that it is about, or empty."""
    if code in _ABOUT_AUTHORS:
        return _ABOUT_AUTHORS[code]
    if code == "JSON_KEY_RECOMMENDED" and file.name == DESCRIPTION:
        by_hand = f"has no {key}, which BIDS recommends; add it to the file, packaging again keeps it"
        return _ABOUT_DATASET.get(key, by_hand)
    if code != "SIDECAR_KEY_RECOMMENDED":
        return None
    if file.parts[:1] == ("derivatives",):
        return f"its sidecar has no {key}, which BIDS recommends; add it to the .json file, packaging again keeps it"
    return (
        f"its sidecar has no {key}, which BIDS recommends; add it to the plan (dataset.acquisition) and package again"
    )


def without_links(text: str) -> str:
    """Write links into the BIDS specification, which the validator leaves unresolved, as their text."""
    return _ADDRESS.sub("the BIDS specification", _LINK.sub(r"\1", text))
