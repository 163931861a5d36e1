"""From planned runs to tasks: which file of the dataset each source entry becomes.

Invariant: no two tasks of a dataset write the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from catnip2bids.atomic_write import too_long
from catnip2bids.bids.dataset_paths import COUNTS, DERIVATIVE, copy_of, image_stem, sidecar_of
from catnip2bids.bids.names import BidsName, run_name
from catnip2bids.build_image import ImageSpec
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM, AtlasTable
from catnip2bids.catnip.component_type import Action, ComponentType, Content, SourceFormat, VoxelGrid
from catnip2bids.catnip.components import COMPONENTS, HEMISPHERE_MASK, WHOLE_LABELS
from catnip2bids.comparison import Relation
from catnip2bids.enums import Format, Naming
from catnip2bids.ome import ImageFormat, LabelValue, OmeTiff, OmeZarr, color_of_label, is_label_type
from catnip2bids.packaging.atlases import atlas_of
from catnip2bids.packaging.redundancy import CheckedPlan, RedundancyResult
from catnip2bids.packaging.settings import Settings
from catnip2bids.paths import spelled_otherwise
from catnip2bids.plan import PlannedRun, problems_of
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
    def desc(self) -> str | None:
        """Label of the ``desc-`` entity, whether or not it is part of the name."""
        return self.component.desc_label(self.entry.threshold)

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

    @property
    def desc(self) -> str | None:
        """Label of the ``desc-`` entity."""
        return self.component.desc_label(self.entry.threshold)


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
    redundancy: tuple[RedundancyResult, ...]

    @property
    def name(self) -> BidsName:
        """The entities that all files of the run share."""
        return run_name(self.subject, self.sample, self.planned.stain)

    @property
    def all_tasks(self) -> tuple[ImageTask | CountsTask | CopyTask, ...]:
        """All tasks."""
        return (*self.images, *self.counts, *self.copies)

    @property
    def raw_image(self) -> ImageTask | None:
        """The raw image, if there is one."""
        return next((task for task in self.images if task.raw), None)

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
        evidence = result.evidence | {"image": images.get(result.check.other.path)}
        return evidence | {"mask": masks[0]} if result.is_redundant and result.check.is_masked and masks else evidence


def plan_tasks(
    run: Run,
    checked: CheckedPlan,
    settings: Settings,
    atlas: AtlasTable | None,
    dataset: Path,
) -> RunTasks:
    """Plan the tasks of one run, without copies that the dataset cannot hold.

    Parameters
    ----------
    run, checked
        The run, and its plan, which must have a subject, a sample and a voxel size.
    settings
        The user's settings.
    atlas
        The user's atlas table.
    dataset
        The dataset; it need not exist.
    """
    planned = checked.planned
    if planned.subject is None or planned.sample is None or planned.voxel_size_um is None:
        raise ValueError(f"{run.source} has no subject, no sample or no voxel size")
    problems = problems_of(run, planned)
    actions = {entry.source: entry.action for entry in planned.entries}
    names = _Names(planned, run_name(planned.subject, planned.sample, planned.stain), settings)
    volumes: list[tuple[Entry, ComponentType]] = []
    counts, copies = [], []
    for entry in run.entries:
        action, component = actions[entry.path], entry.component
        if entry.path in problems or action == Action.EXCLUDE:
            continue
        if action == Action.COPY or component is None:
            copies.append(CopyTask(entry, names.copy(entry)))
        elif component.storage == SourceFormat.TABLE:
            counts.append(CountsTask(entry, component, names.counts(entry, component), names.copy(entry)))
        elif entry.volume is not None:
            volumes.append((entry, component))
    regions = atlas_of((table.entry.location for table in counts), atlas, dataset)
    of_run = _Images(run, names, planned.voxel_size_um, regions)
    raw = _raw_entry(run, actions)
    images = [of_run.converted(entry, component, raw=entry is raw) for entry, component in volumes]
    images += [of_run.recovered_mask(result) for result in checked.results if result.recovered_mask is not None]
    tasks = RunTasks(
        run=run,
        planned=planned,
        subject=planned.subject,
        sample=planned.sample,
        images=tuple(images),
        counts=tuple(counts),
        copies=tuple(copies),
        problems=problems,
        atlas=of_run.atlas,
        redundancy=checked.results,
    )
    return _without_unfit_copies(_without_duplicates(tasks), dataset)


@dataclass(frozen=True)
class _Images:
    """The images of one run."""

    run: Run
    names: _Names
    voxel_size_um: tuple[float, float, float]
    atlas: AtlasTable

    def converted(self, entry: Entry, component: ComponentType, *, raw: bool) -> ImageTask:
        """Return the image of an entry."""
        target = self.names.raw() if raw else self.names.derivative(entry, component)
        description = f"{component.described(entry.threshold)} (CATNIP {entry.path})"
        return replace(self._task(entry, component, target, cast("Volume", entry.volume), description), raw=raw)

    def recovered_mask(self, result: RedundancyResult) -> ImageTask:
        """Return the image of a mask that no entry holds, and without which an entry could not be made again."""
        target, other = self.names.derivative(result.entry, HEMISPHERE_MASK), result.check.other
        description = (
            f"{HEMISPHERE_MASK.described(None)}; recovered from CATNIP's {other.path} and {result.entry.path}, which "
            "is the one times this mask; where there are no labels it is not known, and 1"
        )
        volume = cast("Volume", result.recovered_mask)
        task = self._task(result.entry, HEMISPHERE_MASK, target, volume, description)
        return replace(task, recovered_from=other)

    def _task(
        self,
        entry: Entry,
        component: ComponentType,
        target: PurePosixPath,
        volume: Volume,
        description: str,
    ) -> ImageTask:
        source, stem = f"{self.run.folder_name}/{entry.path}", image_stem(target)
        regions = [(r.index, r.name, r.abbreviation, r.color) for r in self.atlas.regions.values()]
        spec = ImageSpec(
            volume=volume,
            name=stem,
            channel=component.desc_label(entry.threshold) or stem,
            voxel_size_um=(ATLAS_VOXEL_SIZE_UM,) * 3 if component.grid == VoxelGrid.ATLAS else self.voxel_size_um,
            kind=component.content.kind,
            format=self.names.format(component.grid),
            description=description,
            name_label=self._name_label(component) if is_label_type(volume.dtype) else None,
            fingerprint_extra=[
                source,
                str(target),
                component.content.value,
                regions if component.content == Content.LABELS else [],
                *(sorted(volume.emptied) if isinstance(volume, RecoveredMask) else []),
            ],
        )
        return ImageTask(entry, component, source, target, raw=False, spec=spec)

    def _name_label(self, component: ComponentType) -> Callable[[int], LabelValue] | None:
        """Return the function that names the label values of a component; None if it has no labels."""
        if component.content == Content.LABELS:
            return self._region
        if component.content == Content.MASK:
            return lambda value: LabelValue(value, component.value_name or "inside", None, "#ffffff")
        return None

    def _region(self, value: int) -> LabelValue:
        region = self.atlas.region_of(value)
        return LabelValue(value, region.name, region.abbreviation, region.color or color_of_label(value))


def _raw_entry(run: Run, actions: dict[str, Action]) -> Entry | None:
    """Choose the entry whose image becomes the raw image: the first of the table that is to be converted."""
    candidates = [
        entry
        for entry in run.entries
        if entry.component and entry.component.raw and actions[entry.path] == Action.CONVERT
    ]
    return min(candidates, key=lambda entry: [row is entry.component for row in COMPONENTS].index(True), default=None)


def _without_duplicates(tasks: RunTasks) -> RunTasks:
    """Make all entries problems that would become the same file: nobody knows which is right."""
    by_target: dict[PurePosixPath, list[ImageTask | CountsTask | CopyTask]] = {}
    for task in tasks.all_tasks:
        by_target.setdefault(task.target, []).append(task)
    duplicates = [found for found in by_target.values() if len(found) > 1]
    if not duplicates:
        return tasks
    problems = {}
    for found in duplicates:
        paths = " and ".join(task.entry.path for task in found)
        for task in found:
            problems[task.entry.path] = (
                f"{task.entry.location}: {paths} would both become {task.target}; exclude one of them in the plan"
            )
    return _leaving_out(tasks, problems)


def _without_unfit_copies(tasks: RunTasks, dataset: Path) -> RunTasks:
    """Make copies problems whose path is too long, or differs from another file's only in case or accents."""
    copies = [*tasks.copies, *(CopyTask(task.entry, task.verbatim) for task in tasks.counts)]
    return _leaving_out(tasks, {copy.entry.path: what for copy in copies if (what := _unfit(copy, dataset))})


