"""Small versions of volumes: of levels where there are some, of planes from all over the file where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catnip2bids import convert
from catnip2bids.enums import Kind
from catnip2bids.reporting import preview
from catnip2bids.reporting.preview import DamagedImageError, Preview
from catnip2bids.reporting.views import Brain
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


def preview_of(image: Path, kind: Kind = Kind.IMAGE) -> Preview:
    return Preview(image, SHAPE, SIZE_ZYX, kind)


def test_slices_of_an_ome_zarr_are_of_the_finest_level_that_is_narrow(tmp_path: Path) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    seen, expected = preview_of(image), level(image, 1)
    assert seen.shape == expected.shape
    for axis, n in enumerate(seen.shape):
        assert np.array_equal(seen.slice(axis, n // 3), expected.take(n // 3, axis=axis))
    assert seen.extent_um == pytest.approx((60.0, 1110.0, 1036.0))
    assert seen.planes == [1, 3, 5, 7, 9, 11]


def test_without_a_narrow_level_it_is_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    monkeypatch.setattr(preview, "_LONGEST_SIDE", 10)
    monkeypatch.setattr(preview, "_MOST_VOXELS", 10)
    last = len(ome(image)["multiscales"][0]["datasets"]) - 1
    assert np.array_equal(preview_of(image).slice(0, 1), level(image, last)[1])
    assert np.array_equal(preview_of(image).whole, level(image, last))


def test_as_a_whole_it_is_the_finest_level_that_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    assert np.array_equal(preview_of(image).whole, level(image))
    monkeypatch.setattr(preview, "_MOST_VOXELS", np.prod(SHAPE) - 1)
    assert np.array_equal(preview_of(image).whole, level(image, 1))


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("kind", [Kind.IMAGE, Kind.LABELS])
def test_of_an_ome_tiff_it_is_planes_from_all_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, pyramid: bool
) -> None:
    monkeypatch.setattr(preview, "_MOST_PLANES", 4)
    seen = preview_of(converted(tmp_path, "image.ome.btf", kind, pyramid=pyramid), kind)
    assert seen.planes == [1, 4, 7, 10]
    assert seen.shape == seen.whole.shape == (4, 150, 140)
    for axis in range(3):
        assert np.array_equal(seen.slice(axis, 2), seen.whole.take(2, axis=axis))
    if kind == Kind.LABELS:
        assert set(np.unique(seen.whole)) <= set(np.unique(some_labels(SHAPE)))


def test_slices_of_another_grid_show_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_LONGEST_SIDE", 300)
    fine, planes = preview_of(converted(tmp_path, "fine.ome.zarr")), some_image(SHAPE)
    write_slices(tmp_path / "few", planes[::4, ::2, ::2])
    few = convert(tmp_path / "few", tmp_path / "few.ome.zarr", (7.4, 7.4, 20.0)).path
    coarse = Preview(few, (3, 150, 140), (20.0, 7.4, 7.4), Kind.IMAGE)
    assert fine.shape == SHAPE
    seen = coarse.slice_like(fine, 0, 6)
    assert np.array_equal(seen, planes[4, ::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert coarse.slice_like(fine, 1, 299).shape == (12, 280)


def test_the_display_window_is_that_of_the_image(tmp_path: Path) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    window = ome(image)["omero"]["channels"][0]["window"]
    assert preview_of(image).window == (window["start"], window["end"])


def test_without_one_it_follows_from_the_values(tmp_path: Path) -> None:
    seen = preview_of(converted(tmp_path, "image.ome.btf"))
    low, high = seen.window
    assert seen.whole.min() <= low < high <= seen.whole.max()


@pytest.mark.parametrize("values", [[-3.4028235e38, 3.4028235e38], [3.4028235e38] * 2, [np.nan] * 2, [7, 7], [7, 9]])
def test_a_histogram_has_room_for_any_range(tmp_path: Path, values: list[float]) -> None:
    volume = np.array(values, "float32").repeat(40).reshape(2, 8, 5)
    write_slices(tmp_path / "slices", volume)
    image = convert(tmp_path / "slices", tmp_path / "image.ome.zarr", SIZE_ZYX[::-1]).path
    found = Brain(Preview(image, (2, 8, 5), SIZE_ZYX, Kind.IMAGE), None, None, (), ()).histogram()
    assert np.isfinite(found.edges).all()
    assert (np.diff(found.edges) > 0).all()
    assert found.n_voxels.sum() == np.isfinite(volume).sum()
    if found.n_voxels.any():
        assert found.edges[0] <= volume.min() <= volume.max() <= found.edges[-1]


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.btf"])
def test_an_image_that_is_damaged_is_named(tmp_path: Path, ending: str) -> None:
    image = converted(tmp_path, f"image{ending}")
    (image / "zarr.json" if image.is_dir() else image).write_bytes(b"?")
    with pytest.raises(DamagedImageError, match=f"image{ending}: cannot be read") as caught:
        _ = preview_of(image).shape
    assert caught.value.image == image


def test_a_chunk_that_is_damaged_names_the_image(tmp_path: Path) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    seen = preview_of(image)
    for chunk in (path for path in (image / "1").rglob("*") if path.is_file() and path.name != "zarr.json"):
        chunk.write_bytes(b"damaged" * 10)
    with pytest.raises(DamagedImageError, match=r"image\.ome\.zarr: cannot be read"):
        seen.slice(0, 0)


def edit(document: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(document.read_bytes())
    change(content)
    document.write_text(json.dumps(content))


def test_a_display_window_that_no_float_can_hold_names_the_image(tmp_path: Path) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    edit(
        image / "zarr.json",
        lambda group: group["attributes"]["ome"]["omero"]["channels"][0]["window"].update(start=10**400),
    )
    with pytest.raises(DamagedImageError, match=r"image\.ome\.zarr: cannot be read"):
        _ = preview_of(image).window


def test_chunks_that_are_too_large_are_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = converted(tmp_path, "image.ome.zarr")
    monkeypatch.setattr(preview, "MOST_CHUNK_BYTES", 2**10)
    with pytest.raises(
        DamagedImageError,
        match=r"image\.ome\.\w+: is not drawn: its chunks have .*, and report reads chunks of at most",
    ):
        _ = preview_of(image).shape


@pytest.mark.parametrize("options", [{"rowsperstrip": 300, "compression": "zlib"}, {"tile": (512, 512)}])
def test_a_plane_that_takes_too_much_memory_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    image = tmp_path / "image.ome.tif"
    tifffile.imwrite(image, some_image(SHAPE), photometric="minisblack", metadata={"axes": "ZYX"}, **options)
    assert preview_of(image).shape[0] == SHAPE[0]
    monkeypatch.setattr(preview, "MOST_READ_BYTES", 2 * 300 * 280)
    with pytest.raises(
        DamagedImageError,
        match=r"image\.ome\.\w+: is not drawn: a plane takes .*, and report decodes planes of at most",
    ):
        _ = preview_of(image).shape


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.btf"])
def test_a_plane_in_detail_is_of_the_finest_level_that_a_screen_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    image = converted(tmp_path, f"image{ending}")
    monkeypatch.setattr(preview, "_LONGEST_DETAIL", 300)
    seen = preview_of(image)
    assert seen.shape[1:] == (150, 140)
    assert np.array_equal(seen.details([9, 7]), some_image(SHAPE)[[9, 7]])
    monkeypatch.setattr(preview, "_LONGEST_DETAIL", 299)
    [detail] = preview_of(image).details([7])
    assert detail.shape == (150, 140)


def test_slices_know_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = preview_of(converted(tmp_path, "image.ome.zarr"))
    assert seen.span(1, 0) == (-0.5, 1.5)  # two rows of level 0
    assert seen.span(2, 139) == (277.5, 279.5)
    monkeypatch.setattr(preview, "_MOST_PLANES", 4)
    assert preview_of(converted(tmp_path / "tiff", "image.ome.btf")).span(0, 2) == (6.5, 7.5)  # one plane that was read
