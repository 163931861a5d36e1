"""The findings of `dandi validate`, if dandi is installed: whether the DANDI archive accepts the dataset.

Invariant: dandi runs in a process of its own, without network and without writing logs to the user's folders.

Its real checks run with or without a Dandiset around the dataset (tried with dandi 0.81): without one it only
adds the error DANDI.NO_DANDISET_FOUND, which says nothing about the dataset. That becomes one piece of
information.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ValidationError

from catnip2bids.validation.external_programs import find_program, last_words, run_program
from catnip2bids.validation.findings import Finding, Severity, error, info, make_finding
from catnip2bids.validation.tree import CATNIP, DESCRIPTION, ROOT

CHECK = "dandi"

_NO_DANDISET = "DANDI.NO_DANDISET_FOUND"
_EXIT_CODES = (0, 1)
_SEVERITIES = {
    "INFO": Severity.INFO,
    "HINT": Severity.INFO,
    "WARNING": Severity.WARNING,
    "ERROR": Severity.ERROR,
    "CRITICAL": Severity.ERROR,
}


class _Result(BaseModel):
    """Part of one line of dandi's output (`dandi.validate.ValidationResult`)."""

    id: str
    severity: str
    message: str | None = None
    path: Path | None = None


def check_dandi(dataset: Path) -> list[Finding]:
    """Run dandi on the dataset and on `derivatives/catnip`, whose BIDS rules it checks only if asked to."""
    program = find_program(CHECK)
    if program is None:
        advice = "in a clone of catnip2bids: pip install '.[dandi]'"
        return [info(CHECK, "DANDI_NOT_INSTALLED", ROOT, f"not checked for DANDI; for that, {advice}")]
    with tempfile.TemporaryDirectory(prefix="catnip2bids-dandi-") as scratch:
        output = Path(scratch) / "results.jsonl"
        try:
            # without calls home (DANDI_NO_ET, dandi/utils.py), and with logs that are deleted with the folder
            settings = {"DANDI_NO_ET": "1", "XDG_STATE_HOME": scratch, "XDG_CACHE_HOME": scratch}
            finished = run_program(_command(program, dataset, output), settings)
        except (OSError, subprocess.TimeoutExpired) as failure:
            return [_failure(failure)]
        if finished.returncode not in _EXIT_CODES or not output.is_file():
            return [_failure(last_words(finished))]
        try:
            results = [_Result.model_validate_json(line) for line in output.read_text(encoding="utf-8").splitlines()]
        except ValidationError as failure:
            return [_failure(f"its output cannot be understood ({failure})")]
    return list(_findings(results, dataset))


def without_known(findings: list[Finding], known: list[Finding]) -> list[Finding]:
    """Leave out findings that the BIDS validator, which dandi also runs, has already made for the same file."""
    seen = {(finding.code, finding.file) for finding in known}
    return [finding for finding in findings if (finding.code.removeprefix("BIDS."), finding.file) not in seen]


def is_installed() -> bool:
    """Tell whether dandi can be run."""
    return find_program(CHECK) is not None


def _command(program: Path, dataset: Path, output: Path) -> list[str]:
    paths = [dataset]
    if (dataset / CATNIP / DESCRIPTION).is_file():
        paths.append(dataset / CATNIP)
    return [str(program), "validate", "--format", "json_lines", "--output", str(output), *map(str, paths)]


def _failure(reason: object) -> Finding:
    return error(CHECK, "DANDI_FAILED", ROOT, f"dandi could not check this dataset: {reason}")


def _findings(results: list[_Result], dataset: Path) -> Iterator[Finding]:
    if any(result.id == _NO_DANDISET for result in results):
        message = (
            "the dataset is not inside a Dandiset yet, which matters only for uploading it; all other checks of "
            "dandi ran. To upload: dandi download the new Dandiset, put the dataset's content into its folder"
        )
        yield info(CHECK, _NO_DANDISET, ROOT, message)
    for result in results:
        if result.id != _NO_DANDISET:
            path = result.path or dataset
            file = PurePosixPath(path.relative_to(dataset).as_posix()) if dataset in path.parents else ROOT
            severity = _SEVERITIES.get(result.severity, Severity.ERROR)
            yield make_finding(severity, CHECK, result.id, file, result.message or result.id)
