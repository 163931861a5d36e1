"""Images in napari, opened by its reader for OME-Zarr as people open them, but without a window."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import tifffile
from pydantic import PydanticDeprecatedSince20

from catnip2bids import convert, package
from catnip2bids.enums import OmeZarrVersion
from demo_cohort import demo_cohort
from made_up import Array, some_labels
from runs import ome, read_tsv, settings

__all__ = ["demo_cohort"]

Layer = Any  # of napari, which is imported late
Open = Callable[[Path], list[Layer]]

NATIVE_UM, ATLAS_UM = (5.0, 3.7, 3.7), (25.0, 25.0, 25.0)
PREFIX = "sub-10002wt_sample-RightHemisphere_stain-cFos"
RAW = f"sub-10002wt/micr/{PREFIX}_SPIM"
DERIVED = f"derivatives/catnip/sub-10002wt/micr/{PREFIX}"
IMAGES = {
    RAW: NATIVE_UM,
    f"{DERIVED}_desc-FRST_SPIM": NATIVE_UM,
    f"{DERIVED}_space-orig_desc-FRSTsegfiltered10000_SPIM": NATIVE_UM,  # volumes of cells, which are measured
    f"{DERIVED}_space-orig_desc-FRSTsegfiltered15000_SPIM": NATIVE_UM,
    f"{DERIVED}_space-CATNIPv2_desc-heatmap10000_SPIM": ATLAS_UM,
    f"{DERIVED}_space-CATNIPv2_desc-heatmap15000_SPIM": ATLAS_UM,
    f"{DERIVED}_space-CATNIPv2_desc-heatmapcorrected10000_SPIM": ATLAS_UM,
    f"{DERIVED}_space-CATNIPv2_desc-heatmapcorrected15000_SPIM": ATLAS_UM,
}
LABELS = {
    f"{DERIVED}_space-orig_desc-atlas_SPIM": None,
    f"{DERIVED}_space-orig_desc-hemispheremask_SPIM": "inside",
    f"{DERIVED}_space-orig_desc-FRSTseg10000_SPIM": "cell",
    f"{DERIVED}_space-orig_desc-FRSTseg15000_SPIM": "cell",
}
"""Label images, and the name of the only value of those that are masks."""


@pytest.fixture(scope="module")
def in_napari() -> Iterator[Open]:
    """Open an image with the reader of napari-ome-zarr, in a viewer of its own."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("NAPARI_CONFIG", "")  # does not touch the settings of the user
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # npe2 and napari define models in the old way
        from napari.components import ViewerModel
        from npe2 import PluginManager

        PluginManager.instance().discover()

        def open_image(image: Path) -> list[Layer]:
            with warnings.catch_warnings():
                # values that have no colour, such as the background, are transparent
                warnings.filterwarnings("ignore", "color_dict did not provide a default color", UserWarning)
                warnings.filterwarnings("ignore", "The inplace keyword in DataFrame.sort_values is deprecated")
                return list(ViewerModel().open(image, plugin="napari-ome-zarr"))

        yield open_image


