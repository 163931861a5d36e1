"""Which planes a page has room for, and in which order they are drawn in detail."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids import convert
from catnip2bids.enums import Kind
from catnip2bids.reporting import preview
from catnip2bids.reporting.preview import Preview
from catnip2bids.reporting.sample_page import _from_the_middle, _planes
from catnip2bids.reporting.views import Brain
from made_up import some_image, write_slices

SHAPE = (12, 80, 72)


@pytest.fixture
def brain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Brain:
    """A brain without labels and cells, of which small pictures have half of the rows."""
    monkeypatch.setattr(preview, "_LONGEST_SIDE", 40)
    write_slices(tmp_path / "slices", some_image(SHAPE))
    image = convert(tmp_path / "slices", tmp_path / "image.ome.zarr", (3.7, 3.7, 5.0)).path
    return Brain(Preview(image, SHAPE, (5.0, 3.7, 3.7), Kind.IMAGE), None, None, (), ())


def test_the_middle_is_first_and_every_plane_comes_once() -> None:
    assert _from_the_middle(8) == [4, 0, 2, 6, 1, 3, 5, 7]
    assert _from_the_middle(1) == [0]
    for n in range(1, 30):
        assert sorted(_from_the_middle(n)) == list(range(n))


def test_planes_share_the_room_of_a_page_with_those_in_detail(brain: Brain) -> None:
    few, many = _planes(brain, 1), _planes(brain, 10**7)
    assert [view.detail is not None for view in few].count(True) == 1
    assert few[len(few) // 2].detail is not None
    assert all(view.detail is not None for view in many)
    detail = many[0].detail
    assert detail is not None
    assert (detail.width, detail.height) == (72, 80)
    assert (many[0].width, many[0].height) == (36, 40)
    assert (detail.slab, detail.at) == (many[0].slab, many[0].at)


def test_an_image_without_finer_levels_has_no_details(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_LONGEST_DETAIL", 40)
    assert all(view.detail is None for view in _planes(brain, 10**7))
