"""The sides of a comparison: how much memory their planes take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import catnip2bids
from catnip2bids.comparison.compared_volume import ComparedVolume, open_compared, plane_bytes
from catnip2bids.engine import OVERHEAD_BYTES
from catnip2bids.errors import NotEnoughMemoryError
from catnip2bids.volume import PlaneSource
from made_up import DEFLATE, Flavour, write_slices, write_tiff

PLANE = np.zeros((1, 1500, 1500), "uint16")
SINGLE, STRIPS = Flavour(DEFLATE), Flavour(DEFLATE, rows_per_strip=16)


def planes(folder: Path, flavour: Flavour) -> tuple[Path, Path]:
    """Write two planes that are not the same."""
    return write_tiff(folder / "1.tif", PLANE, flavour), write_tiff(folder / "2.tif", PLANE + np.uint16(1), flavour)


def test_planes_of_many_strips_need_the_memory_of_bands(tmp_path: Path) -> None:
    single, strips = planes(tmp_path / "single", SINGLE), planes(tmp_path / "strips", STRIPS)
    memory_bytes = OVERHEAD_BYTES + sum(plane_bytes(open_compared(path)) for path in strips)
    assert catnip2bids.compare(*strips, memory_bytes=memory_bytes).exit_code == 1
    with pytest.raises(NotEnoughMemoryError, match=f"{single[0]} and .* takes at least"):
        catnip2bids.compare(*single, memory_bytes=memory_bytes)


def test_planes_of_a_single_strip_are_decoded_as_a_whole(tmp_path: Path) -> None:
    needed = [plane_bytes(open_compared(planes(tmp_path / str(f.rows_per_strip), f)[0])) for f in (SINGLE, STRIPS)]
    assert needed[0] - needed[1] > PLANE.nbytes


def test_a_plane_that_is_larger_than_others_keeps_within_the_memory(tmp_path: Path) -> None:
    for side in ("1", "2"):
        write_slices(tmp_path / side, np.zeros((3, 20, 30), "uint16"))
        write_tiff(tmp_path / side / "Z0002.tif", PLANE + np.uint16(side == "1"), SINGLE)
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", memory_bytes=OVERHEAD_BYTES + 2**20)
    assert comparison.exit_code == 2
    assert len(comparison.problems) == 2
    assert all("Z0002.tif" in problem and "--memory" in problem for problem in comparison.problems)
    assert catnip2bids.compare(tmp_path / "1", tmp_path / "2").exit_code == 1


def test_planes_that_cannot_be_read_take_no_memory(tmp_path: Path) -> None:
    assert plane_bytes(ComparedVolume(tmp_path, {1: PlaneSource(tmp_path / "gone.tif", 0)})) == 0
