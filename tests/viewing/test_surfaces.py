"""Surfaces of regions: where they are, that only small levels are read, and that noise is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from catnip2bids import convert
from catnip2bids.errors import SourceError
from catnip2bids.viewing import surfaces
from catnip2bids.viewing.surfaces import has_surfaces, surface_files
from catnip2bids.viewing.zarr_image import ZarrImage
from made_up import write_slices
from runs import Array

VOXEL_SIZE_UM = (3.7, 3.7, 5.0)
STEPS_NM = np.array(VOXEL_SIZE_UM) * 1000
BOXES = {7: ((2, 5), (10, 20), (30, 44)), 300: ((0, 1), (0, 40), (0, 9)), 65535: ((6, 7), (5, 6), (60, 70))}
"""Labels, and the voxels that they fill: z, y, x, from and to."""


def image_of(labels: Array, folder: Path) -> ZarrImage:
    """Write labels as OME-Zarr."""
    write_slices(folder / "labels", labels)
    path = convert(folder / "labels", folder / "labels.ome.zarr", VOXEL_SIZE_UM, "labels").path
    return ZarrImage(path, path)


def boxes(dtype: str = "uint16", shape: tuple[int, int, int] = (8, 40, 70)) -> Array:
    labels = np.zeros(shape, dtype)
    for label, box in BOXES.items():
        labels[tuple(slice(*ends) for ends in box)] = label
    return labels


def manifest_and_mesh(image: ZarrImage, label: int, folder: Path) -> tuple[tuple[float, ...], bytes]:
    """Find a label in the shard with tensorstore; return the numbers of its manifest, and the mesh before it."""
    files = surface_files(image)
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    spec = {"driver": "neuroglancer_uint64_sharded", "metadata": json.loads(files["info"])["sharding"]}
    store = ts.KvStore.open({**spec, "base": folder.as_uri()}).result()
    manifest = bytes(store.read(struct.pack(">Q", label)).result().value)
    numbers = struct.unpack("<3f3fIf3fI3II", manifest)
    end = files["0.shard"].index(manifest)
    return numbers, files["0.shard"][end - numbers[-1] : end]


def decoded(mesh: bytes) -> tuple[Array, Array]:
    """Decode what Draco calls a mesh with uncompressed sequential indices."""
    assert mesh[:11] == b"DRACO\2\2\1\0\0\0"
    (n_triangles, n_vertices), at = numbers_at(mesh, 11, 2)
    assert mesh[at] == 1
    if n_vertices < 2**16:
        values = np.frombuffer(mesh, "u1" if n_vertices < 256 else "<u2", 3 * n_triangles, at + 1)
        at += 1 + values.nbytes
    else:
        found, at = numbers_at(mesh, at + 1, 3 * n_triangles)
        values = np.array(found)
    places = np.frombuffer(mesh, "<u2", offset=at + 11).reshape(-1, 3) // 2
    assert len(places) == n_vertices
    return places, values.reshape(-1, 3)


def numbers_at(data: bytes, at: int, n: int) -> tuple[list[int], int]:
    """Decode numbers of groups of 7 bits; return them and where they end."""
    numbers = []
    for _ in range(n):
        number, shift, is_last = 0, 0, False
        while not is_last:
            number, shift, is_last = number | (data[at] & 127) << shift, shift + 7, data[at] < 128
            at += 1
        numbers.append(number)
    return numbers, at


@pytest.mark.parametrize("label", BOXES)
def test_a_surface_is_around_the_voxels_of_its_label(tmp_path: Path, label: int) -> None:
    numbers, mesh = manifest_and_mesh(image_of(boxes(), tmp_path), label, tmp_path / "surfaces")
    extent, low = np.array(numbers[:3]), np.array(numbers[3:6])
    ends = np.array(BOXES[label][::-1])  # x, y, z; the centre of a voxel is a whole number
    np.testing.assert_allclose(low, (ends[:, 0] - 0.5) * STEPS_NM, rtol=1e-5, atol=1)
    np.testing.assert_allclose(extent, (ends[:, 1] - ends[:, 0]) * STEPS_NM, rtol=1e-5)
    assert numbers[6:-1] == (1, 1.0, 0, 0, 0, 1, 0, 0, 0)
    places, triangles = decoded(mesh)
    assert (places.min(), places.max(), triangles.max()) == (0, 1023, len(places) - 1)
    edges = np.sort(np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}  # closed, also at the border of the image


def test_each_label_has_a_surface_and_the_same_image_the_same_bytes(tmp_path: Path) -> None:
    image = image_of(boxes(), tmp_path)
    assert surface_files(image) == surface_files(image)
    assert set(surface_files(image)) == {"info", "0.shard"}
    described = json.loads(surface_files(image)["info"])
    assert (described["@type"], described["vertex_quantization_bits"]) == ("neuroglancer_multilod_draco", 10)
    store_labels = sorted(BOXES)
    shard = surface_files(image)["0.shard"]
    start, stop = struct.unpack_from("<2Q", shard)
    table = np.frombuffer(shard[16 + start : 16 + stop], "<u8").reshape(3, -1)
    assert np.cumsum(table[0]).tolist() == store_labels


def test_labels_below_0_have_the_ids_that_the_client_gives_them(tmp_path: Path) -> None:
    labels = np.where(boxes("int32") == 7, -3, 0).astype("int32")
    numbers, _ = manifest_and_mesh(image_of(labels, tmp_path), 2**64 - 3, tmp_path / "surfaces")
    assert numbers[3] == pytest.approx((30 - 0.5) * STEPS_NM[0], rel=1e-5)


@pytest.mark.parametrize("n_vertices", [3, 255, 256, 2**16 - 1, 2**16, 100_000])
def test_a_mesh_of_any_size_is_encoded(n_vertices: int) -> None:
    random = np.random.default_rng(1)
    places = random.integers(0, 1024, (n_vertices, 3)).astype(np.uint32)
    triangles = random.integers(0, n_vertices, (200, 3)).astype(np.uint32)
    found_places, found_triangles = decoded(surfaces._draco(places, triangles))
    assert np.array_equal(found_places, places)
    assert np.array_equal(found_triangles, triangles)


def test_only_a_small_level_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(np.repeat(np.repeat(boxes(), 2, axis=1), 2, axis=2), tmp_path)
    monkeypatch.setattr(surfaces, "_MOST_VOXELS", 8 * 40 * 70)
    assert image.small_level(8 * 40 * 70, 10**6) == 1
    numbers, _ = manifest_and_mesh(image, 7, tmp_path / "surfaces")
    # the level is placed by its own voxel size and translation
    np.testing.assert_allclose(numbers[3:6], (np.array([60, 20, 2]) - 0.5) * STEPS_NM, rtol=1e-5)
    monkeypatch.setattr(surfaces, "_MOST_VOXELS", 4 * 20 * 35)
    numbers, _ = manifest_and_mesh(image, 7, tmp_path / "strided")
    # of two voxels of the level, which has half of all voxels along each axis, the second one counts
    first, n = np.array([15, 5, 0]), np.array([7, 5, 1])
    np.testing.assert_allclose(numbers[3:6], (4 * first + 0.5) * STEPS_NM, rtol=1e-5)
    np.testing.assert_allclose(numbers[:3], 4 * n * STEPS_NM, rtol=1e-5)
    monkeypatch.setattr(surfaces, "_MOST_READ", 1000)
    assert not has_surfaces(image)


def test_noise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "_MOST_BORDERS", 1000)
    labels = np.random.default_rng(1).integers(0, 60000, (4, 40, 70), "uint16")
    with pytest.raises(SourceError, match="borders between voxels"):
        surface_files(image_of(labels, tmp_path))


def test_an_image_without_labels_has_no_surfaces(tmp_path: Path) -> None:
    files = surface_files(image_of(np.zeros((3, 20, 30), "uint16"), tmp_path))
    assert struct.unpack_from("<2Q", files["0.shard"]) == (0, 0)
