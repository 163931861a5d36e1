"""The metadata of images: what the specification asks for, held against the models of ome-zarr-models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ome_zarr_models.v04.image import ImageAttrs as AttributesV04
from ome_zarr_models.v04.image_label import ImageLabelAttrs as LabelsV04
from ome_zarr_models.v05.image import ImageAttrs as AttributesV05
from ome_zarr_models.v05.image_label import ImageLabelAttrs as LabelsV05

from catnip2bids.ome import Display, LabelValue, OmeZarrVersion, image_metadata, plan_levels
from catnip2bids.ome.metadata import group_attributes
from catnip2bids.volume import Kind

LEVELS = plan_levels((40, 300, 600), (5.0, 1.82, 1.82))
DISPLAY = Display("cFos", 0.0, 4095.0, 12.0, 900.0)
LABELS = (LabelValue(672, "Caudoputamen", "CP", "#98d6f9"), LabelValue(97, "root", None, "#ffffff"))


def document(kind: Kind = Kind.IMAGE, labels: tuple[LabelValue, ...] = ()) -> dict[str, Any]:
    return image_metadata("sub-1_SPIM", LEVELS, kind, DISPLAY, labels)


def test_every_level_has_a_scale_and_a_translation_in_micrometers() -> None:
    (multiscale,) = document()["multiscales"]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in multiscale["axes"]] == [
        ("z", "space", "micrometer"),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    assert [dataset["path"] for dataset in multiscale["datasets"]] == [str(level.index) for level in LEVELS]
    for level, dataset in zip(LEVELS, multiscale["datasets"], strict=True):
        scale, translation = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": list(level.scale_um)}
        assert translation == {"type": "translation", "translation": list(level.translation_um)}
    assert multiscale["datasets"][1]["coordinateTransformations"][1]["translation"] == [0.0, 0.91, 0.91]


@pytest.mark.parametrize(("kind", "method"), [(Kind.IMAGE, "mean"), (Kind.LABELS, "mode"), (Kind.MASK, "max")])
def test_the_method_of_merging_is_the_one_that_is_used(kind: Kind, method: str) -> None:
    (multiscale,) = document(kind)["multiscales"]
    assert multiscale["type"] == method
    assert multiscale["metadata"]["args"] == [method]


def test_the_display_window_is_that_of_the_data() -> None:
    (channel,) = document()["omero"]["channels"]
    assert channel["label"] == "cFos"
    assert channel["window"] == {"min": 0.0, "max": 4095.0, "start": 12.0, "end": 900.0}
    assert channel["active"]


def test_labels_have_colours_and_names_by_rising_value() -> None:
    described = document(Kind.LABELS, LABELS)["image-label"]
    assert described["colors"] == [
        {"label-value": 97, "rgba": [255, 255, 255, 255]},
        {"label-value": 672, "rgba": [0x98, 0xD6, 0xF9, 255]},
    ]
    assert described["properties"] == [
        {"label-value": 97, "name": "root"},
        {"label-value": 672, "name": "Caudoputamen", "abbreviation": "CP"},
    ]


def test_intensities_are_no_label_image() -> None:
    assert "image-label" not in document()


@pytest.mark.parametrize("kind", Kind)
def test_both_versions_are_valid(kind: Kind) -> None:
    labels = () if kind == Kind.IMAGE else LABELS
    v04 = group_attributes(document(kind, labels), OmeZarrVersion.V04)
    v05 = group_attributes(document(kind, labels), OmeZarrVersion.V05)
    assert AttributesV04.model_validate(v04).multiscales[0].version == "0.4"
    assert AttributesV05.model_validate(v05["ome"]).version == "0.5"
    if labels:
        for valid in (LabelsV04.model_validate(v04), LabelsV05.model_validate(v05["ome"])):
            assert valid.image_label is not None
            assert [color.label_value for color in valid.image_label.colors or ()] == [97, 672]


def test_version_0_5_stands_once_at_the_top() -> None:
    attributes = group_attributes(document(Kind.LABELS, LABELS), OmeZarrVersion.V05)
    assert set(attributes) == {"ome"}
    assert attributes["ome"]["version"] == "0.5"
    assert json.dumps(attributes).count('"version"') == 1


def test_version_0_4_stands_in_every_section() -> None:
    attributes = group_attributes(document(Kind.LABELS, LABELS), OmeZarrVersion.V04)
    assert "ome" not in attributes
    sections = (attributes["multiscales"][0], attributes["omero"], attributes["image-label"])
    assert [section["version"] for section in sections] == ["0.4"] * 3


@pytest.mark.parametrize("version", OmeZarrVersion)
def test_putting_in_the_version_leaves_the_document_as_it_was(version: OmeZarrVersion) -> None:
    described = document(Kind.LABELS, LABELS)
    group_attributes(described, version)
    assert described == document(Kind.LABELS, LABELS)


@pytest.mark.parametrize("kind", Kind)
def test_the_document_is_plain_json(kind: Kind) -> None:
    described = document(kind, LABELS)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
