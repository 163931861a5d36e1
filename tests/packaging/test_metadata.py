"""Sidecars follow their images, and keep what a person wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catnip2bids import make_plan, package, scan
from catnip2bids.enums import Format
from catnip2bids.validation import Severity
from catnip2bids.validation.bids import check_bids
from catnip2bids.validation.cross_checks import cross_check
from catnip2bids.validation.tree import read_tree
from runs import PROVENANCE, TODAY_PREFIX, change_slices, read_json, settings, write_l2

MICR = "sub-46001wt/micr"
MASK = f"derivatives/catnip/{MICR}/{TODAY_PREFIX}_space-orig_desc-hemispheremask_SPIM.json"
FRST = f"derivatives/catnip/{MICR}/{TODAY_PREFIX}_desc-FRST_SPIM.json"
RAW = f"{MICR}/{TODAY_PREFIX}_SPIM.json"


def edit(path: Path, **fields: Any) -> dict[str, Any]:
    document: dict[str, Any] = {**read_json(path), **fields}
    path.write_text(json.dumps(document))
    return document


@pytest.mark.slow
def test_a_sidecar_follows_an_image_that_is_made_of_other_files(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source")
    whole = tmp_path / "whole"
    assert package(tmp_path / "source", whole, settings()).ok

    (run / "hemispheremask_origspace").rename(tmp_path / "aside")
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    recovered = read_json(tmp_path / "out" / MASK)
    assert "recovered from" in recovered["Description"]
    by_person = edit(tmp_path / "out" / FRST, Description="what the chief says", Threshold=7, Immersion="oil")
    (tmp_path / "aside").rename(run / "hemispheremask_origspace")
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    assert read_json(tmp_path / "out" / MASK) == read_json(whole / MASK) != recovered
    assert read_json(tmp_path / "out" / FRST) == by_person
    assert read_json(tmp_path / "out" / RAW) == read_json(whole / RAW)

    # the other way round, and what a person wrote stays once more
    mine = edit(tmp_path / "out" / MASK, Description="drawn by hand")
    (run / "hemispheremask_origspace").rename(tmp_path / "aside")
    change_slices(run / "FRST", lambda plane: plane[::-1])
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    assert read_json(tmp_path / "out" / MASK)["Description"] == mine["Description"]
    assert read_json(tmp_path / "out" / FRST) == by_person


def test_fields_of_an_older_version_are_kept_but_for_those_that_follow_from_the_image(tmp_path: Path) -> None:
    """An older version did not remember what it had generated."""
    write_l2(tmp_path / "source", only=("N4_masked", "FRST"))
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    document = read_json(tmp_path / "out" / PROVENANCE)
    for run in document["runs"].values():
        del run["sidecars"]
    (tmp_path / "out" / PROVENANCE).write_text(json.dumps(document))
    whole = read_json(tmp_path / "out" / FRST)
    edit(tmp_path / "out" / FRST, Description="mine", Sources=["bids::nowhere"], PixelSize=[1, 1, 1])
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    assert read_json(tmp_path / "out" / FRST) == {**whole, "Description": "mine"}


def test_sources_that_a_person_added_stay_when_the_others_change(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=("N4_masked", "FRST"))
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    generated = read_json(tmp_path / "out" / FRST)["Sources"]
    added = "https://example.org/protocol"
    edit(tmp_path / "out" / FRST, Sources=[added, *generated])
    for image_format, ending in ((Format.OME_TIFF, ".ome.btf"), (Format.OME_ZARR, ".ome.zarr")):
        assert package(tmp_path / "source", tmp_path / "out", settings(), image_format=image_format).ok
        made = read_json(tmp_path / "out" / FRST)["Sources"]
        assert made == [f"bids:raw:{MICR}/{TODAY_PREFIX}_SPIM{ending}", added]
    assert made == [*generated, added]


def test_a_field_that_contradicts_the_image_is_found_and_generated_again_once_it_is_removed(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=("N4_masked", "FRST"))
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    whole = edit(tmp_path / "out" / FRST)

    def findings() -> list[tuple[str, str]]:
        return [(finding.code, finding.file) for finding in cross_check(read_tree(tmp_path / "out"))]

    edit(tmp_path / "out" / FRST, Sources=[f"bids::{MICR}"], SpatialReference="https://example.org")
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    assert findings() == 2 * [("SIDECAR_FIELD", FRST)]
    removed = {key: value for key, value in whole.items() if key not in ("Sources", "SpatialReference")}
    (tmp_path / "out" / FRST).write_text(json.dumps(removed))
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    assert (read_json(tmp_path / "out" / FRST), findings()) == (whole, [])


def test_a_time_of_acquisition_that_is_not_as_in_bids_is_found(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=("N4_masked",))
    out = tmp_path / "out"
    assert package(tmp_path / "source", out, settings()).ok
    scans = out / "sub-46001wt/sub-46001wt_scans.tsv"
    described = read_json(scans.with_suffix(".json"))
    edit(scans.with_suffix(".json"), acq_time={"Description": described["acq_time"]["Description"]})  # earlier version
    assert package(tmp_path / "source", out, settings()).ok
    assert read_json(scans.with_suffix(".json")) == described
    edit(scans.with_suffix(".json"), acq_time={"Description": "mine"})
    assert package(tmp_path / "source", out, settings()).ok
    assert read_json(scans.with_suffix(".json"))["acq_time"] == {"Description": "mine"}

    edit(scans.with_suffix(".json"), **described)
    header, row = scans.read_text().splitlines()
    scans.write_text(f"{header}\n{row.split(chr(9))[0]}\t10.08.2021 14:48\n")
    errors = [(found.code, found.file) for found in check_bids(out) if found.severity == Severity.ERROR]
    assert errors == [("TSV_VALUE_INCORRECT_TYPE", "sub-46001wt/sub-46001wt_scans.tsv")]


def test_licence_and_description_follow_the_plan(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=("N4_masked",))
    plan, out = make_plan(scan(tmp_path / "source")), tmp_path / "out"

    def packaged_with(license_name: str) -> str:
        plan.dataset.license = license_name
        assert package(tmp_path / "source", out, settings(), plan).ok
        return (out / "LICENSE").read_text(encoding="utf-8")

    plan.dataset.authors = ["A. Person", "B. Person"]
    plan.dataset.description = {"Funding": ["R01", "R02"], "ReferencesAndLinks": ["https://doi.org/10.1/x"]}
    text = packaged_with("CC-BY-4.0")
    assert text.startswith("CC-BY-4.0\n")
    assert "https://creativecommons.org/licenses/by/4.0/" in text
    assert read_json(out / "dataset_description.json")["Funding"] == ["R01", "R02"]
    readme = (out / "README.md").read_text(encoding="utf-8")
    for line in (
        "- Authors: A. Person; B. Person",
        "- Licence: CC-BY-4.0 (Creative Commons Attribution 4.0 International, "
        "https://creativecommons.org/licenses/by/4.0/)",
        "- Publications: https://doi.org/10.1/x",
        "- Funding: R01; R02",
    ):
        assert line in readme.splitlines()
    assert packaged_with("CC0").startswith("CC0\n")
    (out / "LICENSE").write_text("CC0\n")  # as earlier versions wrote it
    assert packaged_with("Ask us") == "Ask us\n"
    (out / "LICENSE").write_text("by a person")
    assert packaged_with("CC0") == "by a person"


def test_a_readme_says_that_no_licence_is_stated(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=("N4_masked",))
    assert package(tmp_path / "source", tmp_path / "out", settings()).ok
    readme = (tmp_path / "out/README.md").read_text(encoding="utf-8").splitlines()
    assert "- Authors: not stated" in readme
    assert "- Licence: none is stated; ask the authors before you reuse the data" in readme
    assert not (tmp_path / "out/LICENSE").exists()
