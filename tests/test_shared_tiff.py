"""TIFF files of many makers become OME-TIFF and OME-Zarr and keep their planes.

The data is not part of the project; where it is absent, nothing here is run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
import tifffile

import catnip2bids
from catnip2bids.errors import SourceError
from catnip2bids.volume import Volume, inspect_volume, plane_sha256
from made_up import SHARED
from ome_tiffs import decoded_by_libtiff, levels_of, needs_libtiff, ome_of, same_bits, segments_of
from runs import level, slices_of, source_planes

ZOO, SLICES = SHARED / "data/tiff_zoo", SHARED / "data/series/clearmap1_matlab/Data/Synthetic"
VOXEL_UM = (3.7, 3.7, 5.0)
OME_TYPES = {"bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"}

pytestmark = pytest.mark.skipif(not ZOO.is_dir(), reason="the shared data is not there")


def _accepted() -> dict[str, Volume]:
    """All files of the zoo that are volumes."""
    censuses = {path: inspect_volume(path) for path in sorted(ZOO.rglob("*.tif*"))}
    return {
        path.relative_to(ZOO).as_posix(): census.volume
        for path, census in censuses.items()
        if census.volume is not None and not census.problems
    }


VOLUMES = _accepted() if ZOO.is_dir() else {}
POSSIBLE = {name: volume for name, volume in VOLUMES.items() if volume.dtype.name in OME_TYPES}


def _pairs() -> dict[str, list[str]]:
    """Files of the same pixels, by the hash at the end of their names, and others that are known to be.

    Where 0 is white, as in fax, values are stored the other way round: such files pair with each other.
    """
    by_hash = defaultdict(list)
    for name, volume in POSSIBLE.items():
        if (found := re.search(r"-([0-9a-f]{8})\.tiff$", name)) is not None:
            by_hash[f"{found[1]} {volume.dtype} {_photometric(ZOO / name)}"].append(name)
    by_hash["int16"] = ["int16.tif", "int16_zstd.tif"]
    by_hash["issue_69"] = ["issue_69_lzw.tiff", "issue_69_packbits.tiff"]
    return {key: names for key, names in by_hash.items() if len(names) > 1}


def _photometric(path: Path) -> str:
    with tifffile.TiffFile(path) as tiff:
        return tifffile.PHOTOMETRIC(tiff.pages.first.aspage().photometric).name


PAIRS = _pairs() if ZOO.is_dir() else {}


def test_the_zoo_is_what_these_tests_are_made_for() -> None:
    assert len(POSSIBLE) >= 50
    assert len(PAIRS) >= 8
    assert sum(len(names) for names in PAIRS.values()) >= 30


@needs_libtiff
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "int16.tif")) for name in POSSIBLE]
)
def test_there_and_back_planes_keep_their_hashes(tmp_path: Path, name: str) -> None:
    planes = source_planes(ZOO / name)
    hashes = tuple(map(plane_sha256, planes))
    big = catnip2bids.convert(ZOO / name, tmp_path / "1.ome.btf", VOXEL_UM, check=True)
    assert same_bits(levels_of(big.path)[0], planes)
    assert same_bits(decoded_by_libtiff(big.path), planes)
    assert big.how is not None
    if "copied" in big.how:
        assert segments_of(big.path) == segments_of(ZOO / name)
    folder = catnip2bids.convert(big.path, tmp_path / "2.ome.zarr", VOXEL_UM)
    assert same_bits(level(folder.path), planes)
    classic = catnip2bids.convert(folder.path, tmp_path / "3.ome.tif", VOXEL_UM)
    assert big.sha256 == folder.sha256 == classic.sha256 == hashes
    assert same_bits(levels_of(classic.path)[0], planes)


@pytest.mark.parametrize("name", sorted(VOLUMES.keys() - POSSIBLE.keys()))
def test_types_that_ome_tiff_has_not_are_refused(tmp_path: Path, name: str) -> None:
    # older versions of tifffile cannot decode fax
    with pytest.raises(SourceError, match=f"{VOLUMES[name].dtype}.*OME-Zarr|cannot be decoded here"):
        catnip2bids.convert(ZOO / name, tmp_path / "image.ome.btf", VOXEL_UM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS)
def test_the_same_pixels_in_other_encodings_have_the_same_hashes(tmp_path: Path, names: list[str]) -> None:
    stored = [source_planes(ZOO / name) for name in names]
    assert all(same_bits(planes, stored[0]) for planes in stored)
    for ending in (".ome.btf", ".ome.tif", ".ome.zarr"):
        made = [
            catnip2bids.convert(ZOO / name, tmp_path / f"{number}{ending}", VOXEL_UM, check=True)
            for number, name in enumerate(names)
        ]
        assert {one.sha256 for one in made} == {tuple(map(plane_sha256, stored[0]))}


def test_slices_of_matlab_are_copied(tmp_path: Path) -> None:
    """PackBits, without a sample format, with 72 dpi that mean nothing."""
    files = slices_of(SLICES)
    with tifffile.TiffFile(files[0]) as tiff:
        tags = tiff.pages.first.tags
        assert (339 in tags, tags["XResolution"].value, int(tags["Compression"].value)) == (False, (72, 1), 32773)
    planes = source_planes(SLICES)
    for ending in (".ome.btf", ".ome.tif"):
        made = catnip2bids.convert(SLICES, tmp_path / f"image{ending}", VOXEL_UM, check=True)
        assert made.how == "pixels copied as they are stored (PackBits)"
        assert made.sha256 == tuple(map(plane_sha256, planes))
        assert same_bits(levels_of(made.path)[0], planes)
        assert segments_of(made.path) == [segments for file in files for segments in segments_of(file)]
        pixels = ome_of(made.path).pixels
        sizes = (pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z)
        assert (sizes, pixels.size_z) == (VOXEL_UM, 40)
        with tifffile.TiffFile(made.path) as tiff:
            assert tiff.pages.first.aspage().resolution == pytest.approx((10_000 / 3.7, 10_000 / 3.7), rel=1e-6)


@needs_libtiff
def test_libtiff_reads_the_slices_of_matlab(tmp_path: Path) -> None:
    made = catnip2bids.convert(SLICES, tmp_path / "image.ome.btf", VOXEL_UM, pyramid=True)
    assert same_bits(decoded_by_libtiff(made.path), source_planes(SLICES))
