"""CATNIP's list of cells: voxels in shuffled order, labels in shuffled order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from catnip2bids.cells import cell_list
from catnip2bids.cells.cell_list import read_cell_list
from catnip2bids.errors import SourceError

SHAPE = (10, 20, 30)
Rows = Sequence[tuple[float, float, float, float, float]]


def write_list(path: Path, *lists: Rows) -> Path:
    """Write a cell array with one matrix for each label, as MATLAB 7.3 does."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_dataset("cellpixelIDlist", (1, len(lists)), h5py.ref_dtype)
        for n, rows in enumerate(lists):
            matrix = np.array(rows, np.float64).reshape(-1, 5).T
            name = f"#refs#/{n}"
            if matrix.size:
                file[name] = matrix
            else:
                file[name] = np.array([0, 0], np.uint64)
                file[name].attrs["MATLAB_empty"] = np.uint8(1)
            references[0, n] = file[name].ref
    return path


def cell(uid: float, *places: tuple[int, int, int]) -> list[tuple[float, float, float, float, float]]:
    """List the voxels (z, y, x) of a cell, from 0, as CATNIP does: row, column and slice from 1."""
    return [(uid, len(places), y + 1, x + 1, z + 1) for z, y, x in places]


def rows_of(path: Path) -> list[tuple[int, int, list[float]]]:
    return [
        (int(region), int(n), centre)
        for block in read_cell_list(path, SHAPE)
        for region, n, centre in zip(block.regions, block.volumes_voxels, block.centres.tolist(), strict=True)
    ]


@pytest.mark.parametrize("piece", [1, 3, 2**20])
def test_cells_have_their_label_volume_and_centre(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_list, "_PIECE", piece)
    first, second = cell(7, (0, 1, 2), (0, 1, 3), (1, 1, 2)), cell(7.25, (5, 6, 7))
    of_label_7 = [first[0], second[0], first[2], first[1]]  # the voxels of a cell need not follow each other
    path = write_list(tmp_path / "list.mat", of_label_7, [], cell(3, (9, 19, 29), (9, 19, 28)))
    assert rows_of(path) == [
        (3, 2, [9, 19, 28.5]),
        (7, 3, [pytest.approx(1 / 3), 1, pytest.approx(7 / 3)]),
        (7, 1, [5, 6, 7]),
    ]


@pytest.mark.parametrize(
    ("lists", "what"),
    [
        ([[(7, 2, 1, 1, 1)]], "another number of voxels than its volume"),
        ([[*cell(7, (0, 0, 0)), *cell(8, (0, 0, 1))]], "cells of another label"),
        ([cell(7, (0, 0, 0)), cell(7.5, (0, 0, 1))], "twice"),
        ([cell(7, (10, 0, 0))], "outside of the image"),
        ([[(7, 2, 1, 1, 1), (7, 3, 1, 1, 2)]], "two volumes"),
        ([[(math.nan, 1, 1, 1, 1)]], "nan is not a label"),
        ([[(math.inf, 1, 1, 1, 1)]], "inf is not a label"),
        ([[(1e30, 1, 1, 1, 1)]], "is not a label"),
        ([[(0.5, 1, 1, 1, 1)]], "is not a label"),
        ([[(-7.5, 1, 1, 1, 1)]], "is not a label"),
        ([[(7, 1, math.nan, 1, 1)]], "outside of the image"),
        ([[(7, 1, 1e300, 1, 1)]], "outside of the image"),
        ([[(7, 1, 1.5, 1, 1)]], "places between voxels"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused(tmp_path: Path, lists: list[Rows], what: str) -> None:
    path = write_list(tmp_path / "list.mat", *lists)
    with pytest.raises(SourceError, match=what):
        rows_of(path)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.mat").write_bytes(content)
    with pytest.raises(SourceError, match=r"list\.mat: is not a list of cells"):
        rows_of(tmp_path / "list.mat")


def test_an_array_of_another_kind_is_refused(tmp_path: Path) -> None:
    array: npt.NDArray[Any] = np.zeros((3, 3))
    with h5py.File(tmp_path / "list.mat", "w") as file:
        file["cellpixelIDlist"] = array
    with pytest.raises(SourceError, match="is not a list of cells"):
        rows_of(tmp_path / "list.mat")


@pytest.mark.parametrize(
    ("n_voxels", "chunk", "what"),
    [(10**12, 2**16, "voxels, and the image has 6,000"), (5000, 5000, "chunks of more than")],
)
def test_a_list_that_declares_a_huge_size_is_refused(
    tmp_path: Path, n_voxels: int, chunk: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_list, "_MOST_CHUNK_BYTES", 2**12 * 5 * 8)
    path = write_list(tmp_path / "list.mat", [])
    with h5py.File(path, "r+") as file:
        huge = file.create_dataset("#refs#/huge", (5, n_voxels), np.float64, chunks=(5, chunk), fillvalue=7.5)
        file["cellpixelIDlist"][0, 0] = huge.ref
    with pytest.raises(SourceError, match=what):
        rows_of(path)


def test_a_cell_array_of_a_huge_declared_size_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "list.mat", "w") as file:
        file.create_dataset("cellpixelIDlist", (1, 10**10), h5py.ref_dtype, chunks=(1, 1024))
    with pytest.raises(SourceError, match="10,000,000,000 labels"):
        rows_of(tmp_path / "list.mat")


def test_a_list_that_is_a_link_to_another_file_is_refused(tmp_path: Path) -> None:
    write_list(tmp_path / "other.mat", cell(7, (0, 0, 0)))
    with h5py.File(tmp_path / "list.mat", "w") as file:
        file["cellpixelIDlist"] = h5py.ExternalLink(tmp_path / "other.mat", "cellpixelIDlist")
    with pytest.raises(SourceError, match="has no variable cellpixelIDlist"):
        rows_of(tmp_path / "list.mat")


def external(file: h5py.File, elsewhere: Path) -> h5py.Dataset:
    return file.create_dataset("#refs#/there", (5, 1), np.float64, external=[(elsewhere, 0, 40)])


def virtual(file: h5py.File, elsewhere: Path) -> h5py.Dataset:
    layout = h5py.VirtualLayout((5, 1), np.float64)
    layout[:] = h5py.VirtualSource(elsewhere, "#refs#/0", (5, 1))
    return file.create_virtual_dataset("#refs#/there", layout)


@pytest.mark.parametrize("make", [external, virtual])
def test_voxels_in_another_file_are_refused(tmp_path: Path, make: Callable[[h5py.File, Path], h5py.Dataset]) -> None:
    other = write_list(tmp_path / "other.mat", cell(7, (0, 0, 0)))
    path = write_list(tmp_path / "list.mat", [])
    with h5py.File(path, "r+") as file:
        file["cellpixelIDlist"][0, 0] = make(file, other).ref
    with pytest.raises(SourceError, match="values are in another file"):
        rows_of(path)


def test_an_array_that_is_marked_as_not_empty_is_read(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.mat", cell(7, (0, 0, 0)))
    with h5py.File(path, "r+") as file:
        file["#refs#/0"].attrs["MATLAB_empty"] = np.uint8(0)
    assert rows_of(path) == [(7, 1, [0, 0, 0])]
