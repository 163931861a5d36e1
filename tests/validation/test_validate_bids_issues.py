"""What the BIDS validator finds is told in people's words, with what to do."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from validate_damage import FRST, RAW, Damage, append, edit_json, set_key, truncate, write

from catnip2bids.validation.bids import check_bids
from catnip2bids.validation.bids_issues import Issue, explain, without_links
from good_dataset import dataset, good

__all__ = ["dataset", "good"]

MICR = "sub-45670ko/micr"
SAMPLE = "sub-45670ko_sample-LeftHemisphere"
DERIVATIVE = "derivatives/catnip"
IN_PLAN = "the plan (dataset.acquisition) and package again"


def nothing_more(dataset: Path) -> None:
    """Leave the dataset as the damages before have left it."""
    assert dataset.is_dir()


NAMES_AND_TEXTS: list[tuple[Damage, str, str, str]] = [
    (write("budget.xlsx", "x"), "NOT_INCLUDED", "budget.xlsx", "or list it in .bidsignore"),
    (
        write(f"{DERIVATIVE}/notes.txt", "x"),
        "NOT_INCLUDED",
        f"{DERIVATIVE}/notes.txt",
        "or list it in derivatives/catnip/.bidsignore",
    ),
    (
        write(f"{MICR}/sub-45670ko_stain-cFos_sample-LeftHemisphere_SPIM.png", "x"),
        "FILENAME_MISMATCH",
        f"{MICR}/sub-45670ko_stain-cFos_sample-LeftHemisphere_SPIM.png",
        f"rename it {SAMPLE}_stain-cFos_SPIM.png",
    ),
    (
        write(f"{MICR}/sub-45670ko_stain-cFos_SPIM.png", "x"),
        "MISSING_REQUIRED_ENTITY",
        f"{MICR}/sub-45670ko_stain-cFos_SPIM.png",
        "lacks what BIDS requires: sample;",
    ),
    (
        write(f"{MICR}/{SAMPLE}_space-orig_SPIM.png", "x"),
        "ENTITY_NOT_IN_RULE",
        f"{MICR}/{SAMPLE}_space-orig_SPIM.png",
        "does not allow space in the name",
    ),
    (
        write(f"{MICR}/{SAMPLE}_stain-c-Fos_SPIM.png", "x"),
        "INVALID_ENTITY_LABEL",
        f"{MICR}/{SAMPLE}_stain-c-Fos_SPIM.png",
        "stain-c-Fos in its name is not valid",
    ),
    (
        write(f"{MICR}/{SAMPLE}_SPIM.jpg", "x"),
        "EXTENSION_MISMATCH",
        f"{MICR}/{SAMPLE}_SPIM.jpg",
        "images are .ome.zarr",
    ),
    (
        write(f"{MICR}/sub-1_sample-A_SPIM.png", "x"),
        "INVALID_LOCATION",
        f"{MICR}/sub-1_sample-A_SPIM.png",
        "(Expected location: /sub-1/)",
    ),
    (
        write(f"{DERIVATIVE}/{MICR}/{SAMPLE}_dseg.ome.btf", "x"),
        "ALL_FILENAME_RULES_HAVE_ISSUES",
        f"{DERIVATIVE}/{MICR}/{SAMPLE}_dseg.ome.btf",
        "BIDS has no such file name",
    ),
    (write(f"{MICR}/{SAMPLE}_photo.png", ""), "EMPTY_FILE", f"{MICR}/{SAMPLE}_photo.png", "is empty"),
    (truncate(f"{FRST}.json", 1), "JSON_INVALID", f"{FRST}.json", "is not valid JSON"),
    (write("samples.json", "[]"), "JSON_NOT_AN_OBJECT", "samples.json", "in curly brackets"),
    (
        set_key("SPIM.json", "SampleEnvironment", "in a jar"),
        "JSON_SCHEMA_VALIDATION_ERROR",
        "SPIM.json",
        f'SampleEnvironment must be one of "in vivo", "ex vivo" or "in vitro"; correct it in {IN_PLAN}',
    ),
    (
        set_key(f"{MICR}/{RAW}.json", "NumericalAperture", "0.5"),
        "JSON_SCHEMA_VALIDATION_ERROR",
        f"{MICR}/{RAW}.json",
        "NumericalAperture must be a number; correct it in the file, packaging again keeps it",
    ),
    (
        set_key("dataset_description.json", "Funding", "NIH"),
        "JSON_SCHEMA_VALIDATION_ERROR",
        "dataset_description.json",
        "Funding must be a list; correct it in the plan (dataset.description) and package again",
    ),
    (
        edit_json("dataset_description.json", lambda content: content.pop("Name")),
        "JSON_KEY_REQUIRED",
        "dataset_description.json",
        "has no Name, which BIDS requires; add it to the plan (dataset.name) and package again",
    ),
    (
        edit_json("dataset_description.json", lambda content: content.pop("HEDVersion")),
        "JSON_KEY_RECOMMENDED",
        "dataset_description.json",
        "has no HEDVersion; ignore this unless you added HED tags to the dataset",
    ),
    (
        set_key("SPIM.json", "PixelSize", [1, 1, 1]),
        "SIDECAR_FIELD_OVERRIDE",
        f"{MICR}/{RAW}.json",
        "PixelSize is in SPIM.json too",
    ),
    (
        write(f"{DERIVATIVE}/desc-old_dseg.json", "{}"),
        "SIDECAR_WITHOUT_DATAFILE",
        f"{DERIVATIVE}/desc-old_dseg.json",
        "or delete this one",
    ),
    (
        write(f"{DERIVATIVE}/atlas-X_dseg.tsv", "index\tname\n1\tCA1\n"),
        "ATLAS_DESCRIPTION_RECOMMENDED",
        f"{DERIVATIVE}/atlas-X_dseg.tsv",
        "write its Name and License into atlas-X_description.json beside this file",
    ),
    (write("README.md", "Mice."), "README_FILE_SMALL", "README.md", "whom to ask"),
]
"""Damages, and what is said of them."""

TABLES: list[tuple[Damage, str, str, str]] = [
    (
        write("participants.tsv", "participant_id\tage\tgroup\nsub-1\t12 weeks\tA\nsub-1\t3\tA\n"),
        "TSV_VALUE_INCORRECT_TYPE",
        "participants.tsv",
        "line 2: '12 weeks' is not allowed in the column age: ages are numbers, in weeks;",
    ),
    (
        nothing_more,
        "TSV_ADDITIONAL_COLUMNS_UNDEFINED",
        "participants.tsv",
        "nothing says what the column group means; add its Description to participants.json",
    ),
    (
        nothing_more,
        "TSV_INDEX_VALUE_NOT_UNIQUE",
        "participants.tsv",
        "line 3 repeats the id of an earlier line (sub-1)",
    ),
    (nothing_more, "PARTICIPANT_ID_MISMATCH", "participants.tsv", "are not those of the folders sub-*"),
    (
        write("samples.tsv", "sample_id\tparticipant_id\nsample-A\tsub-1\n"),
        "TSV_COLUMN_MISSING",
        "samples.tsv",
        "has no column sample_type",
    ),
    (
        append("sub-45670ko/sub-45670ko_scans.tsv", "a\n"),
        "TSV_EQUAL_ROWS",
        "sub-45670ko/sub-45670ko_scans.tsv",
        "line 3",
    ),
    (append(f"{DERIVATIVE}/dseg.tsv", "\n3\tx\n"), "TSV_EMPTY_LINE", f"{DERIVATIVE}/dseg.tsv", "line 4 is empty"),
    (
        write(f"{DERIVATIVE}/descriptions.tsv", "description\tdesc_id\nx\tdesc-FRST\n"),
        "TSV_COLUMN_ORDER_INCORRECT",
        f"{DERIVATIVE}/descriptions.tsv",
        "desc_id must be column 1",
    ),
    (
        write("CITATION.cff", "title: x\n"),
        "AUTHORS_AND_CITATION_FILE_MUTUALLY_EXCLUSIVE",
        "CITATION.cff",
        "delete CITATION.cff, or delete the authors there and in the plan",
    ),
    (nothing_more, "SINGLE_SOURCE_CITATION_FIELDS", "CITATION.cff", "only in it"),
    (nothing_more, "CITATION_CFF_VALIDATION_ERROR", "CITATION.cff", "must have required property"),
    (
        write("stain-cFos_SPIM.json", "{}"),
        "MULTIPLE_INHERITABLE_FILES",
        "SPIM.json",
        f"apply to the same image ({MICR}/{RAW}.ome.zarr)",
    ),
    (
        nothing_more,
        "SIDECAR_KEY_REQUIRED",
        f"{MICR}/{RAW}.ome.zarr",
        "has no PixelSize, which BIDS requires; package its run again",
    ),
    (
        nothing_more,
        "SIDECAR_KEY_RECOMMENDED",
        f"{MICR}/{RAW}.ome.zarr",
        f"its sidecar has no Manufacturer, which BIDS recommends; add it to {IN_PLAN}",
    ),
]
"""More of them, for another copy of the dataset: without an effect of its own where a damage before has several."""


@pytest.mark.parametrize("damages", [NAMES_AND_TEXTS, TABLES], ids=["names and texts", "tables"])
def test_every_issue_is_told_in_words_that_say_what_to_do(
    dataset: Path, damages: list[tuple[Damage, str, str, str]]
) -> None:
    for damage, _, _, _ in damages:
        damage(dataset)
    found = check_bids(dataset)
    for _, code, file, text in damages:
        messages = [finding.message for finding in found if (finding.code, finding.file) == (code, file)]
        assert any(text in message for message in messages), (code, file, messages)
    raw = ("SPEC_ROOT", "Field description", "see also")
    assert not [finding for finding in found if any(words in finding.message for words in raw)]


def issue(code: str, location: str = "/participants.tsv", **fields: Any) -> Issue:
    return Issue(code=code, severity="warning", location=location, **fields)


@pytest.mark.parametrize(
    ("code", "key", "file", "place"),
    [
        ("NO_AUTHORS", "Authors", "dataset_description.json", "dataset.authors"),
        ("TOO_FEW_AUTHORS", "", f"{DERIVATIVE}/dataset_description.json", "dataset.authors"),
        ("JSON_KEY_RECOMMENDED", "License", "dataset_description.json", "dataset.license"),
        ("JSON_KEY_RECOMMENDED", "License", f"{DERIVATIVE}/dataset_description.json", "dataset.license"),
        ("JSON_KEY_RECOMMENDED", "Funding", "dataset_description.json", "dataset.description"),
        ("JSON_KEY_RECOMMENDED", "GeneratedBy", "dataset_description.json", "package again, which writes it"),
        ("JSON_KEY_RECOMMENDED", "Levels", "participants.json", "add it to the file, packaging again keeps it"),
        ("SIDECAR_KEY_RECOMMENDED", "Manufacturer", f"{MICR}/{RAW}.ome.zarr", "dataset.acquisition"),
        ("SIDECAR_KEY_RECOMMENDED", "Description", f"{FRST}.ome.zarr", "add it to the .json file beside it"),
    ],
)
def test_it_says_where_to_add_what_is_missing(code: str, key: str, file: str, place: str) -> None:
    text = explain(issue(code, f"/{file}", sub_code=key), PurePosixPath())
    assert text is not None
    assert place in text


def test_paths_are_those_of_the_whole_dataset() -> None:
    inner = issue("CASE_COLLISION", "/notes.txt", affects=("/NOTES.txt",))
    assert inner.file(PurePosixPath(DERIVATIVE)) == PurePosixPath(f"{DERIVATIVE}/notes.txt")
    assert "NOTES.txt" in str(explain(inner, PurePosixPath(DERIVATIVE)))


@pytest.mark.parametrize(
    "unknown",
    [
        issue("HED_ERROR", issue_message="no such tag"),
        issue("FILENAME_MISMATCH", issue_message="in words of a later version"),
    ],
    ids=lambda unknown: str(unknown.code),
)
def test_what_is_not_understood_keeps_its_words(unknown: Issue) -> None:
    assert explain(unknown, PurePosixPath()) is None
    assert unknown.issue_message in unknown.raw_message("what the code means")
    assert "what the code means" in unknown.raw_message("what the code means")


def test_links_into_the_specification_are_their_text() -> None:
    assert without_links("see [Licenses](SPEC_ROOT/appendices/licenses.md).") == "see Licenses."
    assert "SPEC_ROOT" not in without_links("see SPEC_ROOT/appendices/licenses.md")
