"""OME-Zarr and OME-TIFF images as one side of a comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tifffile
import zarr

import catnip2bids
from catnip2bids.comparison import Relation, VolumeComparison
from catnip2bids.errors import UsageError
from made_up import some_image, write_slices, write_tiff

SHAPE = (6, 40, 50)
IMAGE = some_image(SHAPE)
FORMATS = ("image.ome.zarr", "image.ome.tif", "image.ome.btf")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write slices, and all formats of images from them."""
    folder = tmp_path_factory.mktemp("images")
    write_slices(folder / "slices", IMAGE)
    for name in FORMATS:
        catnip2bids.convert(folder / "slices", folder / name, (3.7, 3.7, 5.0))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_planes_of_images_count_from_1(images: Path, name: str, tmp_path: Path) -> None:
    for one, two in (("slices", name), (name, "slices")):
        comparison = catnip2bids.compare(images / one, images / two, tmp_path / "out")
        assert (comparison.relation, comparison.exit_code, comparison.problems) == (Relation.IDENTICAL, 0, ())
        assert json.loads((tmp_path / "out/comparison.json").read_text())["n_identical"] == len(IMAGE)


def test_two_images_are_compared_whatever_their_formats(images: Path) -> None:
    for one, two in zip(FORMATS, (*FORMATS[1:], FORMATS[0]), strict=True):
        assert catnip2bids.compare(images / one, images / two).relation == Relation.IDENTICAL


def test_one_voxel_is_found(images: Path, tmp_path: Path) -> None:
    changed = IMAGE.copy()
    changed[3, 4, 5] ^= 1
    write_slices(tmp_path / "slices", changed)
    (item,) = catnip2bids.compare(tmp_path / "slices", images / "image.ome.zarr").items
    assert isinstance(item, VolumeComparison)
    assert (item.relation, item.evidence.planes_different, item.evidence.n_different) == (Relation.DIFFERENT, (4,), 1)


@pytest.mark.parametrize(("first", "step", "text"), [(0, 1, "n + 1 of 2"), (0, 40, "slice 0 of 1 is slice 1 of 2")])
def test_slices_with_other_numbers_are_the_same_planes(
    images: Path, tmp_path: Path, first: int, step: int, text: str
) -> None:
    names = [f"Z{first + step * index:05d}.tif" for index in range(len(IMAGE))]
    write_slices(tmp_path / "slices", IMAGE, names)
    comparison = catnip2bids.compare(tmp_path / "slices", images / "image.ome.zarr", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.SHIFTED, 1)
    assert text in json.loads((tmp_path / "out/comparison.json").read_text())["meaning"]


def test_an_image_with_five_axes_is_a_volume(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "five.ome.zarr", mode="w", zarr_format=2)
    array = group.create_array("0", shape=(1, 1, *SHAPE), chunks=(1, 1, 2, 16, 16), dtype="u2")
    array[:] = IMAGE[None, None]
    axes = [{"name": name} for name in "tczyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    write_slices(tmp_path / "slices", IMAGE)
    assert catnip2bids.compare(tmp_path / "slices", tmp_path / "five.ome.zarr").relation == Relation.IDENTICAL


def test_an_image_in_a_folder_is_one_volume(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images / "slices", tmp_path / "a/640_N4")
    shutil.copytree(images / "image.ome.zarr", tmp_path / "b/640_N4.ome.zarr")
    write_tiff(tmp_path / "a/mask.tif", IMAGE)
    shutil.copy(images / "image.ome.btf", tmp_path / "b/mask.ome.btf")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.relation, len(comparison.items)) == (Relation.IDENTICAL, 2)
    assert (comparison.only_in_1, comparison.only_in_2) == ({}, {})


def test_label_images_in_an_image_are_named(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images / "image.ome.zarr", tmp_path / "image.ome.zarr")
    (tmp_path / "image.ome.zarr/labels/atlas").mkdir(parents=True)
    comparison = catnip2bids.compare(tmp_path / "image.ome.zarr", images / "slices")
    assert comparison.relation == Relation.IDENTICAL
    (warning,) = comparison.warnings
    assert "atlas" in warning


def test_an_image_that_cannot_be_read_is_trouble(images: Path, tmp_path: Path) -> None:
    (tmp_path / "image.ome.zarr").mkdir()
    comparison = catnip2bids.compare(tmp_path / "image.ome.zarr", images / "slices")
    assert (comparison.exit_code, comparison.is_compared) == (2, False)
    assert str(tmp_path / "image.ome.zarr") in comparison.problems[0]


def test_what_is_beside_slices_is_named(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images / "slices", tmp_path / "slices")
    (tmp_path / "slices/notes.txt").write_text("")
    comparison = catnip2bids.compare(images / "image.ome.zarr", tmp_path / "slices")
    assert comparison.relation == Relation.IDENTICAL
    assert "notes.txt" in comparison.warnings[0]
    (tmp_path / "tables").mkdir()
    with pytest.raises(UsageError, match="cannot be compared"):
        catnip2bids.compare(images / "image.ome.zarr", tmp_path / "tables")


def test_warnings_of_the_census_are_shown(tmp_path: Path) -> None:
    """A file that says that its pages are channels can be compared page by page."""
    tifffile.imwrite(tmp_path / "channels.tif", IMAGE, imagej=True, metadata={"axes": "CYX"})
    write_slices(tmp_path / "slices", IMAGE)
    (tmp_path / "slices/Z0002.tif").unlink()
    comparison = catnip2bids.compare(tmp_path / "channels.tif", tmp_path / "slices", tmp_path / "out")
    assert comparison.exit_code == 1
    assert any("6 channels" in warning for warning in comparison.warnings)
    assert any("missing" in warning for warning in comparison.warnings)
    assert json.loads((tmp_path / "out/comparison.json").read_text())["warnings"] == list(comparison.warnings)


def test_values_that_are_shown_as_negatives_are_told(tmp_path: Path) -> None:
    for name in ("miniswhite", "minisblack"):
        tifffile.imwrite(tmp_path / f"{name}.tif", IMAGE, photometric=name, metadata=None)
    comparison = catnip2bids.compare(tmp_path / "minisblack.tif", tmp_path / "miniswhite.tif")
    assert comparison.relation == Relation.IDENTICAL
    assert any("0 is white in 2" in warning for warning in comparison.warnings)
    same = catnip2bids.compare(tmp_path / "miniswhite.tif", tmp_path / "miniswhite.tif")
    assert not any("0 is white in" in warning for warning in same.warnings)
