"""Two volumes: all pairs of planes, and what they say together.

Invariant: the relation is a statement about every plane of both sides. Where a plane is missing, or could not be read,
nothing better than `different` is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from catnip2bids.comparison.labels import LabelsBothSides, hold_labels
from catnip2bids.comparison.masking import MaskEvidence, MaskFinding, mask_of
from catnip2bids.comparison.planes import Box, Pairing, PlanePair, compare_planes, read_alone
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.shift import find_shift
from catnip2bids.comparison.sides import Side, plane_bytes, same_bytes, team_for
from catnip2bids.engine import Resources, Team
from catnip2bids.errors import SourceError
from catnip2bids.progress import Progress
from catnip2bids.shown import Shown, Summary
from catnip2bids.wording import counted

_HASHED_ALL_THE_SAME_BYTES = 256 * 2**20
"""Planes whose files are the same need not be decoded; in volumes of up to so many bytes they are, for their hashes."""


@dataclass(frozen=True)
class Evidence:
    """What the relation of two volumes rests on.

    Attributes
    ----------
    n_voxels
        Voxels that were compared.
    n_different, n_zeroed_1, n_zeroed_2
        Voxels that differ, and those of them that are 0 in 1 and in 2.
    largest_difference
        Of two values; None where none differ.
    planes_different
        Slice numbers of the pairs that differ.
    planes_extent, box
        Where voxels differ: first and last slice number, rows and columns.
    layouts
        Shape and type of 1 and 2 where these are not the same.
    mask
        What the mask is like, where one side is the other one masked.
    are_labels
        Whether values are labels.
    lost_1, lost_2
        Labels that are nowhere in 1 (2), and in how many voxels of the other side they are; None where values are no
        labels, or planes could not be read.
    shift
        What has to be added to the slice numbers of 1 to get those of 2.
    """

    n_voxels: int = 0
    n_different: int = 0
    n_zeroed_1: int = 0
    n_zeroed_2: int = 0
    largest_difference: float | None = None
    planes_different: tuple[int, ...] = ()
    planes_extent: tuple[int, int] | None = None
    box: Box | None = None
    layouts: tuple[str, str] | None = None
    mask: MaskEvidence | None = None
    are_labels: bool = False
    lost_1: dict[int, int] | None = None
    lost_2: dict[int, int] | None = None
    shift: int | None = None


@dataclass(frozen=True, repr=False)
class VolumeComparison(Shown):
    """How two volumes differ.

    Attributes
    ----------
    pairing
        The volumes.
    relation
        Of 2 to 1.
    pairs
        All pairs of planes, in the order of their slice numbers.
    evidence
        What the relation rests on.
    """

    pairing: Pairing
    relation: Relation
    pairs: tuple[PlanePair, ...]
    evidence: Evidence

    def _summary(self) -> Summary:
        facts = (
            self.relation.value,
            counted(len(self.pairs), "plane"),
            f"{len(self.evidence.planes_different)} of them different",
            counted(len(self.problems), "problem"),
        )
        return Summary(f"{self.path_1} and {self.path_2}", facts, problems=self.problems)

    @property
    def path_1(self) -> Path:
        """The first volume."""
        return self.pairing.side_1.path

    @property
    def path_2(self) -> Path:
        """The second volume."""
        return self.pairing.side_2.path

    def only_in(self, side: int) -> tuple[int, ...]:
        """Slice numbers that only one side (1 or 2) has."""
        return tuple(pair.number for pair in self.pairs if (pair.plane_2 if side == 1 else pair.plane_1) is None)

    def type_of(self, side: int) -> str:
        """Type of the values of a side (1 or 2), as its first plane tells."""
        planes = (pair.plane_1 if side == 1 else pair.plane_2 for pair in self.pairs)
        return next((str(plane.layout.dtype) for plane in planes if plane and plane.layout), "unknown")

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, each once."""
        sides = (*self.pairing.side_1.problems, *self.pairing.side_2.problems)
        return tuple(dict.fromkeys((*sides, *(problem for pair in self.pairs for problem in pair.problems))))


def compare_volumes(
    side_1: Side, side_2: Side, resources: Resources, progress: Progress, *, are_labels: bool | None = None
) -> VolumeComparison:
    """Compare all planes of two volumes.

    Parameters
    ----------
    side_1, side_2
        The volumes.
    resources
        What may be used.
    progress
        Told how the work goes, in planes.
    are_labels
        Whether values are labels; None to find that out.

    Raises
    ------
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    same_file = side_1.is_one_file and side_2.is_one_file and same_bytes(side_1.path, side_2.path)
    n_bytes = max(plane_bytes(side_1), plane_bytes(side_2)) * len(side_1.planes)
    pairing = Pairing(side_1, side_2, same_file, n_bytes <= _HASHED_ALL_THE_SAME_BYTES)
    sides = (side_1, side_2)
    with team_for(sides, resources) as team:
        if are_labels is None:
            are_labels = hold_labels(sides, team)
        pairing = replace(pairing, are_labels=are_labels)
        pairs, labels = [], LabelsBothSides()
        for pair in team.do(partial(compare_planes, pairing), pairing.numbers):
            progress.advance(1)
            labels.add(pair.labels_1, pair.labels_2)
            pairs.append(replace(pair, labels_1=None, labels_2=None))
        return _Conclusion(pairing, pairs, labels, team).comparison


def first_difference_of(side_1: Side, side_2: Side, resources: Resources) -> int | None:
    """Return the first slice number at which planes are not the same; no more planes are read than needed.

    Raises
    ------
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    pairing, sides = Pairing(side_1, side_2), (side_1, side_2)
    with team_for(sides, resources) as team:
        pairs = team.do(partial(compare_planes, pairing), pairing.numbers)
        return next((pair.number for pair in pairs if not pair.same), None)


