"""Before the first byte: what is asked for is put together with what was found, and refused if it cannot be.

Invariant: nothing is written here, and whatever passes can be carried out item by item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from catnip2bids.atomic_write import refuse_overlap, refuse_unwritable
from catnip2bids.bids.dataset_paths import image_stem
from catnip2bids.bids.names import check_label
from catnip2bids.bids.provenance import PLAN, Provenance, is_ours, read_provenance
from catnip2bids.bids.tables import read_table
from catnip2bids.catnip.atlas import AtlasTable, read_atlas_table
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.run_name import SAMPLES, sample_label
from catnip2bids.documents import refuse_foreign
from catnip2bids.engine import Resources
from catnip2bids.enums import DEFAULT_STAIN, parse_voxel_size, voxel_size_unit_warning
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.formatting import format_choices, format_list
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.packaging.existing_dataset import check_existing, check_names, check_room
from catnip2bids.packaging.participants import (
    COLUMNS,
    PARTICIPANTS,
    GivenParticipants,
    contradictions,
    read_participants,
    unknown_participants,
)
from catnip2bids.packaging.redundancy import CheckedPlan, check_redundancy
from catnip2bids.packaging.settings import Settings
from catnip2bids.packaging.tasks import RunTasks, plan_tasks
from catnip2bids.plan import (
    Plan,
    PlannedRun,
    RunIdentity,
    identity_of,
    kept_reasons,
    make_plan,
    match_plan,
    read_plan,
    refuse_collisions,
    stated_size_warnings,
    unknown_of,
    voxel_size_warning,
)
from catnip2bids.progress import Progress
from catnip2bids.scanning import Run, Scan, scan, source_list
from catnip2bids.volume import format_voxel_size


@dataclass(frozen=True)
class Preflight:
    """Everything that was settled before the first byte is written.

    Attributes
    ----------
    sources, dataset
        The source folders and the dataset folder.
    settings, plan
        The choices, and the plan with them in it.
    explicit
        Whether a person gave the plan.
    plan_file
        The file in which it was given, if it was in one.
    runs
        The tasks of each run.
    participants
        The user's table of participants.
    provenance
        What is known of the dataset from earlier.
    resources
        What may be used.
    warnings
        What may be wrong.
    """

    sources: tuple[Path, ...]
    dataset: Path
    settings: Settings
    plan: Plan
    explicit: bool
    plan_file: Path | None
    runs: tuple[RunTasks, ...]
    participants: GivenParticipants | None
    provenance: Provenance
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
    """Settle everything, and write nothing.

    Raises
    ------
    UsageError, PlanError, SourceError, DatasetError
        As in `package`.
    """
    dataset, folders = Path(dataset), source_list(sources)
    if resources.executor is not None:  # workers stand in other folders
        dataset, folders = dataset.absolute(), [folder.absolute() for folder in folders]
    _refuse_folder(dataset, folders)
    refuse_unwritable(dataset)
    provenance = read_provenance(dataset)
    _refuse_settings(settings, dataset, provenance)
    plan_file = Path(plan) if isinstance(plan, str | Path) else None
    given = read_plan(plan_file) if plan_file is not None else cast("Plan | None", plan)
    voxel_size_um = _known_voxel_size(settings.voxel_size_um or (given.dataset.voxel_size_um if given else None))
    found = _scanned(folders, dataset, progress)
    proposed = given or _remembering_slice_numbers(make_plan(found), provenance)
    pairs = _settled(match_plan(found, proposed), settings, progress)
    settled = {run.folder: check_redundancy(run, planned, provenance, resources, progress) for run, planned in pairs}
    pairs = [(run, settled[run.folder].planned) for run, _ in pairs]
    _refuse_other_labels(provenance, pairs)
    refuse_collisions([*_earlier_claims(provenance, pairs), *(identity_of(run, planned) for run, planned in pairs)])
    warnings = _warnings_of(pairs, settled.values(), voxel_size_um)
    atlas = read_atlas_table(Path(settings.atlas_table), warnings.append) if settings.atlas_table else None
    runs = tuple(plan_tasks(run, settled[run.folder], settings, voxel_size_um, atlas, dataset) for run, _ in pairs)
    check_names(dataset, runs)
    check_room(dataset, provenance, runs)
    check_existing(dataset, runs)
    warnings += _changed_voxel_sizes(runs, provenance, given, voxel_size_um)
    warnings += _atlas_warnings(runs, atlas, settings)
    participants, doubts = _participants(dataset, runs, settings, explicit=given is not None)
    warnings += doubts
    about = read_plan(dataset / PLAN).dataset if given is None and (dataset / PLAN).is_file() else proposed.dataset
    about = about.model_copy(update={"voxel_size_um": voxel_size_um})
    return Preflight(
        sources=found.sources,
        dataset=dataset,
        settings=settings,
        plan=Plan(dataset=about, runs=[planned for _, planned in pairs]),
        explicit=given is not None,
        plan_file=plan_file,
        runs=runs,
        participants=participants,
        provenance=provenance,
        resources=resources,
        warnings=tuple(warnings),
    )


def _remembering_slice_numbers(plan: Plan, provenance: Provenance) -> Plan:
    """Put the slice numbers of the plan that the dataset was packaged with into one that nobody wrote."""
    for run in plan.runs:
        for key in (key for key, record in provenance.runs.items() if record.name == run.name):
            earlier = provenance.decisions_of(key)
            for line in run.entries:
                if line.source in earlier:
                    line.slice_number = earlier[line.source].slice_number
    return plan


def _scanned(folders: list[Path], dataset: Path, progress: Progress) -> Scan:
    """Scan the sources; tells what of them, and of the dataset, is ignored."""
    found = scan(folders, progress)
    _refuse_folder(dataset, [run.folder for run in found.runs])
    if leftovers := [*found.leftovers, *leftovers_below(dataset)]:
        progress.note(ignored(leftovers))
    return found


def _refuse_folder(dataset: Path, sources: Sequence[Path]) -> None:
    """Refuse folders that are not ours, and sources and datasets inside each other."""
    for source in sources:
        refuse_overlap(source, dataset)
    if not dataset.exists():
        return
    if not dataset.is_dir():
        raise DatasetError(f"{dataset}: is not a folder; give another one with -o")
    refuse_foreign(dataset)
    if not is_ours(dataset):
        raise DatasetError(f"{dataset}: is not empty and was not begun by catnip2bids; give an empty or a new folder")


def _refuse_settings(settings: Settings, dataset: Path, provenance: Provenance) -> None:
    """Refuse choices that contradict each other, or those that the dataset was begun with."""
    earlier = provenance.settings.get("naming", settings.naming)
    if earlier != settings.naming:
        raise UsageError(f"{dataset}: was begun with --naming {earlier}; give the same, or another dataset with -o")


def _known_voxel_size(voxel_size_um: tuple[float, float, float] | None) -> tuple[float, float, float]:
    if voxel_size_um is None:
        raise UsageError(
            "the voxel size is not known: CATNIP records it nowhere. Give it with --voxel-size X Y Z in micrometers "
            "(for example --voxel-size 3.7 3.7 5), or in the plan; it stands in the metadata of the microscope's "
            "files, or in the protocol of the imaging session"
        )
    return parse_voxel_size(voxel_size_um)


def _settled(
    pairs: Sequence[tuple[Run, PlannedRun]], settings: Settings, progress: Progress
) -> list[tuple[Run, PlannedRun]]:
    """Put the choices into the plan of each run; subjects and samples must be known afterwards."""
    if (settings.subject or settings.sample) and len(pairs) > 1:
        raise UsageError(
            f"--subject and --sample are for one run, and there are {len(pairs)}; give one run folder, or write the "
            "labels into a plan (catnip2bids scan SOURCE... -o plan.toml)"
        )
    settled = [(run, _with_choices(planned, settings)) for run, planned in pairs]
    _refuse_unknown_animals(settled)
    for run, planned in settled:
        for what in ("subject", "sample", "stain"):
            check_label(getattr(planned, what), f"{run.folder}: the {what}")
    named = {
        settings.sample or planned.sample: sample for (_, planned), (_, sample) in zip(pairs, settled, strict=True)
    }
    for given, planned in named.items():
        if given is not None and given.removeprefix("sample-") != planned.sample:
            progress.note(f"sample {given} means {planned.sample}")
    return settled


def _with_choices(planned: PlannedRun, settings: Settings) -> PlannedRun:
    changes = {
        "subject": (settings.subject or planned.subject or "").removeprefix("sub-") or None,
        "sample": (settings.sample or planned.sample or "").removeprefix("sample-") or None,
        "stain": (settings.stain or planned.stain or "").removeprefix("stain-"),
    }
    if changes["sample"] is not None:
        changes["sample"] = sample_label(changes["sample"])
    if changes["subject"] != planned.subject:
        planned = planned.model_copy(update={"source_id": None})
    return planned.model_copy(update=changes)


def _refuse_unknown_animals(pairs: Sequence[tuple[Run, PlannedRun]]) -> None:
    """Refuse runs of which nobody told the subject, the sample or the stain; all of them at once."""
    labels = ("subject", "sample", "stain")
    missing = {run.folder: [what for what in labels if not getattr(planned, what)] for run, planned in pairs}
    missing = {folder: what for folder, what in missing.items() if what}
    plan = "write a plan (catnip2bids scan SOURCE... -o plan.toml), fill it in and give it with --plan"
    if not missing:
        return
    if len(pairs) == 1:
        ((folder, what),) = missing.items()
        examples = {"subject": "45670ko", "sample": format_choices(list(SAMPLES.values())), "stain": DEFAULT_STAIN}
        options = " and ".join(f"--{label} ({examples[label]})" for label in what)
        raise UsageError(
            f"{folder}: neither the name nor its parents' names tell the {' and the '.join(what)}. "
            f"Give {options}, or {plan}"
        )
    named = format_list([f"{folder} ({' and '.join(what)})" for folder, what in missing.items()])
    unknown = f"what {len(missing)} of {len(pairs)} runs are"
    raise UsageError(f"neither their names nor their parents' names tell {unknown}: {named}; {plan}")


def _refuse_other_labels(provenance: Provenance, pairs: Sequence[tuple[Run, PlannedRun]]) -> None:
    """Refuse a run that is in the dataset under other labels: it would become two animals, or two stains.

    Folders of today's CATNIP are named after the second in which it began, so two animals may have folders of one
    name; they are told apart by the ids that their parents' names give.
    """
    for run, planned in pairs:
        labels = (planned.subject, planned.sample, planned.stain)
        namesakes = [earlier for earlier in provenance.runs.values() if earlier.name == run.folder_name]
        if labels in [(earlier.subject, earlier.sample, earlier.stain) for earlier in namesakes]:
            continue
        for earlier in namesakes:
            if None in (earlier.source_id, planned.source_id) or earlier.source_id == planned.source_id:
                raise UsageError(
                    f"{run.folder}: is in the dataset already, as sub-{earlier.subject}, sample-{earlier.sample}, "
                    f"stain-{earlier.stain}; give the same labels, or package it into a new dataset. If it is another "
                    "channel in a folder of the same name, give the folder above both, and a plan with a stain for each"
                )


def _earlier_claims(provenance: Provenance, pairs: Sequence[tuple[Run, PlannedRun]]) -> list[RunIdentity]:
    """Claims of the runs that are in the dataset, but for those that are packaged again."""
    again = {(claim.name, claim.subject, claim.sample, claim.stain) for claim in (identity_of(*pair) for pair in pairs)}
    return [
        RunIdentity(run.name, run.source_id, run.subject, run.sample, run.stain)
        for run in provenance.runs.values()
        if (run.name, run.subject, run.sample, run.stain) not in again
    ]


def _participants(
    dataset: Path, runs: Sequence[RunTasks], settings: Settings, *, explicit: bool
) -> tuple[GivenParticipants | None, list[str]]:
    """Read the user's table of participants, and say what is doubtful about the animals."""
    doubts: list[str] = []
    given = read_participants(Path(settings.participants), doubts.append) if settings.participants else None
    before = read_table(dataset / PARTICIPANTS, COLUMNS)
    doubts += contradictions(before, runs, given, explicit=explicit)
    doubts += unknown_participants(before, runs, given)
    return given, doubts


