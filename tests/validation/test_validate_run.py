from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from validate_damage import FRST, RAW_ZARR, remove, truncate, write

from catnip2bids.errors import DatasetError
from catnip2bids.validation import Severity, validate
from good_dataset import dataset, good
from in_process import no_dandi, no_validators

__all__ = ["dataset", "good", "no_dandi", "no_validators"]

needs_dandi = pytest.mark.skipif(
    find_spec("dandi") is None and "CI" not in os.environ, reason="the extra dandi is not installed"
)


@needs_dandi
@pytest.mark.slow
def test_good_dataset(good: Path) -> None:
    report = validate(good)
    assert report.ok
    assert report.dataset == good
    assert [check.split()[0] for check in report.checks] == [
        "bids-validator-deno",
        "OME-Zarr",
        "OME-TIFF",
        "dandi",
        "catnip2bids",
    ]
    (finding,) = (finding for finding in report.findings if finding.check == "dandi")
    assert (finding.severity, finding.code, finding.file) == (Severity.INFO, "DANDI.NO_DANDISET_FOUND", "")


@needs_dandi
@pytest.mark.slow
def test_findings_of_all_checks_come_worst_first_and_once_and_a_dandiset_around_is_seen(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("dandiset.yaml", "identifier: '000000'\n")(dataset.parent)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("sub-45670ko/micr/notes.txt", "")(dataset)
    truncate(f"{RAW_ZARR}/0/zarr.json", 1)(dataset)
    truncate(f"{FRST}.json", 1)(dataset)
    write("sourcedata/empty.txt", "")(dataset)

    report = validate(str(dataset))

    assert not report.ok
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=list(Severity).index)
    found = [(finding.check, finding.code, finding.file) for finding in report.findings]
    for expected in (
        ("bids", "NOT_INCLUDED", "sub-45670ko/micr/notes.txt"),
        ("bids", "JSON_INVALID", f"{FRST}.json"),
        ("catnip2bids", "FILE_EMPTY", "sub-45670ko/micr/notes.txt"),
        ("catnip2bids", "FILE_EMPTY", "sourcedata/empty.txt"),
        ("ome-zarr", "OME_ZARR_INVALID", RAW_ZARR),
        ("dandi", "zarr.invalid_zarr_json", f"{RAW_ZARR}/0/zarr.json"),
    ):
        assert found.count(expected) == 1
    assert not any(code.startswith("BIDS.") for _, code, _ in found)
    assert {code for check, code, _ in found if check == "dandi"} == {"zarr.invalid_zarr_json"}
    assert not list((tmp_path / "home").rglob("*.log"))


@pytest.mark.usefixtures("no_validators")
def test_json_does_not_tell_where_the_dataset_is(dataset: Path) -> None:
    write(f"{RAW_ZARR}/0/c/0/0/0", "x")(dataset)
    report = validate(dataset)
    assert report.findings
    text = json.dumps(report.to_json())
    assert str(dataset) not in text
    assert json.loads(text)["counts"] == {severity.value: report.count(severity) for severity in Severity}


@pytest.mark.parametrize("name", [".", "nowhere", "file"])
def test_what_is_no_dataset_is_refused(tmp_path: Path, name: str) -> None:
    write("file", "x")(tmp_path)
    with pytest.raises(DatasetError, match="dataset"):
        validate(tmp_path / name)


@pytest.mark.parametrize("left", [".catnip2bids.lock", "code/catnip2bids/.checksums.sha256.progress"])
@pytest.mark.usefixtures("no_validators")
def test_it_says_first_that_packaging_was_interrupted(dataset: Path, left: str) -> None:
    write(left, "x")(dataset)
    remove("participants.tsv")(dataset)
    first, *others = validate(dataset).findings
    assert (first.severity, first.code, first.file) == (Severity.ERROR, "PACKAGING_INTERRUPTED", "")
    assert "PARTICIPANTS_MISSING" in {finding.code for finding in others}
    remove("dataset_description.json")(dataset)
    with pytest.raises(DatasetError, match="packaging was interrupted; run it again"):
        validate(dataset)


def test_results_can_be_used_without_the_heavy_libraries() -> None:
    heavy = "{'numpy', 'pydantic', 'tensorstore', 'tifffile', 'zarr'}"
    program = f"import sys, catnip2bids.validation as v; v.validate; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
