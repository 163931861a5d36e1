"""Restore the entries of all runs of a dataset.

Invariant: an entry gets its name only when it is complete, and existing files are never overwritten. An entry that
cannot be restored, or that no intact checksum proves to be the original, is reported and does not stop the others.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from errno import ENAMETOOLONG
from math import prod
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from catnip2bids.atomic_write import (
    atomic_output,
    make_link,
    output_folder,
    raising_write_errors,
    refuse_overlap,
    remove,
    write_text,
)
from catnip2bids.bids.checksums import CHECKSUMS, Checksums, file_sha256, read_checksums
from catnip2bids.bids.plane_hashes import hashes_path, read_hashes
from catnip2bids.bids.provenance import PROVENANCE, Provenance, provenance_of
from catnip2bids.documents import refuse_foreign
from catnip2bids.engine import OVERHEAD_BYTES, Resources, own_resources
from catnip2bids.errors import Catnip2bidsError, DatasetError, SourceError, UsageError, WriteError
from catnip2bids.formatting import format_bytes_up, format_count, format_list, format_shape
from catnip2bids.leftovers import ignored, leftovers_below, without_leftovers
from catnip2bids.locks import FOLDER_LOCK, locked, refuse_packaging
from catnip2bids.paths import SafePath, as_on_any_system, inside, safe_path
from catnip2bids.progress import Progress
from catnip2bids.restoration.restorable import CopyItem, Item, LinkItem, NotRestorable, VolumeItem, items_of, keys_of
from catnip2bids.restoration.restored_volume import RestoredVolume, StoredImage, plane_bytes
from catnip2bids.restoration.volumes import write_file, write_slices
from catnip2bids.scanning import files_below
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.volume import inspect_volume

_MARK = ".catnip2bids-restore"
"""A file in the folder until everything is restored, with the hash of the dataset's provenance."""


@dataclass(frozen=True, repr=False)
class Restoration(ShortRepr):
    """The entries that were restored, and those that were not.

    Attributes
    ----------
    folder
        The folder with the restored files.
    restored, kept
        Entries that were restored now, and entries that an interrupted restoration had restored already, as POSIX paths
        below the folder.
    left_out
        Entries that were excluded on purpose, and why.
    problems
        Entries that could not be packaged or restored, and why; and entries that nothing proves to be the original.
    """

    folder: Path
    restored: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all entries but those excluded on purpose were restored and are proven."""
        return not self.problems

    def _summary(self) -> ReprSummary:
        facts = (
            f"{len(self.restored)} restored",
            f"{len(self.kept)} kept",
            f"{len(self.left_out)} left out",
            format_count(len(self.problems), "problem"),
        )
        return ReprSummary(str(self.folder), facts, problems=self.problems)


def restore(
    dataset: Path | str,
    folder: Path | str,
    progress: Progress | None = None,
    *,
    subject: str | None = None,
    jobs: int | None = None,
    memory_bytes: int | None = None,
) -> Restoration:
    """Write the original files back, pixel for pixel, under their original names; call it again after an interruption.

    Images become TIFF slices, TIFF stacks and NIfTI files again. Their pixels are the same; their bytes need not be.
    Copied files come back byte for byte, and so do the pixels of redundant entries that were excluded.

    Parameters
    ----------
    dataset
        A dataset that `package` made, or a copy of one.
    folder
        A new or an empty folder to write into. Runs get the paths that they had below SOURCE.
    progress
        Receives the progress of the work.
    subject
        The only animal to restore, such as ``45670ko``; all by default.
    jobs, memory_bytes
        Processors, and memory of the whole process; by default all, and a quarter of the machine's, at most 8 GiB.

    Raises
    ------
    DatasetError
        If the dataset is not one of this program or is being packaged, or the folder contains other files.
    UsageError
        If the dataset has no such animal, one folder is inside the other, or there is not enough memory. Nothing is
        written then.

    Examples
    --------
    >>> restore("dataset", "restored")
    <Restoration restored: 33 restored, 0 kept, 0 left out, 0 problems>
    """
    dataset, folder, progress = Path(dataset), Path(folder), progress or Progress()
    refuse_packaging(dataset, "restore")
    refuse_foreign(dataset)
    provenance = provenance_of(dataset)
    refuse_overlap(dataset, folder)
    keys, resources = keys_of(dataset, provenance, subject), own_resources(jobs, memory_bytes)
    restorer = _Restorer(dataset, folder, provenance, keys, resources, progress)
    restorer.check_memory()
    mark = f"{file_sha256(dataset / PROVENANCE)} {subject or ''}".rstrip()
    with raising_write_errors(folder):
        _refuse_folder(folder, mark)
        with output_folder(folder), locked(folder):
            _refuse_folder(folder, mark)
            write_text(safe_path(folder, _MARK), mark)
            restorer.restore_all()
            if restorer.is_complete:
                remove(safe_path(folder, _MARK))
    if leftovers := leftovers_below(dataset):
        progress.note(ignored(leftovers))
    return restorer.result()


def _refuse_folder(folder: Path, mark: str) -> None:
    """Refuse a folder that is not empty, unless it has an interrupted restoration of the same dataset."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise DatasetError(f"{folder}: is not a folder; give a new folder with -o")
    ours = folder / _MARK
    if ours.is_file() and ours.read_bytes() == mark.encode():
        return
    if any(path != folder / FOLDER_LOCK for path in without_leftovers(folder.iterdir())):
        raise DatasetError(f"{folder}: is not empty; give a new folder with -o")


