"""Each case of CATNIP's counting rule is in the demo's brains, and is counted as the rule says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from catnip2bids.demo.cells import Cells, find_cells, region_boxes
from catnip2bids.demo.phantom import DOWNSAMPLING, Phantom, make_phantom
from catnip2bids.demo.watershed import divide
from plain_counting import box_of, cells_of, components_of

Array = npt.NDArray[Any]

DEMO = (96, 320, 272)
SEEDS = (1, 2)
"""Those of the two animals."""
THRESHOLD = 10000

VOLUMES: dict[str, list[int] | None] = {
    "most voxels in one of two regions": [60],
    "half of the voxels in each of two regions": [],
    "three regions, none with most voxels": [],
    "some voxels outside of the mask": [60],
    "most voxels outside of the mask": [],
    "outside of the mask": [],
    "too small": [],
    "smallest": [9],
    "two that touch by an edge": [24],
    "two that touch by a corner": [12, 12],
    "too large": [],
    "too large, of two parts": None,
    "at the border of the image": None,
    "cut by the box of a region": None,
}
"""Volumes of the counted cells; None where a test of its own says more."""


@cache
def brain(seed: int) -> tuple[Phantom, Array, Array, Cells]:
    """A brain of the demo, its segmentation, its masked labels, and its cells."""
    phantom = make_phantom(DEMO, seed)
    segmentation, labels = phantom.frst >= THRESHOLD, phantom.labels * phantom.hemisphere_mask
    return phantom, segmentation, labels, find_cells(segmentation, labels, region_boxes(labels, DOWNSAMPLING))


def counted_of(seed: int, case: str) -> list[Array]:
    """Voxels of the counted cells that have voxels of a planted one."""
    phantom, _, _, cells = brain(seed)
    planted = set(map(tuple, phantom.planted_cells[case].tolist()))
    parts = np.split(cells.voxels, np.cumsum(cells.volumes_voxels)[:-1])
    low, high = (reduce(phantom.planted_cells[case], axis=0) for reduce in (np.min, np.max))
    near = [part for part in parts if ((part[0] >= low) & (part[0] <= high)).all()]
    return [part for part in near if planted & set(map(tuple, part.tolist()))]


def around(seed: int, case: str) -> tuple[slice, ...]:
    """The image around a planted cell."""
    voxels = brain(seed)[0].planted_cells[case]
    return tuple(slice(max(a - 2, 0), b + 3) for a, b in zip(voxels.min(axis=0), voxels.max(axis=0), strict=True))


def regions_of(seed: int, voxels: Array) -> dict[int, int]:
    """How many voxels have which masked label."""
    found, n_voxels = np.unique(brain(seed)[2][tuple(voxels.T)], return_counts=True)
    return dict(zip(found.tolist(), n_voxels.tolist(), strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_each_case_is_in_the_demo(seed: int) -> None:
    assert set(brain(seed)[0].planted_cells) == set(VOLUMES)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", VOLUMES)
def test_planted_cells_are_components_of_their_own(case: str, seed: int) -> None:
    phantom, segmentation, _, _ = brain(seed)
    window = around(seed, case)
    drawn = np.zeros(DEMO, bool)
    drawn[tuple(phantom.planted_cells[case].T)] = True
    assert np.array_equal(segmentation[window], drawn[window])
    assert len([*components_of(drawn[window])]) == (2 if case == "two that touch by a corner" else 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", [case for case, volumes in VOLUMES.items() if volumes is not None])
def test_planted_cells_are_counted_as_their_case_says(case: str, seed: int) -> None:
    assert [len(cell) for cell in counted_of(seed, case)] == VOLUMES[case]


@pytest.mark.parametrize("seed", SEEDS)
def test_regions_of_planted_cells_are_as_their_cases_say(seed: int) -> None:
    planted = brain(seed)[0].planted_cells
    shares = {case: regions_of(seed, voxels) for case, voxels in planted.items()}
    of_regions = {case: sorted(n for region, n in found.items() if region > 0) for case, found in shares.items()}
    assert of_regions["most voxels in one of two regions"] == [20, 40]
    assert of_regions["half of the voxels in each of two regions"] == [30, 30]
    assert of_regions["three regions, none with most voxels"] == [20, 20, 20]
    assert (of_regions["some voxels outside of the mask"], shares["some voxels outside of the mask"][0]) == ([40], 20)
    assert (of_regions["most voxels outside of the mask"], shares["most voxels outside of the mask"][0]) == ([20], 40)
    assert shares["outside of the mask"] == {0: 60}
    outside = brain(seed)[0].labels[tuple(planted["outside of the mask"].T)]
    assert outside.all()
    assert of_regions["too small"] == [8]
    assert of_regions["too large"][0] > 900


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_of_two_is_divided_into_two_cells(seed: int) -> None:
    case = "too large, of two parts"
    planted, cells = brain(seed)[0].planted_cells[case], counted_of(seed, case)
    assert len(planted) > 900
    assert len(cells) == 2
    assert all(400 < len(cell) < len(planted) / 2 for cell in cells)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cell_that_begins_in_the_first_plane_counts(seed: int) -> None:
    case = "at the border of the image"
    planted, (cell,) = brain(seed)[0].planted_cells[case], counted_of(seed, case)
    assert planted[:, 0].min() == 0
    assert {*map(tuple, cell.tolist())} == {*map(tuple, planted.tolist())}
    assert regions_of(seed, planted)[0] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cell_that_the_box_of_its_region_cuts_counts(seed: int) -> None:
    """As a whole it would not: most of its voxels are in no region."""
    case = "cut by the box of a region"
    planted, (cell,) = brain(seed)[0].planted_cells[case], counted_of(seed, case)
    whole, cut = regions_of(seed, planted), regions_of(seed, cell)
    assert whole[0] > len(planted) / 2
    assert cut[0] < len(cell) / 2
    assert whole[1007] == cut[1007]
    box = box_of(brain(seed)[2], 1007, DOWNSAMPLING)
    assert cell[:, 2].min() == box[2].start > planted[:, 2].min()


@pytest.mark.slow
def test_cells_of_the_demo_are_those_of_the_rule() -> None:
    _, segmentation, labels, cells = brain(SEEDS[0])  # small brains have the other seed
    expected = cells_of(segmentation, labels, DOWNSAMPLING, divide)
    assert cells.labels.tolist() == [label for label, _ in expected]
    assert cells.voxels.tolist() == [list(voxel) for _, voxels in expected for voxel in voxels]


@pytest.mark.parametrize("shape", [(12, 40, 36), (10, 72, 40), (24, 80, 68)])
def test_small_brains_have_the_first_cases_only(shape: tuple[int, int, int]) -> None:
    phantom = make_phantom(shape, seed=2)
    assert 0 < len(phantom.planted_cells) < len(VOLUMES)
    segmentation, labels = phantom.frst >= THRESHOLD, phantom.labels * phantom.hemisphere_mask
    cells = find_cells(segmentation, labels, region_boxes(labels, DOWNSAMPLING))
    assert cells.labels.tolist() == [label for label, _ in cells_of(segmentation, labels, DOWNSAMPLING, divide)]
    n_planted = sum(len(voxels) for voxels in phantom.planted_cells.values())
    assert np.count_nonzero(segmentation) > n_planted  # and other cells
