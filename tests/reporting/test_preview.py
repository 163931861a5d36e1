"""Small versions of volumes: of levels where there are some, of planes from all over the file where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catnip2bids import convert
from catnip2bids.choices import Kind
from catnip2bids.errors import DatasetError
from catnip2bids.reporting import preview
from catnip2bids.reporting.preview import Preview, display_window, read_preview
from made_up import some_image, some_labels, write_slices
from runs import level, ome

SHAPE = (12, 300, 280)
SIZE_ZYX = (5.0, 3.7, 3.7)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take everything above 150 pixels for large."""
    monkeypatch.setattr(preview, "_LONGEST_SIDE", 150)


def converted(tmp_path: Path, name: str, kind: Kind = Kind.IMAGE, *, pyramid: bool = False) -> Path:
    planes = some_image(SHAPE) if kind == Kind.IMAGE else some_labels(SHAPE)
    write_slices(tmp_path / "slices", planes)
    return convert(tmp_path / "slices", tmp_path / name, (3.7, 3.7, 5.0), kind, pyramid=pyramid).path


def test_of_an_ome_zarr_it_is_the_finest_level_that_is_small(tmp_path: Path) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    seen = read_preview(image, SHAPE, SIZE_ZYX, Kind.IMAGE)
    assert np.array_equal(seen.values, level(image, 1))
    sizes = [size * n for size, n in zip(SIZE_ZYX, SHAPE, strict=True)]
    assert np.multiply(seen.step_um, seen.values.shape) == pytest.approx(sizes)


def test_without_a_small_level_it_is_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    monkeypatch.setattr(preview, "_LONGEST_SIDE", 10)
    last = len(ome(image)["multiscales"][0]["datasets"]) - 1
    assert np.array_equal(read_preview(image, SHAPE, SIZE_ZYX, Kind.IMAGE).values, level(image, last))


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("kind", [Kind.IMAGE, Kind.LABELS])
def test_of_an_ome_tiff_it_is_planes_from_all_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, pyramid: bool
) -> None:
    monkeypatch.setattr(preview, "_MOST_PLANES", 4)
    image = converted(tmp_path, "image.ome.btf", kind, pyramid=pyramid)
    seen = read_preview(image, SHAPE, SIZE_ZYX, kind)
    assert seen.planes == (1, 4, 7, 10)
    assert seen.values.shape == (4, 150, 140)
    assert seen.step_um == pytest.approx((15.0, 7.4, 7.4))
    if kind == Kind.LABELS:
        assert set(np.unique(seen.values)) <= set(np.unique(some_labels(SHAPE)))


def test_values_are_taken_from_the_same_places_of_another_grid() -> None:
    coarse = Preview(np.arange(8).reshape(2, 2, 2), (1.0, 1.0, 1.0), (0, 1))
    fine = Preview(np.zeros((4, 2, 6)), (0.5, 1.0, 1 / 3), (0, 1, 2, 3))
    assert coarse.on_grid_of(fine).shape == (4, 2, 6)
    assert coarse.on_grid_of(fine)[:, 0, 0].tolist() == [0, 0, 4, 4]
    assert coarse.on_grid_of(fine)[0, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_the_display_window_is_that_of_the_image(tmp_path: Path) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    window = ome(image)["omero"]["channels"][0]["window"]
    assert display_window(image, np.zeros(1)) == (window["start"], window["end"])


def test_without_one_it_follows_from_the_values(tmp_path: Path) -> None:
    low, high = display_window(tmp_path / "image.ome.btf", np.array([0.0, 1.0, 2.0, 1000.0, np.nan]))
    assert 0 <= low < 1 < high <= 1000


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.btf"])
def test_an_image_that_is_damaged_is_named(tmp_path: Path, ending: str) -> None:
    image = converted(tmp_path, f"image{ending}")
    (image / "zarr.json" if image.is_dir() else image).write_bytes(b"?")
    with pytest.raises(DatasetError, match=f"image{ending}: cannot be read"):
        read_preview(image, SHAPE, SIZE_ZYX, Kind.IMAGE)
