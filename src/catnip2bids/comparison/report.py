"""What a comparison writes: two tables, a JSON document and a page to look at.

Invariant: the page needs neither network nor server, and everything that comes from names of files is escaped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from catnip2bids._version import __version__
from catnip2bids.comparison.documents import csv_text, document_of, rows_of
from catnip2bids.comparison.pictures import Pictures, pictures_of
from catnip2bids.comparison.planes import PlanePair
from catnip2bids.comparison.result import Comparison, ItemComparison
from catnip2bids.comparison.sentences import sentence_of
from catnip2bids.comparison.tables import TableComparison
from catnip2bids.comparison.volumes import VolumeComparison
from catnip2bids.publish import naming_what_cannot_be_written, write_text

_MOST_REGIONS = 500


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write all files of a comparison into a folder.

    Raises
    ------
    WriteError
        If that is not possible.
    """
    rows = list(rows_of(comparison))
    with naming_what_cannot_be_written(folder):
        write_text(folder / "comparison_results.csv", csv_text(rows))
        write_text(folder / "different.csv", csv_text([row for row in rows if not row["same_hash"]]))
        write_text(folder / "comparison.json", json.dumps(document_of(comparison), indent=1) + "\n")
        write_text(folder / "index.html", _page(comparison))


@dataclass(frozen=True)
class Stretch:
    """Neighbouring slice numbers in the same state, for the bar over all of them; left and width in percent."""

    state: str
    first: int
    last: int
    left: float
    width: float


@dataclass(frozen=True)
class Section:
    """What the page shows of one pair of things."""

    name: str
    item: ItemComparison
    sentence: str
    stretches: list[Stretch]
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
    environment = Environment(
        loader=PackageLoader("catnip2bids.comparison"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        sentence=sentence_of(comparison),
        sections=[_section(item) for item in comparison.items],
        version=__version__,
        most_regions=_MOST_REGIONS,
    )


def _section(item: ItemComparison) -> Section:
    if isinstance(item, VolumeComparison):
        name = item.pairing.side_1.path.name
        return Section(name, item, sentence_of(item), _stretches(item.pairs), pictures_of(item))
    return Section(item.path_1.name, item, sentence_of(item), [], [])


def _state(pair: PlanePair) -> str:
    if pair.problems:
        return "unreadable"
    if not pair.is_pair:
        return "only in 1" if pair.plane_2 is None else "only in 2"
    return "same" if pair.same else "different"


def _stretches(pairs: tuple[PlanePair, ...]) -> list[Stretch]:
    if not pairs:
        return []
    first, last = pairs[0].number, pairs[-1].number
    runs: list[tuple[str, int, int]] = []
    for pair in pairs:
        state = _state(pair)
        if runs and runs[-1][0] == state and runs[-1][2] == pair.number - 1:
            runs[-1] = (state, runs[-1][1], pair.number)
        else:
            runs.append((state, pair.number, pair.number))
    n_all = last - first + 1
    return [
        Stretch(state, begin, end, 100 * (begin - first) / n_all, 100 * (end - begin + 1) / n_all)
        for state, begin, end in runs
    ]
