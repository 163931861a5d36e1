"""OME-Zarr: level 0 of images that zarr-python or this program wrote, each chunk of which is decoded once."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
import zarr as zarr_python
from zarr.codecs import BytesCodec

import catnip2bids
from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.errors import ReadError, SourceError, WriteError
from catnip2bids.ome import OmeZarrImage, downsample
from catnip2bids.verification.image_readers import ZarrReader
from catnip2bids.volume import (
    PlaneSource,
    ReadCost,
    Volume,
    inspect_volume,
    is_ome_zarr,
    plane_sha256,
    read_planes,
)
from catnip2bids.volume.plane_buffer import PlaneBuffer
from catnip2bids.volume.zarr import ZarrVolume, inspect_zarr, zarr_volume
from made_up import Array, found, read_all, some_image, some_labels, the_problem, write_slices, write_tiff, write_unit
from runs import Collector

VERSIONS = ("0.4", "0.5", "0.5 sharded")
SHAPE, CHUNK = (13, 30, 21), (4, 8, 10)
VOXEL_UM = (3.7, 3.7, 5.0)
AXES = "zyx"


@dataclass(frozen=True)
class Written:
    """What may be unusual in an image.

    Attributes
    ----------
    axes
        Their names.
    level
        Where the array of level 0 is.
    options
        What zarr-python is told besides.
    scales
        The scale of level 0 and of the whole image.
    unit
        That of the axes of space.
    """

    axes: str = AXES
    level: str = "0"
    options: dict[str, Any] = field(default_factory=dict)
    scales: tuple[list[float] | None, list[float] | None] = (None, None)
    unit: str | None = "micrometer"


def write_image(path: Path, image: Array, version: str = "0.5", written: Written | None = None) -> Path:
    """Write an image with zarr-python: an array, and the metadata that makes a multiscale image of it."""
    written = written or Written()
    chunk = tuple(dict(zip(AXES, CHUNK, strict=True)).get(axis, 1) for axis in written.axes)
    shards = tuple(2 * n for n in chunk) if version == "0.5 sharded" else None
    array = zarr_python.create_array(
        path / written.level,
        shape=image.shape,
        chunks=chunk,
        zarr_format=2 if version == "0.4" else 3,
        **{"dtype": image.dtype, "shards": shards, **written.options},
    )
    array[...] = image
    write_metadata(path, multiscale(written), version)
    return path


def multiscale(written: Written) -> dict[str, Any]:
    """Describe an image of one level."""
    of_level, of_image = (
        {} if scale is None else {"coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for scale in written.scales
    )
    unit = {} if written.unit is None else {"unit": written.unit}
    axes = [{"name": a, "type": "space", **unit} if a in AXES else {"name": a} for a in written.axes]
    return {"axes": axes, "datasets": [{"path": written.level, **of_level}], **of_image}


def write_metadata(path: Path, image: object, version: str = "0.5") -> None:
    """Write the metadata of an image with one multiscale."""
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
        return
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}}
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))


def chunk_files(path: Path) -> list[Path]:
    """List the files of chunks or shards of level 0, in order."""
    files = (path / "0").rglob("*")
    return sorted(file for file in files if file.is_file() and file.name not in ("zarr.json", ".zarray", ".zattrs"))


def read_rows(volume: Volume, plane: int, start: int, stop: int) -> Array:
    """Open a plane, read some rows, and close it again."""
    rows: Array = np.empty((stop - start, volume.shape[2]), volume.dtype)
    opened = volume.open_plane(plane)
    try:
        opened.read_rows(start, stop, rows)
    finally:
        opened.close()
    return rows


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Return a list to which each tile is added when it is decoded: its first plane, row and column."""
    decoded: list[tuple[int, int, int]] = []
    decode = zarr_volume.SlabCache.decode

    def counting(self: zarr_volume.SlabCache, planes: slice, rows: slice, columns: slice) -> Array:
        decoded.append((planes.start, rows.start, columns.start))
        return decode(self, planes, rows, columns)

    monkeypatch.setattr(zarr_volume.SlabCache, "decode", counting)
    return decoded


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all slabs be too large for memory."""
    monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", 0)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each chunk be a tile of its own."""
    monkeypatch.setattr(zarr_volume, "TILE_BYTES", 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_planes_equal_the_array(tmp_path: Path, version: str, dtype: str) -> None:
    image = some_image(SHAPE, dtype)
    volume = found(inspect_zarr(write_image(tmp_path / "image.ome.zarr", image, version)))
    assert isinstance(volume, ZarrVolume)
    assert isinstance(volume, Volume)
    assert (volume.shape, volume.dtype, volume.chunk) == (SHAPE, np.dtype(dtype), CHUNK)
    np.testing.assert_array_equal(read_all(volume), image)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (4, 8, 10), (9, 17, 11)])
