"""Tags that programs read differently: no pixel is read out of such a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from catnip2bids.volume import inspect_stack
from libtiff import decode
from made_up import (
    BITS,
    COMPRESSION,
    DEFLATE,
    FLAVOURS,
    PREDICTOR,
    SAMPLE_FORMAT,
    WIDTH,
    Flavour,
    found,
    read_all,
    smooth_plane,
    the_problem,
    write_tiff,
)


@pytest.mark.parametrize("compression", [2, 3, 4])
def test_gray_levels_cannot_be_fax_compressed(tmp_path: Path, compression: int) -> None:
    path = write_tiff(tmp_path / "fax.tif", [smooth_plane((6, 5))], tags={COMPRESSION: [compression]})
    assert "fax.tif: 16 bits a pixel cannot be fax-compressed" in the_problem(inspect_stack(path))


@pytest.mark.parametrize("flavour", ["plain", "packbits"])
def test_a_predictor_means_nothing_to_a_compression_that_has_none(tmp_path: Path, flavour: str) -> None:
    path = write_tiff(tmp_path / "page.tif", [smooth_plane()], FLAVOURS[flavour], {PREDICTOR: [2]})
    with pytest.raises((AssertionError, ValueError)):  # so it matters; versions of tifffile differ in how
        np.testing.assert_array_equal(tifffile.imread(path), decode(path)[0])
    assert "page.tif: pixels of the compression" in the_problem(inspect_stack(path))


@pytest.mark.parametrize(
    ("dtype", "predictor", "words"),
    [("uint16", 3, "whole numbers cannot have"), ("uint16", 34892, "the predictor 34892"), ("uint8", 3, "whole numb")],
)
def test_a_predictor_that_does_not_fit_is_refused(tmp_path: Path, dtype: str, predictor: int, words: str) -> None:
    path = write_tiff(tmp_path / "page.tif", [smooth_plane(dtype=dtype)], Flavour(DEFLATE), {PREDICTOR: [predictor]})
    assert words in the_problem(inspect_stack(path))


@pytest.mark.parametrize(("bits", "kind"), [(24, 1), (24, 3), (20, 1)])
def test_sizes_of_values_that_are_read_in_two_ways_are_refused(tmp_path: Path, bits: int, kind: int) -> None:
    tags = {WIDTH: [4], BITS: [bits], SAMPLE_FORMAT: [kind]}
    path = write_tiff(tmp_path / "bits.tif", [smooth_plane((6, 4 * bits // 8), "uint8")], tags=tags)
    assert f"of {bits} bits" in the_problem(inspect_stack(path))


@pytest.mark.parametrize(("tag", "value"), [(284, 0), (284, 3), (323, 16), (324, 8), (325, 8), (32998, 0), (32998, 2)])
def test_tags_that_do_not_fit_to_strips_are_refused(tmp_path: Path, tag: int, value: int) -> None:
    path = write_tiff(tmp_path / "strips.tif", [smooth_plane()], FLAVOURS["strips"], {tag: [value]})
    assert "strips.tif: the tag" in the_problem(inspect_stack(path))


@pytest.mark.parametrize("predictor", [1, 2])
def test_a_predictor_of_packed_values_is_refused(tmp_path: Path, predictor: int) -> None:
    tags = {WIDTH: [4], BITS: [12], PREDICTOR: [predictor]}
    path = write_tiff(tmp_path / "packed.tif", [smooth_plane((6, 6), "uint8")], Flavour(DEFLATE), tags)
    inspection = inspect_stack(path)
    if predictor == 2:
        assert "the predictor of values of 12 bits" in the_problem(inspection)
    else:
        np.testing.assert_array_equal(read_all(found(inspection))[0], decode(path)[0])


@pytest.mark.parametrize("offset", [2**40, 2**63 - 10, 2**64 - 1])
def test_a_strip_beyond_the_end_of_the_file_is_refused(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "page.tif"
    tifffile.imwrite(path, smooth_plane(), bigtiff=True)
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.tags["StripOffsets"].valueoffset
    content = bytearray(path.read_bytes())
    content[at : at + 8] = offset.to_bytes(8, "little")
    path.write_bytes(content)
    assert "page.tif: is cut off" in the_problem(inspect_stack(path))
