"""Whether two volumes are the same planes under other slice numbers.

Invariant: this is only claimed if every plane that has a partner under the other numbers is the same, and no more
planes are without one than were pushed out at an end. Where the numbers are other steps apart, all have partners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from catnip2bids.comparison.planes import Plane, PlanePair
from catnip2bids.volume import PageLayout

_MOST_PUSHED_OUT = 0.2
"""Of all planes that have a partner, so many more may have none."""
_MOST_TRIED = 5
"""Shifts that most planes speak for."""

_Identity = tuple[PageLayout | None, str | None]
"""Shape, type and hash of a plane."""


@dataclass(frozen=True)
class Renumbering:
    """Which slice number of 2 is which of 1."""

    # two numbers that belong together
    first_1: int
    first_2: int
    # how far the next ones are from them
    step_1: int = 1
    step_2: int = 1

    def __str__(self) -> str:
        """Say it."""
        if self.shift is not None:
            return f"slice n of 1 is slice n {'+' if self.shift > 0 else '-'} {abs(self.shift)} of 2"
        first, apart = (
            f"slice {self.first_1} of 1 is slice {self.first_2} of 2",
            f"{self.step_1} and {self.step_2} apart",
        )
        return f"{first}, and the numbers are {apart}"

    @property
    def shift(self) -> int | None:
        """What has to be added to the slice numbers of 1 to get those of 2; None if that is not the same for all."""
        return self.first_2 - self.first_1 if self.step_1 == self.step_2 else None

    def in_2(self, number: int) -> int | None:
        """Return the slice number of 2 for one of 1; None where that is between two numbers."""
        n_steps, rest = divmod(number - self.first_1, self.step_1)
        return None if rest else self.first_2 + n_steps * self.step_2

    def in_1(self, number: int) -> int | None:
        """Return the slice number of 1 for one of 2; None where that is between two numbers."""
        return Renumbering(self.first_2, self.first_1, self.step_2, self.step_1).in_2(number)


@dataclass(frozen=True)
class Renumbered:
    """Planes that are the same under other slice numbers."""

    numbers: Renumbering  # the numbers
    # planes that are the same, of those that both sides have
    n_same: int
    n_partners: int
    is_complete: bool  # whether these are all planes, but for those that were pushed out at an end


def find_renumbering(pairs: Sequence[PlanePair]) -> Renumbered | None:
    """Find out whether planes, all of which were read, are the same under other slice numbers.

    Returns None if no more planes are than under the same numbers, or not more than half of those in both.
    """
    planes_1 = {pair.number: _identity(pair.plane_1) for pair in pairs if pair.plane_1}
    planes_2 = {pair.number: _identity(pair.plane_2) for pair in pairs if pair.plane_2}

    def tried(way: Renumbering) -> Renumbered:
        partners = {number: two for number in planes_1 if (two := way.in_2(number)) in planes_2}
        n_alone = max(len(planes_1), len(planes_2)) - len(partners)
        n_pushed_out = 0 if way.shift is None else abs(way.shift)
        few = n_alone <= min(n_pushed_out, _MOST_PUSHED_OUT * len(partners))
        n_same = sum(planes_1[one] == planes_2[two] for one, two in partners.items() if two is not None)
        return Renumbered(way, n_same, len(partners), few and n_same == len(partners))

    found = [tried(way) for way in dict.fromkeys(_candidates(planes_1, planes_2)) if way.shift != 0]
    best = max(found, key=lambda one: (one.is_complete, one.n_same), default=None)
    n_same = sum(pair.same for pair in pairs)
    enough = max(n_same, len(planes_1) // 2, len(planes_2) // 2)
    return best if best and (best.is_complete or best.n_same > enough) else None


def _identity(plane: Plane) -> _Identity:
    return plane.layout, plane.sha256


def _candidates(planes_1: dict[int, _Identity], planes_2: dict[int, _Identity]) -> list[Renumbering]:
    """List what may be tried, the most likely first."""
    if not planes_1 or not planes_2:
        return []
    places: dict[_Identity, list[int]] = {}
    for number, plane in planes_2.items():
        places.setdefault(plane, []).append(number)
    votes = Counter(there[0] - number for number, plane in planes_1.items() if len(there := places.get(plane, [])) == 1)
    # planes that are there several times have no vote, and may be all there are
    shifts = [shift for shift, _ in votes.most_common(_MOST_TRIED)]
    shifts += [min(planes_2) - min(planes_1), max(planes_2) - max(planes_1)]
    found = [Renumbering(0, shift) for shift in shifts]
    step_1, step_2 = step_of(planes_1), step_of(planes_2)
    if step_1 and step_2 and step_1 != step_2:
        found.append(Renumbering(min(planes_1), min(planes_2), step_1, step_2))
    return found


def step_of(numbers: Iterable[int]) -> int | None:
    """Return how far slice numbers are from each other; None where that is not the same for all."""
    steps = {after - before for before, after in pairwise(sorted(numbers))}
    return steps.pop() if len(steps) == 1 else None
