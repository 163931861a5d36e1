"""The BIDS validator, run on the dataset and on each of its derivatives.

Invariant: every part of the dataset is either validated or has a finding that says why it was not.

The validator skips `derivatives/` unless told to with `-r`, and with `-r` from the root version 3.0.2 loses the
`.bidsignore` of a derivative (its file reader drops every dotfile below the root). So each derivative that has a
`dataset_description.json` is validated by itself, with `-r` for derivatives inside it; the root is validated without.
BIDS allows folders in `derivatives/` that have no `dataset_description.json` ("non-compliant derivatives"): they are
skipped. `--max-rows -1` because only 1000 rows of a table are read by default.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path, PurePosixPath

from pydantic import Field, ValidationError

from catnip2bids.errors import DatasetError
from catnip2bids.validation.bids_issues import Issue, ValidatorOutput, explain
from catnip2bids.validation.external_programs import find_program, last_words, run_program
from catnip2bids.validation.findings import Finding, Severity, error, make_finding
from catnip2bids.validation.tree import DESCRIPTION, ROOT, find_datasets

CHECK = "bids"
PROGRAM = "bids-validator-deno"

_EXIT_CODES = (0, 16)
"""No errors found, errors found; anything else is a failure of the program itself."""
_SEVERITIES = {"error": Severity.ERROR, "warning": Severity.WARNING, "ignore": Severity.INFO}

_ABOUT_AUTHORS = ("NO_AUTHORS", "TOO_FEW_AUTHORS")


class _Issues(ValidatorOutput):
    issues: tuple[Issue, ...]
    code_messages: dict[str, str]


class _Report(ValidatorOutput):
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
        file = issue.file(part)
        message = explain(issue, part) or issue.raw_message(report.issues.code_messages.get(issue.code, ""))
        yield make_finding(_SEVERITIES[issue.severity], CHECK, issue.code, file, message)
    for inner, inner_report in report.derivatives_summary.items():
        yield from _findings(inner_report, part / inner.strip("/"))
