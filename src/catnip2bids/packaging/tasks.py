"""From planned runs to tasks: which file of the dataset each source entry becomes.

Invariant: no two tasks of a dataset write the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.bids.names import BidsName, run_name
from catnip2bids.bids.places import COUNTS, DERIVATIVE, copy_of, image_stem, sidecar_of
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.catnip.component import Action, ComponentType, Content, Grid, Storage
from catnip2bids.catnip.components import COMPONENTS, HEMISPHERE_MASK, WHOLE_LABELS
from catnip2bids.choices import Format, Naming
from catnip2bids.comparison import Relation
from catnip2bids.ome import OmeTiff, OmeZarr
from catnip2bids.packaging.proofs import Proof
from catnip2bids.paths import spelled_otherwise
from catnip2bids.plan import PlannedRun, problems_of
from catnip2bids.publish import too_long
from catnip2bids.scanning import Entry, Run, files_below
from catnip2bids.volume import Volume


@dataclass(frozen=True)
class ImageTask:
    """A volume that becomes an image of the dataset.

    Attributes
    ----------
    entry, component, volume
        What it is made from.
    source
        Name of the run folder and POSIX path of the entry in it: the same whatever SOURCE was given.
    target
        The image, below the dataset.
    raw
        Whether it is the raw image, and not a derivative.
    voxel_size_um
        Voxel size X Y Z in micrometers.
    recovered_from
        The entry without its mask, where the image is that mask, recovered from `entry`.
    """

    entry: Entry
    component: ComponentType
    volume: Volume
    source: str
    target: PurePosixPath
    raw: bool
    voxel_size_um: tuple[float, float, float]
    recovered_from: Entry | None = None

    @property
    def stem(self) -> str:
        """Name of the image without its ending."""
        return image_stem(self.target)

    @property
    def sidecar(self) -> PurePosixPath:
        """The JSON file beside the image."""
        return sidecar_of(self.target)

    @property
    def description(self) -> str:
        """What the image is, and what CATNIP calls it."""
        if self.recovered_from is not None:
            return (
                f"{self.component.described(None)}; recovered from CATNIP's {self.recovered_from.path} and "
                f"{self.entry.path}, which is the one times this mask; where there are no labels it is not known, and 1"
            )
        return f"{self.component.described(self.entry.threshold)} (CATNIP {self.entry.path})"

    @property
    def desc(self) -> str | None:
        """Label of the ``desc-`` entity, whether or not it is part of the name."""
        return self.component.desc_label(self.entry.threshold)


@dataclass(frozen=True)
class CountsTask:
    """A table of cell counts that becomes a TSV file; it is also copied as it is."""

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
    """A file or folder that is kept as it is."""

    entry: Entry
    target: PurePosixPath


@dataclass(frozen=True)
class RunTasks:
    """Everything that is to be done for one run.

    Attributes
    ----------
    run, planned
        The run and its part of the plan.
    subject, sample
        Its labels.
    images, counts, copies
        The tasks.
    problems
        Entries that cannot be done as planned, and why, by their paths.
    proofs
        What the pixels of entries say, where something rests on it.
    """

    run: Run
    planned: PlannedRun
    subject: str
    sample: str
    images: tuple[ImageTask, ...]
    counts: tuple[CountsTask, ...]
    copies: tuple[CopyTask, ...]
    problems: dict[str, str]
    proofs: tuple[Proof, ...] = ()

    @property
    def name(self) -> BidsName:
        """The entities that all files of the run share."""
        return run_name(self.subject, self.sample, self.planned.stain)

    @property
    def everything(self) -> tuple[ImageTask | CountsTask | CopyTask, ...]:
        """All tasks."""
        return (*self.images, *self.counts, *self.copies)

    @property
    def raw_image(self) -> ImageTask | None:
        """The raw image, if there is one."""
        return next((task for task in self.images if task.raw), None)

    def evidence_of(self, entry: Entry) -> dict[str, Any] | None:
        """Return what the pixels of an entry say, and the images that it can be made from again if it is left out."""
        images = {task.entry.path: str(task.target) for task in self.images if task.recovered_from is None}
        if entry.link_to is not None:
            image = images.get(entry.link_to)
            return {"compared_with": entry.link_to, "relation": Relation.IDENTICAL, "image": image}
        proof = next((proof for proof in self.proofs if proof.entry is entry), None)
        if proof is None:
            return None
        masks = [str(task.target) for task in self.images if task.component is HEMISPHERE_MASK]
        evidence = proof.evidence | {"image": images.get(proof.question.other.path)}
        return evidence | {"mask": masks[0]} if proof.holds and proof.question.is_masked and masks else evidence


def plan_tasks(
    run: Run,
    planned: PlannedRun,
    naming: Naming,
    voxel_size_um: tuple[float, float, float],
    proofs: Sequence[Proof] = (),
    image_format: Format = Format.OME_ZARR,
) -> RunTasks:
    """Lay out the tasks of one run.

    Parameters
    ----------
    run, planned
        The run and its part of the plan, which names a subject and a sample.
    naming
        How files that BIDS has no name for are named.
    voxel_size_um
        Voxel size X Y Z on the native grid in micrometers.
    proofs
        What the pixels say of its entries.
    image_format
        Format of the images.
    """
    if planned.subject is None or planned.sample is None:
        raise ValueError(f"{run.source} has no subject or no sample")
    names = _Names(planned, run_name(planned.subject, planned.sample, planned.stain), naming, image_format)
    problems = problems_of(run, planned)
    actions = {entry.source: entry.action for entry in planned.entries}
    images, counts, copies = [], [], []
    raw = _raw_entry(run, actions)
    for entry in run.entries:
        action, component = actions[entry.path], entry.component
        if entry.path in problems or action == Action.EXCLUDE:
            continue
        if action == Action.COPY or component is None:
            copies.append(CopyTask(entry, names.copy(entry)))
        elif component.storage == Storage.TABLE:
            counts.append(CountsTask(entry, component, names.counts(entry, component), names.copy(entry)))
        elif entry.volume is not None:
            target = names.raw() if entry is raw else names.derivative(entry, component)
            size_um = (ATLAS_VOXEL_SIZE_UM,) * 3 if component.grid == Grid.ATLAS else voxel_size_um
            source = f"{run.folder_name}/{entry.path}"
            images.append(ImageTask(entry, component, entry.volume, source, target, entry is raw, size_um))
    images += _recovered_masks(run, names, voxel_size_um, proofs)
    done = tuple(images), tuple(counts), tuple(copies)
    return _without_twins(RunTasks(run, planned, planned.subject, planned.sample, *done, problems, tuple(proofs)))


def _recovered_masks(
    run: Run, names: _Names, voxel_size_um: tuple[float, float, float], proofs: Sequence[Proof]
) -> Iterator[ImageTask]:
    """Yield masks that no entry holds, and without which an entry that is left out could not be made again."""
    for proof in proofs:
        if (volume := proof.recovered_mask) is not None:
            yield ImageTask(
                entry=proof.entry,
                component=HEMISPHERE_MASK,
                volume=volume,
                source=f"{run.folder_name}/{proof.entry.path}",
                target=names.derivative(proof.entry, HEMISPHERE_MASK),
                raw=False,
                voxel_size_um=voxel_size_um,
                recovered_from=proof.question.other,
            )


def _raw_entry(run: Run, actions: dict[str, Action]) -> Entry | None:
    """Choose the entry whose image becomes the raw image: the first of the table that is to be converted."""
    candidates = [
        entry
        for entry in run.entries
        if entry.component and entry.component.raw and actions[entry.path] == Action.CONVERT
    ]
    return min(candidates, key=lambda entry: [row is entry.component for row in COMPONENTS].index(True), default=None)


def _without_twins(tasks: RunTasks) -> RunTasks:
    """Two entries that would become one file are both problems: nobody knows which is right."""
    by_target: dict[PurePosixPath, list[ImageTask | CountsTask | CopyTask]] = {}
    for task in tasks.everything:
        by_target.setdefault(task.target, []).append(task)
    twins = [found for found in by_target.values() if len(found) > 1]
    if not twins:
        return tasks
    problems = {}
    for found in twins:
        paths = " and ".join(task.entry.path for task in found)
        for task in found:
            problems[task.entry.path] = (
                f"{task.entry.location}: {paths} would both become {task.target}; exclude one of them in the plan"
            )
    return _leaving_out(tasks, problems)


def without_unfit_copies(tasks: RunTasks, dataset: Path) -> RunTasks:
    """Make copies problems that have too long a path in the dataset, or another file's but for case or accents."""
    copies = [*tasks.copies, *(CopyTask(task.entry, task.verbatim) for task in tasks.counts)]
    return _leaving_out(tasks, {copy.entry.path: what for copy in copies if (what := _unfit(copy, dataset))})


