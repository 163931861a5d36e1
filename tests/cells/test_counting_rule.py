"""CATNIP's rule on hand-made components."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from catnip2bids.cells.components import Components
from catnip2bids.cells.connected_components import Box
from catnip2bids.cells.counting_rule import FATES, Fate, Rule, Tally, fitting_volumes, judge, judge_filtered

RULE = Rule((9, 900), (5, 6, 6), None)
BOX = Box((0, 0, 0), (9, 9, 9))


def component(*labels: tuple[int, int], value: int = 255, low: int = 0, high: int = 4) -> Components:
    """Make a component with so many voxels (second) of each label (first)."""
    n = sum(count for _, count in labels)
    three = np.array([[low] * 3]), np.array([[high] * 3])
    return Components(
        np.array([n]),
        np.zeros((1, 3), np.int64),
        *three,
        np.array([value]),
        np.zeros(len(labels), np.int64),
        np.array([label for label, _ in labels]),
        np.array([count for _, count in labels]),
    )


@pytest.mark.parametrize(
    ("labels", "fate", "region"),
    [
        ([(5, 9)], Fate.COUNTED, 5),
        ([(5, 900)], Fate.COUNTED, 5),
        ([(5, 8)], Fate.TOO_SMALL, 5),
        ([(5, 901)], Fate.TOO_LARGE, 5),
        ([(5, 6), (7, 5)], Fate.COUNTED, 5),
        ([(5, 5), (7, 6)], Fate.COUNTED, 7),
        ([(5, 6), (7, 6)], Fate.NO_REGION, 0),
        ([(2, 4), (5, 5), (7, 4)], Fate.NO_REGION, 0),
        ([(0, 6), (5, 5)], Fate.OUTSIDE, 0),
        ([(0, 6), (5, 6)], Fate.NO_REGION, 0),
        ([(0, 5), (5, 6)], Fate.COUNTED, 5),
        ([(0, 901)], Fate.TOO_LARGE, 0),
    ],
)
def test_each_component_has_one_fate(labels: list[tuple[int, int]], fate: Fate, region: int) -> None:
    judged = judge(component(*labels), RULE)
    assert (FATES[judged.fate[0]], int(judged.region[0])) == (fate, region)


def test_labels_that_no_table_lists_count_nothing() -> None:
    rule = Rule((9, 900), (5, 6, 6), {5})
    assert FATES[judge(component((12009, 20)), rule).fate[0]] is Fate.NO_REGION
    assert FATES[judge(component((5, 20)), rule).fate[0]] is Fate.COUNTED


@pytest.mark.parametrize(
    ("cell", "fate", "region"),
    [
        (component((5, 20), value=20), Fate.COUNTED, 5),
        (component((0, 15), (5, 5), value=20), Fate.COUNTED, 5),  # a part of a component of region 5
        (component((5, 20), value=21), Fate.NO_REGION, 0),  # two cells that touch, or a part of one
        (component((0, 20), value=20), Fate.NO_REGION, 0),
        (component((5, 70000), value=65535), Fate.COUNTED, 5),
    ],
)
def test_cells_of_the_filtered_segmentation_have_the_volume_that_they_say(
    cell: Components, fate: Fate, region: int
) -> None:
    judged = judge_filtered(cell, RULE)
    assert (FATES[judged.fate[0]], int(judged.region[0])) == (fate, region)


def test_the_log_tells_the_settings_of_the_rule() -> None:
    log = {"Cell size range (in pixels)": "12,500", "Downsampling factor": "6x7x5"}
    assert Rule.of_log(log, {1}) == Rule((12, 500), (5, 6, 7), {1})
    assert Rule.of_log({}, None) == Rule((9, 900), (5, 6, 6), None, has_stated_range=False)


@pytest.mark.parametrize("text", ["12,500", "[12 500]", " 12 , 500 ", "12.0, 500.0", "12-500", "12;500"])
def test_the_range_of_cell_sizes_is_read_in_any_notation(text: str) -> None:
    rule = Rule.of_log({"Cell size range (in pixels)": text}, None)
    assert (rule.size_range, rule.has_stated_range) == ((12, 500), True)


@pytest.mark.parametrize("text", ["1.2.3x4x5", "..x6x5", "9" * 400 + "x6x5", "0x6x5", "six"])
def test_downsampling_factors_that_are_no_numbers_are_unknown(text: str) -> None:
    assert Rule.of_log({"Downsampling factor": text}, None).downsampling == (5, 6, 6)


def test_volumes_may_have_those_of_labels_that_the_table_lacks() -> None:
    n_labelled = {0: 99, 510: 4, 511: 10, 512: 3, 514: 5, 12009: 7}
    fitting = fitting_volumes([511, 515, 510, 12008], n_labelled)
    assert fitting == {510: {4}, 511: {10, 13, 18}, 515: {0}, 12008: {0, 7}}
    assert fitting_volumes([], n_labelled) == {}
    assert fitting_volumes([3], {}) == {3: {0}}


def test_differences_have_likely_reasons() -> None:
    tally = Tally(boxes={5: Box((0, 0, 0), (1, 1, 1)), 7: Box((5, 5, 5), (9, 9, 9))})
    for labels, low, high in (([(5, 2000)], 0, 9), ([(5, 20), (7, 9)], 3, 17), ([(5, 20), (8, 9)], 3, 30)):
        tally.add(judge(component(*labels, low=low, high=high), RULE), RULE)
    cut = tally.cut(RULE)
    assert tally.counted == Counter({5: 2})
    assert cut == Counter({5: 1, 7: 1})
    assert tally.difference(5, 4, RULE, cut) == (
        "1 component of more than 900 voxels, which CATNIP divides; "
        "1 component at the border of the box in which CATNIP looks"
    )
    assert tally.difference(8, 1, RULE, cut) is None


def test_components_that_catnip_divides_explain_only_as_many_cells_as_they_have_voxels_for() -> None:
    tally = Tally(boxes={5: BOX})
    for n_voxels in (2000, 20, 20):
        tally.add(judge(component((5, n_voxels)), RULE), RULE)
    most = 2000 // RULE.size_range[0]
    assert [n for n in (0, 1, 3, 2 + most, 3 + most) if tally.difference(5, n, RULE, {})] == [3, 2 + most]


def test_a_box_takes_away_no_more_cells_than_it_cuts() -> None:
    tally = Tally(counted=Counter({5: 9}), boxes={5: BOX})
    assert [n for n in (6, 7, 10) if tally.difference(5, n, RULE, {5: 2})] == [7, 10]


def test_the_box_of_a_region_between_the_points_of_the_downsampled_grid_is_not_known() -> None:
    tally = Tally(counted=Counter({5: 2, 6: 2}), boxes={6: BOX})
    assert tally.difference(5, 0, RULE, {}) == "the region is so thin that the box in which CATNIP looks is not known"
    assert tally.difference(6, 0, RULE, {}) is None
    assert tally.difference(7, 3, RULE, {}) is None  # no cell shows that there is such a region at all


def test_small_components_are_a_reason_only_where_no_range_is_known() -> None:
    tally, unknown = Tally(), Rule.of_log({}, None)
    tally.add(judge(component((5, 8)), unknown), unknown)
    assert tally.difference(5, 1, RULE, {}) is None
    assert tally.difference(5, 2, unknown, {}) is None
    assert tally.difference(5, 1, unknown, {}) == (
        "1 component of fewer than 9 voxels, which CATNIP may have counted: the log states no range of cell sizes"
    )
