"""What is shown, and how, without a browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from catnip2bids import Viewing, convert, view
from catnip2bids.enums import Compression, Naming, OmeZarrVersion
from catnip2bids.errors import Catnip2bidsError, DatasetError, SourceError, UsageError
from catnip2bids.ome import LabelValue
from catnip2bids.viewing.state import region_properties
from made_up import some_image, write_slices
from runs import Array, Collector, level
from viewed import (
    ATLAS,
    CELL_LAYERS,
    RAW,
    ask,
    cohort,
    data_path,
    dataset,
    layers,
    own_dataset,
    packaged,
    state,
    tiff_dataset,
)

__all__ = ["cohort", "dataset", "own_dataset", "tiff_dataset"]

VOXEL_SIZE_UM = (3.7, 3.7, 5.0)


def test_layers_of_a_sample(dataset: Path) -> None:
    with view(dataset) as viewing:
        shown = layers(viewing, 2)  # of today: it has everything
    assert [(name, layer["type"], layer["visible"]) for name, layer in shown.items()] == [
        ("image, cFos", "image", True),
        ("cell filter (FRST)", "image", False),
        ("atlas regions", "segmentation", True),
        ("hemisphere mask", "image", False),
        ("cells, threshold 10000", "image", False),
        ("cell volumes, threshold 10000", "image", False),
        ("cells, threshold 15000", "image", False),
        ("cell volumes, threshold 15000", "image", False),
        (CELL_LAYERS[0], "annotation", True),
        *((name, "annotation", False) for name in CELL_LAYERS[1:]),
    ]
    assert shown["cells, threshold 10000"]["shader"] != shown["cells, threshold 15000"]["shader"]


def test_heat_maps_are_shown_by_themselves_on_their_own_grid(dataset: Path) -> None:
    with view(dataset) as viewing:
        found = state(viewing, 3)
    assert [(layer["name"], layer["visible"]) for layer in found["layers"]] == [
        ("heat map, threshold 10000", True),
        ("corrected heat map, threshold 10000", False),
        ("heat map, threshold 15000", False),
        ("corrected heat map, threshold 15000", False),
    ]
    assert found["dimensions"] == {name: [pytest.approx(25e-6), "m"] for name in "xyz"}


def test_place_and_contrast(dataset: Path) -> None:
    with view(dataset) as viewing:
        found = state(viewing)
    sizes = {name: [pytest.approx(size * 1e-6), "m"] for name, size in zip("xyz", VOXEL_SIZE_UM, strict=True)}
    assert found["dimensions"] == sizes
    assert found["position"] == [36, 40, 12]
    assert found["layout"] == "4panel"
    attributes = json.loads((dataset / f"{RAW}.ome.zarr/zarr.json").read_text())["attributes"]
    window = attributes["ome"]["omero"]["channels"][0]["window"]
    contrast = found["layers"][0]["shaderControls"]["normalized"]
    assert contrast == {"range": [window["start"], window["end"]], "window": [window["min"], window["max"]]}


def test_regions_have_the_names_and_colours_of_the_table(dataset: Path) -> None:
    with view(dataset) as viewing:
        atlas = layers(viewing)["atlas regions"]
        path = atlas["source"][1].removeprefix(viewing.list_url).partition("|")[0]
        properties = json.loads(ask(viewing, f"{path}info").body)["inline"]
    table = (dataset / "derivatives/catnip/dseg.tsv").read_text().splitlines()
    rows = {row.split("\t")[0]: row.split("\t") for row in table[1:]}
    occurring = {str(value) for value in np.unique(level(dataset / f"{ATLAS}.ome.zarr")) if value != 0}
    assert set(properties["ids"]) == occurring
    labels = properties["properties"][0]["values"]
    assert labels == [f"{rows[value][2]} - {rows[value][1].replace('_', ' ')}" for value in properties["ids"]]
    assert "CA1 - Field CA1" in labels
    assert atlas["segmentColors"] == {value: rows[value][3] for value in occurring}


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_negative_labels_have_the_ids_that_the_client_gives_them(tmp_path: Path, dtype: str) -> None:
    values = np.array([-128, -3, 5], dtype).repeat(30).reshape(1, 9, 10)
    write_slices(tmp_path / "labels", values)
    image = convert(tmp_path / "labels", tmp_path / "labels.ome.zarr", VOXEL_SIZE_UM, "labels").path
    with view(image) as viewing:
        (layer,) = layers(viewing).values()
        path = layer["source"][1].removeprefix(viewing.list_url).partition("|")[0]
        ids = json.loads(ask(viewing, f"{path}info").body)["inline"]["ids"]
    # signed values are extended to 64 bits (neuroglancer 2.41, src/webgl/shader_lib.ts, toUint64)
    expected = {str(value) for value in values.astype("int64").view("uint64").flat}
    assert set(ids) == set(layer["segmentColors"]) == expected


@pytest.mark.parametrize("value", [np.finfo("float32").max, np.finfo("float32").min, 7.0])
def test_black_and_white_are_apart_where_all_voxels_are_equal(tmp_path: Path, value: float) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.full((2, 9, 10), value, "float32"), photometric="minisblack")
    for ending in (".ome.zarr", ".ome.tif"):
        image = convert(tmp_path / "stack.tif", tmp_path / f"image{ending}", VOXEL_SIZE_UM).path
        with view(image) as viewing:
            (layer,) = layers(viewing).values()
        contrast = layer["shaderControls"]["normalized"]
        for low, high in (contrast["range"], contrast["window"]):
            assert np.float32(low) < np.float32(high)


@pytest.mark.parametrize("place", ["dataset", "elsewhere"])
def test_an_atlas_alone_has_names(dataset: Path, tmp_path: Path, place: str) -> None:
    image = dataset / f"{ATLAS}.ome.zarr"
    if place == "elsewhere":
        image = Path(shutil.copytree(image, tmp_path / "alone.ome.zarr"))
    with view(image) as viewing:
        assert viewing.url.endswith("/v/0")
        (layer,) = layers(viewing).values()
        assert layer["type"] == "segmentation"
        path = layer["source"][1].removeprefix(viewing.list_url).partition("|")[0]
        assert "CP - Caudoputamen" in json.loads(ask(viewing, f"{path}info").body)["inline"]["properties"][0]["values"]


def test_labels_inside_of_an_image_of_version_04_come_along(cohort: Path, tmp_path: Path) -> None:
    choices = {"embed_labels": True, "ome_zarr_version": OmeZarrVersion.V04, "naming": Naming.DSEG}
    embedding = packaged(cohort / "KO", tmp_path / "dataset", **choices)
    with view(embedding / f"{RAW}.ome.zarr") as viewing:
        shown = layers(viewing)
        assert [(name, layer["type"], layer["visible"]) for name, layer in shown.items()] == [
            ("image, cFos", "image", True),
            ("atlas regions", "segmentation", True),
            ("hemisphere mask", "image", False),
            ("cells, threshold 10000", "image", True),
            ("cells, threshold 15000", "image", True),
        ]
        assert shown["cells, threshold 10000"]["shader"] != shown["cells, threshold 15000"]["shader"]
        source: str = shown["atlas regions"]["source"][0]
        assert source.endswith("|zarr2:")
        assert ask(viewing, data_path(viewing, shown["atlas regions"]) + ".zattrs").status == 200
    with view(embedding) as viewing:
        assert list(layers(viewing))[:3] == ["image, cFos", "cell filter (FRST)", "atlas regions"]


def test_of_labels_inside_of_a_foreign_image_the_first_is_shown(cohort: Path, tmp_path: Path) -> None:
    embedding, collector = packaged(cohort / "KO", tmp_path / "dataset", embed_labels=True), Collector()
    image = Path(shutil.copytree(embedding / f"{RAW}.ome.zarr", tmp_path / "alone.ome.zarr"))
    first, second, *others = json.loads((image / "labels/zarr.json").read_text())["attributes"]["ome"]["labels"]
    (image / "labels" / first / "zarr.json").write_text("{")
    with view(image, progress=collector) as viewing:
        shown = {name: layer["visible"] for name, layer in layers(viewing).items()}
    assert shown == {"N4": True, second: True} | dict.fromkeys(others, False)
    (warning,) = collector.warnings
    assert str(image / "labels" / first) in warning


def test_channels_of_a_foreign_image_without_a_window(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "foreign.zarr", zarr_format=2)
    array = group.create_array("s0", shape=(2, 3, 40, 30), dtype="uint16")
    values = some_image((6, 40, 30)).reshape(2, 3, 40, 30)
    array[...] = values
    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    steps: list[Any] = [
        {"type": "scale", "scale": [1, 500, 100, 100]},
        {"type": "translation", "translation": [0, 0, 200, 0]},
    ]
    datasets: list[Any] = [{"path": "s0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    with view(tmp_path / "foreign.zarr") as viewing:
        found = state(viewing)
    assert [layer["localPosition"] for layer in found["layers"]] == [[0], [1]]
    sizes = {name: [pytest.approx(size), "m"] for name, size in (("x", 1e-7), ("y", 1e-7), ("z", 5e-7))}
    assert found["dimensions"] == sizes
    assert found["position"] == [15, 22, 1]
    for channel, layer in enumerate(found["layers"]):
        middle = values[channel, 1]
        assert layer["shaderControls"]["normalized"]["window"] == [middle.min(), middle.max()]


def assembled(image: Path, number: int = 0) -> Array:
    """Put an OME-TIFF together from the chunks that are served of it."""
    with view(image) as viewing:
        path = data_path(viewing, state(viewing)["layers"][0])
        described: dict[str, Any] = json.loads(ask(viewing, f"{path}{number}/zarr.json").body)
        sizes = described["chunk_grid"]["configuration"]["chunk_shape"]
        shape = described["shape"]
        whole = np.zeros(shape, described["data_type"])
        for place in np.ndindex(*(-(-n // size) for n, size in zip(shape, sizes, strict=True))):
            answer = ask(viewing, f"{path}{number}/c/{'/'.join(map(str, place))}")
            chunk = np.frombuffer(answer.body, np.dtype(whole.dtype).newbyteorder("<")).reshape(sizes)
            start = [index * size for index, size in zip(place, sizes, strict=True)]
            target = whole[tuple(slice(begin, begin + size) for begin, size in zip(start, sizes, strict=True))]
            target[...] = chunk[tuple(slice(n) for n in target.shape)]
        assert ask(viewing, f"{path}{number}/c/99/0/0").status == 404
        assert ask(viewing, f"{path}9/c/0/0/0").status == 404
        assert ask(viewing, f"{path}{number}/c/0/0/0", Range="bytes=2-5").body == whole_bytes(whole)[2:6]
    return whole


def whole_bytes(array: Array) -> bytes:
    """Return values as bytes in little-endian order."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("compression", [Compression.DEFLATE, Compression.NONE])
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param("uint8", marks=pytest.mark.slow),
        "uint16",
        pytest.param("float32", marks=pytest.mark.slow),
    ],
)
def test_an_ome_tiff_is_served_as_it_is_with_its_levels(tmp_path: Path, compression: Compression, dtype: str) -> None:
    volume = some_image((5, 1100, 1500), dtype)
    write_slices(tmp_path / "slices", volume)
    image = tmp_path / "image.ome.btf"
    convert(tmp_path / "slices", image, VOXEL_SIZE_UM, pyramid=True, compression=compression)
    np.testing.assert_array_equal(assembled(image), volume)
    with tifffile.TiffFile(image) as tiff:
        lower = np.stack([page.pages[1].aspage().asarray() for page in tiff.pages if page.pages is not None])
    np.testing.assert_array_equal(assembled(image, 2), lower)


