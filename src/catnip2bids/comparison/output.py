"""The files of a comparison: two tables, a JSON document and an HTML page; columns and keys are a public format.

Invariant: ``comparison_results.csv`` has a row for every plane of both volumes, and for every other file;
``different.csv`` has those of its rows that differ. What was not compared has a row without a verdict. The page needs
neither network nor server, and file names in it are escaped.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from catnip2bids._version import __version__
from catnip2bids.atomic_write import raising_write_errors, write_text
from catnip2bids.comparison.files import FileComparison, TableComparison
from catnip2bids.comparison.path_kind import PathKind
from catnip2bids.comparison.pictures import Pictures, pictures_of
from catnip2bids.comparison.planes import PlanePair
from catnip2bids.comparison.result import Comparison, ItemComparison, headline_of, summary_of, verdict_of
from catnip2bids.comparison.values import ConstantDifference, EqualModulo, Rounded
from catnip2bids.comparison.volumes import Evidence, Relation, VolumeComparison
from catnip2bids.html_pages import page_templates
from catnip2bids.paths import safe_path

DOCUMENT = "comparison.json"
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

_MOST_REGIONS = 500

Row = dict[str, object]


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write all files of a comparison into a folder."""
    rows = list(_rows(comparison))
    texts = {
        "comparison_results.csv": _csv(rows),
        "different.csv": _csv(row for row in rows if row["same_hash"] is False),
        DOCUMENT: json.dumps(_document(comparison), indent=1, ensure_ascii=False) + "\n",
        "index.html": _page(comparison),
    }
    with raising_write_errors(folder):
        for name, text in texts.items():
            # names of files may hold bytes that are no UTF-8: these are written as \\udc followed by the byte
            write_text(safe_path(folder, name), text.encode(errors="backslashreplace").decode())


def _rows(comparison: Comparison) -> Iterator[Row]:
    for item in comparison.items:
        if isinstance(item, VolumeComparison):
            yield from map(_plane_row, item.pairs)
        elif item.problems:
            yield _row(item.path_1, item.path_2, None, f"not compared: {'; '.join(item.problems)}")
        else:
            yield _row(item.path_1, item.path_2, item.relation == Relation.IDENTICAL, summary_of(item))
    for path, kind in comparison.only_in_1.items():
        yield _row(comparison.path_1 / path, None, False, f"{kind} only in 1")
    for path, kind in comparison.only_in_2.items():
        yield _row(None, comparison.path_2 / path, False, f"{kind} only in 2")
    for path, kind in comparison.skipped_1.items():
        yield _row(comparison.path_1 / path, None, None, f"not compared: {kind}")
    for path, kind in comparison.skipped_2.items():
        yield _row(None, comparison.path_2 / path, None, f"not compared: {kind}")


def _row(path_1: Path | None, path_2: Path | None, same: bool | None, note: str) -> Row:
    return {"filepath_1": path_1 or "", "filepath_2": path_2 or "", "same_hash": same, "note": note}


def _plane_row(pair: PlanePair) -> Row:
    one, two, difference = pair.plane_1, pair.plane_2, pair.difference
    row = _row(one.source.path if one else None, two.source.path if two else None, pair.same, pair.note)
    row |= {"plane": pair.number, "hash_1": one.sha256 if one else None, "hash_2": two.sha256 if two else None}
    if difference is not None:
        row |= {
            "n_different": difference.n_different,
            "n_zeroed_1": difference.n_zeroed_1,
            "n_zeroed_2": difference.n_zeroed_2,
        }
    return row


