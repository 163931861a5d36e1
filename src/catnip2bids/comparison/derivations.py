"""CATNIP's claims about its own output, tested on the pixels of a run.

Invariant: a claim holds only if every voxel of every plane agrees with it; planes that one component lacks, or that
cannot be read, are a problem and no agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from catnip2bids.catnip.derivations import DERIVATIONS, Derivation
from catnip2bids.comparison.sides import Side, side_of, team_for
from catnip2bids.engine import Resources, own_resources
from catnip2bids.errors import NotEnoughMemoryError, SourceError
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry, Run
from catnip2bids.wording import counted


@dataclass(frozen=True)
class DerivationCheck:
    """A claim that was tested.

    Attributes
    ----------
    claim
        What was claimed.
    entries
        The components it is about, by their paths below the run.
    n_voxels, n_broken
        Voxels that were looked at, and those that break the claim.
    planes_broken
        Slice numbers of planes that break it.
    problem
        Why it could not be tested; empty if it could.
    """

    claim: str
    entries: tuple[str, ...]
    n_voxels: int = 0
    n_broken: int = 0
    planes_broken: tuple[int, ...] = ()
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether the claim is true."""
        return not self.problem and self.n_broken == 0

    def __str__(self) -> str:
        """Say it in a line."""
        if self.problem:
            return f"{self.claim}: cannot be tested: {self.problem}"
        if self.holds:
            return f"{self.claim}: holds for all {self.n_voxels:,} voxels"
        planes = counted(len(self.planes_broken), "plane")
        return f"{self.claim}: does not hold for {self.n_broken:,} of {self.n_voxels:,} voxels, in {planes}"


def check_derivations(
    run: Run,
    progress: Progress | None = None,
    *,
    jobs: int | None = None,
    memory_bytes: int | None = None,
) -> list[DerivationCheck]:
    """Test all claims that apply to a run.

    Parameters
    ----------
    run
        The run, as `catnip2bids.scan` found it.
    progress
        Told what is looked at.
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB. Claims
        that it is not enough for are not tested, and say so.
    """
    resources = own_resources(jobs, memory_bytes)
    progress, checks = progress or Progress(), []
    for derivation in DERIVATIONS:
        for threshold, entries in _applications(derivation, run.entries):
            progress.looking_at(derivation.claim.format(threshold=threshold))
            checks.append(check_claim(derivation, entries, resources, threshold))
    return checks


def _applications(derivation: Derivation, entries: Sequence[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """Yield the components of a run that a claim is about, and the threshold (0 without one)."""
    by_role: dict[str, dict[int | None, Entry]] = {}
    for entry in entries:
        if entry.component is not None and (entry.volume is not None or entry.problems):
            by_role.setdefault(entry.component.role, {}).setdefault(entry.threshold, entry)
    thresholds = sorted({t for role in derivation.roles for t in by_role.get(role, {}) if t is not None})
    for index, threshold in enumerate(thresholds or [None]):
        wanted = [threshold] * len(derivation.roles)
        if derivation.nested:
            if index + 1 >= len(thresholds):
                return
            wanted[1] = thresholds[index + 1]
        found = [
            by_role.get(role, {}).get(at) or by_role.get(role, {}).get(None)
            for role, at in zip(derivation.roles, wanted, strict=True)
        ]
        if all(found):
            yield threshold or 0, [entry for entry in found if entry is not None]


def check_claim(
    derivation: Derivation, entries: Sequence[Entry], resources: Resources, threshold: int = 0
) -> DerivationCheck:
    """Test one claim on the components it is about, in the order in which it names them."""
    check = DerivationCheck(derivation.claim.format(threshold=threshold), tuple(entry.path for entry in entries))
    if unusable := [problem for entry in entries if entry.volume is None for problem in entry.problems]:
        return replace(check, problem="; ".join(unusable))
    try:
        sides = [side_of(entry) for entry in entries]
        numbers = sorted(sides[0].planes)
        for side in sides[1:]:
            if sorted(side.planes) != numbers:
                raise SourceError(f"{side.path} and {sides[0].path} have not the same slice numbers")
        team, sides = team_for(sides, resources)
        with team:
            counts = dict(zip(numbers, team.do(partial(_count, derivation, threshold, sides), numbers), strict=True))
    except (SourceError, NotEnoughMemoryError) as error:
        return replace(check, problem=str(error))
    return replace(
        check,
        n_voxels=sum(n_voxels for n_voxels, _ in counts.values()),
        n_broken=sum(n_broken for _, n_broken in counts.values()),
        planes_broken=tuple(number for number, (_, n_broken) in counts.items() if n_broken),
    )


def _count(derivation: Derivation, threshold: int, sides: Sequence[Side], number: int) -> tuple[int, int]:
    """Count the voxels of a plane, and those that break the claim."""
    with ExitStack() as stack:
        planes = [stack.enter_context(side.open(number)) for side in sides]
        if len({plane.layout.shape for plane in planes}) > 1:
            raise SourceError(f"plane {number} has not the same size in all of them")
        height = min(plane.band_height for plane in planes)
        n_voxels = n_broken = 0
        for rows in zip(*(plane.bands(height) for plane in planes), strict=True):
            n_voxels += rows[0].size
            n_broken += int(np.count_nonzero(derivation.is_broken(list(rows), threshold)))
    return n_voxels, n_broken
