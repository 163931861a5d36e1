"""The list of cells is read back with h5py by references alone, and recognised by SciPy as a file of MATLAB 7.3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from catnip2bids.demo import write_cell_list
from catnip2bids.demo.cell_list import filtered_image
from catnip2bids.demo.cells import Cells
from catnip2bids.demo.regions import REGIONS

Array = npt.NDArray[Any]

IDS = (7, 20, 3, 12001)


def some_cells() -> Cells:
    """Three cells: two of region 7, one of region 12001 that shares a voxel with one of them."""
    voxels = [[[0, 0, 1], [0, 1, 1]], [[2, 3, 4], [2, 3, 5], [3, 3, 5]], [[3, 3, 5]]]
    return Cells(
        labels=np.array([7, 7, 12001]),
        volumes_voxels=np.array([2, 3, 1]),
        centres=np.array([[0, 0, 1], [2, 3, 5], [3, 3, 5]]),
        voxels=np.concatenate(voxels),
    )


def read_list(path: Path) -> list[Array]:
    """Return the elements as MATLAB shows them: rows of uid, volume, row, column, slice."""
    with h5py.File(path) as file:
        variable = file["cellpixelIDlist"]
        assert variable.attrs["MATLAB_class"] == b"cell"
        assert variable.shape[0] == 1
        elements = [file[reference] for reference in variable[0]]
        assert all(element.attrs["MATLAB_class"] == b"double" for element in elements)
        empty = [element for element in elements if "MATLAB_empty" in element.attrs]
        assert all(
            (element.dtype, element[()].tolist(), element.attrs["MATLAB_empty"]) == (np.uint64, [0, 0], 1)
            for element in empty
        )
        return [np.zeros((0, 5)) if element in empty else element[()].T for element in elements]


def test_rows_are_those_of_catnip(tmp_path: Path) -> None:
    write_cell_list(tmp_path / "list.mat", some_cells(), IDS)
    elements = read_list(tmp_path / "list.mat")
    assert sorted(len(element) for element in elements) == [0, 0, 1, 5]
    of_7, of_12001 = (next(element for element in elements if len(element) == n) for n in (5, 1))
    assert of_7.dtype == np.float64
    assert of_7.tolist() == [
        [7.25, 2, 1, 2, 1],
        [7.25, 2, 2, 2, 1],
        [7.5, 3, 4, 5, 3],
        [7.5, 3, 4, 6, 3],
        [7.5, 3, 4, 6, 4],
    ]
    assert of_12001.tolist() == [[12001.5, 1, 4, 6, 4]]


def test_order_is_not_that_of_the_atlas_table(tmp_path: Path) -> None:
    labels = np.array([region.id for region in REGIONS])
    n = len(labels)
    cells = Cells(labels, np.ones(n, np.int64), np.zeros((n, 3), np.int64), np.arange(3 * n).reshape(n, 3))
    write_cell_list(tmp_path / "list.mat", cells)
    found = [int(element[0, 0]) for element in read_list(tmp_path / "list.mat")]
    assert sorted(found) == labels.tolist() != found


def test_image_holds_what_the_list_says_last(tmp_path: Path) -> None:
    cells, shape = some_cells(), (4, 5, 6)
    write_cell_list(tmp_path / "list.mat", cells, IDS)
    expected = np.zeros(shape, int)
    for _, volume, row, column, number in np.concatenate(read_list(tmp_path / "list.mat")).astype(int).tolist():
        expected[number - 1, row - 1, column - 1] = volume
    image = filtered_image(cells, shape, IDS)
    assert image.dtype == np.uint16
    assert np.array_equal(image, expected)
    assert np.count_nonzero(image) == 5


def test_volumes_above_65535_are_65535() -> None:
    voxels = np.argwhere(np.ones((41, 40, 40)))
    cells = Cells(np.array([7]), np.array([len(voxels)]), voxels[:1], voxels)
    assert set(np.unique(filtered_image(cells, (41, 40, 41), IDS)).tolist()) == {0, 65535}


def test_file_is_one_of_matlab_7_3(tmp_path: Path) -> None:
    matlab = pytest.importorskip("scipy.io.matlab")
    path = tmp_path / "list.mat"
    write_cell_list(path, some_cells(), IDS)
    assert matlab.matfile_version(path)[0] == 2
    head = path.read_bytes()[:520]
    assert head.startswith(b"MATLAB 7.3 MAT-file, ")
    assert (head[124:128], head[128:512].strip(b"\0"), head[512:520]) == (b"\x00\x02IM", b"", b"\x89HDF\r\n\x1a\n")


def test_same_cells_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_cell_list(tmp_path / name, some_cells(), IDS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_no_cells_are_a_list_of_empty_elements(tmp_path: Path) -> None:
    nothing = Cells(*(np.zeros(n, np.int64) for n in (0, 0)), *(np.zeros((0, 3), np.int64) for _ in range(2)))
    write_cell_list(tmp_path / "list.mat", nothing)
    assert [element.shape for element in read_list(tmp_path / "list.mat")] == [(0, 5)] * len(REGIONS)
