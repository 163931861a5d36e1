"""The files of a comparison: two tables, a JSON document and an HTML page.

Invariant: the page needs neither network nor server, and file names in it are escaped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from catnip2bids._version import __version__
from catnip2bids.atomic_write import raising_write_errors, write_text
from catnip2bids.comparison.files import FileComparison
from catnip2bids.comparison.pictures import Pictures, pictures_of
from catnip2bids.comparison.planes import PlanePair
from catnip2bids.comparison.records import csv_text, document_of, rows_of
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.result import Comparison, ItemComparison, verdict_of
from catnip2bids.comparison.summary_text import headline_of, summary_of
from catnip2bids.comparison.tables import TableComparison
from catnip2bids.comparison.volumes import VolumeComparison
from catnip2bids.html_pages import page_templates
from catnip2bids.paths import safe_path

_MOST_REGIONS = 500


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write all files of a comparison into a folder.

    Raises
    ------
    WriteError
        If they cannot be written.
    """
    rows = list(rows_of(comparison))
    texts = {
        "comparison_results.csv": csv_text(rows),
        "different.csv": csv_text([row for row in rows if row["same_hash"] is False]),
        "comparison.json": json.dumps(document_of(comparison), indent=1, ensure_ascii=False) + "\n",
        "index.html": _page(comparison),
    }
    with raising_write_errors(folder):
        for name, text in texts.items():
            # names of files may hold bytes that are no UTF-8: these are written as \\udc followed by the byte
            write_text(safe_path(folder, name), text.encode(errors="backslashreplace").decode())


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
    def is_volume(self) -> bool:
        """Whether it has planes."""
        return isinstance(self.item, VolumeComparison)

    @property
    def is_table(self) -> bool:
        """Whether it has regions."""
        return isinstance(self.item, TableComparison)


def _page(comparison: Comparison) -> str:
    named = [(comparison.name_of(item), item) for item in comparison.items]
    not_opened = {name: item.problems for name, item in named if isinstance(item, FileComparison) and item.problems}
    shown = {problem for problems in not_opened.values() for problem in problems}
    return (
        page_templates("catnip2bids.comparison")
        .get_template("comparison.html")
        .render(
            comparison=comparison,
            sentence=headline_of(comparison),
            not_opened=not_opened,
            problems=[problem for problem in comparison.problems if problem not in shown],
            sections=[_section(comparison, name, item) for name, item in named if name not in not_opened],
            version=__version__,
            most_regions=_MOST_REGIONS,
        )
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
