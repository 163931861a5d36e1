"""Stacks: every page is a plane, or the file is no volume."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

import catnip2bids
from catnip2bids.comparison import compare
from catnip2bids.errors import SourceError
from catnip2bids.volume import (
    PlaneSource,
    PlaneSubset,
    TiffStack,
    Volume,
    inspect_slices,
    inspect_stack,
    inspect_volume,
    read_planes,
)
from catnip2bids.volume.tiff_stack import misplaced
from made_up import (
    DEFLATE,
    FLAVOURS,
    Flavour,
    found,
    read_all,
    smooth_plane,
    some_image,
    the_problem,
    tiff_bytes,
    write_tiff,
)
from traced import peak_bytes

ROW_PER_STRIP = Flavour(DEFLATE, rows_per_strip=1)


@pytest.mark.parametrize("big_tiff", [False, True])
def test_a_stack_with_one_row_per_strip_is_read(tmp_path: Path, big_tiff: bool) -> None:
    image = some_image((9, 6, 5), "uint32")
    path = write_tiff(tmp_path / "stack.tif", image, Flavour(DEFLATE, rows_per_strip=1, big_tiff=big_tiff))
    volume = found(inspect_stack(path))
    assert isinstance(volume, TiffStack)
    assert isinstance(volume, Volume)
    assert (volume.shape, volume.dtype, volume.files) == ((9, 6, 5), np.dtype("uint32"), (path,))
    assert volume.plane_source(3) == PlaneSource(path, 3)
    np.testing.assert_array_equal(read_all(volume), image)


def test_any_range_of_planes_can_be_read(tmp_path: Path) -> None:
    image = some_image((9, 6, 5))
    volume = found(inspect_stack(write_tiff(tmp_path / "stack.tif", image, ROW_PER_STRIP)))
    planes = np.empty((2, 6, 5), "uint16")
    read_planes(volume, 7, 9, planes)
    np.testing.assert_array_equal(planes, image[7:])


def test_a_long_stack_keeps_all_its_pages(tmp_path: Path) -> None:
    image = some_image((300, 2, 3))
    np.testing.assert_array_equal(read_all(found(inspect_stack(write_tiff(tmp_path / "stack.tif", image)))), image)


def test_the_inspection_counts_the_file(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "stack.tif", some_image((3, 6, 5)))
    taken = inspect_stack(path)
    assert (taken.n_files, taken.n_bytes) == (1, len(path.read_bytes()))


@pytest.mark.parametrize("odd", [some_image((1, 6, 6))[0], some_image((1, 6, 5), "uint8")[0], some_image((1, 3, 2))[0]])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_page_of_another_shape_or_type_is_a_problem(tmp_path: Path, odd: np.ndarray, at: int) -> None:
    pages = list(some_image((5, 6, 5)))
    pages[at] = odd
    problem = the_problem(inspect_stack(write_tiff(tmp_path / "stack.tif", pages)))
    assert f"{tmp_path / 'stack.tif'}: has 1 page other than 5 x 6 uint16: {at + 1};" in problem


def test_a_wrong_page_is_named_by_its_number(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "stack.tif", [smooth_plane()] * 3)
    data = path.read_bytes()
    at = data.index(tiff_bytes([smooth_plane()], Flavour())[8 : 8 + 18 * 14 * 2])
    assert at == 8
    path.write_bytes(data[: len(data) - 100])
    assert "stack.tif: " in the_problem(inspect_stack(path))


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    assert "gone.tif: " in the_problem(inspect_stack(tmp_path / "gone.tif"))


def test_a_stack_that_lost_its_end_after_the_inspection_is_an_error(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "stack.tif", some_image((4, 6, 5)))
    volume, data = found(inspect_stack(path)), path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"stack\.tif"):
        read_all(volume)


@pytest.mark.parametrize("flavour", ["strips", "deflate-row-per-strip", "bigtiff", "lzw"])
def test_a_stack_cut_off_between_two_pages_is_not_a_shorter_stack(tmp_path: Path, flavour: str) -> None:
    image = some_image((4, 6, 5))
    whole, path = tiff_bytes(image, FLAVOURS[flavour]), tmp_path / "stack.tif"
    for n_pages in (1, 2, 3):
        path.write_bytes(whole[: len(tiff_bytes(image[:n_pages], FLAVOURS[flavour]))])
        assert "stack.tif: " in the_problem(inspect_stack(path))


@pytest.mark.parametrize("metadata", ["imagej", "ome"])
@pytest.mark.parametrize(("axes", "several"), [("ZCYX", "channels"), ("TZYX", "time points")])
def test_pages_that_are_not_planes_of_one_volume_are_refused(
    tmp_path: Path, metadata: str, axes: str, several: str
) -> None:
    path = tmp_path / "stack.tif"
    pixels = some_image((6, 8, 9)).reshape((3, 2, 8, 9) if axes == "ZCYX" else (2, 3, 8, 9))
    tifffile.imwrite(path, pixels, imagej=metadata == "imagej", ome=metadata == "ome", metadata={"axes": axes})
    assert f"stack.tif: holds 2 {several}, not one volume; " in the_problem(inspect_stack(path))


PIXELS = some_image((10, 8, 9))


@pytest.mark.parametrize(
    ("shape", "axes", "says"),
    [
        ((2, 5), "CZ", "holds 2 channels x 5 planes"),
        ((2, 5), "TZ", "holds 2 time points x 5 planes"),
        ((5, 2), "ZC", "holds 5 planes x 2 channels"),
        ((2, 5), None, "holds 2 planes x 5 planes"),
        ((2, 1, 5), None, "holds 2 planes x 5 planes"),
        ((10, 1), "CZ", "holds 10 channels"),
        ((10,), "T", "holds 10 time points"),
    ],
)
def test_more_than_one_volume_of_tifffile_is_refused(
    tmp_path: Path, shape: tuple[int, ...], axes: str | None, says: str
) -> None:
    metadata = {} if axes is None else {"axes": f"{axes}YX"}
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, PIXELS.reshape(*shape, 8, 9), photometric="minisblack", metadata=metadata)
    assert f"stack.tif: {says} by tifffile's metadata, not one volume; " in the_problem(inspect_stack(path))


@pytest.mark.parametrize(
    ("shape", "metadata"),
    [
        ((10, 8, 9), {}),
        ((1, 10, 8, 9), {}),
        ((10, 1, 8, 9), {}),
        ((10, 8, 9, 1), {}),
        ((10, 8, 9), {"axes": "ZYX"}),
        ((1, 10, 8, 9), {"axes": "CZYX"}),
        ((1, 10, 1, 8, 9), {"axes": "TZCYX"}),
        ((10, 1, 72), {}),
    ],
)
def test_one_volume_of_tifffile_is_read(tmp_path: Path, shape: tuple[int, ...], metadata: dict[str, str]) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, PIXELS.reshape(shape), photometric="minisblack", metadata=metadata)
    inspection = inspect_stack(path)
    assert inspection.warnings == ()
    np.testing.assert_array_equal(read_all(found(inspection)).reshape(PIXELS.shape), PIXELS)


@pytest.mark.parametrize(("sizes", "warns"), [([1] * 10, False), ([4, 6], True), ([1, 9], True)])
def test_planes_that_tifffile_appended_are_one_volume(tmp_path: Path, sizes: list[int], warns: bool) -> None:
    path = tmp_path / "stack.tif"
    for planes in np.split(PIXELS, np.cumsum(sizes)[:-1]):
        tifffile.imwrite(path, planes, photometric="minisblack", append=True)
    inspection = inspect_stack(path)
    np.testing.assert_array_equal(read_all(found(inspection)), PIXELS)
    says = f"{path}: holds 2 images by tifffile's metadata, which are read as one volume of 10 planes; "
    assert [text.startswith(says) for text in inspection.warnings] == [True] * warns


def test_a_smaller_copy_that_tifffile_appended_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(PIXELS, photometric="minisblack")
        tiff.write(PIXELS[:, ::2, ::2], photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(read_all(found(inspect_stack(path))), PIXELS)


def _described(path: Path, *descriptions: str | None) -> Path:
    """Write a page for each of these descriptions."""
    with tifffile.TiffWriter(path) as tiff:
        for plane, description in zip(PIXELS, descriptions, strict=False):
            tiff.write(plane, photometric="minisblack", description=description, metadata=None)
    return path


@pytest.mark.parametrize(
    ("descriptions", "says"),
    [
        (['{"shape": [5, 8, 9]}', None, None], "promises 5 images and the file lists 3; "),
        (["shape=(5, 8, 9)", None, None], "promises 5 images and the file lists 3; "),
        (['{"shape": [2, 8, 9]}', None, '{"shape": [2, 8, 9]}'], "promises 4 planes and 3 are in it; "),
        (['{"shape": [1, 8, 9]}', '{"shape": [2, 5, 8, 9]}', None], "holds 2 planes x 5 planes"),
    ],
)
def test_planes_that_tifffile_promises_and_that_are_missing_are_a_problem(
    tmp_path: Path, descriptions: list[str | None], says: str
) -> None:
    assert says in the_problem(inspect_stack(_described(tmp_path / "stack.tif", *descriptions)))


@pytest.mark.parametrize(
    "said",
    [
        '{"shape": [5, 16, 9]}',  # cropped
        '{"shape": "round"}',
        '{"shape": [5.5, 8, 9]}',
        '{"shape": [true, 8, 9]}',
        '{"shape": [0, 8, 9]}',
        '{"shape": ',
        "shape=(a)",
        '{"shape":' + "[" * 10_000,
    ],
)
def test_descriptions_of_other_images_mean_nothing(tmp_path: Path, said: str) -> None:
    path = _described(tmp_path / "stack.tif", said, None, None)
    np.testing.assert_array_equal(read_all(found(inspect_stack(path))), PIXELS[:3])


def test_sizes_without_end_are_a_problem(tmp_path: Path) -> None:
    shape = [10**4000, 8, 9]
    path = _described(tmp_path / "stack.tif", "text", json.dumps({"shape": shape}))
    assert "stack.tif: " in the_problem(inspect_stack(path))


def test_ome_xml_of_planes_in_other_files_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, some_image((6, 8, 9)), metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes().replace(b'SizeZ="6"', b'SizeZ="8"'))
    assert "names 8 planes and 6 are in it" in the_problem(inspect_stack(path))


@pytest.mark.parametrize(
    ("old", "new"), [(b"<Pixels ", b"<Pixelz "), (b'SizeZ="6"', b'SizeZ="x"'), (b"</Pixels>", b"</Pixelz>")]
)
def test_damaged_ome_xml_is_a_problem(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, some_image((6, 8, 9)), metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes().replace(old, new))
    assert "stack.ome.tif: its OME-XML is damaged" in the_problem(inspect_stack(path))


def _truncated(path: Path) -> None:
    tifffile.imwrite(path, some_image((4, 6, 5)), truncate=True, photometric="minisblack")


def _metamorph(path: Path) -> None:
    uic1, uic2 = (33628, "I", 1, 8, True), (33629, "I", 4, (1, 2, 3, 4), True)
    tifffile.imwrite(path, some_image((1, 24, 5))[0], metadata=None, extratags=[uic1, uic2])


@pytest.mark.parametrize(("write", "whose"), [(_truncated, "tifffile's"), (_metamorph, "MetaMorph")])
def test_planes_that_no_page_lists_are_not_dropped(tmp_path: Path, write: Callable[[Path], None], whose: str) -> None:
    write(tmp_path / "Z1.tif")
    said = f"Z1.tif: {whose} metadata promises 4 images and the file lists 1; "
    assert said in the_problem(inspect_stack(tmp_path / "Z1.tif"))
    assert said in the_problem(inspect_slices([tmp_path / "Z1.tif"]))


_IN_ORDER = "".join(
    f'<TiffData FirstC="0" FirstT="0" FirstZ="{n}" IFD="{n}"><UUID>urn:a</UUID></TiffData>' for n in range(6)
)


@pytest.mark.parametrize(
    "said", ["", "<TiffData/>", '<TiffData IFD="0" PlaneCount="6"/>', '<TiffData IFD="0" NumPlanes="6"/>', _IN_ORDER]
)
def test_ome_xml_that_leaves_pages_in_their_order_is_none_of_our_business(tmp_path: Path, said: str) -> None:
    path = _with_tiff_data(tmp_path / "stack.ome.tif", said)
    np.testing.assert_array_equal(read_all(found(inspect_stack(path))), some_image((6, 8, 9)))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (_IN_ORDER.replace('FirstZ="5"', 'FirstZ="9"'), "puts page 6 at plane 10"),
        (_IN_ORDER.replace('FirstC="0"', 'FirstC="1"', 1), "a second channel or time point"),
        (_IN_ORDER.replace('FirstT="0"', 'FirstT="1"', 1), "a second channel or time point"),
        (_IN_ORDER.replace("urn:a", "urn:b", 1), "in several files"),
        ('<TiffData IFD="0" PlaneCount="5"/>', "each of the 6 planes once"),
        ('<TiffData IFD="0" PlaneCount="1000000000000"/>', "each of the 6 planes once"),
        ('<TiffData IFD="0" PlaneCount="7"/><TiffData IFD="7" FirstZ="7" PlaneCount="-1"/>', "each of the 6 planes"),
        ('<TiffData IFD="x"/>', "not a valid number"),
    ],
)
def test_ome_xml_that_puts_pages_elsewhere_is_a_problem(tmp_path: Path, said: str, problem: str) -> None:
    found_problem = the_problem(inspect_stack(_with_tiff_data(tmp_path / "stack.ome.tif", said)))
    assert "stack.ome.tif: pages are not in the order of planes" in found_problem
    assert problem in found_problem


def test_the_number_of_planes_that_ome_xml_claims_takes_no_memory() -> None:
    assert peak_bytes(_find_misplaced, 10**9) < 2**20


def _find_misplaced(planes: int) -> None:
    pixels = ElementTree.fromstring(f'<Pixels xmlns="o"><TiffData IFD="0" PlaneCount="{planes}"/></Pixels>')
    assert misplaced(pixels, pixels, planes) is None


def _with_tiff_data(path: Path, said: str) -> Path:
    tifffile.imwrite(path, some_image((6, 8, 9)), metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.pages.first.description
    before, rest = xml.split("<TiffData", 1)
    after = rest[rest.index("</Pixels>") :]
    before = re.sub(' UUID="[^"]*"', "", before)
    tifffile.imwrite(
        path, some_image((6, 8, 9)), description=before + said + after, metadata=None, photometric="minisblack"
    )
    return path


def _hidden_planes(path: Path, said: str = "images=4\nslices=4\n", behind: bytes = b"", fill_order: int = 1) -> Path:
    """Write planes as ImageJ does above 4 GiB: one directory, which comes first, and planes one after the other."""
    text = b"ImageJ=1.54f\n" + said.encode() + b"\0"
    begin = 8 + 2 + 11 * 12 + 4 + len(text)
    tags = [(254, 4, 1, 0), (256, 4, 1, 5), (257, 4, 1, 6), (258, 3, 1, 16 << 16), (259, 3, 1, 1 << 16)]
    tags += [
        (262, 3, 1, 1 << 16),
        (266, 3, 1, fill_order << 16),
        (270, 2, len(text), begin - len(text)),
        (273, 4, 1, begin),
    ]
    tags += [(278, 4, 1, 6), (279, 4, 1, 60)]
    directory = b"".join(struct.pack(">HHII", *tag) for tag in tags)
    head = b"MM\0*" + struct.pack(">IH", 8, len(tags)) + directory + bytes(4) + text
    path.write_bytes(head + some_image((4, 6, 5)).astype(">u2").tobytes() + behind)
    return path


def test_planes_that_imagej_hides_behind_one_directory_are_read(tmp_path: Path) -> None:
    path = _hidden_planes(tmp_path / "stack.TIF")
    volume = found(inspect_stack(path))
    assert isinstance(volume, Volume)
    assert (volume.shape, volume.files, volume.plane_source(3)) == ((4, 6, 5), (path,), PlaneSource(path, 3))
    np.testing.assert_array_equal(read_all(volume), some_image((4, 6, 5)))
    np.testing.assert_array_equal(tifffile.imread(path), some_image((4, 6, 5)))  # the file is what it is meant to be


def test_hidden_planes_that_cannot_be_read_as_they_are_stored_are_refused(tmp_path: Path) -> None:
    assert "promises 4 images" in the_problem(inspect_stack(_hidden_planes(tmp_path / "stack.tif", fill_order=2)))


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.btf"])
def test_planes_that_imagej_hides_are_converted(tmp_path: Path, ending: str) -> None:
    path = _hidden_planes(tmp_path / "stack.tif", "images=4\nslices=4\nunit=micron\nspacing=5\n")
    made = catnip2bids.convert(path, tmp_path / f"image{ending}", (3.7, 3.7, 5.0))
    np.testing.assert_array_equal(read_all(found(inspect_volume(made.path))), some_image((4, 6, 5)))


def test_planes_that_imagej_hides_are_compared(tmp_path: Path) -> None:
    write_tiff(tmp_path / "plain.tif", some_image((4, 6, 5)))
    path = _hidden_planes(tmp_path / "stack.tif")
    assert compare(path, tmp_path / "plain.tif", tmp_path / "out").relation == "identical"


@pytest.mark.parametrize(
    ("said", "behind", "problem"),
    [
        ("images=5\n", b"", "5 images, which need "),
        ("images=4\n", b"\0", "promises 4 images and the file lists 1; "),
        ("images=3\n", b"", "promises 3 images and the file lists 1; "),
        ("images=4\nchannels=2\n", b"", "holds 2 channels, not one volume; "),
    ],
)
def test_planes_that_do_not_fill_the_file_are_not_guessed(
    tmp_path: Path, said: str, behind: bytes, problem: str
) -> None:
    assert problem in the_problem(inspect_stack(_hidden_planes(tmp_path / "stack.tif", said, behind)))


def test_hidden_planes_do_not_lie_where_the_directory_is(tmp_path: Path) -> None:
    path = _hidden_planes(tmp_path / "stack.tif")
    head, planes = path.read_bytes()[:-240], path.read_bytes()[-240:]
    directory = bytearray(head[8:])
    for entry, offset in ((7, 68 + 2 + 11 * 12 + 4), (8, 8)):  # of the description, and of the pixels
        struct.pack_into(">I", directory, 2 + 12 * entry + 8, offset)
    path.write_bytes((head[:4] + struct.pack(">I", 68) + planes[:60] + directory).ljust(8 + 240, b"\0"))
    assert "promises 4 images and the file lists 1; " in the_problem(inspect_stack(path))


def test_a_slice_with_hidden_planes_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    _hidden_planes(tmp_path / "slices/Z1.tif")
    assert "Z1.tif: ImageJ metadata promises 4 images" in the_problem(inspect_volume(tmp_path / "slices"))


def test_a_stack_that_lost_a_hidden_plane_after_the_inspection_is_an_error(tmp_path: Path) -> None:
    path = _hidden_planes(tmp_path / "stack.tif")
    volume = found(inspect_stack(path))
    path.write_bytes(path.read_bytes()[:-60])
    np.testing.assert_array_equal(read_all(PlaneSubset(volume, 0, 3)), some_image((4, 6, 5))[:3])
    with pytest.raises(SourceError, match=r"stack\.tif: is cut off"):
        read_all(volume)
