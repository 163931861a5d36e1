"""OME-Zarr images, read back by libraries that did not write them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr_models import open_ome_zarr
from ome_zarr_models.v04.image import Image as ImageV04
from ome_zarr_models.v04.image_label import ImageLabel as LabelV04
from ome_zarr_models.v05.image import Image as ImageV05
from ome_zarr_models.v05.image_label import ImageLabel as LabelV05

from catnip2bids.ome import (
    Display,
    LabelValue,
    OmeZarrImage,
    OmeZarrVersion,
    downsample,
    image_metadata,
    write_labels_group,
)
from catnip2bids.volume import Kind
from made_up import THREE_UNITS, Array, small_units, some_image, some_labels, write_unit

__all__ = ["small_units"]

VOXEL_UM = (5.0, 1.82, 1.82)
DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float16", "float32", "float64")
DISPLAY = Display("cFos", 0.0, 100.0, 1.0, 99.0)
NAMES = (LabelValue(97, "root", None, "#ffffff"), LabelValue(249, "posterior auditory area", "AUDpo", "#019399"))
VERSIONS = pytest.mark.parametrize("version", OmeZarrVersion)


def finish(image: OmeZarrImage, values: Display | tuple[LabelValue, ...] = DISPLAY) -> OmeZarrImage:
    image.finish(image_metadata(image.folder.name, image.levels, image.kind, values))
    return image


def write(
    folder: Path,
    volume: Array,
    kind: Kind = Kind.IMAGE,
    version: OmeZarrVersion = OmeZarrVersion.V05,
    voxel_um: tuple[float, float, float] = VOXEL_UM,
    values: Display | tuple[LabelValue, ...] = DISPLAY,
) -> OmeZarrImage:
    """Write a volume that is a single unit."""
    z, y, x = volume.shape
    image = OmeZarrImage(folder, (z, y, x), volume.dtype.name, voxel_um, kind, version)
    assert image.unit_depth >= z
    image.create()
    write_unit(image, 0, volume)
    image.write_remaining_levels(2)
    return finish(image, values)


def read_levels(image: OmeZarrImage) -> list[Array]:
    arrays = (zarr.open_array(image.folder / str(level.index), mode="r") for level in image.levels)
    return [np.asarray(array[...]) for array in arrays]


def downsampled_levels(volume: Array, image: OmeZarrImage) -> list[Array]:
    levels = [volume]
    for level in image.levels[1:]:
        levels.append(downsample(levels[-1], level.step, image.kind))
    return levels


def assert_same_bits(arrays: list[Array], expected: list[Array]) -> None:
    assert [(array.shape, array.dtype) for array in arrays] == [(array.shape, array.dtype) for array in expected]
    assert [array.tobytes() for array in arrays] == [array.tobytes() for array in expected]


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@VERSIONS
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_types_are_kept_bit_for_bit(tmp_path: Path, dtype: str, kind: Kind, version: OmeZarrVersion) -> None:
    volume = some_image((9, 70, 65), "uint8").astype(dtype) if dtype == "bool" else some_image((9, 70, 65), dtype)
    image = write(tmp_path / "image.ome.zarr", volume, kind, version)
    assert len(image.levels) == 2
    assert_same_bits(read_levels(image), downsampled_levels(volume, image))


@VERSIONS
@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 140), st.integers(1, 300)))
def test_all_shapes_are_kept(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], version: OmeZarrVersion
) -> None:
    volume = some_image(shape)
    image = write(tmp_path_factory.mktemp("image"), volume, version=version)
    assert_same_bits(read_levels(image), downsampled_levels(volume, image))


SIGNALLING = {"float32": ("uint32", 0x7FA00001), "float64": ("uint64", 0x7FF4000000000001)}


@pytest.mark.parametrize("dtype", SIGNALLING)
def test_nan_infinity_and_negative_zero_are_kept_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    volume = some_image((4, 70, 65), dtype)
    volume[0], volume[1, ::2], volume[2, :, ::3], volume[3] = np.nan, np.inf, -np.inf, -0.0
    bits, signalling = SIGNALLING[dtype]
    volume.view(bits)[0, 0, 0] = signalling  # a NaN that turns into another one where it is computed with
    image = write(tmp_path / "image.ome.zarr", volume)
    assert read_levels(image)[0].tobytes() == volume.tobytes()


@VERSIONS
def test_a_volume_of_negative_zeros_is_not_taken_for_empty(tmp_path: Path, version: OmeZarrVersion) -> None:
    volume = np.full((4, 70, 65), -0.0, "float32")
    image = write(tmp_path / "image.ome.zarr", volume, version=version)
    assert np.signbit(read_levels(image)[0]).all()


def test_a_volume_of_zeros_takes_next_to_no_space(tmp_path: Path) -> None:
    volume = np.zeros((64, 300, 300), "uint16")
    for version in OmeZarrVersion:
        image = write(tmp_path / f"{version}.ome.zarr", volume, Kind.MASK, version)
        assert sum(len(path.read_bytes()) for path in files_of(image.folder)) < 20_000
        assert_same_bits(read_levels(image), downsampled_levels(volume, image))
    assert {path.name for path in files_of(tmp_path / "0.5.ome.zarr")} == {"zarr.json"}


UNITS = {
    "mask": ("uint16", Kind.MASK, (2.0, 1.0, 1.0)),
    "image": ("int16", Kind.IMAGE, (1.0, 1.0, 1.0)),
    "labels": ("uint16", Kind.LABELS, (1.0, 4.0, 4.0)),  # z is merged alone: the last levels need more than a unit
}


ORDERS = ((1, 2, 0), (2, 0, 1), (1, 1, 0, 2))  # a unit may be written again


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize(("case", "order"), list(zip(UNITS, ORDERS, strict=True)))
def test_units_in_any_order_give_the_same_image_as_all_at_once(
    tmp_path: Path, case: str, order: tuple[int, ...]
) -> None:
    (dtype, kind, voxel_um), shape = UNITS[case], THREE_UNITS
    volume = some_labels(shape, dtype) if kind == Kind.LABELS else some_image(shape, dtype)
    image = OmeZarrImage(tmp_path, shape, dtype, voxel_um, kind)
    depth = image.unit_depth
    assert len(range(0, shape[0], depth)) == 3
    image.create()
    for number in order:
        write_unit(image, number * depth, volume[number * depth : (number + 1) * depth])
    image.write_remaining_levels(2)
    assert_same_bits(read_levels(image), downsampled_levels(volume, image))


def test_what_an_interrupted_conversion_wrote_is_written_over(tmp_path: Path) -> None:
    volume = some_image((9, 70, 300))
    image = write(tmp_path, np.ones_like(volume))
    image.create()
    write_unit(image, 0, volume)
    image.write_remaining_levels(2)
    assert_same_bits(read_levels(image), downsampled_levels(volume, image))


@pytest.mark.usefixtures("small_units")
def test_damaged_files_of_levels_that_are_made_at_the_end_are_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.ome.levels.LARGEST_LAST_LEVEL", 20)
    volume = some_image(THREE_UNITS)
    image = OmeZarrImage(tmp_path, THREE_UNITS, "uint16", (1.0, 1.0, 1.0), Kind.IMAGE)
    image.create()
    for start in range(0, THREE_UNITS[0], image.unit_depth):
        write_unit(image, start, volume[start : start + image.unit_depth])
    for level in image.levels[image.sharding.n_unit_levels :]:
        damaged = image.folder / f"{level.index}/c/0/0/0"
        damaged.parent.mkdir(parents=True)
        damaged.write_bytes(b"damaged")
    assert damaged.is_file()
    image.write_remaining_levels(2)
    assert_same_bits(read_levels(image), downsampled_levels(volume, image))


def test_the_smallest_level_can_be_read_back(tmp_path: Path) -> None:
    volume = some_image((9, 70, 600))
    image = write(tmp_path / "image.ome.zarr", volume)
    np.testing.assert_array_equal(image.read_smallest_level(), downsampled_levels(volume, image)[-1])


def test_a_folder_is_no_image_before_it_is_finished(tmp_path: Path) -> None:
    image = OmeZarrImage(tmp_path / "image.ome.zarr", (4, 5, 6), "uint8", VOXEL_UM, Kind.IMAGE)
    image.create()
    write_unit(image, 0, some_image((4, 5, 6), "uint8"))
    assert not (image.folder / "zarr.json").exists()
    finish(image)
    assert isinstance(open_ome_zarr(zarr.open_group(image.folder, mode="r")), ImageV05)


def test_version_0_5_is_sharded_and_names_its_dimensions(tmp_path: Path) -> None:
    image = write(tmp_path / "image.ome.zarr", some_image((70, 150, 300)))
    for level in image.levels:
        array = zarr.open_array(image.folder / str(level.index), mode="r")
        sharding = image.sharding.levels[level.index]
        assert (array.chunks, array.shards) == (sharding.chunk, sharding.shard)
        assert math.prod(array.chunks) * array.dtype.itemsize <= 4 * 2**20
        assert (array.fill_value, array.metadata.zarr_format) == (0, 3)
        described = json.loads((image.folder / str(level.index) / "zarr.json").read_text())
        assert described["dimension_names"] == ["z", "y", "x"]
    assert len(files_of(image.folder)) == 1 + 2 * len(image.levels)


def test_version_0_4_has_nested_chunks_in_zarr_2(tmp_path: Path) -> None:
    image = write(tmp_path / "image.ome.zarr", some_image((70, 150, 300)), version=OmeZarrVersion.V04)
    array = zarr.open_array(image.folder / "0", mode="r")
    assert (array.metadata.zarr_format, array.chunks, array.shards) == (2, (64, 128, 128), None)
    assert json.loads((image.folder / "0/.zarray").read_text())["dimension_separator"] == "/"
    assert (image.folder / "0/1/1/2").is_file()
    assert json.loads((image.folder / ".zgroup").read_text()) == {"zarr_format": 2}


@VERSIONS
def test_ome_zarr_models_reads_it(tmp_path: Path, version: OmeZarrVersion) -> None:
    image = write(tmp_path / "image.ome.zarr", some_image((9, 300, 300)), version=version)
    found = open_ome_zarr(zarr.open_group(image.folder, mode="r"))
    assert isinstance(found, ImageV05 if version == OmeZarrVersion.V05 else ImageV04)
    assert found.ome_zarr_version == version.value


@VERSIONS
@pytest.mark.parametrize("names", [NAMES, ()], ids=["named", "empty"])
def test_ome_zarr_models_reads_label_images(
    tmp_path: Path, names: tuple[LabelValue, ...], version: OmeZarrVersion
) -> None:
    labels = some_labels((9, 70, 65), "int32")
    image = write(tmp_path / "labels.ome.zarr", labels, Kind.LABELS, version, values=names)
    model = LabelV05 if version == OmeZarrVersion.V05 else LabelV04
    assert model.from_zarr(zarr.open_group(image.folder, mode="r")).ome_zarr_version == version.value


def nodes_of(folder: Path) -> list[Any]:
    """Read an image with ome-zarr-py, which takes long to import."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(folder)
    assert location is not None
    return list(Reader(location)())


