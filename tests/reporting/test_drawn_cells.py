"""Cells over pictures: which are in a slice, where, and how many are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catnip2bids.bids.cell_tables import CELLS_COLUMNS, UNCOUNTED_COLUMNS, CellBlock, encode_cells, encode_header
from catnip2bids.bids.dataset_paths import CELLS_ENDING, UNCOUNTED_ENDING
from catnip2bids.reporting import drawn_cells
from catnip2bids.reporting.drawn_cells import SCALE, SampleCells, Slab, read_sample_cells
from catnip2bids.reporting.preview import DamagedImageError

SHAPE = (10, 20, 40)
SIZE_ZYX = (5.0, 4.0, 4.0)
PLANE_5 = Slab(axis=0, low=4.5, high=5.5, rows=1, columns=2)


def block(centres: list[tuple[float, float, float]], *, volume: int = 1, reasons: tuple[str, ...] = ()) -> CellBlock:
    n = len(centres)
    regions = np.zeros(n, np.int64) if reasons else np.arange(n) % 2 + 1
    proven = np.zeros(n, bool) if reasons else regions == 1
    return CellBlock(np.array(centres, float).reshape(n, 3), np.full(n, volume), regions, proven, reasons)


def tables(folder: Path, counted: CellBlock, uncounted: CellBlock) -> tuple[Path, Path]:
    paths = folder / f"key{CELLS_ENDING}", folder / f"key{UNCOUNTED_ENDING}"
    for path, columns, cells in zip(paths, (CELLS_COLUMNS, UNCOUNTED_COLUMNS), (counted, uncounted), strict=True):
        path.write_bytes(encode_header(columns) + encode_cells(cells, SIZE_ZYX, {}))
    return paths


def read(paths: tuple[Path, Path], *slabs: Slab) -> SampleCells:
    return read_sample_cells(paths, slabs, SHAPE, SIZE_ZYX)


def test_counted_and_uncounted_cells_are_told_apart(tmp_path: Path) -> None:
    found = read(
        tables(
            tmp_path,
            block([(5, 9.5, 19.5), (5.4, 0, 0), (8, 3, 3)]),
            block([(5, 19, 39), (1, 1, 1), (2, 2, 2)], reasons=("outside", "outside", "too large")),
        ),
        PLANE_5,
    )
    [slab] = found.slabs
    assert slab.counted == [SCALE // 2, SCALE // 2, round(SCALE * 0.5 / 40), round(SCALE * 0.5 / 20)]
    assert slab.uncounted == [round(SCALE * 39.5 / 40), round(SCALE * 19.5 / 20)]
    assert (slab.n_all, slab.is_thinned) == (3, False)
    assert found.summary == "3 counted, 2 outside the mask, 1 too large for one cell"
    assert sorted(found.n_counted.values()) == [1, 2]


@pytest.mark.parametrize(("volume", "is_there"), [(1, False), (200, True)])
def test_a_cell_is_in_each_slice_that_it_reaches(tmp_path: Path, volume: int, is_there: bool) -> None:
    [slab] = read(tables(tmp_path, block([(7, 5, 5)], volume=volume), block([])), PLANE_5).slabs
    assert bool(slab.counted) is is_there


def test_slices_along_other_axes_have_their_own_places(tmp_path: Path) -> None:
    paths = tables(tmp_path, block([(2, 5, 30)]), block([]))
    across = Slab(axis=2, low=29.5, high=30.5, rows=1, columns=0)
    [slab] = read(paths, across).slabs
    assert slab.counted == [round(SCALE * 2.5 / 10), round(SCALE * 5.5 / 20)]


def test_of_many_cells_some_are_drawn_and_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_cells, "_MOST_CELLS", 10)
    monkeypatch.setattr("catnip2bids.bids.cell_tables._BLOCK_ROWS", 7)
    paths = tables(tmp_path, block([(5, 5, at % 40) for at in range(100)]), block([]))
    found = read(paths, PLANE_5)
    [slab] = found.slabs
    assert (sum(found.n_counted.values()), slab.n_all, slab.is_thinned) == (100, 100, True)
    places = slab.counted[::2]
    assert 5 <= len(places) <= 10
    assert places == [round(SCALE * (at % 40 + 0.5) / 40) for at in range(0, 100, 16)]


def test_a_table_with_a_cell_outside_of_the_image_is_named(tmp_path: Path) -> None:
    paths = tables(tmp_path, block([(5, 5, 5), (5, 20, 5)]), block([]))
    with pytest.raises(DamagedImageError, match=r"key_cells.*has a cell outside of the image") as caught:
        read(paths, PLANE_5)
    assert caught.value.image == paths[0]


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    paths = tables(tmp_path, block([(5, 5, 5)]), block([]))
    paths[1].write_bytes(b"no gzip")
    with pytest.raises(DamagedImageError, match="key_uncounted") as caught:
        read(paths, PLANE_5)
    assert caught.value.image == paths[1]
