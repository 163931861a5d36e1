"""NIfTI: the planes of CATNIP's TIFF twin, values as they are in the file."""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest

from catnip2bids.errors import SourceError
from catnip2bids.volume import (
    NiftiVolume,
    PlaneSource,
    ReadCost,
    Volume,
    inspect_nifti,
    inspect_stack,
    inspect_volume,
    read_planes,
)
from made_up import Array, count_unpackings, found, read_all, some_image, the_problem, write_tiff

EXTENSIONS = (".nii", ".nii.gz")


# datatype codes of nifti1.h
CODES = {"uint8": 2, "int16": 4, "float32": 16, "float64": 64, "uint16": 512, "uint32": 768}


@dataclass(frozen=True)
class Header:
    """What may be unusual in a file."""

    big_endian: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    dim: tuple[int, ...] | None = None
    datatype: int | None = None


def nifti_bytes(image: Array, header: Header) -> bytes:
    """Write a NIfTI-1 file (nifti1.h) of an image whose last axis is x, which runs fastest."""
    order: Literal["<", ">"] = ">" if header.big_endian else "<"
    dim = header.dim or (image.ndim, *image.shape[::-1])
    sizes = (*dim, *[1] * (8 - len(dim)))
    code = CODES[image.dtype.name] if header.datatype is None else header.datatype
    first = struct.pack(order + "i36x8h14x2h", 348, *sizes, code, image.itemsize * 8)
    second = struct.pack(order + "2x8f3f", 1, *[1] * 7, 352, header.slope, header.intercept)
    rest = bytes(344 - len(first) - len(second)) + b"n+1\0" + bytes(4)
    return first + second + rest + image.astype(image.dtype.newbyteorder(order)).tobytes()


def write_nifti(path: Path, image: Array, header: Header | None = None) -> Path:
    """Write an image (z, y, x) as CATNIP does, compressed where the name says so."""
    content = nifti_bytes(image, header or Header())
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32", "float64"])
def test_planes_equal_those_of_the_tiff_twin(tmp_path: Path, extension: str, dtype: str) -> None:
    image = some_image((4, 6, 5), dtype)
    path = write_nifti(tmp_path / f"twin{extension}", image)
    volume = found(inspect_nifti(path))
    twin = found(inspect_stack(write_tiff(tmp_path / "twin.tif", image)))
    assert isinstance(volume, NiftiVolume)
    assert isinstance(volume, Volume)
    assert (volume.shape, volume.dtype) == (twin.shape, twin.dtype) == ((4, 6, 5), np.dtype(dtype))
    np.testing.assert_array_equal(read_all(volume), read_all(twin))
    np.testing.assert_array_equal(read_all(volume), image)


def test_the_transposition_is_that_of_nii2tiff(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii", some_image((4, 6, 5)))
    voxels = np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]  # nibabel types load() too widely
    assert voxels.shape == (5, 6, 4)  # axes (x, y, z)
    assert read_all(found(inspect_nifti(path)))[3, 2, 1] == voxels[1, 2, 3]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_any_range_of_planes_can_be_read(tmp_path: Path, extension: str) -> None:
    image, planes = some_image((7, 6, 5)), np.empty((3, 6, 5), "uint16")
    path = write_nifti(tmp_path / f"image{extension}", image)
    volume = found(inspect_nifti(path))
    read_planes(volume, 2, 5, planes)
    np.testing.assert_array_equal(planes, image[2:5])
    assert volume.files == (path,)
    assert volume.plane_source(2) == PlaneSource(path, 2)


def test_a_big_endian_file_is_read_in_native_order(tmp_path: Path) -> None:
    image = some_image((4, 6, 5))
    path = write_nifti(tmp_path / "image.nii", image, Header(big_endian=True))
    volume = found(inspect_nifti(path))
    assert volume.dtype.isnative
    np.testing.assert_array_equal(read_all(volume), image)


def test_the_second_version_of_the_format_is_read_too(tmp_path: Path) -> None:
    image = some_image((4, 6, 5))
    second = nib.Nifti2Image(image.T, np.eye(4), dtype="uint16")  # nibabel has no types
    nib.save(second, tmp_path / "image.nii")
    np.testing.assert_array_equal(read_all(found(inspect_nifti(tmp_path / "image.nii"))), image)


