"""Dividing large cells: by hand, and against scikit-image, which draws lines in its own way."""

from __future__ import annotations

import numpy as np
import pytest

from catnip2bids.demo.watershed import Voxels, connected_parts, divide


def balls(*centres: tuple[int, int, int], radius: float = 5.2) -> Voxels:
    grid = np.indices((16, 24, 40))
    inside = [sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) <= radius**2 for centre in centres]
    return np.argwhere(np.any(inside, axis=0))


def sizes(parts: list[Voxels]) -> list[int]:
    return [len(part) for part in parts]


def test_balls_that_touch_are_divided_in_the_middle() -> None:
    both = balls((7, 10, 9), (7, 10, 18))
    left, right = divide(both)
    assert (left[:, 2].max(), right[:, 2].min()) == (12, 14) or (left[:, 2].max(), right[:, 2].min()) == (13, 15)
    assert abs(len(left) - len(right)) < 0.2 * len(left)
    assert 0 < len(both) - len(left) - len(right) < 60  # the line between them


def test_a_ball_stays_whole() -> None:
    ball = balls((7, 10, 9), radius=6.2)
    (part,) = divide(ball)
    assert np.array_equal(part, ball)


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 5, 6), (1, 30, 1)])
def test_a_block_that_fills_its_box_stays_whole(shape: tuple[int, int, int]) -> None:
    block = np.add(np.argwhere(np.ones(shape, bool)), (2, 0, 5))
    (part,) = divide(block)
    assert np.array_equal(part, block)


@pytest.mark.parametrize(
    "centres",
    [
        ((7, 10, 9), (7, 10, 18)),
        ((5, 7, 9), (9, 11, 17), (6, 8, 25)),
        ((7, 6, 9), (7, 15, 9), (7, 10, 17)),
        ((7, 10, 9), (7, 10, 30)),
    ],
)
def test_division_is_about_that_of_scikit_image(centres: tuple[tuple[int, int, int], ...]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    segmentation = pytest.importorskip("skimage.segmentation")
    voxels = balls(*centres)
    low = voxels.min(axis=0)
    inside = np.zeros(voxels.max(axis=0) - low + 1, bool)
    inside[tuple((voxels - low).T)] = True
    neighbours = ndimage.generate_binary_structure(3, 2)
    depths = -ndimage.distance_transform_edt(inside)
    basins = segmentation.watershed(depths, connectivity=2, mask=inside, watershed_line=True)
    expected = sorted(np.bincount(ndimage.label(basins > 0, neighbours)[0].ravel())[1:].tolist())
    found = sorted(sizes(divide(voxels)))
    assert len(found) == len(expected) == len(centres)
    assert np.allclose(found, expected, rtol=0.1)


def test_parts_keep_the_order_of_their_voxels() -> None:
    voxels = np.array([[4, 4, 9], [0, 0, 0], [4, 4, 8], [0, 1, 1], [9, 9, 9], [1, 2, 1]])
    parts = [part.tolist() for part in connected_parts(voxels)]
    assert parts == [[[4, 4, 9], [4, 4, 8]], [[0, 0, 0], [0, 1, 1], [1, 2, 1]], [[9, 9, 9]]]
    assert connected_parts(voxels[:0]) == []
