"""Exclude entries that are redundant, because a packaged entry has the same pixels; pixels are compared, not assumed.

Invariant: an entry is excluded as redundant only if all of its planes were compared with the packaged entry, and either
all are the same, or all voxels that differ are 0. Otherwise it is packaged too, with a warning.
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

_OLD_REASONS = (
    (Action.EXCLUDE, re.compile("the same as .+, pixel for pixel, which is packaged")),
    (Action.EXCLUDE, re.compile("redundant: equals the packaged .+ times the hemisphere mask, voxel by voxel: .+")),
    (Action.EXCLUDE, re.compile(".+, which is packaged, times the hemisphere mask, as pixels show: .+")),
    (Action.CONVERT, re.compile("it is not .+ times .+: .+")),
    (Action.CONVERT, re.compile(".+ is not packaged")),
)
"""Reasons in plans of versions up to 0.1, which had no `by_pixels`, for actions that pixels decided. Never changes."""


@dataclass(frozen=True)
class RedundancyCheck:
    """A comparison that tells whether an entry is redundant beside a packaged one."""

    entry: Entry
    other: Entry  # the packaged entry
    planned: PlannedEntry  # the plan for `entry`
    is_masked: bool  # whether `entry` should be `other` times a mask; otherwise both should be the same
    decides: bool  # whether the result decides the action, because no person did
    mask: Entry | None  # the mask, if it is packaged too
    labels: tuple[str | None, ...]  # subject, sample and stain of the run

    def fingerprint(self) -> str:
        """Hash everything that decides the result: the files, with size and time, the labels and the version."""
        files = [file for entry in self._entries if entry.volume is not None for file in entry.volume.files]
        document = [__version__, self.labels, [entry.path for entry in self._entries], file_states(files)]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    @property
    def needed_bytes(self) -> int:
        """The least memory of a process that runs the comparison."""
        return needed_to_compare([compared_entry(entry) for entry in self._entries])

    @property
    def _entries(self) -> list[Entry]:
        return [entry for entry in (self.entry, self.other, self.mask) if entry is not None]

    def compare(self, resources: Resources) -> dict[str, Any]:
        """Compare the pixels and return the evidence; without a mask, stop at the first difference."""
        evidence = self._compare_masked(resources) if self.is_masked else self._compare_identical(resources)
        return evidence | {"files": self._file_names}

    @property
    def _file_names(self) -> list[str] | None:
        """Names of the slices in order, to restore them; None for a single file."""
        if self.entry.volume is None or not self.entry.location.is_dir():
            return None
        return [self.entry.volume.plane_source(plane).path.name for plane in range(self.entry.volume.shape[0])]

    def _compare_identical(self, resources: Resources) -> dict[str, Any]:
        first = first_difference(self.other, self.entry, resources)
        if first is None:
            n_planes = 0 if self.entry.volume is None else self.entry.volume.shape[0]
            return {"compared_with": self.other.path, "relation": Relation.IDENTICAL, "planes_compared": n_planes}
        return {"compared_with": self.other.path, "relation": Relation.DIFFERENT, "first_plane_different": first}

    def _compare_masked(self, resources: Resources) -> dict[str, Any]:
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
    """A finished comparison, and what follows from it for the plan."""

    check: RedundancyCheck
    evidence: dict[str, Any]  # relation, counts, and the fingerprint of the check

    @property
    def entry(self) -> Entry:
        """The entry that was checked."""
        return self.check.entry

    @property
    def problem(self) -> str | None:
        """Why the result is out of date, because files changed since the comparison; None if it is not."""
        try:
            same = self.check.fingerprint() == self.evidence["fingerprint"]
        except SourceError as error:
            return str(error)
        entry, other = self.check.entry.location, self.check.other.path
        return None if same else f"{entry}: it or {other} changed since they were compared; run again"

    @property
    def is_redundant(self) -> bool:
        """Whether the entry follows from the packaged one (and the mask)."""
        if self.evidence["relation"] == Relation.MASKED_2:
            return self.check.is_masked and self.evidence.get("voxels_not_the_product", 0) == 0
        return bool(self.evidence["relation"] == Relation.IDENTICAL)

    @property
    def planned(self) -> PlannedEntry:
        """The plan for the entry after the comparison."""
        other = self.check.other.path
        if not self.check.decides or not (self.is_redundant or self.check.is_masked):
            return self.check.planned
        if not self.is_redundant:
            action, reason = Action.CONVERT, f"it is not {other} times {self._why_not}"
        elif self.evidence["relation"] == Relation.IDENTICAL:
            action, reason = Action.EXCLUDE, f"the same as {other}, pixel for pixel, which is packaged"
        else:
            action = Action.EXCLUDE
            reason = f"redundant: equals the packaged {other} times the hemisphere mask, voxel by voxel: {self._counts}"
        return self.check.planned.model_copy(update={"action": action, "reason": reason, "by_pixels": action})

    @property
    def recovered_mask(self) -> RecoveredMask | None:
        """The mask that turns the packaged entry into this one, if it is needed and the run has no other copy of it."""
        unmasked, masked = self.check.other.volume, self.entry.volume
        is_excluded = self.planned.action == Action.EXCLUDE and self.evidence["relation"] == Relation.MASKED_2
        if not (self.is_redundant and is_excluded) or self.check.mask is not None or unmasked is None or masked is None:
            return None
        return RecoveredMask.from_evidence(unmasked, masked, self.evidence)

    @property
    def warning(self) -> str | None:
        """The warning if an entry that should be redundant is not; None otherwise."""
        if self.is_redundant or not self.check.is_masked:
            return None
        if self.check.decides:
            return f"{self.entry.location}: is packaged too, because {self.planned.reason}"
        other = self.check.other.path
        return f"{self.entry.location}: is left out by the plan, and {other} does not contain all of its pixels"

    @property
    def _why_not(self) -> str:
        found = self.evidence
        if "product_with" in found:
            n_broken = found["voxels_not_the_product"]
            differ = "differs" if n_broken == 1 else "differ"
            what = (
                "it cannot be read"
                if n_broken is None
                else f"{format_count(n_broken, 'voxel')} {differ} from the product"
            )
            return f"{found['product_with']}: {what}"
        if found["planes_unreadable"]:
            what = f"{found['planes_unreadable']} of {format_count(found['planes_compared'], 'plane')} cannot be read"
        elif found["planes_without_partner"]:
            what = f"{format_count(found['planes_without_partner'], 'plane')} in one of them only"
        elif "layouts" in found:
            what = f"it has {found['layouts'][1]}, and the other has {found['layouts'][0]}"
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
    """The plan of a run after the comparison of pixels."""

    planned: PlannedRun
    results: tuple[RedundancyResult, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A volume that may be redundant."""

    entry: Entry
    planned: PlannedEntry
    role: str | None  # the component that may hold the same pixels
    other: Entry | None  # the packaged entry of that component, if there is one
    is_masked: bool
    was_decided_by_pixels: bool  # whether an earlier comparison made the plan for it
    decides: bool


