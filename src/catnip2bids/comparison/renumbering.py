"""Recognising the same planes under other slice numbers.

Invariant: volumes are the same planes only if all planes with a partner are the same, and no more planes lack a partner
than a shift pushes out at an end. If the steps between numbers differ, all planes need partners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from catnip2bids.comparison.planes import PlanePair
from catnip2bids.volume import PageLayout

_MOST_PUSHED_OUT = 0.2
"""Most planes without a partner, relative to those with one."""
_MOST_TRIED = 5
"""Number of shifts that are tried, those of most planes first."""

_Identity = tuple[PageLayout | None, str | None]
"""Shape, type and hash of a plane."""


@dataclass(frozen=True)
class Renumbering:
    """The slice number of 2 that corresponds to each slice number of 1."""

    # two numbers of the same plane:
    first_1: int
    first_2: int
    # distances of the next numbers:
    step_1: int = 1
    step_2: int = 1

    def __str__(self) -> str:
        if self.shift is not None:
            return f"slice n of 1 is slice n {'+' if self.shift > 0 else '-'} {abs(self.shift)} of 2"
        first = f"slice {self.first_1} of 1 is slice {self.first_2} of 2"
        return f"{first}, and the numbers are {self.step_1} and {self.step_2} apart"

    @property
    def shift(self) -> int | None:
        """Difference of the slice numbers of 2 and 1; None if it is not constant."""
        return self.first_2 - self.first_1 if self.step_1 == self.step_2 else None

    def in_2(self, number: int) -> int | None:
        """Return the slice number of 2 for one of 1; None between two numbers."""
        n_steps, remainder = divmod(number - self.first_1, self.step_1)
        return None if remainder else self.first_2 + n_steps * self.step_2

    def in_1(self, number: int) -> int | None:
        """Return the slice number of 1 for one of 2; None between two numbers."""
        return Renumbering(self.first_2, self.first_1, self.step_2, self.step_1).in_2(number)


@dataclass(frozen=True)
class Renumbered:
    """Planes that are the same under other slice numbers."""

    numbers: Renumbering
    # equal planes, and planes that both volumes have:
    n_same: int
    n_partners: int
    is_complete: bool  # whether all planes are equal, except those pushed out at an end


def find_renumbering(pairs: Sequence[PlanePair]) -> Renumbered | None:
    """Find other slice numbers under which readable planes are the same.

    Returns None unless they are complete (see `Renumbered`), or make more planes equal than the given numbers do, and
    more than half of each volume.
    """
    planes_1 = {pair.number: (pair.plane_1.layout, pair.plane_1.sha256) for pair in pairs if pair.plane_1}
    planes_2 = {pair.number: (pair.plane_2.layout, pair.plane_2.sha256) for pair in pairs if pair.plane_2}

    def tried(renumbering: Renumbering) -> Renumbered:
        partners = {number: two for number in planes_1 if (two := renumbering.in_2(number)) in planes_2}
        n_alone = max(len(planes_1), len(planes_2)) - len(partners)
        n_pushed_out = 0 if renumbering.shift is None else abs(renumbering.shift)
        few = n_alone <= min(n_pushed_out, _MOST_PUSHED_OUT * len(partners))
        n_same = sum(planes_1[one] == planes_2[two] for one, two in partners.items() if two is not None)
        return Renumbered(renumbering, n_same, len(partners), few and n_same == len(partners))

    found = [tried(one) for one in dict.fromkeys(_candidates(planes_1, planes_2)) if one.shift != 0]
    best = max(found, key=lambda one: (one.is_complete, one.n_same), default=None)
    n_same = sum(pair.same for pair in pairs)
    enough = max(n_same, len(planes_1) // 2, len(planes_2) // 2)
    return best if best and (best.is_complete or best.n_same > enough) else None


def _candidates(planes_1: dict[int, _Identity], planes_2: dict[int, _Identity]) -> list[Renumbering]:
    """List renumberings to try, the most likely first."""
    if not planes_1 or not planes_2:
        return []
    places: dict[_Identity, list[int]] = {}
    for number, plane in planes_2.items():
        places.setdefault(plane, []).append(number)
    votes = Counter(there[0] - number for number, plane in planes_1.items() if len(there := places.get(plane, [])) == 1)
    # repeated planes have no vote, and there may be no other ones
    shifts = [shift for shift, _ in votes.most_common(_MOST_TRIED)]
    shifts += [min(planes_2) - min(planes_1), max(planes_2) - max(planes_1)]
    found = [Renumbering(0, shift) for shift in shifts]
    step_1, step_2 = step_of(planes_1), step_of(planes_2)
    if step_1 and step_2 and step_1 != step_2:
        found.append(Renumbering(min(planes_1), min(planes_2), step_1, step_2))
    return found


def step_of(numbers: Iterable[int]) -> int | None:
    """Return the distance between slice numbers; None if it is not constant."""
    steps = {after - before for before, after in pairwise(sorted(numbers))}
    return steps.pop() if len(steps) == 1 else None
