"""OME-TIFFs hold what was read, however the source is stored: held against tifffile and libtiff.

Their OME-XML is valid, and true of the file it is in.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from catnip2bids.enums import Compression
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.ome import OmeXmlFields, ome_tiff, tiff_directory
from catnip2bids.ome.ome_tiff import ome_xml, pixel_type
from catnip2bids.volume import Copyable, Encoding, Kind, Volume, inspect_slices, inspect_stack, plane_sha256
from fork_server import forked
from in_memory import VolumeInMemory
from made_up import (
    BITS,
    DEFLATE,
    FLAVOURS,
    LZW,
    OLD_DEFLATE,
    PACKBITS,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    Array,
    Flavour,
    found,
    read_all,
    some_image,
    some_labels,
    write_slices,
    write_tiff,
)
from ome_tiffs import (
    Writer,
    decoded_by_libtiff,
    halved,
    image_of,
    levels_of,
    libtiff,
    needs_libtiff,
    ome_of,
    pages_of,
    same_bits,
    segments_of,
    stored_in,
    write_image,
    write_with_tifffile,
)
from traced import peak_bytes_here

if TYPE_CHECKING:
    import ome_types

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
FLOATS = ("float32", "float64")


def _own(**how: Any) -> Writer:
    flavour = Flavour(**how)
    return lambda path, planes: write_tiff(path, planes, flavour)


def _tifffile(**how: Any) -> Writer:
    return partial(write_with_tifffile, **how)


SOURCES: dict[str, Writer] = {
    **{name: partial(write_tiff, flavour=flavour) for name, flavour in FLAVOURS.items()},
    "big-endian-deflate": _own(compression=DEFLATE, big_endian=True, rows_per_strip=4),
    "big-endian-lzw-predictor": _own(compression=LZW, big_endian=True, rows_per_strip=3, predictor=True),
    "bigtiff-big-endian-packbits": _own(compression=PACKBITS, big_endian=True, big_tiff=True, rows_per_strip=1),
    "old-deflate-predictor": _own(compression=OLD_DEFLATE, predictor=True),
    "lzw-predictor": _own(compression=LZW, predictor=True, rows_per_strip=2),
    "zstd": _tifffile(compression="zstd", rowsperstrip=5),
    "zstd-predictor": _tifffile(compression="zstd", predictor=2, rowsperstrip=1),
    "tiles": _tifffile(tile=(16, 32)),
    "deflate-tiles": _tifffile(compression="zlib", tile=(16, 16)),
    "lzw-predictor-tiles-big-endian": _tifffile(compression="lzw", predictor=2, tile=(16, 16), byteorder=">"),
    "zstd-tiles-bigtiff": _tifffile(compression="zstd", tile=(32, 16), bigtiff=True),
}
OF_FLOATS: dict[str, Writer] = {
    "deflate-predictor-3": _tifffile(compression="zlib", predictor=3, rowsperstrip=4),
    "lzw-predictor-3-big-endian": _tifffile(compression="lzw", predictor=3, rowsperstrip=1, byteorder=">"),
    "zstd-predictor-3-tiles": _tifffile(compression="zstd", predictor=3, tile=(16, 16)),
}


def volume_of(folder: Path, write: Writer, planes: Array) -> Volume:
    return found(inspect_stack(write(folder / "source.tif", planes)))


def is_possible(name: str, dtype: str) -> bool:
    """Horizontal differences are of integers (TIFF 6.0, section 14)."""
    return np.dtype(dtype).kind != "f" or "predictor" not in name


EVERY_SOURCE = [(name, dtype) for name in SOURCES for dtype in DTYPES if is_possible(name, dtype)]
FEW_DTYPES = ("uint8", "int16", "float32", "float64")
"""One of each size: bytes are copied, whatever they mean."""


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, marks=[pytest.mark.slow] * (dtype not in ("int16", "float32")))
        for name, dtype in EVERY_SOURCE
        if dtype in FEW_DTYPES or name in ("plain", "deflate-predictor")
    ],
)
def test_segments_are_copied_as_they_are_and_pixels_stay(tmp_path: Path, name: str, dtype: str) -> None:
    planes = some_image((3, 37, 23), dtype)
    volume = volume_of(tmp_path, SOURCES[name], planes)
    for big in (True, False):
        image = image_of(volume, tmp_path / f"{big}.tif", big=big)
        assert image.copies
        made = write_image(volume, image)
        assert made.sha256 == tuple(plane_sha256(plane) for plane in planes)
        (level,) = levels_of(image.file)
        assert same_bits(level, planes)
        assert segments_of(image.file) == segments_of(tmp_path / "source.tif")
        for (ours,), (theirs,) in zip(pages_of(image.file), pages_of(tmp_path / "source.tif"), strict=True):
            assert stored_in(ours) == stored_in(theirs)


@pytest.mark.parametrize("compression", [Compression.KEEP, Compression.DEFLATE])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", OF_FLOATS)
def test_predictors_that_bio_formats_cannot_undo_are_not_copied(
    tmp_path: Path, name: str, dtype: str, compression: Compression
) -> None:
    planes = some_image((3, 37, 23), dtype)
    volume = volume_of(tmp_path, OF_FLOATS[name], planes)
    image = image_of(volume, tmp_path / "image.tif", compression=compression)
    assert not image.copies
    assert "predictor" in image.summary
    assert write_image(volume, image).sha256 == tuple(plane_sha256(plane) for plane in planes)
    assert same_bits(levels_of(image.file)[0], planes)
    stored = {(int(page.compression), int(page.predictor)) for (page,) in pages_of(image.file)}
    assert stored == {(DEFLATE, 1)}


@pytest.mark.parametrize(("dtype", "copies"), [("float32", True), ("float64", False)])
def test_differences_of_eight_bytes_are_not_copied(tmp_path: Path, dtype: str, copies: bool) -> None:
    """Some programs write horizontal differences of the bits of floating point numbers."""
    planes = some_image((2, 20, 30), dtype)
    volume = volume_of(tmp_path, SOURCES["deflate-strips"], planes)
    assert isinstance(volume, Copyable)
    assert volume.encoding is not None
    encoding = replace(volume.encoding, predictor=2)
    assert replace(image_of(volume, tmp_path / "image.tif"), source_encoding=encoding).copies == copies


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("width", [1, 8, 23])
def test_black_and_white_pixels_have_one_bit(tmp_path: Path, width: int, compression: Compression) -> None:
    planes = some_image((3, 37, width), "uint8") % 3 == 0
    volume = volume_of(tmp_path, _tifffile(rowsperstrip=5), planes)
    for big in (True, False):
        image = image_of(volume, tmp_path / "image.tif", Kind.MASK, big=big, compression=compression)
        assert write_image(volume, image).sha256 == tuple(plane_sha256(plane) for plane in planes)
        assert same_bits(levels_of(image.file)[0], planes)
        assert {page.bitspersample for (page,) in pages_of(image.file)} == {1}
        assert same_bits(read_all(found(inspect_stack(image.file))), planes)
        with Image.open(image.file) as opened:
            opened.seek(2)
            assert opened.mode == "1"
            np.testing.assert_array_equal(np.asarray(opened), planes[2])


@needs_libtiff
def test_libtiff_reads_black_and_white_pixels(tmp_path: Path) -> None:
    planes = some_image((3, 37, 23), "uint8") % 3 == 0
    image = image_of(volume_of(tmp_path, _tifffile(), planes), tmp_path / "image.tif", Kind.MASK)
    write_image(found(inspect_stack(tmp_path / "source.tif")), image)
    assert same_bits(decoded_by_libtiff(image.file), planes)


@pytest.mark.parametrize("kind", Kind)
def test_levels_of_black_and_white_pixels_have_one_bit_too(tmp_path: Path, kind: Kind) -> None:
    planes = some_image((2, 523, 301), "uint8") % 3 == 0
    volume = volume_of(tmp_path, _tifffile(), planes)
    image = image_of(volume, tmp_path / "image.tif", kind, pyramid=True)
    write_image(volume, image)
    for level, expected in zip(levels_of(image.file), halved(planes, kind, 3), strict=True):
        assert same_bits(level, expected)
    assert {page.bitspersample for levels in pages_of(image.file) for page in levels} == {1}


@needs_libtiff
@pytest.mark.parametrize("name", SOURCES | OF_FLOATS)
def test_libtiff_reads_the_same(tmp_path: Path, name: str) -> None:
    planes = some_image((3, 37, 23), "float32" if name in OF_FLOATS else "uint16")
    volume = volume_of(tmp_path, (SOURCES | OF_FLOATS)[name], planes)
    plain = write_with_tifffile(tmp_path / "plain.tif", planes)
    for big in (True, False):
        image = image_of(volume, tmp_path / f"{big}.tif", big=big)
        write_image(volume, image)
        assert same_bits(decoded_by_libtiff(image.file), planes)
        if "tiles" not in name:  # which tiffcmp cannot read
            libtiff("tiffcmp", "-t", plain, image.file)


@needs_libtiff
@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_encoded_anew_is_the_same(tmp_path: Path, dtype: str, compression: Compression) -> None:
    """Planes in LZW are not what is asked for, and with fill order 2 they cannot be copied."""
    planes = some_image((3, 37, 23), dtype)
    tags = {266: [2]} if compression == Compression.KEEP else None
    reverse = np.packbits(np.unpackbits(planes.view("u1")).reshape(-1, 8)[:, ::-1]).view(dtype).reshape(planes.shape)
    path = write_tiff(tmp_path / "source.tif", reverse if tags else planes, Flavour(1 if tags else LZW), tags)
    volume = found(inspect_stack(path))
    image = image_of(volume, tmp_path / "image.tif", big=False, compression=compression)
    assert not image.copies
    assert write_image(volume, image).sha256 == tuple(plane_sha256(plane) for plane in planes)
    assert same_bits(levels_of(image.file)[0], planes)
    assert same_bits(decoded_by_libtiff(image.file), planes)
    wanted = 1 if compression == Compression.NONE else DEFLATE
    assert {int(page.compression) for (page,) in pages_of(image.file)} == {wanted}
    assert ("Deflate" if wanted == DEFLATE else "uncompressed") in image.summary


@pytest.mark.parametrize(
    ("stored", "wanted", "copies"),
    [
        (DEFLATE, Compression.DEFLATE, True),
        (OLD_DEFLATE, Compression.DEFLATE, True),
        (DEFLATE, Compression.NONE, False),
        (1, Compression.NONE, True),
        (1, Compression.DEFLATE, False),
        (PACKBITS, Compression.DEFLATE, False),
        (PACKBITS, Compression.KEEP, True),
    ],
)
def test_pixels_are_copied_where_their_compression_is_what_is_asked_for(
    tmp_path: Path, stored: int, wanted: Compression, copies: bool
) -> None:
    planes = some_image((2, 20, 30))
    volume = volume_of(tmp_path, _own(compression=stored, rows_per_strip=6), planes)
    image = image_of(volume, tmp_path / "image.tif", compression=wanted, inspect=False)
    assert (image.copies, image.decodes) == (copies, not copies)
    assert len(write_image(volume, image).sha256) == (0 if copies else 2)
    assert (segments_of(image.file) == segments_of(tmp_path / "source.tif")) == copies
    np.testing.assert_array_equal(levels_of(image.file)[0], planes)


# ---- lower levels


@needs_libtiff
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("name", ["deflate-row-per-strip", "big-endian", "tiles"])
def test_levels_are_those_of_the_planes(tmp_path: Path, kind: Kind, dtype: str, name: str) -> None:
    planes = some_labels((2, 523, 301), dtype) if kind != Kind.IMAGE else some_image((2, 523, 301), dtype)
    volume = volume_of(tmp_path, SOURCES[name], planes)
    big = name != "tiles"
    image = image_of(volume, tmp_path / "image.tif", kind, big=big, pyramid=True)
    write_image(volume, image)
    levels = levels_of(image.file)
    assert [level.shape for level in levels] == [(2, 523, 301), (2, 262, 151), (2, 131, 76)]
    for level, expected in zip(levels, halved(planes, kind, 3), strict=True):
        assert same_bits(level, expected)
    assert segments_of(image.file) == segments_of(tmp_path / "source.tif")
    for page, *below in pages_of(image.file):
        assert (int(page.subfiletype), [int(lower.subfiletype) for lower in below]) == (0, [1, 1])
        assert all(page.dtype == lower.dtype for lower in below)
    assert same_bits(decoded_by_libtiff(image.file), planes)
    told = libtiff("tiffinfo", image.file)
    assert told.count("=== TIFF directory") == 2
    assert told.count("reduced-resolution") == 4


def test_levels_of_planes_that_are_encoded_anew(tmp_path: Path) -> None:
    planes = some_image((2, 523, 301))
    volume = volume_of(tmp_path, SOURCES["lzw"], planes)
    image = image_of(volume, tmp_path / "image.tif", compression=Compression.NONE, pyramid=True)
    write_image(volume, image)
    for level, expected in zip(levels_of(image.file), halved(planes, Kind.IMAGE, 3), strict=True):
        assert same_bits(level, expected)


def test_pixel_sizes_of_levels_are_in_the_tags(tmp_path: Path) -> None:
    volume = volume_of(tmp_path, SOURCES["plain"], some_image((1, 523, 301)))
    image = image_of(volume, tmp_path / "image.tif", pyramid=True)
    write_image(volume, image)
    ((*levels,),) = pages_of(image.file)
    for index, page in enumerate(levels):
        assert page.resolutionunit == tifffile.RESUNIT.CENTIMETER
        np.testing.assert_allclose(page.resolution, 10_000 / (3.7 * 2**index), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "n_levels"),
    [((1, 1, 1), 1), ((5, 256, 256), 1), ((1, 257, 1), 2), ((1, 1, 1025), 4), ((1, 512, 513), 3), ((300, 4, 4), 1)],
)
def test_levels_end_where_a_plane_is_small(tmp_path: Path, shape: tuple[int, int, int], n_levels: int) -> None:
    planes = some_image(shape, "uint8")
    volume = volume_of(tmp_path, SOURCES["deflate"], planes)
    image = image_of(volume, tmp_path / "image.tif", pyramid=True)
    write_image(volume, image)
    levels = levels_of(image.file)
    assert len(levels) == n_levels
    for level, expected in zip(levels, halved(planes, Kind.IMAGE, n_levels), strict=True):
        assert same_bits(level, expected)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70)),
    source=st.sampled_from([(name, dtype) for name, dtype in EVERY_SOURCE if dtype in ("uint8", "uint16", "float32")]),
    kind=st.sampled_from(Kind),
    big=st.booleans(),
    pyramid=st.booleans(),
    compression=st.sampled_from(Compression),
    strip_bytes=st.sampled_from([1, 300, 2**18]),
)
def test_whatever_the_shape_and_the_choices(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    source: tuple[str, str],
    kind: Kind,
    big: bool,
    pyramid: bool,
    compression: Compression,
    strip_bytes: int,
) -> None:
    """Strips, tiles and levels are so small here that small planes have several."""
    folder = tmp_path_factory.mktemp("any")
    planes = some_labels(shape, source[1]) if kind != Kind.IMAGE else some_image(shape, source[1])
    volume = volume_of(folder, (SOURCES | OF_FLOATS)[source[0]], planes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ome_tiff, "_STRIP_BYTES", strip_bytes)
        patch.setattr(ome_tiff, "_TILE", (16, 16))
        patch.setattr(ome_tiff, "LARGEST_LAST_LEVEL", 8)
        image = image_of(volume, folder / "image.tif", kind, big=big, pyramid=pyramid, compression=compression)
        made = write_image(volume, image)
    assert made.sha256 == tuple(plane_sha256(plane) for plane in planes)
    levels = levels_of(image.file)
    assert (len(levels) > 1) == (pyramid and max(shape[1:]) > 8)
    for level, expected in zip(levels, halved(planes, kind, len(levels)), strict=True):
        assert same_bits(level, expected)
    if image.copies:
        assert segments_of(image.file) == segments_of(folder / "source.tif")


# ---- the file


@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("big_endian", [True, False])
def test_the_file_is_what_its_ending_says(tmp_path: Path, big: bool, big_endian: bool) -> None:
    planes = some_image((2, 9, 11))
    volume = volume_of(tmp_path, _own(big_endian=big_endian), planes)
    image = image_of(volume, tmp_path / "image.tif", big=big, pyramid=True)
    write_image(volume, image)
    data = image.file.read_bytes()
    order = ">" if big_endian else "<"
    assert data[:2] == (b"MM" if big_endian else b"II")
    assert struct.unpack_from(f"{order}H", data, 2) == (43 if big else 42,)
    for levels in pages_of(image.file):
        for page in levels:
            codes = [tag.code for tag in page.tags]
            assert codes == sorted(set(codes))  # ascending, TIFF 6.0 page 15
            assert page.offset % 2 == 0


def test_classic_files_that_become_too_large_name_the_other_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = volume_of(tmp_path, SOURCES["plain"], some_image((6, 30, 30)))
    monkeypatch.setattr(tiff_directory, "_CLASSIC_BYTES", 6 * 1800)
    with pytest.raises(UsageError, match=r"\.ome\.btf"):
        write_image(volume, image_of(volume, tmp_path / "image.ome.tif", big=False))
    write_image(volume, image_of(volume, tmp_path / "image.ome.btf", big=True))
    np.testing.assert_array_equal(levels_of(tmp_path / "image.ome.btf")[0], some_image((6, 30, 30)))
    monkeypatch.setattr(tiff_directory, "_CLASSIC_BYTES", (tmp_path / "image.ome.btf").stat().st_size)
    write_image(volume, image_of(volume, tmp_path / "image.ome.tif", big=False))


def test_a_classic_file_may_be_4_gib_but_no_plane_begins_there() -> None:
    storage, classic = (
        Encoding(1, 1, "<", 2**16, None),
        tiff_directory.TiffFormat(False, "<", "uint8", (1, 1)),
    )

    def block(n_bytes: int, *, is_last: bool) -> list[Any]:
        image = tiff_directory.EncodedImage((2**16, 2**16), storage, np.array([n_bytes], np.uint64), [])
        return classic.block([image], 8, None, is_last=is_last)

    largest = 2**32 - 8 - len(block(2, is_last=True)[0])
    block(largest, is_last=True)
    block(largest - 2, is_last=False)
    for n_bytes, is_last in [(largest, False), (largest + 1, True)]:
        with pytest.raises(UsageError, match=r"\.ome\.btf"):
            block(n_bytes, is_last=is_last)


@pytest.mark.parametrize("tile", [None, (2**17, 2**16)])
def test_segments_of_4_gib_and_more_keep_their_lengths(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    counts = np.array([2**33, 2**32 + 5], np.uint64)
    storage = Encoding(1, 1, "<", None if tile else 2**17, tile)
    image = tiff_directory.EncodedImage((2**17 + 1, 2**16), storage, counts, [])
    written = tiff_directory.TiffFormat(True, "<", "uint8", (1, 1))
    with (tmp_path / "image.ome.btf").open("wb") as file:
        file.write(written.header)
        file.writelines(piece for piece in written.block([image], 16, None, is_last=True) if isinstance(piece, bytes))
        file.truncate(2**34)
    ((page,),) = pages_of(tmp_path / "image.ome.btf")
    assert page.databytecounts == (2**33, 2**32 + 5)
    with pytest.raises(UsageError, match=r"\.ome\.btf"):
        tiff_directory.TiffFormat(False, "<", "uint8", (1, 1)).block(
            [replace(image, counts=counts[:1])], 8, None, is_last=True
        )


def test_encoding_keeps_within_its_memory(tmp_path: Path) -> None:
    assert forked(_measure_encoding, tmp_path) == 0


def _measure_encoding(folder: Path) -> None:
    for dtype in ("uint16", "float32"):
        plane = np.random.default_rng(0).integers(0, 2**16, (1801, 1700)).astype(dtype)
        volume = found(inspect_stack(write_tiff(folder / f"{dtype}.tif", [plane])))
        for choices in product((Kind.IMAGE, Kind.LABELS), Compression, (False, True)):
            kind, compression, pyramid = choices
            image = image_of(volume, folder / "image.ome.btf", kind, pyramid=pyramid, compression=compression)
            peak = peak_bytes_here(_encode, image, volume, plane)
            assert peak < image.encoded_bytes, (dtype, *choices, peak, image.encoded_bytes)


def _encode(image: ome_tiff.OmeTiffImage, volume: Volume, plane: Array) -> None:
    assert isinstance(volume, Copyable)
    encoder = ome_tiff.TiffPlaneEncoder(image)
    copied = volume.read_encoded(0) if image.copies else None
    for top in range(0, len(plane), image.band_rows):
        encoder.take(plane[top : top + image.band_rows])
    encoder.finish(copied)


# ---- values


@needs_libtiff
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["big-endian", "deflate-strips", *OF_FLOATS])
@pytest.mark.parametrize("compression", Compression)
def test_what_is_no_number_stays_bit_for_bit(tmp_path: Path, dtype: str, name: str, compression: Compression) -> None:
    planes = some_image((2, 40, 24), dtype)
    bits = planes.view(f"u{planes.itemsize}")
    one = {"float32": 0x7F800000, "float64": 0x7FF0000000000000}[dtype]
    sign, quiet = 1 << (8 * planes.itemsize - 1), 1 << {"float32": 22, "float64": 51}[dtype]
    bits[0, 3, :8] = [one, one | sign, one | quiet, one | 1, one | sign | 5, one | quiet | 77, sign, 1]
    bits[1, :, 5] = one | 3
    volume = volume_of(tmp_path, (SOURCES | OF_FLOATS)[name], planes)
    image = image_of(volume, tmp_path / "image.tif", compression=compression, pyramid=True)
    assert write_image(volume, image).sha256 == tuple(plane_sha256(plane) for plane in planes)
    assert same_bits(levels_of(image.file)[0], planes)
    assert same_bits(decoded_by_libtiff(image.file), planes)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16"])
def test_types_that_ome_tiff_has_not_are_refused(tmp_path: Path, dtype: str) -> None:
    volume = volume_of(tmp_path, SOURCES["plain"], np.ones((2, 9, 11), dtype))
    with pytest.raises(SourceError, match=f"{dtype}.*OME-Zarr"):
        write_image(volume, image_of(volume, tmp_path / "image.tif"))


def test_without_a_sample_format_values_are_unsigned(tmp_path: Path) -> None:
    """MATLAB leaves the tag out, and its default is unsigned integers (TIFF 6.0, page 80)."""
    planes = some_image((2, 20, 30))
    path = write_tiff(tmp_path / "source.tif", planes, Flavour(PACKBITS, rows_per_strip=4))
    tag, private = (struct.pack("<HHI", number, 3, 1) for number in (SAMPLE_FORMAT, 65000))
    assert path.read_bytes().count(tag) == 2
    path.write_bytes(path.read_bytes().replace(tag, private))
    volume = found(inspect_stack(path))
    image = image_of(volume, tmp_path / "image.tif")
    assert image.copies
    write_image(volume, image)
    np.testing.assert_array_equal(levels_of(image.file)[0], planes)
    assert segments_of(image.file) == segments_of(path)


@pytest.mark.parametrize("compression", [1, DEFLATE, LZW])
def test_values_of_which_0_is_white_stay_as_they_are_stored(tmp_path: Path, compression: int) -> None:
    planes = some_image((2, 20, 30))
    path = write_tiff(tmp_path / "source.tif", planes, Flavour(compression), {PHOTOMETRIC: [0]})
    volume = found(inspect_stack(path))
    image = image_of(volume, tmp_path / "image.tif", pyramid=True)
    assert write_image(volume, image).sha256 == tuple(plane_sha256(plane) for plane in planes)
    np.testing.assert_array_equal(levels_of(image.file)[0], planes)
    assert {page.photometric for page, *_ in pages_of(image.file)} == {tifffile.PHOTOMETRIC.MINISBLACK}


# ---- planes that do not agree


ODD: dict[str, Flavour] = {
    "compression": Flavour(LZW, rows_per_strip=4),
    "rows per strip": Flavour(DEFLATE, rows_per_strip=5),
    "byte order": Flavour(DEFLATE, rows_per_strip=4, big_endian=True),
    "predictor": Flavour(DEFLATE, rows_per_strip=4, predictor=True),
}


@needs_libtiff
@pytest.mark.parametrize("flavour", ODD.values(), ids=ODD)
@pytest.mark.parametrize("odd", [0, 3, 4])
def test_planes_that_do_not_agree_are_encoded_anew(tmp_path: Path, flavour: Flavour, odd: int) -> None:
    planes = some_image((5, 22, 31))
    files = write_slices(tmp_path / "slices", planes, flavour=Flavour(DEFLATE, rows_per_strip=4))
    write_tiff(files[odd], planes[odd : odd + 1], flavour)
    volume = found(inspect_slices(files))
    image = image_of(volume, tmp_path / "image.tif", big=False)
    assert not image.copies
    assert "encoded again" in image.summary
    assert write_image(volume, image).sha256 == tuple(plane_sha256(plane) for plane in planes)
    assert same_bits(levels_of(image.file)[0], planes)
    assert same_bits(decoded_by_libtiff(image.file), planes)


AGREEING: dict[str, tuple[Flavour, Flavour]] = {
    "both numbers of Deflate": (Flavour(DEFLATE, rows_per_strip=4), Flavour(OLD_DEFLATE, rows_per_strip=4)),
    "classic and BigTIFF": (Flavour(DEFLATE, rows_per_strip=4), Flavour(DEFLATE, rows_per_strip=4, big_tiff=True)),
    "directory behind and before": (Flavour(LZW), Flavour(LZW, directory_first=True)),
    "one strip, however many rows it could have": (Flavour(DEFLATE), Flavour(DEFLATE, rows_per_strip=100)),
}


@pytest.mark.parametrize(("usual", "other"), AGREEING.values(), ids=AGREEING)
def test_what_makes_no_difference_to_segments_does_not_stop_copying(
    tmp_path: Path, usual: Flavour, other: Flavour
) -> None:
    planes = some_image((3, 22, 31))
    files = write_slices(tmp_path / "slices", planes, flavour=usual)
    write_tiff(files[1], planes[1:2], other)
    volume = found(inspect_slices(files))
    image = image_of(volume, tmp_path / "image.tif")
    assert image.copies
    write_image(volume, image)
    np.testing.assert_array_equal(levels_of(image.file)[0], planes)
    assert segments_of(image.file) == [segments for file in files for segments in segments_of(file)]


def test_bytes_have_no_order_and_are_copied_from_both(tmp_path: Path) -> None:
    planes = some_image((2, 22, 31), "uint8")
    files = write_slices(tmp_path / "slices", planes, flavour=Flavour(DEFLATE))
    write_tiff(files[1], planes[1:2], Flavour(DEFLATE, big_endian=True))
    volume = found(inspect_slices(files))
    image = image_of(volume, tmp_path / "image.tif")
    assert image.copies
    write_image(volume, image)
    np.testing.assert_array_equal(levels_of(image.file)[0], planes)


# ---- damage


def _other_shape(path: Path, planes: Array) -> None:
    write_tiff(path, [planes[3][:-1]], Flavour(DEFLATE, rows_per_strip=4))


def _other_compression(path: Path, planes: Array) -> None:
    write_tiff(path, planes[3:4], Flavour(LZW, rows_per_strip=4))


def _cut_off(path: Path, planes: Array) -> None:
    del planes
    path.write_bytes(path.read_bytes()[:-300])


def _gone(path: Path, planes: Array) -> None:
    del planes
    path.unlink()


@pytest.mark.parametrize("change", [_other_shape, _other_compression, _cut_off, _gone])
@pytest.mark.parametrize("inspect", [True, False])
def test_a_slice_that_changed_after_the_census_is_named(
    tmp_path: Path, change: Callable[[Path, Array], None], inspect: bool
) -> None:
    planes = some_image((5, 22, 31))
    files = write_slices(tmp_path / "slices", planes, flavour=Flavour(DEFLATE, rows_per_strip=4))
    volume = found(inspect_slices(files))
    image = image_of(volume, tmp_path / "image.tif", inspect=inspect)
    change(files[3], planes)
    with pytest.raises(SourceError, match=re.escape(str(files[3]))):
        write_image(volume, image)


@pytest.mark.parametrize("name", ["deflate-strips", "deflate", "lzw", "packbits", "zstd", "deflate-tiles"])
def test_a_page_that_is_damaged_inside_is_named_when_pixels_are_looked_at(tmp_path: Path, name: str) -> None:
    planes = some_image((4, 40, 33))
    path = SOURCES[name](tmp_path / "source.tif", planes)
    volume, damaged = found(inspect_stack(path)), bytearray(path.read_bytes())
    page = pages_of(path)[2][0]
    begin, n_bytes = page.dataoffsets[0], page.databytecounts[0]
    damaged[begin : begin + n_bytes] = b"\x80" * n_bytes
    path.write_bytes(damaged)
    with pytest.raises(SourceError, match=re.escape(f"{path}: page 3: ")):
        write_image(volume, image_of(volume, tmp_path / "looked-at.tif"))
    with pytest.raises(SourceError, match=re.escape(f"{path}: page 3: ")):
        write_image(volume, image_of(volume, tmp_path / "pyramid.tif", inspect=False, pyramid=True))
    copied = image_of(volume, tmp_path / "copied.tif", inspect=False)
    write_image(volume, copied)  # which is what the option is for
    assert segments_of(copied.file) == segments_of(path)


@pytest.mark.parametrize("kind", [Kind.LABELS, Kind.MASK])
@pytest.mark.parametrize("value", [2.0**24, 0.5, float("nan")])
def test_labels_that_cannot_be_trusted_are_refused(tmp_path: Path, kind: Kind, value: float) -> None:
    labels = np.ones((4, 20, 20), "float32")
    labels[2, 3, 4] = value
    volume = volume_of(tmp_path, SOURCES["deflate-strips"], labels)
    with pytest.raises(SourceError, match=r"source\.tif: plane 3 has labels"):
        write_image(volume, image_of(volume, tmp_path / "image.tif", kind))


def test_planes_with_fewer_bits_than_their_type_are_encoded_anew(tmp_path: Path) -> None:
    planes = np.arange(2 * 8 * 16, dtype="uint8").reshape(2, 8, 16) % 16
    packed = planes[..., 0::2] << 4 | planes[..., 1::2]
    tags = {BITS: [4], 256: [16]}
    volume = found(inspect_stack(write_tiff(tmp_path / "source.tif", packed, Flavour(), tags)))
    image = image_of(volume, tmp_path / "image.tif")
    assert not image.copies
    write_image(volume, image)
    np.testing.assert_array_equal(levels_of(image.file)[0], planes)


# ---- OME-XML


NAMESPACE = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
TYPES = {
    "uint8": "uint8",
    "int8": "int8",
    "uint16": "uint16",
    "int16": "int16",
    "uint32": "uint32",
    "int32": "int32",
    "float32": "float",
    "float64": "double",
    "bool": "bit",
}
DIFFICULT = "a < b & c > d, \"quoted\" and 'so', 5 µm, Häm, 脳, 🧠 (CATNIP 640_N4/)"


def described(**other: Any) -> OmeXmlFields:
    usual: dict[str, Any] = {
        "name": "brain",
        "channel": "cFos",
        "description": "made up",
        "shape": (7, 20, 30),
        "dtype": "uint16",
        "voxel_size_um": (5.0, 3.7, 3.65),
    }
    return OmeXmlFields(**usual | other)


def parts(xml: str) -> tuple[dict[str, str], dict[str, str], dict[str, str], str | None, str | None]:
    """Attributes of Pixels, Channel and TiffData; name and description of the image. There is one of each."""
    document = ElementTree.fromstring(xml)
    (image,) = document.findall(f"{NAMESPACE}Image")
    (pixels,) = image.findall(f"{NAMESPACE}Pixels")
    (channel,) = pixels.findall(f"{NAMESPACE}Channel")
    (data,) = pixels.findall(f"{NAMESPACE}TiffData")
    return pixels.attrib, channel.attrib, data.attrib, image.get("Name"), image.findtext(f"{NAMESPACE}Description")


def validated(xml: str) -> ome_types.OME:
    """Read a document that fits the schema, with ome-types, which takes long to import."""
    import ome_types

    ome_types.validate_xml(xml)
    return ome_types.from_xml(xml)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("big_endian", [True, False])
def test_it_is_valid_and_says_what_the_image_is(dtype: str, big_endian: bool) -> None:
    xml = ome_xml(described(dtype=dtype, big_endian=big_endian))
    validated(xml)
    pixels, channel, data, name, description = parts(xml)
    assert (name, description, channel["Name"]) == ("brain", "made up", "cFos")
    assert [pixels[f"Size{axis}"] for axis in "XYZCT"] == ["30", "20", "7", "1", "1"]
    assert [float(pixels[f"PhysicalSize{axis}"]) for axis in "XYZ"] == [3.65, 3.7, 5.0]
    assert pixels["Type"] == TYPES[dtype]
    assert pixels["DimensionOrder"] == "XYZCT"
    assert pixels["BigEndian"] == str(big_endian).lower()
    assert int(pixels["SignificantBits"]) == (1 if dtype == "bool" else 8 * np.dtype(dtype).itemsize)
    assert channel["SamplesPerPixel"] == "1"
    assert (data["IFD"], data["PlaneCount"]) == ("0", "7")


def test_micrometers_are_written_with_the_micro_sign() -> None:
    """U+00B5, as in the schema's enumeration UnitsLength; U+03BC is another character."""
    xml = ome_xml(described())
    for axis in "XYZ":
        assert f'PhysicalSize{axis}Unit="\u00b5m"' in xml
    assert "\u03bc" not in xml
    assert "&#" not in xml