@pytest.fixture(scope="module", params=[OmeZarrVersion.V05, pytest.param(OmeZarrVersion.V04, marks=pytest.mark.slow)])
def dataset(request: pytest.FixtureRequest, demo_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the demo, with embedded labels, in both versions of OME-Zarr."""
    target = tmp_path_factory.mktemp("napari") / "dataset"
    result = package(demo_cohort, target, settings(embed_labels=True, ome_zarr_version=request.param))
    made = {path.as_posix() for path in result.made if "sub-10002wt" in path.name}
    assert made == {f"{image}.ome.zarr" for image in (*IMAGES, *LABELS)}
    return target


@pytest.fixture
def alone(tmp_path: Path, dataset: Path) -> Callable[[str], Path]:
    """Copy an image: the reader makes a Zarr group of the folder that is two levels above a label image."""

    def copy(name: str) -> Path:
        image = f"{name}.ome.zarr"
        return Path(shutil.copytree(dataset / image, tmp_path / "of its own" / Path(image).name))

    return copy


def stored(folder: Path) -> Array:
    """Read level 0 with a library that napari does not use."""
    driver = "zarr3" if (folder / "zarr.json").is_file() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(folder / "0")}}
    return np.asarray(tensorstore.open(spec, open=True, read=True).result().read().result())


def finest(layer: Layer) -> Array:
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)


def values_of(layer: Layer) -> list[int]:
    return [int(value) for value in np.unique(finest(layer)) if value != 0]


def assert_placed(layer: Layer, folder: Path, voxel_um: tuple[float, float, float]) -> None:
    """Check voxels, their size, and that the axes are z, y, x in micrometers."""
    pixels = stored(folder)
    np.testing.assert_array_equal(finest(layer), pixels)
    np.testing.assert_allclose(layer.scale, voxel_um)
    np.testing.assert_array_equal(layer.affine.affine_matrix, np.eye(4))
    np.testing.assert_allclose(layer.extent.world[0], 0)
    np.testing.assert_allclose(layer.extent.world[1], (np.array(pixels.shape) - 1) * voxel_um)
    assert layer.axis_labels == ("z", "y", "x")
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 3


def colors_of(layer: Layer, values: list[int]) -> list[str]:
    return ["#" + bytes(np.rint(255 * np.asarray(layer.get_color(value)))[:3].astype("u1")).hex() for value in values]


def only(layers: list[Layer]) -> Layer:
    (layer,) = layers
    return layer


def assert_names_regions(layer: Layer, dataset: Path) -> None:
    """Check names and colours of the values that occur against the table in the dataset."""
    table = {int(row["index"]): row for row in read_tsv(dataset / "derivatives/catnip/dseg.tsv")}
    values = values_of(layer)
    assert len(values) > 5
    assert list(layer.features["index"]) == values
    assert list(layer.features["name"]) == [table[value]["name"] for value in values]
    assert list(layer.features["abbreviation"]) == [table[value]["abbreviation"] for value in values]
    assert colors_of(layer, values) == [table[value]["color"] for value in values]


@pytest.mark.parametrize("name", IMAGES, ids=[name.removeprefix(DERIVED) for name in IMAGES])
def test_intensities_open_as_an_image(alone: Callable[[str], Path], in_napari: Open, name: str) -> None:
    folder = alone(name)
    layer, *embedded = in_napari(folder)
    assert type(layer).__name__ == "Image"
    assert len(embedded) == (len(LABELS) if name == RAW else 0)
    assert_placed(layer, folder, IMAGES[name])
    window = ome(folder)["omero"]["channels"][0]["window"]
    assert layer.contrast_limits == [window["start"], window["end"]]
    assert layer.contrast_limits[0] < layer.contrast_limits[1]
    assert layer.name.startswith(f"{Path(name).name}: ")
    assert layer.visible


@pytest.mark.parametrize("name", LABELS, ids=[name.removeprefix(DERIVED) for name in LABELS])
def test_labels_and_masks_open_as_labels(
    dataset: Path, alone: Callable[[str], Path], in_napari: Open, name: str
) -> None:
    folder = alone(name)
    layer = only(in_napari(folder))
    assert type(layer).__name__ == "Labels"
    assert_placed(layer, folder, NATIVE_UM)
    if LABELS[name] is None:
        assert_names_regions(layer, dataset)
    else:
        (value,) = values_of(layer)
        assert layer.features.to_dict("list") == {"index": [value], "name": [LABELS[name]]}
        assert colors_of(layer, [value]) == ["#ffffff"]


def test_embedded_labels_open_with_their_image(dataset: Path, in_napari: Open) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    image, *labels = in_napari(dataset / f"{RAW}.ome.zarr")
    assert type(image).__name__ == "Image"
    assert image.name == f"{Path(RAW).name}: N4masked"
    names = ("atlas", "hemispheremask", "FRSTseg10000", "FRSTseg15000")
    assert {(type(layer).__name__, layer.name) for layer in labels} == {
        ("Labels", f"labels/labels/{name}") for name in names
    }
    for layer in labels:
        assert_placed(layer, dataset / f"{RAW}.ome.zarr" / layer.name.removeprefix("labels/"), NATIVE_UM)
    (atlas,) = (layer for layer in labels if layer.name.endswith("/atlas"))
    assert_names_regions(atlas, dataset)
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def converted(folder: Path, volume: Array, kind: str) -> Path:
    """Convert a stack to an image that is two levels below the folder."""
    tifffile.imwrite(folder / "stack.tif", volume, photometric="minisblack", metadata=None)
    return convert(folder / "stack.tif", folder / "of its own/image.ome.zarr", (3.7, 3.7, 5.0), kind).path


def test_lower_levels_lie_over_the_finest_one(tmp_path: Path, in_napari: Open) -> None:
    image = converted(tmp_path, some_labels((16, 288, 320), "uint16"), "labels")
    layer = only(in_napari(image))
    levels = ome(image)["multiscales"][0]["datasets"]
    assert layer.multiscale
    assert len(levels) == len(layer.data) > 1
    for level, factors in zip(levels, layer.downsample_factors, strict=True):
        (scale,), (shift,) = (
            [step[name] for step in level["coordinateTransformations"] if name in step]
            for name in ("scale", "translation")
        )
        np.testing.assert_allclose(layer.scale * factors, scale)
        # napari lets all levels begin at the edge of the first voxel
        np.testing.assert_allclose(np.array(shift) - np.array(scale) / 2, -np.array(NATIVE_UM) / 2)


NEGATIVE = np.repeat(np.array([-3, 0, 5], "int32"), 30).reshape(1, 1, 90).repeat(5, 1).repeat(2, 0)
KINDS: dict[str, tuple[Array, str, str]] = {
    "signed labels": (NEGATIVE, "labels", "Labels"),
    "labels of 64 bits": (NEGATIVE.astype("int64"), "labels", "Labels"),
    "labels as floating point numbers": (NEGATIVE.astype("float32"), "labels", "Image"),
    "a mask of bits": (NEGATIVE > 0, "mask", "Image"),
    "a mask without a cell": (np.zeros((2, 5, 90), "uint8"), "mask", "Labels"),
    "the largest number": (np.full((2, 5, 90), np.finfo("float32").max, "float32"), "image", "Image"),
    "nothing but NaN": (np.full((2, 5, 90), np.nan, "float32"), "image", "Image"),
}


@pytest.mark.parametrize(("volume", "kind", "layer_type"), KINDS.values(), ids=KINDS)
def test_only_integers_open_as_labels(
    tmp_path: Path, in_napari: Open, volume: Array, kind: str, layer_type: str
) -> None:
    image = converted(tmp_path, volume, kind)
    layer = only(in_napari(image))
    assert type(layer).__name__ == layer_type
    assert_placed(layer, image, NATIVE_UM)


def test_negative_labels_have_names_and_colours(tmp_path: Path, in_napari: Open) -> None:
    image = converted(tmp_path, NEGATIVE, "labels")
    layer = only(in_napari(image))
    assert layer.features.to_dict("list") == {"index": [-3, 5], "name": ["-3", "5"]}
    rows = ome(image)["image-label"]["colors"]
    assert colors_of(layer, [-3, 5]) == ["#" + bytes(row["rgba"][:3]).hex() for row in rows]
    drawn = np.asarray(layer.colormap.map(np.array([-3, 5], "int32")))
    np.testing.assert_allclose(drawn, [np.array(row["rgba"]) / 255 for row in rows], atol=1e-6)
