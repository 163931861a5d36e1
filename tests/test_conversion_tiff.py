"""Converting to OME-TIFF and back: nothing half, nothing lost, whatever the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catnip2bids import convert
from catnip2bids.choices import Kind
from catnip2bids.engine import Resources, StoppedError, stream, stream_volume, take_up_stream
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.ome import Described, OmeTiffImage
from catnip2bids.volume import Copyable, Volume, take_census
from made_up import DEFLATE, SHARED, Flavour, found, some_image, some_labels, write_slices
from runs import command

UM = (3.7, 3.7, 5.0)


def test_back_and_forth_no_pixel_changes(tmp_path: Path) -> None:
    volume = some_image((9, 40, 50), "int16")
    source = write_slices(tmp_path / "slices", volume)[0].parent
    hashes = set()
    for name in ("a.ome.btf", "b.ome.zarr", "c.ome.tif", "d.ome.zarr", "e.ome.btf"):
        made = convert(source, tmp_path / name, UM, check=True)
        hashes.add(made.sha256)
        source = made.path
    assert len(hashes) == 1
    assert np.array_equal(tifffile.imread(source), volume)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["image.tif"], "must end in .ome.zarr, .ome.btf or .ome.tif"),
        (["image.ome.tiff"], "must end in"),
        (["image.ome.zarr", "--compression", "none"], "--compression is for OME-TIFF"),
        (["slices/image.ome.tif"], "keep them apart"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: list[str], message: str) -> None:
    write_slices(tmp_path / "slices", some_image((2, 5, 6)))
    target, *options = words
    done = command("convert", tmp_path / "slices", tmp_path / target, "--voxel-size", 1, 1, 1, *options)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_the_command_says_which_way_pixels_went(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", some_image((2, 5, 6)), flavour=Flavour(DEFLATE))
    words = ["convert", tmp_path / "slices", tmp_path / "image.ome.btf", "--voxel-size", 1, 1, 1]
    done = command(*words, "--pyramid", "--check")
    assert done.returncode == 0
    assert "image.ome.btf: pixels copied as they are stored (Deflate)" in done.stderr
    assert command(*words).returncode == 2
    done = command(*words, "--overwrite", "--compression", "none")
    assert done.returncode == 0
    assert "image.ome.btf: pixels encoded anew (uncompressed)" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.btf", "slices"]


def test_damage_inside_of_a_strip_is_found_by_checking(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", some_image((4, 30, 40)), flavour=Flavour(DEFLATE))
    data = bytearray(slices[2].read_bytes())
    with tifffile.TiffFile(slices[2]) as file:
        at = file.pages[0].aspage().dataoffsets[0]
    data[at + 100 : at + 110] = bytes(10)
    slices[2].write_bytes(data)
    with pytest.raises(SourceError, match=r"Z0003\.tif"):
        convert(tmp_path / "slices", tmp_path / "image.ome.btf", UM, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slices"]


def test_labels_that_cannot_be_trusted_are_refused_without_being_asked(tmp_path: Path) -> None:
    volume = some_labels((3, 12, 13)).astype("float32")
    volume[1, 3, 4] = 2.0**24
    write_slices(tmp_path / "slices", volume)
    with pytest.raises(SourceError, match=r"Z0002\.tif: plane 2 "):
        convert(tmp_path / "slices", tmp_path / "image.ome.btf", UM, Kind.LABELS)


@pytest.mark.parametrize("metadata", ["ImageJ", "OME"])
def test_stacks_of_several_channels_are_refused(tmp_path: Path, metadata: str) -> None:
    pixels = some_image((6, 8, 9)).reshape(3, 2, 8, 9)
    path = tmp_path / f"channels{'.ome' if metadata == 'OME' else ''}.tif"
    tifffile.imwrite(path, pixels, **{metadata.lower(): True}, metadata={"axes": "ZCYX"})  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"holds 2 channels, not one volume"):
        convert(path, tmp_path / "image.ome.btf", UM)


def image_of(volume: Volume, file: Path, *, copies: bool) -> OmeTiffImage:
    assert isinstance(volume, Copyable)
    return OmeTiffImage(
        file=file,
        described=Described("image", "channel", "", volume.shape, volume.dtype.name, (5.0, 3.7, 3.7)),
        kind=Kind.IMAGE,
        encoding=volume.encoding if copies else None,
        pyramid=True,
    )


@pytest.mark.parametrize("copies", [True, False], ids=["copied", "encoded"])
def test_stopped_after_any_plane_it_goes_on_to_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    monkeypatch.setattr(stream, "BYTES_PER_MARKER", 30_000)  # a plane has about half as many
    write_slices(tmp_path / "slices", some_image((7, 30, 300)), flavour=Flavour(DEFLATE, rows_per_strip=4))
    volume, resources = found(take_census(tmp_path / "slices")), Resources(2, 2**28)
    whole = image_of(volume, tmp_path / "whole", copies=copies)
    expected = stream_volume(take_up_stream(volume, whole), resources)
    for n_planes in range(1, 8):
        image, markers = image_of(volume, tmp_path / f"file{n_planes}", copies=copies), tmp_path / f"marks{n_planes}"
        markers.mkdir()
        told: list[int] = []

        def stop(n_voxels: int, told: list[int] = told, n_planes: int = n_planes) -> None:
            told.append(n_voxels)
            if len(told) == n_planes:
                raise StoppedError

        with pytest.raises(StoppedError):
            stream_volume(take_up_stream(volume, image, markers), resources, stop)
        with image.file.open("ab") as file:
            file.write(b"what was not marked any more")
        again = take_up_stream(volume, image, markers)
        assert 0 <= again.start <= n_planes
        assert again.start > 0 or n_planes < 4
        assert again.n_voxels == (7 - again.start) * 30 * 300
        result = stream_volume(again, resources)
        assert (result.sha256, result.value_range) == (expected.sha256, expected.value_range)
        assert image.file.read_bytes() == whole.file.read_bytes()


def test_a_file_that_is_shorter_than_its_marker_begins_anew(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", some_image((3, 10, 10)))
    volume = found(take_census(tmp_path / "slices"))
    image = image_of(volume, tmp_path / "file", copies=True)
    stream_volume(take_up_stream(volume, image, tmp_path), Resources(1, 2**28))
    written = image.file.read_bytes()
    assert take_up_stream(volume, image, tmp_path).start == 3
    image.file.write_bytes(written[:-1])
    assert take_up_stream(volume, image, tmp_path).start == 0
    stream_volume(take_up_stream(volume, image, tmp_path), Resources(1, 2**28))
    assert image.file.read_bytes() == written


def test_too_little_memory_is_said_before_anything_is_written(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", some_image((2, 2000, 2000)))
    with pytest.raises(UsageError, match=r"its planes need at least 1\d\d MiB of memory"):
        convert(tmp_path / "slices", tmp_path / "image.ome.btf", UM, memory_bytes=130 * 2**20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slices"]


ZOO = SHARED / "data/tiff_zoo"


@pytest.mark.skipif(not ZOO.is_dir(), reason="needs the project's own data")
def test_all_that_can_be_read_of_the_zoo_goes_back_and_forth(tmp_path: Path) -> None:
    hashes: dict[str, tuple[str, ...]] = {}
    for path in sorted(path for path in ZOO.rglob("*") if path.suffix in (".tif", ".tiff")):
        try:
            volume = take_census(path).volume
        except SourceError:
            continue
        if volume is None or volume.dtype.name in {"bool", "float16", "float64", "int64", "uint64"}:
            continue
        name = path.relative_to(ZOO).as_posix().replace("/", "-")
        there = convert(path, tmp_path / f"{name}.ome.btf", UM, check=True)
        zarr = convert(there.path, tmp_path / f"{name}.ome.zarr", UM)
        back = convert(zarr.path, tmp_path / f"{name}.ome.tif", UM, compression="none", check=True)
        assert there.sha256 == zarr.sha256 == back.sha256, path
        stored = tifffile.imread(path).astype(volume.dtype)  # in native byte order
        assert tifffile.imread(back.path).tobytes() == stored.tobytes()
        hashes[name] = there.sha256
    assert len(hashes) > 15
    same = json.dumps({name: values for name, values in hashes.items() if "issue_69" in name or "gradient" in name})
    assert hashes["issue_69_lzw.tiff"] == hashes["issue_69_packbits.tiff"], same


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the project's own data")
def test_slices_of_clearmap_aggregate(tmp_path: Path) -> None:
    folders = {path.parent for path in (SHARED / "data/series/clearmap1_matlab").rglob("*.tif")}
    assert folders
    for folder in folders:
        slices: list[Any] = sorted(folder.glob("*.tif"))
        if len(slices) < 2:
            continue
        made = convert(folder, tmp_path / f"{folder.name}.ome.tif", UM)
        with tifffile.TiffFile(made.path) as file:
            assert made.how == "pixels copied as they are stored (PackBits)"
            assert file.pages[0].aspage().tags["XResolution"].value != (72, 1)
            assert np.array_equal(file.asarray(), np.stack([tifffile.imread(path) for path in slices]))
