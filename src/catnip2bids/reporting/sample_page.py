"""Summarize a sample in facts and problems; draw the images and gather the tables for its page.

Invariant: a page needs no other files; the number of plane images follows from its share of the size of the report.
Problems of all kinds have one type, so that a page can list them first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catnip2bids.bids.checksums import file_sha256
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import PROVENANCE, Decision
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.paths import inside
from catnip2bids.regions import DisplayedRegion, region_of
from catnip2bids.reporting.charts import histogram_chart, region_chart
from catnip2bids.reporting.check_results import CHANGED_LATER, CheckResults, Problem
from catnip2bids.reporting.samples import Sample, SampleImage
from catnip2bids.reporting.vega import Vega
from catnip2bids.reporting.views import Brain, View, read_brain, read_heatmaps

_MOST_PLANES, _FEWEST_PLANES = 24, 6
_COLORS = ("#ffd23f", "#ff5d8f", "#37c8f0", "#7ae582", "#ff9f1c", "#b58cff", "#ffffff", "#e4572e")
"""Colours of the cells, by segmentation."""


@dataclass(frozen=True)
class Fact:
    """A name and a value; the style is ``good``, ``bad``, ``warn`` or empty."""

    name: str
    value: str
    style: str = ""


@dataclass(frozen=True)
class SampleStatus:
    """The summary of a sample, shown as its card."""

    name: str
    what: str
    page: str  # file name
    facts: tuple[Fact, ...]
    problems: tuple[Problem, ...]  # of the sample, and of files of the whole dataset
    has_raw: bool  # even if the raw image cannot be drawn
    thumbnail: View | None = None  # the middle plane


def status_of(sample: Sample, results: CheckResults) -> SampleStatus:
    """Summarize a sample."""
    where = f"{sample.hemisphere} hemisphere" if sample.hemisphere else sample.record.sample
    return SampleStatus(
        sample.name,
        f"{where}, stain {sample.record.stain}",
        f"{sample.key}.html",
        (*_animal(sample), *_sizes(sample), *_proofs(sample, results)),
        tuple(_problems(sample, results)),
        sample.raw is not None,
    )


def _problems(sample: Sample, results: CheckResults) -> Iterator[Problem]:
    yield from (Problem(found.source, found.problem) for found in sample.decisions if found.problem is not None)
    verdicts = results.verdicts()
    for path in _verified_images(sample):
        yield from verdicts.get(path, [])
    yield from _file_problems(sample, results)
    yield from (found for found in results.findings("error") if sample.is_named_in(found.where))


def _verified_images(sample: Sample) -> list[str]:
    return [*sample.record.images, *sample.record.embedded_images()]


def _file_problems(sample: Sample, results: CheckResults) -> list[Problem]:
    return [found for found in results.file_problems() if sample.is_concerned_by(found.where)]


def _animal(sample: Sample) -> Iterator[Fact]:
    yield Fact("animal", f"sub-{sample.record.subject}")
    for column in ("sex", "genotype", "age", "strain"):
        if value := sample.known(column):
            yield Fact(column, value)
    if sample.acquired:
        yield Fact("acquired", sample.acquired)


def _sizes(sample: Sample) -> Iterator[Fact]:
    raw = sample.raw
    if raw is not None:
        z, y, x = raw.record.shape
        size_z, size_y, size_x = raw.voxel_size_um
        yield Fact("voxels", f"{x} x {y} x {z}, {raw.record.dtype}")
        yield Fact("voxel size", f"{size_x:g} x {size_y:g} x {size_z:g} um")
        extents_um = (x * size_x, y * size_y, z * size_z)
        yield Fact("extent", f"{' x '.join(f'{extent / 1000:.2f}' for extent in extents_um)} mm")
    yield Fact("images", str(len(sample.images)))
    if sample.bytes_before is not None and sample.bytes_after is not None:
        before, after = format_bytes(sample.bytes_before), format_bytes(sample.bytes_after)
        yield Fact("bytes of images", f"{before} before, {after} after")


def _proofs(sample: Sample, results: CheckResults) -> Iterator[Fact]:
    """Yield whether the sample, or else the whole dataset, was validated and verified."""
    is_valid, is_proven = results.states
    if results.validation is None:
        yield Fact("validated", is_valid.text, is_valid.style)
    else:
        wrong = any(sample.is_named_in(found.where) for found in results.findings("error"))
        said = f"{'errors' if wrong else 'no errors'} on {results.validation.time} UTC, said validate"
        later = CHANGED_LATER if is_valid.style == "warn" else ""
        yield Fact("validated", f"{said}{later}", "bad" if wrong else is_valid.style if later else "good")
    verdicts = results.verdicts()
    if results.verification is None:
        yield Fact("verified", is_proven.text, is_proven.style)
    elif not verdicts.keys() >= set(_verified_images(sample)):
        yield Fact("verified", "not all images were verified", "warn")
    else:
        of_images = [problems for path in _verified_images(sample) if (problems := verdicts[path])]
        images = tuple(f"{path}/" for path in sample.record.images)
        of_files = [[found] for found in _file_problems(sample, results) if not found.where.startswith(images)]
        states = ["every pixel proven"] if not of_images else []
        for what, of_what in (("image", of_images), ("other file", of_files)):
            n_changed = sum(any(problem.is_change for problem in problems) for problems in of_what)
            for n, state in ((n_changed, "changed"), (len(of_what) - n_changed, "not proven")):
                states += [f"{format_count(n, what)} {state}"] if n else []
        text = f"{', '.join(states)} on {results.verification.time} UTC, said verify"
        yield Fact("verified", text, "bad" if of_images or of_files else "good")


def with_damage(card: SampleStatus, damaged: Sequence[Problem]) -> SampleStatus:
    """Return the card of a sample with damaged images, for which no check result holds any longer."""
    if not damaged:
        return card
    facts = (Fact(fact.name, "not any more", "bad") if fact.style == "good" else fact for fact in card.facts)
    return replace(card, problems=(*card.problems, *damaged), facts=tuple(facts))


def draw_images(dataset: Path, sample: Sample, n_bytes: int, vega: Vega) -> dict[str, Any]:
    """Draw the images of a sample, by their names in the template; planes take `n_bytes` at most.

    Raises DamagedImageError if an image cannot be read.
    """
    brain = read_brain(dataset, sample)
    return {**_draw_brain(brain, sample, n_bytes, vega), "heatmaps": read_heatmaps(dataset, sample)}


def make_tables(dataset: Path, sample: Sample, vega: Vega) -> dict[str, Any]:
    """Gather the tables of a sample, by their names in the template."""
    charts = [(counts, region_chart(counts, sample.regions)) for counts in sample.counts]
    return {
        "series": [{"counts": counts, "chart": "" if chart is None else vega.svg(chart)} for counts, chart in charts],
        "rows": [
            {"region": region_of(sample.regions, index), "cells": [counts.cells.get(index) for counts in sample.counts]}
            for index in sorted({index for counts in sample.counts for index in counts.cells})
        ],
        "components": list(_component_rows(dataset, sample)),
    }


def _draw_brain(brain: Brain | None, sample: Sample, n_bytes: int, vega: Vega) -> dict[str, Any]:
    if brain is None or sample.raw is None:
        nothing: dict[str, Any] = {key: [] for key in ("planes", "orthogonal", "regions", "segmentations")}
        return nothing | {"histogram": None, "n_not_shown": 0}
    window, orthogonal = brain.image.window, brain.orthogonal()
    return {
        "orthogonal": orthogonal,
        "largest_um": max(size for view in orthogonal for size in (view.width_um, view.height_um)),
        "planes": _planes(brain, n_bytes),
        "n_planes": sample.raw.record.shape[0],
        "regions": [_region(region, sample) for region in brain.regions],
        "segmentations": [
            {"threshold": image.threshold, "color": color}
            for (image, _), color in zip(brain.segmentations, _COLORS, strict=False)
        ],
        "n_not_shown": len(sample.segmentations) - len(brain.segmentations),
        "histogram": {"chart": vega.svg(histogram_chart(brain.histogram())), "window": window},
    }


def _planes(brain: Brain, n_bytes: int) -> list[View]:
    """Draw as many planes as fit into `n_bytes`."""
    [example] = brain.planes(1)
    n_planes = n_bytes // max(len(example.picture) + len(example.map), 1)
    return brain.planes(min(max(n_planes, _FEWEST_PLANES), _MOST_PLANES))


def _region(region: DisplayedRegion, sample: Sample) -> dict[str, str]:
    """Describe a region for the text under the pointer."""
    found = [(counts.cells.get(region.index), counts.title) for counts in sample.counts]
    cells = [f"{n:,} at {title}" for n, title in found if n is not None]
    words = f": cells {'; '.join(cells)}" if cells else ""
    return {"name": region.name, "abbreviation": region.abbreviation, "color": region.color, "cells": words}


def _component_rows(dataset: Path, sample: Sample) -> Iterator[dict[str, Any]]:
    """Yield CATNIP's outputs in the order of the decisions, each with the image made from it, if any, and a hash."""
    images = {image.path.as_posix(): image for image in sample.images}
    for decision in sample.decisions:
        name = os.path.relpath(decision.source, sample.record.source)
        image = images.get(decision.target or "")
        sha256 = _hash_of(dataset, decision, image)
        yield {"decision": decision, "name": name, "image": image, "sha256": sha256}


def _hash_of(dataset: Path, decision: Decision, image: SampleImage | None) -> str:
    """Hash the plane hashes of an image, or a table or copy; returns an empty text if the file does not exist."""
    if decision.target is None:
        return ""
    target = inside(decision.target, PROVENANCE.name)
    path = dataset / (target if image is None else hashes_path(image.path))
    return file_sha256(path) if path.is_file() else ""
