"""All tasks of one run: images, counts, copies, and the decisions about its entries.

Invariant: one item that fails is named and left out, and all others are done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

from catnip2bids.bids.provenance import Decision, RunRecord
from catnip2bids.catnip.atlas import AtlasTable
from catnip2bids.catnip.components import Action, Content
from catnip2bids.catnip.counts import read_counts
from catnip2bids.engine import Resources, default_memory_bytes
from catnip2bids.errors import Catnip2bidsError, WriteError
from catnip2bids.packaging.atlases import tables_that_are_there, unlisted_values
from catnip2bids.packaging.copies import copy_as_it_is
from catnip2bids.packaging.counts import write_counts
from catnip2bids.packaging.images import ImageJob, embed_labels, remove_image
from catnip2bids.packaging.prepare import Preparation
from catnip2bids.packaging.result import PackageResult
from catnip2bids.packaging.tasks import CopyTask, CountsTask, ImageTask, RunTasks
from catnip2bids.progress import Progress


@dataclass(frozen=True)
class RunJob:
    """Doing the tasks of one run."""

    prepared: Preparation
    tasks: RunTasks
    result: PackageResult
    progress: Progress

    @property
    def _dataset(self) -> Path:
        return self.prepared.dataset

    def do(self) -> AtlasTable:
        """Do everything, and record it; returns the table that names the run's labels."""
        for problem in self.tasks.problems.values():
            self._failed(problem)
        failed = dict(self.tasks.problems)
        atlas = self._atlas()
        record = self._record()
        for task in self.tasks.everything:
            try:
                self._do(task, atlas, record)
            except WriteError:
                raise
            except Catnip2bidsError as error:
                failed[task.entry.path] = str(error)
                self._failed(str(error))
        self._remove_unplanned(failed, record)
        self._embed(record)
        self._decide(failed, record)
        self.prepared.provenance.save(self._dataset)
        return atlas

    def _do(self, task: ImageTask | CountsTask | CopyTask, atlas: AtlasTable, record: RunRecord) -> None:
        if isinstance(task, ImageTask):
            self._image(task, atlas, record)
        elif isinstance(task, CountsTask):
            write_counts(self._dataset, task)
            copy_as_it_is(CopyTask(task.entry, task.verbatim), self._dataset)
        else:
            copy_as_it_is(task, self._dataset)

    def _failed(self, problem: str) -> None:
        self.result.problems.append(problem)
        self.progress.problem(problem)

    def _atlas(self) -> AtlasTable:
        """Return the table that was given, or the one that CATNIP counted by, with what the dataset knows of it."""
        if self.prepared.atlas is not None:
            return self.prepared.atlas
        tables = [AtlasTable.from_counts(read_counts(counts.entry.location)) for counts in self.tasks.counts]
        counted = max(tables, key=lambda table: len(table.regions), default=AtlasTable({}))
        there = [table for table in tables_that_are_there(self._dataset) if table.same_atlas_as(counted)]
        return there[0].merged_with(counted) if there else counted

    def _record(self) -> RunRecord:
        """Return the record of the run, with the images that are there from earlier."""
        run, planned, key = self.tasks.run, self.tasks.planned, str(self.tasks.name)
        runs = self.prepared.provenance.runs
        before = runs.get(key)
        runs[key] = RunRecord(
            name=run.folder_name,
            source=run.source,
            source_id=planned.source_id,
            subject=self.tasks.subject,
            sample=self.tasks.sample,
            stain=planned.stain,
            layout=run.layout,
            atlas_version=planned.atlas_version,
            atlas_table=before.atlas_table if before else None,
            log=run.log.public_fields,
            images=before.images if before else {},
        )
        return runs[key]

    def _image(self, task: ImageTask, atlas: AtlasTable, record: RunRecord) -> None:
        job = ImageJob(task, atlas, self.prepared.settings.ome_zarr_version)
        key, n_voxels = str(task.target), prod(task.volume.shape[1:])
        self.progress.item(task.target.name)
        if not self.prepared.settings.overwrite and job.is_done(self._dataset, record.images.get(key)):
            self.progress.advance(prod(task.volume.shape))
            self.result.kept.append(task.target)
        else:
            resources = Resources(os.cpu_count() or 1, default_memory_bytes())
            done = job.make(self._dataset, resources, lambda planes: self.progress.advance(planes * n_voxels))
            record.images[key] = done
            self.result.made.append(task.target)
            self.prepared.provenance.save(self._dataset)
        if task.component.content == Content.LABELS:
            self._warn_of_unlisted(task, atlas, record.images[key].label_values or [])

    def _warn_of_unlisted(self, task: ImageTask, atlas: AtlasTable, values: Sequence[int]) -> None:
        unlisted = unlisted_values(atlas, set(values))
        if unlisted:
            shown = ", ".join(str(value) for value in unlisted[:10])
            warning = (
                f"{task.entry.location}: {len(unlisted)} label value(s) are in no table: {shown}"
                f"{' ...' if len(unlisted) > 10 else ''}; they are listed as unlisted_... in dseg.tsv"
            )
            self.result.warnings.append(warning)
            self.progress.warning(warning)

    def _remove_unplanned(self, failed: dict[str, str], record: RunRecord) -> None:
        """Remove images of an earlier plan, or under an earlier name; those whose source has a problem now stay."""
        planned = {str(task.target) for task in self.tasks.images}
        for target, image in list(record.images.items()):
            if target not in planned and image.source not in failed:
                remove_image(self._dataset, PurePosixPath(target))
                del record.images[target]
                self.progress.note(f"{target}: removed, it is not planned any more")

    def _embed(self, record: RunRecord) -> None:
        """Put label images inside the raw image, if that is wanted, and never leave old ones there."""
        raw = self.tasks.raw_image
        if raw is None or str(raw.target) not in record.images:
            return
        raw_record = record.images[str(raw.target)]
        if not self.prepared.settings.embed_labels and not raw_record.embedded:
            return
        labels = [
            task
            for task in self.tasks.images
            if task.component.content in {Content.LABELS, Content.MASK}
            and task.volume.shape == raw.volume.shape
            and str(task.target) in record.images
        ]
        wanted = {task.desc or task.stem: record.images[str(task.target)].fingerprint for task in labels}
        if raw_record.embedded != wanted:
            embed_labels(self._dataset, raw, labels, self.prepared.settings.ome_zarr_version)
            raw_record.embedded = wanted

    def _decide(self, failed: dict[str, str], record: RunRecord) -> None:
        """Write down what was done with every entry, and why."""
        key, run = str(self.tasks.name), self.tasks.run
        targets = {task.entry.path: task.target for task in self.tasks.everything}
        planned = {entry.source: entry for entry in self.tasks.planned.entries}
        earlier = {image.source: target for target, image in record.images.items()}
        decisions = [decision for decision in self.prepared.provenance.decisions if decision.run != key]
        for entry in run.entries:
            target: PurePosixPath | str | None = targets.get(entry.path)
            action, reason = planned[entry.path].action, planned[entry.path].reason
            if entry.path in failed:
                # this gets published, so no folder of the machine stands in it
                reason = f"problem: {failed[entry.path]}".replace(f"{run.folder}{os.sep}", "")
                target = earlier.get(entry.path)
                if target is None:
                    action = Action.EXCLUDE
                else:
                    reason = f"packaged earlier, and has a problem now: {reason.removeprefix('problem: ')}"
            decisions.append(
                Decision(
                    run=key,
                    source=run.source_of(entry),
                    action=action.value,
                    target=str(target) if target else None,
                    reason=reason,
                )
            )
        self.prepared.provenance.decisions = decisions
