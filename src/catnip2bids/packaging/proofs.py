"""What is left out because something else holds it already: shown by the pixels, not assumed.

Invariant: a component that the plan leaves out for the sake of another one stays out only if every plane of it was
compared with that one, and no differing voxel is anything but 0. If not, it is packaged too, and that is said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from catnip2bids.bids.provenance import Provenance
from catnip2bids.catnip.components import Action
from catnip2bids.comparison import Relation, Resources, VolumeComparison, compare_as_volumes
from catnip2bids.engine import default_jobs, default_memory_bytes
from catnip2bids.errors import SourceError
from catnip2bids.packaging.settings import Settings
from catnip2bids.plan import PlannedEntry, PlannedRun
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry, Run


@dataclass(frozen=True)
class Proof:
    """What the pixels say about an entry that is to be left out.

    Attributes
    ----------
    entry, other
        The entry, and the one that is packaged instead.
    evidence
        Relation and counts, and a fingerprint of the files that were compared.
    """

    entry: Entry
    other: Entry
    evidence: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether the entry holds nothing that the other one has not."""
        return self.evidence["relation"] in (Relation.IDENTICAL, Relation.MASKED_2)

    @property
    def line(self) -> PlannedEntry:
        """What the plan says of the entry now."""
        if not self.holds:
            reason = f"it is not {self.other.path} times the hemisphere mask: {self._counts}"
            return PlannedEntry(source=self.entry.path, action=Action.CONVERT, reason=reason)
        if self.evidence["relation"] == Relation.IDENTICAL:
            reason = f"the same as {self.other.path}, pixel for pixel, which is packaged"
        else:
            reason = f"{self.other.path}, which is packaged, times the hemisphere mask, as pixels show: {self._counts}"
        return PlannedEntry(source=self.entry.path, action=Action.EXCLUDE, reason=reason)

    @property
    def _counts(self) -> str:
        found = self.evidence
        n_different, n_zeroed = found["voxels_different"], found["voxels_zeroed"]
        zeroed = "all of them" if n_zeroed == n_different else f"{n_zeroed:,} of them"
        text = (
            f"{len(found['planes_different'])} of {found['planes_compared']} planes differ, in {n_different:,} voxels, "
        )
        text += f"and {zeroed} are 0 in it"
        return f"{text}; {len(found['labels_lost'])} labels are lost" if found["labels_lost"] else text

    @property
    def warning(self) -> str | None:
        """What to tell where it does not hold."""
        if self.holds:
            return None
        return f"{self.entry.location}: is packaged too, because {self.line.reason}"


def prove(run: Run, planned: PlannedRun, provenance: Provenance, settings: Settings, progress: Progress) -> list[Proof]:
    """Compare what the default plan leaves out with what is packaged instead.

    Files that have not changed since they were compared last are not compared again.
    """
    memory_bytes = default_memory_bytes() if settings.memory_bytes is None else settings.memory_bytes
    resources = Resources(settings.jobs or default_jobs(), memory_bytes)
    earlier = [decision for decision in provenance.decisions if decision.evidence]
    known = {decision.evidence["fingerprint"]: decision.evidence for decision in earlier if decision.evidence}
    proofs = []
    for entry, other in _left_out(run, planned, {decision.reason for decision in earlier}):
        fingerprint = _fingerprint(entry, other)
        if fingerprint not in known:
            progress.looking_at(entry.path)
            comparison = compare_as_volumes(other.location, entry.location, resources)
            known[fingerprint] = _evidence(comparison, other) | {"fingerprint": fingerprint}
        proofs.append(Proof(entry, other, known[fingerprint]))
    return proofs


def settled_by(planned: PlannedRun, proofs: Sequence[Proof]) -> PlannedRun:
    """Put what was proved into the plan of a run."""
    lines = {proof.entry.path: proof.line for proof in proofs}
    return planned.model_copy(update={"entries": [lines.get(entry.source, entry) for entry in planned.entries]})


def _left_out(run: Run, planned: PlannedRun, proved: Collection[str]) -> Iterator[tuple[Entry, Entry]]:
    """Yield whole volumes that the default plan leaves out, each with what is packaged instead.

    The reason in a plan is the default one, or what was `proved` when the plan was written.
    """
    lines = {line.source: line for line in planned.entries}
    for entry in run.entries:
        beside, line = entry.component.beside if entry.component else None, lines[entry.path]
        if beside is None or entry.volume is None or line.action != Action.EXCLUDE:
            continue
        if line.reason != beside.reason and line.reason not in proved:
            continue
        for other in run.entries:
            stands_for_it = other.component is not None and other.component.role == beside.role
            if stands_for_it and other.volume is not None and lines[other.path].action == Action.CONVERT:
                yield entry, other
                break


def _fingerprint(entry: Entry, other: Entry) -> str:
    files = [file for volume in (entry.volume, other.volume) if volume is not None for file in volume.files]
    try:
        states = [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    except OSError as error:
        raise SourceError(f"{error.filename}: cannot be read: {error.strerror}; did it vanish?") from error
    return hashlib.sha256(json.dumps([entry.path, other.path, states]).encode()).hexdigest()


def _evidence(comparison: VolumeComparison, other: Entry) -> dict[str, Any]:
    found = comparison.evidence
    return {
        "compared_with": other.path,
        "relation": comparison.relation.value,
        "planes_compared": sum(pair.is_pair for pair in comparison.pairs),
        "planes_different": list(found.planes_different),
        "voxels_compared": found.n_voxels,
        "voxels_different": found.n_different,
        "voxels_zeroed": found.n_zeroed_2,
        "labels_lost": {str(value): n for value, n in (found.lost_2 or {}).items()},
    }
