"""The result of a comparison, its verdict, and its summary in a few sentences.

Invariant: no sentence claims a difference, or an equality, that was not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.catnip.counts import RegionCount
from catnip2bids.comparison.files import FileComparison, TableComparison
from catnip2bids.comparison.path_kind import PathKind
from catnip2bids.comparison.values import ConstantDifference
from catnip2bids.comparison.volumes import Evidence, Relation, VolumeComparison
from catnip2bids.formatting import format_count, format_list, format_range, format_ranges
from catnip2bids.short_repr import ReprSummary, ShortRepr

_LONGEST_NAME = 40
_SIGNED_AS_UNSIGNED = ConstantDifference(2**15), ConstantDifference(-(2**15))

ItemComparison = VolumeComparison | TableComparison | FileComparison


def verdict_of(item: ItemComparison) -> str:
    """Return the relation of a pair in words, without claiming a difference that was not found."""
    if item.differs or not item.problems:
        return item.relation.value
    return "nothing differs in what could be compared" if item.is_compared else "not compared"


@dataclass(frozen=True, repr=False)
class Comparison(ShortRepr):
    """How two components differ.

    Attributes
    ----------
    path_1, path_2
        The compared paths.
    items
        The comparison; of two folders, one for each pair of paths in them.
    only_in_1, only_in_2
        What only one of two folders has, by its path below the folder.
    skipped_1, skipped_2
        What is never compared (hidden files, leftovers of systems, links to a parent folder), likewise.
    is_folder
        Whether two folders were compared path by path.
    notes
        Notes about paths that were not compared.
    """

    path_1: Path
    path_2: Path
    items: tuple[ItemComparison, ...]
    only_in_1: Mapping[str, PathKind]
    only_in_2: Mapping[str, PathKind]
    skipped_1: Mapping[str, PathKind]
    skipped_2: Mapping[str, PathKind]
    is_folder: bool
    notes: tuple[str, ...] = ()

    @property
    def relation(self) -> Relation:
        """Relation of 2 to 1: that of all pairs that are not identical, or `different` if theirs vary.

        It is `different` too if nothing was compared.
        """
        if self.only_in_1 or self.only_in_2 or not self.is_compared:
            return Relation.DIFFERENT
        found = {item.relation for item in self.items} - {Relation.IDENTICAL}
        if not found:
            return Relation.IDENTICAL
        return found.pop() if len(found) == 1 else Relation.DIFFERENT

    def name_of(self, item: ItemComparison) -> str:
        """Return the path of an item below folder 1, or its name if no folders are compared."""
        return item.path_1.relative_to(self.path_1).as_posix() if self.is_folder else item.path_1.name

    @property
    def problems(self) -> tuple[str, ...]:
        """Messages about everything that could not be read or compared."""
        found = [problem for item in self.items for problem in item.problems]
        for folder, only in ((self.path_1, self.only_in_1), (self.path_2, self.only_in_2)):
            found += [
                f"{folder / path}: cannot be read; make it readable, or compare without it"
                for path, kind in only.items()
                if kind == PathKind.UNREADABLE
            ]
        if all(isinstance(item, FileComparison) and item.are_empty for item in self.items):
            why = "nothing in one of them has the path and the kind of anything in the other one"
            if not (self.only_in_1 or self.only_in_2):
                why = "both hold nothing that is compared" if self.skipped_1 or self.skipped_2 else "both are empty"
            found.append(f"{self.path_1} and {self.path_2}: nothing was compared, because {why}")
        return tuple(dict.fromkeys(found))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes and warnings of all items, without repetition."""
        volumes = [item for item in self.items if isinstance(item, VolumeComparison)]
        return tuple(dict.fromkeys((*self.notes, *(text for item in volumes for text in item.warnings))))

    @property
    def n_not_compared(self) -> int:
        """Number of pairs without a difference that could not be read completely."""
        return sum(bool(item.problems) and not item.differs for item in self.items)

    @property
    def verdict(self) -> str:
        """The relation in words, without claiming a difference that was not found."""
        if not self.is_compared:
            return "nothing was compared"
        n, is_one_sided = self.n_not_compared, bool(self.only_in_1 or self.only_in_2)
        if not n or is_one_sided or any(item.differs for item in self.items):
            return self.relation.value
        if not self.is_folder:
            return verdict_of(self.items[0])
        return f"nothing differs, but {n} {'was' if n == 1 else 'were'} not fully compared"

    @property
    def is_compared(self) -> bool:
        """Whether anything was compared."""
        return any(item.is_compared for item in self.items)

    @property
    def exit_code(self) -> int:
        """Exit code as of ``diff``: 0 identical, 1 different, 2 trouble."""
        if self.problems:
            return 2
        return 0 if self.relation == Relation.IDENTICAL else 1

    def _summary(self) -> ReprSummary:
        facts = [self.verdict]
        if self.is_compared:
            facts.append(format_count(len(self.items) - self.n_not_compared, "path") + " compared")
        if self.is_folder:
            facts += [f"{len(self.only_in_1)} only in 1", f"{len(self.only_in_2)} only in 2"]
        n_skipped = len(self.skipped_1) + len(self.skipped_2)
        facts += [f"{n_skipped} skipped"] if n_skipped else []
        facts.append(format_count(len(self.problems), "problem"))
        rows = [{"compared": self.name_of(item), "relation": verdict_of(item)} for item in self.items]
        return ReprSummary(f"{self.path_1} and {self.path_2}", tuple(facts), rows, self.problems)


