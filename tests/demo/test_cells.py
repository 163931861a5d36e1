"""Cells of the demo against a slow version of CATNIP's rule, and on volumes that were made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from catnip2bids.demo.cells import Cells, find_cells, region_boxes
from catnip2bids.demo.watershed import divide
from plain_counting import box_of, cells_of

Array = npt.NDArray[Any]

FACTORS = (5, 7, 7)
A, B, C = 3, 8, 12001


def found_in(segmentation: Array, labels: Array, factors: tuple[int, int, int] = FACTORS) -> Cells:
    labels = labels.astype(np.uint16)
    return find_cells(segmentation.astype(bool), labels, region_boxes(labels, factors))


def as_list(cells: Cells) -> list[tuple[int, list[tuple[int, ...]]]]:
    parts = np.split(cells.voxels, np.cumsum(cells.volumes_voxels)[:-1])
    assert [len(part) for part in parts][: len(cells.labels)] == cells.volumes_voxels.tolist()
    return [
        (label, [tuple(voxel) for voxel in part.tolist()])
        for label, part in zip(cells.labels.tolist(), parts[: len(cells.labels)], strict=True)
    ]


def counted(segmentation: Array, labels: Array) -> list[tuple[int, int]]:
    """Region and volume of each cell."""
    cells = found_in(segmentation, labels)
    return list(zip(cells.labels.tolist(), cells.volumes_voxels.tolist(), strict=True))


def some_labels(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """Blocks of regions in a background of 0, one of them a thin wedge."""
    labels = rng.choice([0, A, B, C], tuple(n // 9 + 1 for n in shape)).repeat(9, 0).repeat(9, 1).repeat(9, 2)
    labels = labels[: shape[0], : shape[1], : shape[2]].copy()
    labels[2:9, 3:5, 6:17] = 77
    return labels


def some_blocks(rng: np.random.Generator, shape: tuple[int, int, int], n: int) -> Array:
    """Blocks in random places, which often touch or overlap."""
    segmentation = np.zeros(shape, bool)
    for start, size in zip(rng.integers(0, shape, (n, 3)), rng.integers(1, 6, (n, 3)), strict=True):
        segmentation[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = True
    return segmentation


def halves(shape: tuple[int, int, int] = (9, 12, 20)) -> Array:
    """Two regions, one on each side of the middle of x."""
    labels = np.full(shape, A)
    labels[:, :, shape[2] // 2 :] = B
    return labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("factors", [(5, 7, 7), (2, 3, 4), (1, 1, 1)])
def test_cells_are_those_of_the_rule(seed: int, factors: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    labels = some_labels(rng, (23, 31, 40))
    segmentation = some_blocks(rng, labels.shape, 20 * 2**seed)
    expected = cells_of(segmentation, labels, factors, divide)
    assert as_list(found_in(segmentation, labels, factors)) == expected
    assert expected


def test_cells_that_boxes_cut_are_those_of_the_rule() -> None:
    """Long cells in all directions, which most boxes cut if nothing is downsampled."""
    rng = np.random.default_rng(0)
    labels = np.zeros((50, 60, 60), int)
    labels[14:30, 20:36, 12:26], labels[25:37, 36:49, 30:45] = A, B
    segmentation = np.zeros(labels.shape, bool)
    for _ in range(60):
        axis, start = rng.integers(3), rng.integers(0, labels.shape)
        block = [slice(a, a + 2) for a in start]
        block[axis] = slice(start[axis], start[axis] + 28)
        segmentation[tuple(block)] = True
    expected = cells_of(segmentation, labels, (1, 1, 1), divide)
    assert as_list(found_in(segmentation, labels, (1, 1, 1))) == expected
    whole = cells_of(segmentation, labels, labels.shape, divide)  # boxes as large as the image
    assert len(expected) != len(whole)


@pytest.mark.parametrize("factors", [(5, 7, 7), (1, 1, 1), (4, 3, 2)])
def test_boxes_are_those_of_the_rule(factors: tuple[int, int, int]) -> None:
    labels = some_labels(np.random.default_rng(3), (23, 31, 40))
    boxes = region_boxes(labels.astype(np.uint16), factors)
    for label in np.unique(labels).tolist():
        start, stop = boxes[label].tolist()
        assert tuple(map(slice, start, stop)) == box_of(labels, label, factors)


def test_box_by_hand() -> None:
    """Rows 21 to 40 are downsampled rows 4 to 6, counted from 1: read are rows 3 * 7 - 5 to 7 * 7 + 5."""
    labels = np.zeros((60, 90, 90), np.uint16)
    labels[30:31, 21:41, :] = A
    assert region_boxes(labels, FACTORS)[A].tolist() == [[24, 15, 0], [45, 54, 90]]


@pytest.mark.parametrize(("n_in_a", "expected"), [(7, [(A, 12)]), (6, []), (5, [(B, 12)])])
def test_more_than_half_counts(n_in_a: int, expected: list[tuple[int, int]]) -> None:
    segmentation = np.zeros(halves().shape)
    segmentation[4, 5, 10 - n_in_a : 22 - n_in_a] = 1
    assert counted(segmentation, halves()) == expected


def test_outside_of_all_regions_counts_as_a_region() -> None:
    labels = np.where(halves() == A, A, 0)
    segmentation = np.zeros(labels.shape)
    segmentation[2, 5, 3:16], segmentation[6, 5, 4:17] = 1, 1  # 7 of 13 voxels, and 6
    assert counted(segmentation, labels) == [(A, 13)]


def test_nobody_counts_a_cell_without_a_majority() -> None:
    labels = halves()
    labels[:, :, 8:12] = C
    segmentation = np.zeros(labels.shape)
    segmentation[4, 5, 4:16] = 1
    assert counted(segmentation, labels) == []


@pytest.mark.parametrize(("volume", "expected"), [(8, []), (9, [(A, 9)]), (900, [(A, 900)]), (901, [])])
def test_range_includes_its_ends(volume: int, expected: list[tuple[int, int]]) -> None:
    labels = np.full((9, 30, 40), A)
    segmentation = np.zeros(labels.shape)
    block = np.zeros(5 * 15 * 13)
    block[:volume] = 1
    segmentation[2:7, 2:17, 2:15] = block.reshape(5, 15, 13)
    assert counted(segmentation, labels) == expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ((0, 0, 3), [(A, 24)]),  # the blocks share a face
        ((0, 2, 3), [(A, 24)]),  # an edge
        ((2, 2, 3), [(A, 12), (A, 12)]),  # a corner
        ((0, 0, 4), [(A, 12), (A, 12)]),
    ],
)
def test_voxels_that_share_a_face_or_an_edge_are_connected(
    step: tuple[int, int, int], expected: list[tuple[int, int]]
) -> None:
    labels = np.full((9, 12, 20), A)
    segmentation = np.zeros(labels.shape)
    for z, y, x in ((3, 4, 5), np.add((3, 4, 5), step)):
        segmentation[z : z + 2, y : y + 2, x : x + 3] = 1
    assert counted(segmentation, labels) == expected


def test_a_box_can_cut_a_cell_so_that_it_counts() -> None:
    """The box begins 6 voxels before the region: 14 of 32 voxels are in it, and 14 of 20 in the box."""
    labels = np.zeros((9, 70, 12), int)
    labels[:, 28:60] = A
    segmentation = np.zeros(labels.shape)
    segmentation[4, 10:42, 5] = 1
    assert counted(segmentation, labels) == [(A, 20)]


def test_a_cell_that_two_boxes_cut_counts_twice() -> None:
    """Region A has 13 of 19 voxels in its box, which ends at 33; region B has 16 of 28 in its own, from 15 on."""
    labels = np.zeros((9, 70, 12), int)
    labels[:, 14:21], labels[:, 27:] = A, B
    segmentation = np.zeros(labels.shape)
    segmentation[4, 8:21, 5], segmentation[4, 21:43, 5] = 1, 1
    expected = cells_of(segmentation, labels, FACTORS, divide)
    assert as_list(found_in(segmentation, labels)) == expected


def test_parts_of_large_cells_count_where_the_whole_does() -> None:
    """Two balls: the smaller one lies in region B, but most voxels of both in region A."""
    labels = np.full((20, 24, 50), A)
    labels[:, :, 27:] = B
    z, y, x = np.indices(labels.shape)
    balls = [(z - 10) ** 2 + (y - 11) ** 2 + (x - centre) ** 2 <= radius**2 for centre, radius in ((18, 5), (30, 5))]
    segmentation = balls[0] | balls[1] | ((abs(z - 10) < 2) & (abs(y - 11) < 2) & (x > 10) & (x < 30))
    n_in_a = np.count_nonzero(segmentation & (labels == A))
    assert n_in_a > np.count_nonzero(segmentation) / 2
    cells = counted(segmentation, labels)
    assert [label for label, _ in cells] == [A, A]
    assert sum(volume for _, volume in cells) < np.count_nonzero(segmentation)


def test_no_foreground_has_no_cells() -> None:
    cells = found_in(np.zeros((5, 6, 7)), np.full((5, 6, 7), A))
    assert (len(cells.labels), cells.centres.shape, cells.voxels.shape) == (0, (0, 3), (0, 3))
    assert cells.of_region(A) == (slice(0, 0), slice(0, 0))


def test_cells_know_their_voxels_and_centres() -> None:
    segmentation = np.zeros(halves().shape)
    segmentation[1:4, 2:5, 12:15], segmentation[6, 6, :9] = 1, 1
    cells = found_in(segmentation, halves())
    assert (cells.labels.tolist(), cells.volumes_voxels.tolist()) == ([A, B], [9, 27])
    assert cells.centres.tolist() == [[6, 6, 4], [2, 3, 13]]
    which, there = cells.of_region(B)
    assert (which, there) == (slice(1, 2), slice(9, 36))
    assert cells.voxels[there][:4].tolist() == [[1, 2, 12], [1, 3, 12], [1, 4, 12], [1, 2, 13]]  # columns first