def test_nan_infinity_and_negative_zero_are_kept(tmp_path: Path) -> None:
    image = some_image((2, 3, 4), "float32")
    image[0, 0, :3] = np.nan, np.inf, -0.0
    planes = read_all(found(inspect_nifti(write_nifti(tmp_path / "image.nii", image))))
    assert planes.tobytes() == image.tobytes()


def patched(path: Path, offset: int, content: bytes) -> Path:
    """Change bytes of the header of an uncompressed file."""
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, 0.0), (1.0, 3.0), (0.5, -1.0)])
def test_scaled_values_are_refused(tmp_path: Path, slope: float, intercept: float) -> None:
    header = Header(slope=slope, intercept=intercept)
    path = write_nifti(tmp_path / "scaled.nii", some_image((4, 6, 5)), header)
    assert "scaled.nii: its values are scaled" in the_problem(inspect_nifti(path))


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 0.0), (1.0, 0.0), (np.nan, np.nan), (0.0, 5.0)])
def test_the_ways_to_say_unscaled_are_read(tmp_path: Path, slope: float, intercept: float) -> None:
    """A slope of 0 means no scaling (nifti1.h); nibabel writes NaN."""
    image = some_image((4, 6, 5))
    path = write_nifti(tmp_path / "image.nii", image, Header(slope=slope, intercept=intercept))
    np.testing.assert_array_equal(read_all(found(inspect_nifti(path))), image)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("n_trailing", [1, 2, 4])
def test_trailing_axes_of_length_1_are_dropped(tmp_path: Path, extension: str, n_trailing: int) -> None:
    image = some_image((4, 6, 5))
    header = Header(dim=(3 + n_trailing, 5, 6, 4, *[1] * n_trailing))
    volume = found(inspect_nifti(write_nifti(tmp_path / f"image{extension}", image, header)))
    assert volume.shape == (4, 6, 5)
    np.testing.assert_array_equal(read_all(volume), image)


def test_a_single_plane_of_three_axes_is_a_volume(tmp_path: Path) -> None:
    image = some_image((1, 6, 5))
    np.testing.assert_array_equal(read_all(found(inspect_nifti(write_nifti(tmp_path / "plane.nii", image)))), image)


@pytest.mark.parametrize("name", ["IMAGE.NII", "IMAGE.NII.GZ", "image.nii.GZ"])
def test_names_in_upper_case_are_read(tmp_path: Path, name: str) -> None:
    image = some_image((4, 6, 5))
    content = nifti_bytes(image, Header())
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    volume = found(inspect_volume(path))
    assert volume.read_cost.shared_bytes == (image.nbytes if name.lower().endswith(".gz") else 0)
    np.testing.assert_array_equal(read_all(volume), image)


def test_names_that_nibabel_does_not_find_are_to_be_changed(tmp_path: Path) -> None:
    (tmp_path / "Image.Nii").write_bytes(nifti_bytes(some_image((4, 6, 5)), Header()))
    assert "Image.Nii: has an ending of mixed case; rename it" in the_problem(inspect_volume(tmp_path / "Image.Nii"))


def test_gzip_may_have_several_members_and_zeros_behind(tmp_path: Path) -> None:
    image = some_image((4, 6, 5))
    content = nifti_bytes(image, Header())
    path = tmp_path / "image.nii.gz"
    for packed in (gzip.compress(content[:300]) + gzip.compress(content[300:]), gzip.compress(content) + bytes(512)):
        path.write_bytes(packed)
        np.testing.assert_array_equal(read_all(found(inspect_nifti(path))), image)


def test_gigabytes_of_zeros_behind_are_not_read(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii.gz", some_image((4, 6, 5)))
    os.truncate(path, 2**30)
    assert "image.nii.gz: not a NIfTI file (it has 128 KiB of zeros, which gzip never writes)" in the_problem(
        inspect_nifti(path)
    )


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4, 2), (5, 6, 4, 1, 3)])
def test_what_has_not_three_axes_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_nifti(tmp_path / "image.nii", np.ones(shape, "uint8"))
    assert "image.nii: has the shape" in the_problem(inspect_nifti(path))


