"""What the pages say of a sample in a few words, and what is wrong with it or with the whole dataset.

Invariant: problems of every kind have one form, so that a page can put them first.
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
    """A sentence on the whole dataset, and its style."""

    text: str
    style: str


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and where; the place is empty if it is the dataset as a whole."""

    where: str
    what: str


@dataclass(frozen=True)
class CheckResults:
    """What the last validation and the last verification found; None if there was none.

    Attributes
    ----------
    validation, verification
        The outcomes, if the dataset still is what was checked.
    states
        Two sentences on how the dataset is: what validate said, and verify.
    """

    validation: CheckResult | None
    verification: CheckResult | None
    states: tuple[State, State]

    @classmethod
    def of(cls, dataset: Path) -> CheckResults:
        """Read what was kept beside the report."""
        validation, verification = (read_check_result(dataset, name) for name in ("validation", "verification"))
        found, proven = _current(validation), _current(verification)
        is_valid = _state(validation, ("said: valid", "said: not valid"), "validate")
        if found and found.ok and proven and not proven.ok and proven.time >= found.time:
            is_valid = State(f"validate said: valid on {found.time} UTC{_CHANGED_LATER}", "warn")
        is_proven = _state(verification, ("said: every pixel proven", "found changes"), "verify")
        return cls(found, proven, (is_valid, is_proven))

    def findings(self, severity: str) -> list[Problem]:
        """Return what the validators found."""
        found = self.validation.found.findings if self.validation else []
        return [Problem(one.file, one.message) for one in found if one.severity == severity]

    def verdicts(self) -> dict[str, list[Problem]]:
        """Return what is wrong with each image that was verified, by its path below the dataset."""
        images = self.verification.found.images if self.verification else []
        return {image.image: [Problem(image.image, str(problem)) for problem in image.problems] for image in images}

    def changed_files(self) -> list[Problem]:
        """Return other files that have changed."""
        found = self.verification.found.file_problems if self.verification else []
        return [Problem(one.file, one.what) for one in found]


_CHANGED_LATER = "; verify found changes since"


def _current(outcome: tuple[CheckResult, bool] | None) -> CheckResult | None:
    return outcome[0] if outcome is not None and outcome[1] else None


def _state(outcome: tuple[CheckResult, bool] | None, words: tuple[str, str], command: str) -> State:
    if outcome is None:
        return State(f"not checked yet: catnip2bids {command}", "warn")
    found, is_current = outcome
    if not is_current:
        return State(f"changed since {command} ran on {found.time} UTC; run it again", "warn")
    said = f"{command} {words[0 if found.ok else 1]} on {found.time} UTC; not checked again since"
    return State(said, "good" if found.ok else "bad")


@dataclass(frozen=True)
class SampleStatus:
    """A sample in a few words.

    Attributes
    ----------
    name, what
        What it is called, and what it is.
    page
        File of its page.
    facts
        What is known of it.
    problems
        What is wrong with it, and with files of the whole dataset.
    has_raw
        Whether it has a raw image, even if that cannot be drawn.
    thumbnail
        Its middle plane.
    """

    name: str
    what: str
    page: str
    facts: tuple[Fact, ...]
    problems: tuple[Problem, ...]
    has_raw: bool
    thumbnail: View | None = None


def status_of(sample: Sample, outcomes: CheckResults) -> SampleStatus:
    """Say what is known of a sample."""
    run = sample.record
    where = f"{sample.hemisphere} hemisphere" if sample.hemisphere else run.sample
    problems = tuple(_problems(sample, outcomes))
    facts = (*_animal(sample), *_sizes(sample), *_proofs(sample, outcomes))
    name = f"{run.subject} · {run.sample} · {run.stain}"
    return SampleStatus(
        name, f"{where}, stain {run.stain}", f"{sample.key}.html", facts, problems, sample.raw is not None
    )


def _problems(sample: Sample, outcomes: CheckResults) -> Iterator[Problem]:
    yield from (Problem(found.source, found.problem) for found in sample.decisions if found.problem is not None)
    verdicts = outcomes.verdicts()
    for path in sample.record.images:
        yield from verdicts.get(path, [])
    yield from _changed_files(sample, outcomes)
    yield from (found for found in outcomes.findings("error") if sample.is_named_in(found.where))


def _changed_files(sample: Sample, outcomes: CheckResults) -> list[Problem]:
    return [found for found in outcomes.changed_files() if sample.is_concerned_by(found.where)]


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


def _proofs(sample: Sample, outcomes: CheckResults) -> Iterator[Fact]:
    """Say whether the sample was validated and verified; of the whole dataset where nothing is known of the sample."""
    is_valid, is_proven = outcomes.states
    if outcomes.validation is None:
        yield Fact("validated", is_valid.text, is_valid.style)
    else:
        wrong = any(sample.is_named_in(found.where) for found in outcomes.findings("error"))
        said = f"{'errors' if wrong else 'no errors'} on {outcomes.validation.time} UTC, said validate"
        later = _CHANGED_LATER if is_valid.style == "warn" else ""
        yield Fact("validated", f"{said}{later}", "bad" if wrong else is_valid.style if later else "good")
    verdicts = outcomes.verdicts()
    if outcomes.verification is None:
        yield Fact("verified", is_proven.text, is_proven.style)
    elif not verdicts.keys() >= sample.record.images.keys():
        yield Fact("verified", "not all images were verified", "warn")
    else:
        n_images = sum(bool(verdicts[path]) for path in sample.record.images)
        inside = tuple(f"{path}/" for path in sample.record.images)
        n_files = sum(not found.where.startswith(inside) for found in _changed_files(sample, outcomes))
        said = f"{format_count(n_images, 'image')} changed" if n_images else "every pixel proven"
        said += f", {format_count(n_files, 'other file')} changed" if n_files else ""
        time = outcomes.verification.time
        yield Fact("verified", f"{said} on {time} UTC, said verify", "bad" if n_images or n_files else "good")


def with_damage(card: SampleStatus, damaged: Sequence[Problem]) -> SampleStatus:
    """Return the card of a sample of which images turned out to be damaged: nothing that was checked holds for it."""
    if not damaged:
        return card
    facts = (Fact(fact.name, "not any more", "bad") if fact.style == "good" else fact for fact in card.facts)
    return replace(card, problems=(*card.problems, *damaged), facts=tuple(facts))


def sum_of(sizes: Sequence[int | None]) -> int | None:
    """Add up sizes; None if one of them is not known."""
    return None if None in sizes else sum(size or 0 for size in sizes)