@pytest.mark.parametrize("field", ["name", "channel", "description"])
def test_texts_come_back_as_they_were(field: str) -> None:
    xml = ome_xml(described(**{field: DIFFICULT}))
    read = validated(xml).images[0]
    assert {"name": read.name, "channel": read.pixels.channels[0].name, "description": read.description}[
        field
    ] == DIFFICULT


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(*[st.integers(1, 10**6)] * 3),
    sizes=st.tuples(*[st.floats(1e-6, 1e6)] * 3),
    text=st.text(st.characters(exclude_categories=["C"]), max_size=40),
)
def test_any_sizes_and_texts_are_valid(
    shape: tuple[int, int, int], sizes: tuple[float, float, float], text: str
) -> None:
    xml = ome_xml(described(shape=shape, voxel_size_um=sizes, description=text))
    validated(xml)
    pixels, _, data, _, description = parts(xml)
    assert tuple(int(pixels[f"Size{axis}"]) for axis in "ZYX") == shape
    assert tuple(float(pixels[f"PhysicalSize{axis}"]) for axis in "ZYX") == sizes
    assert int(data["PlaneCount"]) == shape[0]
    assert (description or "") == text


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16", "complex64"])
def test_types_that_ome_has_not_are_refused(dtype: str) -> None:
    with pytest.raises(SourceError, match=f"brain: .*{dtype}.*OME-Zarr"):
        pixel_type(dtype, "brain")