@pytest.mark.parametrize("version", VERSIONS)
def test_any_rows_of_any_plane_can_be_read(tmp_path: Path, version: str, shape: tuple[int, int, int]) -> None:
    image = some_image(shape)
    volume = found(inspect_zarr(write_image(tmp_path / "image.ome.zarr", image, version)))
    for plane in range(shape[0]):
        for start, stop in ((0, 1), (shape[1] // 2, shape[1]), (0, shape[1]), (shape[1] - 1, shape[1])):
            np.testing.assert_array_equal(read_rows(volume, plane, start, stop), image[plane, start:stop])


@pytest.mark.parametrize("version", list(OmeZarrVersion))
def test_an_image_of_our_own_is_read_back(tmp_path: Path, version: OmeZarrVersion) -> None:
    image = some_image((20, 70, 65))
    image[:, :30] = 0
    writer = OmeZarrImage(tmp_path / "image.ome.zarr", image.shape, "uint16", VOXEL_UM, Kind.IMAGE, version)
    writer.create()
    write_unit(writer, 0, image)
    write_metadata(writer.folder, multiscale(Written()), version.value)
    np.testing.assert_array_equal(read_all(found(inspect_zarr(writer.folder))), image)


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif"])
def test_an_image_made_of_an_image_has_the_same_planes(
    tmp_path: Path, kind: str, ending: str, decodings: list[tuple[int, int, int]]
) -> None:
    shape = (70, 140, 130)
    image = some_labels(shape) if kind == "labels" else some_image(shape)
    first = catnip2bids.convert(
        write_tiff(tmp_path / "stack.tif", image), tmp_path / "first.ome.zarr", VOXEL_UM, kind=kind
    )
    second = catnip2bids.convert(first.path, tmp_path / f"second{ending}", VOXEL_UM, kind=kind)
    assert second.sha256 == first.sha256 == tuple(plane_sha256(plane) for plane in image)
    assert len(decodings) == len(set(decodings)) == 2 * 2
    for made in (first, second):
        np.testing.assert_array_equal(read_all(found(inspect_volume(made.path))), image)
    volume = found(inspect_volume(first.path))
    assert isinstance(volume, ZarrVolume)
    assert (volume.voxel_size_um, volume.chunk) == (VOXEL_UM, (64, 128, 128))


def test_its_files_are_those_of_level_0_and_the_metadata(tmp_path: Path) -> None:
    for version, documents in (("0.4", [".zattrs", ".zgroup", "0/.zarray"]), ("0.5", ["0/zarr.json", "zarr.json"])):
        path = write_image(tmp_path / f"{version}.zarr", some_image(SHAPE), version)
        write_image(path / "labels" / "other", some_image(SHAPE), version)
        (path / "1").mkdir()
        (path / "1" / "0.0.0").write_bytes(b"of level 1")
        inspection = inspect_zarr(path)
        volume = found(inspection)
        names = [file.relative_to(path).as_posix() for file in volume.files]
        chunks = [file.relative_to(path).as_posix() for file in chunk_files(path)]
        assert set(names) == {*documents, *chunks} | {name for name in names if name == "0/.zattrs"}
        assert list(volume.files) == sorted(volume.files)
        assert (inspection.n_files, inspection.n_bytes) == (
            len(names),
            sum(file.stat().st_size for file in volume.files),
        )
        assert volume.plane_source(2) == PlaneSource(path, 2)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "bool"])
@pytest.mark.parametrize("version", VERSIONS)
def test_half_precision_and_truth_come_out_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, dtype: str, in_memory: bool
) -> None:
    if not in_memory:
        monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", 0)
    image = all_values(dtype)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image, version)))
    assert volume.dtype == image.dtype
    assert read_all(volume).tobytes() == image.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bool"])
