"""Whether two volumes are the same planes under other slice numbers.

Invariant: a shift is only claimed if every plane that has a partner under it is the same, and no more planes are
without one than were pushed out at an end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from catnip2bids.comparison.planes import Plane, PlanePair

_MOST_PUSHED_OUT = 0.2
"""Of all planes that have a partner, so many more may have none."""


def find_shift(pairs: Sequence[PlanePair], hash_of: Callable[[int, int], Plane]) -> int | None:
    """Return what has to be added to the slice numbers of 1 to get those of 2; None if nothing fits.

    Parameters
    ----------
    pairs
        All pairs, in which no plane is damaged.
    hash_of
        Hashes a plane of a side (1 or 2) by its slice number, for those that were not decoded.
    """
    sides = {1: {p.number: p.plane_1 for p in pairs if p.plane_1}, 2: {p.number: p.plane_2 for p in pairs if p.plane_2}}
    places: dict[tuple[object, str | None], list[int]] = {}
    for number, plane in sides[2].items():
        if plane.sha256:
            places.setdefault((plane.layout, plane.sha256), []).append(number)
    votes = Counter(
        there[0] - number
        for number, plane in sides[1].items()
        if plane.sha256 and len(there := places.get((plane.layout, plane.sha256), [])) == 1
    )

    def known(side: int, number: int) -> tuple[object, str | None]:
        plane = sides[side][number]
        if plane.sha256 is None:
            plane = sides[side][number] = hash_of(side, number)
        return plane.layout, plane.sha256

    def fits(shift: int) -> bool:
        partners = [number for number in sides[1] if number + shift in sides[2]]
        n_alone = max(len(sides[1]), len(sides[2])) - len(partners)
        few = n_alone <= min(abs(shift), _MOST_PUSHED_OUT * len(partners))
        return few and all(known(1, number) == known(2, number + shift) for number in partners)

    # planes that are there several times have no vote, and may be all there are
    candidates = [shift for shift, _ in votes.most_common()]
    if sides[1] and sides[2]:
        candidates += [min(sides[2]) - min(sides[1]), max(sides[2]) - max(sides[1])]
    return next((shift for shift in dict.fromkeys(candidates) if shift != 0 and fits(shift)), None)