@VERSIONS
def test_ome_zarr_py_reads_pixels_and_sizes(tmp_path: Path, version: OmeZarrVersion) -> None:
    volume = some_image((9, 300, 300))
    image = write(tmp_path / "image.ome.zarr", volume, version=version)
    (node,) = nodes_of(image.folder)
    assert [axis["name"] for axis in node.metadata["axes"]] == ["z", "y", "x"]
    transformations = node.metadata["coordinateTransformations"]
    assert [scale["scale"] for scale, _ in transformations] == [list(level.scale_um) for level in image.levels]
    assert [shift["translation"] for _, shift in transformations] == [
        list(level.translation_um) for level in image.levels
    ]
    assert_same_bits([np.asarray(array) for array in node.data], downsampled_levels(volume, image))


@VERSIONS
def test_ngff_zarr_reads_pixels_and_sizes(tmp_path: Path, version: OmeZarrVersion) -> None:
    from ngff_zarr import from_ngff_zarr

    volume = some_image((9, 300, 300))
    image = write(tmp_path / "image.ome.zarr", volume, version=version)
    levels = from_ngff_zarr(image.folder, validate=True).images
    for level, found in zip(image.levels, levels, strict=True):
        assert found.dims == ("z", "y", "x")
        assert found.axes_units == dict.fromkeys("zyx", "micrometer")
        assert tuple(found.scale.values()) == level.scale_um
        assert tuple(found.translation.values()) == level.translation_um
    assert_same_bits([np.asarray(level.data) for level in levels], downsampled_levels(volume, image))


