"""Tables of cells: what is written is read, and what is not such a table is refused."""

from __future__ import annotations

import csv
import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from catnip2bids.bids.cell_tables import (
    CELLS_COLUMNS,
    UNCOUNTED_COLUMNS,
    CellBlock,
    encode_cells,
    encode_header,
    read_cells,
)
from catnip2bids.bids.dataset_paths import CELLS_ENDING, UNCOUNTED_ENDING
from catnip2bids.errors import DatasetError

ROW = '1.5\t2\t3\t1\t1\t1\t12\t5\t7\tarea "2/3" # 1\ttrue\n'


def write(path: Path, rows: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(encode_header(CELLS_COLUMNS) + gzip.compress(rows.encode(encoding)))
    return path


def test_cells_are_read_as_they_were_written(tmp_path: Path) -> None:
    cells = CellBlock(
        np.array([[1.5, 2, 3], [4, 5, 6.25]]), np.array([12, 900]), np.array([7, 8]), np.array([True, False])
    )
    path = tmp_path / f"key{CELLS_ENDING}"
    path.write_bytes(encode_header(CELLS_COLUMNS) + encode_cells(cells, (5.0, 3.7, 3.7), {7: 'area "2/3" # 1'}))
    [found] = read_cells(path)
    assert found.centres.tolist() == cells.centres.tolist()
    assert found.volumes_voxels.tolist() == [12, 900]
    assert found.regions.tolist() == [7, 8]
    assert found.proven.tolist() == [True, False]


@pytest.mark.parametrize("name", ['"x" nucleus', '"core of X', 'A "x"', '"', "a\tb"])
def test_names_are_written_as_other_programs_read_them(tmp_path: Path, name: str) -> None:
    cells = CellBlock(np.ones((3, 3)), np.array([9, 10, 11]), np.array([7, 8, 7]), np.ones(3, np.bool_))
    path = tmp_path / f"key{CELLS_ENDING}"
    path.write_bytes(encode_header(CELLS_COLUMNS) + encode_cells(cells, (5.0, 3.7, 3.7), {7: name, 8: "beta"}))
    with gzip.open(path, "rt", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file, delimiter="\t", strict=True)]
    assert names == [name.replace("\t", " "), "beta", name.replace("\t", " ")]
    assert [block.regions.tolist() for block in read_cells(path)] == [[7, 8, 7]]


def test_numbers_are_written_as_python_writes_them() -> None:
    centres = np.array([[0, 0.004, 0.005001], [1, 9.99, 9.996], [10, 123456.78, 99.999], [-0.5, -1234.5, -0.001]])
    volumes = np.array([1, 9, 123456, 10**7])
    cells = CellBlock(centres, volumes, np.array([3, 3, 40, 7]), np.array([True, True, False, False]))
    lines = gzip.decompress(encode_cells(cells, (1.0, 2.0, 2.5), {3: "nœud", 40: "cortex"})).decode().splitlines()
    for line, centre, volume, end in zip(
        lines, centres, volumes, ("3\tnœud\ttrue", "3\tnœud\ttrue", "40\tcortex\tfalse", "7\tn/a\tfalse"), strict=True
    ):
        places = "\t".join(f"{place + 0.0:.2f}" for place in np.round([*centre, *centre * (1.0, 2.0, 2.5)], 2) + 0.0)
        assert line == f"{places}\t{volume}\t{volume * 5:.6g}\t{end}"


def test_the_longest_names_of_regions_are_written_and_read(tmp_path: Path) -> None:
    cells = CellBlock(np.full((1, 3), 1e12), np.array([2**40]), np.array([65535]), np.ones(1, np.bool_))
    path = tmp_path / f"key{CELLS_ENDING}"
    path.write_bytes(encode_header(CELLS_COLUMNS) + encode_cells(cells, (1.0, 1.0, 1.0), {65535: "\U0001f9e0" * 500}))
    assert [block.regions.tolist() for block in read_cells(path)] == [[65535]]


def test_a_long_name_takes_no_space_in_other_rows() -> None:
    n, name = 2**14, "n" * 30_000
    regions = np.full(n, 2)
    regions[7] = 1
    cells = CellBlock(np.ones((n, 3)), np.full(n, 9), regions, np.ones(n, np.bool_))
    tracemalloc.start()
    try:
        encoded = encode_cells(cells, (1.0, 1.0, 1.0), {1: name, 2: "cortex"})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < n * 1000
    assert gzip.decompress(encoded).decode().splitlines()[7].split("\t")[9] == name


@pytest.mark.parametrize("place", [np.nan, np.inf, -np.inf, 1e17])
def test_places_that_are_no_numbers_are_not_written(place: float) -> None:
    cells = CellBlock(np.full((1, 3), place), np.array([9]), np.array([1]), np.array([True]))
    with pytest.raises(ValueError, match="not all places are numbers"):
        encode_cells(cells, (1.0, 1.0, 1.0), {})


def test_uncounted_cells_keep_their_reasons(tmp_path: Path) -> None:
    reasons = ("outside", "no region")
    cells = CellBlock(np.ones((2, 3)), np.array([12, 13]), np.zeros(2, np.int64), np.zeros(2, bool), reasons)
    path = tmp_path / f"key{UNCOUNTED_ENDING}"
    path.write_bytes(encode_header(UNCOUNTED_COLUMNS) + encode_cells(cells, (1.0, 1.0, 1.0), {}))
    [found] = read_cells(path)
    assert (found.reasons, found.regions.tolist()) == (reasons, [0, 0])


def test_a_table_without_cells_has_no_blocks(tmp_path: Path) -> None:
    assert list(read_cells(write(tmp_path / f"key{CELLS_ENDING}", ""))) == []


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (ROW + "1\t2\n", "a line has 2 fields and not 11"),
        (ROW + "\n" + ROW, "a line has 1 fields and not 11"),
        (ROW.replace("1.5", "nan"), "no place or no volume"),
        (ROW.replace("\t12\t", "\t-2\t"), "no place or no volume"),
        (ROW.replace("1.5", "left"), "'left'"),
        (ROW.replace("true", "trueish"), "proven is not false or true"),
    ],
)
def test_what_is_no_table_of_cells_is_refused(tmp_path: Path, rows: str, what: str) -> None:
    with pytest.raises(DatasetError, match=f"key{CELLS_ENDING}.*{what}"):
        list(read_cells(write(tmp_path / f"key{CELLS_ENDING}", ROW + rows)))


def test_gigabytes_of_zeros_behind_a_table_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a_cells.tsv.gz", ROW)
    os.truncate(path, 2**30)
    with pytest.raises(DatasetError, match=r"cannot be read \(it has 128 KiB of zeros, which gzip never writes"):
        list(read_cells(path))


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="utf-8"):
        list(read_cells(write(tmp_path / f"key{CELLS_ENDING}", ROW.replace("area", "\xe4rea"), "latin-1")))