def summary_of(item: Comparison | ItemComparison) -> str:
    """Summarize a comparison."""
    match item:
        case Comparison(is_folder=True):
            details = [f"{item.name_of(one)}: {summary_of(one)}" for one in item.items]
            return " ".join([headline_of(item), *details])
        case Comparison():
            return headline_of(item)
        case VolumeComparison():
            return _of_volumes(item)
        case TableComparison():
            return _of_tables(item)
        case FileComparison(other_notation=True):
            return "The tables hold the same values in another notation."
        case FileComparison():
            if item.problems:
                return "At least one side cannot be opened."
            what = "folders" if item.are_empty else "files"
            return f"The {what} {'are the same' if item.same else 'differ'}."


def headline_of(comparison: Comparison) -> str:
    """Summarize the comparison of two folders, without the pairs in them."""
    if not comparison.is_folder and len(comparison.items) == 1:
        return summary_of(comparison.items[0])
    n_both, n_same = len(comparison.items), sum(item.relation == Relation.IDENTICAL for item in comparison.items)
    parts = []
    if n_both:
        same = "identical" if n_same == n_both == 1 else f"{n_same} of them identical"
        not_compared = f", {n} not fully compared" if (n := comparison.n_not_compared) else ""
        parts.append(f"{format_count(n_both, 'path')} {'is' if n_both == 1 else 'are'} in both, {same}{not_compared}.")
    for side, only in ((1, comparison.only_in_1), (2, comparison.only_in_2)):
        by_kind: dict[str, list[str]] = {}
        for path, kind in only.items():
            by_kind.setdefault(kind.value, []).append(path)
        counts = [
            format_count(len(paths), "unreadable entry" if what == PathKind.UNREADABLE else what)
            + (f" ({paths[0]})" if len(paths) == 1 else "")
            for what, paths in by_kind.items()
        ]
        if counts:
            parts.append(f"Only in {side}: {', '.join(counts)}.")
    if n_skipped := len(comparison.skipped_1) + len(comparison.skipped_2):
        parts.append(f"Skipped: {format_count(n_skipped, 'path')}.")
    return " ".join(parts) or "Both are empty."


def _of_volumes(item: VolumeComparison) -> str:
    evidence, n_pairs = item.evidence, sum(pair.is_pair for pair in item.pairs)
    n_different = len(evidence.planes_different)
    parts = []
    match item.relation:
        case Relation.IDENTICAL:
            parts.append("The only plane is the same." if n_pairs == 1 else f"All {n_pairs} planes are the same.")
        case Relation.SHIFTED:
            parts.append(f"The same planes under other numbers: {item.numbers}.")
        case Relation.CAST:
            where = "the only plane" if n_pairs == 1 else f"all {n_pairs} planes"
            stated = f", with the calibration that is stated ({evidence.calibrated})" if evidence.calibrated else ""
            types = f"1 holds them as {item.type_of(1)}, 2 as {item.type_of(2)}"
            parts.append(f"The same values in {where}{stated}: {types}.")
        case Relation.MASKED_1 | Relation.MASKED_2:
            parts.append(_of_mask(item, n_pairs, n_different))
        case Relation.DIFFERENT:
            parts += _of_different(item, n_pairs, n_different)
    if evidence.n_different and (item.relation == Relation.DIFFERENT or item.relation.is_masked):
        parts.append(_extent(evidence))
    if item.relation not in (Relation.SHIFTED, Relation.CAST):
        for side, lost in ((1, evidence.lost_1), (2, evidence.lost_2)):
            if lost:
                labels = [f"{label} ({format_count(n_voxels, 'voxel')})" for label, n_voxels in lost.items()]
                parts.append(f"Labels lost entirely in {side}: {format_list(labels)}.")
    return " ".join(parts)


