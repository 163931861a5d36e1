"""The entries of each run, and from which files of the dataset they are restored.

Invariant: every entry in provenance is one item: an image, a product of two images, a copy, a link, or an entry that
cannot be restored, with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catnip2bids.bids.evidence import EvidenceKind, evidence_kind
from catnip2bids.bids.plane_hashes import PlaneRecord
from catnip2bids.bids.provenance import PROVENANCE, Decision, Provenance, RunRecord
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_list
from catnip2bids.paths import file_name, inside


@dataclass(frozen=True)
class VolumeItem:
    """A volume of the source."""

    path: str  # POSIX path below the run folder
    image: PurePosixPath  # the image of the dataset that has its pixels
    mask: PurePosixPath | None = None  # the image to multiply with, if any
    names: tuple[str, ...] | None = None  # of its slices in order; None: a single file, or see the plane hashes
    pixels_sha256: str | None = None  # of both images when the volume was left out

    def slice_names(self, planes: tuple[PlaneRecord, ...]) -> tuple[str, ...] | None:
        """Return the names of the slices; None for a single file."""
        if self.names is not None:
            return tuple(file_name(name, self.path) for name in self.names)
        names = tuple(file_name(PurePosixPath(plane.source).name, self.path) for plane in planes)
        is_file = len(names) > 1 and len(set(names)) == 1
        return None if is_file or PurePosixPath(planes[0].source).name == PurePosixPath(self.path).name else names


@dataclass(frozen=True)
class CopyItem:
    """A file or folder that the dataset contains unchanged, at `copy`."""

    path: str
    copy: PurePosixPath


@dataclass(frozen=True)
class LinkItem:
    """A link to another entry of the run."""

    path: str
    to: str


@dataclass(frozen=True)
class NotRestorable:
    """An entry that the dataset does not contain."""

    path: str
    reason: str
    problem: str | None = None  # why packaging failed; None if it was excluded on purpose


Item = VolumeItem | CopyItem | LinkItem | NotRestorable


def keys_of(dataset: Path, provenance: Provenance, subject: str | None) -> list[str]:
    """Return the runs of an animal, or all of them."""
    subjects = {key: run.subject for key, run in provenance.runs.items()}
    label = None if subject is None else subject.removeprefix("sub-")
    if label is not None and label not in subjects.values():
        raise UsageError(f"{dataset}: has no animal {label!r}; it has {format_list(sorted(set(subjects.values())))}")
    return [key for key, found in subjects.items() if label in (None, found)]


def items_of(provenance: Provenance, key: str) -> Iterator[Item]:
    """Yield an item for each entry of a run; volumes first, because copies may lie in their folders."""
    run = provenance.runs[key]
    decisions, copies = provenance.decisions_of(key), provenance.copies_of(key)
    images = {
        record.source: inside(target, PROVENANCE.name)
        for target, record in run.images.items()
        if record.recovered_from is None
    }
    found = [
        CopyItem(path, copies[path])
        if path in copies
        else VolumeItem(path, images[path])
        if path in images
        else _redundant_item(run, path, decision)
        for path, decision in decisions.items()
    ]
    yield from sorted(found, key=lambda item: (not isinstance(item, VolumeItem), item.path))


def _redundant_item(run: RunRecord, path: str, decision: Decision) -> Item:
    evidence = decision.evidence or {}
    kind, names = evidence_kind(evidence), tuple(evidence.get("files") or ()) or None
    if kind == EvidenceKind.LINK:
        return LinkItem(path, inside(evidence["compared_with"], path).as_posix())
    pixels = evidence.get("pixels_sha256")
    if kind == EvidenceKind.SAME and evidence["image"] in run.images:
        return VolumeItem(path, PurePosixPath(evidence["image"]), names=names, pixels_sha256=pixels)
    if kind == EvidenceKind.MASKED and {evidence["image"], evidence["mask"]} <= run.images.keys():
        return VolumeItem(path, PurePosixPath(evidence["image"]), PurePosixPath(evidence["mask"]), names, pixels)
    return NotRestorable(path, decision.reason, decision.problem)
