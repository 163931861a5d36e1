"""What the validator's warnings ask of people."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from catnip2bids.validation.advice import advice, without_links

ROOT = "dataset_description.json"
RAW = "sub-1/micr/sub-1_sample-A_SPIM.ome.zarr"


@pytest.mark.parametrize(
    ("code", "key", "file", "place"),
    [
        ("NO_AUTHORS", "Authors", ROOT, "dataset.authors"),
        ("TOO_FEW_AUTHORS", "", "derivatives/catnip/dataset_description.json", "dataset.authors"),
        ("JSON_KEY_RECOMMENDED", "License", ROOT, "dataset.license"),
        ("JSON_KEY_RECOMMENDED", "Authors", ROOT, "dataset.authors"),
        ("JSON_KEY_RECOMMENDED", "Acknowledgements", ROOT, "add it to the file"),
        ("SIDECAR_KEY_RECOMMENDED", "Manufacturer", RAW, "dataset.acquisition"),
        ("SIDECAR_KEY_RECOMMENDED", "Manufacturer", f"derivatives/catnip/{RAW}", "add it to the .json file"),
    ],
)
def test_it_says_where_to_add_what_is_missing(code: str, key: str, file: str, place: str) -> None:
    text = advice(code, key, PurePosixPath(file))
    assert text is not None
    assert place in text
    assert key.lower() in text.lower()


def test_other_warnings_keep_their_words() -> None:
    assert advice("EMPTY_FILE", "", PurePosixPath(RAW)) is None
    assert advice("JSON_KEY_RECOMMENDED", "Levels", PurePosixPath("participants.json")) is None


def test_links_into_the_specification_are_their_text() -> None:
    assert without_links("see [Licenses](SPEC_ROOT/appendices/licenses.md).") == "see Licenses."
    assert "SPEC_ROOT" not in without_links("see SPEC_ROOT/appendices/licenses.md")
