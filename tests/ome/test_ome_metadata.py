"""The metadata of images: what the specification asks for, held against the models of ome-zarr-models."""

from __future__ import annotations

import importlib
import json
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ome_zarr_models.v04.image import ImageAttrs as AttributesV04
from ome_zarr_models.v04.image_label import ImageLabelAttrs as LabelsV04
from ome_zarr_models.v05.image import ImageAttrs as AttributesV05
from ome_zarr_models.v05.image_label import ImageLabelAttrs as LabelsV05

from catnip2bids.ome import Display, LabelValue, OmeZarrVersion, choose_display, image_metadata, plan_levels
from catnip2bids.ome.ome_zarr_metadata import group_attributes
from catnip2bids.volume import Kind, value_range

LEVELS = plan_levels((40, 300, 600), (5.0, 1.82, 1.82))
DISPLAY = Display("cFos", 0.0, 4095.0, 12.0, 900.0)
LABELS = (LabelValue(672, "Caudoputamen", "CP", "#98d6f9"), LabelValue(97, "root", None, "#ffffff"))


def document(kind: Kind = Kind.IMAGE, values: Display | tuple[LabelValue, ...] = DISPLAY) -> dict[str, Any]:
    return image_metadata("sub-1_SPIM", LEVELS, kind, values)


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
    package, _, function = multiscale["metadata"]["method"].rpartition(".")
    merge = getattr(importlib.import_module(package), function)
    assert merge(np.array([[[2, 2, 9, 9]]], "u1"), (1, 1, 2), kind).tolist() == [[[2, 9]]]
    assert {"mean": "mean", "mode": "most frequent", "max": "maximum"}[method] in multiscale["metadata"]["description"]


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


@pytest.mark.parametrize("version", OmeZarrVersion)
@pytest.mark.parametrize("labels", [LABELS, ()], ids=["labels", "an empty mask"])
def test_an_image_has_a_display_window_or_labels_but_never_both(
    labels: tuple[LabelValue, ...], version: OmeZarrVersion
) -> None:
    def sections(values: Display | tuple[LabelValue, ...]) -> set[str]:
        attributes = group_attributes(document(Kind.MASK, values), version)
        return {"omero", "image-label"} & set(attributes.get("ome", attributes))

    assert sections(DISPLAY) == {"omero"}
    assert sections(labels) == {"image-label"}


def test_an_image_without_a_label_has_no_empty_lists() -> None:
    assert document(Kind.LABELS, ())["image-label"] == {}


def test_negative_labels_are_kept_as_they_are() -> None:
    negative = LabelValue(-3, "left", None, "#102030")
    described = document(Kind.LABELS, (*LABELS, negative))
    assert [row["label-value"] for row in described["image-label"]["colors"]] == [-3, 97, 672]
    for version, model in ((OmeZarrVersion.V04, LabelsV04), (OmeZarrVersion.V05, LabelsV05)):
        attributes = group_attributes(described, version)
        valid = model.model_validate(attributes.get("ome", attributes))
        assert valid.image_label is not None
        assert min(row.label_value for row in valid.image_label.colors or ()) == -3


@pytest.mark.parametrize("kind", Kind)
def test_both_versions_are_valid(kind: Kind) -> None:
    labels = None if kind == Kind.IMAGE else LABELS
    v04 = group_attributes(document(kind, labels or DISPLAY), OmeZarrVersion.V04)
    v05 = group_attributes(document(kind, labels or DISPLAY), OmeZarrVersion.V05)
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
    labels = group_attributes(document(Kind.LABELS, LABELS), OmeZarrVersion.V04)
    intensities = group_attributes(document(), OmeZarrVersion.V04)
    assert "ome" not in labels
    sections = (labels["multiscales"][0], labels["image-label"], intensities["multiscales"][0], intensities["omero"])
    assert [section["version"] for section in sections] == ["0.4"] * 4


@pytest.mark.parametrize("version", OmeZarrVersion)
def test_putting_in_the_version_leaves_the_document_as_it_was(version: OmeZarrVersion) -> None:
    described = document(Kind.LABELS, LABELS)
    group_attributes(described, version)
    assert described == document(Kind.LABELS, LABELS)


@pytest.mark.parametrize("kind", Kind)
def test_the_document_is_plain_json(kind: Kind) -> None:
    for described in (document(kind, LABELS), document(kind)):
        assert json.loads(json.dumps(described, allow_nan=False)) == described


DTYPES = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
)


@st.composite
def voxels(draw: st.DrawFn) -> npt.NDArray[Any]:
    """Draw a few voxels of any type, often all equal, or the extremes of the type."""
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(DTYPES)))
    found = draw(arrays(dtype, st.tuples(*[st.integers(1, 3)] * 3)))
    if dtype.kind == "b" or draw(st.booleans()):
        return found
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    extremes = [limits.min, limits.max, *((np.nan, np.inf, -np.inf) if dtype.kind == "f" else ())]
    found.flat[:] = np.array(draw(st.lists(st.sampled_from(extremes), min_size=found.size, max_size=found.size)), dtype)
    return found


@settings(deadline=None)
@given(values=voxels(), kind=st.sampled_from(Kind))
def test_the_ends_of_a_display_window_are_finite_and_apart(values: npt.NDArray[Any], kind: Kind) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display = choose_display("cFos", kind, value_range(values) or (0.0, 0.0), values)
    assert np.isfinite([display.smallest, display.largest, display.start, display.end]).all()
    assert display.smallest <= display.start < display.end <= display.largest
    finite = values[np.isfinite(values)]
    if finite.size:
        assert display.smallest <= float(finite.min())
        assert display.largest >= float(finite.max())


@pytest.mark.parametrize("value", [3.4028234663852886e38, -3.4028234663852886e38, 2.0**31, 7.0, 0.0])
def test_viewers_can_tell_black_from_white_where_all_voxels_are_equal(value: float) -> None:
    values = np.full((2, 2, 2), value, "float32")
    display = choose_display("cFos", Kind.IMAGE, (value, value), values)
    assert np.float32(display.start) < np.float32(display.end)
    assert display.smallest <= value <= display.largest


def test_a_range_marked_as_missing_leaves_the_window_to_the_others() -> None:
    values = np.linspace(100, 200, 1000, dtype="float32").reshape(10, 10, 10)
    values[0, 0, 0], values[9, 9, 9] = np.finfo("float32").min, np.finfo("float32").max
    display = choose_display("cFos", Kind.IMAGE, (float(values.min()), float(values.max())), values)
    assert (round(display.start), round(display.end)) == (101, 200)
