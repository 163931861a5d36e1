"""The tables and the JSON document of a comparison; their columns and keys are a public format.

Invariant: ``comparison_results.csv`` has a row for every plane of both volumes, and for every other file;
``different.csv`` has those of its rows that differ. What was not compared has a row without a verdict.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from catnip2bids.comparison.files import FileComparison
from catnip2bids.comparison.path_kind import PathKind
from catnip2bids.comparison.planes import PlanePair
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.result import Comparison, ItemComparison
from catnip2bids.comparison.summary_text import summary_of
from catnip2bids.comparison.tables import TableComparison
from catnip2bids.comparison.values import ConstantDifference, EqualModulo, Rounded
from catnip2bids.comparison.volumes import Evidence, VolumeComparison

COLUMNS = (
    "filepath_1",
    "filepath_2",
    "same_hash",
    "hash_1",
    "hash_2",
    "plane",
    "n_different",
    "n_zeroed_1",
    "n_zeroed_2",
    "note",
)

Row = dict[str, object]


def rows_of(comparison: Comparison) -> Iterator[Row]:
    """Yield the rows of ``comparison_results.csv``."""
    for item in comparison.items:
        if isinstance(item, VolumeComparison):
            yield from (_plane_row(pair) for pair in item.pairs)
        elif item.problems:
            yield _row(str(item.path_1), str(item.path_2), same=None, note=f"not compared: {'; '.join(item.problems)}")
        else:
            same, note = item.relation == Relation.IDENTICAL, summary_of(item)
            yield _row(str(item.path_1), str(item.path_2), same=same, note=note)
    for path, kind in comparison.only_in_1.items():
        yield _row(str(comparison.path_1 / path), "", same=False, note=f"{kind} only in 1")
    for path, kind in comparison.only_in_2.items():
        yield _row("", str(comparison.path_2 / path), same=False, note=f"{kind} only in 2")
    for path, kind in comparison.skipped_1.items():
        yield _row(str(comparison.path_1 / path), "", same=None, note=f"not compared: {kind}")
    for path, kind in comparison.skipped_2.items():
        yield _row("", str(comparison.path_2 / path), same=None, note=f"not compared: {kind}")


def csv_text(rows: Iterator[Row] | list[Row]) -> str:
    """Write rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(path_1: str, path_2: str, *, same: bool | None, note: str) -> Row:
    return {"filepath_1": path_1, "filepath_2": path_2, "same_hash": same, "note": note}


def _plane_row(pair: PlanePair) -> Row:
    one, two, difference = pair.plane_1, pair.plane_2, pair.difference
    row = _row(str(one.source.path) if one else "", str(two.source.path) if two else "", same=pair.same, note=pair.note)
    row |= {"plane": pair.number, "hash_1": one.sha256 if one else None, "hash_2": two.sha256 if two else None}
    if difference is not None:
        row |= {
            "n_different": difference.n_different,
            "n_zeroed_1": difference.n_zeroed_1,
            "n_zeroed_2": difference.n_zeroed_2,
        }
    return row


def document_of(comparison: Comparison) -> dict[str, Any]:
    """Return the content of ``comparison.json``."""
    document: dict[str, Any] = {"path_1": str(comparison.path_1), "path_2": str(comparison.path_2)}
    if comparison.is_folder:
        n_identical = sum(item.relation == Relation.IDENTICAL for item in comparison.items)
        document |= {
            "relation": comparison.relation.value,
            "n_pairs": len(comparison.items),
            "n_identical": n_identical,
            "n_different": len(comparison.items) - n_identical - comparison.n_not_compared,
            "n_not_compared": comparison.n_not_compared,
            "only_in_1": list(comparison.only_in_1),
            "only_in_2": list(comparison.only_in_2),
            "evidence": {
                "only_in_1_by_kind": _by_kind(comparison.only_in_1),
                "only_in_2_by_kind": _by_kind(comparison.only_in_2),
                "items": [_item(item) for item in comparison.items],
            },
        }
    else:
        document |= _item(comparison.items[0])
    return document | {
        "n_skipped": len(comparison.skipped_1) + len(comparison.skipped_2),
        "skipped_in_1": _by_kind(comparison.skipped_1),
        "skipped_in_2": _by_kind(comparison.skipped_2),
        "meaning": summary_of(comparison),
        "problems": list(comparison.problems),
        "warnings": list(comparison.warnings),
    }


def _by_kind(kinds: Mapping[str, PathKind]) -> dict[str, list[str]]:
    return {
        kind.value: [path for path, other in kinds.items() if other == kind]
        for kind in PathKind
        if kind in kinds.values()
    }


