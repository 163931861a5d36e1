"""Compressions of TIFF that have a size of their own."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from catnip2bids.volume import Inspection, inspect_stack, read_planes
from catnip2bids.volume.codec_headers import decoded_bytes

PLANES = (np.arange(3 * 40 * 36) % 251).astype("uint8").reshape(3, 40, 36)
CODECS: dict[str, Callable[[Any], bytes | bytearray]] = {
    "jpeg": imagecodecs.jpeg_encode,
    "jpeg2000": partial(imagecodecs.jpeg2k_encode, codecformat="j2k"),
    "lerc": imagecodecs.lerc_encode,
    "png": imagecodecs.png_encode,
}
WIDER: npt.NDArray[Any] = np.zeros((400, 360), "uint8")


def written(path: Path, compression: str, **more: Any) -> Inspection:
    tifffile.imwrite(path, PLANES, compression=compression, photometric="minisblack", metadata=None, **more)
    return inspect_stack(path)


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("more", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_pixels_are_those_that_tifffile_decodes(tmp_path: Path, compression: str, more: dict[str, Any]) -> None:
    path = tmp_path / "stack.tif"
    inspection = written(path, compression, **more)
    assert inspection.volume is not None, inspection.problems
    out = np.empty_like(PLANES)
    read_planes(inspection.volume, 0, 3, out)
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
    (problem,) = inspect_stack(path).problems
    assert re.fullmatch(
        rf"{path}: page 2: has a strip or tile of 144,000 bytes of pixels, .* promise 1,440; .*", problem
    )


SMALL: npt.NDArray[Any] = np.zeros((64, 64), "uint8")
NUMBERS = {"jpeg": 7, "jpeg2000": 34712, "lerc": 34887, "png": 34933}
J2K = bytes(imagecodecs.jpeg2k_encode(SMALL, codecformat="j2k"))
FAKE_SIZE = b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 0, 0, 64, 64, 0, 0)
FAKE_FRAME = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HHB", 64, 64, 1)
JPEG = bytes(imagecodecs.jpeg8_encode(WIDER))
LERC = bytes(imagecodecs.lerc_encode(SMALL))


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_size_is_that_of_the_decoded_pixels(compression: str, dtype: str) -> None:
    if compression == "jpeg" and dtype != "uint8":
        return
    pixels: npt.NDArray[Any] = np.zeros((400, 360), dtype)
    encoded = bytes(CODECS[compression](pixels))
    assert decoded_bytes(NUMBERS[compression], encoded, len(encoded)) == pixels.nbytes


def test_what_comes_before_the_frame_of_a_jpeg_is_passed_over() -> None:
    app, (length,) = JPEG[2:], struct.unpack_from(">H", JPEG, 4)
    encoded = b"\xff\xd8\xff\x01" + app[: 2 + length] + b"\xff" + b"\xff\xfe\x00\x0c" + FAKE_FRAME + app[2 + length :]
    assert imagecodecs.jpeg8_decode(encoded).shape == WIDER.shape
    assert decoded_bytes(7, encoded, len(encoded)) == WIDER.nbytes


@pytest.mark.parametrize(
    ("compression", "encoded"),
    [
        ("jpeg", bytes(imagecodecs.jpeg8_encode(np.zeros((64, 64, 3), "uint8")))),
        ("jpeg", JPEG[:2] + b"\xff\x00" + JPEG[2:]),
        ("jpeg2000", b"\0\0\0\x0cjP  " + FAKE_SIZE + J2K),
        ("jpeg2000", bytes(imagecodecs.jpeg2k_encode(np.zeros((64, 64, 3), "uint8"), codecformat="j2k"))),
        ("jpeg2000", J2K[:24] + struct.pack(">II", 16, 16) + J2K[32:]),  # tiles
        ("jpeg2000", J2K.replace(b"\xff\x52\x00\x0c\x00", b"\xff\x52\x00\x0c\x01")),  # precincts of their own
        ("jpeg2000", J2K.replace(b"\x04\x04\x00\x01", b"\x00\x00\x00\x01")),  # code-blocks of 4 x 4
        ("lerc", LERC * 2),
        ("lerc", bytes(imagecodecs.lerc_encode(np.zeros((64, 64, 9), "uint8"), planar=False))),
        ("png", bytes(imagecodecs.png_encode(np.zeros((64, 64, 3), "uint8")))),
    ],
)
def test_what_might_be_decoded_to_more_has_no_size(compression: str, encoded: bytes) -> None:
    assert encoded != J2K
    assert decoded_bytes(NUMBERS[compression], encoded, len(encoded)) is None


def test_pixels_of_a_larger_type_count() -> None:
    encoded = bytes(imagecodecs.lerc_encode(SMALL.astype("float64")))
    assert decoded_bytes(NUMBERS["lerc"], encoded, len(encoded)) == 8 * SMALL.size


def test_a_compression_of_which_the_size_cannot_be_told_is_refused(tmp_path: Path) -> None:
    (problem,) = written(tmp_path / "stack.tif", "jpegxl").problems
    assert "is compressed with JPEGXL, which is not read" in problem