@pytest.mark.parametrize(
    "options", [{"compression": "lzw", "rowsperstrip": 1100}, {"tile": (128, 256), "compression": "zlib"}], ids=str
)
def test_an_ome_tiff_of_somebody_else(tmp_path: Path, options: dict[str, Any]) -> None:
    volume = some_image((3, 1100, 300))
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2000.0}
    metadata["PhysicalSizeZUnit"] = "nm"
    tifffile.imwrite(tmp_path / "x.ome.tif", volume, ome=True, metadata=metadata, byteorder=">", **options)
    np.testing.assert_array_equal(assembled(tmp_path / "x.ome.tif"), volume)
    with view(tmp_path / "x.ome.tif") as viewing:
        assert state(viewing)["dimensions"]["z"] == [pytest.approx(2e-6), "m"]
        assert viewing.napari_command.startswith("napari --plugin napari-tiff ")


@pytest.mark.slow
def test_a_dataset_of_ome_tiff_looks_the_same(dataset: Path, tiff_dataset: Path) -> None:
    def shown(viewing: Viewing, scene: int) -> dict[str, Any]:
        found = state(viewing, scene)
        for layer in found["layers"]:
            if layer["type"] == "segmentation":
                path = layer["source"][1].removeprefix(viewing.list_url).partition("|")[0]
                layer["regions"] = json.loads(ask(viewing, f"{path}info").body)
            for own in ("source", "shaderControls"):  # only an OME-Zarr image has a window
                layer.pop(own, None)
        return found

    with view(dataset) as viewing, view(tiff_dataset) as viewing_tiff:
        for scene in range(4):
            assert shown(viewing_tiff, scene) == shown(viewing, scene)


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(own_dataset: Path) -> None:
    collector = Collector()
    shutil.rmtree(own_dataset / f"{ATLAS}.ome.zarr")
    (own_dataset / f"{RAW}.ome.zarr/0/zarr.json").write_text("{")
    with view(own_dataset, progress=collector) as viewing:
        assert list(layers(viewing)) == [
            "cell filter (FRST)",
            "hemisphere mask",
            "cells, threshold 10000",
            "cells, threshold 15000",
            *CELL_LAYERS,
        ]
    assert sorted(Path(text.split(": ")[1]).name for text in collector.warnings) == [
        Path(f"{RAW}.ome.zarr").name,
        Path(f"{ATLAS}.ome.zarr").name,
    ]


AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "axis without name": ({"axes": [{"type": "space"}, *AXES[1:]]}, "axes.0.name: Field required"),
    "axis twice": ({"axes": [AXES[0], *AXES[:2]]}, "two axes have the same name"),
    "axes as text": ({"axes": ["z", "y", "x"]}, "axes.0: "),
    "too few axes": ({"axes": AXES[1:], "scale": [1, 1]}, "has 3 axes and describes 2"),
    "scale of 0": ({"scale": [1, 0, 1]}, "scale.1: Input should be greater"),
    "scale of text": ({"scale": [1, 1, "1"]}, "scale.2: Input should be a valid number"),
    "scale without end": ({"scale": [1, 1, float("inf")]}, "scale.2: Input should be a finite number"),
    "scale too short": ({"scale": [1, 1]}, "not as many numbers as there are axes"),
    "no type": ({"transformation": {"scale": [1, 1, 1]}}, "Unable to extract tag using discriminator 'type'"),
    "no multiscales": ({"ome": {"multiscales": None}}, "describes no image"),
    "no datasets": ({"datasets": None}, "datasets: Input should be a valid list"),
    "omero as text": ({"ome": {"omero": "x"}}, "omero: Input should be"),
    "window of text": ({"ome": {"omero": {"channels": [{"window": {"start": "x"}}]}}}, "window.start: Input should be"),
    "colour of code": ({"ome": {"omero": {"channels": [{"color": '");}'}]}}}, "color: String should match"),
    "rgba": ({"ome": {"image-label": {"colors": [{"label-value": 1, "rgba": [0, 0, 256, 0]}]}}}, "rgba.2: Input"),
    "no label value": ({"ome": {"image-label": {"colors": [{"rgba": [0, 0, 0, 0]}]}}}, "label-value: Field required"),
}


