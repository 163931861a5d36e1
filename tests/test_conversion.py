"""One volume to one image, from Python and from the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr

import catnip2bids
from catnip2bids.build_image import ImageSpec
from catnip2bids.enums import Kind
from catnip2bids.errors import DatasetError, SourceError, UsageError, WriteError
from catnip2bids.locks import lock_output
from catnip2bids.ome import OmeZarrImage
from catnip2bids.progress import Progress
from catnip2bids.volume import plane_sha256
from fork_server import command
from in_process import called
from made_up import DEFLATE, FLAVOURS, Array, Flavour, some_image, some_labels, write_slices, write_tiff
from ome_tiffs import ome_of
from runs import Collector, files_of, ome, read_json

VOXEL_UM = (3.7, 3.7, 5.0)


def level(image: Path, index: int) -> Array:
    return np.asarray(zarr.open_array(image / str(index), mode="r")[...])


@pytest.mark.parametrize("name", ["Z{plane:04d}.tif", "Z{plane:06d}_FRST_T010000.tif", "brain_10um_{plane}.tif"])
def test_a_slice_folder_becomes_an_image(tmp_path: Path, name: str) -> None:
    planes = some_image((12, 70, 65))
    write_slices(tmp_path / "slices", planes, name, Flavour(DEFLATE, rows_per_strip=4))
    made = catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM)
    np.testing.assert_array_equal(level(made.path, 0), planes)
    assert made.sha256 == tuple(plane_sha256(plane) for plane in planes)
    assert (made.shape, made.dtype) == (planes.shape, "uint16")


def test_labels_are_merged_by_mode_and_listed(tmp_path: Path) -> None:
    labels = some_labels((8, 80, 70), "uint16")
    stack = write_tiff(tmp_path / "labels.tif", labels)
    made = catnip2bids.convert(stack, tmp_path / "labels.ome.zarr", VOXEL_UM, kind="labels")
    attributes = dict(zarr.open_group(made.path, mode="r").attrs)["ome"]
    assert isinstance(attributes, dict)
    listed = attributes["image-label"]
    assert isinstance(listed, dict)
    values = {color["label-value"] for color in listed["colors"]}
    assert values == set(np.unique(labels).tolist()) - {0}
    assert set(np.unique(level(made.path, 1)).tolist()) <= values | {0}


@pytest.mark.parametrize(("kind", "n_warnings"), [("labels", 1), ("mask", 0), ("image", 0)])
def test_labels_that_lose_their_names_are_warned_of(tmp_path: Path, kind: str, n_warnings: int) -> None:
    slices = write_slices(tmp_path / "slices", np.ones((3, 20, 20), "float32"))[0].parent
    collector = Collector()
    made = catnip2bids.convert(slices, tmp_path / "image.ome.zarr", VOXEL_UM, kind, collector)
    assert [("float32" in warning, "slices" in warning) for warning in collector.warnings] == [
        (True, True)
    ] * n_warnings
    assert "image-label" not in ome(made.path)
    assert ome(made.path)["omero"]


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return sources that state a voxel size of 3.7 x 3.7 x 5 um, of each kind that can."""
    folder, planes = tmp_path_factory.mktemp("sized"), some_image((3, 20, 20))
    stack = write_tiff(folder / "plain.tif", planes)
    sources = {name: catnip2bids.convert(stack, folder / f"image{name}", VOXEL_UM).path for name in _MADE}
    tifffile.imwrite(
        folder / "imagej.tif",
        planes,
        imagej=True,
        resolution=(1 / 3.7, 1 / 3.7),
        metadata={"unit": "um", "spacing": 5.0, "axes": "ZYX"},
    )
    nifti = nib.Nifti1Image(planes.T, np.diag([0.0037, 0.0037, 0.005, 1]))
    nifti.header.set_xyzt_units("mm")
    nib.save(nifti, folder / "image.nii.gz")
    return sources | {"imagej": folder / "imagej.tif", "nifti": folder / "image.nii.gz"}


_MADE = (".ome.zarr", ".ome.tif")


