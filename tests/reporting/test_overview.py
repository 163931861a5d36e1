"""The overview: texts that are the same are told once, and numbers become words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catnip2bids.bids.provenance import Decision
from catnip2bids.reporting.check_results import Problem
from catnip2bids.reporting.cohort import Comparison
from catnip2bids.reporting.overview import ProblemGroup, _difference, _group_value, grouped, left_out
from catnip2bids.reporting.samples import Sample
from hand_made_samples import counts, sample

MASKED = {"relation": "2-is-1-masked", "image": "x", "mask": "y", "compared_with": "atlaslabel", "planes_compared": 12}


def test_a_problem_of_many_is_told_once_with_all_places() -> None:
    problems = [
        Problem("b", "is damaged"),
        Problem("a", "is damaged"),
        Problem("b", "is damaged"),
        Problem("c", "is gone"),
    ]
    assert grouped(problems) == [ProblemGroup("is damaged", ("b", "a")), ProblemGroup("is gone", ("c",))]


def without(subject: str, reason: str, evidence: dict[str, object] | None) -> Sample:
    animal = sample(subject, counts({1: (1, 1.0)}))
    record = animal.record.model_copy(update={"source": f"cohort/{subject}"})
    source = f"cohort/{subject}/atlaslabel_masked"
    found = Decision(run=animal.key, source=source, action="exclude", reason=reason, evidence=evidence)
    return replace(animal, record=record, decisions=(found,))


def test_what_was_left_out_of_many_samples_for_one_reason_is_told_once() -> None:
    [group, other] = left_out(
        [
            without("1", "voxel by voxel: 3 of 12 planes differ", MASKED),
            without("2", "voxel by voxel: 4 of 12 planes differ", MASKED),
            without("3", "blurred {and} more", None),
        ]
    )
    assert group.name == "atlaslabel_masked"
    assert group.reason == "redundant: atlaslabel, which is packaged, times the hemisphere mask; proven voxel by voxel"
    assert [source for source, _, _ in group.entries] == ["cohort/1/atlaslabel_masked", "cohort/2/atlaslabel_masked"]
    assert group.entries[1][1:] == (
        "voxel by voxel: 4 of 12 planes differ",
        (("compared with", "atlaslabel"), ("planes compared", "12")),
    )
    assert other.reason == "blurred {and} more"


@pytest.mark.parametrize(
    ("ko", "wt", "texts", "difference"),
    [
        ([100.0, 120.0], [80.0], ["110 \u00b1 14.1 (n = 2)", "80 (n = 1)"], "ko +30 (+37.5 %)"),
        ([0.0], [0.5], ["0 (n = 1)", "0.5 (n = 1)"], "wt +0.5"),
        ([3.0], [3.0], ["3 (n = 1)", "3 (n = 1)"], "none"),
        ([np.nan], [3.0], ["n/a", "3 (n = 1)"], "n/a"),
        ([1000.0], [1004.0], ["1,000 (n = 1)", "1,004 (n = 1)"], "wt +4 (+0.4 %)"),
    ],
)
def test_groups_and_their_difference_in_words(
    ko: list[float], wt: list[float], texts: list[str], difference: str
) -> None:
    found = Comparison.of_values(np.array([*ko, *wt])[:, np.newaxis], ["ko"] * len(ko) + ["wt"] * len(wt))
    assert [_group_value(found, group, 0).text.replace("\u00a0", " ") for group in range(2)] == texts
    assert _difference(found, 0).text == difference
