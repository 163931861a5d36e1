"""Gather the content of the overview: samples by group, the comparison of groups, problems, and what was left out.

Invariant: identical texts stand on the page once, with all files and samples that they are about, so that the page of a
large cohort stays short.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from catnip2bids.bids.evidence import EvidenceKind, evidence_kind
from catnip2bids.bids.provenance import Decision
from catnip2bids.formatting import format_list, format_number
from catnip2bids.reporting.check_results import Problem
from catnip2bids.reporting.cohort import DENSITY, MEASURES, Cohort, Comparison
from catnip2bids.reporting.sample_status import SampleStatus, side_of
from catnip2bids.reporting.samples import Sample

_EVIDENCE: Final = {
    "compared_with": "compared with",
    "planes_compared": "planes compared",
    "planes_different": "planes that differ",
    "voxels_zeroed": "voxels that are 0 only here",
    "voxels_different": "voxels that differ",
    "labels_lost": "labels that are only in the other",
}
_REASONS: Final = {
    EvidenceKind.LINK: "redundant: a link to {}, which is packaged",
    EvidenceKind.SAME: "redundant: the same pixels as {}, which is packaged; proven voxel by voxel",
    EvidenceKind.MASKED: "redundant: {}, which is packaged, times the hemisphere mask; proven voxel by voxel",
}


@dataclass(frozen=True)
class ProblemGroup:
    """A problem, and the paths that have it."""

    what: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """Entries of one name that were left out for one reason."""

    name: str
    reason: str
    entries: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]  # source, reason in full, evidence


@dataclass(frozen=True)
class GroupValue:
    """The mean of a group in a region, as text and to sort by."""

    text: str
    value: float | None


def grouped(problems: Iterable[Problem]) -> list[ProblemGroup]:
    """Group problems of the same text; each place is named once."""
    places: dict[str, dict[str, None]] = {}
    for problem in problems:
        places.setdefault(problem.what, {})[problem.where] = None
    return [ProblemGroup(what, tuple(found)) for what, found in places.items()]


def left_out(samples: Sequence[Sample]) -> list[LeftOut]:
    """Group the entries that were excluded on purpose, by their names and reasons."""
    groups: dict[tuple[str, str], list[Decision]] = {}
    for sample in samples:
        for found in sample.excluded:
            name = os.path.relpath(found.source, sample.record.source)
            evidence = found.evidence or {}
            template = _REASONS.get(evidence_kind(evidence))
            reason = found.reason if template is None else template.format(evidence.get("compared_with"))
            groups.setdefault((name, reason), []).append(found)
    return [
        LeftOut(name, reason, tuple((one.source, one.reason, _evidence(one)) for one in found))
        for (name, reason), found in groups.items()
    ]


def _evidence(decision: Decision) -> tuple[tuple[str, str], ...]:
    """Choose the evidence to show; count lists and tables."""
    evidence = decision.evidence or {}
    return tuple((words, _short(evidence[key])) for key, words in _EVIDENCE.items() if key in evidence)


def _short(value: Any) -> str:
    if isinstance(value, list | dict):
        return str(len(value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def animal_rows(cards: Sequence[SampleStatus], samples: Sequence[Sample], cohort: Cohort | None) -> dict[str, Any]:
    """Return the rows of the table of animals, and a sentence about its cells, by their names in the template.

    Cells are of the same regions in all samples, as in the comparison of groups.
    """
    counts = [sample.main_counts for sample in samples]
    thresholds = sorted({str(found.threshold) for found in counts if found is not None})
    sums: dict[str, tuple[float, float]] = {}
    left_out: tuple[str, ...] = ()
    if cohort is not None:
        first, of = cohort.first_series, cohort.samples
        left_out = cohort.left_out[first]
        densities = of.values(first, DENSITY)[:, 0]
        sums = dict(zip(of.names, zip(of.cells[first][:, 0], densities, strict=True), strict=True))
    rows = []
    for card, sample, found in zip(cards, samples, counts, strict=True):
        n_cells, density = (None, None) if found is None else (found.total, found.density)
        if not np.isnan(of_same_regions := sums.get(sample.name, (np.nan, np.nan)))[0]:
            n_cells = int(of_same_regions[0])
            density = None if np.isnan(of_same_regions[1]) else float(of_same_regions[1])
        rows.append({"card": card, "side": side_of(sample), "cells": n_cells, "density": density})
    what = f"Cells and cells per mm3 at threshold {', '.join(thresholds)}" if thresholds else ""
    if what and left_out:
        what += f", in all samples without {format_list(left_out)}, which CATNIP excluded as "
        what += "damaged in at least one. The cards and pages of samples leave out only what is damaged in the sample"
    series = [f"threshold {', '.join(thresholds)}"] if thresholds else []
    counted_in = ", ".join([*series, *(["damaged regions left out"] if left_out else [])])
    return {"animals": rows, "counted_at": f"{what}." if what else "", "counted_in": counted_in}


def cards_by_group(cards: Sequence[SampleStatus], samples: Sequence[Sample], cohort: Cohort | None) -> list[Any]:
    """Return the cards by the first column that tells animals apart; all in one group if there is none."""
    column = cohort.columns[0] if cohort else "genotype"
    groups: dict[str, list[SampleStatus]] = {}
    for card, sample in zip(cards, samples, strict=True):
        groups.setdefault(sample.known(column) if column != "hemisphere" else sample.hemisphere, []).append(card)
    if len(groups) < 2:
        return [("", list(cards))]
    return [(f"{column} {name}" if name else f"{column} not known", found) for name, found in sorted(groups.items())]


def comparison_of(cohort: Cohort) -> dict[str, Any]:
    """Return the comparison that a page shows first, by its names in the template."""
    series, column = cohort.first_series, cohort.columns[0]
    measure = DENSITY if np.isfinite(cohort.points(column).values(series, DENSITY)).any() else MEASURES[1]
    found = cohort.compare(series, column, measure)
    return {
        "series": series,
        "column": column,
        "measure": measure,
        "groups": found.groups,
        "rows": [
            {
                "row": row,
                "values": [_group_value(found, group, n) for group in range(len(found.groups))],
                "difference": _difference(found, n),
            }
            for n, row in enumerate(cohort.rows)
        ],
    }


def _group_value(found: Comparison, group: int, row: int) -> GroupValue:
    """Write a mean with its standard deviation and the number of values: ``81.5 ± 3.2 (n = 4)``."""
    n, mean, deviation = (int(found.n[group, row]), found.means[group, row], found.deviations[group, row])
    if not n:
        return GroupValue("n/a", None)
    spread = "" if np.isnan(deviation) else f" \u00b1 {format_number(deviation)}"
    mean_text, n_text = (text.replace(" ", "\u00a0") for text in (f"{format_number(mean)}{spread}", f"(n = {n})"))
    return GroupValue(f"{mean_text} {n_text}", float(mean))


def _difference(found: Comparison, row: int) -> GroupValue:
    """Say which group has most, and how much more than the one that has least."""
    difference = float(found.differences[row])
    if np.isnan(difference):
        return GroupValue("n/a", None)
    if difference == 0:
        return GroupValue("none", 0.0)
    high = int(np.ma.argmax(found.known_means[:, row]))
    percent = float(found.shares[row])
    share = "" if np.isnan(percent) else f" (+{format_number(percent)} %)"
    return GroupValue(f"{found.groups[high]} +{format_number(difference)}{share}", difference)


def pairs_of(cards: Sequence[SampleStatus]) -> list[dict[str, Any]]:
    """Return what a page shows of two samples side by side; the first picture is that of the card."""
    return [
        {
            "name": card.name,
            "what": card.what,
            "page": card.page,
            "image": card.image,
            "position": card.position,
            "facts": [[fact.name, fact.value] for fact in card.facts if fact.name != "cells"],  # the table has them
            "heat_scale": f"threshold {card.heat_scale[0]}: 0 to {format_number(card.heat_scale[1])}"
            if card.heat
            else "",
            "pictures": [
                {
                    "title": picture.title,
                    "is_heat": picture in card.heat,
                    "address": "" if picture in card.slices[:1] else picture.address,
                    "width_um": picture.width_um,
                    "height_um": picture.height_um,
                    "bar": [picture.bar.text, picture.bar.percent],
                }
                for picture in (*card.slices, *card.heat)
            ],
        }
        for card in cards
    ]
