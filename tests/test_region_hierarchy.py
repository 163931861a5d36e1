"""Sums over regions and everything below them: each region once, whatever the parents are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.region_hierarchy import RegionTotal, depths_of, region_totals, without_circles

ROOT, VENTRICLES, LATERAL, FOURTH, RECESS, VISUAL, LAYER_1, LAYER_4 = 997, 73, 81, 145, 153, 385, 593, 721
PARENTS = {VENTRICLES: ROOT, LATERAL: VENTRICLES, FOURTH: VENTRICLES, RECESS: FOURTH, LAYER_1: VISUAL, LAYER_4: VISUAL}
COUNTED = {
    ROOT: (1, 0.5),
    VENTRICLES: (2, 1.0),
    LATERAL: (4, 0.25),
    FOURTH: (None, None),
    RECESS: (16, 2.0),
    LAYER_1: (32, 4.0),
    LAYER_4: (64, 8.0),
}


def test_a_region_with_regions_below_it_is_added_once() -> None:
    totals = region_totals(COUNTED, PARENTS)
    assert totals[RECESS] == RegionTotal(16, 2.0, n_regions=1)
    assert totals[FOURTH] == RegionTotal(16, 2.0, n_regions=1, n_unknown=1)
    assert totals[VENTRICLES] == RegionTotal(2 + 4 + 16, 1.0 + 0.25 + 2.0, n_regions=3, n_unknown=1)
    assert totals[ROOT] == RegionTotal(1 + 22, 0.5 + 3.25, n_regions=4, n_unknown=1)


def test_a_group_that_is_not_counted_itself_has_the_sum_of_what_is_below_it() -> None:
    totals = region_totals(COUNTED, PARENTS)
    assert totals[VISUAL] == RegionTotal(96, 12.0, n_regions=2)
    assert totals[VISUAL].density_per_mm3 == 8.0
    assert list(totals) == sorted({*COUNTED, VISUAL})


def test_what_has_no_counted_region_below_it_has_no_sum() -> None:
    assert list(region_totals({LAYER_1: (1, 1.0)}, PARENTS)) == [VISUAL, LAYER_1]
    assert region_totals({}, PARENTS) == {}


@pytest.mark.parametrize("numbers", [(None, None), (3, None), (None, 3.0)])
def test_a_region_without_a_number_is_in_neither_sum(numbers: tuple[int | None, float | None]) -> None:
    totals = region_totals({LAYER_1: numbers, LAYER_4: (1, 2.0)}, PARENTS)
    assert totals[VISUAL] == RegionTotal(1, 2.0, n_regions=1, n_unknown=1)
    assert totals[LAYER_1].density_per_mm3 is None


def test_circles_are_cut() -> None:
    circle = {1: 2, 2: 3, 3: 1, 4: 3, 5: 5, 6: 5}
    assert without_circles(circle) == {4: 3, 6: 5}
    totals = region_totals(dict.fromkeys(range(1, 7), (1, 1.0)), circle)
    assert {index: total.cell_count for index, total in totals.items()} == {1: 1, 2: 1, 3: 2, 4: 1, 5: 2, 6: 1}


def test_a_long_chain_and_a_long_circle_end() -> None:
    n = 20_000
    chain = {index: index + 1 for index in range(n)}
    assert depths_of(chain)[0] == n
    assert region_totals(dict.fromkeys(chain, (1, 1.0)), chain)[n].cell_count == n
    assert without_circles(chain | {n: 0}) == {}


@given(
    st.dictionaries(st.integers(0, 12), st.integers(0, 12)),
    st.dictionaries(st.integers(0, 12), st.tuples(st.integers(0, 99) | st.none(), st.integers(0, 99).map(float))),
)
def test_sums_are_those_of_walking_up_from_each_region(
    parents: dict[int, int], counted: dict[int, tuple[int | None, float | None]]
) -> None:
    trees = without_circles(parents)
    expected: dict[int, RegionTotal] = {}
    for index, (cells, volume) in counted.items():
        own = RegionTotal(n_unknown=1) if cells is None or volume is None else RegionTotal(cells, volume, 1)
        at: int | None = index
        while at is not None:
            expected[at] = expected.get(at, RegionTotal()) + own
            at = trees.get(at)
    assert region_totals(counted, parents) == expected
    assert all(depths_of(trees)[index] == depths_of(trees)[parent] + 1 for index, parent in trees.items())