def _unfit(task: CopyTask, dataset: Path) -> str | None:
    for file in files_below(task.entry.location):
        target = task.target / file.relative_to(task.entry.location)
        if what := too_long(target, dataset):
            return f"{file}: {what}; give it a shorter name, or exclude {task.entry.path} in the plan"
        if other := spelled_otherwise(dataset, target):
            what = f"its copy and {other.relative_to(dataset)} in the dataset are one name on macOS and Windows"
            return f"{file}: {what}; rename one of them, or exclude {task.entry.path} in the plan"
    return None


def _leaving_out(tasks: RunTasks, more: Mapping[str, str]) -> RunTasks:
    """Leave out the tasks of entries with problems, which stand by their paths."""
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
    """Where the files of one run go."""

    planned: PlannedRun
    name: BidsName
    naming: Naming
    image_format: Format

    @property
    def _subject_folder(self) -> PurePosixPath:
        return PurePosixPath(f"sub-{self.planned.subject}/micr")

    def raw(self) -> PurePosixPath:
        return self._subject_folder / f"{self.name.with_entities('SPIM')}{self._ending(Grid.NATIVE)}"

    def derivative(self, entry: Entry, component: ComponentType) -> PurePosixPath:
        space = "orig" if component.in_image_space else None
        if component.grid == Grid.ATLAS:
            space = f"CATNIP{self.planned.atlas_version or ''}"
        desc, suffix = component.desc_label(entry.threshold), "SPIM"
        if self.naming == Naming.DSEG and component.content == Content.LABELS:
            suffix = "dseg"
            desc = None if component.role == WHOLE_LABELS else desc
        elif self.naming == Naming.DSEG and component.content == Content.MASK:
            suffix = "mask"
        name = self.name.with_entities(suffix, space=space, desc=desc)
        return DERIVATIVE / self._subject_folder / f"{name}{self._ending(component.grid)}"

    def _ending(self, grid: Grid | None) -> str:
        if self.image_format == Format.OME_ZARR:
            return OmeZarr.ending
        return OmeTiff(big=grid != Grid.ATLAS).ending

    def counts(self, entry: Entry, component: ComponentType) -> PurePosixPath:
        folder = DERIVATIVE if self.naming == Naming.DSEG else COUNTS
        name = self.name.with_entities("counts", desc=component.desc_label(entry.threshold))
        return folder / self._subject_folder / f"{name}.tsv"

    def copy(self, entry: Entry) -> PurePosixPath:
        return copy_of(self.name, entry.path)
