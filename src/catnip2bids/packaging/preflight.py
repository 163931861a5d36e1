"""Check everything before the first byte is written: settings, sources, plan, dataset and pixels.

Invariant: nothing is written here. After it, only single items can fail, and they do not stop the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from catnip2bids.atomic_write import refuse_overlap, refuse_unwritable
from catnip2bids.bids.dataset_paths import check_label
from catnip2bids.bids.provenance import PLAN, Provenance, is_ours, read_provenance
from catnip2bids.bids.tables import read_table
from catnip2bids.catnip.atlas import read_atlas_table
from catnip2bids.catnip.run_name import SAMPLES, parse_run_name, sample_label
from catnip2bids.documents import refuse_foreign
from catnip2bids.engine import Resources
from catnip2bids.enums import DEFAULT_STAIN
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.formatting import first_problems, format_choices, format_count, format_list
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.packaging.atlas_checks import atlas_warnings, changed_atlases, refuse_renamed_regions
from catnip2bids.packaging.earlier_choices import take_over_choices
from catnip2bids.packaging.existing_dataset import (
    check_checksums,
    check_counts,
    check_existing,
    check_names,
    check_provenance_size,
)
from catnip2bids.packaging.participants import (
    COLUMNS,
    PARTICIPANTS,
    GivenParticipants,
    contradictions,
    read_participants,
    unknown_participants,
)
from catnip2bids.packaging.preflight_warnings import (
    changed_voxel_sizes,
    run_warnings,
    task_warnings,
)
from catnip2bids.packaging.redundancy import CheckedPlan, check_redundancy
from catnip2bids.packaging.region_tables import AtlasTables
from catnip2bids.packaging.settings import Settings
from catnip2bids.packaging.tasks import RunTasks, plan_tasks
from catnip2bids.plan import (
    AboutDataset,
    Plan,
    PlannedRun,
    divided_animals,
    empty_labels,
    identity_of,
    make_plan,
    match_plan,
    read_plan,
    refuse_collisions,
)
from catnip2bids.progress import Progress
from catnip2bids.scanning import Run, Scan, scan_with_resources, source_list

_PlannedRuns = list[tuple[Run, PlannedRun]]

_WHERE_VOXEL_SIZES_ARE = (
    "CATNIP records it nowhere. Give it with --voxel-size X Y Z in micrometers (such as --voxel-size 3.7 3.7 5), or in "
    "the plan; it stands in the metadata of the microscope's files, or in the protocol of the imaging session"
)


@dataclass(frozen=True)
class Preflight:
    """Everything that is known before the first byte is written."""

    sources: tuple[Path, ...]
    dataset: Path
    settings: Settings
    plan: Plan  # with the settings in it
    explicit: bool  # whether a person gave the plan
    plan_file: Path | None  # the file of the plan, if it was given as a file
    runs: tuple[RunTasks, ...]
    participants: GivenParticipants | None
    provenance: Provenance  # of earlier commands
    resources: Resources
    warnings: tuple[str, ...]


def run_preflight(
    sources: Sequence[Path | str] | Path | str,
    dataset: Path | str,
    settings: Settings,
    plan: Path | str | Plan | None,
    resources: Resources,
    progress: Progress,
) -> Preflight:
    """Check everything, and write nothing."""
    dataset, folders = Path(dataset), source_list(sources)
    if resources.executor is not None:  # the working directory of workers may be another one
        dataset, folders = dataset.absolute(), [folder.absolute() for folder in folders]
    _refuse_folder(dataset, folders)
    refuse_unwritable(dataset)
    provenance = read_provenance(dataset)
    _refuse_other_naming(settings, dataset, provenance)
    plan_file = Path(plan) if isinstance(plan, str | Path) else None
    given = read_plan(plan_file) if plan_file is not None else cast("Plan | None", plan)
    default_um = settings.voxel_size_um or (given.dataset.voxel_size_um if given else None)
    if given is None and default_um is None:
        raise UsageError(f"the voxel size is not known: {_WHERE_VOXEL_SIZES_ARE}")
    found = _scan(folders, dataset, resources, progress)
    proposed = given or make_plan(found)
    if given is None:
        keys = [_key(run, settings) for run in proposed.runs]
        take_over_choices(proposed, keys, provenance, dataset, progress)
    matched = _with_voxel_sizes(match_plan(found, proposed), settings, default_um)
    labelled = _with_labels(matched, settings, plan_file, provenance, progress)
    checked = _checked(labelled, provenance, resources, progress, overwrite=settings.overwrite)
    planned_runs = [(run, plan.planned) for run, plan in checked]
    _refuse_conflicts(provenance, planned_runs)
    warnings = run_warnings(checked)
    identities = [*map(identity_of, provenance.runs.values()), *(identity_of(planned) for _, planned in planned_runs)]
    warnings += divided_animals(identities)
    atlas = read_atlas_table(Path(settings.atlas_table), warnings.append) if settings.atlas_table else None
    atlases = AtlasTables(dataset, provenance, given=atlas)
    tasks = tuple(plan_tasks(run, plan, settings, atlases, provenance.runs) for run, plan in checked)
    _check_dataset(dataset, provenance, tasks, settings)
    warnings += changed_atlases(dataset, provenance, tasks)
    warnings += changed_voxel_sizes(tasks, provenance, given, settings)
    warnings += atlas_warnings(dataset, tasks, atlas, settings.atlas_table)
    warnings += task_warnings(tasks, provenance)
    participants = read_participants(Path(settings.participants), warnings.append) if settings.participants else None
    before = read_table(dataset / PARTICIPANTS, COLUMNS)
    warnings += contradictions(before, tasks, participants, explicit=given is not None)
    warnings += unknown_participants(before, tasks, participants)
    about = _about_dataset(dataset, given, proposed, default_um)
    return Preflight(
        sources=found.sources,
        dataset=dataset,
        settings=settings,
        plan=Plan(dataset=about, runs=[planned for _, planned in planned_runs]),
        explicit=given is not None,
        plan_file=plan_file,
        runs=tasks,
        participants=participants,
        provenance=provenance,
        resources=resources,
        warnings=tuple(warnings),
    )


def _checked(
    labelled: _PlannedRuns, provenance: Provenance, resources: Resources, progress: Progress, *, overwrite: bool
) -> list[tuple[Run, CheckedPlan]]:
    """Find the entries that pixels show to be redundant, and note those that the plan converts."""
    checked = [
        (run, check_redundancy(run, planned, provenance, resources, progress, overwrite=overwrite))
        for run, planned in labelled
    ]
    _note_same_as_packaged(checked, progress)
    return checked


def _check_dataset(dataset: Path, provenance: Provenance, runs: Sequence[RunTasks], settings: Settings) -> None:
    """Refuse what cannot become files of the dataset, or cannot be merged with those that are there."""
    check_names(dataset, runs)
    check_provenance_size(dataset, provenance, runs)
    check_existing(dataset, provenance, runs)
    if not settings.overwrite:
        check_checksums(dataset, provenance)
    refuse_renamed_regions(dataset, provenance)
    check_counts(dataset, [dataset / target for run in runs for target in run.rewritten_counts(provenance)])


def _about_dataset(
    dataset: Path, given: Plan | None, proposed: Plan, voxel_size_um: tuple[float, float, float] | None
) -> AboutDataset:
    """Describe the dataset as the given plan does; without one, as the plan in the dataset does."""
    packaged_plan = dataset / PLAN
    about = read_plan(packaged_plan).dataset if given is None and packaged_plan.is_file() else proposed.dataset
    return about.model_copy(update={"voxel_size_um": voxel_size_um})


def _scan(folders: list[Path], dataset: Path, resources: Resources, progress: Progress) -> Scan:
    """Scan the sources, and note the files of them and of the dataset that are ignored."""
    found = scan_with_resources(folders, progress, resources)
    _refuse_folder(dataset, [run.folder for run in found.runs])
    if leftovers := [*found.leftovers, *leftovers_below(dataset)]:
        progress.note(ignored(leftovers))
    return found


def _refuse_folder(dataset: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder that is not a dataset of ours, and sources and datasets inside each other."""
    for source in sources:
        refuse_overlap(source, dataset)
    if not dataset.exists():
        return
    if not dataset.is_dir():
        raise DatasetError(f"{dataset}: is not a folder; give another one with -o")
    if not is_ours(dataset):
        raise DatasetError(f"{dataset}: is not empty and was not begun by catnip2bids; give an empty or a new folder")
    refuse_foreign(dataset)


