"""Files of volumes: their bytes, and the memory that writing them takes."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from catnip2bids.bids.plane_hashes import PlaneRecord
from catnip2bids.engine import Resources
from catnip2bids.restoration.restored_volume import RestoredVolume, StoredImage
from catnip2bids.restoration.volumes import write_file
from catnip2bids.volume import plane_sha256
from in_memory import VolumeInMemory
from made_up import Array, some_image
from traced import peak_bytes

MIB = 2**20
NAMES = ("heatmap.nii", "heatmap.nii.gz")


def restored(planes: Array) -> RestoredVolume:
    records = tuple(PlaneRecord("heatmap", plane_sha256(plane)) for plane in planes)
    return RestoredVolume(StoredImage(VolumeInMemory(planes), records))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float32", "float64"])
def test_nifti_files_are_those_that_nibabel_writes(tmp_path: Path, dtype: str, name: str) -> None:
    planes = some_image((7, 12, 14), seed=1).astype(dtype)
    if planes.dtype.kind == "f":
        planes[0, 0, :4] = np.nan, -0.0, np.inf, -np.inf
    write_file(restored(planes), tmp_path / "partial", name, Resources(2, 256 * MIB), lambda _: None)
    image = nib.nifti1.Nifti1Image(planes.T, np.eye(4), dtype=planes.dtype)
    content = (tmp_path / "partial").read_bytes()
    if name.endswith(".gz"):
        assert content[:8] == b"\x1f\x8b\x08" + bytes(5)  # neither a name nor a time
        content = gzip.decompress(content)
    assert content == image.to_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_nifti_files_are_not_held_in_memory(tmp_path: Path, name: str) -> None:
    assert peak_bytes(_write_zeros, tmp_path / "partial", name) < 5 * MIB


def _write_zeros(path: Path, name: str) -> None:
    source = restored(np.broadcast_to(np.uint16(0), (160, 256, 256)))  # 20 MiB
    write_file(source, path, name, Resources(2, 256 * MIB), lambda _: None)