@pytest.mark.parametrize("name", [*_MADE, "imagej", "nifti"])
def test_the_voxel_size_is_the_one_that_the_source_states(tmp_path: Path, sized: dict[str, Path], name: str) -> None:
    told = Collector()
    made = catnip2bids.convert(sized[name], tmp_path / "image.ome.tif", progress=told)
    assert made.voxel_size_um == VOXEL_UM
    pixels = ome_of(made.path).pixels
    assert (pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z) == VOXEL_UM
    assert told.warnings == []
    assert "3.7 x 3.7 x 5 um" in told.notes[0]


@pytest.mark.parametrize(("size_um", "n_warnings"), [((3.71, 3.7, 5.0), 0), ((3.7, 3.7, 5.5), 1)])
@pytest.mark.parametrize("name", [*_MADE, "imagej", "nifti"])
def test_another_voxel_size_is_used_and_warned_about(
    tmp_path: Path, sized: dict[str, Path], name: str, size_um: tuple[float, float, float], n_warnings: int
) -> None:
    told = Collector()
    made = catnip2bids.convert(sized[name], tmp_path / "image.ome.tif", size_um, progress=told)
    assert made.voxel_size_um == size_um
    assert ome_of(made.path).pixels.physical_size_z == size_um[2]
    assert len(told.warnings) == n_warnings
    for warning in told.warnings:
        assert str(sized[name]) in warning
        assert "3.7 x 3.7 x 5 um" in warning
        assert "3.7 x 3.7 x 5.5 um" in warning


def test_without_any_voxel_size_nothing_is_made(tmp_path: Path) -> None:
    stack = write_tiff(tmp_path / "stack.tif", some_image((3, 20, 20)))
    refused = called("convert", stack, tmp_path / "image.ome.zarr")
    assert refused.returncode == 2
    assert "--voxel-size X Y Z" in refused.stderr
    metadata = {"unit": "um", "axes": "ZYX"}
    planes = some_image((3, 20, 20))
    tifffile.imwrite(tmp_path / "partial.tif", planes, imagej=True, resolution=(2, 2), metadata=metadata)
    with pytest.raises(UsageError, match=r"0\.5 x 0\.5 x \? um in its ImageJ metadata \(nothing is stated along Z\)"):
        catnip2bids.convert(tmp_path / "partial.tif", tmp_path / "image.ome.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"stack.tif", "partial.tif"}


def test_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", some_image((5, 70, 65)), "Z{plane:04d}.tif", Flavour(DEFLATE))
    with pytest.raises(UsageError, match=r"\.ome\.zarr"):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.zarr", VOXEL_UM)
    for size in (0, -1, 1e13, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="not possible"):
            catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", (size, 1, 1))
    sorted((tmp_path / "slices").iterdir())[2].unlink()
    with pytest.raises(SourceError, match="missing"):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM)
    with pytest.raises(SourceError, match="does not exist"):
        catnip2bids.convert(tmp_path / "nowhere", tmp_path / "image.ome.zarr", VOXEL_UM)
    assert [path.name for path in tmp_path.iterdir()] == ["slices"]


@pytest.mark.slow
def test_the_command_converts_and_does_not_replace(tmp_path: Path) -> None:
    stack = write_tiff(tmp_path / "stack.tif", some_image((5, 70, 65)))
    words = ("convert", stack, tmp_path / "image.ome.zarr", "--voxel-size", 3.7, 3.7, 5)
    first = command(*words)
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    again = called(*words)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    write_slices(tmp_path / "slices", some_image((12, 70, 65)), "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    return tmp_path / "slices"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_bytes_of_the_image_do_not_depend_on_how_the_slices_are_stored(
    tmp_path: Path, slices: Path, flavour: str
) -> None:
    write_slices(tmp_path / "other", some_image((12, 70, 65)), "Z{plane:04d}.tif", FLAVOURS[flavour])
    one = catnip2bids.convert(slices, tmp_path / "1/image.ome.zarr", VOXEL_UM)
    two = catnip2bids.convert(tmp_path / "other", tmp_path / "2/image.ome.zarr", VOXEL_UM)
    assert one.sha256 == two.sha256
    assert files_of(one.path) == files_of(two.path)


def test_jobs_and_memory_change_nothing(tmp_path: Path, slices: Path) -> None:
    usual = catnip2bids.convert(slices, tmp_path / "1/image.ome.zarr", VOXEL_UM)
    little = catnip2bids.convert(slices, tmp_path / "2/image.ome.zarr", VOXEL_UM, jobs=1, memory_bytes=256 * 2**20)
    assert files_of(usual.path) == files_of(little.path)