class _Conclusion:
    """What all pairs of planes say together; looks at pixels again where that is needed to tell."""

    def __init__(self, pairing: Pairing, pairs: Sequence[PlanePair], labels: LabelsBothSides, team: Team) -> None:
        self._pairing, self._pairs, self._labels, self._team = pairing, pairs, labels, team
        self._different = [pair for pair in pairs if pair.difference and pair.difference.n_different]

    @property
    def comparison(self) -> VolumeComparison:
        """The result."""
        shift = self._shift()
        relation = Relation.SHIFTED if shift is not None else self._relation()
        return VolumeComparison(self._pairing, relation, tuple(self._pairs), self._evidence(relation, shift))

    @property
    def _is_known(self) -> bool:
        """Whether every plane of both sides could be read."""
        return not (
            self._pairing.side_1.problems or self._pairing.side_2.problems or any(pair.problems for pair in self._pairs)
        )

    def _shift(self) -> int | None:
        if not self._is_known or all(pair.same for pair in self._pairs):
            return None
        sides = {1: self._pairing.side_1, 2: self._pairing.side_2}
        return find_shift(self._pairs, lambda side, number: read_alone(sides[side], number))

    def _relation(self) -> Relation:
        """Return how all planes are related, under the same slice numbers."""
        if not self._is_known:
            return Relation.DIFFERENT
        if all(pair.same for pair in self._pairs):
            return Relation.IDENTICAL
        differences = [pair.difference for pair in self._pairs]
        if any(difference is None for difference in differences):
            return Relation.DIFFERENT
        found = [difference for difference in differences if difference is not None]
        one_type = all(p.plane_1 and p.plane_2 and p.plane_1.layout == p.plane_2.layout for p in self._pairs)
        if not one_type:
            return Relation.CAST if not self._different else Relation.DIFFERENT
        if all(d.n_zeroed_2 == d.n_different for d in found):
            return Relation.MASKED_2
        return Relation.MASKED_1 if all(d.n_zeroed_1 == d.n_different for d in found) else Relation.DIFFERENT

    def _evidence(self, relation: Relation, shift: int | None) -> Evidence:
        differences = [pair.difference for pair in self._different if pair.difference]
        box: Box | None = None
        for difference in differences:
            box = difference.box.joined(box) if difference.box else box
        return Evidence(
            n_voxels=sum(pair.n_voxels for pair in self._pairs),
            n_different=sum(d.n_different for d in differences),
            n_zeroed_1=sum(d.n_zeroed_1 for d in differences),
            n_zeroed_2=sum(d.n_zeroed_2 for d in differences),
            largest_difference=max((d.largest for d in differences if d.largest is not None), default=None),
            planes_different=tuple(p.number for p in self._pairs if p.is_pair and not p.same and not p.problems),
            planes_extent=(self._different[0].number, self._different[-1].number) if self._different else None,
            box=box,
            layouts=self._unlike_layouts(),
            mask=self._mask(relation),
            are_labels=self._pairing.are_labels,
            lost_1=self._lost(1) if shift is None else None,
            lost_2=self._lost(2) if shift is None else None,
            shift=shift,
        )

    def _unlike_layouts(self) -> tuple[str, str] | None:
        """Return shape and type of both for the first pair in which they are not the same."""
        for pair in self._pairs:
            one, two = pair.plane_1, pair.plane_2
            if one and two and one.layout and two.layout and one.layout != two.layout:
                return str(one.layout), str(two.layout)
        return None

    def _mask(self, relation: Relation) -> MaskEvidence | None:
        if not relation.is_masked:
            return None
        finding = MaskFinding()
        masked = 1 if relation == Relation.MASKED_1 else 2
        work = partial(mask_of, self._pairing, masked=masked)
        for plane in self._team.do(work, [pair.number for pair in self._different]):
            finding.add(plane)
        return finding.evidence

    def _lost(self, side: int) -> dict[int, int] | None:
        """Return the labels that a side has nowhere, with their voxels on the other side."""
        if not self._is_known:
            return None
        try:
            return self._labels.lost(side, self._pairing.side_1 if side == 1 else self._pairing.side_2, self._team)
        except SourceError:
            return None  # a plane of which only the file's bytes were compared cannot be decoded
