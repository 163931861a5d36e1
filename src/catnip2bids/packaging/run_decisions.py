"""Record what was done with the entries of one run, and why.

Invariant: what is recorded about an entry that is gone stays, unless another entry has taken its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.bids.evidence import EvidenceKind, evidence_kind
from catnip2bids.bids.plane_hashes import pixels_sha256, read_hashes
from catnip2bids.bids.provenance import PROVENANCE, Choice, Decision, Provenance, RunRecord
from catnip2bids.catnip.component_type import Action
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_count
from catnip2bids.packaging.result import PackageLog
from catnip2bids.packaging.tasks import RunTasks
from catnip2bids.paths import inside
from catnip2bids.plan import PlannedEntry, default_entry, is_generated
from catnip2bids.scanning import Entry, Run, files_below
from catnip2bids.volume import other_series, slice_files


class RunDecisions:
    """The decisions about the entries of one run."""

    def __init__(self, dataset: Path, provenance: Provenance, tasks: RunTasks) -> None:
        self._dataset, self._provenance, self._tasks, self._key = dataset, provenance, tasks, str(tasks.name)
        earlier = provenance.decisions_of(self._key) if self._key in provenance.runs else {}
        paths = {entry.path for entry in tasks.run.entries}
        # of earlier commands, also of interrupted ones, by the paths of entries
        self.earlier = {
            path: decision if path in paths else self._with_pixels(decision) for path, decision in earlier.items()
        }
        self.failures = dict(tasks.problems)  # why entries could not be packaged, by their paths

    def move_to(self, source: str) -> None:
        """Let the decisions of earlier commands have paths below the run folder as it is given now."""
        moved = [
            decision.model_copy(update={"source": os.path.normpath(f"{source}/{path}")})
            for path, decision in self.earlier.items()
        ]
        others = [decision for decision in self._provenance.decisions if decision.run != self._key]
        self._provenance.decisions = [*others, *moved]

    def decide(self, entries: Iterable[Entry]) -> None:
        """Record the decisions about some entries."""
        new = [decision for entry in entries for decision in (self._decision(entry), *self._not_matching(entry))]
        sources = {decision.source for decision in new}
        others = [
            found for found in self._provenance.decisions if found.run != self._key or found.source not in sources
        ]
        self._provenance.decisions = [*others, *new]

    def decide_all(self, log: PackageLog) -> None:
        """Record the decisions about all entries; keep those about entries that are gone."""
        run, provenance = self._tasks.run, self._provenance
        gone = self.earlier.keys() - {entry.path for entry in run.entries}
        kept = [self._kept(path, log) for path in sorted(gone) if self._is_entry(path)]
        others = [decision for decision in provenance.decisions if decision.run != self._key]
        provenance.decisions = [*others, *filter(None, kept)]
        self.decide(run.entries)

    def _is_entry(self, path: str) -> bool:
        """Tell whether an earlier decision is about an entry, not about files that a slice number did not match."""
        folder = self.earlier.get(PurePosixPath(path).parent.as_posix())
        return self.earlier[path].n_bytes is not None or folder is None or folder.slice_number is None

    def _kept(self, path: str, log: PackageLog) -> Decision | None:
        """Return the decision about an entry that is gone, and say what becomes of it; None if others replace it."""
        run, decision = self._tasks.run, self.earlier[path]
        image = self._record.images.get(decision.target or "")
        if image is not None and image.source != path:
            log.progress.note(f"{run.folder / path}: no longer exists; {image.source} has taken its place")
            return None
        if decision.target is None and any(entry.path.startswith(f"{path}/") for entry in run.entries):
            return None  # a folder that was empty
        evidence = decision.evidence or {}
        if decision.problem is not None and decision.target is None:
            log.warning(f"{run.folder / path}: {decision.problem}")
            return decision
        if evidence.get("pixels_sha256") in (None, self._pixels(evidence)):
            log.progress.note(f"{run.folder / path}: no longer exists; what was packaged from it is kept")
            return decision
        problem = f"no longer exists, and cannot be restored from {evidence['image']}, which has other pixels now"
        log.problem(f"{run.folder / path}: {problem}; if you need it, bring it back and package again")
        return decision.model_copy(update={"reason": f"problem: {problem}", "problem": problem, "evidence": None})

    def _pixels(self, evidence: dict[str, Any]) -> str | None:
        """Return a hash of the images from which an entry can be restored; None if it cannot."""
        if evidence_kind(evidence) not in (EvidenceKind.SAME, EvidenceKind.MASKED):
            return None
        images = [inside(evidence[name], PROVENANCE.name) for name in ("image", "mask") if evidence.get(name)]
        try:
            return pixels_sha256(*(read_hashes(self._dataset, image) for image in images))
        except DatasetError:
            return None

    def _with_pixels(self, decision: Decision) -> Decision:
        """Return a decision whose evidence has a hash of pixels, which earlier versions did not record."""
        evidence = decision.evidence or {}
        if "pixels_sha256" in evidence or (pixels := self._pixels(evidence)) is None:
            return decision
        return decision.model_copy(update={"evidence": {**evidence, "pixels_sha256": pixels}})

    @property
    def _record(self) -> RunRecord:
        return self._provenance.runs[self._key]

    def _decision(self, entry: Entry) -> Decision:
        """Return what was done with an entry, and why."""
        planned = next(line for line in self._tasks.planned.entries if line.source == entry.path)
        action, reason, problem = planned.action, planned.reason, self.failures.get(entry.path)
        for folder in (self._tasks.run.folder.resolve(), self._tasks.run.folder):  # those of this machine are private
            problem = problem and problem.replace(f"{folder}{os.sep}", "")
        target: PurePosixPath | str | None = None
        before = self.earlier.get(entry.path)
        if problem is not None:
            images = self._record.images.items()
            own = (name for name, image in images if image.source == entry.path and image.recovered_from is None)
            target = next(own, None)
            if target is None and before is not None and before.target and (self._dataset / before.target).exists():
                target, action = before.target, Action(before.action)
            if target is None:
                action, reason = Action.EXCLUDE, f"problem: {problem}"
            else:
                reason = problem = f"packaged earlier, and has a problem now: {problem}"
        elif action != Action.EXCLUDE:
            target = next((task.target for task in self._tasks.all_tasks if task.entry is entry), None)
        return Decision(
            run=self._key,
            source=self._tasks.run.source_of(entry),
            action=action.value,
            target=str(target) if target else None,
            reason=reason,
            chosen=_choice(planned, entry, self._tasks.run),
            problem=problem,
            evidence=self._evidence(entry) if problem is None or before is None else before.evidence,
            slice_number=entry.slice_number,
            n_bytes=entry.n_bytes,
            written=_written(entry.location),
        )

    def _evidence(self, entry: Entry) -> dict[str, Any] | None:
        """Return the evidence about an entry, with a hash of the images from which it can be restored."""
        evidence = self._tasks.evidence_of(entry)
        pixels = self._pixels(evidence or {})
        return evidence if evidence is None or pixels is None else {**evidence, "pixels_sha256": pixels}

    def _not_matching(self, entry: Entry) -> Iterator[Decision]:
        """Yield decisions about files of a slice folder that do not match the slice number of the plan."""
        if entry.slice_number is None:
            return
        for names, n_files in other_series(slice_files(entry.location), entry.slice_number).items():
            files, source = format_count(n_files, "file"), f"{self._tasks.run.source_of(entry)}/{names}"
            reason = f"{files} not matched by the slice number '{entry.slice_number}' of the plan"
            yield Decision(run=self._key, source=source, action="exclude", reason=reason)


def _choice(planned: PlannedEntry, entry: Entry, run: Run) -> Choice | None:
    """Return the action and the reason of an entry if a person chose them, and neither pixels nor the default did."""
    default = default_entry(entry, run)
    if planned.by_pixels == planned.action or (planned.action, planned.reason) == (default.action, default.reason):
        return None
    if is_generated(planned.action, planned.reason, entry.path):
        return None
    return Choice(action=planned.action.value, reason=planned.reason)


def _written(location: Path) -> str | None:
    """Return the newest modification time of an entry in UTC, to the second; None if the entry is gone."""
    try:
        newest = max((file.stat().st_mtime for file in files_below(location)), default=None)
    except OSError:
        return None
    return None if newest is None else datetime.fromtimestamp(int(newest), UTC).strftime("%Y-%m-%d %H:%M:%S")