def _refuse_other_naming(settings: Settings, dataset: Path, provenance: Provenance) -> None:
    """Refuse a naming other than the one that the dataset began with."""
    earlier = provenance.settings.get("naming", settings.naming)
    if earlier != settings.naming:
        raise UsageError(f"{dataset}: was begun with --naming {earlier}; give the same, or another dataset with -o")


def _with_voxel_sizes(
    matched: _PlannedRuns, settings: Settings, default_um: tuple[float, float, float] | None
) -> _PlannedRuns:
    """Give each run its voxel size: that of the settings, of its part of the plan, or of the dataset, in this order."""
    sized = []
    for run, planned in matched:
        size_um = settings.voxel_size_um or planned.voxel_size_um or default_um
        sized.append((run, planned.model_copy(update={"voxel_size_um": size_um})))
    if unknown := [str(run.folder) for run, planned in sized if planned.voxel_size_um is None]:
        raise UsageError(f"the voxel size of {format_list(unknown)} is not known: {_WHERE_VOXEL_SIZES_ARE}")
    return sized


def _with_labels(
    matched: _PlannedRuns, settings: Settings, plan_file: Path | None, provenance: Provenance, progress: Progress
) -> _PlannedRuns:
    """Put the labels of the settings into the plan of each run; refuse runs with missing or invalid labels."""
    if (settings.subject or settings.sample) and len(matched) > 1:
        raise UsageError(
            f"--subject and --sample are for one run, and there are {len(matched)}; give one run folder, or write the "
            "labels into a plan (catnip2bids scan SOURCE... -o plan.toml)"
        )
    labelled, full_samples = [], {}
    for run, planned in matched:
        changes = _labels(planned, settings)
        sample = (settings.sample or planned.sample or "").removeprefix("sample-")
        if changes["sample"] not in (None, sample):
            full_samples[sample] = changes["sample"]
        if changes["subject"] != planned.subject:
            changes["source_id"] = None
        labelled.append((run, planned.model_copy(update=changes)))
    _refuse_missing_labels(labelled, plan_file, provenance)
    for run, planned in labelled:
        for what in ("subject", "sample", "stain"):
            check_label(getattr(planned, what), f"{run.folder}: the {what}")
    for sample, full in full_samples.items():
        progress.note(f"sample {sample} means {full}")
    return labelled


