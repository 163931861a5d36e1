"""Summarize each sample in a few facts, with the problems of the sample and of the whole dataset.

Invariant: problems of all kinds have one type, so that a page can list them first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.reporting.check_results import CheckResult, read_check_result
from catnip2bids.reporting.samples import Sample
from catnip2bids.reporting.views import View


@dataclass(frozen=True)
class Fact:
    """A name and a value; the style is ``good``, ``bad``, ``warn`` or empty."""

    name: str
    value: str
    style: str = ""


@dataclass(frozen=True)
class State:
    """A sentence about the whole dataset, and its style."""

    text: str
    style: str


@dataclass(frozen=True)
class Problem:
    """A problem and its path; the path is empty for the dataset as a whole."""

    where: str
    what: str
    is_change: bool = False  # found by `verify`; if not, it is another problem, or something could not be checked


@dataclass(frozen=True)
class CheckResults:
    """The results of the last validation and verification; None if they never ran or are outdated."""

    validation: CheckResult | None
    verification: CheckResult | None
    states: tuple[State, State]  # what validate said, and what verify said

    @classmethod
    def of(cls, dataset: Path) -> CheckResults:
        """Read the saved results."""
        validation, verification = (read_check_result(dataset, name) for name in ("validation", "verification"))
        found, proven = _current(validation), _current(verification)
        is_valid = _state(validation, ("said: valid", "said: not valid"), "validate")
        has_changed = verification is not None and verification[0].found.has_changed
        if found and found.ok and proven and has_changed and proven.time >= found.time:
            is_valid = State(f"validate said: valid on {found.time} UTC{_CHANGED_LATER}", "warn")
        not_ok = "found changes" if has_changed else "said: not everything is proven"
        is_proven = _state(verification, ("said: every pixel proven", not_ok), "verify")
        return cls(found, proven, (is_valid, is_proven))

    def findings(self, severity: str) -> list[Problem]:
        """Return the findings of the validators."""
        found = self.validation.found.findings if self.validation else []
        return [Problem(one.file, one.message) for one in found if one.severity == severity]

    def verdicts(self) -> dict[str, list[Problem]]:
        """Return the problems of each verified image, by its path below the dataset."""
        images = self.verification.found.images if self.verification else []
        return {
            image.image: [Problem(image.image, str(problem), problem.is_change) for problem in image.problems]
            for image in images
        }

    def file_problems(self) -> list[Problem]:
        """Return problems of files other than images."""
        found = self.verification.found.file_problems if self.verification else []
        return [Problem(one.file, one.what, one.is_change) for one in found]


_CHANGED_LATER = "; verify found changes since"


def _current(saved: tuple[CheckResult, bool] | None) -> CheckResult | None:
    return saved[0] if saved is not None and saved[1] else None


def _state(saved: tuple[CheckResult, bool] | None, words: tuple[str, str], command: str) -> State:
    if saved is None:
        return State(f"not checked yet: catnip2bids {command}", "warn")
    found, is_current = saved
    if not is_current:
        return State(f"changed since {command} ran on {found.time} UTC; run it again", "warn")
    said = f"{command} {words[0 if found.ok else 1]} on {found.time} UTC; not checked again since"
    return State(said, "good" if found.ok else "bad")


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
    run = sample.record
    where = f"{sample.hemisphere} hemisphere" if sample.hemisphere else run.sample
    problems = tuple(_problems(sample, results))
    facts = (*_animal(sample), *_sizes(sample), *_proofs(sample, results))
    name = f"{run.subject} · {run.sample} · {run.stain}"
    return SampleStatus(
        name, f"{where}, stain {run.stain}", f"{sample.key}.html", facts, problems, sample.raw is not None
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
        later = _CHANGED_LATER if is_valid.style == "warn" else ""
        yield Fact("validated", f"{said}{later}", "bad" if wrong else is_valid.style if later else "good")
    verdicts = results.verdicts()
    if results.verification is None:
        yield Fact("verified", is_proven.text, is_proven.style)
    elif not verdicts.keys() >= set(_verified_images(sample)):
        yield Fact("verified", "not all images were verified", "warn")
    else:
        of_images = [problems for path in _verified_images(sample) if (problems := verdicts[path])]
        inside = tuple(f"{path}/" for path in sample.record.images)
        of_files = [[found] for found in _file_problems(sample, results) if not found.where.startswith(inside)]
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