def test_too_little_memory_is_refused_and_nothing_is_left(tmp_path: Path, slices: Path) -> None:
    words = ("convert", slices, tmp_path / "image.ome.zarr", "--voxel-size", 3.7, 3.7, 5)
    refused = called(*words, "--memory", "64MiB")
    assert refused.returncode == 2
    assert "give more with --memory" in " ".join(refused.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["slices"]


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--memory", "much", "'much' is not a valid size"),
        ("--memory", "-1GiB", "'-1GiB' is not a valid size"),
        ("--jobs", "0", "--jobs"),
        ("--jobs", "many", "--jobs"),
    ],
)
def test_impossible_limits_are_refused(tmp_path: Path, slices: Path, option: str, value: str, named: str) -> None:
    words = ("convert", slices, tmp_path / "image.ome.zarr", "--voxel-size", 3.7, 3.7, 5)
    refused = called(*words, f"{option}={value}")
    assert refused.returncode == 2
    assert named in refused.stderr


class _StopAfter(Progress):
    """Interrupts a conversion."""

    def advance(self, n_voxels: int) -> None:
        del n_voxels
        raise KeyboardInterrupt


def test_interrupted_it_goes_on_and_leaves_nothing_else(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.zarr"
    with pytest.raises(KeyboardInterrupt):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=_StopAfter())
    assert not target.exists()
    catnip2bids.convert(slices, target, VOXEL_UM)
    np.testing.assert_array_equal(level(target, 0), some_image((12, 70, 65)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.zarr", "slices"]


def test_a_source_that_changed_meanwhile_is_read_again(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.zarr"
    with pytest.raises(KeyboardInterrupt):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=_StopAfter())
    other = some_image((12, 70, 65), seed=1)
    write_slices(slices, other, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    catnip2bids.convert(slices, target, VOXEL_UM)
    np.testing.assert_array_equal(level(target, 0), other)


def shuffle_of(image: Path) -> str:
    (shards,) = read_json(image / "0/zarr.json")["codecs"]
    (_, blosc) = shards["configuration"]["codecs"]
    return str(blosc["configuration"]["shuffle"])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("kind", Kind)
def test_only_the_bits_of_integer_intensities_are_shuffled(tmp_path: Path, dtype: str, kind: Kind) -> None:
    write_slices(tmp_path / "slices", some_labels((3, 20, 30)).astype(dtype), "Z{plane:04d}.tif", Flavour())
    catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM, kind=kind)
    are_shuffled = kind == Kind.IMAGE and dtype != "float32"
    assert shuffle_of(tmp_path / "image.ome.zarr") == ("bitshuffle" if are_shuffled else "noshuffle")


def test_what_an_earlier_version_began_with_another_codec_begins_again(
    tmp_path: Path, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "image.ome.zarr"
    with monkeypatch.context() as earlier:
        earlier.setattr(OmeZarrImage, "_shuffles_bits", True)
        earlier.setattr(ImageSpec.fingerprint, "__kwdefaults__", {"metadata_format": 2})
        with pytest.raises(KeyboardInterrupt):
            catnip2bids.convert(slices, target, VOXEL_UM, kind=Kind.MASK, progress=_StopAfter())
    catnip2bids.convert(slices, target, VOXEL_UM, kind=Kind.MASK)
    assert shuffle_of(target) == "noshuffle"
    np.testing.assert_array_equal(level(target, 0), some_image((12, 70, 65)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.zarr", "slices"]


def test_overwriting_replaces_the_image(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.zarr"
    catnip2bids.convert(slices, target, VOXEL_UM)
    other = some_image((12, 70, 65), seed=1)
    write_slices(slices, other, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    with pytest.raises(UsageError, match="--overwrite"):
        catnip2bids.convert(slices, target, VOXEL_UM)
    catnip2bids.convert(slices, target, VOXEL_UM, overwrite=True)
    np.testing.assert_array_equal(level(target, 0), other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.zarr", "slices"]


def test_leftovers_of_another_conversion_do_not_let_an_image_be_replaced(tmp_path: Path, slices: Path) -> None:
    target, other = tmp_path / "image.ome.zarr", some_image((12, 70, 65), seed=1)
    catnip2bids.convert(slices, target, VOXEL_UM)
    write_slices(tmp_path / "other", other, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    with pytest.raises(KeyboardInterrupt):
        catnip2bids.convert(tmp_path / "other", target, VOXEL_UM, progress=_StopAfter(), overwrite=True)
    before = files_of(target)
    for source, voxel_um in [(slices, VOXEL_UM), (tmp_path / "other", (1, 1, 1))]:
        with pytest.raises(UsageError, match="exists already"):
            catnip2bids.convert(source, target, voxel_um)
    assert files_of(target) == before
    catnip2bids.convert(tmp_path / "other", target, VOXEL_UM)  # goes on with what was to replace it
    np.testing.assert_array_equal(level(target, 0), other)


@pytest.mark.parametrize("n_bytes", [243, 256, 5000])
def test_names_that_are_too_long_are_refused(tmp_path: Path, slices: Path, n_bytes: int) -> None:
    name = f"{(n_bytes - 9) * 'a'}.ome.zarr"
    with pytest.raises(UsageError, match="too long"):
        catnip2bids.convert(slices, tmp_path / name, VOXEL_UM)
    with pytest.raises(WriteError, match="too long"):
        catnip2bids.convert(slices, tmp_path / (300 * "a") / "image.ome.zarr", VOXEL_UM)
    catnip2bids.convert(slices, tmp_path / f"{233 * 'a'}.ome.zarr", VOXEL_UM)


def test_sources_and_images_are_kept_apart(tmp_path: Path) -> None:
    inside = tmp_path / "image.ome.zarr/slices"
    write_slices(inside, some_image((3, 20, 20)))
    for source, target in [(inside, tmp_path / "image.ome.zarr"), (inside, inside / "other.ome.zarr")]:
        with pytest.raises(UsageError, match="is only read"):
            catnip2bids.convert(source, target, VOXEL_UM, overwrite=True)
    assert len(list(inside.iterdir())) == 3


def test_two_programs_do_not_make_the_same_image(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.zarr"
    with lock_output(target), pytest.raises(DatasetError, match="another catnip2bids"):
        catnip2bids.convert(slices, target, VOXEL_UM, overwrite=True)
    catnip2bids.convert(slices, target, VOXEL_UM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.zarr", "slices"]


def test_a_place_that_cannot_be_written_is_named(slices: Path) -> None:
    refused = called("convert", slices, "/proc/image.ome.zarr", "--voxel-size", 1, 1, 1)
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr


@pytest.mark.slow
def test_more_slices_than_files_may_be_open(tmp_path: Path) -> None:
    planes = some_image((300, 20, 20))
    write_slices(tmp_path / "slices", planes)
    words = ("convert", tmp_path / "slices", tmp_path / "i.ome.zarr", "--voxel-size", 1, 1, 1)
    program = shlex.join([sys.executable, "-m", "catnip2bids", *map(str, words)])
    done = subprocess.run(["sh", "-c", f"ulimit -n 128\n{program}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(level(tmp_path / "i.ome.zarr", 0), planes)


@pytest.mark.parametrize("value", [0.5, 2.0**24])
def test_labels_that_cannot_be_trusted_are_named_with_their_file(tmp_path: Path, value: float) -> None:
    labels = np.ones((5, 20, 20), "float32")
    labels[3, 2, 1] = value
    slices = write_slices(tmp_path / "slices", labels)
    with pytest.raises(SourceError, match=re.escape(f"{slices[3]}: plane 4 has labels")):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM, kind="labels")
    assert [path.name for path in tmp_path.iterdir() if path.name != "slices"] == []


@pytest.mark.parametrize("kind", ["image", "labels", "mask"])
def test_black_and_white_stays_black_and_white(tmp_path: Path, kind: str) -> None:
    """MATLAB writes logical arrays as TIFF files of one bit a pixel."""
    volume = some_image((4, 70, 90), "uint8") % 2 == 1
    (tmp_path / "slices").mkdir()
    for plane, pixels in enumerate(volume, start=1):
        tifffile.imwrite(tmp_path / "slices" / f"Z{plane:04d}.tif", pixels, photometric="minisblack")
    made = catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", VOXEL_UM, kind=kind)
    assert level(made.path, 0).dtype == bool
    np.testing.assert_array_equal(level(made.path, 0), volume)
