"""A volume is another one times a mask, or the voxels that are not are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from catnip2bids import scan
from catnip2bids.comparison import compared_entry, count_not_product, needed_to_compare
from catnip2bids.engine import Resources
from catnip2bids.scanning import Entry
from made_up import some_image, write_slices, write_tiff

RESOURCES = Resources(2, 2**30)
NAMES = ("N4_masked", "N4", "hemispheremask_origspace")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    image = some_image((6, 12, 14), seed=1)
    mask = np.ones(image.shape, "uint16")
    mask[:, :, 9:] = 0
    folder = tmp_path / "640_2026-05-02_09-12-33"
    for name, volume in zip(NAMES, (image * mask, image, mask), strict=True):
        write_slices(folder / name, volume, "Z{plane:06d}.tif")
    return folder


def entries_of(run: Path) -> list[Entry]:
    (found,) = scan([run]).runs
    by_path = {entry.path: entry for entry in found.entries}
    return [by_path[name] for name in NAMES]


def test_the_product_of_all_voxels(run: Path) -> None:
    product, factor, mask = entries_of(run)
    assert count_not_product(product, factor, mask, RESOURCES) == 0
    assert count_not_product(factor, product, mask, RESOURCES) == np.count_nonzero(
        some_image((6, 12, 14), seed=1)[:, :, 9:]
    )


@pytest.mark.parametrize("name", NAMES)
def test_voxels_that_are_not_the_product_are_counted(run: Path, name: str) -> None:
    file = run / name / "Z000003.tif"
    plane = tifffile.imread(file)
    plane[4, 8] += 1
    write_tiff(file, plane[np.newaxis])
    product, factor, mask = entries_of(run)
    assert count_not_product(product, factor, mask, RESOURCES) == 1


def lose_a_slice(run: Path) -> None:
    (run / NAMES[2] / "Z000006.tif").unlink()


def cut_off(run: Path) -> None:
    path = run / NAMES[2] / "Z000002.tif"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [lose_a_slice, cut_off])
def test_what_cannot_be_read_is_no_product(run: Path, damage: Callable[[Path], None]) -> None:
    product, factor, mask = entries_of(run)
    damage(run)
    assert count_not_product(product, factor, mask, RESOURCES) is None


def test_without_enough_memory_it_is_not_known(run: Path) -> None:
    product, factor, mask = entries_of(run)
    enough = Resources(1, needed_to_compare([compared_entry(entry) for entry in (product, factor, mask)]))
    assert count_not_product(product, factor, mask, enough) == 0
    assert count_not_product(product, factor, mask, replace(enough, memory_bytes=enough.memory_bytes - 1)) is None