def test_colours_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii", np.zeros((4, 6, 15), "uint8"), Header(dim=(3, 5, 6, 4), datatype=128))
    assert "image.nii: has values of type" in the_problem(inspect_nifti(path))


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not an image", id="text"),
        pytest.param(bytes(348), id="zeros"),
        pytest.param(gzip.compress(b"nothing"), id="something else"),
        pytest.param(b"\x1f\x8b\x08", id="cut off"),
    ],
)
def test_what_is_no_nifti_is_a_problem_that_names_it(tmp_path: Path, extension: str, content: bytes) -> None:
    path = tmp_path / f"image{extension}"
    path.write_bytes(content)
    assert f"{path}: " in the_problem(inspect_nifti(path))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_cut_off_anywhere_is_never_read_wrongly(tmp_path: Path, extension: str) -> None:
    image = some_image((4, 6, 5))
    path = write_nifti(tmp_path / f"image{extension}", image)
    whole = path.read_bytes()
    wrong = []
    for n_bytes in range(0, len(whole), 1 if extension == ".nii.gz" else 3):
        path.write_bytes(whole[:n_bytes])
        try:
            inspection = inspect_nifti(path)
            if inspection.volume is not None and not np.array_equal(read_all(inspection.volume), image):
                wrong.append(n_bytes)
        except SourceError as error:
            assert f"{path}: " in str(error)  # noqa: PT017 (an error is allowed, not demanded)
    assert wrong == []


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_damaged_gzip_file_is_never_read_wrongly(tmp_path: Path, where: float) -> None:
    image = some_image((10, 16, 15))  # noise is stored as it is: only the checksum at the end tells
    path = write_nifti(tmp_path / "image.nii.gz", image)
    patched(path, int(len(path.read_bytes()) * where), b"damaged")
    try:
        inspection = inspect_nifti(path)
        assert inspection.volume is None or np.array_equal(read_all(inspection.volume), image)
    except SourceError as error:
        assert f"{path}: " in str(error)  # noqa: PT017 (an error is allowed, not demanded)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_absurd_size_is_found_in_the_inspection(tmp_path: Path, extension: str) -> None:
    header = Header(dim=(3, 32767, 32767, 32767))
    path = write_nifti(tmp_path / f"absurd{extension}", some_image((4, 6, 5)), header)
    assert "absurd.nii" in the_problem(inspect_nifti(path))


@pytest.mark.parametrize("at", range(0, 348, 4))
def test_a_damaged_header_raises_nothing_but_source_errors(tmp_path: Path, at: int) -> None:
    path = write_nifti(tmp_path / "image.nii", some_image((4, 6, 5)))
    patched(path, at, b"\xff\xff\xff\x7f")
    try:
        inspection = inspect_nifti(path)
        if inspection.volume is not None:
            read_all(inspection.volume)
    except SourceError as error:
        assert f"{path}: " in str(error)  # noqa: PT017 (an error is allowed, not demanded)


def test_a_packed_file_is_unpacked_once_while_planes_of_it_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = some_image((4, 6, 5))
    volume = found(inspect_nifti(write_nifti(tmp_path / "twin.nii.gz", image)))
    assert volume.read_cost == ReadCost(by_rows=False, shared_bytes=image.nbytes)
    plain = found(inspect_nifti(write_nifti(tmp_path / "twin.nii", image)))
    assert plain.read_cost == ReadCost()
    opened = count_unpackings(monkeypatch)
    planes = [volume.open_plane(index) for index in range(4)]
    for index, plane in enumerate(planes):
        rows: Array = np.empty((6, 5), image.dtype)
        plane.read_rows(0, 6, rows)
        np.testing.assert_array_equal(rows, image[index])
    assert opened == [volume.files[0]]
    for plane in planes:
        plane.close()
    del planes, plane
    volume.open_plane(0).close()
    assert len(opened) == 2  # nobody had it open any more, and its memory was free


def test_voxels_that_begin_too_late_to_be_all_there_are_found_in_the_inspection(tmp_path: Path) -> None:
    path = tmp_path / "late.nii"
    nib.save(nib.Nifti1Image(some_image((4, 5, 6)), np.eye(4)), path)  # no types
    data = bytearray(path.read_bytes())
    data[108:112] = np.float32(353).tobytes()  # vox_offset
    path.write_bytes(data)
    assert "late.nii: is cut off" in the_problem(inspect_nifti(path))


@pytest.mark.parametrize("offset", [0, 4, 348, 351])
def test_voxels_that_begin_inside_the_header_are_refused(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "early.nii"
    nib.save(nib.Nifti1Image(some_image((4, 5, 6)), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[108:112] = np.float32(offset).tobytes()  # vox_offset
    path.write_bytes(data)
    assert "early.nii: " in the_problem(inspect_nifti(path))
