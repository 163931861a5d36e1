"""A volume on disk is indexed as the NumPy array that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from catnip2bids import open_volume
from catnip2bids.errors import SourceError
from catnip2bids.volume.volume_array import VolumeArray
from made_up import Array, some_image, write_slices

SHAPE = (5, 17, 13)
IMAGE = some_image(SHAPE)


def slices(folder: Path) -> Path:
    write_slices(folder / "slices", IMAGE, "Z{plane:04d}.tif")
    return folder / "slices"


def stack(folder: Path) -> Path:
    tifffile.imwrite(folder / "stack.tif", IMAGE, imagej=True, metadata={"axes": "ZYX"})
    return folder / "stack.tif"


def whole_planes(folder: Path) -> Path:
    tifffile.imwrite(folder / "lzw.tif", IMAGE, compression="lzw", photometric="minisblack", metadata=None)
    return folder / "lzw.tif"


def packed_nifti(folder: Path) -> Path:
    image = nib.nifti1.Nifti1Image(IMAGE.T, np.diag([0.0037, 0.0037, 0.005, 1]))
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "image.nii.gz")
    return folder / "image.nii.gz"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> list[VolumeArray]:
    folder = tmp_path_factory.mktemp("volumes")
    return [open_volume(write(folder)) for write in (slices, stack, whole_planes, packed_nifti)]


@given(st.data())
def test_it_is_indexed_like_an_array(volumes: list[VolumeArray], data: st.DataObject) -> None:
    key: Any = data.draw(basic_indices(SHAPE, allow_newaxis=False))
    for volume in volumes:
        found = volume[key]
        np.testing.assert_array_equal(found, IMAGE[key])
        assert np.shape(found) == np.shape(IMAGE[key])


def test_it_says_what_it_is(volumes: list[VolumeArray]) -> None:
    for volume in volumes:
        assert (volume.shape, volume.dtype, volume.ndim, len(volume)) == (SHAPE, IMAGE.dtype, 3, SHAPE[0])
        assert (volume.size, volume.nbytes) == (IMAGE.size, IMAGE.nbytes)
        np.testing.assert_array_equal(np.asarray(volume), IMAGE)
    assert [volume.voxel_size_um for volume in volumes[:3]] == [None, None, None]
    assert volumes[3].voxel_size_um == pytest.approx((3.7, 3.7, 5.0))
    assert repr(volumes[3]).endswith("image.nii.gz: 13 x 17 x 5 voxels, uint16, 3.7 x 3.7 x 5 um>")


def test_dask_makes_a_lazy_array_of_it(volumes: list[VolumeArray]) -> None:
    import dask.array

    lazy = dask.array.from_array(volumes[0], chunks=(2, 5, 13))  # type: ignore[no-untyped-call]  # dask has no types
    maximum: Array = lazy.max(axis=0).compute()
    np.testing.assert_array_equal(maximum, IMAGE.max(axis=0))


@pytest.mark.parametrize(
    "key", [5, -6, (0, 17), (0, 0, 0, 0), None, [1, 2], (..., ...), np.ones(SHAPE, bool), True, 1.0]
)
def test_other_indices_are_refused(volumes: list[VolumeArray], key: Any) -> None:
    with pytest.raises(IndexError):
        volumes[0][key]


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    folder = slices(tmp_path)
    (folder / "Z0003.tif").unlink()
    with pytest.raises(SourceError, match="1 slice missing"):
        open_volume(folder)
