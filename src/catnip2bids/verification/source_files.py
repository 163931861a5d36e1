"""Read the originals again, and check that they are still what the dataset was made from.

Invariant: an original that is not there, cannot be read, or has other pixels is a problem of the image or the copy that
was made from it, or from which it would be restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from catnip2bids.bids.checksums import Checksums, file_sha256
from catnip2bids.bids.plane_hashes import PlaneRecord, read_hashes
from catnip2bids.bids.provenance import PROVENANCE, Provenance, RunRecord
from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.errors import DatasetError, NotEnoughMemoryError, SourceError, UsageError
from catnip2bids.formatting import format_shape
from catnip2bids.progress import Progress
from catnip2bids.restoration.restorable import LinkItem, VolumeItem, items_of
from catnip2bids.restoration.restored_volume import RestoredVolume, StoredImage
from catnip2bids.scanning import Entry, Run, files_below, scan_with_resources, with_slice_numbers
from catnip2bids.verification.images import ExpectedImage
from catnip2bids.verification.result import FileProblem, Problem, ProblemKind
from catnip2bids.volume import (
    RecoveredMask,
    Volume,
    hash_stored_plane,
    hashing_bytes,
    inspect_volume,
    pixel_bytes,
)

_NOT_GIVEN = "its original is not in the sources that were given"
_OTHER_PIXELS, _NOT_READ, _NOT_COMPARED = "has other pixels now", "cannot be read", "was not compared"


@dataclass(frozen=True)
class SourceFiles:
    """The source folders of a dataset."""

    dataset: Path
    provenance: Provenance
    runs: tuple[Run, ...]
    redundant: Mapping[PurePosixPath, Sequence[tuple[str, VolumeItem]]]  # with their runs, by image
    leftovers: tuple[Path, ...]  # files of operating systems and programs in the source folders

    @classmethod
    def find(
        cls, dataset: Path, sources: Sequence[Path], provenance: Provenance, resources: Resources, progress: Progress
    ) -> SourceFiles:
        """Scan the source folders; raise SourceError if one of them is not a folder, or no run is in it."""
        found = scan_with_resources(sources, progress, resources)
        return cls(dataset, provenance, found.runs, _redundant(provenance), found.leftovers)

    def n_voxels(self, image: ExpectedImage) -> int:
        """Return how many voxels of originals are read for an image."""
        return image.n_voxels * (1 + len(self.redundant.get(image.path, ())))

    def problems_of(
        self, image: ExpectedImage, resources: Resources, on_voxels: Callable[[int], None]
    ) -> list[Problem]:
        """Read the volume that an image was made of, and compare its planes with their recorded hashes."""
        try:
            volume = self._volume(image)
        except SourceError as error:
            return [Problem(f"its original {error}", kind=ProblemKind.NOT_READ)]
        if volume.shape != tuple(image.record.shape):
            now, had = format_shape(volume.shape), format_shape(image.record.shape)
            return [Problem(f"its original has {now} voxels now, and had {had}")]
        recorded = partial(_recorded, image.planes)
        try:
            return list(_compared("its original", volume, recorded, (0, 0), resources=resources, on_voxels=on_voxels))
        except NotEnoughMemoryError as error:
            on_voxels(image.n_voxels)
            return [Problem(f"its original could not be read: {error}", kind=ProblemKind.NOT_READ)]

    def redundant_problems(
        self, image: ExpectedImage, resources: Resources, on_voxels: Callable[[int], None]
    ) -> Iterator[Problem]:
        """Read the excluded originals that an image stands for, and compare them with what would be restored."""
        for key, item in self.redundant.get(image.path, ()):
            what = f"{item.path}, which would be restored from it,"
            try:
                original, restored = self._entry_volume(key, item.path), _restored(self.dataset, item)
                if original.shape != restored.image.volume.shape:
                    yield Problem(f"{what} has {format_shape(original.shape)} voxels now")
                    continue
                expected, memory_bytes = restored.plane_sha256, restored.memory_bytes
                yield from _compared(what, original, expected, memory_bytes, resources=resources, on_voxels=on_voxels)
            except (SourceError, DatasetError, NotEnoughMemoryError) as error:
                yield Problem(f"{what} was not compared: {error}", kind=ProblemKind.NOT_READ)

    def link_problems(self) -> Iterator[FileProblem]:
        """Yield the links of the sources that do not lead to the same entry any more."""
        for key, record in self.provenance.runs.items():
            for item in items_of(self.provenance, key):
                if isinstance(item, LinkItem):
                    entry = self._entry(record, item.path)
                    if entry is None or entry.link_to != item.to:
                        what = f"{record.name}/{item.path} was a link to {item.to}, and is not any more"
                        yield FileProblem(PROVENANCE.as_posix(), what)

    def copy_problems(self, checksums: Checksums) -> Iterator[FileProblem]:
        """Yield the copies in the dataset whose original has changed."""
        for key, record in self.provenance.runs.items():
            for path, copy in self.provenance.copies_of(key).items():
                yield from self._changed(record, path, copy, checksums)

    def _changed(
        self, record: RunRecord, path: str, copy: PurePosixPath, checksums: Checksums
    ) -> Iterator[FileProblem]:
        entry = self._entry(record, path)
        if entry is None:
            yield FileProblem(copy.as_posix(), _NOT_GIVEN, ProblemKind.NOT_READ)
            return
        originals = {(copy / file.relative_to(entry.location)).as_posix(): file for file in files_below(entry.location)}
        for name in sorted({*originals, *checksums.below(copy)}):
            if name not in originals:
                yield FileProblem(name, _NOT_GIVEN, ProblemKind.NOT_READ)
            elif name not in checksums.files:
                yield FileProblem(name, "has no checksum: its original is new, or the list was changed; package again")
            else:
                try:
                    same = file_sha256(originals[name]) == checksums.files[name]
                except OSError as error:
                    yield FileProblem(name, f"its original cannot be read: {error.strerror}", ProblemKind.NOT_READ)
                    continue
                if not same:
                    yield FileProblem(name, "its original has another content now")

    def _volume(self, image: ExpectedImage) -> Volume:
        """Return what an image was made of: a volume of the sources, or the mask that two of them give."""
        key = next(key for key, run in self.provenance.runs.items() if image.path.as_posix() in run.images)
        record = image.record
        if record.recovered_from is None:
            return self._entry_volume(key, record.source)
        whole, masked = (self._entry_volume(key, path) for path in (record.recovered_from, record.source))
        evidence = self.provenance.decisions_of(key)[record.source].evidence or {}
        if not {"planes", "planes_emptied"} <= evidence.keys():
            raise SourceError(f"{record.source}: provenance has no comparison for it; package again")
        return RecoveredMask.from_evidence(whole, masked, evidence)

    def _entry(self, record: RunRecord, path: str, slice_number: str | None = None) -> Entry | None:
        runs = [run for run in self.runs if run.folder_name == record.name]
        if len(runs) > 1:  # today's CATNIP names runs after the time alone
            at_the_same_place = [run for run in runs if run.source == record.source]
            of_the_animal = [run for run in runs if run.name.subject_label == record.subject]
            runs = at_the_same_place if len(at_the_same_place) == 1 else of_the_animal
        if slice_number is not None:
            runs = [with_slice_numbers(run, {path: slice_number}) for run in runs]
        return next((entry for run in runs for entry in run.entries if entry.path == path), None)

    def _entry_volume(self, key: str, path: str) -> Volume:
        record, decision = self.provenance.runs[key], self.provenance.decisions_of(key).get(path)
        try:
            entry = self._entry(record, path, decision.slice_number if decision else None)
        except UsageError as error:
            raise SourceError(str(error)) from error
        if entry is None:
            raise SourceError(f"{record.name}/{path} is not in the sources that were given")
        if entry.volume is None:
            raise SourceError(f"{record.name}/{path} is not whole any more: {'; '.join(entry.problems)}")
        return entry.volume


def _redundant(provenance: Provenance) -> dict[PurePosixPath, list[tuple[str, VolumeItem]]]:
    """Return the excluded entries that are restored from images, except those from which a mask was recovered.

    The mask proves those: it is read from them again.
    """
    found: dict[PurePosixPath, list[tuple[str, VolumeItem]]] = {}
    for key, run in provenance.runs.items():
        for item in items_of(provenance, key):
            if isinstance(item, VolumeItem) and run.images[str(item.image)].source != item.path:
                mask = None if item.mask is None else run.images[str(item.mask)]
                if mask is None or mask.recovered_from is None:
                    found.setdefault(item.image, []).append((key, item))
    return found


def _restored(dataset: Path, item: VolumeItem) -> RestoredVolume:
    def stored(image: PurePosixPath) -> StoredImage:
        volume, planes = inspect_volume(dataset / image).volume, read_hashes(dataset, image)
        if volume is None or len(planes) != volume.shape[0]:
            raise DatasetError(f"{image} is not what was packaged")
        return StoredImage(volume, planes)

    restored = RestoredVolume(stored(item.image), stored(item.mask) if item.mask is not None else None)
    restored.check(item)
    return restored


def _recorded(planes: Sequence[PlaneRecord], plane: int) -> str | None:
    """Return the recorded hash of a plane; None if the table of hashes cannot be read."""
    return planes[plane].sha256 if planes else None


def _compared(
    what: str,
    original: Volume,
    expected: Callable[[int], str | None],
    memory_bytes: tuple[int, int],
    *,
    resources: Resources,
    on_voxels: Callable[[int], None],
) -> Iterator[Problem]:
    """Read all planes of an original, and compare their hashes with the expected ones, where these are known.

    `expected` takes the memory of `memory_bytes`: for a plane, and until the end.
    """
    n_bytes, plane_bytes = pixel_bytes(original), hashing_bytes(original) + memory_bytes[0]
    held_bytes = original.read_cost.shared_bytes + memory_bytes[1]
    planes: dict[str | None, list[int]] = {}
    with BoundedMap(resources, plane_bytes, held_bytes, n_bytes=n_bytes, about=original.files[0]) as workers:
        found = workers.map(partial(_difference, original, expected), range(original.shape[0]))
        for plane, difference in enumerate(found):
            planes.setdefault(difference, []).append(plane)
            on_voxels(original.shape[1] * original.shape[2])
    for difference in (_OTHER_PIXELS, _NOT_READ, _NOT_COMPARED):
        if difference in planes:
            kind = ProblemKind.CHANGED if difference == _OTHER_PIXELS else ProblemKind.NOT_READ
            yield Problem(f"{what} {difference}", 0, tuple(planes[difference]), kind)


def _difference(original: Volume, expected: Callable[[int], str | None], plane: int) -> str | None:
    """Say how a plane of an original differs from what is expected; None if it does not."""
    try:
        found = hash_stored_plane(original, plane)
    except SourceError:
        return _NOT_READ
    try:
        return _OTHER_PIXELS if expected(plane) not in (None, found) else None
    except (SourceError, DatasetError):
        return _NOT_COMPARED