# ---- in the file


@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("big_endian", [True, False])
def test_the_first_page_of_the_file_has_it_and_no_other(tmp_path: Path, big: bool, big_endian: bool) -> None:
    planes = some_image((3, 300, 270))
    path = write_tiff(tmp_path / "source.tif", planes, Flavour(DEFLATE, rows_per_strip=4, big_endian=big_endian))
    volume = found(inspect_stack(path))
    image = image_of(volume, tmp_path / "image.tif", big=big, description=DIFFICULT, pyramid=True)
    write_image(volume, image)
    with tifffile.TiffFile(image.file) as tiff:
        assert tiff.ome_metadata is not None
        validated(tiff.ome_metadata)
        assert ome_of(image.file).description == DIFFICULT
        pixels, *_ = parts(tiff.ome_metadata)
        assert pixels["BigEndian"] == str(big_endian).lower()
        assert [int(pixels[f"Size{axis}"]) for axis in "ZYX"] == [3, 300, 270]
    descriptions = [[270 in page.tags for page in levels] for levels in pages_of(image.file)]
    assert descriptions == [[True, False], [False, False], [False, False]]


@pytest.mark.parametrize("rows_per_strip", [1, None])
def test_readers_that_look_at_the_first_bytes_find_it(tmp_path: Path, rows_per_strip: int | None) -> None:
    """The tables of 20000 strips come after it, and the directory stands at the beginning."""
    planes = some_image((2, 20000, 3), "uint8")
    path = write_tiff(tmp_path / "source.tif", planes, Flavour(rows_per_strip=rows_per_strip))
    volume = found(inspect_stack(path))
    for big in (True, False):
        image = image_of(volume, tmp_path / "image.tif", big=big, description=DIFFICULT)
        write_image(volume, image)
        data = image.file.read_bytes()
        (at,) = struct.unpack_from("<Q", data, 8) if big else struct.unpack_from("<I", data, 4)
        assert at < 64
        begin, end = data.index(b"<?xml"), data.index(b"</OME>")
        assert begin < end < 4096  # what the BIDS validator reads; 64 KiB is what others do
        assert data.count(b"<OME") == 1


@needs_libtiff
@pytest.mark.parametrize("big", [True, False])
def test_libtiff_shows_it(tmp_path: Path, big: bool) -> None:
    planes: Array = some_image((2, 20, 30))
    volume = VolumeInMemory(planes)
    image = image_of(volume, tmp_path / "image.tif", big=big, description="plain text")
    write_image(volume, image)
    told = libtiff("tiffinfo", image.file)
    assert told.count("ImageDescription: <?xml") == 1
    assert "plain text" in told
    assert "Resolution: 2702.7, 2702.7 pixels/cm" in told