def test_our_own_images_of_half_precision_and_truth_are_read_back(tmp_path: Path, dtype: str) -> None:
    image = all_values(dtype)
    tifffile.imwrite(tmp_path / "stack.tif", image, photometric="minisblack", metadata=None)
    first = catnip2bids.convert(tmp_path / "stack.tif", tmp_path / "first.ome.zarr", VOXEL_UM)
    again = catnip2bids.convert(first.path, tmp_path / "again.ome.zarr", VOXEL_UM)
    assert (again.dtype, again.sha256) == (dtype, first.sha256)
    assert read_all(found(inspect_zarr(again.path))).tobytes() == image.tobytes()


def all_values(dtype: str) -> Array:
    """Return all numbers of 16 bits that there are, NaN with all its payloads included, or as many truth values."""
    numbers = np.arange(2**16, dtype="uint16").reshape(16, 64, 64)
    return numbers.view(dtype) if dtype == "float16" else numbers % 3 == 0


@pytest.mark.parametrize("dtype", [">i2", ">u2", ">f4", ">f8"])
def test_big_endian_values_are_read_in_native_order(tmp_path: Path, dtype: str) -> None:
    image = some_image(SHAPE, dtype[1:])
    written = Written(options={"dtype": dtype})
    second = write_image(tmp_path / "second.zarr", image, "0.4", written)
    assert json.loads((second / "0" / ".zarray").read_bytes())["dtype"] == dtype
    third = write_image(
        tmp_path / "third.zarr", image, "0.5", Written(options={"serializer": BytesCodec(endian="big")})
    )
    for path in (second, third):
        volume = found(inspect_zarr(path))
        assert volume.dtype.isnative
        np.testing.assert_array_equal(read_all(volume), image)


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_infinity_and_negative_zero_are_kept(tmp_path: Path, version: str) -> None:
    image = some_image(SHAPE, "float32")
    image[0, 0, :3] = np.nan, np.inf, -0.0
    image.view("uint32")[0, 1, :2] = 0x7FC12345, 0xFFA00001  # other NaN than numpy's
    planes = read_all(found(inspect_zarr(write_image(tmp_path / "image.zarr", image, version))))
    assert planes.tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"order": "F"}, id="Fortran order"),
        pytest.param({"compressors": None, "filters": None}, id="not compressed"),
        pytest.param({"chunk_key_encoding": {"name": "v2", "separator": "/"}}, id="nested chunks"),
    ],
)
def test_other_ways_to_store_an_array(tmp_path: Path, options: dict[str, Any]) -> None:
    image = some_image(SHAPE)
    path = write_image(tmp_path / "image.zarr", image, "0.4", Written(options=options))
    np.testing.assert_array_equal(read_all(found(inspect_zarr(path))), image)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("shift", "is_told"), [([100.0, 0.0, 20.0], True), ([0, 0.0, 0], False)])
def test_a_place_in_space_that_is_not_kept_is_a_warning(
    tmp_path: Path, version: str, shift: list[float], *, is_told: bool
) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE), version)
    described = multiscale(Written())
    described["datasets"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [5.0, 3.7, 3.5]},
        {"type": "translation", "translation": shift},
    ]
    write_metadata(path, described, version)
    assert any("translation" in warning for warning in inspect_zarr(path).warnings) is is_told


@pytest.mark.parametrize("version", VERSIONS)
def test_axes_of_length_1_are_left_out(tmp_path: Path, version: str) -> None:
    image = some_image(SHAPE)
    written = Written(axes="tczyx", level="scale/full", scales=([1.0, 1.0, 5.0, 3.7, 3.5], None))
    path = write_image(tmp_path / "image.zarr", image[None, None], version, written)
    volume = found(inspect_zarr(path))
    assert isinstance(volume, ZarrVolume)
    assert (volume.shape, volume.chunk) == (SHAPE, CHUNK)
    assert volume.voxel_size_um == (3.5, 3.7, 5.0)
    np.testing.assert_array_equal(read_all(volume), image)


