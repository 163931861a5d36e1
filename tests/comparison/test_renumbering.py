"""The same planes under other slice numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from catnip2bids.comparison.planes import Plane, PlanePair
from catnip2bids.comparison.renumbering import Renumbering, find_renumbering, step_of
from catnip2bids.volume import PageLayout, PlaneSource

LAYOUT = PageLayout((2, 3), np.dtype("uint8"))


def pairs(hashes_1: Mapping[int, str], hashes_2: Mapping[int, str]) -> list[PlanePair]:
    """Make pairs of planes, of which only the hashes count, by their slice numbers."""

    def plane(hashes: Mapping[int, str], number: int) -> Plane | None:
        return Plane(PlaneSource(Path("x"), 0), LAYOUT, hashes[number]) if number in hashes else None

    numbers = sorted({*hashes_1, *hashes_2})
    return [PlanePair(number, plane(hashes_1, number), plane(hashes_2, number)) for number in numbers]


def numbered(letters: str, first: int, step: int = 1) -> dict[int, str]:
    return {first + index * step: letter for index, letter in enumerate(letters)}


@pytest.mark.parametrize(
    ("one", "two", "numbers"),
    [
        (numbered("abcde", 0), numbered("abcde", 1), Renumbering(0, 1)),
        (numbered("abcde", 1001), numbered("abcde", 1), Renumbering(0, -1000)),
        (numbered("abcde", 0, 40), numbered("abcde", 1), Renumbering(0, 1, 40, 1)),
        (numbered("abcde", 1), numbered("abcde", 10, 10), Renumbering(1, 10, 1, 10)),
        (numbered("aaaaa", 0, 2), numbered("aaaaa", 0, 3), Renumbering(0, 0, 2, 3)),
    ],
)
def test_other_numbers_are_found(one: dict[int, str], two: dict[int, str], numbers: Renumbering) -> None:
    found = find_renumbering(pairs(one, two))
    assert found is not None
    assert (found.is_complete, found.numbers) == (True, numbers)
    assert [found.numbers.in_2(number) for number in one] == list(two)
    assert [found.numbers.in_1(number) for number in two] == list(one)


def test_planes_that_are_nearly_all_the_same_are_counted() -> None:
    found = find_renumbering(pairs(numbered("abcde", 0, 40), numbered("abxde", 1)))
    assert found is not None
    assert (found.is_complete, found.n_same, found.n_partners) == (False, 4, 5)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (numbered("abcde", 0), numbered("vwxyz", 1)),
        (numbered("abcde", 1), numbered("abxde", 1)),
        (numbered("abcde", 0, 40), numbered("abcd", 1)),  # another number of planes, and no more than half are the same
        ({}, numbered("abcde", 1)),
    ],
)
def test_what_is_not_the_same_is_not_claimed(one: dict[int, str], two: dict[int, str]) -> None:
    found = find_renumbering(pairs(one, two))
    assert found is None or not found.is_complete


def test_steps() -> None:
    assert (step_of([80, 0, 40]), step_of([1, 2, 4]), step_of([7])) == (40, None, None)
    assert Renumbering(0, 1, 40).in_2(41) is None
