"""TIFF pages: every flavour is read exactly, damage is an error, and only smaller copies are left out."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from catnip2bids.comparison import compare
from catnip2bids.enums import Kind
from catnip2bids.errors import NotEnoughMemoryError, SourceError
from catnip2bids.ome import downsample
from catnip2bids.verification.image_readers import Piece, TiffReader
from catnip2bids.volume import inspect_stack, inspect_volume, plane_pages, plane_sha256
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_page import PageLayout, PageSize, check_page, levels_of, open_page, reduced_pages
from made_up import (
    BITS,
    COMPRESSION,
    COUNTS,
    DEFLATE,
    FLAVOURS,
    HEIGHT,
    LZW,
    NONE,
    OFFSETS,
    OLD_DEFLATE,
    PACKBITS,
    PHOTOMETRIC,
    ROWS_PER_STRIP,
    SAMPLES,
    SHARED,
    WIDTH,
    Array,
    Flavour,
    found,
    page_pointers,
    read_all,
    smooth_plane,
    some_image,
    the_problem,
    tiff_bytes,
    with_loop,
    write_tiff,
)

ZSTD = 50000
DTYPES = ("uint8", "uint16", "uint32", "int16", "float32", "float64")
ENCODINGS = [
    (name, dtype) for name in FLAVOURS for dtype in DTYPES if not (FLAVOURS[name].predictor and "float" in dtype)
]


@pytest.mark.parametrize(("flavour", "dtype"), ENCODINGS)
def test_every_flavour_is_read_exactly(tmp_path: Path, flavour: str, dtype: str) -> None:
    volume = some_image((3, 13, 11), dtype)
    path = write_tiff(tmp_path / "stack.tif", volume, FLAVOURS[flavour])
    planes = read_all(found(inspect_stack(path)))
    assert planes.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(planes, volume)
    np.testing.assert_array_equal(tifffile.imread(path), volume)  # the made-up file is what it is meant to be


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_values_that_are_no_gray_levels_are_refused(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 6, 5), dtype), photometric="minisblack")
    said = f"stack.tif: page 1: has values of type {dtype}; save it as integers or as float32"
    assert said in the_problem(inspect_stack(tmp_path / "stack.tif"))


def test_the_layout_is_that_of_the_tags(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "page.tif", some_image((1, 13, 11), "uint32"), FLAVOURS["bigtiff-big-endian"])
    with open_tiff(path) as tiff:
        assert len(page_offsets(tiff)) == 1
        _, layout = check_page(tiff, 0)
    assert layout == PageLayout((13, 11), np.dtype("uint32"))
    assert layout.dtype.isnative
    assert str(layout) == "11 x 13 uint32"


def test_a_page_is_read_into_the_given_array(tmp_path: Path) -> None:
    volume = some_image((2, 13, 11))
    path = write_tiff(tmp_path / "stack.tif", volume)
    out = np.zeros((13, 11), "uint16")
    page = open_page(path, 1, PageLayout((13, 11), out.dtype))
    page.read_rows(0, 5, out[:5])
    page.read_rows(5, 13, out[5:])
    page.close()
    np.testing.assert_array_equal(out, volume[1])


def test_a_page_that_is_not_what_it_was_is_an_error(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "page.tif", some_image((1, 13, 11)))
    with pytest.raises(SourceError, match=r"page\.tif: page 1 is 11 x 13 uint16 and was 11 x 13 uint8"):
        open_page(path, 0, PageLayout((13, 11), np.dtype("uint8")))


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({SAMPLES: [3], BITS: [8, 8, 8], PHOTOMETRIC: [2], COUNTS: [13 * 33]}, id="rgb"),
        pytest.param({PHOTOMETRIC: [3]}, id="palette without colours"),
        pytest.param({PHOTOMETRIC: [5]}, id="separated"),
        pytest.param({OFFSETS: [0]}, id="no offset"),
        pytest.param({COUNTS: [0]}, id="no bytes"),
        pytest.param({OFFSETS: [0], COUNTS: [0]}, id="zeroed strip table"),
        pytest.param({OFFSETS: [8, 8, 8]}, id="too many strips"),
        pytest.param({ROWS_PER_STRIP: [2]}, id="too few strips"),
        pytest.param({OFFSETS: [2**31]}, id="strip behind the end"),
        pytest.param({COUNTS: [2**31]}, id="strip over the end"),
        pytest.param({WIDTH: [0]}, id="no columns"),
        pytest.param({HEIGHT: [0]}, id="no rows"),
        pytest.param({WIDTH: [12]}, id="one column more"),
        pytest.param({HEIGHT: [14], ROWS_PER_STRIP: [14]}, id="one row more"),
        pytest.param({BITS: [32]}, id="twice the bits"),
        pytest.param({BITS: [77]}, id="odd bits"),
        pytest.param({COMPRESSION: [4711]}, id="unknown compression"),
        pytest.param({WIDTH: [2**31 - 1], HEIGHT: [2**31 - 1], ROWS_PER_STRIP: [2**31 - 1]}, id="absurd size"),
    ],
)
def test_wrong_tags_are_found_in_the_inspection(tmp_path: Path, tags: dict[int, list[int]]) -> None:
    path = write_tiff(tmp_path / "wrong.tif", some_image((1, 13, 11), "uint8"), tags=tags)
    assert "wrong.tif: " in the_problem(inspect_stack(path))


@pytest.mark.parametrize("compression", [NONE, DEFLATE, OLD_DEFLATE, PACKBITS, LZW, ZSTD, 34925])
@pytest.mark.parametrize("n", [2**20, 2**31 - 1])
def test_an_absurd_size_is_found_in_the_inspection(tmp_path: Path, compression: int, n: int) -> None:
    tags = {WIDTH: [n], HEIGHT: [n], ROWS_PER_STRIP: [n], COMPRESSION: [compression]}
    path = write_tiff(tmp_path / "absurd.tif", some_image((1, 13, 11)), tags=tags)
    assert "absurd.tif: " in the_problem(inspect_stack(path))


@pytest.mark.parametrize("compression", [DEFLATE, OLD_DEFLATE, PACKBITS, LZW])
def test_the_most_compressible_plane_is_not_absurd(tmp_path: Path, compression: int) -> None:
    volume = np.zeros((1, 512, 2048), "uint16")
    path = write_tiff(tmp_path / "zeros.tif", volume, Flavour(compression, rows_per_strip=4))
    np.testing.assert_array_equal(read_all(found(inspect_stack(path))), volume)


@pytest.mark.parametrize("compression", [DEFLATE, OLD_DEFLATE, PACKBITS, LZW])
def test_a_strip_that_holds_fewer_rows_than_promised_is_an_error(tmp_path: Path, compression: int) -> None:
    rows = smooth_plane((8, 14))
    tags = {HEIGHT: [16], ROWS_PER_STRIP: [16]}
    volume = found(inspect_stack(write_tiff(tmp_path / "short.tif", [rows], Flavour(compression), tags)))
    with pytest.raises(SourceError, match=r"short\.tif"):
        read_all(volume)


def test_stored_strips_that_are_shorter_than_their_rows_are_refused(tmp_path: Path) -> None:
    """Their rows could be read from where they can be computed to be, but copying strips would copy something else."""
    counts = [5 * 11 * 2] * 2 + [3 * 11 * 2]
    for wrong in ([1, *counts[1:]], [*counts[:2], counts[2] - 1]):
        path = write_tiff(tmp_path / "short.tif", some_image((1, 13, 11)), Flavour(rows_per_strip=5), {COUNTS: wrong})
        assert "short.tif: strips are shorter than their rows" in the_problem(inspect_stack(path))
    path = write_tiff(tmp_path / "good.tif", some_image((1, 13, 11)), Flavour(rows_per_strip=5), {COUNTS: counts})
    np.testing.assert_array_equal(read_all(found(inspect_stack(path))), some_image((1, 13, 11)))


def test_stored_tiles_that_are_too_short_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "tiles.tif", some_image((20, 30, 40))[0], tile=(16, 16), photometric="minisblack")
    data = (tmp_path / "tiles.tif").read_bytes()
    found(inspect_stack(tmp_path / "tiles.tif"))
    (tmp_path / "tiles.tif").write_bytes(
        data.replace(struct.pack("<6H", *[512] * 6), struct.pack("<6H", *[512] * 5, 511))
    )
    assert "tiles.tif: strips are shorter" in the_problem(inspect_stack(tmp_path / "tiles.tif"))


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "zstd"])
def test_a_tile_that_is_far_larger_than_the_page_is_refused(tmp_path: Path, compression: str) -> None:
    """The page is small, but each tile would be decoded as a whole: 900 bytes asked for more than 200 GiB."""
    path = tmp_path / "tiles.tif"
    tifffile.imwrite(path, smooth_plane((12, 20)), tile=(32, 16), compression=compression, photometric="minisblack")
    found(inspect_stack(path))
    right, wrong = (struct.pack("<HHII", 323, 4, 1, length) for length in (32, 3506438176))
    path.write_bytes(path.read_bytes().replace(right, wrong))
    assert "tiles.tif: promises" in the_problem(inspect_stack(path))


@pytest.mark.parametrize("flavour", ["deflate", "bigtiff", "big-endian"])
@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_pages_that_run_in_a_circle_are_found(tmp_path: Path, flavour: str, back_to: int) -> None:
    path = tmp_path / "circle.tif"
    path.write_bytes(with_loop(tiff_bytes(some_image((3, 6, 5)), FLAVOURS[flavour]), FLAVOURS[flavour], back_to))
    assert "circle.tif: " in the_problem(inspect_stack(path))


@pytest.mark.slow
@pytest.mark.parametrize("back_to", [0, 120])
def test_a_circle_of_many_pages_ends_as_well(tmp_path: Path, back_to: int) -> None:
    path = tmp_path / "circle.tif"
    path.write_bytes(with_loop(tiff_bytes(some_image((130, 2, 2)), Flavour()), Flavour(), back_to))
    script = (
        "import sys, pathlib; from catnip2bids.volume import inspect_stack as c; print(c(pathlib.Path(sys.argv[1])))"
    )
    # apart, because whoever follows such a circle never comes back
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=20, check=True
    )
    assert "volume=None" in run.stdout
    assert "circle.tif: " in run.stdout


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("n_pages", [1, 2])
def test_a_file_cut_off_anywhere_is_never_read_wrongly(tmp_path: Path, flavour: str, n_pages: int) -> None:
    volume = np.stack([smooth_plane((6, 5)) + 100 * z for z in range(n_pages)])
    whole, path = tiff_bytes(volume, FLAVOURS[flavour]), tmp_path / "cut.tif"
    wrong = []
    for n_bytes in range(len(whole)):
        path.write_bytes(whole[:n_bytes])
        try:
            inspection = inspect_stack(path)
            if inspection.volume is not None and not np.array_equal(read_all(inspection.volume), volume):
                wrong.append(n_bytes)
            assert inspection.volume is not None or "cut.tif: " in inspection.problems[0]
        except SourceError as error:
            assert "cut.tif: " in str(error)  # noqa: PT017 (an error is allowed, not demanded)
    assert wrong == []


@settings(max_examples=150, deadline=None)
@given(
    flavour=st.sampled_from(sorted(FLAVOURS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_bytes_raise_nothing_but_source_errors(
    tmp_path_factory: pytest.TempPathFactory, flavour: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(tiff_bytes(np.stack([smooth_plane((6, 5))] * 2), FLAVOURS[flavour]))
    for where, value in changes:
        data[int(where * len(data))] = value
    path = tmp_path_factory.getbasetemp() / "damaged.tif"
    path.write_bytes(data)
    try:
        inspection = inspect_stack(path)
        if inspection.volume is not None:
            read_all(inspection.volume)
        else:
            assert "damaged.tif: " in inspection.problems[0]
    except SourceError as error:
        assert "damaged.tif: " in str(error)  # noqa: PT017 (an error is allowed, not demanded)


@pytest.mark.parametrize("content", [b"", b"I", b"II*\0", b"Thumbnail of slice 4\n", b"MM\0*\0\0\0\0", b"\0" * 4096])
def test_what_is_no_tiff_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no.tif"
    path.write_bytes(content)
    assert "no.tif: " in the_problem(inspect_stack(path))


def test_an_imagej_file_that_hides_its_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "imagej.tif"
    tifffile.imwrite(path, some_image((5, 6, 7)), imagej=True, byteorder=">")
    data = bytearray(path.read_bytes())
    end_of_first = page_pointers(data, Flavour(big_endian=True))[1]
    data[end_of_first : end_of_first + 4] = bytes(4)  # as ImageJ writes stacks above 4 GiB
    path.write_bytes(data)
    assert "promises 5 images" in the_problem(inspect_stack(path))


zoo = SHARED / "data/tiff_zoo/seq"


@pytest.mark.skipif(not zoo.is_dir(), reason="the workshop's data is not here")
def test_files_of_many_programs_with_the_same_pixels_have_the_same_hash() -> None:
    hashes: dict[str, set[str]] = {}
    for path in sorted(zoo.glob("seq-1c-*.tiff")):
        depth, checksum = path.stem.split("-")[2], path.stem.split("-")[-1]
        inspection = inspect_stack(path)
        # inverted gray levels come as they are stored, which their checksum does not say
        if inspection.volume is not None and "miniswhite" not in path.stem and depth != "1b":
            hashes.setdefault(checksum, set()).update(plane_sha256(plane) for plane in read_all(inspection.volume)[:1])
    assert len(hashes) > 10
    assert {checksum for checksum, different in hashes.items() if len(different) != 1} == set()


@pytest.mark.skipif(not zoo.is_dir(), reason="the workshop's data is not here")
def test_no_file_of_the_zoo_becomes_what_it_is_not() -> None:
    for path in sorted(zoo.parent.rglob("*.tif*")):
        inspection = inspect_stack(path)
        if inspection.volume is None:
            assert path.name in inspection.problems[0]
        else:
            try:
                assert inspection.volume.shape == read_all(inspection.volume).shape
            except SourceError as error:  # older versions of tifffile cannot decode fax
                assert f"{path}: cannot be decoded here" in str(error)  # noqa: PT017 (most files raise nothing)
        colour = path.stem.split("-")[1:2] in (["3c"], ["4c"])
        assert not (colour and inspection.volume is not None)
        unusual = "miniswhite" in path.stem or "palette" in path.stem
        assert inspection.volume is None or not unusual or inspection.warnings != (), path


GRAY = smooth_plane((8, 9), "uint8")
COLORED: dict[str, tuple[Array, dict[str, Any]]] = {
    "alpha": (np.dstack([GRAY, GRAY]), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "alpha apart": (
        np.stack([GRAY, GRAY]),
        {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "separate"},
    ),
    "rgb": (np.dstack([GRAY, GRAY, GRAY]), {"photometric": "rgb"}),
    "rgb apart": (np.stack([GRAY, GRAY, GRAY]), {"photometric": "rgb", "planarconfig": "separate"}),
    "rgba": (np.dstack([GRAY] * 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "cmyk": (np.dstack([GRAY] * 4), {"photometric": "separated"}),
}


def _advice(problem: str, old: Path) -> Path:
    """Do what a problem says to do in Python; returns the new file."""
    said = re.search(r"in Python with (tifffile\.imwrite\(NEW, .*?photometric=\"minisblack\"\))", problem)
    assert said is not None
    new = old.with_name("new.tif")
    exec(said[1], {"tifffile": tifffile, "OLD": old, "NEW": new})
    return new


@pytest.mark.parametrize("kind", COLORED)
@pytest.mark.parametrize("n_pages", [1, 2])
def test_the_way_out_of_colours_works(tmp_path: Path, kind: str, n_pages: int) -> None:
    pixels, tags = COLORED[kind]
    with tifffile.TiffWriter(tmp_path / "old.tif") as writer:
        for _ in range(n_pages):
            writer.write(pixels, metadata=None, contiguous=False, **tags)
    problem = the_problem(inspect_stack(tmp_path / "old.tif"))
    new = _advice(problem, tmp_path / "old.tif")
    np.testing.assert_array_equal(read_all(found(inspect_stack(new))), np.stack([GRAY] * n_pages))


@pytest.mark.parametrize("zeroed", [(324, 325), (325,)])
@pytest.mark.parametrize("tags", [{}, {"extratags": [(42113, 2, 0, "7", True)]}])
@pytest.mark.parametrize("absent", [{1, 2, 3}, {3}, {0, 1, 2, 3}])
def test_tiles_that_are_not_stored_are_refused_with_a_way_out(
    tmp_path: Path, tags: dict[str, Any], absent: set[int], zeroed: tuple[int, ...]
) -> None:
    """GDAL leaves out tiles without a value, and an interrupted program those that it did not come to."""
    path, volume = tmp_path / "sparse.tif", np.full((3, 32, 32), 7 if tags else 0, "uint16")
    for tile in {0, 1, 2, 3} - absent:
        top, left = tile // 2 * 16, tile % 2 * 16
        volume[:, top : top + 16, left : left + 16] = np.arange(256).reshape(16, 16)
    with tifffile.TiffWriter(path) as writer:
        for plane in volume:
            writer.write(plane, tile=(16, 16), photometric="minisblack", metadata=None, contiguous=False, **tags)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.pages:
            for tag in zeroed:
                numbers = page.aspage().tags[tag].value
                page.aspage().tags[tag].overwrite([0 if tile in absent else n for tile, n in enumerate(numbers)])
    problem = the_problem(inspect_stack(path))
    assert f"sparse.tif: page 1: {len(absent)} of 4 tiles are not stored; " in problem
    np.testing.assert_array_equal(read_all(found(inspect_stack(_advice(problem, path)))), volume)


@pytest.mark.parametrize("n_colors", [0, 255])
def test_a_palette_that_lacks_colours_is_refused(tmp_path: Path, n_colors: int) -> None:
    tags = [(320, 3, 3 * n_colors, [0] * 3 * n_colors, True)] if n_colors else []
    path = tmp_path / "palette.tif"
    tifffile.imwrite(path, GRAY, photometric="minisblack", metadata=None, extratags=tags)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.aspage().tags[PHOTOMETRIC].overwrite(3)
    assert "palette.tif: has no colour palette for values of 8 bits" in the_problem(inspect_stack(path))


def test_tiles_that_are_larger_than_the_page_count_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((2, 40, 36), "uint16"), tile=(512, 512), compression="zlib", metadata=None)
    volume = found(inspect_stack(path))
    assert volume.read_cost.decoding_bytes >= 2 * (40 * 36 + 512 * 512)
    reader = TiffReader(path, Kind.IMAGE, downsample)
    assert reader.piece_bytes >= volume.read_cost.decoding_bytes
    assert reader.check(Piece(0, 1, 2)).problems == ()


def test_a_plane_with_larger_tiles_than_the_first_is_not_verified(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    for tile in (48, 512):
        tifffile.imwrite(path, np.zeros((40, 36), "uint16"), tile=(tile, tile), append=True, metadata=None)
    reader = TiffReader(path, Kind.IMAGE, downsample)
    assert not reader.check(Piece(0, 0, 1)).problems
    (problem,) = reader.check(Piece(0, 1, 2)).problems
    assert "has larger strips or tiles than the first plane" in problem.what


def test_more_bytes_than_pixels_need_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    write_tiff(path, [smooth_plane()], Flavour(compression=DEFLATE), {COUNTS: [2**26]})
    with path.open("r+b") as file:
        file.truncate(2**27)
    assert "is stored in 64 MiB, and its pixels need at most 1 MiB" in the_problem(inspect_stack(path))


@pytest.mark.parametrize("n_levels", [64, 65])
def test_a_page_has_at_most_64_levels(tmp_path: Path, n_levels: int) -> None:
    path = with_levels(tmp_path / "levels.tif", n_levels)
    with open_tiff(path) as tiff:
        if n_levels == 64:
            assert len(levels_of(tiff, 0)) == 65
        else:
            with pytest.raises(SourceError, match="has 65 SubIFDs, more than an image has levels"):
                levels_of(tiff, 0)


def test_a_long_tag_of_a_lower_level_is_not_read(tmp_path: Path) -> None:
    path = with_levels(tmp_path / "levels.tif", 1)
    with tifffile.TiffFile(path) as tiff:
        (lower,) = list(tiff.pages.first.aspage().pages or [])
        at = lower.aspage().tags["StripOffsets"].offset
    with path.open("r+b") as file:
        file.seek(at + 4)
        file.write(struct.pack("<I", 2**25))
        file.truncate(2**28)
    with open_tiff(path) as tiff, pytest.raises(SourceError, match="its tag 273 has 33,554,432 values, too many"):
        levels_of(tiff, 0)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tag", ["StripOffsets", "StripByteCounts"])
@pytest.mark.parametrize(
    "number", [struct.pack("<Hif", 11, 1, 146), struct.pack("<Hii", 9, 1, -146)], ids=["float", "-1"]
)
def test_positions_that_are_no_whole_numbers_are_refused(
    tmp_path: Path, compression: str | None, tag: str, number: bytes
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.ones((5, 6), "uint8"), compression=compression, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages.first.aspage().tags[tag].offset
    with path.open("r+b") as file:
        file.seek(at + 2)
        file.write(number)
    problem = the_problem(inspect_stack(path))
    assert problem == f"{path}: states impossible positions or sizes of its strips; replace it by the original"


def with_levels(path: Path, n_levels: int) -> Path:
    """Write a page with as many lower levels, each of one pixel."""
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((40, 36), "uint8"), subifds=n_levels, metadata=None)
        for _ in range(n_levels):
            writer.write(np.zeros((1, 1), "uint8"), subfiletype=1, metadata=None)
    return path


def test_a_lack_of_memory_is_not_called_damage(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "stack.tif", [smooth_plane()])
    with pytest.raises(NotEnoughMemoryError, match="cannot be read; memory ran out"), open_tiff(path):
        raise MemoryError


PLANES = some_image((4, 32, 24))
FULL, SMALL, TINY = PageSize(32, 24), PageSize(16, 12, marked=True), PageSize(8, 6, marked=True)


@pytest.mark.parametrize(
    ("sizes", "reduced"),
    [
        ([FULL], set()),
        ([FULL, FULL], set()),
        ([FULL, SMALL, FULL, SMALL], {1, 3}),
        ([SMALL, FULL], {0}),
        ([FULL, SMALL, TINY], {1, 2}),
        ([SMALL, SMALL], set()),  # of what, is not in the file
        ([FULL, PageSize(16, 12)], set()),
        ([FULL, PageSize(32, 24, marked=True)], set()),
        ([FULL, PageSize(64, 6, marked=True)], set()),
        ([FULL, PageSize(10, 10), SMALL], set()),
        ([], set()),
    ],
)
def test_reduced_pages_are_marked_and_smaller(sizes: Sequence[PageSize], reduced: set[int]) -> None:
    assert reduced_pages(sizes) == reduced


def write_pyramids(path: Path, planes: Array, *, subifds: bool, first: bool = False, marked: int = 1) -> Path:
    """Write planes, each with a smaller copy: as a SubIFD, or as a page behind or before it."""
    path.parent.mkdir(exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for plane in planes:
            pages = [(plane, 0), (plane[::2, ::2], marked)]
            for pixels, kind in reversed(pages) if first else pages:
                n_below = 1 if subifds and kind == 0 else 0
                writer.write(
                    pixels, subifds=n_below, subfiletype=kind, photometric="minisblack", metadata=None, contiguous=False
                )
    return path


@pytest.mark.parametrize(("subifds", "first"), [(True, False), (False, False), (False, True)])
def test_copies_in_a_stack_are_left_out(tmp_path: Path, subifds: bool, first: bool) -> None:
    path = write_pyramids(tmp_path / "stack.tif", PLANES, subifds=subifds, first=first)
    inspection = inspect_volume(path)
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert inspection.warnings == (f"{path}: also holds 4 smaller copies of its planes, which are left out",)


@pytest.mark.parametrize("subifds", [True, False])
def test_copies_in_slices_are_left_out(tmp_path: Path, subifds: bool) -> None:
    for number, plane in enumerate(PLANES, start=1):
        write_pyramids(tmp_path / "slices" / f"Z{number}.TIF", plane[np.newaxis], subifds=subifds)
    inspection = inspect_volume(tmp_path / "slices")
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    (warning,) = inspection.warnings
    assert warning.endswith(
        "4 slices also hold smaller copies of the plane, which are left out: Z1.TIF, Z2.TIF, Z3.TIF, Z4.TIF"
    )


def test_a_slice_behind_its_copy_is_a_problem(tmp_path: Path) -> None:
    path = write_pyramids(tmp_path / "slices/Z1.tif", PLANES[:1], subifds=False, first=True)
    assert "Z1.tif: has its slice in page 2; " in the_problem(inspect_volume(path.parent))
    tifffile.imwrite(path, tifffile.imread(path, key=1), photometric="minisblack")
    np.testing.assert_array_equal(read_all(found(inspect_volume(path.parent))), PLANES[:1])


@pytest.mark.parametrize("kind", [0, 2])
def test_a_smaller_page_that_is_not_marked_is_a_problem(tmp_path: Path, kind: int) -> None:
    path = write_pyramids(tmp_path / "slices/Z1.tif", PLANES[:1], subifds=False, marked=kind)
    assert "has 2 pages, a slice has one; " in the_problem(inspect_volume(path.parent))
    assert "1 page other than" in the_problem(inspect_volume(path))


@pytest.mark.parametrize("shape", [(32, 24), (64, 48)])
def test_an_image_in_a_subifd_that_is_not_smaller_is_a_problem(tmp_path: Path, shape: tuple[int, int]) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        writer.write(PLANES[0], subifds=1, photometric="minisblack", metadata=None)
        writer.write(np.zeros(shape, "uint16"), photometric="minisblack", metadata=None)
    said = f"stack.tif: has another image of {shape[1]} x {shape[0]} in a SubIFD"
    assert said in the_problem(inspect_volume(tmp_path / "stack.tif"))


def test_a_page_that_is_marked_and_as_large_is_a_plane(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        for number, plane in enumerate(PLANES):
            writer.write(plane, subfiletype=int(number == 2), photometric="minisblack", metadata=None, contiguous=False)
    inspection = inspect_volume(tmp_path / "stack.tif")
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert "1 page has reduced resolution (NewSubfileType 1): 3;" in inspection.warnings[0]


def test_levels_of_an_ome_tiff_are_not_worth_a_warning(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.ome.tif", ome=True) as writer:
        writer.write(PLANES, subifds=1, photometric="minisblack", metadata={"axes": "ZYX"})
        writer.write(PLANES[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    inspection = inspect_volume(tmp_path / "stack.ome.tif")
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert inspection.warnings == ()


def test_a_comparison_leaves_copies_out_as_well(tmp_path: Path) -> None:
    one = write_pyramids(tmp_path / "1.tif", PLANES, subifds=False)
    tifffile.imwrite(tmp_path / "2.tif", PLANES, photometric="minisblack")
    assert plane_pages(one) == (0, 2, 4, 6)
    assert compare(one, tmp_path / "2.tif", tmp_path / "out").relation == "identical"


def test_pages_that_cannot_be_read_are_none_to_leave_out(tmp_path: Path) -> None:
    path = write_pyramids(tmp_path / "stack.tif", PLANES, subifds=False)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[2].aspage().tags["ImageWidth"].offset
    path.write_bytes(data[: at + 2] + b"\xff\xff" + data[at + 4 :])  # a type of values that does not exist
    assert plane_pages(path) == tuple(range(8))
    with pytest.raises(SourceError, match=r"gone\.tif"):
        plane_pages(tmp_path / "gone.tif")
