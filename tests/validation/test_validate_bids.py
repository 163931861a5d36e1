from __future__ import annotations

import sys
from pathlib import Path

import pytest
from validate_damage import FRST, Damage, edit_json, remove, set_key, truncate, write

from catnip2bids.errors import DatasetError
from catnip2bids.validation import Finding, Severity
from catnip2bids.validation.bids import check_bids, without_repeated_authors
from good_dataset import dataset, good

__all__ = ["dataset", "good"]


def errors(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.code, finding.file) for finding in findings if finding.severity == Severity.ERROR}


def test_good_dataset_has_no_error(good: Path) -> None:
    findings = check_bids(good)
    assert errors(findings) == set()
    assert {finding.code for finding in findings} == {"SIDECAR_KEY_RECOMMENDED"}


DERIVATIVE = "derivatives/catnip"
INNER = f"{DERIVATIVE}/derivatives/inner"
LONG_TABLE = "".join(("index\tname\n", *(f"{index}\tregion {index}\n" for index in range(1500)), "x\tlast\n"))


def add_inner_dataset(dataset: Path) -> None:
    write(f"{INNER}/dataset_description.json", "{}")(dataset)
    write(f"{INNER}/notes.txt", "x")(dataset)


BROKEN: list[list[tuple[Damage, str, str]]] = [
    [
        (write("sub-45670ko/micr/notes.txt", "x"), "NOT_INCLUDED", "sub-45670ko/micr/notes.txt"),
        (write(f"{DERIVATIVE}/notes.txt", "x"), "NOT_INCLUDED", f"{DERIVATIVE}/notes.txt"),
        (
            edit_json("dataset_description.json", lambda content: content.pop("Name")),
            "JSON_KEY_REQUIRED",
            "dataset_description.json",
        ),
        (set_key(f"{FRST}.json", "Sources", "x"), "JSON_SCHEMA_VALIDATION_ERROR", f"{FRST}.json"),
        (remove(f"{DERIVATIVE}/dseg.tsv"), "SIDECAR_WITHOUT_DATAFILE", f"{DERIVATIVE}/dseg.json"),
    ],
    [
        (truncate(f"{FRST}.json", 1), "JSON_INVALID", f"{FRST}.json"),
        (write(f"{DERIVATIVE}/dseg.tsv", LONG_TABLE), "TSV_VALUE_INCORRECT_TYPE", f"{DERIVATIVE}/dseg.tsv"),
        (add_inner_dataset, "NOT_INCLUDED", f"{INNER}/notes.txt"),
    ],
]
"""Damages that can be done together, since each run of the validator takes seconds."""


@pytest.mark.parametrize("damages", BROKEN, ids=["in every dataset", "in long tables and inner datasets"])
def test_damage_is_found_in_root_and_derivatives(dataset: Path, damages: list[tuple[Damage, str, str]]) -> None:
    for damage, _, _ in damages:
        damage(dataset)
    assert errors(check_bids(dataset)) >= {(code, file) for _, code, file in damages}


def test_bidsignore_of_a_derivative_counts(dataset: Path) -> None:
    write(f"{DERIVATIVE}/notes.txt", "x")(dataset)
    write(f"{DERIVATIVE}/.bidsignore", "notes.txt\n")(dataset)
    assert errors(check_bids(dataset)) == set()


@pytest.mark.parametrize(
    "script", ["echo 'Segmentation fault' >&2; exit 139", "echo no JSON", "echo '{}'", "exit 0"], ids=range(4)
)
def test_a_failing_validator_is_an_error(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    use_programs(tmp_path, monkeypatch, {"bids-validator-deno": script})
    files = {"dataset_description.json", f"{DERIVATIVE}/dataset_description.json"}
    assert errors(check_bids(good)) == {("BIDS_VALIDATOR_FAILED", file) for file in files}


def test_a_missing_validator_says_what_to_install(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_programs(tmp_path, monkeypatch, {})
    with pytest.raises(DatasetError, match="pip install bids-validator-deno"):
        check_bids(good)


def use_programs(folder: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str]) -> None:
    """Pretend that Python runs in an environment that has just these programs."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))


ROOT = "dataset_description.json"


def test_a_lack_of_authors_is_told_once() -> None:
    def about(code: str, file: str) -> Finding:
        return Finding(Severity.WARNING, code, file, code, "bids")

    derivative = about("TOO_FEW_AUTHORS", "derivatives/catnip/dataset_description.json")
    other = about("JSON_KEY_RECOMMENDED", ROOT)
    kept = about("NO_AUTHORS", ROOT)
    assert without_repeated_authors([derivative, about("TOO_FEW_AUTHORS", ROOT), other, kept]) == [other, kept]
    assert without_repeated_authors([other, derivative]) == [other, derivative]
