"""Comparing two volumes: all pairs of planes, and their relation as a whole.

Invariant: the relation holds for every plane of both volumes. If a plane is missing or unreadable, it is `different`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from catnip2bids.comparison.compared_volume import ComparedVolume, bounded_map_for, same_bytes
from catnip2bids.comparison.labels import LabelCounts, hold_labels, lost_labels
from catnip2bids.comparison.mask_evidence import MaskEvidence, mask_evidence_of, mask_of
from catnip2bids.comparison.planes import Box, PlanePair, VolumePair, compare_planes, rules_at
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.renumbering import Renumbered, Renumbering, find_renumbering, step_of
from catnip2bids.comparison.values import Calibrated, ValueRule
from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count, format_ranges
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr

_VOXELS_PER_BYTE = 4
"""A mask takes two bits for each voxel of a plane."""


@dataclass(frozen=True)
class Evidence:
    """The evidence for the relation of two volumes."""

    n_voxels: int = 0  # compared voxels
    # voxels that differ, and those of them that are 0 only in 1, and only in 2:
    n_different: int = 0
    n_zeroed_1: int = 0
    n_zeroed_2: int = 0
    # those with the same value in other bits (NaN, or 0.0 and -0.0):
    n_other_bits: int = 0
    rules: tuple[ValueRule, ...] = ()  # that hold for all voxels, if some differ
    largest_difference: float | None = None  # of two values; None if none differ
    planes_different: tuple[int, ...] = ()  # slice numbers
    # extent of the voxels that differ: first and last slice number, rows and columns
    planes_extent: tuple[int, int] | None = None
    box: Box | None = None
    layouts: tuple[str, str] | None = None  # shape and type of 1 and 2, if they are not equal
    mask: MaskEvidence | None = None  # if one volume is the other one masked
    are_labels: bool = False
    # labels that occur nowhere in 1 (2), with their numbers of voxels in the other volume; None if unknown
    lost_1: dict[int, int] | None = None
    lost_2: dict[int, int] | None = None
    renumbered: Renumbered | None = None  # other slice numbers with more equal planes

    @property
    def calibrated(self) -> Calibrated | None:
        """The calibration that makes all values equal; None if there is none."""
        return next((rule for rule in self.rules if isinstance(rule, Calibrated)), None)


@dataclass(frozen=True, repr=False)
class VolumeComparison(ShortRepr):
    """How two volumes differ."""

    pairing: VolumePair
    relation: Relation  # of 2 to 1
    pairs: tuple[PlanePair, ...]  # by ascending slice number
    evidence: Evidence

    def _summary(self) -> ReprSummary:
        facts = (
            self.relation.value,
            format_count(len(self.pairs), "plane"),
            f"{len(self.evidence.planes_different)} of them different",
            format_count(len(self.problems), "problem"),
        )
        return ReprSummary(f"{self.path_1} and {self.path_2}", facts, problems=self.problems)

    @property
    def path_1(self) -> Path:
        """The first volume."""
        return self.pairing.volume_1.path

    @property
    def path_2(self) -> Path:
        """The second volume."""
        return self.pairing.volume_2.path

    def only_in(self, side: int) -> tuple[int, ...]:
        """Return the slice numbers that only one volume (1 or 2) has."""
        return tuple(pair.number for pair in self.pairs if (pair.plane_2 if side == 1 else pair.plane_1) is None)

    def type_of(self, side: int) -> str:
        """Return the type of the values in the first plane of a volume (1 or 2)."""
        planes = (pair.plane_1 if side == 1 else pair.plane_2 for pair in self.pairs)
        return next((str(plane.layout.dtype) for plane in planes if plane and plane.layout), "unknown")

    @property
    def numbers(self) -> Renumbering:
        """The slice numbers of 2 for those of 1."""
        renumbered = self.evidence.renumbered
        return renumbered.numbers if renumbered and renumbered.is_complete else Renumbering(0, 0)

    @property
    def is_compared(self) -> bool:
        """Whether the pixels of any planes were compared."""
        return self.relation == Relation.SHIFTED or any(pair.same or pair.difference for pair in self.pairs)

    @property
    def differs(self) -> bool:
        """Whether a difference was found, also if some planes are unreadable."""
        if self.relation == Relation.SHIFTED or self.evidence.planes_different:
            return True
        return self.is_compared and not all(pair.is_pair for pair in self.pairs)

    @property
    def problems(self) -> tuple[str, ...]:
        """Messages about everything that could not be read or compared."""
        found = [*self.pairing.volume_1.problems, *self.pairing.volume_2.problems]
        found += [problem for pair in self.pairs for problem in pair.problems]
        if not found and self.relation != Relation.SHIFTED and not any(pair.is_pair for pair in self.pairs):
            numbers = [format_ranges(volume.planes) for volume in (self.pairing.volume_1, self.pairing.volume_2)]
            found.append(
                f"{self.path_1} and {self.path_2}: have no slice number in common ({numbers[0]}, and {numbers[1]}), so "
                "no plane was compared; give volumes whose planes have the same numbers"
            )
        return tuple(dict.fromkeys(found))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the volumes besides their values."""
        volume_1, volume_2 = self.pairing.volume_1, self.pairing.volume_2
        found = [*volume_1.warnings, *volume_2.warnings]
        about = f"{self.path_1} and {self.path_2}"
        if volume_1.stated.zero_is_white != volume_2.stated.zero_is_white:
            white, black = (1, 2) if volume_1.stated.zero_is_white else (2, 1)
            found.append(
                f"{about}: 0 is white in {white} (MinIsWhite) and black in {black}, so equal values are shown as "
                "negatives of each other"
            )
        if volume_1.stated.calibration != volume_2.stated.calibration and self.evidence.calibrated is None:
            one, two = (f"{volume.stated.calibration or 'no calibration'}" for volume in (volume_1, volume_2))
            found.append(f"{about}: 1 states {one}, 2 states {two}; stored values are compared, not calibrated ones")
        step_1, step_2 = step_of(volume_1.planes), step_of(volume_2.planes)
        if step_1 and step_2 and step_1 != step_2 and self.relation != Relation.SHIFTED:
            found.append(
                f"{about}: slice numbers of 1 are {step_1} apart, those of 2 are {step_2} apart; planes are paired by "
                "number, never by position"
            )
        if (other := self.evidence.renumbered) and not other.is_complete:
            found.append(
                f"{about}: {other.n_same} of {format_count(other.n_partners, 'plane')} are the same under other "
                f"numbers: {other.numbers}"
            )
        problems = set(self.problems)
        return tuple(text for text in dict.fromkeys(found) if text not in problems)