def set_metadata(image: Path, change: dict[str, Any]) -> None:
    """Describe an image with one level of three axes anew, with a change."""
    transformation = change.get("transformation", {"type": "scale", "scale": change.get("scale", [1, 1, 1])})
    datasets = change.get("datasets", [{"path": "0", "coordinateTransformations": [transformation]}])
    ome = {"version": "0.5", "multiscales": [{"axes": change.get("axes", AXES), "datasets": datasets}]}
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome | change.get("ome", {})}}
    (image / "zarr.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def damaged(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(dataset, tmp_path_factory.mktemp("wrong") / "dataset"))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_metadata_are_named_and_all_other_images_are_shown(damaged: Path, name: str) -> None:
    change, words = WRONG[name]
    image, collector = damaged / f"{ATLAS}.ome.zarr", Collector()
    set_metadata(image, change)
    with pytest.raises(SourceError, match=re.escape(words)) as refused:
        view(image)
    assert str(image) in str(refused.value)
    with view(damaged, progress=collector) as viewing:
        assert list(layers(viewing)) == [
            "image, cFos",
            "cell filter (FRST)",
            "hemisphere mask",
            "cells, threshold 10000",
            "cells, threshold 15000",
            *CELL_LAYERS,
        ]
    (warning,) = collector.warnings
    assert str(image) in warning
    assert words in warning


@pytest.mark.parametrize(
    "ome",
    [
        {"omero": None},
        {"omero": {"channels": None}},
        {"omero": {"channels": [{"window": None, "color": "#00ff00"}]}},
        {"omero": {"channels": [{"window": {"start": None, "end": None}, "label": 5}]}},
        {"image-label": {"colors": None, "properties": [{"label-value": 1, "name": 5}]}},
    ],
    ids=str,
)
def test_metadata_that_say_nothing_are_none(damaged: Path, ome: dict[str, Any]) -> None:
    image = damaged / f"{ATLAS}.ome.zarr"
    set_metadata(image, {"ome": ome})
    shutil.copytree(image, damaged.parent / "alone.ome.zarr", dirs_exist_ok=True)
    with view(damaged.parent / "alone.ome.zarr") as viewing:
        (layer,) = state(viewing)["layers"]
    assert layer["type"] == ("segmentation" if "image-label" in ome else "image")


def test_pixels_that_no_decoder_takes_are_told_and_answered(tmp_path: Path) -> None:
    group, collector = zarr.create_group(tmp_path / "foreign.zarr"), Collector()
    group.create_array("0", data=some_image((2, 20, 20)), chunks=(2, 20, 20))
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": AXES, "datasets": [{"path": "0"}]}]}
    (tmp_path / "foreign.zarr/0/c/0/0/0").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"foreign\.zarr: cannot be read"):
        view(tmp_path / "foreign.zarr")
    write_slices(tmp_path / "slices", some_image((3, 40, 50)))
    image = convert(tmp_path / "slices", tmp_path / "x.ome.btf", VOXEL_SIZE_UM, compression=Compression.DEFLATE).path
    with view(image, progress=collector) as viewing:
        path = data_path(viewing, state(viewing)["layers"][0])
        with tifffile.TiffFile(image) as tiff:
            offset, size = (getattr(tiff.pages[0], name)[0] for name in ("dataoffsets", "databytecounts"))
        with image.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xff" * size)
        assert ask(viewing, f"{path}0/c/0/0/0").status == 500
    assert collector.warnings


