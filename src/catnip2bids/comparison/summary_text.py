"""Summaries of comparisons in a few sentences."""

from __future__ import annotations

from catnip2bids.comparison.files import FileComparison
from catnip2bids.comparison.path_kind import PathKind
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.result import Comparison, ItemComparison
from catnip2bids.comparison.tables import TableComparison
from catnip2bids.comparison.values import ConstantDifference
from catnip2bids.comparison.volumes import Evidence, VolumeComparison
from catnip2bids.formatting import format_count, format_list, format_range, format_ranges

_LONGEST_NAME = 40
_SIGNED_AS_UNSIGNED = ConstantDifference(2**15), ConstantDifference(-(2**15))


def summary_of(item: Comparison | ItemComparison) -> str:
    """Summarize a comparison."""
    match item:
        case Comparison():
            return _of_all(item)
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


def _of_all(comparison: Comparison) -> str:
    if not comparison.is_folder:
        return headline_of(comparison)
    details = [f"{comparison.name_of(item)}: {summary_of(item)}" for item in comparison.items]
    return " ".join([headline_of(comparison), *details])


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
        parts += [
            f"Labels lost entirely in {side}: {_listed_labels(lost)}."
            for side, lost in ((1, evidence.lost_1), (2, evidence.lost_2))
            if lost
        ]
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
    zero, mask = f"every differing voxel is 0 in {masked}", item.evidence.mask
    if mask is not None and mask.whole_planes:
        return f"{text}, each as a whole: {zero}."
    if mask is not None and mask.constant_over_z and n_different > 1:
        return f"{text}, all with the same mask: {zero}."
    return f"{text}: {zero}."


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
            names = [f"{region.index} {region.name[:_LONGEST_NAME]}" for region in excluded]
            parts.append(f"{side} excludes {format_count(len(excluded), 'region')}: {format_list(names)}.")
        if only := item.only_in(side):
            names = [f"{region.index} {region.name[:_LONGEST_NAME]}" for region in only]
            parts.append(f"{format_count(len(only), 'region')} only in {side}: {format_list(names)}.")
    if changed := item.changed:
        names = [f"{pair.region.index} {pair.region.name[:_LONGEST_NAME]}" for pair in changed]
        parts.append(f"Other numbers in {format_count(len(changed), 'region')}: {format_list(names)}.")
    if renamed := item.renamed:
        parts.append(
            f"Other names of {format_count(len(renamed), 'region')}: {format_list([p.region.name for p in renamed])}."
        )
    parts.append(f"Cells in all: {item.total_cells(1)} in 1, {item.total_cells(2)} in 2.")
    return " ".join(parts)


def _listed_labels(lost: dict[int, int]) -> str:
    return format_list([f"{label} ({format_count(n_voxels, 'voxel')})" for label, n_voxels in lost.items()])