def compare_volumes(
    volume_1: ComparedVolume,
    volume_2: ComparedVolume,
    resources: Resources,
    progress: Progress,
    *,
    are_labels: bool | None = None,
) -> VolumeComparison:
    """Compare all planes of two volumes.

    Parameters
    ----------
    volume_1, volume_2
        The volumes.
    resources
        Processors and memory to use.
    progress
        Receives the progress, in planes.
    are_labels
        Whether values are labels; None to decide by their values.

    Raises
    ------
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    are_same_files = same_bytes(volume_1.path, volume_2.path)
    threads, (volume_1, volume_2) = bounded_map_for((volume_1, volume_2), resources)
    pairing = VolumePair(volume_1, volume_2, are_same_files, hash_same_files=True)
    with threads:
        if are_labels is None:
            are_labels = hold_labels((volume_1, volume_2), threads)
        in_both = [number for number in pairing.numbers if number in volume_1.planes and number in volume_2.planes]
        rules = next(threads.map(partial(rules_at, pairing), in_both[len(in_both) // 2 :][:1]), ())
        pairing = replace(pairing, are_labels=are_labels, rules=rules)
        pairs, labels = [], (LabelCounts(), LabelCounts())
        for pair in threads.map(partial(compare_planes, pairing), pairing.numbers):
            progress.advance(1)
            labels[0].merge(pair.labels_1)
            labels[1].merge(pair.labels_2)
            pairs.append(replace(pair, labels_1=None, labels_2=None))
        return _Comparer(pairing, pairs, labels, threads).comparison


def first_difference_of(volume_1: ComparedVolume, volume_2: ComparedVolume, resources: Resources) -> int | None:
    """Return the first slice number at which planes are not the same; no further planes are read.

    Raises
    ------
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    threads, (volume_1, volume_2) = bounded_map_for((volume_1, volume_2), resources)
    pairing = VolumePair(volume_1, volume_2)
    with threads:
        pairs = threads.map(partial(compare_planes, pairing), pairing.numbers)
        return next((pair.number for pair in pairs if not pair.same), None)


