"""What the dataset holds of each run, entry by entry, and from what it is made again.

Invariant: every entry that the dataset knows of is one item: an image, a product of two images, a copy, a link, or
something that was left out with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from catnip2bids.bids.plane_hashes import PlaneRecord
from catnip2bids.bids.provenance import PROVENANCE, Decision, Provenance, RunRecord
from catnip2bids.paths import file_name, inside


@dataclass(frozen=True)
class VolumeItem:
    """A volume of the source.

    Attributes
    ----------
    path
        POSIX path below the run folder.
    image
        The image of the dataset that holds its pixels.
    mask
        The image that its pixels are to be multiplied with, if any.
    names
        Names of its slices in their order; None for a single file, and for slices whose names stand in the table of
        plane hashes.
    """

    path: str
    image: PurePosixPath
    mask: PurePosixPath | None = None
    names: tuple[str, ...] | None = None

    def slice_names(self, planes: tuple[PlaneRecord, ...]) -> tuple[str, ...] | None:
        """Return the names of its slices; None if it is a single file."""
        if self.names is not None:
            return tuple(file_name(name, self.path) for name in self.names)
        names = tuple(file_name(PurePosixPath(plane.source).name, self.path) for plane in planes)
        is_file = len(names) > 1 and len(set(names)) == 1
        return None if is_file or PurePosixPath(planes[0].source).name == PurePosixPath(self.path).name else names


@dataclass(frozen=True)
class CopyItem:
    """A file or folder that is kept in the dataset as it is, at `copy`."""

    path: str
    copy: PurePosixPath


@dataclass(frozen=True)
class LinkItem:
    """A link to another entry of the run."""

    path: str
    to: str


@dataclass(frozen=True)
class NotRestorable:
    """An entry that the dataset does not hold."""

    path: str
    reason: str


Item = VolumeItem | CopyItem | LinkItem | NotRestorable


def items_of(provenance: Provenance, key: str) -> Iterator[Item]:
    """Yield an item for each entry of a run, volumes first: copies may lie in their folders."""
    run = provenance.runs[key]
    decisions, copies = provenance.decisions_of(key), provenance.copies_of(key)
    found = [
        CopyItem(path, copies[path]) if path in copies else _item(run, path, decision)
        for path, decision in decisions.items()
    ]
    yield from sorted(found, key=lambda item: (not isinstance(item, VolumeItem), item.path))


def _item(run: RunRecord, path: str, decision: Decision) -> Item:
    images = {
        record.source: inside(target, PROVENANCE.name)
        for target, record in run.images.items()
        if record.recovered_from is None
    }
    evidence, packaged = decision.evidence or {}, run.images.keys()
    if path in images:
        return VolumeItem(path, images[path])
    names = tuple(evidence["files"]) if evidence.get("files") else None
    match evidence:
        case {"relation": "identical", "compared_with": str(other)} if "fingerprint" not in evidence:
            return LinkItem(path, inside(other, path).as_posix())  # a link: nothing had to be compared
        case {"relation": "identical", "image": str(image)} if image in packaged:
            return VolumeItem(path, PurePosixPath(image), names=names)
        case {"relation": "2-is-1-masked", "image": str(image), "mask": str(mask)} if {image, mask} <= packaged:
            return VolumeItem(path, PurePosixPath(image), PurePosixPath(mask), names)
    return NotRestorable(path, decision.reason)
