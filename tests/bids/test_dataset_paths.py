"""Names: entities in the order of the official schema, labels that BIDS allows; copies lie below those of a run."""

from __future__ import annotations

import string

import pytest
from bidsschematools.schema import load_schema
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.bids.dataset_paths import BidsName, check_label, copy_of, entities_of, run_name
from catnip2bids.bids.schema import bids_version, entity_order, recommended_image_metadata
from catnip2bids.errors import UsageError
from catnip2bids.formatting import as_label

SCHEMA_ORDER = [str(load_schema().objects.entities[entity]["name"]) for entity in load_schema().rules.entities]
LABELS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
ENTITIES = st.dictionaries(st.sampled_from(SCHEMA_ORDER), LABELS, min_size=1, max_size=8)


def test_the_order_is_that_of_the_schema() -> None:
    assert list(entity_order()) == SCHEMA_ORDER
    known = ["sub", "ses", "sample", "task", "stain", "run", "space", "chunk", "desc"]
    assert [key for key in entity_order() if key in known] == known


@given(ENTITIES, st.sampled_from(["SPIM", "counts", ""]), st.randoms(use_true_random=False))
def test_entities_stand_in_the_order_of_the_schema(entities: dict[str, str], suffix: str, random: object) -> None:
    shuffled = list(entities.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    name = str(BidsName(tuple(shuffled), suffix))
    parts = name.split("_")
    keys = [part.partition("-")[0] for part in parts if "-" in part]
    assert keys == [key for key in SCHEMA_ORDER if key in entities]
    assert (parts[-1] == suffix) == bool(suffix)


@given(ENTITIES)
def test_entities_can_be_read_back(entities: dict[str, str]) -> None:
    name = str(BidsName(tuple(entities.items()), "SPIM"))
    assert entities_of(name) == entities_of(f"{name}.ome.zarr") == entities


def test_a_name_of_the_contract() -> None:
    raw = BidsName((("stain", "cFos"), ("sub", "45670ko"), ("sample", "LeftHemisphere")))
    prefix = "sub-45670ko_sample-LeftHemisphere_stain-cFos"
    assert str(raw) == prefix
    assert str(raw.with_entities("SPIM")) == f"{prefix}_SPIM"
    assert str(raw.with_entities("SPIM", space=None, desc="FRST")) == f"{prefix}_desc-FRST_SPIM"
    assert str(raw.with_entities("SPIM", desc="atlas", space="orig")) == f"{prefix}_space-orig_desc-atlas_SPIM"
    assert str(raw) == prefix  # adding makes another name


@pytest.mark.parametrize(
    "entities",
    [
        (("sub", "a_b"),),
        (("sub", "a-b"),),
        (("sub", ""),),
        (("sub", "mäuse"),),
        (("sub", "a/b"),),
        (("subject", "1"),),
        (("sub", "1"), ("sub", "2")),
    ],
)
def test_what_is_no_bids_name_is_an_error(entities: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(UsageError):
        str(BidsName(entities, "SPIM"))


@pytest.mark.parametrize(
    ("text", "label"), [("45670-ko", "45670ko"), ("KO 12_a (ü)", "KO12au"), ("45670ko", "45670ko")]
)
def test_a_label_is_what_remains_of_letters_and_digits(text: str, label: str) -> None:
    assert as_label(text) == label


@given(st.text(max_size=20))
def test_what_remains_is_a_label_or_nothing(text: str) -> None:
    label = as_label(text)
    assert label == "" or check_label(label, "--subject") == label
    assert as_label(label) == label


@pytest.mark.parametrize("wrong", ["", "a-b", "a_b", "a b", "ü", "a/b", "a\n", "."])
def test_a_wrong_label_is_an_error_that_names_it(wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_label(wrong, "--subject")
    assert str(caught.value).startswith(f"--subject {wrong!r} is not a valid BIDS label")
    assert not as_label(wrong) or f"use {as_label(wrong)!r}" in str(caught.value)


def test_the_version_is_that_of_the_schema() -> None:
    assert bids_version() == load_schema().bids_version


def test_recommended_metadata_of_images_comes_from_the_schema() -> None:
    keys = recommended_image_metadata()
    assert {"Manufacturer", "InstitutionName", "BodyPart", "SampleStaining"} <= set(keys)
    assert not {"PixelSize", "PixelSizeUnits"} & set(keys)  # required ones
    assert all(key in load_schema().objects.metadata for key in keys)


@pytest.mark.parametrize(
    ("stain", "entry", "place"),
    [
        ("cFos", "640_FRST_seg/a.csv", "sub-1ko_sample-LeftHemisphere/640_FRST_seg/a.csv"),
        ("NeuN", "log.txt", "sub-1ko_sample-LeftHemisphere_stain-NeuN/log.txt"),
        ("cFos", "../640_log.txt", "sub-1ko_sample-LeftHemisphere/640_log.txt"),
    ],
    ids=["the stain of nearly all", "another stain", "beside the run folder"],
)
def test_copies_lie_under_the_labels_of_their_run(stain: str, entry: str, place: str) -> None:
    copy = copy_of(run_name("1ko", "LeftHemisphere", stain), entry)
    assert copy.as_posix() == f"sourcedata/catnip/{place}"