class _Comparer:
    """Derives the comparison from all pairs of planes; reads pixels again where it needs them."""

    def __init__(
        self,
        pairing: VolumePair,
        pairs: Sequence[PlanePair],
        labels: tuple[LabelCounts, LabelCounts],
        threads: BoundedMap,
    ) -> None:
        self._pairing, self._pairs, self._labels, self._threads = pairing, pairs, labels, threads
        self._different = [pair for pair in pairs if pair.difference and pair.difference.n_different]
        self._rules = self._common_rules()

    @property
    def comparison(self) -> VolumeComparison:
        """The result."""
        renumbered = self._renumbered()
        relation = Relation.SHIFTED if renumbered and renumbered.is_complete else self._relation()
        return VolumeComparison(self._pairing, relation, tuple(self._pairs), self._evidence(relation, renumbered))

    def _common_rules(self) -> tuple[ValueRule, ...]:
        """Return the rules that hold for every voxel of both volumes, if some differ."""
        if not self._is_known or not self._different:
            return ()
        pairs = [pair for pair in self._pairs if pair.is_pair]
        return tuple(rule for rule in self._pairing.rules if all(rule in pair.rules for pair in pairs))

    @property
    def _is_known(self) -> bool:
        """Whether every plane of both volumes is readable."""
        volumes = self._pairing.volume_1, self._pairing.volume_2
        return not any(volume.problems for volume in volumes) and not any(pair.problems for pair in self._pairs)

    def _renumbered(self) -> Renumbered | None:
        if not self._is_known or all(pair.same for pair in self._pairs):
            return None
        return find_renumbering(self._pairs)

    def _relation(self) -> Relation:
        """Return the relation of all planes under the given slice numbers."""
        if not self._is_known:
            return Relation.DIFFERENT
        if all(pair.same for pair in self._pairs):
            return Relation.IDENTICAL
        differences = [pair.difference for pair in self._pairs if pair.difference is not None]
        if len(differences) < len(self._pairs):
            return Relation.DIFFERENT
        one_type = all(p.plane_1 and p.plane_2 and p.plane_1.layout == p.plane_2.layout for p in self._pairs)
        if not one_type:
            is_calibrated = any(isinstance(rule, Calibrated) for rule in self._rules)
            return Relation.CAST if not self._different or is_calibrated else Relation.DIFFERENT
        if all(d.n_zeroed_2 == d.n_different for d in differences):
            return Relation.MASKED_2
        return Relation.MASKED_1 if all(d.n_zeroed_1 == d.n_different for d in differences) else Relation.DIFFERENT

    def _evidence(self, relation: Relation, renumbered: Renumbered | None) -> Evidence:
        differences = [pair.difference for pair in self._different if pair.difference]
        is_shifted, (labels_1, labels_2) = relation == Relation.SHIFTED, self._labels
        box: Box | None = None
        for difference in differences:
            box = difference.box.joined(box) if difference.box else box
        return Evidence(
            n_voxels=sum(pair.n_voxels for pair in self._pairs),
            n_different=sum(d.n_different for d in differences),
            n_zeroed_1=sum(d.n_zeroed_1 for d in differences),
            n_zeroed_2=sum(d.n_zeroed_2 for d in differences),
            n_other_bits=sum(d.n_other_bits for d in differences),
            rules=self._rules if relation in (Relation.CAST, Relation.DIFFERENT) else (),
            largest_difference=max((d.largest for d in differences if d.largest is not None), default=None),
            planes_different=tuple(p.number for p in self._pairs if p.is_pair and not p.same and not p.problems),
            planes_extent=(self._different[0].number, self._different[-1].number) if self._different else None,
            box=box,
            layouts=self._unlike_layouts(),
            mask=self._mask(relation),
            are_labels=self._pairing.are_labels,
            lost_1=None if is_shifted else self._lost(self._pairing.volume_1, labels_1, labels_2),
            lost_2=None if is_shifted else self._lost(self._pairing.volume_2, labels_2, labels_1),
            renumbered=renumbered,
        )

    def _unlike_layouts(self) -> tuple[str, str] | None:
        """Return shape and type of both planes of the first pair in which they are not equal."""
        for pair in self._pairs:
            one, two = pair.plane_1, pair.plane_2
            if one and two and one.layout and two.layout and one.layout != two.layout:
                return str(one.layout), str(two.layout)
        return None

    def _mask(self, relation: Relation) -> MaskEvidence | None:
        if not relation.is_masked:
            return None
        work = partial(mask_of, self._pairing, masked=1 if relation == Relation.MASKED_1 else 2)
        result_bytes = max(pair.n_voxels for pair in self._different) // _VOXELS_PER_BYTE
        numbers = [pair.number for pair in self._different]
        return mask_evidence_of(self._threads.map(work, numbers, result_bytes=result_bytes))

    def _lost(self, volume: ComparedVolume, here: LabelCounts, there: LabelCounts) -> dict[int, int] | None:
        """Return the labels that occur nowhere in a volume, with their numbers of voxels in the other one."""
        if not self._is_known:
            return None
        try:
            return lost_labels(volume, here, there, self._threads)
        except SourceError:
            return None  # a plane changed since it was compared
