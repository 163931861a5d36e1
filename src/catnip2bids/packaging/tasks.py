"""From planned runs to tasks: which file of the dataset each source entry becomes.

Invariant: no two tasks of a dataset write the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.atomic_write import too_long
from catnip2bids.bids.dataset_paths import (
    DERIVATIVE,
    BidsName,
    copy_of,
    image_stem,
    run_name,
    sidecar_of,
    tables_folder,
)
from catnip2bids.bids.provenance import Provenance, RunRecord
from catnip2bids.build_image import ImageSpec
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM, AtlasTable
from catnip2bids.catnip.component_type import Action, ComponentType, Content, SourceFormat, VoxelGrid
from catnip2bids.catnip.components import COMPONENTS, HEMISPHERE_MASK, WHOLE_LABELS
from catnip2bids.comparison import Relation
from catnip2bids.enums import Format, Naming
from catnip2bids.ome import ImageFormat, LabelValue, OmeTiff, OmeZarr, is_label_type
from catnip2bids.packaging.label_names import label_value
from catnip2bids.packaging.redundancy import CheckedPlan, RedundancyCheck
from catnip2bids.packaging.region_tables import AtlasTables
from catnip2bids.packaging.result import RunSummary
from catnip2bids.packaging.settings import Settings
from catnip2bids.paths import spelled_otherwise
from catnip2bids.plan import PlannedRun
from catnip2bids.scanning import Entry, Run, files_below
from catnip2bids.volume import RecoveredMask, Volume


@dataclass(frozen=True)
class ImageTask:
    """Convert an entry of a run to an image of the dataset."""

    entry: Entry
    component: ComponentType
    source: str  # run folder and POSIX path of the entry in it: the same whatever SOURCE was given
    target: PurePosixPath  # the image, below the dataset
    raw: bool  # whether it is the raw image, and not a derivative
    spec: ImageSpec
    recovered_from: Entry | None = None  # the unmasked entry, if the image is the mask between it and `entry`

    @property
    def volume(self) -> Volume:
        """The pixels."""
        return self.spec.volume

    @property
    def sidecar(self) -> PurePosixPath:
        """The JSON file beside the image."""
        return sidecar_of(self.target)

    @property
    def has_labels(self) -> bool:
        """Whether the image holds labels or a mask."""
        return self.component.content in {Content.LABELS, Content.MASK}


@dataclass(frozen=True)
class CountsTask:
    """Convert a table of cell counts to TSV, and copy the original too."""

    entry: Entry
    component: ComponentType
    target: PurePosixPath
    verbatim: PurePosixPath


@dataclass(frozen=True)
class CopyTask:
    """Copy a file or folder unchanged."""

    entry: Entry
    target: PurePosixPath


@dataclass(frozen=True)
class RunTasks:
    """All tasks of one run."""

    run: Run
    planned: PlannedRun
    subject: str
    sample: str
    images: tuple[ImageTask, ...]
    counts: tuple[CountsTask, ...]
    copies: tuple[CopyTask, ...]
    problems: dict[str, str]  # why entries cannot be packaged as planned, by their paths
    atlas: AtlasTable  # names of the label values
    redundancy: tuple[RedundancyCheck, ...]
    tables_folder: PurePosixPath  # of the tables of counts and cells

    @property
    def name(self) -> BidsName:
        """The entities that all files of the run share."""
        return run_name(self.subject, self.sample, self.planned.stain)

    def cells_target(self, threshold: int) -> PurePosixPath:
        """Return the path of the table of cells of one segmentation."""
        name = self.name.with_entities("cells", desc=f"FRSTseg{threshold}")
        return self.tables_folder / f"sub-{self.subject}/micr/{name}.tsv.gz"

    @property
    def all_tasks(self) -> tuple[ImageTask | CountsTask | CopyTask, ...]:
        """All tasks."""
        return (*self.images, *self.counts, *self.copies)

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """The voxel size of images on the native grid, X Y Z."""
        if self.planned.voxel_size_um is None:
            raise ValueError(f"{self.run.source} has no voxel size")
        return self.planned.voxel_size_um

    @property
    def raw_image(self) -> ImageTask | None:
        """The raw image, if there is one."""
        return next((task for task in self.images if task.raw), None)

    def rewritten_counts(self, provenance: Provenance) -> list[PurePosixPath]:
        """List the tables of counts that are written, and those of earlier commands that the plan excludes now."""
        excluded = {entry.source for entry in self.planned.entries if entry.action == Action.EXCLUDE}
        key = str(self.name)
        earlier = provenance.decisions_of(key) if key in provenance.runs else {}
        targets = (earlier[source].target for source in excluded & earlier.keys())
        return [*(task.target for task in self.counts), *map(PurePosixPath, filter(None, targets))]

    def summary(self, n_images: int, failed: Collection[str]) -> RunSummary:
        """Summarize the run, with the number of its images, and the paths of entries that could not be packaged."""
        excluded = {entry.source for entry in self.planned.entries if entry.action == Action.EXCLUDE}
        return RunSummary(
            name=str(self.name),
            n_images=n_images,
            n_tables=sum(task.entry.path not in failed for task in self.counts),
            n_copies=sum(task.entry.path not in failed for task in self.copies),
            n_excluded=len(excluded.difference(failed)),
            n_problems=len(failed),
        )

    def evidence_of(self, entry: Entry) -> dict[str, Any] | None:
        """Return the evidence of an excluded entry: the comparison, and the images from which it can be restored."""
        images = {task.entry.path: str(task.target) for task in self.images if task.recovered_from is None}
        if entry.link_to is not None:
            image = images.get(entry.link_to)
            return {"compared_with": entry.link_to, "relation": Relation.IDENTICAL, "image": image}
        result = next((result for result in self.redundancy if result.entry is entry), None)
        if result is None:
            return None
        masks = [str(task.target) for task in self.images if task.component is HEMISPHERE_MASK]
        evidence = result.evidence | {"image": images.get(result.other.path)}
        return evidence | {"mask": masks[0]} if result.is_redundant and result.is_masked and masks else evidence


def plan_tasks(
    run: Run, checked: CheckedPlan, settings: Settings, atlases: AtlasTables, packaged: Mapping[str, RunRecord]
) -> RunTasks:
    """Plan the tasks of one run, without copies that the dataset cannot hold.

    The plan must have a subject, a sample and a voxel size; `packaged` has the runs in the dataset.
    """
    planned = checked.planned
    if planned.subject is None or planned.sample is None or planned.voxel_size_um is None:
        raise ValueError(f"{run.source} has no subject, no sample or no voxel size")
    problems = dict(checked.problems)
    actions = {entry.source: entry.action for entry in planned.entries}
    volumes: list[tuple[Entry, ComponentType, Volume]] = []
    tables: list[tuple[Entry, ComponentType]] = []
    copies: list[Entry] = []
    for entry in run.entries:
        action, component = actions[entry.path], entry.component
        if entry.path in problems or action == Action.EXCLUDE:
            continue
        if action == Action.COPY or component is None:
            copies.append(entry)
        elif component.storage == SourceFormat.TABLE:
            tables.append((entry, component))
        elif entry.volume is not None:
            volumes.append((entry, component, entry.volume))
    name = run_name(planned.subject, planned.sample, planned.stain)
    regions = atlases.of_run(str(name), planned.atlas_version, [entry.location for entry, _ in tables])
    maker = _TaskMaker(run, planned, name, planned.voxel_size_um, settings, regions)
    raw = _raw_entry(run, actions, packaged.get(str(name)))
    images = [maker.image(*volume, raw=volume[0] is raw) for volume in volumes]
    masks = ((check, check.recovered_mask) for check in checked.results)
    images += [maker.recovered_mask(check, mask) for check, mask in masks if mask is not None]
    tasks = RunTasks(
        run=run,
        planned=planned,
        subject=planned.subject,
        sample=planned.sample,
        images=tuple(images),
        counts=tuple(maker.counts(entry, component) for entry, component in tables),
        copies=tuple(CopyTask(entry, copy_of(name, entry.path)) for entry in copies),
        problems=problems,
        atlas=regions,
        redundancy=checked.results,
        tables_folder=tables_folder(settings.naming),
    )
    return _without_conflicts(tasks, atlases.dataset)


@dataclass(frozen=True)
class _TaskMaker:
    """Makes the tasks of one run."""

    run: Run
    planned: PlannedRun
    name: BidsName
    voxel_size_um: tuple[float, float, float]
    settings: Settings
    atlas: AtlasTable

    def image(self, entry: Entry, component: ComponentType, volume: Volume, *, raw: bool) -> ImageTask:
        """Return the task for the image of an entry."""
        description = f"{component.described(entry.threshold)} (CATNIP {entry.path})"
        if not raw:
            return self._image(entry, component, self._derivative(entry, component), volume, description)
        target = self._subject_folder / f"{self.name.with_entities('SPIM')}{self._format(VoxelGrid.NATIVE).ending}"
        return replace(self._image(entry, component, target, volume, description), raw=True)

    def recovered_mask(self, result: RedundancyCheck, mask: RecoveredMask) -> ImageTask:
        """Return the task for a mask that no entry holds, but that is needed to restore an excluded entry."""
        target, other = self._derivative(result.entry, HEMISPHERE_MASK), result.other
        description = (
            f"{HEMISPHERE_MASK.described(None)}; recovered from CATNIP's {other.path} and {result.entry.path}, which "
            "is the one times this mask; where there are no labels it is not known, and 1"
        )
        return replace(self._image(result.entry, HEMISPHERE_MASK, target, mask, description), recovered_from=other)

    def counts(self, entry: Entry, component: ComponentType) -> CountsTask:
        """Return the task for a table of counts."""
        name = self.name.with_entities("counts", desc=component.desc_label(entry.threshold))
        target = tables_folder(self.settings.naming) / self._subject_folder / f"{name}.tsv"
        return CountsTask(entry, component, target, copy_of(self.name, entry.path))

    def _image(
        self, entry: Entry, component: ComponentType, target: PurePosixPath, volume: Volume, description: str
    ) -> ImageTask:
        source, stem = f"{self.run.folder_name}/{entry.path}", image_stem(target)
        spec = ImageSpec(
            volume=volume,
            name=stem,
            channel=component.desc_label(entry.threshold) or stem,
            voxel_size_um=(ATLAS_VOXEL_SIZE_UM,) * 3 if component.grid == VoxelGrid.ATLAS else self.voxel_size_um,
            kind=component.content.kind,
            format=self._format(component.grid),
            description=description,
            name_label=self._name_label(component) if is_label_type(volume.dtype) else None,
            fingerprint_extra=[
                source,
                str(target),
                component.content.value,
                [],  # earlier versions had the names of regions here
                *(sorted(volume.emptied) if isinstance(volume, RecoveredMask) else []),
            ],
        )
        return ImageTask(entry, component, source, target, raw=False, spec=spec)

    def _name_label(self, component: ComponentType) -> Callable[[int], LabelValue] | None:
        """Return the function that names the label values of a component; None if it has no labels."""
        if component.content == Content.LABELS:
            return partial(label_value, self.atlas)
        if component.content == Content.MASK:
            return lambda value: LabelValue(value, component.value_name or "inside", None, "#ffffff")
        return None

    @property
    def _subject_folder(self) -> PurePosixPath:
        return PurePosixPath(f"sub-{self.planned.subject}/micr")

    def _derivative(self, entry: Entry, component: ComponentType) -> PurePosixPath:
        space = "orig" if component.in_image_space else None
        if component.grid == VoxelGrid.ATLAS:
            space = f"CATNIP{self.planned.atlas_version or ''}"
        desc, suffix = component.desc_label(entry.threshold), "SPIM"
        if self.settings.naming == Naming.DSEG and component.content == Content.LABELS:
            suffix = "dseg"
            desc = None if component.role == WHOLE_LABELS else desc
        elif self.settings.naming == Naming.DSEG and component.content == Content.MASK:
            suffix = "mask"
        name = self.name.with_entities(suffix, space=space, desc=desc)
        return DERIVATIVE / self._subject_folder / f"{name}{self._format(component.grid).ending}"

    def _format(self, grid: VoxelGrid | None) -> ImageFormat:
        """Return the format of an image: an OME-TIFF on the native grid may need more than 4 GiB."""
        settings = self.settings
        if settings.image_format == Format.OME_ZARR:
            return OmeZarr(settings.ome_zarr_version)
        return OmeTiff(big=grid != VoxelGrid.ATLAS, compression=settings.compression, pyramid=settings.pyramid)


def _raw_entry(run: Run, actions: dict[str, Action], packaged: RunRecord | None) -> Entry | None:
    """Choose the entry whose image becomes the raw image: the first of the table that is to be converted.

    If the source of the raw image in the dataset is gone, only an entry of the same role can take its place: the image
    may be all that is left of it.
    """
    paths = {entry.path for entry in run.entries}
    images = packaged.images.items() if packaged else ()
    gone = {image.role for target, image in images if target.startswith("sub-") and image.source not in paths}
    candidates = [
        entry
        for entry in run.entries
        if entry.component
        and entry.component.raw
        and actions[entry.path] == Action.CONVERT
        and gone <= {entry.component.role}
    ]
    return min(candidates, key=lambda entry: [row is entry.component for row in COMPONENTS].index(True), default=None)


def _without_conflicts(tasks: RunTasks, dataset: Path) -> RunTasks:
    """Make entries problems that would become the same file, and copies that the dataset cannot hold.

    Nobody knows which of several entries for one file is right.
    """
    by_target: dict[PurePosixPath, list[ImageTask | CountsTask | CopyTask]] = {}
    for task in tasks.all_tasks:
        by_target.setdefault(task.target, []).append(task)
    problems = dict(tasks.problems)
    for target, found in by_target.items():
        paths = " and ".join(task.entry.path for task in found)
        for task in found if len(found) > 1 else ():
            what = f"{paths} would both become {target}; exclude one of them in the plan"
            problems[task.entry.path] = f"{task.entry.location}: {what}"
    for copy in (*tasks.copies, *(CopyTask(task.entry, task.verbatim) for task in tasks.counts)):
        if copy.entry.path not in problems and (unfit := _unfit(copy, dataset)):
            problems[copy.entry.path] = unfit
    return replace(
        tasks,
        images=tuple(task for task in tasks.images if task.entry.path not in problems),
        counts=tuple(task for task in tasks.counts if task.entry.path not in problems),
        copies=tuple(task for task in tasks.copies if task.entry.path not in problems),
        problems=problems,
    )


def _unfit(task: CopyTask, dataset: Path) -> str | None:
    """Return why the path of a copy is too long, or differs from another file's only in case or accents."""
    for file in files_below(task.entry.location):
        target = task.target / file.relative_to(task.entry.location)
        if what := too_long(target, dataset):
            return f"{file}: {what}; give it a shorter name, or exclude {task.entry.path} in the plan"
        if other := spelled_otherwise(dataset, target):
            what = f"its copy and {other.relative_to(dataset)} in the dataset are the same name on macOS and Windows"
            return f"{file}: {what}; rename one of them, or exclude {task.entry.path} in the plan"
    return None
