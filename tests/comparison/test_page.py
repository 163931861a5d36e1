"""The page of a comparison, in a real browser."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

import catnip2bids
from browser import DESKTOP, PHONE, needs_browser
from browsing import browser, look_at
from made_up import some_image, some_labels, write_slices, write_tiff

__all__ = ["browser"]

pytestmark = needs_browser
LABELS = some_labels((12, 60, 80)) + np.uint16(1)


@pytest.mark.parametrize("window", [DESKTOP, PHONE])
def test_the_page_shows_what_differs(browser: Browser, tmp_path: Path, window: tuple[int, int]) -> None:
    masked = LABELS.copy()
    masked[4:7, 20:] = 0
    write_slices(tmp_path / "labels", LABELS)
    write_slices(tmp_path / "masked", masked, "Z{plane:06d}.tif")
    catnip2bids.compare(tmp_path / "labels", tmp_path / "masked", tmp_path / "out")
    seen = look_at(browser, tmp_path / "out/index.html", window)
    assert "2 is a copy of 1 with 3 of 12 planes masked" in seen.text
    assert "Slice 5: 3,200 voxels differ" in seen.text
    assert "the same" in seen.text
    assert (seen.images, seen.loaded, seen.described) == (3 * 5, 3 * 5, 3 * 5)
    assert seen.too_wide <= 0
    assert (seen.scripts, seen.outside) == (0, [])


def test_names_of_files_are_never_markup(browser: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)> & 'co"
    for side in ("1", "2"):
        write_tiff(tmp_path / side / f"{name}.tif", some_image((2, 20, 20), seed=int(side)))
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    seen = look_at(browser, tmp_path / "out/index.html")
    assert f"{name}.tif" in seen.text
    assert seen.images == seen.loaded == 3 * 2


def test_damaged_planes_and_missing_ones_are_shown(browser: Browser, tmp_path: Path) -> None:
    image = some_image((9, 20, 20))
    for side in ("1", "2"):
        write_slices(tmp_path / side, image)
    (tmp_path / "1/Z0003.tif").unlink()
    (tmp_path / "2/Z0007.tif").write_bytes(b"hello")
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    seen = look_at(browser, tmp_path / "out/index.html")
    assert "not a TIFF file" in seen.text
    assert "1 plane only in 2 (3)" in seen.text
    assert seen.images == seen.loaded > 0


def test_shifted_planes_are_shown_beside_those_they_are(browser: Browser, tmp_path: Path) -> None:
    image = some_image((9, 20, 20))
    write_slices(tmp_path / "1", image)
    write_slices(tmp_path / "2", image, [f"Z{number:04d}.tif" for number in range(3, 12)])
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    seen = look_at(browser, tmp_path / "out/index.html")
    assert "slice n of 1 is slice n + 2 of 2" in seen.text
    assert "Slice 4 of 1, slice 6 of 2: the same" in seen.text
    assert seen.images == seen.loaded > 0


def test_a_folder_is_summed_up_at_the_top_and_told_below(browser: Browser, tmp_path: Path) -> None:
    for side in ("1", "2"):
        for name in ("a", "b"):
            write_tiff(tmp_path / side / f"{name}/heat.tif", some_image((2, 20, 20), seed=int(side)))
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    seen = look_at(browser, tmp_path / "out/index.html")
    assert "2 paths are in both, 0 of them identical" in seen.text
    assert seen.text.count("2 of 2 planes differ") == 2
    assert "a/heat.tif: different" in seen.text
    assert "b/heat.tif: different" in seen.text


def test_the_planes_that_are_shown_are_no_neighbours(browser: Browser, tmp_path: Path) -> None:
    image = some_image((60, 20, 20))
    write_slices(tmp_path / "1", image)
    write_slices(tmp_path / "2", image // 2)
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    numbers = [int(n) for n in re.findall(r"Slice (\d+):", look_at(browser, tmp_path / "out/index.html").text)]
    assert len(numbers) == 6
    assert min(b - a for a, b in pairwise(numbers)) > 4
