"""Comparing groups: what is added up, what is left out, and means and deviations of hand-made numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.reporting.check_results import CheckResults
from catnip2bids.reporting.cohort import CELLS, DENSITY, Cohort, Comparison, read_cohort
from catnip2bids.reporting.overview import animal_rows
from catnip2bids.reporting.sample_status import status_of
from catnip2bids.reporting.samples import Sample
from hand_made_samples import counts, sample


def cohort_of(*samples: Sample) -> Cohort:
    cohort = read_cohort(samples)
    assert cohort is not None
    return cohort


def row_of(cohort: Cohort, name: str) -> int:
    [number] = [number for number, row in enumerate(cohort.rows) if row.key.name == name]
    return number


def test_means_and_deviations_are_those_of_a_textbook() -> None:
    values = np.array([[2.0, np.nan], [4.0, 1.0], [10.0, np.nan], [4.0, np.nan]])
    found = Comparison.of_values(values, ["wt", "wt", "ko", "wt"])
    assert found.groups == ("ko", "wt")
    assert found.n.tolist() == [[1, 0], [3, 1]]
    assert found.means[:, 0].tolist() == pytest.approx([10, 10 / 3])
    assert found.means[1, 1] == 1
    assert np.isnan(found.means[0, 1])
    assert found.deviations[1, 0] == pytest.approx(np.std([2, 4, 4], ddof=1))
    assert np.isnan(found.deviations[0, 0])
    assert found.differences[0] == pytest.approx(10 - 10 / 3)
    assert np.isnan(found.differences[1])


def test_animals_of_an_unknown_group_are_compared_with_none() -> None:
    found = Comparison.of_values(np.array([[2.0, 2.0], [3.0, 3.0], [9.0, np.nan]]), ["female", "n/a", "male"])
    assert found.groups == ("female", "male", "n/a")
    assert found.differences[0] == 7
    assert found.shares[0] == pytest.approx(350)
    assert np.isnan(found.differences[1])


def test_the_table_of_animals_has_the_sums_that_groups_are_compared_by(tmp_path: Path) -> None:
    whole, corrected = counts({1: (10, 2.0), 2: (90, 1.0)}), counts({1: (10, 2.0), 2: (None, 1.0)}, corrected=True)
    samples = [sample("1", counts({1: (8, 2.0), 2: (2, 1.0)})), sample("2", whole, corrected)]
    cards = [status_of(one, CheckResults.of(tmp_path)) for one in samples]
    table = animal_rows(cards, samples, cohort_of(*samples))
    assert [(row["cells"], row["density"]) for row in table["animals"]] == [(8, 4), (10, 5)]
    assert "in all samples without Layer 2, which" in table["counted_at"]


def test_regions_without_voxels_are_in_no_mean() -> None:
    one = counts({1: (8, 2.0), 2: (0, 0.0), 3: (0, 0.0)})
    cohort = cohort_of(sample("1", one), sample("2", counts({1: (6, 2.0), 2: (4, 1.0), 3: (4, 1.0)})))
    for name, n_cells in (("Layer 2", 4), ("Cortex", 8)):
        for measure, expected in ((CELLS, n_cells), (DENSITY, 4)):
            found = cohort.animals.values(0, measure)[:, row_of(cohort, name)]
            assert np.nan_to_num(found, nan=-1).tolist() == [-1, expected]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 1000)), min_size=1))
def test_comparisons_agree_with_plain_loops(points: list[tuple[str, int | None]]) -> None:
    values = np.array([[np.nan if value is None else value] for _, value in points], float)
    found = Comparison.of_values(values, [group for group, _ in points])
    for number, group in enumerate(found.groups):
        known = [value for name, value in points if name == group and value is not None]
        assert found.n[number, 0] == len(known)
        assert (
            np.isnan(found.means[number, 0]) if not known else found.means[number, 0] == pytest.approx(np.mean(known))
        )
        if len(known) > 1:
            assert found.deviations[number, 0] == pytest.approx(np.std(known, ddof=1), abs=1e-9)


def test_the_samples_of_an_animal_are_added_up() -> None:
    cohort = cohort_of(
        sample("1", counts({1: (10, 2.0)}), side="left"),
        sample("1", counts({1: (20, 4.0)}), side="right"),
        sample("2", counts({1: (5, 1.0)}), genotype="wt"),
    )
    row = row_of(cohort, "Field CA1")
    assert cohort.animals.names == ("sub-1", "sub-2")
    assert cohort.animals.values(0, CELLS)[:, row].tolist() == [30, 5]
    assert cohort.animals.values(0, DENSITY)[:, row].tolist() == [5, 5]
    assert cohort.compare(0, "genotype", CELLS).n[:, row].tolist() == [1, 1]
    by_side = cohort.compare(0, "hemisphere", CELLS)
    assert by_side.groups == ("left", "right")
    assert by_side.n[:, row].tolist() == [2, 1]


def test_what_one_sample_does_not_know_is_that_of_the_other() -> None:
    cohort = cohort_of(
        sample("1", counts({1: (None, None), 2: (1, 1.0)}), side="left"),
        sample("1", counts({1: (20, 4.0), 2: (3, None)}), side="right"),
        sample("2", counts({1: (None, None)}), genotype="wt"),
    )
    ca1, layer = row_of(cohort, "Field CA1"), row_of(cohort, "Layer 2")
    assert cohort.animals.values(0, DENSITY)[0, ca1] == 5
    assert np.isnan(cohort.animals.values(0, CELLS)[1, ca1])
    assert cohort.animals.values(0, CELLS)[0, layer] == 4
    assert np.isnan(cohort.animals.values(0, DENSITY)[0, layer])


def test_regions_are_added_up_to_what_is_above_them_and_never_twice() -> None:
    cohort = cohort_of(
        sample("1", counts({1: (10, 2.0), 2: (6, 1.0), 3: (2, 3.0)})),
        sample("2", counts({1: (10, 2.0), 2: (6, 1.0), 3: (2, 3.0)}), genotype="wt"),
    )
    cortex, everything = row_of(cohort, "Cortex"), row_of(cohort, "all regions")
    assert cohort.has_sums
    assert cohort.rows[cortex].key.is_sum
    assert cohort.rows[row_of(cohort, "Layer 2")].part_of == "CTX"
    assert cohort.animals.values(0, CELLS)[:, cortex].tolist() == [8, 8]
    assert cohort.animals.values(0, DENSITY)[:, cortex].tolist() == [2, 2]
    assert cohort.animals.values(0, CELLS)[:, everything].tolist() == [18, 18]
    assert cohort.left_out == ((),)


def test_sums_are_of_the_same_regions_in_all_animals() -> None:
    cohort = cohort_of(
        sample("1", counts({1: (10, 2.0), 2: (60, 1.0), 3: (2, 3.0)})),
        sample("2", counts({1: (10, 2.0), 2: (60, 1.0), 3: (None, None)}), genotype="wt"),
    )
    cortex, everything = row_of(cohort, "Cortex"), row_of(cohort, "all regions")
    assert cohort.left_out == (("Layer 5",),)
    assert cohort.animals.values(0, CELLS)[:, cortex].tolist() == [60, 60]
    assert cohort.animals.values(0, DENSITY)[:, everything].tolist() == pytest.approx([70 / 3, 70 / 3])
    layer = row_of(cohort, "Layer 5")
    assert cohort.animals.values(0, CELLS)[0, layer] == 2
    assert np.isnan(cohort.animals.values(0, CELLS)[1, layer])


def test_an_animal_without_a_mask_has_no_damaged_regions() -> None:
    plain = counts({1: (10, 2.0), 2: (6, 1.0)})
    cohort = cohort_of(
        sample("1", plain, counts({1: (None, None), 2: (6, 1.0)}, corrected=True)), sample("2", plain, genotype="wt")
    )
    assert cohort.titles == ["threshold 10000", "threshold 10000, damaged regions left out"]
    assert cohort.first_series == 1
    ca1 = row_of(cohort, "Field CA1")
    assert cohort.compare(0, "genotype", CELLS).n[:, ca1].tolist() == [1, 1]
    assert cohort.compare(1, "genotype", CELLS).n[:, ca1].tolist() == [0, 1]


def test_stains_are_not_mixed() -> None:
    cohort = cohort_of(sample("1", counts({1: (10, 2.0)})), sample("1", counts({1: (4, 2.0)}), stain="NeuN"))
    assert cohort.titles == ["NeuN, threshold 10000", "cFos, threshold 10000"]
    ca1 = row_of(cohort, "Field CA1")
    assert [cohort.animals.values(series, CELLS)[0, ca1] for series in (0, 1)] == [4, 10]


def test_regions_that_differ_most_have_cells_and_come_first() -> None:
    few, many = {1: (20, 1.0), 2: (1, 0.001), 3: (50, 1.0)}, {1: (60, 1.0), 2: (9, 0.001), 3: (70, 1.0)}
    cohort = cohort_of(sample("1", counts(few)), sample("2", counts(many), genotype="wt"))
    ranked = [cohort.rows[row].key.name for row in cohort.ranking(0, "genotype", DENSITY)]
    assert ranked == ["Field CA1", "Layer 5"]  # no sums, and not layer 2 with its few cells


def test_there_is_nothing_to_compare_of_one_sample() -> None:
    assert read_cohort([sample("1", counts({1: (10, 2.0)})), sample("2")]) is None


def test_a_page_gets_plain_numbers_and_no_nan() -> None:
    document = cohort_of(
        sample("1", counts({1: (10, 3.0)})), sample("2", counts({1: (None, None)}), genotype="wt")
    ).to_json()
    [found, _] = document["comparisons"][0]["genotype"]
    assert found["groups"] == ("ko", "wt")
    assert found["means"] == [[3.3333333, 3.3333333], [None, None]]
    assert found["shares"] == [None, None]
    assert document["values"]["animals"][0][1][0] == [10.0, 10.0]
