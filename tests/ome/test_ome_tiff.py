"""OME-TIFFs as other programs see them: tifffile, libtiff, and the schema of OME-XML."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ome_types
import pytest
import tifffile

from catnip2bids import convert
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.ome import downsample, tiff
from catnip2bids.volume import Copyable, take_census
from made_up import DEFLATE, FLAVOURS, SAMPLE_FORMAT, Array, Flavour, some_image, tiff_bytes, write_slices, write_tiff

UM = (3.7, 3.7, 5.0)
KINDS = {"image": "mean of 2 x 2", "labels": "mode", "mask": "maximum"}


@pytest.fixture(autouse=True)
def _no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever is read: tifffile complains of nothing."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.records if "tifffile" in record.name] == []


def read(path: Path) -> Array:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        assert (len(file.series), series.axes) == (1, "ZYX")
        assert file.is_bigtiff == (path.suffix == ".btf")
        return series.asarray()


def same_bits(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def libtiff_finds_the_same(slices: list[Path], image: Path, work: Path) -> bool:
    """Let libtiff put the slices into one file, and compare it with the image pixel by pixel."""
    if shutil.which("tiffcmp") is None and "CI" not in os.environ:
        pytest.skip("needs libtiff's programs")
    together = ["tiffcp", "-c", "none", *map(str, slices), str(work / "all.tif")]
    subprocess.run(together, check=True, capture_output=True)
    command = ["tiffcmp", "-t", str(work / "all.tif"), str(image)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.btf"])
@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=FLAVOURS)
def test_however_slices_are_stored_their_pixels_are_copied(tmp_path: Path, flavour: Flavour, ending: str) -> None:
    volume = some_image((4, 21, 35))
    slices = write_slices(tmp_path / "slices", volume, flavour=flavour)
    made = convert(tmp_path / "slices", tmp_path / f"image{ending}", UM)
    assert made.how is not None
    assert made.how.startswith("pixels copied as they are stored")
    assert same_bits(read(made.path), volume)
    assert libtiff_finds_the_same(slices, made.path, tmp_path)
    before = found_encoded(tmp_path / "slices")
    assert found_encoded(made.path) == before


def found_encoded(path: Path) -> list[bytes]:
    volume = take_census(path).volume
    assert isinstance(volume, Copyable)
    return [b"".join(volume.read_encoded(plane).data) for plane in range(4)]


def test_libtiff_would_notice_a_pixel(tmp_path: Path) -> None:
    volume = some_image((3, 20, 30))
    made = convert(write_slices(tmp_path / "slices", volume)[0].parent, tmp_path / "image.ome.tif", UM)
    volume[1, 7, 9] += 1
    assert not libtiff_finds_the_same(write_slices(tmp_path / "other", volume), made.path, tmp_path)


TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_types_that_ome_knows_are_kept(tmp_path: Path, dtype: str, order: Literal["<", ">"]) -> None:
    volume = np.frombuffer(np.random.default_rng(0).bytes(3 * 18 * 31 * 8), np.dtype(dtype))[: 3 * 18 * 31]
    volume = volume.reshape(3, 18, 31)  # with every pattern of bits, NaN of all kinds among them
    tifffile.imwrite(tmp_path / "stack.tif", volume, byteorder=order, photometric="minisblack", metadata=None)
    for options in ({}, {"compression": "deflate"}, {"pyramid": True, "compression": "none"}):
        for ending in (".ome.tif", ".ome.btf"):
            target = tmp_path / f"image{ending}"
            with np.errstate(all="ignore"):
                made = convert(tmp_path / "stack.tif", target, UM, overwrite=True, **options)
            assert same_bits(read(made.path), volume)
            assert ome_types.from_tiff(made.path).images[0].pixels.type.value.replace("float", "float32") in {
                dtype,
                "double" if dtype == "float64" else dtype,
            }


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16"])
def test_types_that_ome_does_not_know_are_refused(tmp_path: Path, dtype: str) -> None:
    write = np.ones((2, 20, 20), dtype)
    tifffile.imwrite(tmp_path / "stack.tif", write, photometric="minisblack", metadata=None)
    with pytest.raises(SourceError, match="convert to OME-Zarr instead"):
        convert(tmp_path / "stack.tif", tmp_path / "image.ome.btf", UM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stack.tif"]


@pytest.mark.parametrize(
    "settings",
    [
        {"compression": "lzw"},
        {"compression": "zstd"},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "tile": (16, 32)},
        {"tile": (32, 16), "byteorder": ">"},
        {"compression": "zlib", "rowsperstrip": 1, "bigtiff": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("pyramid", [False, True])
def test_stacks_are_copied_with_ome_xml(tmp_path: Path, settings: dict[str, Any], dtype: str, pyramid: bool) -> None:
    volume = some_image((3, 70, 301), "uint16").astype(dtype)
    tifffile.imwrite(tmp_path / "stack.tif", volume, photometric="minisblack", metadata=None, **settings)
    made = convert(tmp_path / "stack.tif", tmp_path / "image.ome.btf", UM, pyramid=pyramid, check=True)
    assert made.how is not None
    assert "copied" in made.how
    assert same_bits(read(made.path), volume)
    assert made.sha256 == convert(tmp_path / "stack.tif", tmp_path / "image.ome.zarr", UM).sha256


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 600, 1030), (1, 1, 700), (3, 513, 257), (2, 256, 256)], ids=str)
def test_levels_are_tiled_and_merge_rows_and_columns_only(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    volume = np.random.default_rng(0).integers(0, 5, shape, dtype="u2") * 1000
    write_slices(tmp_path / "slices", volume, flavour=Flavour(DEFLATE, rows_per_strip=5))
    image = convert(tmp_path / "slices", tmp_path / "image.ome.tif", UM, kind, pyramid=True).path
    with tifffile.TiffFile(image) as file:
        levels = file.series[0].levels
        assert max(levels[-1].shape[1:]) <= 256 or len(levels) == 1
        assert len(levels) == 1 or max(levels[-2].shape[1:]) > 256
        expected = volume
        for number, level in enumerate(levels):
            assert np.array_equal(level.asarray().reshape(expected.shape), expected)  # of one plane: two axes
            page = level.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            assert (page.is_reduced, page.is_tiled) == (number > 0, number > 0)
            expected = np.stack([downsample(plane[None], (1, 2, 2), kind_of(kind))[0] for plane in expected])
    assert libtiff_reads_all(image)


def kind_of(kind: str) -> Any:
    from catnip2bids import Kind

    return Kind(kind)


def libtiff_reads_all(image: Path) -> bool:
    if shutil.which("tiffinfo") is None and "CI" not in os.environ:
        pytest.skip("needs libtiff's programs")
    done = subprocess.run(["tiffinfo", "-d", image], check=False, capture_output=True, text=True)
    return done.returncode == 0 and done.stderr == ""


def test_planes_that_are_not_stored_alike_are_encoded_anew(tmp_path: Path) -> None:
    volume = some_image((6, 25, 30))
    flavours = ["plain", "big-endian", "deflate-strips", "lzw", "packbits", "deflate-predictor"]
    for number, name in enumerate(flavours):
        write_tiff(tmp_path / f"slices/Z{number:04d}.tif", [volume[number]], FLAVOURS[name])
    made = convert(tmp_path / "slices", tmp_path / "image.ome.tif", UM)
    assert made.how == "pixels encoded anew (Deflate)"
    assert same_bits(read(made.path), volume)
    assert made.sha256 == convert(tmp_path / "slices", tmp_path / "image.ome.zarr", UM).sha256


def test_compression_that_is_wanted_is_used(tmp_path: Path) -> None:
    volume = np.zeros((3, 64, 64), "u2")
    volume[:, 3] = 7
    slices = write_slices(tmp_path / "slices", volume, flavour=Flavour(DEFLATE))
    plain = convert(tmp_path / "slices", tmp_path / "plain.ome.tif", UM, compression="none")
    again = convert(plain.path, tmp_path / "again.ome.tif", UM, compression="deflate")
    assert (plain.how, again.how) == ("pixels encoded anew (uncompressed)", "pixels encoded anew (Deflate)")
    assert plain.path.stat().st_size > volume.nbytes > 3 * again.path.stat().st_size
    for made in (plain, again):
        assert same_bits(read(made.path), volume)
        assert libtiff_finds_the_same(slices, made.path, tmp_path)


def test_missing_sample_formats_and_other_photometry_change_no_value(tmp_path: Path) -> None:
    volume = some_image((2, 12, 15), "uint8")
    (tmp_path / "slices").mkdir()
    for number, plane in enumerate(volume):
        data = tiff_bytes([plane], Flavour(), {262: (0,)} if number else {SAMPLE_FORMAT: (1,)})
        (tmp_path / f"slices/Z{number:04d}.tif").write_bytes(data)
    made = convert(tmp_path / "slices", tmp_path / "image.ome.tif", UM)
    assert same_bits(read(made.path), volume)


def test_ome_xml_says_what_the_image_is(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", some_image((3, 20, 30)))
    image = convert(tmp_path / "slices", tmp_path / 'c-Fos < & " ü.ome.tif', UM).path
    text = str(tifffile.tiffcomment(image))
    ome_types.validate_xml(text)
    pixels = ome_types.from_xml(text).images[0].pixels
    assert (pixels.size_x, pixels.size_y, pixels.size_z, pixels.size_c, pixels.size_t) == (30, 20, 3, 1, 1)
    assert (pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z) == UM
    assert text.count('PhysicalSizeXUnit="\u00b5m"') == text.count('PhysicalSizeZUnit="\u00b5m"') == 1
    assert pixels.channels[0].name == 'c-Fos < & " ü'
    assert pixels.tiff_data_blocks[0].plane_count == 3
    assert image.read_bytes().index(b"<OME") < 1024


def test_a_classic_file_does_not_grow_beyond_its_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "_CLASSIC_BYTES", 20_000)
    write_slices(tmp_path / "slices", some_image((9, 40, 40)))
    with pytest.raises(UsageError, match=r"\.ome\.btf"):
        convert(tmp_path / "slices", tmp_path / "image.ome.tif", UM)
    assert not (tmp_path / "image.ome.tif").exists()
    assert len(read(convert(tmp_path / "slices", tmp_path / "image.ome.btf", UM).path)) == 9
