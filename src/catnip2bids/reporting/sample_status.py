"""Summarize a sample: facts about the animal and its cells, what was proven, technical facts, and problems.

Invariant: problems of all kinds have one type, so that a page can list them first. Nothing is claimed that the dataset
does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from catnip2bids.catnip.run_name import SAMPLES
from catnip2bids.formatting import format_bytes, format_count, format_list, format_number, format_shape
from catnip2bids.reporting.check_results import CHANGED_LATER, CheckResults, Problem
from catnip2bids.reporting.samples import Sample
from catnip2bids.reporting.views import Picture, View
from catnip2bids.volume import format_voxel_size


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
    technical: tuple[Fact, ...]
    problems: tuple[Problem, ...]  # of the sample, and of files of the whole dataset
    image: str  # file name of the raw image, even if it cannot be drawn; empty without one
    slices: tuple[View, ...] = ()  # through the middle, perpendicular to each axis; empty if they cannot be drawn
    heat: tuple[Picture, ...] = ()  # projections of the heat map of the lowest threshold
    heat_scale: tuple[int | None, float] = (None, 0.0)  # its threshold, and the value shown as white

    @property
    def position(self) -> str:
        """The voxel X Y Z in which the slices cross, counted from 0."""
        return " ".join(str(view.at) for view in reversed(self.slices))


def status_of(sample: Sample, results: CheckResults) -> SampleStatus:
    """Summarize a sample."""
    return SampleStatus(
        sample.name,
        f"{side_of(sample)}, stain {sample.record.stain}",
        f"{sample.key}.html",
        (*_animal(sample), *_biology(sample), *_proofs(sample, results)),
        tuple(_technical(sample)),
        tuple(_problems(sample, results)),
        "" if sample.raw is None else sample.raw.path.name,
    )


def side_of(sample: Sample) -> str:
    """Return the side of the brain, as samples.tsv has it, or else the label of the sample."""
    if sample.hemisphere:
        return f"{sample.hemisphere} hemisphere"
    return "whole brain" if sample.record.sample == SAMPLES["B"] else sample.record.sample


def _problems(sample: Sample, results: CheckResults) -> Iterator[Problem]:
    for found in sample.decisions:
        if found.problem is not None:
            source = found.source if sample.record.source != "." else f"{sample.record.name}/{found.source}"
            yield Problem(source, found.problem)
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
    for column in ("genotype", "sex", "age", "strain"):
        if value := sample.known(column):
            yield Fact(column, f"{value} weeks" if column == "age" else value)


def _biology(sample: Sample) -> Iterator[Fact]:
    """Yield the cells of the lowest threshold, and what is damaged."""
    if (counts := sample.main_counts) is not None:
        density = "" if counts.density is None else f" ({format_number(counts.density)} per mm3)"
        yield Fact("cells", f"{counts.total:,}{density}, {counts.title}")
    yield damage_of(sample)


def damage_of(sample: Sample) -> Fact:
    """Say which regions CATNIP excluded because they overlap the exclusion mask."""
    regions = sample.excluded_regions
    if regions:
        names = format_list([region.name for region in regions])
        return Fact("damaged", f"{names} (excluded by CATNIP)", "warn")
    if any(counts.corrected for counts in sample.counts):
        return Fact("damaged", "no region excluded by CATNIP")
    return Fact("damaged", "nothing recorded: the run has no corrected counts")


def _technical(sample: Sample) -> Iterator[Fact]:
    yield Fact("run of CATNIP", sample.record.name)
    if sample.acquired:
        yield Fact("acquired", sample.acquired)
    raw = sample.raw
    if raw is not None:
        shape, sizes_um = raw.record.shape, raw.record.voxel_size_um
        yield Fact("voxels", f"{format_shape(shape)}, {raw.record.dtype}")
        yield Fact("voxel size", format_voxel_size(sizes_um))
        extents_um = (n * size_um for n, size_um in zip(reversed(shape), sizes_um, strict=True))
        yield Fact("extent", f"{' x '.join(f'{extent / 1000:.2f}' for extent in extents_um)} mm")
    yield Fact("images", str(len(sample.images)))
    if sample.bytes_before is not None and sample.bytes_after is not None:
        before, after = format_bytes(sample.bytes_before), format_bytes(sample.bytes_after)
        yield Fact("bytes of images", f"{before} before, {after} after")


def _proofs(sample: Sample, results: CheckResults) -> Iterator[Fact]:
    """Yield whether the sample, or else the whole dataset, was validated and verified."""
    is_valid, is_proven, *_ = results.states
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


def with_unreadable_images(card: SampleStatus, unreadable: Sequence[Problem]) -> SampleStatus:
    """Return the card of a sample of which images cannot be read, for which no check result holds any longer."""
    if not unreadable:
        return card
    facts = (Fact(fact.name, "not any more", "bad") if fact.style == "good" else fact for fact in card.facts)
    return replace(card, problems=(*card.problems, *unreadable), facts=tuple(facts))
