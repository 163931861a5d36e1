"""One volume to one image, from Python and from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import catnip2bids
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.volume import plane_sha256
from made_up import DEFLATE, Array, Flavour, some_image, some_labels, write_slices, write_tiff

VOXEL_UM = (3.7, 3.7, 5.0)


def level(image: Path, index: int) -> Array:
    return np.asarray(zarr.open_array(image / str(index), mode="r")[...])


@pytest.mark.parametrize("name", ["Z{plane:04d}.tif", "Z{plane:06d}_FRST_T010000.tif", "brain_10um_{plane}.tif"])
def test_a_slice_folder_becomes_an_image(tmp_path: Path, name: str) -> None:
    planes = some_image((12, 70, 65))
    write_slices(tmp_path / "slices", planes, name, Flavour(DEFLATE, rows_per_strip=4))
    made = catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM)
    np.testing.assert_array_equal(level(made.path, 0), planes)
    assert made.sha256 == tuple(plane_sha256(plane) for plane in planes)
    assert (made.shape, made.dtype) == (planes.shape, "uint16")


def test_labels_are_merged_by_mode_and_listed(tmp_path: Path) -> None:
    labels = some_labels((8, 80, 70), "uint16")
    stack = write_tiff(tmp_path / "labels.tif", labels)
    made = catnip2bids.convert(stack, tmp_path / "labels.ome.zarr", VOXEL_UM, kind="labels")
    attributes = dict(zarr.open_group(made.path, mode="r").attrs)["ome"]
    assert isinstance(attributes, dict)
    listed = attributes["image-label"]
    assert isinstance(listed, dict)
    values = {color["label-value"] for color in listed["colors"]}
    assert values == set(np.unique(labels).tolist()) - {0}
    assert set(np.unique(level(made.path, 1)).tolist()) <= values | {0}


def test_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", some_image((5, 70, 65)), "Z{plane:04d}.tif", Flavour(DEFLATE))
    with pytest.raises(UsageError, match=r"\.ome\.zarr"):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.zarr", VOXEL_UM)
    with pytest.raises(UsageError, match="not possible"):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", (0, 1, 1))
    sorted((tmp_path / "slices").iterdir())[2].unlink()
    with pytest.raises(SourceError, match="missing"):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM)
    with pytest.raises(SourceError, match="is not there"):
        catnip2bids.convert(tmp_path / "nowhere", tmp_path / "image.ome.zarr", VOXEL_UM)
    assert [path.name for path in tmp_path.iterdir()] == ["slices"]


def test_the_command_converts_and_does_not_replace(tmp_path: Path) -> None:
    stack = write_tiff(tmp_path / "stack.tif", some_image((5, 70, 65)))
    words = ["convert", str(stack), str(tmp_path / "image.ome.zarr"), "--voxel-size", "3.7", "3.7", "5"]
    command = [sys.executable, "-m", "catnip2bids", *words]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "is there already" in again.stderr
