"""The reader of OME-Zarr metadata: both versions, the order of transformations, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catnip2bids.errors import SourceError
from catnip2bids.volume.zarr import read_metadata
from catnip2bids.volume.zarr.metadata import Multiscale, read_level_0

AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def scale(*sizes: float) -> dict[str, Any]:
    return {"type": "scale", "scale": [*sizes]}


def translation(*shifts: float) -> dict[str, Any]:
    return {"type": "translation", "translation": [*shifts]}


def image(*transformations: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": [*transformations]}], **more}


def write_group(folder: Path, ome: dict[str, Any], version: str = "0.5") -> Path:
    folder.mkdir()
    if version == "0.4":
        (folder / ".zattrs").write_text(json.dumps(ome))
    else:
        (folder / "zarr.json").write_text(json.dumps({"attributes": {"ome": ome}}))
    return folder


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_both_versions_are_read(tmp_path: Path, version: str) -> None:
    label = {"properties": [{"label-value": 7, "name": "seven"}]}
    ome = {"multiscales": [image(scale(5, 3.7, 3.7))], "image-label": label, "labels": ["atlas"]}
    folder = write_group(tmp_path / "image.zarr", ome, version)
    metadata = read_metadata(folder)
    assert metadata.multiscales is not None
    assert [level.path for level in metadata.multiscales[0].levels] == ["0"]
    assert metadata.image_label is not None
    assert metadata.image_label.properties is not None
    assert [(row.value, row.name) for row in metadata.image_label.properties] == [(7, "seven")]
    assert metadata.labels == ["atlas"]
    assert read_level_0(folder).voxel_size_um == (3.7, 3.7, 5.0)


def test_transformations_of_the_image_follow_those_of_the_level() -> None:
    whole = [scale(10, 10, 10), translation(1, 2, 3)]
    described = image(scale(5, 4, 4), translation(0.5, 0, 0), coordinateTransformations=whole)
    multiscale = Multiscale.model_validate(described)
    assert multiscale.placement(multiscale.levels[0]) == ((50, 40, 40), (6, 2, 3))


def test_a_level_without_transformations_has_voxels_of_size_1() -> None:
    multiscale = Multiscale.model_validate(image())
    assert multiscale.placement(multiscale.levels[0]) == ((1, 1, 1), (0, 0, 0))


def test_a_volume_needs_less_than_the_viewer(tmp_path: Path) -> None:
    folder = write_group(tmp_path / "image.zarr", {"multiscales": [image(scale(5, 3.7, 0))], "omero": "wrong"})
    assert read_level_0(folder).path == "0"
    assert read_level_0(folder).voxel_size_um is None
    with pytest.raises(SourceError, match=r"image\.zarr: its metadata are wrong \(multiscales\.0\.datasets\.0\."):
        read_metadata(folder)
