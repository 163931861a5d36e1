"""What is left out because something else holds it already: shown by the pixels, not assumed.

Invariant: a component stays out for the sake of another one only if every plane of it was compared with that one, and
either all are the same, or no differing voxel is anything but 0. If not, it is packaged too, and that is said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from catnip2bids.bids.provenance import Provenance
from catnip2bids.catnip.components import HEMISPHERE_MASK, Action
from catnip2bids.catnip.derivations import MASKED_LABELS
from catnip2bids.comparison import Relation, Resources, check_claim, compare_as_volumes, first_difference
from catnip2bids.engine import default_jobs, default_memory_bytes
from catnip2bids.errors import SourceError
from catnip2bids.packaging.settings import Settings
from catnip2bids.plan import PlannedEntry, PlannedRun, default_entry, problems_of
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry, Run
from catnip2bids.volume import RecoveredMask

_SAME = "the same as {other}, pixel for pixel"
_MASKED = "{other}, which is packaged, times the hemisphere mask, as pixels show"
_NOT_MASKED = "it is not {other} times"
"""How reasons begin that were found in the pixels. A plan with such a reason was not changed by anybody."""


@dataclass(frozen=True)
class Question:
    """Whether an entry holds anything that another one does not hold.

    Attributes
    ----------
    entry, other
        The entry, and one that is packaged.
    default
        What the plan says of the entry as long as nobody looked at the pixels: it is left out, because CATNIP makes it
        of the other one with a mask; or it is packaged.
    mask
        That mask, if it is packaged too.
    """

    entry: Entry
    other: Entry
    default: PlannedEntry
    mask: Entry | None = None

    @property
    def is_masked(self) -> bool:
        """Whether the entry is meant to be the other one times a mask."""
        return self.default.action == Action.EXCLUDE

    def is_undecided(self, line: PlannedEntry) -> bool:
        """Whether a line of a plan is the default one, or was put there by an earlier answer."""
        return line == self.default or line.reason.startswith(tuple(map(self.phrase, (_SAME, _MASKED, _NOT_MASKED))))

    def phrase(self, text: str) -> str:
        """Put the name of the other entry into a text."""
        return text.format(other=self.other.path)

    def fingerprint(self) -> str:
        """Hash what the answer depends on: the files, with size and time."""
        entries = [entry for entry in (self.entry, self.other, self.mask) if entry is not None]
        files = [file for entry in entries if entry.volume is not None for file in entry.volume.files]
        try:
            states = [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
        except OSError as error:
            raise SourceError(f"{error.filename}: cannot be read: {error.strerror}; did it vanish?") from error
        document = [[entry.path for entry in entries], states]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    def answer(self, resources: Resources) -> dict[str, Any]:
        """Look at the pixels; where only sameness counts, no further than to the first difference."""
        if self.is_masked:
            return self._how_they_differ(resources)
        first = first_difference(self.other.location, self.entry.location, resources)
        if first is None:
            n_planes = 0 if self.entry.volume is None else self.entry.volume.shape[0]
            return {"compared_with": self.other.path, "relation": Relation.IDENTICAL, "planes_compared": n_planes}
        return {"compared_with": self.other.path, "relation": Relation.DIFFERENT, "first_plane_different": first}

    def _how_they_differ(self, resources: Resources) -> dict[str, Any]:
        comparison = compare_as_volumes(self.other.location, self.entry.location, resources)
        found, numbers = comparison.evidence, [pair.number for pair in comparison.pairs]
        evidence: dict[str, Any] = {
            "compared_with": self.other.path,
            "relation": comparison.relation.value,
            "planes": [numbers[0], numbers[-1]],
            "planes_compared": sum(pair.is_pair for pair in comparison.pairs),
            "planes_unreadable": sum(bool(pair.problems) for pair in comparison.pairs),
            "planes_different": list(found.planes_different),
            "planes_emptied": list(found.mask.planes_emptied) if found.mask else [],
            "voxels_compared": found.n_voxels,
            "voxels_different": found.n_different,
            "voxels_zeroed": found.n_zeroed_2,
            "labels_lost": {str(value): n for value, n in (found.lost_2 or {}).items()},
        }
        if self.mask is not None and comparison.relation == Relation.MASKED_2:
            check = check_claim(MASKED_LABELS, [self.entry, self.other, self.mask], resources)
            evidence["product_with"] = self.mask.path
            evidence["voxels_not_the_product"] = check.n_broken if not check.problem else found.n_voxels
        return evidence


@dataclass(frozen=True)
class Proof:
    """What the pixels say.

    Attributes
    ----------
    question
        What was asked.
    evidence
        Relation and counts, and a fingerprint of the files that were compared.
    """

    question: Question
    evidence: dict[str, Any]

    @property
    def entry(self) -> Entry:
        """The entry it is about."""
        return self.question.entry

    @property
    def holds(self) -> bool:
        """Whether the entry holds nothing that the other one (and the mask) has not."""
        if self.evidence["relation"] == Relation.MASKED_2:
            return self.question.is_masked and not self.evidence.get("voxels_not_the_product")
        return bool(self.evidence["relation"] == Relation.IDENTICAL)

    @property
    def line(self) -> PlannedEntry:
        """What the plan says of the entry now."""
        phrase = self.question.phrase
        if self.holds and self.evidence["relation"] == Relation.IDENTICAL:
            action, reason = Action.EXCLUDE, f"{phrase(_SAME)}, which is packaged"
        elif self.holds:
            action, reason = Action.EXCLUDE, f"{phrase(_MASKED)}: {self._counts}"
        elif not self.question.is_masked:
            return self.question.default
        elif n_broken := self.evidence.get("voxels_not_the_product"):
            what = f"{self.evidence['product_with']}: {n_broken:,} voxels are not what this gives"
            action, reason = Action.CONVERT, f"{phrase(_NOT_MASKED)} {what}"
        else:
            action, reason = Action.CONVERT, f"{phrase(_NOT_MASKED)} the hemisphere mask: {self._counts}"
        return PlannedEntry(source=self.entry.path, action=action, reason=reason)

    @property
    def recovered_mask(self) -> RecoveredMask | None:
        """The mask that makes the entry of the other one, if the run has it nowhere else and one is needed."""
        whole, masked = self.question.other.volume, self.entry.volume
        needed = self.holds and self.evidence["relation"] == Relation.MASKED_2 and self.question.mask is None
        if not needed or whole is None or masked is None:
            return None
        first, _ = self.evidence["planes"]
        return RecoveredMask(whole, masked, frozenset(number - first for number in self.evidence["planes_emptied"]))

    @property
    def warning(self) -> str | None:
        """What to tell where it was to be left out and cannot be."""
        if self.holds or not self.question.is_masked:
            return None
        return f"{self.entry.location}: is packaged too, because {self.line.reason}"

    @property
    def _counts(self) -> str:
        found = self.evidence
        if found["planes_unreadable"]:
            return f"{found['planes_unreadable']} of {found['planes_compared']} planes cannot be read"
        n_different, n_zeroed = found["voxels_different"], found["voxels_zeroed"]
        zeroed = "all of them" if n_zeroed == n_different else f"{n_zeroed:,} of them"
        text = (
            f"{len(found['planes_different'])} of {found['planes_compared']} planes differ, in {n_different:,} voxels, "
        )
        text += f"and {zeroed} are 0 in it"
        return f"{text}; {len(found['labels_lost'])} labels are lost" if found["labels_lost"] else text


def prove(run: Run, planned: PlannedRun, provenance: Provenance, settings: Settings, progress: Progress) -> list[Proof]:
    """Find out by the pixels which entries hold nothing that others do not hold.

    Files that have not changed since they were compared last are not compared again.
    """
    memory_bytes = default_memory_bytes() if settings.memory_bytes is None else settings.memory_bytes
    resources = Resources(settings.jobs or default_jobs(), memory_bytes)
    earlier = [decision.evidence for decision in provenance.decisions if decision.evidence]
    known = {evidence["fingerprint"]: evidence for evidence in earlier if "fingerprint" in evidence}
    proofs = []
    for question in _questions(run, planned):
        fingerprint = question.fingerprint()
        if fingerprint not in known:
            progress.looking_at(question.entry.path)
            known[fingerprint] = question.answer(resources) | {"fingerprint": fingerprint}
        proofs.append(Proof(question, known[fingerprint]))
    return proofs


def settled_by(planned: PlannedRun, proofs: Sequence[Proof]) -> PlannedRun:
    """Put what was proved into the plan of a run."""
    lines = {proof.entry.path: proof.line for proof in proofs}
    return planned.model_copy(update={"entries": [lines.get(entry.source, entry) for entry in planned.entries]})


def _questions(run: Run, planned: PlannedRun) -> Iterator[Question]:
    """Yield what is to be asked of entries that nobody has decided about."""
    lines, problems = {line.source: line for line in planned.entries}, problems_of(run, planned)
    packaged = [
        entry
        for entry in run.entries
        if entry.volume is not None and lines[entry.path].action == Action.CONVERT and entry.path not in problems
    ]
    for entry in run.entries:
        question = _question(entry, default_entry(entry, run), packaged)
        if question is not None and question.is_undecided(lines[entry.path]):
            yield question


def _question(entry: Entry, default: PlannedEntry, packaged: Sequence[Entry]) -> Question | None:
    """Return what is to be asked of an entry, if there is another one that it may be the same as, or masked."""
    component = entry.component
    if component is None or entry.volume is None:
        return None
    if component.beside is not None and default.action == Action.EXCLUDE:
        mask = next(iter(_with_role(packaged, HEMISPHERE_MASK.role)), None)
        others = _with_role(packaged, component.beside.role)
        return Question(entry, others[0], default, mask) if others else None
    if component.made_from is not None and default.action == Action.CONVERT:
        others = [other for other in _with_role(packaged, component.made_from) if _may_be_the_same(entry, other)]
        return Question(entry, others[0], default) if others else None
    return None


def _with_role(entries: Sequence[Entry], role: str) -> list[Entry]:
    return [entry for entry in entries if entry.component is not None and entry.component.role == role]


def _may_be_the_same(entry: Entry, other: Entry) -> bool:
    """Tell whether two volumes are of one kind, threshold, shape and type."""
    if entry.component is None or other.component is None or entry.volume is None or other.volume is None:
        return False
    kinds_agree = (entry.component.content, entry.threshold) == (other.component.content, other.threshold)
    return kinds_agree and (entry.volume.shape, entry.volume.dtype) == (other.volume.shape, other.volume.dtype)
