"""OME-XML: valid, and true of the file it is in."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from catnip2bids.errors import SourceError
from catnip2bids.ome import OmeXmlFields
from catnip2bids.ome.ome_xml import ome_xml, pixel_type
from catnip2bids.volume import inspect_stack
from in_memory import VolumeInMemory
from made_up import DEFLATE, Array, Flavour, found, some_image, write_tiff
from ome_tiffs import image_of, libtiff, needs_libtiff, ome_of, pages_of, write_image

if TYPE_CHECKING:
    import ome_types

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
