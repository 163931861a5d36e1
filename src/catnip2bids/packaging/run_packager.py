"""Run the tasks of one run: images, counts, copies, and the decisions about its entries.

Invariant: a task that fails is reported and skipped, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from catnip2bids.atomic_write import discard_staging, remove
from catnip2bids.bids.dataset_paths import (
    COUNTS_ENDING,
    copy_of,
    entities_of,
    image_stem,
    sidecar_of,
    tables_of_counts,
)
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import ImageRecord, RunRecord
from catnip2bids.catnip.component_type import Action, Content
from catnip2bids.catnip.components import component_of
from catnip2bids.catnip.counts import counted_segmentation
from catnip2bids.errors import Catnip2bidsError, SourceError, WorkerError, WriteError
from catnip2bids.formatting import format_count
from catnip2bids.ome import OmeZarrVersion, is_label_type
from catnip2bids.packaging.cells import CellsTask, cells_tasks, remove_tables, write_cells
from catnip2bids.packaging.copies import copy_verbatim, private_words
from catnip2bids.packaging.images import (
    current_metadata,
    embed_labels,
    is_current,
    remove_image,
    replace_metadata,
    value_warnings,
)
from catnip2bids.packaging.preflight import Preflight
from catnip2bids.packaging.region_tables import write_counts
from catnip2bids.packaging.result import PackageLog
from catnip2bids.packaging.run_decisions import RunDecisions
from catnip2bids.packaging.tasks import CopyTask, CountsTask, ImageTask, RunTasks
from catnip2bids.paths import safe_path
from catnip2bids.scanning import Entry

_REPLACED = "replaced "
"""What the fingerprint of an image begins with while another one is made."""
_KEPT_FIELDS = ("atlas_table", "region_table", "images", "sidecars", "cells")


class RunPackager:
    """Runs the tasks of one run, except making images, and records what was done.

    The caller makes the images of all runs concurrently: `missing_images` lists those to make, and `record_image` takes
    the result of each.
    """

    def __init__(self, preflight: Preflight, tasks: RunTasks, log: PackageLog) -> None:
        self.preflight, self.tasks, self.log = preflight, tasks, log
        self._dataset, self._key = preflight.dataset, str(tasks.name)
        self._decisions = RunDecisions(preflight.dataset, preflight.provenance, tasks)
        self._kept: list[ImageTask] = []
        self._outdated: list[tuple[ImageTask, dict[str, Any]]] = []
        self._record = self._begin_record()
        self._decisions.move_to(tasks.run.source)
        for problem in tasks.problems.values():
            log.problem(problem)

    def missing_images(self) -> list[ImageTask]:
        """List the images that have to be made, without writing anything; the others are kept."""
        missing = []
        for task in self.tasks.images:
            with self._reporting_failure(task):
                record = None if self.preflight.settings.overwrite else self._record.images.get(str(task.target))
                if record is None:
                    missing.append(task)
                elif is_current(task, self._dataset, record):
                    self._kept.append(task)
                elif (document := current_metadata(task, self._dataset, record)) is not None:
                    self._outdated.append((task, document))
                else:
                    missing.append(task)
        for task in missing:
            if (record := self._record.images.get(str(task.target))) is not None:
                # so that it is made again if packaging is killed after it was replaced
                record.fingerprint = f"{_REPLACED}{record.fingerprint.removeprefix(_REPLACED)}"
        return missing

    def record_image(self, task: ImageTask, future: Future[ImageRecord]) -> None:
        """Record an image that was made, or report why it was not."""
        with self._reporting_failure(task):
            self._record.images[str(task.target)] = future.result()
            self.log.made.append(task.target)
            self._decisions.decide([task.entry])  # now, so that the image can be restored if packaging is killed
            self.preflight.provenance.save(self._dataset)
            self._finish_image(task)

    def write_tables_and_copies(self, checksums: Mapping[str, str]) -> None:
        """Run all tasks except those for missing images; `checksums` are those of earlier copies, by POSIX path."""
        # before they are copied, so that a later plan can exclude them even if packaging is killed
        entries = [*(task.entry for task in self.tasks.counts), *(task.entry for task in self.tasks.copies)]
        self._decisions.decide(entries)
        self.preflight.provenance.save(self._dataset)
        self._replace_metadata()
        for image in self._kept:
            with self._reporting_failure(image):
                self.log.kept.append(image.target)
                self._finish_image(image)
        for counts in self.tasks.counts:
            with self._reporting_failure(counts):
                voxel_size_um = self.tasks.voxel_size_um
                has_changed = write_counts(self._dataset, counts.entry.location, counts.target, voxel_size_um)
                if has_changed or self.preflight.settings.overwrite:
                    self.log.copied.append(counts.target)
                self._copy(CopyTask(counts.entry, counts.verbatim), checksums)
        for copy in self.tasks.copies:
            with self._reporting_failure(copy):
                self._copy(copy, checksums)
        self._decisions.decide(entries)

    def missing_cells(self) -> list[CellsTask]:
        """List the tables of cells that have to be made, once all images are; remove those that are not planned."""
        tasks = cells_tasks(self._dataset, self.tasks, self._record)
        for table in self._record.cells.keys() - {str(task.table) for task in tasks}:
            remove_tables(self._dataset, table, self.log)
            del self._record.cells[table]
        missing = []
        for task in tasks:
            record = self._record.cells.get(str(task.table))
            if self.preflight.settings.overwrite or not task.is_current(self._dataset, record):
                missing.append(task)
            else:
                task.warn(record, self.log)
        return missing

    def write_cells(self, task: CellsTask) -> None:
        """Write the tables of cells of one segmentation, or report why they cannot be written."""
        self.log.progress.item(task.table.name)
        if self._record.cells.pop(str(task.table), None) is not None:
            self.preflight.provenance.save(self._dataset)  # no record of other tables, should packaging be killed
        try:
            self._record.cells[str(task.table)] = write_cells(self._dataset, task, self.preflight.resources, self.log)
        except (WorkerError, WriteError):
            raise
        except Catnip2bidsError as error:
            remove_tables(self._dataset, str(task.table), self.log)
            self.log.problem(f"{task.table}: cells are not listed: {error}")
        else:
            self.preflight.provenance.save(self._dataset)  # so that the next call goes on with the next table

    def _replace_metadata(self) -> None:
        """Replace the metadata of images of an earlier version whose pixels would be the same today."""
        for task, document in self._outdated:
            target = str(task.target)
            with self._reporting_failure(task):
                record = self._record.images[target]
                file, self._record.images[target] = replace_metadata(task, self._dataset, record, document)
                self.log.copied.append(file)
                self._kept.append(task)
                self.preflight.provenance.save(self._dataset)
        if self._outdated:
            images = format_count(len(self._outdated), "image")
            self.log.progress.note(f"{self.tasks.name}: metadata of {images}, of an earlier version, is written again")

    def _copy(self, task: CopyTask, checksums: Mapping[str, str]) -> None:
        """Copy a file or folder unchanged, and warn of private words in it."""
        for made in copy_verbatim(task, self._dataset, checksums, overwrite=self.preflight.settings.overwrite):
            self.log.copied += [made.copy] if made.is_new else []
            if words := private_words(self._dataset / made.copy):
                self.log.warning(
                    f"{made.file}: is copied as it is, and {words}; exclude it if that must not be published"
                )

    def remove_unplanned(self) -> None:
        """Remove files of an earlier plan, once all images are made."""
        for result in self.tasks.redundancy:
            is_excluded = result.planned.action == Action.EXCLUDE and result.entry.path not in self._decisions.failures
            if is_excluded and (problem := result.problem) is not None:
                self._fail(result.entry, problem)
        self._remove_files()
        self._update_kept_counts()

    def _update_kept_counts(self) -> None:
        """Compute volumes and densities again in tables of counts whose source is gone or has a problem now.

        Like the cells, they have the voxel size of the segmentation, whose source may be gone, too.
        """
        images = self._record.images.items()
        sizes_um = {entities_of(PurePosixPath(path).name).get("desc"): image.voxel_size_um for path, image in images}
        written = {task.target for task in self.tasks.counts if task.entry.path not in self._decisions.failures}
        for path in tables_of_counts(self._dataset, self.tasks.tables_folder, str(self.tasks.name)):
            table = PurePosixPath(path.relative_to(self._dataset).as_posix())
            desc = entities_of(table.name).get("desc", "")
            counted = counted_segmentation(desc)
            if counted is None or table in written or table.name != f"{self.tasks.name}_desc-{desc}{COUNTS_ENDING}":
                continue
            size_um = sizes_um.get(f"FRSTseg{counted[0]}", self.tasks.voxel_size_um)
            try:
                if write_counts(self._dataset, safe_path(self._dataset, table), table, size_um):
                    self.log.copied.append(table)
            except SourceError as error:
                self.log.warning(f"{error}; its densities are not computed again")

    def finish(self) -> None:
        """Embed labels, and record the decisions about all entries."""
        self._embed()
        self._decisions.decide_all(self.log)
        n_images = sum(str(task.target) in self._record.images for task in self.tasks.images)
        self.log.runs.append(self.tasks.summary(n_images, self._decisions.failures.keys()))
        self.preflight.provenance.save(self._dataset)

    def complete(self) -> None:
        """Record that all files of the run are written, and what this command and interrupted ones removed."""
        if self._was_unfinished:
            paths = {PurePosixPath(path) for path in self._record.earlier_files}
            images = [path for path in paths if not path.name.endswith(COUNTS_ENDING) and path.parts[0] != "sourcedata"]
            paths |= {file for image in images for file in (hashes_path(image), sidecar_of(image))}
            gone = {path for path in paths if not (self._dataset / path).exists()}
            self.log.removed += sorted(gone.difference(self.log.removed))
        self._record.unfinished, self._record.earlier_files = False, []

    @contextmanager
    def _reporting_failure(self, task: ImageTask | CountsTask | CopyTask) -> Iterator[None]:
        """Make an error a problem of this task alone, unless no other task could go on either."""
        try:
            yield
        except (WorkerError, WriteError):
            raise
        except Catnip2bidsError as error:
            self._fail(task.entry, str(error))

    def _fail(self, entry: Entry, problem: str) -> None:
        self._decisions.failures[entry.path] = problem
        self.log.problem(problem)

    def _finish_image(self, task: ImageTask) -> None:
        discard_staging(safe_path(self._dataset, task.target))
        for text in value_warnings(task, self._record.images[str(task.target)], self.tasks.atlas):
            self.log.warning(text)

    def _begin_record(self) -> RunRecord:
        """Replace the record of the run, but keep what describes its files; it is unfinished until `complete`."""
        run, planned, runs = self.tasks.run, self.tasks.planned, self.preflight.provenance.runs
        before = runs.get(self._key)
        self._was_unfinished = before is not None and before.unfinished
        runs[self._key] = RunRecord(
            name=run.folder_name,
            source=run.source,
            source_id=planned.source_id,
            subject=self.tasks.subject,
            sample=self.tasks.sample,
            stain=planned.stain,
            layout=run.layout,
            atlas_version=planned.atlas_version,
            unfinished=True,
            earlier_files=sorted(self._files_before(before)),
            log=run.log.public_fields,
            **{field: getattr(before, field) for field in _KEPT_FIELDS if before is not None},
        )
        return runs[self._key]

    def _files_before(self, before: RunRecord | None) -> set[str]:
        """Return what the run had before this command, or before those that were interrupted."""
        if before is None:
            return set()
        paths = set(map(PurePosixPath, before.images))
        for source, decision in self._decisions.earlier.items():
            is_table = decision.target is not None and decision.target.endswith(COUNTS_ENDING)
            paths |= {PurePosixPath(decision.target)} if is_table and decision.target else set()
            paths |= {copy_of(self.tasks.name, source)} if is_table or decision.action == "copy" else set()
        return {*before.earlier_files, *map(str, paths)}

    def _remove_files(self) -> None:
        """Remove files of an earlier plan, except those whose source has a problem now or is gone."""
        planned = {str(task.target) for task in self.tasks.images}
        sidecars = {task.sidecar for task in self.tasks.images}
        entries = {entry.path for entry in self.tasks.run.entries}
        for target, image in list(self._record.images.items()):
            sources = {image.source, image.recovered_from or image.source}
            if target not in planned and image.source not in self._decisions.failures and sources <= entries:
                image_file = PurePosixPath(target)
                remove_image(self._dataset, image_file, with_sidecar=sidecar_of(image_file) not in sidecars)
                del self._record.images[target]
                self._removed(image_file)
                self.log.removed.append(hashes_path(image_file))
        kept = self._kept_copies()
        copies = copy_of(self.tasks.name, "")
        for path in map(PurePosixPath, self._record.earlier_files):
            if copies in path.parents or path.name.endswith(COUNTS_ENDING):
                self._remove_unless_kept(path, kept)

    def _kept_copies(self) -> set[PurePosixPath]:
        """Return the copies and tables that stay: of this plan, and of entries that are gone or have a problem."""
        kept = {task.target for task in self.tasks.all_tasks} | {task.verbatim for task in self.tasks.counts}
        planned = {entry.source for entry in self.tasks.planned.entries}
        for source, before in self._decisions.earlier.items():
            if before.target is not None and (source not in planned or source in self._decisions.failures):
                kept |= {copy_of(self.tasks.name, source), PurePosixPath(before.target)}
        return kept

    def _remove_unless_kept(self, path: PurePosixPath, kept: set[PurePosixPath]) -> None:
        """Remove a file or folder, except copies of other entries in it."""
        if path in kept or not (self._dataset / path).exists():
            return
        removed = safe_path(self._dataset, path)
        if any(path in other.parents for other in kept):
            for child in sorted(removed.iterdir()):
                self._remove_unless_kept(path / child.name, kept)
            return
        remove(removed)
        self._removed(path)

    def _removed(self, path: PurePosixPath) -> None:
        self.log.removed.append(path)
        self.log.progress.note(f"{path}: removed, because the plan no longer includes it")

    def _embed(self) -> None:
        """Embed label images into the raw image if the settings say so; never leave outdated ones there."""
        images, settings = self._record.images, self.preflight.settings
        raw = next((PurePosixPath(path) for path in images if path.startswith("sub-")), None)
        if raw is None or not self._zarr_documents(raw):
            return
        raw_record = images[str(raw)]
        labels: dict[str, str] = {}
        for path, image in sorted(images.items()) if settings.embed_labels else ():  # those of gone sources, too
            component, threshold = component_of(image.role, image.source) or (None, None)
            if component is None or component.content not in {Content.LABELS, Content.MASK}:
                continue
            if image.shape != raw_record.shape or self._zarr_documents(path) != self._zarr_documents(raw):
                continue  # an image of a gone source may be of another format
            if is_label_type(image.dtype):
                labels[component.desc_label(threshold) or image_stem(PurePosixPath(path))] = path
            else:
                left_out = "OME-NGFF allows only integers as label images, so it is not embedded; save it as integers"
                location = self.tasks.run.folder / image.source
                self.log.warning(f"{location}: is stored as {image.dtype}: {left_out} and package again")
        wanted = {name: images[path].fingerprint for name, path in labels.items()}
        if raw_record.embedded != wanted:
            version = OmeZarrVersion.V05 if "zarr.json" in self._zarr_documents(raw) else OmeZarrVersion.V04
            embed_labels(self._dataset, raw, labels, version)
            self.log.copied.append(raw / "labels")
            raw_record.embedded = wanted

    def _zarr_documents(self, image: PurePosixPath | str) -> set[str]:
        """Return which metadata an image has: that of OME-Zarr 0.5 or 0.4, or none as an OME-TIFF."""
        return {name for name in ("zarr.json", ".zattrs") if (self._dataset / image / name).is_file()}