def _csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _document(comparison: Comparison) -> dict[str, Any]:
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
    """Return the document of one pair, with the numbers of its planes, regions or files."""
    only_in_1: list[int] = []
    only_in_2: list[int] = []
    match item:
        case VolumeComparison():
            n_pairs, n_identical = sum(pair.is_pair for pair in item.pairs), sum(pair.same for pair in item.pairs)
            n_different = len(item.evidence.planes_different)
            only_in_1, only_in_2 = list(item.only_in(1)), list(item.only_in(2))
            evidence = _evidence(item.evidence) | {"unreadable": list(item.problems)}
        case TableComparison():
            n_pairs = sum(pair.one is not None and pair.two is not None for pair in item.regions)
            n_identical = len(item.regions) - len(item.different)
            n_different = n_pairs - n_identical
            only_in_1, only_in_2 = ([region.index for region in item.only_in(side)] for side in (1, 2))
            evidence = _region_evidence(item)
        case FileComparison():
            n_pairs, n_identical, n_different = 1, int(item.same), int(item.differs)
            evidence = {"unreadable": list(item.problems)} if item.problems else {}
    return {
        "path_1": str(item.path_1),
        "path_2": str(item.path_2),
        "relation": item.relation.value,
        "n_pairs": n_pairs,
        "n_identical": n_identical,
        "n_different": n_different,
        "only_in_1": only_in_1,
        "only_in_2": only_in_2,
        "evidence": evidence,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
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
        document["mask"] = asdict(evidence.mask)
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
    if evidence.renumbered is not None and evidence.renumbered.is_complete:
        numbers = evidence.renumbered.numbers
        if numbers.shift is not None:
            document["shift"] = numbers.shift
        else:
            document["slice_numbers"] = {
                "first": [numbers.first_1, numbers.first_2],
                "step": [numbers.step_1, numbers.step_2],
            }
    return document


def _region_evidence(item: TableComparison) -> dict[str, Any]:
    return {
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
    }


@dataclass(frozen=True)
class SliceRange:
    """Consecutive slice numbers in the same state, for the bar of all slices; left and width in percent."""

    state: str
    first: int
    last: int
    left: float
    width: float


@dataclass(frozen=True)
class Section:
    """The section of the page for one pair."""

    name: str
    item: ItemComparison
    verdict: str
    sentence: str
    slice_ranges: list[SliceRange]
    pictures: list[Pictures]

    @property
    def is_table(self) -> bool:
        """Whether it has regions."""
        return isinstance(self.item, TableComparison)


def _page(comparison: Comparison) -> str:
    named = [(comparison.name_of(item), item) for item in comparison.items]
    not_opened = {name: item.problems for name, item in named if isinstance(item, FileComparison) and item.problems}
    shown = {problem for problems in not_opened.values() for problem in problems}
    template = page_templates("catnip2bids.comparison").get_template("comparison.html")
    return template.render(
        comparison=comparison,
        sentence=headline_of(comparison),
        not_opened=not_opened,
        problems=[problem for problem in comparison.problems if problem not in shown],
        sections=[_section(comparison, name, item) for name, item in named if name not in not_opened],
        version=__version__,
        most_regions=_MOST_REGIONS,
    )


def _section(comparison: Comparison, name: str, item: ItemComparison) -> Section:
    slice_ranges, pictures = [], []
    if isinstance(item, VolumeComparison):
        slice_ranges = _slice_ranges(_states(item))
        if item.differs or not comparison.is_folder:
            pictures = pictures_of(item)
    return Section(name, item, verdict_of(item), summary_of(item), slice_ranges, pictures)


def _states(item: VolumeComparison) -> dict[int, str]:
    """Return the state of each slice number; numbers of shifted planes are those of 1."""
    if item.relation == Relation.SHIFTED:
        renumbering, planes_1 = item.numbers, item.pairing.volume_1.planes
        numbers = [renumbering.in_1(number) for number in item.pairing.volume_2.planes]
        states = {number: "only in 2" for number in numbers if number is not None}
        states |= {number: "same" if number in states else "only in 1" for number in planes_1}
        return dict(sorted(states.items()))
    return {pair.number: _state(pair) for pair in item.pairs}


def _state(pair: PlanePair) -> str:
    if pair.problems:
        return "unreadable"
    if not pair.is_pair:
        return "only in 1" if pair.plane_2 is None else "only in 2"
    return "same" if pair.same else "different"


def _slice_ranges(states: dict[int, str]) -> list[SliceRange]:
    if not states:
        return []
    first, last = min(states), max(states)
    runs: list[tuple[str, int, int]] = []
    for number, state in states.items():
        if runs and runs[-1][0] == state and runs[-1][2] == number - 1:
            runs[-1] = (state, runs[-1][1], number)
        else:
            runs.append((state, number, number))
    n_all = last - first + 1
    return [
        SliceRange(state, begin, end, 100 * (begin - first) / n_all, 100 * (end - begin + 1) / n_all)
        for state, begin, end in runs
    ]
