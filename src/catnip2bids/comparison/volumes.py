"""Comparing two volumes: all pairs of planes, and their relation as a whole.

Invariant: the relation holds for every plane of both volumes. If a plane is missing or unreadable, it is `different`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from catnip2bids.comparison.compared_volume import ComparedVolume, bounded_map_for, compared_entry, same_bytes
from catnip2bids.comparison.labels import LabelCounts, hold_labels, lost_labels
from catnip2bids.comparison.masks import MaskEvidence, mask_evidence_of, mask_of
from catnip2bids.comparison.planes import Difference, PlanePair, VolumePair, compare_planes, rules_at
from catnip2bids.comparison.renumbering import Renumbered, Renumbering, find_renumbering, step_of
from catnip2bids.comparison.values import Calibrated, ValueRule
from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.formatting import format_count, format_ranges
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry
from catnip2bids.short_repr import ReprSummary, ShortRepr

_VOXELS_PER_BYTE = 4
"""A mask takes two bits for each voxel of a plane."""


class Relation(StrEnum):
    """The relation of 2 to 1, as ``comparison.json`` names it."""

    IDENTICAL = "identical"
    MASKED_2 = "2-is-1-masked"
    """Wherever they differ, 2 is 0."""
    MASKED_1 = "1-is-2-masked"
    SHIFTED = "shifted"
    """The same planes under other slice numbers."""
    CAST = "cast"
    """The same values, stored as another type."""
    DIFFERENT = "different"

    @property
    def is_masked(self) -> bool:
        """Whether one is the other with some voxels set to 0."""
        return self in (Relation.MASKED_1, Relation.MASKED_2)


@dataclass(frozen=True)
class Evidence(Difference):
    """The evidence for the relation of two volumes: the difference of all planes, and what follows from it."""

    n_voxels: int = 0  # compared voxels
    rules: tuple[ValueRule, ...] = ()  # that hold for all voxels, if some differ
    planes_different: tuple[int, ...] = ()  # slice numbers
    planes_extent: tuple[int, int] | None = None  # first and last slice number with voxels that differ
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

    pairing: VolumePair  # the two volumes
    relation: Relation  # of 2 to 1
    pairs: tuple[PlanePair, ...]  # by ascending slice number
    evidence: Evidence  # for the relation

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
        """The slice number of 2 that corresponds to each slice number of 1."""
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
    """Compare all planes of two volumes; without `are_labels`, the values decide whether they are labels.

    Raises
    ------
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    same_file = same_bytes(volume_1.path, volume_2.path)
    threads, (volume_1, volume_2) = bounded_map_for((volume_1, volume_2), resources)
    pairing = VolumePair(volume_1, volume_2, same_file, hash_same_files=True)
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
        return _comparison(pairing, pairs, labels, threads)


def compare_label_volumes(entry_1: Entry, entry_2: Entry, resources: Resources) -> VolumeComparison:
    """Compare the labels of two entries, ignoring other files in their folders; raises what `open_compared` raises."""
    volumes = compared_entry(entry_1), compared_entry(entry_2)
    return compare_volumes(*volumes, resources, Progress(), are_labels=True)


def first_difference(entry_1: Entry, entry_2: Entry, resources: Resources) -> int | None:
    """Return the first slice number at which the volumes of two entries differ; None if they are the same.

    Planes after it are not read.

    Raises
    ------
    SourceError
        If one of them cannot be read at all.
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    volumes = compared_entry(entry_1), compared_entry(entry_2)
    threads, (volume_1, volume_2) = bounded_map_for(volumes, resources)
    pairing = VolumePair(volume_1, volume_2)
    with threads:
        pairs = threads.map(partial(compare_planes, pairing), pairing.numbers)
        return next((pair.number for pair in pairs if not pair.same), None)


def _comparison(
    pairing: VolumePair, pairs: Sequence[PlanePair], labels: tuple[LabelCounts, LabelCounts], threads: BoundedMap
) -> VolumeComparison:
    """Derive the comparison from all pairs of planes and the labels that differ; planes may be read again."""
    is_known = not (pairing.volume_1.problems or pairing.volume_2.problems or any(pair.problems for pair in pairs))
    all_same = all(pair.same for pair in pairs)
    different = [pair for pair in pairs if pair.difference and pair.difference.n_different]
    rules: tuple[ValueRule, ...] = ()
    if is_known and different:
        in_both = [pair for pair in pairs if pair.is_pair]
        rules = tuple(rule for rule in pairing.rules if all(rule in pair.rules for pair in in_both))
    renumbered = find_renumbering(pairs) if is_known and not all_same else None
    if not is_known:
        relation = Relation.DIFFERENT
    elif all_same:
        relation = Relation.IDENTICAL
    elif renumbered and renumbered.is_complete:
        relation = Relation.SHIFTED
    else:
        relation = _relation(pairs, rules)
    lost_1 = lost_2 = None
    if is_known and relation != Relation.SHIFTED:
        lost_1 = lost_labels(pairing.volume_1, labels[0], labels[1], threads)
        lost_2 = lost_labels(pairing.volume_2, labels[1], labels[0], threads)
    evidence = replace(
        _counted(pairs, different),
        rules=rules if relation in (Relation.CAST, Relation.DIFFERENT) else (),
        mask=_mask(pairing, different, relation, threads) if relation.is_masked else None,
        are_labels=pairing.are_labels,
        lost_1=lost_1,
        lost_2=lost_2,
        renumbered=renumbered,
    )
    return VolumeComparison(pairing, relation, tuple(pairs), evidence)


def _relation(pairs: Sequence[PlanePair], rules: Sequence[ValueRule]) -> Relation:
    """Return the relation of readable planes that are not all the same, under the given slice numbers."""
    differences = [pair.difference for pair in pairs if pair.difference is not None]
    if len(differences) < len(pairs):
        return Relation.DIFFERENT
    if any(pair.plane_1 and pair.plane_2 and pair.plane_1.layout != pair.plane_2.layout for pair in pairs):
        is_equal = not any(d.n_different for d in differences) or any(isinstance(rule, Calibrated) for rule in rules)
        return Relation.CAST if is_equal else Relation.DIFFERENT
    if all(d.n_zeroed_2 == d.n_different for d in differences):
        return Relation.MASKED_2
    return Relation.MASKED_1 if all(d.n_zeroed_1 == d.n_different for d in differences) else Relation.DIFFERENT


def _counted(pairs: Sequence[PlanePair], different: Sequence[PlanePair]) -> Evidence:
    """Add up the evidence of all planes; `different` are those with voxels that differ."""
    total = Difference()
    for pair in different:
        total = total.plus(pair.difference) if pair.difference else total
    layouts = [(one.layout, two.layout) for one, two in ((p.plane_1, p.plane_2) for p in pairs) if one and two]
    unlike = ((str(one), str(two)) for one, two in layouts if one and two and one != two)
    return Evidence(
        **vars(total),
        n_voxels=sum(pair.n_voxels for pair in pairs),
        planes_different=tuple(p.number for p in pairs if p.is_pair and not p.same and not p.problems),
        planes_extent=(different[0].number, different[-1].number) if different else None,
        layouts=next(unlike, None),
    )


def _mask(pairing: VolumePair, different: Sequence[PlanePair], relation: Relation, threads: BoundedMap) -> MaskEvidence:
    work = partial(mask_of, pairing, 1 if relation == Relation.MASKED_1 else 2)
    result_bytes = max(pair.n_voxels for pair in different) // _VOXELS_PER_BYTE
    return mask_evidence_of(threads.map(work, [pair.number for pair in different], result_bytes=result_bytes))