def _warnings_of(
    pairs: Sequence[tuple[Run, PlannedRun]], settled: Iterable[CheckedPlan], voxel_size_um: tuple[float, float, float]
) -> list[str]:
    """List what may be wrong with runs: what was found in them, what nobody knows, and what does not fit together."""
    doubt = voxel_size_unit_warning(voxel_size_um)
    return [
        *(warning for run, _ in pairs for warning in run.all_warnings),
        *(text for pair in pairs for text in (*unknown_of(*pair), *kept_reasons(*pair))),
        *(warning for found in settled for warning in found.warnings),
        *([doubt] if doubt else []),
        *(text for run, _ in pairs if not doubt and (text := voxel_size_warning(run, voxel_size_um))),
        *(text for run, _ in pairs for text in stated_size_warnings(run, voxel_size_um)),
    ]


def _changed_voxel_sizes(
    runs: Sequence[RunTasks], provenance: Provenance, given: Plan | None, voxel_size_um: tuple[float, float, float]
) -> list[str]:
    """Name a plan that says another voxel size, and runs that were packaged with another one."""
    warnings = []
    if given is not None and given.dataset.voxel_size_um not in (None, voxel_size_um):
        now, planned = format_voxel_size(voxel_size_um), format_voxel_size(given.dataset.voxel_size_um)
        warnings.append(f"the plan says that voxels are {planned}; {now} is used, as given with --voxel-size")
    for run in (run for run in runs if str(run.name) in provenance.runs):
        earlier = {
            image_stem(PurePosixPath(target)): image.voxel_size_um
            for target, image in provenance.runs[str(run.name)].images.items()
        }
        pairs = (
            (spec.voxel_size_um, earlier.get(spec.name, spec.voxel_size_um))
            for spec in (task.spec for task in run.images)
        )
        if changed := next(((now, before) for now, before in pairs if now != before), None):
            now, before = map(format_voxel_size, changed)
            warnings.append(f"{run.run.folder}: was packaged with voxels of {before}, and is packaged with {now} now")
    return warnings


def _atlas_warnings(runs: Sequence[RunTasks], atlas: AtlasTable | None, settings: Settings) -> list[str]:
    """Compare the atlas table that was given with the tables of counts, which CATNIP made from the right one."""
    return [
        f"{settings.atlas_table}: names other regions than {table}; is it the right table?"
        for run in runs
        if atlas is not None and (table := _contradicting(run, atlas)) is not None
    ]


def _contradicting(run: RunTasks, atlas: AtlasTable) -> Path | None:
    """Return the first table of counts of a run that has regions of another atlas."""
    tables = (task.entry.location for task in run.counts)
    return next((file for file in tables if not atlas.same_atlas_as(AtlasTable.from_counts(read_counts(file)))), None)
