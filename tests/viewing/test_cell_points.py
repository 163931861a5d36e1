"""Annotations of cells, read back with the readers of Neuroglancer's Python package and of tensorstore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neuroglancer.read_precomputed_annotations import AnnotationReader

from catnip2bids.bids.cell_tables import CELLS_COLUMNS, UNCOUNTED_COLUMNS, CellBlock, encode_cells, encode_header
from catnip2bids.bids.dataset_paths import CELLS_ENDING, UNCOUNTED_ENDING
from catnip2bids.errors import DatasetError
from catnip2bids.viewing import cell_points
from catnip2bids.viewing.cell_points import CellTable, annotation_files
from catnip2bids.viewing.image import Axis

SHAPE = (40, 300, 200)  # z, y, x
SIZE_UM = (5.0, 3.7, 3.7)
AXES = tuple(
    Axis(name, "space", n_voxels, size * 1e-6, "m")
    for name, n_voxels, size in zip("xyz", reversed(SHAPE), reversed(SIZE_UM), strict=True)
)
NAMES = {382: "Field CA1", 672: "Caudoputamen", 12008: "12008"}


def some_cells(n: int, *, counted: bool = True) -> CellBlock:
    """Return cells all over the image, in three regions or without any."""
    random = np.random.default_rng(1)
    centres = np.round(random.random((n, 3)) * (np.array(SHAPE) - 1), 2)
    volumes = random.integers(9, 900, n)
    if not counted:
        reasons = tuple(random.choice(["outside", "no region", "too large"], n).tolist())
        return CellBlock(centres, volumes, np.zeros(n, np.int64), np.zeros(n, np.bool_), reasons)
    return CellBlock(centres, volumes, random.choice(list(NAMES), n), random.random(n) < 0.9)


def written(folder: Path, *blocks: CellBlock, counted: bool = True) -> CellTable:
    """Write a table of cells."""
    header = encode_header(CELLS_COLUMNS if counted else UNCOUNTED_COLUMNS)
    path = folder / f"sub-1{CELLS_ENDING if counted else UNCOUNTED_ENDING}"
    path.write_bytes(header + b"".join(encode_cells(block, SIZE_UM, NAMES) for block in blocks))
    return CellTable(path, AXES, tuple(NAMES.items()))


def opened(table: CellTable, folder: Path) -> AnnotationReader:
    """Write the annotations of a table to a folder, and open them."""
    for name, content in annotation_files(table).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return AnnotationReader(folder.as_uri())


def chunks(reader: AnnotationReader, level: int) -> dict[tuple[int, ...], list[int]]:
    """Return the ids of the cells in each chunk of a level of the spatial index; check that they are in its bounds."""
    described = reader.metadata["spatial"][level]
    found = {}
    for at in np.ndindex(*described["grid_shape"]):
        cells = reader.spatial[level].get(at).result() or []
        low = reader.lower_bound + np.array(at) * described["chunk_size"]
        for cell in cells:
            assert (cell.point >= low - 1e-3).all()
            assert (cell.point <= low + described["chunk_size"] + 1e-3).all()
        found[at] = [int(cell.id) for cell in cells]
    return found


def test_each_cell_is_found_by_its_row_its_region_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_points, "_CELLS_PER_CHUNK", 50)
    block = some_cells(3000)
    reader = opened(written(tmp_path, block), tmp_path / "annotations")
    assert reader.coordinate_space.names == ("x", "y", "z")
    assert (reader.lower_bound, reader.upper_bound) == ((-0.5,) * 3, (199.5, 299.5, 39.5))
    for row in (0, 1, 511, 512, 2999):
        cell = reader.by_id[row]
        np.testing.assert_allclose(cell.point, block.centres[row, ::-1], rtol=1e-6)
        region, volume_um3, volume, proven = cell.props
        assert (region, volume, proven) == (block.regions[row], block.volumes_voxels[row], block.proven[row])
        assert volume_um3 == pytest.approx(volume * np.prod(SIZE_UM), rel=1e-6)
        assert [list(segments) for segments in cell.segments] == [[block.regions[row]]]
    assert 3000 not in reader.by_id
    for region in NAMES:
        ids = [int(cell.id) for cell in reader.relationships["region"][region]]
        assert ids == np.flatnonzero(block.regions == region).tolist()
    assert 1 not in reader.relationships["region"]
    levels = [chunks(reader, level) for level in range(len(reader.spatial))]
    assert len(levels) > 3
    assert sorted(row for level in levels for rows in level.values() for row in rows) == list(range(3000))


def test_coarse_levels_are_fair_samples_and_chunks_become_cubes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_points, "_CELLS_PER_CHUNK", 200)
    random = np.random.default_rng(2)
    dense = random.random(9000) < 0.9  # nine tenths of the cells are in the first half of the planes
    z = np.where(dense, random.random(9000) * 19, 20 + random.random(9000) * 19)
    block = some_cells(9000)
    block.centres[:, 0] = z
    reader = opened(written(tmp_path, block), tmp_path / "annotations")
    first = [int(cell.id) for cell in reader.spatial[0][0, 0, 0]]
    assert 150 < len(first) < 250
    assert np.mean(z[first] < 20) == pytest.approx(0.9, abs=0.06)
    assert np.mean(np.diff(first) > 0) == pytest.approx(0.5, abs=0.1)  # a part of a chunk is a sample, too
    levels = reader.metadata["spatial"]
    assert [level["grid_shape"] for level in levels[:3]] == [[1, 1, 1], [1, 2, 1], [2, 4, 1]]
    extent = np.array(reader.upper_bound) - reader.lower_bound
    assert all(np.allclose(np.multiply(level["grid_shape"], level["chunk_size"]), extent) for level in levels)


def test_properties_are_named_for_people(tmp_path: Path) -> None:
    counted = opened(written(tmp_path, some_cells(5)), tmp_path / "counted").metadata["properties"]
    assert [spec["id"] for spec in counted] == ["region", "volume_um3", "volume_voxels", "proven"]
    assert dict(zip(counted[0]["enum_values"], counted[0]["enum_labels"], strict=True)) == NAMES
    assert counted[3]["enum_labels"] == ["no", "yes"]


def test_uncounted_cells_tell_the_reason(tmp_path: Path) -> None:
    block = some_cells(600, counted=False)
    reader = opened(written(tmp_path, block, counted=False), tmp_path / "uncounted")
    assert reader.relationships == {}
    reasons = reader.metadata["properties"][0]["enum_labels"]
    assert sorted(reasons) == ["no region", "outside", "too large"]
    found = [reader.by_id[row] for row in range(600)]
    assert [reasons[cell.props[0]] for cell in found] == list(block.reasons)
    assert {cell.segments is not None and len(cell.segments) for cell in found} == {0}


@pytest.mark.parametrize("counted", [True, False])
def test_a_table_without_cells_is_one(tmp_path: Path, counted: bool) -> None:
    reader = opened(written(tmp_path, counted=counted), tmp_path / "annotations")
    assert chunks(reader, 0) == {(0, 0, 0): []}
    assert all(file.stat().st_size for file in (tmp_path / "annotations").rglob("*") if file.is_file())


def test_cells_at_one_place_end_in_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_points, "_CELLS_PER_CHUNK", 1)
    block = some_cells(3000)
    block.centres[:] = block.centres[0]
    reader = opened(written(tmp_path, block), tmp_path / "annotations")
    assert len(reader.spatial) == 12
    assert reader.metadata["spatial"][-1]["limit"] > 2900


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = written(tmp_path, some_cells(2000), some_cells(70))
    assert annotation_files(table) == annotation_files(table)


@pytest.mark.parametrize(
    ("z", "region", "words"),
    [(39.6, 1, "outside of the image"), (-0.6, 1, "outside of"), (1, -(2**31) - 1, "index"), (1, 2**31, "index")],
)
def test_cells_that_cannot_be_right_are_refused(tmp_path: Path, z: float, region: int, words: str) -> None:
    block = some_cells(3)
    block.centres[1, 0], block.regions[1] = z, region
    with pytest.raises(DatasetError, match=words):
        annotation_files(written(tmp_path, block))


def test_more_cells_or_reasons_than_can_be_shown_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_points, "_MOST_CELLS", 100)
    with pytest.raises(DatasetError, match="more than 100 cells"):
        annotation_files(written(tmp_path, some_cells(101)))
    block = some_cells(100, counted=False)
    many = CellBlock(block.centres, block.volumes_voxels, block.regions, block.proven, tuple(map(str, range(100))))
    annotation_files(written(tmp_path, many, counted=False))
    monkeypatch.setattr(cell_points, "_MOST_REASONS", 99)
    with pytest.raises(DatasetError, match="too many reasons"):
        annotation_files(written(tmp_path, many, counted=False))