def check_redundancy(
    run: Run, planned: PlannedRun, provenance: Provenance, resources: Resources, progress: Progress
) -> CheckedPlan:
    """Compare pixels to find redundant entries of a run, and exclude only these.

    Files that have not changed since an earlier comparison are not compared again.
    """
    earlier = [decision.evidence for decision in provenance.decisions if decision.evidence]
    known = {evidence["fingerprint"]: evidence for evidence in earlier if "fingerprint" in evidence}
    packaged = _packaged(run, planned)
    candidates = list(_candidates(run, planned, packaged))
    mask = next(iter(_with_role(packaged, HEMISPHERE_MASK.role)), None)
    checks = _checks(candidates, mask, (planned.subject, planned.sample, planned.stain))
    results = [_result(check, known, resources, progress) for check in checks]
    not_covered = {entry.source: entry for entry in _not_covered(candidates)}
    changed = not_covered | {result.entry.path: result.planned for result in results}
    warnings = {
        path: f"{run.folder / path}: is packaged, because {entry.reason}" for path, entry in not_covered.items()
    }
    warnings |= {result.entry.path: result.warning for result in results if result.warning}
    entries = [changed.get(entry.source, entry) for entry in planned.entries]
    return CheckedPlan(
        planned=planned.model_copy(update={"entries": entries}),
        results=tuple(results),
        warnings=tuple(warnings[entry.path] for entry in run.entries if entry.path in warnings),
    )