def _item(item: ItemComparison) -> dict[str, Any]:
    match item:
        case VolumeComparison():
            return _volumes(item)
        case TableComparison():
            return _tables(item)
        case FileComparison():
            return {
                "path_1": str(item.path_1),
                "path_2": str(item.path_2),
                "relation": item.relation.value,
                "n_pairs": 1,
                "n_identical": int(item.same),
                "n_different": int(item.differs),
                "only_in_1": [],
                "only_in_2": [],
                "evidence": {"unreadable": list(item.problems)} if item.problems else {},
            }


def _volumes(item: VolumeComparison) -> dict[str, Any]:
    n_pairs, n_identical = sum(pair.is_pair for pair in item.pairs), sum(pair.same for pair in item.pairs)
    return {
        "path_1": str(item.pairing.volume_1.path),
        "path_2": str(item.pairing.volume_2.path),
        "relation": item.relation.value,
        "n_pairs": n_pairs,
        "n_identical": n_identical,
        "n_different": len(item.evidence.planes_different),
        "only_in_1": list(item.only_in(1)),
        "only_in_2": list(item.only_in(2)),
        "evidence": evidence_document(item.evidence) | {"unreadable": list(item.problems)},
    }


def evidence_document(evidence: Evidence) -> dict[str, Any]:
    """Return evidence as JSON, without keys that do not apply."""
    document: dict[str, Any] = {
        "voxels": evidence.n_voxels,
        "voxels_different": evidence.n_different,
        "voxels_zeroed_1": evidence.n_zeroed_1,
        "voxels_zeroed_2": evidence.n_zeroed_2,
        "voxels_with_other_bits": evidence.n_other_bits,
        "largest_difference": evidence.largest_difference,
        "planes_different": list(evidence.planes_different),
    }
    if evidence.layouts is not None:
        document["layouts"] = list(evidence.layouts)
    if evidence.box is not None and evidence.planes_extent is not None:
        document["extent"] = {
            "z": list(evidence.planes_extent),
            "y": list(evidence.box.rows),
            "x": list(evidence.box.columns),
        }
    if evidence.mask is not None:
        document["mask"] = {
            "planes_emptied": list(evidence.mask.planes_emptied),
            "whole_planes": evidence.mask.whole_planes,
            "constant_over_z": evidence.mask.constant_over_z,
        }
    for side, lost in ((1, evidence.lost_1), (2, evidence.lost_2)):
        if lost is not None:
            document[f"labels_lost_{side}"] = {str(value): n for value, n in lost.items()}
    if evidence.calibrated is not None:
        document["calibration"] = str(evidence.calibrated)
    for rule in evidence.rules:
        match rule:
            case ConstantDifference():
                document["constant_difference"] = rule.difference
            case EqualModulo():
                document.setdefault("equal_modulo", 2**rule.n_bits)
            case Rounded():
                document.setdefault("rounded_to_float32", rule.side)
    if (renumbered := evidence.renumbered) is not None and renumbered.is_complete:
        numbers = renumbered.numbers
        if numbers.shift is not None:
            document["shift"] = numbers.shift
        else:
            document["slice_numbers"] = {
                "first": [numbers.first_1, numbers.first_2],
                "step": [numbers.step_1, numbers.step_2],
            }
    return document


def _tables(item: TableComparison) -> dict[str, Any]:
    n_both = sum(pair.one is not None and pair.two is not None for pair in item.regions)
    n_identical = sum(pair.same for pair in item.regions)
    return {
        "path_1": str(item.path_1),
        "path_2": str(item.path_2),
        "relation": item.relation.value,
        "n_pairs": n_both,
        "n_identical": n_identical,
        "n_different": n_both - n_identical,
        "only_in_1": [region.index for region in item.only_in(1)],
        "only_in_2": [region.index for region in item.only_in(2)],
        "evidence": {
            "excluded_1": {str(region.index): region.name for region in item.excluded(1)},
            "excluded_2": {str(region.index): region.name for region in item.excluded(2)},
            "changed": [
                {
                    "index": pair.region.index,
                    "name": pair.region.name,
                    "cell_count": [pair.one.cell_count, pair.two.cell_count],
                    "label_volume": [pair.one.label_volume, pair.two.label_volume],
                }
                for pair in item.changed
                if pair.one and pair.two
            ],
            "total_cells": [item.total_cells(1), item.total_cells(2)],
            "unreadable": [],
        },
    }
