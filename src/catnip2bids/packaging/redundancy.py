"""Exclude entries that are redundant, because a packaged entry has the same pixels; pixels are compared, not assumed.

Invariant: an entry is excluded as redundant only if all of its planes were compared with the packaged entry, and either
all are the same, or all voxels that differ are 0. Otherwise it is packaged too, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from catnip2bids._version import __version__
from catnip2bids.bids.dataset_paths import run_name
from catnip2bids.bids.provenance import ImageRecord, Provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.catnip.components import HEMISPHERE_MASK
from catnip2bids.comparison import (
    Relation,
    compare_label_volumes,
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
from catnip2bids.volume import RecoveredMask, source_states

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
    """A comparison that tells whether an entry is redundant beside a packaged one, and what follows for the plan."""

    entry: Entry
    other: Entry  # the packaged entry
    before: PlannedEntry  # the plan for `entry` before the comparison
    is_masked: bool  # whether `entry` should be `other` times a mask; otherwise both should be the same
    decides: bool  # whether the result decides the action, because no person did
    mask: Entry | None  # the mask, if it is packaged too
    labels: tuple[str | None, ...]  # subject, sample and stain of the run
    kept_mask_source: str | None = None  # of the packaged mask, if that stays because its source cannot be used
    evidence: dict[str, Any] = field(default_factory=dict)  # relation, counts and fingerprint; empty until compared

    @property
    def _entries(self) -> list[Entry]:
        return [entry for entry in (self.entry, self.other, self.mask) if entry is not None]

    @property
    def needed_bytes(self) -> int:
        """The least memory of a process that runs the comparison."""
        return needed_to_compare([compared_entry(entry) for entry in self._entries])

    def compared(self, known: dict[str, dict[str, Any]], resources: Resources, progress: Progress) -> RedundancyCheck:
        """Return this check with its evidence; `known` has that of earlier comparisons, by fingerprint."""
        fingerprint = self._fingerprint()
        if fingerprint not in known:
            progress.looking_at(self.entry.path)
            evidence = self._compare_masked(resources) if self.is_masked else self._compare_identical(resources)
            known[fingerprint] = evidence | {"files": self._file_names, "fingerprint": fingerprint}
            if self._fingerprint() != fingerprint:
                where = self.entry.location
                raise SourceError(f"{where}: changed while it was read; run again when nothing writes to it")
        return replace(self, evidence=known[fingerprint])

    def _fingerprint(self) -> str:
        """Hash everything that decides the result: the files, with size and time, the labels and the version."""
        states = [source_states(entry.volume) for entry in self._entries if entry.volume is not None]
        document = [__version__, self.labels, [entry.path for entry in self._entries], [*chain.from_iterable(states)]]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    @property
    def _file_names(self) -> list[str] | None:
        """Names of the slices in order, to restore them; None for a single file."""
        if self.entry.volume is None or not self.entry.location.is_dir():
            return None
        return [self.entry.volume.plane_source(plane).path.name for plane in range(self.entry.volume.shape[0])]

    def _compare_identical(self, resources: Resources) -> dict[str, Any]:
        """Compare until the first difference."""
        first = first_difference(self.other, self.entry, resources)
        if first is None:
            n_planes = 0 if self.entry.volume is None else self.entry.volume.shape[0]
            return {"compared_with": self.other.path, "relation": Relation.IDENTICAL, "planes_compared": n_planes}
        return {"compared_with": self.other.path, "relation": Relation.DIFFERENT, "first_plane_different": first}

    def _compare_masked(self, resources: Resources) -> dict[str, Any]:
        comparison = compare_label_volumes(self.other, self.entry, resources)
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

    @property
    def problem(self) -> str | None:
        """Why the result is out of date, because files changed since the comparison; None if it is not."""
        try:
            same = self._fingerprint() == self.evidence["fingerprint"]
        except SourceError as error:
            return str(error)
        entry, other = self.entry.location, self.other.path
        return None if same else f"{entry}: it or {other} changed since they were compared; run again"

    @property
    def is_redundant(self) -> bool:
        """Whether the entry follows from the packaged one (and the mask)."""
        if self.evidence["relation"] == Relation.MASKED_2:
            is_product = self.evidence.get("voxels_not_the_product", 0) == 0
            return self.is_masked and is_product and self.kept_mask_source is None
        return bool(self.evidence["relation"] == Relation.IDENTICAL)

    @property
    def planned(self) -> PlannedEntry:
        """The plan for the entry after the comparison."""
        other = self.other.path
        if not self.decides or not (self.is_redundant or self.is_masked):
            return self.before
        if not self.is_redundant and self.kept_mask_source is not None:
            action, reason = Action.CONVERT, f"its mask, {self.kept_mask_source}, is gone or has a problem"
        elif not self.is_redundant:
            action, reason = Action.CONVERT, f"it is not {other} times {self._why_not}"
        elif self.evidence["relation"] == Relation.IDENTICAL:
            action, reason = Action.EXCLUDE, f"the same as {other}, pixel for pixel, which is packaged"
        else:
            action = Action.EXCLUDE
            reason = f"redundant: equals the packaged {other} times the hemisphere mask, voxel by voxel: {self._counts}"
        return self.before.model_copy(update={"action": action, "reason": reason, "by_pixels": action})

    @property
    def recovered_mask(self) -> RecoveredMask | None:
        """The mask that turns the packaged entry into this one, if it is needed and the run has no other copy of it."""
        unmasked, masked = self.other.volume, self.entry.volume
        is_excluded = self.planned.action == Action.EXCLUDE and self.evidence["relation"] == Relation.MASKED_2
        if not (self.is_redundant and is_excluded) or self.mask is not None or unmasked is None or masked is None:
            return None
        return RecoveredMask.from_evidence(unmasked, masked, self.evidence)

    @property
    def warning(self) -> str | None:
        """The warning if an entry that should be redundant is not; None otherwise."""
        if self.is_redundant or not self.is_masked:
            return None
        if self.decides:
            return f"{self.entry.location}: is packaged too, because {self.planned.reason}"
        other = self.other.path
        return f"{self.entry.location}: is left out by the plan, and {other} does not contain all of its pixels"

    @property
    def _why_not(self) -> str:
        found = self.evidence
        if "product_with" in found:
            if (n_broken := found["voxels_not_the_product"]) is None:
                return f"{found['product_with']}: it cannot be read"
            differ = "differs" if n_broken == 1 else "differ"
            return f"{found['product_with']}: {format_count(n_broken, 'voxel')} {differ} from the product"
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
        if not found["labels_lost"]:
            return text
        return f"{text}; {format_count(len(found['labels_lost']), 'label')} lost in it, which the other has"


@dataclass(frozen=True)
class CheckedPlan:
    """The plan of a run after the comparison of pixels."""

    planned: PlannedRun
    results: tuple[RedundancyCheck, ...]
    problems: Mapping[str, str]  # why entries cannot be packaged as planned, by their paths
    warnings: tuple[str, ...]

    @property
    def same_as_packaged(self) -> list[Entry]:
        """Entries that the plan converts, but that are excluded because a packaged entry has the same pixels."""
        return [
            result.entry
            for result in self.results
            if (result.before.action, result.planned.action) == (Action.CONVERT, Action.EXCLUDE)
        ]


def check_redundancy(
    run: Run, planned: PlannedRun, provenance: Provenance, resources: Resources, progress: Progress, *, overwrite: bool
) -> CheckedPlan:
    """Compare pixels to find redundant entries of a run, and exclude only these.

    Files that have not changed since an earlier comparison are not compared again. With `overwrite`, entries may have
    fewer planes than their images.
    """
    earlier = [decision.evidence for decision in provenance.decisions if decision.evidence]
    known = {evidence["fingerprint"]: evidence for evidence in earlier if "fingerprint" in evidence}
    problems, lines = problems_of(run, planned), {line.source: line for line in planned.entries}
    images = _earlier_images(planned, provenance)
    shortened = {} if overwrite else _shortened(run, planned, images)
    problems |= shortened
    packaged = [
        entry
        for entry in run.entries
        if entry.volume is not None and lines[entry.path].action == Action.CONVERT and entry.path not in problems
    ]
    mask = next(iter(_with_role(packaged, HEMISPHERE_MASK.role)), None)
    kept_mask_source = None if mask is not None else _kept_mask_source(run, images, problems)
    results: list[RedundancyCheck] = []
    warnings: list[str] = []
    for entry in run.entries:
        component, line = entry.component, lines[entry.path]
        if component is None or entry.volume is None or line.action == Action.COPY or entry.path in shortened:
            continue
        masked = component.beside if component.beside and component.beside.action == Action.EXCLUDE else None
        is_masked, is_excluded = masked is not None, line.action == Action.EXCLUDE
        role = masked.role if masked else component.made_from
        others = (other for other in _with_role(packaged, role) if is_masked or _may_be_the_same(entry, other))
        other = next(others, None)
        by_pixels = _was_decided_by_pixels(line)
        is_default = line == default_entry(entry, run) or (masked is not None and line.reason == masked.reason)
        decides = is_default or by_pixels
        if other is not None and (decides or (is_masked and is_excluded)):
            check = RedundancyCheck(
                entry,
                other,
                before=line,
                is_masked=is_masked,
                decides=decides,
                mask=mask if is_masked else None,
                labels=(planned.subject, planned.sample, planned.stain),
                kept_mask_source=kept_mask_source,
            )
            result = check.compared(known, resources, progress)
            results.append(result)
            lines[entry.path] = result.planned
            warnings += [result.warning] if result.warning else []
        elif other is None and decides and is_excluded and (is_masked or by_pixels):
            reason = f"what it would be made from ({role}) is not packaged"
            convert = {"action": Action.CONVERT, "reason": reason, "by_pixels": Action.CONVERT}
            lines[entry.path] = line.model_copy(update=convert)
            warnings.append(f"{entry.location}: is packaged, because {reason}")
    entries = [lines[line.source] for line in planned.entries]
    return CheckedPlan(planned.model_copy(update={"entries": entries}), tuple(results), problems, tuple(warnings))


def _earlier_images(planned: PlannedRun, provenance: Provenance) -> list[ImageRecord]:
    """Return the images that the run was packaged with."""
    names = (planned.subject or "", planned.sample or "", planned.stain or "")
    record = provenance.runs.get(str(run_name(*names))) if all(names) else None
    return list(record.images.values()) if record is not None else []


def _shortened(run: Run, planned: PlannedRun, images: Sequence[ImageRecord]) -> dict[str, str]:
    """Return the entries with fewer planes than their images have: a copy of the source may be cut off.

    A person may exclude or copy such an entry.
    """
    lines = {line.source: line for line in planned.entries}
    n_planes = {image.source: image.shape[0] for image in images}
    return {
        entry.path: f"{entry.location}: has {format_count(entry.volume.shape[0], 'plane')} and was packaged with "
        f"{n_planes[entry.path]:,}; bring the missing ones back, or package with --overwrite to replace its image"
        for entry in run.entries
        if entry.volume is not None
        and entry.volume.shape[0] < n_planes.get(entry.path, 0)
        and (lines[entry.path].action == Action.CONVERT or lines[entry.path] == default_entry(entry, run))
    }


def _kept_mask_source(run: Run, images: Sequence[ImageRecord], problems: Mapping[str, str]) -> str | None:
    """Return the source of the mask in the dataset, which is gone or has a problem, so that the image has to stay."""
    paths = {entry.path for entry in run.entries} - problems.keys()
    masks = (image for image in images if image.role == HEMISPHERE_MASK.role and image.recovered_from is None)
    return next((image.source for image in masks if image.source not in paths), None)


def _was_decided_by_pixels(line: PlannedEntry) -> bool:
    return line.by_pixels == line.action or any(
        line.action == action and reason.fullmatch(line.reason) for action, reason in _OLD_REASONS
    )


def _with_role(entries: Sequence[Entry], role: str | None) -> list[Entry]:
    return [entry for entry in entries if entry.component is not None and entry.component.role == role]


def _may_be_the_same(entry: Entry, other: Entry) -> bool:
    """Tell whether two volumes have the same content, threshold, shape and type."""
    if entry.component is None or other.component is None or entry.volume is None or other.volume is None:
        return False
    kinds_agree = (entry.component.content, entry.threshold) == (other.component.content, other.threshold)
    return kinds_agree and (entry.volume.shape, entry.volume.dtype) == (other.volume.shape, other.volume.dtype)