def _of_different(item: VolumeComparison, n_pairs: int, n_different: int) -> list[str]:
    evidence, parts = item.evidence, []
    n_damaged = sum(pair.is_pair and bool(pair.problems) for pair in item.pairs)
    if n_pairs > n_damaged:
        differ = "differs" if n_different == 1 else "differ"
        parts.append(f"{n_different} of {format_count(n_pairs - n_damaged, 'plane')} {differ}.")
    if n_damaged:
        parts.append(f"{format_count(n_damaged, 'plane')} could not be compared.")
    if evidence.layouts is not None:
        parts.append(f"Size or type are not the same: 1 is {evidence.layouts[0]}, 2 is {evidence.layouts[1]}.")
    by_kind = {type(rule): rule for rule in reversed(evidence.rules)}  # the first rule of a type is the strongest
    if evidence.calibrated is not None:
        parts.append(f"All values are equal with the calibration that is stated ({evidence.calibrated}).")
    else:
        parts += [f"{rule}." for rule in by_kind.values()]
    types = {item.type_of(1), item.type_of(2)}
    if types == {"int16", "uint16"} and any(rule in _SIGNED_AS_UNSIGNED for rule in evidence.rules):
        parts.append("ImageJ stores signed 16-bit values so, with a calibration: value = stored - 32768.")
    parts += [
        f"{format_count(len(numbers), 'plane')} only in {side} ({format_ranges(numbers)})."
        for side, numbers in ((1, item.only_in(1)), (2, item.only_in(2)))
        if numbers
    ]
    return parts


def _of_mask(item: VolumeComparison, n_pairs: int, n_different: int) -> str:
    masked, whole = (1, 2) if item.relation == Relation.MASKED_1 else (2, 1)
    planes = format_count(n_pairs, "plane")
    text = f"{masked} is a copy of {whole} with {n_different} of {planes} masked"
    mask = item.evidence.mask
    if mask is not None and mask.whole_planes:
        text += ", each as a whole"
    elif mask is not None and mask.constant_over_z and n_different > 1:
        text += ", all with the same mask"
    return f"{text}: every differing voxel is 0 in {masked}."


def _extent(evidence: Evidence) -> str:
    text = f"{evidence.n_different:,} voxel{'s differ' if evidence.n_different > 1 else ' differs'}"
    if evidence.box is not None and evidence.planes_extent is not None:
        (top, bottom), (left, right) = evidence.box.rows, evidence.box.columns
        first, last = evidence.planes_extent
        text += f", in slice{'' if first == last else 's'} {format_range(first, last)}"
        text += f", x {format_range(left, right)}, y {format_range(top, bottom)}"
    if evidence.n_other_bits:
        n_only = "they" if evidence.n_other_bits == evidence.n_different else f"{evidence.n_other_bits:,} of them"
        text += f"; {n_only} have the same values, other bits (NaN, or 0.0 and -0.0)"
    only_bits = evidence.n_other_bits == evidence.n_different
    if evidence.largest_difference is not None and not (evidence.are_labels or only_bits):
        text += f"; the largest difference is {evidence.largest_difference:g}"
    return f"{text}."


def _of_tables(item: TableComparison) -> str:
    if item.relation == Relation.IDENTICAL:
        return f"The same counts for all regions, of which there are {len(item.regions)}."
    parts = []
    for side in (1, 2):
        if excluded := item.excluded(side):
            parts.append(f"{side} excludes {format_count(len(excluded), 'region')}: {_listed(excluded)}.")
        if only := item.only_in(side):
            parts.append(f"{format_count(len(only), 'region')} only in {side}: {_listed(only)}.")
    if changed := [pair.region for pair in item.changed]:
        parts.append(f"Other numbers in {format_count(len(changed), 'region')}: {_listed(changed)}.")
    if renamed := [pair.region.name for pair in item.renamed]:
        parts.append(f"Other names of {format_count(len(renamed), 'region')}: {format_list(renamed)}.")
    parts.append(f"Cells in all: {item.total_cells(1)} in 1, {item.total_cells(2)} in 2.")
    return " ".join(parts)


def _listed(regions: Sequence[RegionCount]) -> str:
    def shown(name: str) -> str:
        return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."

    return format_list([f"{region.index} {shown(region.name)}" for region in regions])