class _Restorer:
    """Restores the items of all runs."""

    def __init__(
        self,
        dataset: Path,
        folder: Path,
        provenance: Provenance,
        keys: Collection[str],  # of the runs to restore
        resources: Resources,
        progress: Progress,
    ) -> None:
        self._dataset, self._folder, self._provenance, self._keys = dataset, folder, provenance, keys
        self._resources, self._progress = resources, progress
        self._restored: list[str] = []
        self._kept: list[str] = []
        self._left_out: dict[str, str] = {}
        self._problems: list[str] = []
        self._checksums = read_checksums(dataset)
        self._unproven = _why_unproven(dataset, self._checksums)
        self._failed_folders: list[str] = []
        self.is_complete = True
        self._check(PROVENANCE)
        self.items = [
            (inside(f"{run_path / item.path}", PROVENANCE.name).as_posix(), item)
            for key, run_path in self._run_paths()
            if key in keys
            for item in items_of(provenance, key)
        ]
        # links last, so that nothing is written through them
        self.items.sort(key=lambda found: isinstance(found[1], LinkItem))
        self._records = provenance.all_images()
        self._volumes = [item for _, item in self.items if isinstance(item, VolumeItem)]

    def result(self) -> Restoration:
        """Return what was restored so far."""
        return Restoration(
            folder=self._folder,
            restored=tuple(self._restored),
            kept=tuple(self._kept),
            left_out=MappingProxyType(self._left_out),
            problems=tuple(self._problems),
        )

    def check_memory(self) -> None:
        """Refuse the restoration if the memory is not enough for each volume."""
        n_bytes = OVERHEAD_BYTES
        for item in self._volumes:
            record = self._records[str(item.image)]
            held = sum(self._held_bytes(image) for image in (item.image, item.mask) if image is not None)
            n_bytes = max(n_bytes, OVERHEAD_BYTES + held + plane_bytes(record.shape, np.dtype(record.dtype)))
        if n_bytes > self._resources.memory_bytes:
            needed = f"restoring it needs at least {format_bytes_up(n_bytes)} of memory"
            raise UsageError(f"{self._dataset}: {needed}; give more with --memory")

    def _held_bytes(self, image: PurePosixPath) -> int:
        """Return the memory that an image takes besides its planes; only OME-Zarr takes any."""
        folder = self._dataset / image
        try:
            volume = inspect_volume(folder).volume if folder.is_dir() else None
        except (SourceError, OSError):
            return 0  # it becomes a problem when it is restored
        return 0 if volume is None else volume.read_cost.shared_bytes

    def _run_paths(self) -> Iterator[tuple[str, PurePosixPath]]:
        """Yield the path of each run: its path below SOURCE, unless another run had the same."""
        runs = self._provenance.runs
        paths = {key: PurePosixPath(run.name if run.source == "." else run.source) for key, run in runs.items()}
        n_runs = Counter(as_on_any_system(str(path)) for path in paths.values())
        for key, path in paths.items():
            yield key, path if n_runs[as_on_any_system(str(path))] == 1 else PurePosixPath(key) / path.name

    def restore_all(self) -> None:
        """Restore all items, but no links to what cannot be restored; first report missing checksums and decisions."""
        if self._unproven is not None:
            self._report(self._unproven)
        for problem in _missing_decisions(self._provenance, self._keys):
            self._report(f"{self._dataset / PROVENANCE}: {problem}")
            self.is_complete = False
        self._progress.start(sum(prod(self._records[str(item.image)].shape) for item in self._volumes))
        for path, item in self.items:
            self._restore_item(path, item)
        for path, item in self.items:
            if isinstance(item, LinkItem) and path in self._restored and not (self._folder / path).exists():
                self._restored.remove(path)
                remove(safe_path(self._folder, path))
                self._report(f"{path}: is not restored, since it is the same as {item.to}, which is not")
                self.is_complete = False

    def _restore_item(self, path: str, item: Item) -> None:
        """Restore one item; an error is a problem of this item alone."""
        if isinstance(item, NotRestorable):
            if item.problem is None:
                self._left_out[path] = item.reason
            else:
                self._report(f"{path}: is not in the dataset, because packaging it failed: {item.problem}")
            return
        if failed_folder := next((folder for folder in self._failed_folders if path.startswith(f"{folder}/")), None):
            # a folder with the name of a volume must be complete
            self._report(f"{path}: lies in {failed_folder}, which is not restored; correct that, and restore again")
            self.is_complete = False
            return
        if os.path.lexists(self._folder / path):
            self._kept.append(path)
            self._report_unproven(path)
            return
        self._progress.item(path)
        try:
            if item.path == "." or path.partition("/")[0] in (_MARK, FOLDER_LOCK):
                raise DatasetError(f"{PROVENANCE}: no entry of a run has this name; bring it back from a copy")
            final = safe_path(self._folder, path)
            match item:
                case VolumeItem():
                    self._restore_volume(item, final)
                case CopyItem():
                    self._copy(item.copy, final)
                case LinkItem():
                    make_link(final, os.path.relpath(item.to, Path(item.path).parent))
        except (UsageError, WriteError):  # such an error would stop all items
            raise
        except (Catnip2bidsError, OSError) as error:
            if isinstance(error, OSError) and error.errno != ENAMETOOLONG:
                raise
            too_long = "its name or path is too long here; restore into a folder with a shorter path"
            self._failed_folders.append(path)
            self._report(f"{path}: {too_long if isinstance(error, OSError) else error}")
            self.is_complete = False
        else:
            self._restored.append(path)
            self._report_unproven(path)

    def _report_unproven(self, path: str) -> None:
        if self._unproven is not None:
            self._report(f"{path}: is restored, and nothing proves that it is the original")

    def _report(self, problem: str) -> None:
        self._problems.append(problem)
        self._progress.problem(problem)

    def _restore_volume(self, item: VolumeItem, final: SafePath) -> None:
        image = self._stored(item.image)
        source = RestoredVolume(image, self._stored(item.mask) if item.mask else None)
        source.check(item)
        names = item.slice_names(image.planes)
        if names is not None and len(set(names)) != len(image.planes):
            raise DatasetError(
                f"{PROVENANCE}: names {format_count(len(set(names)), 'file')} for "
                f"{format_count(len(image.planes), 'plane')} of {item.image}; bring it back from a copy"
            )
        with atomic_output(final) as partial:
            if names is None:
                write_file(source, partial, final.name, self._resources, self._progress.advance)
            else:
                write_slices(source, partial, names, self._resources, self._progress.advance)

    def _stored(self, image: PurePosixPath) -> StoredImage:
        self._check(hashes_path(image))
        inspection = inspect_volume(self._dataset / image)
        planes = read_hashes(self._dataset, image)
        if inspection.volume is None or inspection.problems:
            raise SourceError("; ".join(inspection.problems))
        record = self._records[str(image)]
        now, had = (inspection.volume.shape, inspection.volume.dtype.name), (record.shape, record.dtype)
        if now != had:  # the memory is enough only for what it had
            found = f"has {format_shape(now[0])} voxels of {now[1]}, and had {format_shape(had[0])} of {had[1]}"
            raise DatasetError(f"{self._dataset / image}: {found}; bring it back from a copy")
        if len(planes) != record.shape[0]:
            found = f"has {format_count(len(planes), 'line')} for {format_count(record.shape[0], 'plane')}"
            raise DatasetError(f"{self._dataset / hashes_path(image)}: {found}; bring it back from a copy")
        return StoredImage(inspection.volume, planes)

    def _copy(self, copy: PurePosixPath, final: SafePath) -> None:
        """Copy a file or folder whose checksums are right."""
        location = self._dataset / copy
        if not location.exists():
            raise DatasetError(f"{location}: does not exist any more; bring it back from a copy")
        listed = () if self._checksums is None else self._checksums.below(copy)
        with atomic_output(final) as partial:
            if location.is_dir():
                partial.mkdir(parents=True)
            for file in sorted({*files_below(location), *(self._dataset / name for name in listed)}):
                if not file.is_file():
                    raise DatasetError(f"{file}: does not exist any more; bring it back from a copy")
                if not file.resolve().is_relative_to(self._dataset.resolve()):
                    raise DatasetError(f"{file}: is a link out of the dataset; bring the file back from a copy")
                target = partial / file.relative_to(location)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
                self._check(PurePosixPath(file.relative_to(self._dataset).as_posix()), target)

    def _check(self, file: PurePosixPath, content: Path | None = None) -> None:
        """Refuse a file of the dataset with a wrong checksum; read `content`, a copy of it, if there is one."""
        path = content or self._dataset / file
        if self._checksums is None or not path.is_file():
            return
        sha256 = self._checksums.files.get(file.as_posix())
        if sha256 is None:
            what = f"is not in {CHECKSUMS.name}, so nothing proves it; bring that back from a copy"
            raise DatasetError(f"{self._dataset / file}: {what}")
        if file_sha256(path) != sha256:
            raise DatasetError(f"{self._dataset / file}: was changed since it was packaged; bring it back from a copy")


def _why_unproven(dataset: Path, checksums: Checksums | None) -> str | None:
    """Return why the checksums prove nothing; None if they do."""
    if checksums is not None and checksums.is_intact:
        return None
    what = "is missing" if checksums is None else "was changed, or is damaged"
    return (
        f"{dataset / CHECKSUMS}: {what}, so nothing proves that the restored files are the originals; "
        "package again if packaging was interrupted, or bring it back from a copy of the dataset, and restore again "
        "into a new folder"
    )


def _missing_decisions(provenance: Provenance, keys: Collection[str]) -> Iterator[str]:
    """Yield runs, of those to restore, and images without a decision in provenance: not everything can be restored."""
    remedy = "packaging was interrupted, or the file was changed; package again, or bring it back from a copy"
    if not provenance.runs:
        yield f"has no run: {remedy}"
    for key in keys:
        run = provenance.runs[key]
        decided = provenance.decisions_of(key)
        images = run.images.items()
        without = sorted(PurePosixPath(image).name for image, record in images if record.source not in decided)
        if without or not decided:
            yield f"has no decision about {format_list(without) or f'any entry of {key}'}: {remedy}"