def _unfit(task: CopyTask, dataset: Path) -> str | None:
    for file in files_below(task.entry.location):
        target = task.target / file.relative_to(task.entry.location)
        if what := too_long(target, dataset):
            return f"{file}: {what}; give it a shorter name, or exclude {task.entry.path} in the plan"
        if other := spelled_otherwise(dataset, target):
            what = f"its copy and {other.relative_to(dataset)} in the dataset are the same name on macOS and Windows"
            return f"{file}: {what}; rename one of them, or exclude {task.entry.path} in the plan"
    return None


def _leaving_out(tasks: RunTasks, more: Mapping[str, str]) -> RunTasks:
    """Remove the tasks of entries with problems; `more` has the new ones, by the paths of entries."""
    problems = {**tasks.problems, **more}
    return replace(
        tasks,
        images=tuple(task for task in tasks.images if task.entry.path not in problems),
        counts=tuple(task for task in tasks.counts if task.entry.path not in problems),
        copies=tuple(task for task in tasks.copies if task.entry.path not in problems),
        problems=problems,
    )


@dataclass(frozen=True)
class _Names:
    """The paths of the files of one run in the dataset."""

    planned: PlannedRun
    name: BidsName
    settings: Settings

    @property
    def _subject_folder(self) -> PurePosixPath:
        return PurePosixPath(f"sub-{self.planned.subject}/micr")

    def raw(self) -> PurePosixPath:
        return self._subject_folder / f"{self.name.with_entities('SPIM')}{self.format(VoxelGrid.NATIVE).ending}"

    def derivative(self, entry: Entry, component: ComponentType) -> PurePosixPath:
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
        return DERIVATIVE / self._subject_folder / f"{name}{self.format(component.grid).ending}"

    def format(self, grid: VoxelGrid | None) -> ImageFormat:
        """Return the format of an image: an OME-TIFF on the native grid may need more than 4 GiB."""
        settings = self.settings
        if settings.image_format == Format.OME_ZARR:
            return OmeZarr(settings.ome_zarr_version)
        return OmeTiff(big=grid != VoxelGrid.ATLAS, compression=settings.compression, pyramid=settings.pyramid)

    def counts(self, entry: Entry, component: ComponentType) -> PurePosixPath:
        folder = DERIVATIVE if self.settings.naming == Naming.DSEG else COUNTS
        name = self.name.with_entities("counts", desc=component.desc_label(entry.threshold))
        return folder / self._subject_folder / f"{name}.tsv"

    def copy(self, entry: Entry) -> PurePosixPath:
        return copy_of(self.name, entry.path)