@VERSIONS
def test_ngff_zarr_reads_label_images(tmp_path: Path, version: OmeZarrVersion) -> None:
    from ngff_zarr import from_ngff_zarr

    labels = some_labels((9, 130, 130))
    image = write(tmp_path / "labels.ome.zarr", labels, Kind.LABELS, version, values=NAMES)
    levels = from_ngff_zarr(image.folder, validate=True).images
    assert [tuple(level.scale.values()) for level in levels] == [level.scale_um for level in image.levels]
    assert_same_bits([np.asarray(level.data) for level in levels], downsampled_levels(labels, image))


@VERSIONS
def test_metadata_of_a_finished_image_is_replaced_as_a_whole(tmp_path: Path, version: OmeZarrVersion) -> None:
    folder, fresh = tmp_path / "labels.ome.zarr", tmp_path / "fresh.ome.zarr"
    labels = some_labels((9, 70, 65))
    image = write(folder, labels, Kind.LABELS, version)
    pixels = {file: file.read_bytes() for file in files_of(folder / "0")}
    replaced = image.replace_metadata(image_metadata(fresh.name, image.levels, image.kind, NAMES))
    expected = write(fresh, labels, Kind.LABELS, version, values=NAMES).folder / replaced.name
    assert replaced.read_bytes() == expected.read_bytes()
    assert {file: file.read_bytes() for file in files_of(folder / "0")} == pixels
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, fresh.name}


@VERSIONS
def test_a_label_image_is_found_in_its_group(tmp_path: Path, version: OmeZarrVersion) -> None:
    image = write(tmp_path / "image.ome.zarr", some_image((9, 70, 65)), version=version)
    labels = some_labels((9, 70, 65))
    write(image.folder / "labels/atlas", labels, Kind.LABELS, version, values=NAMES)
    write_labels_group(image.folder / "labels", ["atlas"], version)
    (node,) = [node for node in nodes_of(image.folder) if node.zarr.basename() == "atlas"]
    np.testing.assert_array_equal(np.asarray(node.data[0]), labels)
    assert node.metadata["color"][249] == pytest.approx([1 / 255, 0x93 / 255, 0x99 / 255, 1.0], abs=0.01)
    assert node.metadata["properties"][249]["abbreviation"] == "AUDpo"


def test_an_image_has_the_same_bytes_wherever_it_is_written(tmp_path: Path) -> None:
    volume = some_image((9, 70, 300))
    stored = []
    for folder in (tmp_path / "a/image.ome.zarr", tmp_path / "b b/image.ome.zarr"):
        image = write(folder, volume)
        stored.append({path.relative_to(folder): path.read_bytes() for path in files_of(image.folder)})
    assert stored[0] == stored[1]