@pytest.mark.parametrize(
    ("axes", "shape", "problem"),
    [
        ("czyx", (2, *SHAPE), "has 2 channels; save each of them as an image of its own"),
        ("tczyx", (3, 1, *SHAPE), "has 3 time points; save each"),
        ("azyx", (4, *SHAPE), "has 4 places along its axis a; save each"),
        ("xyz", SHAPE[::-1], "its axes are x, y, z; save the image with the axes z, y, x in this order"),
        ("zxy", SHAPE, "its axes are z, x, y"),
        ("yx", SHAPE[1:], "its axes are y, x"),
        ("", SHAPE, "its axes are none"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_other_axes_are_refused(tmp_path: Path, version: str, axes: str, shape: tuple[int, ...], problem: str) -> None:
    path = write_image(tmp_path / "image.zarr", np.ones(shape, "uint8"), version, Written(axes or "zyx"))
    write_metadata(path, multiscale(Written(axes)), version)
    assert f"{path}" in the_problem(inspect_zarr(path))
    assert problem in the_problem(inspect_zarr(path))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("version", VERSIONS)
def test_values_that_are_no_numbers_of_ours_are_refused(tmp_path: Path, version: str, dtype: str) -> None:
    path = write_image(tmp_path / "image.zarr", np.ones(SHAPE, dtype), version)
    assert f"{path}: has values of type {dtype}; save it as" in the_problem(inspect_zarr(path))


def test_an_array_without_voxels_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.zarr", np.ones((0, 4, 4), "uint8"))
    assert f"{path}: has 4 x 4 x 0 voxels" in the_problem(inspect_zarr(path))


def damaged(document: str, content: bytes) -> Callable[[Path], None]:
    """Return what replaces a document of an image."""

    def damage(path: Path) -> None:
        (path / document).write_bytes(content)

    return damage


def described(image: object) -> Callable[[Path], None]:
    """Return what replaces the description of an image."""
    return lambda path: write_metadata(path, image)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda path: (path / "zarr.json").unlink(), "has no metadata of OME-Zarr", id="no metadata"),
        pytest.param(lambda path: shutil.rmtree(path / "0"), "its array 0 cannot be read", id="no array"),
        pytest.param(damaged("zarr.json", b'{"attributes":'), "zarr.json: damaged JSON", id="cut off"),
        pytest.param(damaged("zarr.json", b"\xff\xfe"), "zarr.json: damaged JSON", id="no text"),
        pytest.param(damaged("zarr.json", b"[" * 100_000), "zarr.json: damaged JSON", id="too deep"),
        pytest.param(damaged("zarr.json", b"[]"), "describes no OME-Zarr image", id="a list"),
        pytest.param(damaged("zarr.json", b'{"attributes": {}}'), "describes no OME-Zarr image", id="a group"),
        pytest.param(damaged("0/zarr.json", b"{}"), "its array 0 cannot be read", id="array without metadata"),
        pytest.param(damaged("0/zarr.json", b"{"), "its array 0 cannot be read", id="array cut off"),
        pytest.param(described("an image"), "describes no OME-Zarr image", id="not described"),
        pytest.param(described({"axes": [{"name": "z"}]}), "does not tell where level 0 is", id="no datasets"),
        pytest.param(described({"datasets": [{"path": 0}]}), "does not tell where level 0 is", id="path not a text"),
        pytest.param(described({"datasets": [{"path": "0"}]}), "its axes are none", id="no axes"),
        pytest.param(described({"datasets": [{"path": "0"}], "axes": [1]}), "an axis without a name", id="axis"),
        pytest.param(described(multiscale(Written("czyx"))), "has 3 axes and its metadata names 4", id="more axes"),
        pytest.param(described(multiscale(Written(level="7"))), "its array 7 cannot be read", id="another array"),
    ],
)
def test_damaged_metadata_is_a_problem_that_names_the_image(
    tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE))
    damage(path)
    assert str(path) in the_problem(inspect_zarr(path))
    assert problem in the_problem(inspect_zarr(path))


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return what edits the metadata of an array."""

    def edit(path: Path) -> None:
        document = next(file for file in (path / "0/zarr.json", path / "0/.zarray") if file.is_file())
        metadata = json.loads(document.read_bytes())
        change(metadata)
        document.write_text(json.dumps(metadata))

    return edit


def set_separator(array: dict[str, Any]) -> None:
    array["chunk_key_encoding"]["configuration"] = {"separator": "/../../../etc/"}


@pytest.mark.parametrize(
    ("version", "change", "problem"),
    [
        ("0.5", set_separator, "'/../../../etc/' is none of '.', '/'"),
        ("0.4", lambda array: array.update(dimension_separator="/../"), "'/../' is none of '.', '/'"),
        (
            "0.5 sharded",
            lambda array: array["codecs"][0]["configuration"].update(index_location="middle"),
            "'middle' is none of 'start', 'end'",
        ),
        (
            "0.5 sharded",
            lambda array: array["codecs"].append({"name": "zstd", "configuration": {"level": 1, "checksum": False}}),
            "its shards are compressed once more",
        ),
    ],
)
def test_a_grid_that_no_writer_makes_is_refused(
    tmp_path: Path, version: str, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE), version)
    assert inspect_zarr(path).problems == ()
    edited(change)(path)
    assert problem in the_problem(inspect_zarr(path))


def test_a_scale_that_no_float_can_hold_is_no_voxel_size(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE))
    write_metadata(path, multiscale(Written(scales=([10**400, 1, 1], None))))
    assert cast("ZarrVolume", found(inspect_zarr(path))).voxel_size_um is None


def test_levels_of_different_types_are_not_verified(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE, "uint8"))
    shutil.copytree(path / "0", path / "1")
    described = multiscale(Written(scales=([1, 1, 1], None)))
    described["datasets"].append({**described["datasets"][0], "path": "1"})
    write_metadata(path, described)
    edited(lambda array: array.update(codecs=array["codecs"][:1]))(path)
    shutil.copyfile(path / "0/zarr.json", path / "1/zarr.json")
    assert ZarrReader(path, Kind.IMAGE, downsample, twice=False, most_bytes=2**20).dtype == "uint8"
    document = json.loads((path / "1/zarr.json").read_bytes())
    (path / "1/zarr.json").write_text(json.dumps({**document, "data_type": "int8"}))
    with pytest.raises(SourceError, match="its levels hold values of different types: int8, uint8"):
        ZarrReader(path, Kind.IMAGE, downsample, twice=False, most_bytes=2**20)


def test_a_folder_is_an_image_by_its_name_or_its_metadata(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    for version in VERSIONS:
        path = write_image(tmp_path / version, image, version)
        assert is_ome_zarr(path)
        np.testing.assert_array_equal(read_all(found(inspect_volume(path))), image)
    (tmp_path / "empty.ZARR").mkdir()
    assert "has no metadata of OME-Zarr" in the_problem(inspect_volume(tmp_path / "empty.ZARR"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="neither a folder of TIFF slices nor an OME-Zarr"):
        inspect_volume(tmp_path / "empty")
    with pytest.raises(SourceError, match="does not exist"):
        inspect_volume(tmp_path / "nothing.zarr")


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [
        ("micrometer", [5.0, 3.7, 3.7], (3.7, 3.7, 5.0)),
        ("nanometer", [5000, 3700, 3700], (3.7, 3.7, 5.0)),
        ("millimeter", [0.005, 0.002, 0.001], (1.0, 2.0, 5.0)),
        (None, [5.0, 3.7, 3.7], None),
        ("parsec", [5.0, 3.7, 3.7], None),
        ("micrometer", None, None),
        ("micrometer", [5.0, 3.7], None),
        ("micrometer", [5.0, 3.7, 0.0], None),
        ("micrometer", [5.0, 3.7, "3.7"], None),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_voxel_size_is_that_of_the_metadata(
    tmp_path: Path, version: str, unit: str | None, scale: list[float] | None, expected: tuple[float, ...] | None
) -> None:
    written = Written(scales=(scale, None), unit=unit)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", some_image(SHAPE), version, written)))
    assert isinstance(volume, ZarrVolume)
    assert volume.voxel_size_um == (None if expected is None else pytest.approx(expected))


def test_the_scale_of_the_image_counts_for_its_levels_too(tmp_path: Path) -> None:
    written = Written(scales=([1.0, 2.0, 4.0], [10.0, 0.5, 0.25]))
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", some_image(SHAPE), "0.5", written)))
    assert isinstance(volume, ZarrVolume)
    assert volume.voxel_size_um == (1.0, 1.0, 10.0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_chunk_that_is_not_there_is_the_fill_value(tmp_path: Path, version: str) -> None:
    image = some_image(SHAPE)
    path = write_image(tmp_path / "image.zarr", image, version, Written(options={"fill_value": 7}))
    chunk_files(path)[0].unlink()
    missing = tuple(slice(2 * n if version == "0.5 sharded" else n) for n in CHUNK)
    image[missing] = 7
    inspection = inspect_zarr(path)
    n_missing = 8 if version == "0.5 sharded" else 1
    (warning,) = inspection.warnings
    assert warning.startswith(f"{path}: {n_missing} of 48 chunks")
    assert "the fill value 7" in warning
    np.testing.assert_array_equal(read_all(found(inspection)), image)


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("0.4", {}),
        ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        ("0.5", {}),
        ("0.5", {"chunk_key_encoding": {"name": "default", "separator": "."}}),
        ("0.5", {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
        ("0.5 sharded", {}),
        ("0.5 sharded", {"shards": {"shape": (1, 8, 16, 20), "index_location": "start"}}),
        ("0.5 sharded", {"serializer": BytesCodec(endian="big")}),
    ],
)
def test_chunks_that_are_not_stored_are_counted(tmp_path: Path, version: str, options: dict[str, Any]) -> None:
    image = some_image(SHAPE)[np.newaxis]
    image[0, :4, :8, :10] = 0  # which zarr-python does not store
    image[0, 12:, 24:, 20:] = 0  # at the ends of all axes
    path = write_image(tmp_path / "image.zarr", image, version, Written("czyx", options=options))
    for odd in ("0/._0.0.0.0", "0/c/0/0/0/9", "0/0.0.0.9", "0/.DS_Store"):  # none of them is a chunk
        (path / odd).parent.mkdir(parents=True, exist_ok=True)
        (path / odd).write_bytes(b"odd")
    inspection = inspect_zarr(path)
    (warning,) = inspection.warnings
    assert warning.startswith(f"{path}: 2 of 48 chunks are not stored")
    np.testing.assert_array_equal(read_all(found(inspection)), image[0])


def test_chunks_that_our_writer_leaves_out_are_no_warning(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", np.zeros((3, 20, 20), "uint8"))
    catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.zarr", (1, 1, 1))
    inspection = inspect_zarr(tmp_path / "image.ome.zarr")
    assert inspection.warnings == ()
    (note,) = inspection.notes
    assert note.endswith("1 of 1 chunk is not stored, because catnip2bids leaves out chunks in which all voxels are 0")
    told = Collector()
    catnip2bids.convert(tmp_path / "image.ome.zarr", tmp_path / "again.ome.zarr", progress=told)
    assert (note in told.notes, told.warnings) == (True, [])


def test_an_image_without_gaps_has_no_warning(tmp_path: Path) -> None:
    for version in VERSIONS:
        assert inspect_zarr(write_image(tmp_path / version, some_image(SHAPE), version)).warnings == ()


def test_no_chunk_at_all_is_warned_about(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.zarr", np.zeros(SHAPE, "uint8"), "0.4")
    inspection = inspect_zarr(path)
    assert "48 of 48 chunks" in "".join(inspection.warnings)
    assert not read_all(found(inspection)).any()


def test_a_shard_that_is_cut_off_is_not_counted_and_cannot_be_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE), "0.5 sharded")
    chunk_files(path)[0].write_bytes(b"short")
    inspection = inspect_zarr(path)
    assert "8 of 48 chunks" in "".join(inspection.warnings)
    with pytest.raises(SourceError):
        read_all(found(inspection))


@pytest.mark.parametrize("n_left", [0, 0.5, 0.99])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_chunk_that_is_cut_off_is_an_error_that_names_image_and_plane(
    tmp_path: Path, version: str, n_left: float
) -> None:
    image = some_image(SHAPE)
    path = write_image(tmp_path / "image.zarr", image, version)
    volume = found(inspect_zarr(path))
    chunk = chunk_files(path)[0]
    content = chunk.read_bytes()
    chunk.write_bytes(content[: int(len(content) * n_left)])
    for plane in (0, 3):
        with pytest.raises(SourceError, match=rf"image.zarr: plane {plane + 1}, rows 1 to 8, cannot be read"):
            read_rows(volume, plane, 0, 8)
    np.testing.assert_array_equal(read_rows(volume, 3, 16, 30), image[3, 16:])
    chunk.write_bytes(content)
    np.testing.assert_array_equal(read_rows(volume, 2, 0, 30), image[2])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_chunk_of_other_content_is_an_error(tmp_path: Path, version: str) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE), version)
    volume = found(inspect_zarr(path))
    for chunk in chunk_files(path):
        chunk.write_bytes(b"not what was written" * 100)
    with pytest.raises(SourceError, match=r"image.zarr: plane 1, rows 1 to 8, cannot be read"):
        read_all(volume)


def test_what_the_system_cannot_read_is_told_apart_from_damage(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE))
    volume = found(inspect_zarr(path))
    chunk = chunk_files(path)[0]
    chunk.unlink()
    chunk.symlink_to(chunk)
    with pytest.raises(ReadError, match=r"image.zarr: plane 1, rows 1 to 8, cannot be read: .*links"):
        read_all(volume)


@pytest.mark.parametrize("changed", [some_image((13, 30, 22)), some_image(SHAPE, "int16")])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_image_that_changed_since_the_inspection_is_an_error(tmp_path: Path, version: str, changed: Array) -> None:
    path = write_image(tmp_path / "image.zarr", some_image(SHAPE), version)
    volume = found(inspect_zarr(path))
    shutil.rmtree(path)
    with pytest.raises(SourceError, match=r"image\.zarr"):
        volume.open_plane(0)
    write_image(path, changed, version)
    with pytest.raises(SourceError, match=r"image.zarr: is not what it was; run again when nothing writes to it"):
        volume.open_plane(0)


def test_a_new_inspection_does_not_get_what_was_decoded_before(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    path = write_image(tmp_path / "image.zarr", image)
    before = found(inspect_zarr(path))
    np.testing.assert_array_equal(read_rows(before, 0, 0, 30), image[0])
    shutil.rmtree(path)
    write_image(path, image + 1)
    after = found(inspect_zarr(path))
    assert after == before
    np.testing.assert_array_equal(read_rows(after, 1, 0, 30), image[1] + 1)


def test_a_volume_can_be_sent_elsewhere(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image)))
    opened = volume.open_plane(0)
    sent = pickle.loads(pickle.dumps(volume))
    assert (sent, hash(sent)) == (volume, hash(volume))
    np.testing.assert_array_equal(read_all(sent), image)
    opened.close()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("at_once", [1, 2, 5, 13])
def test_each_chunk_is_decoded_once(tmp_path: Path, decodings: list[tuple[int, int, int]], at_once: int) -> None:
    image = some_image(SHAPE)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image)))
    for first in range(0, SHAPE[0], at_once):
        planes = [volume.open_plane(plane) for plane in range(first, min(first + at_once, SHAPE[0]))]
        for top in range(0, SHAPE[1], 3):  # band by band, as blocks are read
            for index, plane in enumerate(planes):
                rows: Array = np.empty((3, SHAPE[2]), image.dtype)
                plane.read_rows(top, top + 3, rows)
                np.testing.assert_array_equal(rows, image[first + index, top : top + 3])
        for plane in planes:
            plane.close()
    every = [(z, y, x) for z in range(0, 13, 4) for y in range(0, 30, 8) for x in range(0, 21, 10)]
    assert sorted(decodings) == every


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("large", [False, True])
def test_threads_may_read_planes_of_several_slabs_at_the_same_time(
    tmp_path: Path,
    decodings: list[tuple[int, int, int]],
    monkeypatch: pytest.MonkeyPatch,
    large: bool,
) -> None:
    if large:
        monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", 0)
    image = some_image(SHAPE)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image, "0.5 sharded")))
    kept = [volume.open_plane(plane) for plane in (0, 4, 8, 12)]
    with ThreadPoolExecutor(6) as threads:
        planes = list(threads.map(lambda plane: read_rows(volume, plane, 0, 30), [*range(13)] * 3))
    np.testing.assert_array_equal(planes, [*image] * 3)
    assert len(decodings) == len(set(decodings)) == 4 * 4 * 3
    for plane in kept:
        plane.close()


def test_slabs_are_let_go_when_all_their_planes_were_read(
    tmp_path: Path, decodings: list[tuple[int, int, int]]
) -> None:
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", some_image(SHAPE))))
    opened = zarr_volume._cache_of(volume) if isinstance(volume, ZarrVolume) else None
    assert opened is not None
    for plane in (0, 1, 2):
        read_rows(volume, plane, 0, 30)
    assert (list(opened._slabs), len(decodings)) == ([0], 4)
    read_rows(volume, 3, 0, 30)
    assert (list(opened._slabs), len(decodings)) == ([], 4)
    read_rows(volume, 3, 0, 30)
    assert len(decodings) == 8
    number = id(volume)
    assert number in zarr_volume._caches
    del volume
    gc.collect()
    assert number not in zarr_volume._caches


@pytest.mark.usefixtures("on_disk")
def test_no_more_than_two_large_slabs_wait_for_their_planes(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image)))
    assert isinstance(volume, ZarrVolume)
    opened = zarr_volume._cache_of(volume)
    for plane, expected in ((0, [0]), (4, [0, 1]), (1, [1, 0]), (8, [0, 2]), (12, [2])):
        np.testing.assert_array_equal(read_rows(volume, plane, 0, 30), image[plane])
        assert list(opened._slabs) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slab_that_is_too_large_for_memory_is_kept_on_disk(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch, decodings: list[tuple[int, int, int]]
) -> None:
    image = some_image(SHAPE, "float64")
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image, version)))
    monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", 4 * 30 * 21 * 8 - 1)
    made: list[PlaneBuffer] = []

    class Buffer(PlaneBuffer):
        def __init__(self, n_values: int, dtype: np.dtype[Any], *, in_memory: bool) -> None:
            super().__init__(n_values, dtype, in_memory=in_memory)
            assert not in_memory
            made.append(self)

    monkeypatch.setattr(zarr_volume, "PlaneBuffer", Buffer)
    np.testing.assert_array_equal(read_all(volume), image)
    assert (len(made), len(decodings)) == (4, 16)
    with pytest.raises(ValueError, match="closed file"):
        made[0].get(0, 1)  # closed


def test_open_planes_of_more_slabs_than_fit_into_memory_use_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = some_image(SHAPE)
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", image)))
    slab_bytes = 4 * 30 * 21 * 2
    monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", slab_bytes)
    assert isinstance(volume, ZarrVolume)
    planes = [volume.open_plane(plane) for plane in range(13)]
    kept = [slab.buffer for slab in zarr_volume._cache_of(volume)._slabs.values()]
    assert [buffer.memory_bytes for buffer in kept] == [slab_bytes, slab_bytes, 0, 0]
    for index, plane in enumerate(planes):
        rows: Array = np.empty((30, 21), image.dtype)
        plane.read_rows(0, 30, rows)
        np.testing.assert_array_equal(rows, image[index])
        plane.close()


@pytest.mark.usefixtures("on_disk")
def test_without_room_on_disk_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", some_image(SHAPE))))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(WriteError, match=r"nowhere: cannot be written: .*; free space, or set TMPDIR"):
        volume.open_plane(0)


def test_it_tells_the_memory_that_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = found(inspect_zarr(write_image(tmp_path / "image.zarr", some_image(SHAPE))))
    tile_bytes, volume_bytes, slab_bytes = 4 * 8 * 30 * 2, 13 * 30 * 21 * 2, 4 * 30 * 21 * 2
    assert volume.read_cost == ReadCost(shared_bytes=volume_bytes + 3 * tile_bytes)
    monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", slab_bytes)
    assert volume.read_cost.shared_bytes == 2 * slab_bytes + 3 * tile_bytes
    monkeypatch.setattr(zarr_volume, "LARGEST_SLAB_BYTES", slab_bytes - 1)
    assert volume.read_cost.shared_bytes == 3 * tile_bytes
    monkeypatch.setattr(zarr_volume, "TILE_BYTES", 2 * 4 * 8 * 10 * 2)
    assert volume.read_cost.shared_bytes == 3 * 4 * 8 * 20 * 2


def test_planes_are_read_into_any_part_of_an_array(tmp_path: Path) -> None:
    image, planes = some_image(SHAPE), np.empty((3, 30, 21), "uint16")
    read_planes(found(inspect_zarr(write_image(tmp_path / "image.zarr", image))), 2, 5, planes)
    np.testing.assert_array_equal(planes, image[2:5])


def test_a_second_image_is_not_dropped_in_silence(tmp_path: Path) -> None:
    path = write_image(tmp_path / "two.ome.zarr", some_image((4, 8, 8)))
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"] *= 2
    (path / "zarr.json").write_text(json.dumps(document))
    assert "describes 2 images" in the_problem(inspect_volume(path))


def test_levels_that_do_not_begin_with_the_largest_are_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "small.ome.zarr", some_image((4, 8, 8)), written=Written(scales=([2.0] * 3, None)))
    document = json.loads((path / "zarr.json").read_text())
    larger = {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [1.0] * 3}]}
    document["attributes"]["ome"]["multiscales"][0]["datasets"].append(larger)
    (path / "zarr.json").write_text(json.dumps(document))
    assert "do not begin with the one of the smallest voxels" in the_problem(inspect_volume(path))
