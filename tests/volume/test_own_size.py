"""Compressions of TIFF that have a size of their own."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from catnip2bids.volume import Census, census_stack, read_planes

PLANES = (np.arange(3 * 40 * 36) % 251).astype("uint8").reshape(3, 40, 36)
CODECS: dict[str, Callable[[Any], bytes | bytearray]] = {
    "jpeg": imagecodecs.jpeg_encode,
    "jpeg2000": imagecodecs.jpeg2k_encode,
    "lerc": imagecodecs.lerc_encode,
    "png": imagecodecs.png_encode,
}
WIDER: npt.NDArray[Any] = np.zeros((400, 360), "uint8")


def written(path: Path, compression: str, **more: Any) -> Census:
    tifffile.imwrite(path, PLANES, compression=compression, photometric="minisblack", metadata=None, **more)
    return census_stack(path)


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("more", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_pixels_are_those_that_tifffile_decodes(tmp_path: Path, compression: str, more: dict[str, Any]) -> None:
    path = tmp_path / "stack.tif"
    census = written(path, compression, **more)
    assert census.volume is not None, census.problems
    out = np.empty_like(PLANES)
    read_planes(census.volume, 0, 3, out)
    assert np.array_equal(out, tifffile.imread(path))


@pytest.mark.parametrize("compression", CODECS)
def test_more_pixels_than_the_page_has_are_not_decoded(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "stack.tif"
    assert not written(path, compression).problems
    with tifffile.TiffFile(path) as tiff:
        offsets = tiff.pages[1].aspage().tags["StripOffsets"].valueoffset
        counts = tiff.pages[1].aspage().tags["StripByteCounts"].valueoffset
    encoded, end = bytes(CODECS[compression](WIDER)), path.stat().st_size
    with path.open("r+b") as file:
        for at, value in ((offsets, end), (counts, len(encoded))):
            file.seek(at)
            file.write(struct.pack("<I", value))
        file.seek(end)
        file.write(encoded)
    (problem,) = census_stack(path).problems
    assert re.fullmatch(rf"{path}: page 2: has 144,000 pixels in a strip or tile for 1,440; .*", problem)


def test_a_compression_of_which_the_size_cannot_be_told_is_refused(tmp_path: Path) -> None:
    (problem,) = written(tmp_path / "stack.tif", "jpegxl").problems
    assert "is compressed with JPEGXL, which is not read" in problem
