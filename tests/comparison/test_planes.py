"""Boxes around the voxels that differ."""

from __future__ import annotations

import pytest

from catnip2bids.comparison.planes import Box


@pytest.mark.parametrize(
    ("other", "joined"),
    [
        (None, Box((3, 5), (10, 20))),
        (Box((4, 4), (12, 15)), Box((3, 5), (10, 20))),
        (Box((0, 9), (2, 30)), Box((0, 9), (2, 30))),
        (Box((7, 8), (0, 1)), Box((3, 8), (0, 20))),
    ],
)
def test_a_joined_box_is_the_smallest_around_both(other: Box | None, joined: Box) -> None:
    box = Box((3, 5), (10, 20))
    assert box.joined(other) == joined
    assert other is None or other.joined(box) == joined