def test_names_are_never_markup(own_dataset: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)> & 'co"
    with view(own_dataset.rename(tmp_path / name)) as viewing:
        page = ask(viewing, "").body.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; &amp;" in page


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "plain.ome.tif").write_text("x")
    (tmp_path / "empty.ome.zarr").mkdir()
    tifffile.imwrite(tmp_path / "no-xml.ome.tif", some_image((2, 20, 20)), ome=False)
    refused: dict[str, tuple[type[Catnip2bidsError], str]] = {
        "nothing": (UsageError, "does not exist"),
        "file.txt": (UsageError, "neither a dataset"),
        ".": (UsageError, "neither a dataset"),
        "plain.ome.tif": (SourceError, "not a TIFF"),
        "empty.ome.zarr": (SourceError, "has no metadata of OME-Zarr"),
        "no-xml.ome.tif": (SourceError, "tells no voxel size"),
    }
    for name, (error, words) in refused.items():
        with pytest.raises(error, match=words):
            view(tmp_path / name)
    group = zarr.create_group(tmp_path / "large.zarr")
    group.create_array("0", shape=(4, 4, 4), dtype="float64")
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    with pytest.raises(SourceError, match="float64, which Neuroglancer cannot show"):
        view(tmp_path / "large.zarr")
    (tmp_path / "code/catnip2bids").mkdir(parents=True)
    (tmp_path / "code/catnip2bids/provenance.json").write_text("{}")
    with pytest.raises(DatasetError, match="has no images"):
        view(tmp_path)


def test_tags_are_whole_abbreviations_in_one_case() -> None:
    regions = [
        LabelValue(value, name, short, "#ffffff")
        for value, name, short in ((1, "Thalamus", "TH"), (2, "Field CA1", "CA1"), (3, "th", "th"), (4, "Ca 1", "ca1"))
    ]
    names, tags = region_properties(regions, with_tags=True)["inline"]["properties"]
    assert names["values"] == ["Thalamus", "Field CA1", "th", "Ca 1"]
    assert tags["tags"] == ["CA1", "TH"]
    assert tags["values"] == [[1], [0], [], [0]]
    assert region_properties(regions)["inline"]["properties"][1]["tags"] == []
