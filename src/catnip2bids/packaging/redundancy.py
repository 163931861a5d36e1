"""What is left out because something else holds it already: shown by the pixels, not assumed.

Invariant: a component stays out for the sake of another one only if every plane of it was compared with that one, and
either all are the same, or no differing voxel is anything but 0. If not, it is packaged too, and that is said.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from catnip2bids._version import __version__
from catnip2bids.bids.provenance import Provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.catnip.components import HEMISPHERE_MASK
from catnip2bids.comparison import (
    Relation,
    compare_as_volumes,
    compared_entry,
    count_not_product,
    first_difference,
    needed_to_compare,
)
from catnip2bids.engine import Resources
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count
from catnip2bids.plan import PlannedEntry, PlannedRun, default_entry, problems_of
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry, Run
from catnip2bids.volume import RecoveredMask, file_states

_OLD_ANSWERS = (
    (Action.EXCLUDE, re.compile("the same as .+, pixel for pixel, which is packaged")),
    (Action.EXCLUDE, re.compile("redundant: equals the packaged .+ times the hemisphere mask, voxel by voxel: .+")),
    (Action.EXCLUDE, re.compile(".+, which is packaged, times the hemisphere mask, as pixels show: .+")),
    (Action.CONVERT, re.compile("it is not .+ times .+: .+")),
    (Action.CONVERT, re.compile(".+ is not packaged")),
)
"""What plans of versions up to 0.1 say where pixels decided; these have no `by_pixels`. The list never changes."""


@dataclass(frozen=True)
class RedundancyCheck:
    """Whether an entry holds anything that another one does not hold.

    Attributes
    ----------
    entry, other
        The entry, and one that is packaged.
    planned
        What the plan says of the entry.
    is_masked
        Whether the entry is meant to be the other one times a mask; else it may be the same.
    is_open
        Whether the answer decides what is done with the entry, because nobody did.
    mask
        The mask, if it is packaged too.
    labels
        The subject, the sample and the stain that the run is packaged as.
    """

    entry: Entry
    other: Entry
    planned: PlannedEntry
    is_masked: bool
    is_open: bool
    mask: Entry | None
    labels: tuple[str | None, ...]

    def fingerprint(self) -> str:
        """Hash what the answer depends on: the files, with size and time."""
        files = [file for entry in self._entries if entry.volume is not None for file in entry.volume.files]
        document = [__version__, self.labels, [entry.path for entry in self._entries], file_states(files)]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    @property
    def needed_bytes(self) -> int:
        """The least memory of a process that answers it."""
        return needed_to_compare([compared_entry(entry) for entry in self._entries])

    @property
    def _entries(self) -> list[Entry]:
        return [entry for entry in (self.entry, self.other, self.mask) if entry is not None]

    def answer(self, resources: Resources) -> dict[str, Any]:
        """Look at the pixels; where only sameness counts, no further than to the first difference."""
        return self._found_out(resources) | {"files": self._file_names}

    @property
    def _file_names(self) -> list[str] | None:
        """Names of the slices in their order, so that they can be written again; None for a single file."""
        if self.entry.volume is None or not self.entry.location.is_dir():
            return None
        return [self.entry.volume.plane_source(plane).path.name for plane in range(self.entry.volume.shape[0])]

    def _found_out(self, resources: Resources) -> dict[str, Any]:
        if self.is_masked:
            return self._how_they_differ(resources)
        first = first_difference(self.other, self.entry, resources)
        if first is None:
            n_planes = 0 if self.entry.volume is None else self.entry.volume.shape[0]
            return {"compared_with": self.other.path, "relation": Relation.IDENTICAL, "planes_compared": n_planes}
        return {"compared_with": self.other.path, "relation": Relation.DIFFERENT, "first_plane_different": first}

    def _how_they_differ(self, resources: Resources) -> dict[str, Any]:
        comparison = compare_as_volumes(self.other, self.entry, resources, are_labels=True)
        found, numbers = comparison.evidence, [pair.number for pair in comparison.pairs]
        evidence: dict[str, Any] = {
            "compared_with": self.other.path,
            "relation": comparison.relation.value,
            "planes": [numbers[0], numbers[-1]],
            "planes_compared": sum(pair.is_pair for pair in comparison.pairs),
            "planes_without_partner": len(comparison.only_in(1)) + len(comparison.only_in(2)),
            "planes_unreadable": sum(bool(pair.problems) for pair in comparison.pairs),
            "planes_different": list(found.planes_different),
            "planes_emptied": list(found.mask.planes_emptied) if found.mask else [],
            "voxels_compared": found.n_voxels,
            "voxels_different": found.n_different,
            "voxels_zeroed": found.n_zeroed_2,
            "labels_lost": None if found.lost_2 is None else {str(value): n for value, n in found.lost_2.items()},
        }
        if found.layouts is not None:
            evidence["layouts"] = list(found.layouts)
        if self.mask is not None and comparison.relation == Relation.MASKED_2:
            evidence["product_with"] = self.mask.path
            evidence["voxels_not_the_product"] = count_not_product(self.entry, self.other, self.mask, resources)
        return evidence


@dataclass(frozen=True)
class RedundancyResult:
    """What the pixels say.

    Attributes
    ----------
    question
        What was asked.
    evidence
        Relation and counts, and a fingerprint of the files that were compared.
    """

    question: RedundancyCheck
    evidence: dict[str, Any]

    @property
    def entry(self) -> Entry:
        """The entry it is about."""
        return self.question.entry

    @property
    def problem(self) -> str | None:
        """What to tell where the files are not any more what was compared."""
        try:
            same = self.question.fingerprint() == self.evidence["fingerprint"]
        except SourceError as error:
            return str(error)
        entry, other = self.question.entry.location, self.question.other.path
        return None if same else f"{entry}: it or {other} changed since they were compared; run again"

    @property
    def holds(self) -> bool:
        """Whether the entry holds nothing that the other one (and the mask) has not."""
        if self.evidence["relation"] == Relation.MASKED_2:
            return self.question.is_masked and self.evidence.get("voxels_not_the_product", 0) == 0
        return bool(self.evidence["relation"] == Relation.IDENTICAL)

    @property
    def line(self) -> PlannedEntry:
        """What the plan says of the entry now."""
        other = self.question.other.path
        if not self.question.is_open or not (self.holds or self.question.is_masked):
            return self.question.planned
        if not self.holds:
            action, reason = Action.CONVERT, f"it is not {other} times {self._why_not}"
        elif self.evidence["relation"] == Relation.IDENTICAL:
            action, reason = Action.EXCLUDE, f"the same as {other}, pixel for pixel, which is packaged"
        else:
            action = Action.EXCLUDE
            reason = f"redundant: equals the packaged {other} times the hemisphere mask, voxel by voxel: {self._counts}"
        return self.question.planned.model_copy(update={"action": action, "reason": reason, "by_pixels": action})

    @property
    def recovered_mask(self) -> RecoveredMask | None:
        """The mask that makes the entry of the other one, if the run has it nowhere else and one is needed."""
        whole, masked = self.question.other.volume, self.entry.volume
        is_left_out = self.line.action == Action.EXCLUDE and self.evidence["relation"] == Relation.MASKED_2
        if not (self.holds and is_left_out) or self.question.mask is not None or whole is None or masked is None:
            return None
        return RecoveredMask.from_evidence(whole, masked, self.evidence)

    @property
    def warning(self) -> str | None:
        """What to tell where something was to be left out and is more than what is packaged."""
        if self.holds or not self.question.is_masked:
            return None
        if self.question.is_open:
            return f"{self.entry.location}: is packaged too, because {self.line.reason}"
        return f"{self.entry.location}: is left out by the plan, and {self.question.other.path} does not hold all of it"

    @property
    def _why_not(self) -> str:
        found = self.evidence
        if "product_with" in found:
            n_broken = found["voxels_not_the_product"]
            what = (
                "it cannot be read" if n_broken is None else f"{format_count(n_broken, 'voxel')} other than this gives"
            )
            return f"{found['product_with']}: {what}"
        if found["planes_unreadable"]:
            what = f"{found['planes_unreadable']} of {format_count(found['planes_compared'], 'plane')} cannot be read"
        elif found["planes_without_partner"]:
            what = f"{format_count(found['planes_without_partner'], 'plane')} in one of them only"
        elif "layouts" in found:
            what = f"it is {found['layouts'][1]}, and that is {found['layouts'][0]}"
        else:
            what = self._counts
        return f"the hemisphere mask: {what}"

    @property
    def _counts(self) -> str:
        found = self.evidence
        n_different, n_zeroed = found["voxels_different"], found["voxels_zeroed"]
        zeroed = "all of them" if n_zeroed == n_different else f"{n_zeroed:,} of them"
        n_planes = len(found["planes_different"])
        differ = "differs" if n_planes == 1 else "differ"
        text = f"{n_planes} of {format_count(found['planes_compared'], 'plane')} {differ}"
        text += f", in {format_count(n_different, 'voxel')}, and {zeroed} are 0 in it"
        return f"{text}; {format_count(len(found['labels_lost']), 'label')} lost" if found["labels_lost"] else text


@dataclass(frozen=True)
class CheckedPlan:
    """The plan of a run after somebody looked at the pixels.

    Attributes
    ----------
    planned
        The plan.
    proofs
        What it rests on.
    warnings
        What to tell.
    """

    planned: PlannedRun
    proofs: tuple[RedundancyResult, ...]
    warnings: tuple[str, ...]


def check_redundancy(
    run: Run, planned: PlannedRun, provenance: Provenance, resources: Resources, progress: Progress
) -> CheckedPlan:
    """Find out by the pixels which entries hold nothing that others do not hold, and leave out only these.

    Files that have not changed since they were compared last are not compared again.
    """
    earlier = [decision.evidence for decision in provenance.decisions if decision.evidence]
    known = {evidence["fingerprint"]: evidence for evidence in earlier if "fingerprint" in evidence}
    lines, proofs, warnings = {}, [], []
    for found in _questions(run, planned):
        if isinstance(found, PlannedEntry):
            lines[found.source] = found
            warnings.append(f"{run.folder / found.source}: is packaged, because {found.reason}")
            continue
        fingerprint = found.fingerprint()
        if fingerprint not in known:
            progress.looking_at(found.entry.path)
            known[fingerprint] = found.answer(resources) | {"fingerprint": fingerprint}
            if found.fingerprint() != fingerprint:
                raise SourceError(f"{found.entry.location}: changed while it was read; run again when it is at rest")
        proof = RedundancyResult(found, known[fingerprint])
        proofs.append(proof)
        lines[found.entry.path] = proof.line
        warnings += [proof.warning] if proof.warning else []
    entries = [lines.get(entry.source, entry) for entry in planned.entries]
    return CheckedPlan(planned.model_copy(update={"entries": entries}), tuple(proofs), tuple(warnings))


def _questions(run: Run, planned: PlannedRun) -> Iterator[RedundancyCheck | PlannedEntry]:
    """Yield what is to be asked of entries, and new lines for those that cannot be left out whatever the answer is."""
    lines, problems = {line.source: line for line in planned.entries}, problems_of(run, planned)
    packaged = [
        entry
        for entry in run.entries
        if entry.volume is not None and lines[entry.path].action == Action.CONVERT and entry.path not in problems
    ]
    labels = (planned.subject, planned.sample, planned.stain)
    for entry in run.entries:
        component, line = entry.component, lines[entry.path]
        if component is None or entry.volume is None or line.action == Action.COPY:
            continue
        beside = component.beside if component.beside and component.beside.action == Action.EXCLUDE else None
        role = beside.role if beside else component.made_from
        others = [other for other in _with_role(packaged, role) if beside or _may_be_the_same(entry, other)]
        by_pixels = line.by_pixels == line.action or _is_old_answer(line)
        is_open = line == default_entry(entry, run) or by_pixels or (beside and line.reason == beside.reason)
        if others and (is_open or (beside and line.action == Action.EXCLUDE)):
            mask = next(iter(_with_role(packaged, HEMISPHERE_MASK.role)), None) if beside else None
            yield RedundancyCheck(entry, others[0], line, bool(beside), bool(is_open), mask, labels)
        elif not others and is_open and line.action == Action.EXCLUDE and (beside or by_pixels):
            reason = f"what it would be made from ({role}) is not packaged"
            yield line.model_copy(update={"action": Action.CONVERT, "reason": reason, "by_pixels": Action.CONVERT})


def _is_old_answer(line: PlannedEntry) -> bool:
    return any(line.action == action and reason.fullmatch(line.reason) for action, reason in _OLD_ANSWERS)


def _with_role(entries: Sequence[Entry], role: str | None) -> list[Entry]:
    return [entry for entry in entries if entry.component is not None and entry.component.role == role]


def _may_be_the_same(entry: Entry, other: Entry) -> bool:
    """Tell whether two volumes are of one kind, threshold, shape and type."""
    if entry.component is None or other.component is None or entry.volume is None or other.volume is None:
        return False
    kinds_agree = (entry.component.content, entry.threshold) == (other.component.content, other.threshold)
    return kinds_agree and (entry.volume.shape, entry.volume.dtype) == (other.volume.shape, other.volume.dtype)
