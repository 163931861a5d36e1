"""Voxel sizes that sources state: taken where they are complete, in a known unit, and possible."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile

from catnip2bids.volume import inspect_volume, stated_voxel_size
from catnip2bids.volume.tiff_stack import ContiguousStack, TiffStack
from catnip2bids.volume.voxel_size import StatedVoxelSize
from made_up import found, some_image, write_slices

VOLUME = some_image((4, 8, 9))
Size = tuple[float | None, float | None, float | None]


def stated_in(path: Path) -> StatedVoxelSize:
    """Return what a source states, which is something."""
    stated = stated_voxel_size(found(inspect_volume(path)))
    assert stated is not None
    return stated


def write_ome(path: Path, sizes: dict[str, Any], volume: Any = VOLUME) -> Path:
    """Write an OME-TIFF; sizes are the attributes of Pixels."""
    axes = "ZYX" if volume.ndim == 3 else "YX"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(volume, photometric="minisblack", metadata={"axes": axes, **sizes})
    return path


def write_imagej(path: Path, metadata: dict[str, Any], resolution: tuple[Any, Any], volume: Any = VOLUME) -> Path:
    """Write a TIFF as ImageJ does."""
    tifffile.imwrite(path, volume, imagej=True, resolution=resolution, metadata=metadata)
    return path


def in_um(x: float, y: float, z: float) -> dict[str, Any]:
    return {"PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeZ": z}


def units(unit: str) -> dict[str, str]:
    return {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param(in_um(3.7, 3.6, 5), (3.7, 3.6, 5.0), id="no unit"),
        pytest.param(in_um(3.7, 3.6, 5) | units("µm"), (3.7, 3.6, 5.0), id="micro sign"),
        pytest.param(in_um(3.7, 3.6, 5) | units("\u03bcm"), (3.7, 3.6, 5.0), id="Greek mu"),
        pytest.param(in_um(3700, 3600, 5000) | units("nm"), (3.7, 3.6, 5.0), id="nm"),
        pytest.param(in_um(0.0037, 0.0036, 0.005) | units("mm"), (3.7, 3.6, 5.0), id="mm"),
        pytest.param(
            in_um(3.7, 3.6, 5000) | {"PhysicalSizeZUnit": "nm"}, (3.7, 3.6, 5.0), id="another unit along one axis"
        ),
    ],
)
def test_ome_xml_states_a_size(tmp_path: Path, sizes: dict[str, Any], expected: Size) -> None:
    stated = stated_in(write_ome(tmp_path / "image.ome.tif", sizes))
    assert stated.voxel_size_um == pytest.approx(expected)
    assert stated.where == "OME-XML"


@pytest.mark.parametrize(
    ("sizes", "expected", "doubt"),
    [
        pytest.param({"PhysicalSizeX": 1.8, "PhysicalSizeY": 1.8}, (1.8, 1.8, None), "along Z", id="no Z"),
        pytest.param({"PhysicalSizeZ": 2.0}, (None, None, 2.0), "along X and Y", id="only Z"),
        pytest.param(in_um(1, 1, 1) | units("pixel"), (None, None, None), "'pixel'", id="no unit of length"),
        pytest.param(in_um(25, 25, 25) | units("mm"), (25e3, 25e3, 25e3), "microscope", id="too large"),
        pytest.param(in_um(3.7e-6, 3.7e-6, 5e-6), (3.7e-6, 3.7e-6, 5e-6), "microscope", id="meters without saying so"),
    ],
)
def test_what_is_no_voxel_size_is_not_taken(tmp_path: Path, sizes: dict[str, Any], expected: Size, doubt: str) -> None:
    stated = stated_in(write_ome(tmp_path / "image.ome.tif", sizes))
    assert stated.voxel_size_um is None
    assert stated.sizes_um == pytest.approx(expected)
    assert doubt in str(stated)


@pytest.mark.parametrize("unit", ["um", "micron", "microns", "\\u00B5m"])
@pytest.mark.parametrize("size", [1.8, 3.77, 0.1625, 25.0])
def test_imagej_states_a_size(tmp_path: Path, unit: str, size: float) -> None:
    per_unit = (round(1e6 / size), 10**6)  # as ImageJ rounds it
    path = write_imagej(tmp_path / "stack.tif", {"spacing": 2.5, "unit": unit, "axes": "ZYX"}, (per_unit, per_unit))
    stated = stated_in(path)
    assert (stated.voxel_size_um, stated.where) == ((size, size, 2.5), "ImageJ metadata")


def test_the_micro_sign_of_older_versions_of_imagej_is_read(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "stack.tif", {"unit": "um", "spacing": 5.0, "axes": "ZYX"}, (0.5, 0.5))
    path.write_bytes(path.read_bytes().replace(b"unit=um", b"unit=\xb5m"))
    assert stated_in(path).voxel_size_um == (2.0, 2.0, 5.0)


def test_imagej_may_have_a_unit_for_each_axis(tmp_path: Path) -> None:
    metadata = {"unit": "mm", "yunit": "um", "zunit": "nm", "spacing": -5000.0, "axes": "ZYX"}
    path = write_imagej(tmp_path / "stack.tif", metadata, ((10**6, 1800), (10**6, 1800000)))
    assert stated_in(path).voxel_size_um == (1.8, 1.8, 5.0)


@pytest.mark.parametrize("unit", ["", "pixel", "inch"])
def test_imagej_without_a_unit_states_nothing(tmp_path: Path, unit: str) -> None:
    path = write_imagej(tmp_path / "stack.tif", {"unit": unit, "spacing": 2.0, "axes": "ZYX"}, (72, 72))
    assert stated_voxel_size(found(inspect_volume(path))) is None


def test_imagej_without_spacing_is_incomplete(tmp_path: Path) -> None:
    stated = stated_in(write_imagej(tmp_path / "stack.tif", {"unit": "um", "axes": "ZYX"}, (0.5, 0.5)))
    assert (stated.sizes_um, stated.voxel_size_um) == ((2.0, 2.0, None), None)


def test_resolution_tags_alone_mean_nothing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", VOLUME, photometric="minisblack", resolution=(72, 72), resolutionunit=2)
    write_slices(tmp_path / "slices", VOLUME)
    for name in ("stack.tif", "slices"):
        assert stated_voxel_size(found(inspect_volume(tmp_path / name))) is None


def write_nifti(path: Path, zooms: tuple[float, ...], unit: str | None, affine: Any = None) -> Path:
    image = nib.Nifti1Image(VOLUME.T, np.diag([*zooms, 1.0]) if affine is None else affine)
    image.header.set_zooms(zooms)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("zooms", "unit", "expected"),
    [
        ((0.0037, 0.0036, 0.005), "mm", (3.7, 3.6, 5.0)),
        ((3.77, 3.77, 5.0), "micron", (3.77, 3.77, 5.0)),
        ((3.7e-6, 3.7e-6, 5e-6), "meter", (3.7, 3.7, 5.0)),
    ],
)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_nifti_states_a_size(
    tmp_path: Path, zooms: tuple[float, ...], unit: str, expected: Size, extension: str
) -> None:
    stated = stated_in(write_nifti(tmp_path / f"image{extension}", zooms, unit))
    assert stated.voxel_size_um == pytest.approx(expected, rel=1e-12)
    assert stated.where == "NIfTI header"


def test_the_millimeters_of_catnip_are_not_believed(tmp_path: Path) -> None:
    stated = stated_in(write_nifti(tmp_path / "atlas.nii.gz", (25.0, 25.0, 25.0), "mm"))
    assert (stated.sizes_um, stated.voxel_size_um) == ((25e3, 25e3, 25e3), None)


def test_nifti_without_a_unit_states_nothing(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii", (1.0, 1.0, 1.0), None)
    assert stated_voxel_size(found(inspect_volume(path))) is None


def test_nifti_that_contradicts_itself_is_not_believed(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii", (0.0037, 0.0037, 0.005), "mm")
    data = bytearray(path.read_bytes())
    data[76 + 3 * 4 : 80 + 3 * 4] = struct.pack("<f", 0.002)  # pixdim[3]
    path.write_bytes(data)
    stated = stated_in(path)
    assert stated.voxel_size_um is None
    assert "affine" in str(stated)


@pytest.mark.parametrize("odd", [None, 0, 1, 3])
def test_slices_have_to_agree(tmp_path: Path, odd: int | None) -> None:
    for plane, pixels in enumerate(VOLUME):
        sizes = in_um(1.8, 1.8, 2.5 if plane == odd else 2.0)
        write_ome(tmp_path / f"Z{plane + 1:04d}.ome.tif", sizes, pixels)
    stated = stated_in(tmp_path)
    assert stated.voxel_size_um == ((1.8, 1.8, 2.0) if odd is None else None)
    if odd:
        assert f"Z{odd + 1:04d}.ome.tif" in str(stated)


def test_slices_of_which_some_state_nothing_do_not_agree(tmp_path: Path) -> None:
    write_slices(tmp_path, VOLUME, "Z{plane:04d}.ome.tif")
    write_ome(tmp_path / "Z0003.ome.tif", in_um(1.8, 1.8, 2.0), VOLUME[2])
    assert "Z0003.ome.tif" in str(stated_in(tmp_path))


@pytest.mark.parametrize(
    ("given", "contradicts"), [((3.7, 3.7, 5.0), False), ((3.72, 3.7, 5.0), False), ((3.7, 3.7, 4.9), True)]
)
def test_one_percent_is_the_most_that_sizes_may_differ(given: tuple[float, float, float], contradicts: bool) -> None:
    assert StatedVoxelSize((3.7, 3.7, 5.0), "OME-XML").contradicts(given) == contradicts
    assert not StatedVoxelSize((3.7, 3.7, None), "OME-XML").contradicts((3.7, 3.7, 1.0))


def test_imagej_states_the_size_of_planes_behind_one_directory(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "stack.tif", {"unit": "um", "spacing": 5.0, "axes": "ZYX"}, (1 / 3.7, 1 / 3.7))
    volume = found(inspect_volume(path))
    stated = stated_voxel_size(ContiguousStack(volume.layout, path, 3)) if isinstance(volume, TiffStack) else None
    assert stated == stated_voxel_size(volume)
    assert stated is not None