def _result(
    check: RedundancyCheck, known: dict[str, dict[str, Any]], resources: Resources, progress: Progress
) -> RedundancyResult:
    """Run a check, or take its evidence from `known`, by fingerprint."""
    fingerprint = check.fingerprint()
    if fingerprint not in known:
        progress.looking_at(check.entry.path)
        known[fingerprint] = check.compare(resources) | {"fingerprint": fingerprint}
        if check.fingerprint() != fingerprint:
            raise SourceError(f"{check.entry.location}: changed while it was read; run again when nothing writes to it")
    return RedundancyResult(check, known[fingerprint])


def _checks(
    candidates: Sequence[_Candidate], mask: Entry | None, labels: tuple[str | None, ...]
) -> Iterator[RedundancyCheck]:
    """Yield the comparisons that are needed: where no person decided, or where the plan excludes a masked volume."""
    for found in candidates:
        is_excluded = found.is_masked and found.planned.action == Action.EXCLUDE
        if found.other is not None and (found.decides or is_excluded):
            of_entry = mask if found.is_masked else None
            yield RedundancyCheck(
                found.entry, found.other, found.planned, found.is_masked, found.decides, of_entry, labels
            )


def _not_covered(candidates: Sequence[_Candidate]) -> Iterator[PlannedEntry]:
    """Yield new plans for entries that cannot be redundant, because what they could be made from is not packaged."""
    for found in candidates:
        is_default_exclusion = found.decides and found.planned.action == Action.EXCLUDE
        if found.other is None and is_default_exclusion and (found.is_masked or found.was_decided_by_pixels):
            reason = f"what it would be made from ({found.role}) is not packaged"
            yield found.planned.model_copy(
                update={"action": Action.CONVERT, "reason": reason, "by_pixels": Action.CONVERT}
            )


def _candidates(run: Run, planned: PlannedRun, packaged: Sequence[Entry]) -> Iterator[_Candidate]:
    planned_entries = {entry.source: entry for entry in planned.entries}
    for entry in run.entries:
        component, plan = entry.component, planned_entries[entry.path]
        if component is None or entry.volume is None or plan.action == Action.COPY:
            continue
        masked = component.beside if component.beside and component.beside.action == Action.EXCLUDE else None
        role = masked.role if masked else component.made_from
        others = (other for other in _with_role(packaged, role) if masked or _may_be_the_same(entry, other))
        by_pixels = plan.by_pixels == plan.action or any(
            plan.action == action and reason.fullmatch(plan.reason) for action, reason in _OLD_REASONS
        )
        decides = (
            plan == default_entry(entry, run) or by_pixels or (masked is not None and plan.reason == masked.reason)
        )
        yield _Candidate(entry, plan, role, next(others, None), masked is not None, by_pixels, decides)


def _packaged(run: Run, planned: PlannedRun) -> list[Entry]:
    """List the volumes of a run that are converted."""
    actions, problems = {entry.source: entry.action for entry in planned.entries}, problems_of(run, planned)
    return [
        entry
        for entry in run.entries
        if entry.volume is not None and actions[entry.path] == Action.CONVERT and entry.path not in problems
    ]


def _with_role(entries: Sequence[Entry], role: str | None) -> list[Entry]:
    return [entry for entry in entries if entry.component is not None and entry.component.role == role]


def _may_be_the_same(entry: Entry, other: Entry) -> bool:
    """Tell whether two volumes have the same content, threshold, shape and type."""
    if entry.component is None or other.component is None or entry.volume is None or other.volume is None:
        return False
    kinds_agree = (entry.component.content, entry.threshold) == (other.component.content, other.threshold)
    return kinds_agree and (entry.volume.shape, entry.volume.dtype) == (other.volume.shape, other.volume.dtype)