def _labels(planned: PlannedRun, settings: Settings) -> dict[str, str | None]:
    """Return the labels of a run: those of the settings, or else of the plan."""
    sample = (settings.sample or planned.sample or "").removeprefix("sample-")
    return {
        "subject": (settings.subject or planned.subject or "").removeprefix("sub-") or None,
        "sample": sample_label(sample) if sample else None,
        "stain": (settings.stain or planned.stain or "").removeprefix("stain-"),
    }


def _key(planned: PlannedRun, settings: Settings) -> str:
    """Return the key of a run in provenance."""
    labels = _labels(planned, settings)
    return f"sub-{labels['subject']}_sample-{labels['sample']}_stain-{labels['stain']}"


def _refuse_missing_labels(planned_runs: _PlannedRuns, plan_file: Path | None, provenance: Provenance) -> None:
    """Refuse all runs at once that have no subject, sample or stain, with the lines of the plan if there is one."""
    labels = ("subject", "sample", "stain")
    missing = {run.folder: [what for what in labels if not getattr(planned, what)] for run, planned in planned_runs}
    missing = {folder: what for folder, what in missing.items() if what}
    plan = "write a plan (catnip2bids scan SOURCE... -o plan.toml), fill it in and give it with --plan"
    if not missing:
        return
    if plan_file is not None:
        empty = [label for label in labels if any(label in what for what in missing.values())]
        raise UsageError(*first_problems(empty_labels(plan_file, empty)))
    if len(planned_runs) == 1:
        ((folder, what),) = missing.items()
        examples = {"subject": "45670ko", "sample": format_choices(list(SAMPLES.values())), "stain": DEFAULT_STAIN}
        known = [run for run in provenance.runs.values() if run.name == planned_runs[0][0].folder_name]
        if len(known) == 1:
            examples = {label: f"in the dataset: {getattr(known[0], label)}" for label in labels}
        options = " and ".join(f"--{label} ({examples[label]})" for label in what)
        raise UsageError(
            f"{folder}: neither the name nor its parents' names tell the {' and the '.join(what)}. "
            f"Give {options}, or {plan}"
        )
    named = format_list([f"{folder} ({' and '.join(what)})" for folder, what in missing.items()])
    unknown = f"what {len(missing)} of {len(planned_runs)} runs are"
    raise UsageError(f"neither their names nor their parents' names tell {unknown}: {named}; {plan}")


def _refuse_conflicts(provenance: Provenance, planned_runs: _PlannedRuns) -> None:
    """Refuse labels that conflict with those of other runs, and runs that are in the dataset under other labels.

    Such a run would become two animals, or two stains. But folders of two animals may have the same name if it names no
    animal, since today's CATNIP names folders after the second in which it began; the ids in the names of their parents
    distinguish them.
    """
    for run, planned in planned_runs:
        labels = (planned.subject, planned.sample, planned.stain)
        namesakes = [earlier for earlier in provenance.runs.values() if earlier.name == run.folder_name]
        if labels in [(earlier.subject, earlier.sample, earlier.stain) for earlier in namesakes]:
            continue
        names_animal = parse_run_name(run.folder_name).animal_id is not None
        for earlier in namesakes:
            ids = (earlier.source_id, planned.source_id)
            if names_animal or None in ids or len(set(ids)) == 1:
                raise UsageError(
                    f"{run.folder}: is in the dataset already, as sub-{earlier.subject}, sample-{earlier.sample}, "
                    f"stain-{earlier.stain}; give the same labels or, if those are wrong, take that animal out first "
                    f"(package -o DATASET --remove {earlier.subject}). For another channel in a folder of the same "
                    "name, give the folder above both, and a plan with a stain for each"
                )
    now = [identity_of(planned) for _, planned in planned_runs]
    packaged_again = {replace(identity, source_id=None) for identity in now}
    before = map(identity_of, provenance.runs.values())
    refuse_collisions([*(run for run in before if replace(run, source_id=None) not in packaged_again), *now])


def _note_same_as_packaged(checked: Sequence[tuple[Run, CheckedPlan]], progress: Progress) -> None:
    """Tell why more entries are excluded than `scan` counts."""
    if same := [run.source_of(entry) for run, plan in checked for entry in plan.same_as_packaged]:
        why = "packaged entries have the same pixels, which scan does not compare"
        progress.note(f"{format_count(len(same), 'entry')} excluded, because {why}: {format_list(same)}")
