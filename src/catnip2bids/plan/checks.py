"""Checks of a plan: each animal has one name, and the plan fits the source folders. The report of `scan` lists them.

Invariant: everything in the sources that makes `package` refuse or omit something is in the report of `scan`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from catnip2bids.bids.provenance import RunRecord
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.catnip.component_type import Action
from catnip2bids.catnip.run_name import GENOTYPES
from catnip2bids.errors import PlanError, SourceError, UsageError
from catnip2bids.leftovers import LEFT_BEHIND
from catnip2bids.plan.default_plan import doubtful_copies, make_plan, problems_of
from catnip2bids.plan.model import Plan, PlannedEntry, PlannedRun
from catnip2bids.scanning import Entry, Run, Scan, with_slice_numbers
from catnip2bids.volume import NiftiVolume, format_voxel_size, stated_voxel_size

_LONG_ID = 4
"""Characters of an id that no two animals of a laboratory share."""
_MOST_OFF = 0.2
"""Largest relative deviation from the atlas's voxel size, which whole downsampling factors rarely meet exactly."""


@dataclass(frozen=True)
class RunIdentity:
    """The subject, sample and stain that a run becomes in the dataset."""

    name: str  # of the run folder
    source_id: str | None  # id of the animal in the source; None if the user gave the subject
    # BIDS labels:
    subject: str
    sample: str
    stain: str


def identity_of(run: PlannedRun | RunRecord) -> RunIdentity:
    """Return the identity of a run that is planned, or was packaged; labels that are still unknown are empty."""
    return RunIdentity(run.name, run.source_id, run.subject or "", run.sample or "", run.stain)


def refuse_collisions(identities: Iterable[RunIdentity]) -> None:
    """Refuse two animals under one label, two runs for one subject, sample and stain, and labels that differ in case.

    macOS and Windows would make one file of names that differ only in case.
    """
    animals: dict[str, RunIdentity] = {}
    images: dict[tuple[str, str, str], RunIdentity] = {}
    spelled: dict[str, tuple[str, RunIdentity]] = {}
    for identity in identities:
        if not (identity.subject and identity.sample):
            continue  # missing labels are refused elsewhere
        if identity.source_id is not None:
            animal = animals.setdefault(identity.subject, identity)
            if animal.source_id != identity.source_id:
                raise UsageError(
                    f"{animal.name} and {identity.name}: the ids {animal.source_id!r} and {identity.source_id!r} both "
                    f"become sub-{identity.subject}; give one of them another subject in the plan or, if they are one "
                    "animal, the same source_id"
                )
        name = ""
        for what in ("subject", "sample", "stain"):
            label = getattr(identity, what)
            name = f"{name}/{label}"
            spelling, other = spelled.setdefault(name.casefold(), (name, identity))
            if spelling != name:
                raise UsageError(
                    f"{other.name} and {identity.name}: the {what}s {spelling.rpartition('/')[2]!r} and {label!r} "
                    f"differ only in case, and are the same name on macOS and Windows; give one of them another {what} "
                    "in the plan (what is in the dataset already can be taken out with package --remove)"
                )
        twin = images.setdefault((identity.subject, identity.sample, identity.stain), identity)
        if twin is not identity:
            raise UsageError(
                f"{twin.name} and {identity.name}: are both sub-{identity.subject}, sample-{identity.sample}, "
                f"stain-{identity.stain}; tell them apart by sample or stain in the plan, or leave one out"
            )


def voxel_size_warning(run: Run, voxel_size_um: tuple[float, float, float]) -> str | None:
    """Compare the voxel size X Y Z with the log: CATNIP's users downsample to that of its atlases."""
    factors = run.log.downsampling
    if factors is None:
        return None
    downsampled = [size * factor for size, factor in zip(voxel_size_um, reversed(factors), strict=True)]
    if all(abs(size / ATLAS_VOXEL_SIZE_UM - 1) <= _MOST_OFF for size in downsampled):
        return None
    return (
        f"{run.source}: voxel size times the downsampling factor of the log is {format_voxel_size(downsampled)} "
        f"(X x Y x Z), which is far from the {ATLAS_VOXEL_SIZE_UM:g} um of the atlas; is the voxel size right?"
    )


def stated_size_warnings(run: Run, voxel_size_um: tuple[float, float, float]) -> list[str]:
    """Compare the voxel size X Y Z with what TIFF files on the native grid state, if they state any."""
    warnings = []
    for entry in run.entries:
        volume = entry.native_volume
        if volume is None or isinstance(volume, NiftiVolume):  # CATNIP's NIfTI files state millimeters for micrometers
            continue
        try:
            stated = stated_voxel_size(volume)
        except SourceError:
            continue  # reported when the entry is read
        if stated is not None and stated.contradicts(voxel_size_um):
            warnings.append(f"{entry.location}: states {stated}; {format_voxel_size(voxel_size_um)} is used, as given")
    return warnings


def match_plan(found: Scan, plan: Plan) -> list[tuple[Run, PlannedRun]]:
    """Pair each run with its part of the plan, whose slice numbers order the planes of the run.

    Runs and entries that are in the plan and not in the source folders, or the other way round, are refused.
    """
    remaining = list(plan.runs)
    pairs = []
    for run in found.runs:
        parts = [part for part in remaining if is_for(part, run, found)]
        if len(parts) != 1:
            how_often = "more than once" if parts else "not"
            raise PlanError(
                f"{run.folder}: is {how_often} in the plan (as {run.folder_name!r} at {run.source!r}); "
                "scan again, or correct the plan"
            )
        remaining.remove(parts[0])
        part = _with_leftovers_of(run, parts[0])
        _refuse_other_entries(run, part)
        slice_numbers = {line.source: line.slice_number for line in part.entries if line.slice_number}
        pairs.append((with_slice_numbers(run, slice_numbers) if slice_numbers else run, part))
    if remaining:
        raise PlanError(
            f"the plan lists the run {remaining[0].name}, which is not below the source folders; give its folder as a "
            "SOURCE too, or delete its [[run]] from the plan"
        )
    return pairs


def _with_leftovers_of(run: Run, planned: PlannedRun) -> PlannedRun:
    """Bring leftovers in a plan up to date: systems write and remove them when a folder is opened."""
    there = {entry.path for entry in run.entries}
    kept = [line for line in planned.entries if line.source in there or line.reason != LEFT_BEHIND]
    listed = {line.source for line in kept}
    new = [
        PlannedEntry(source=entry.path, action=Action.EXCLUDE, reason=entry.set_aside)
        for entry in run.entries
        if entry.is_leftover and entry.path not in listed
    ]
    return planned.model_copy(update={"entries": [*kept, *new]})


def is_for(part: PlannedRun, run: Run, found: Scan) -> bool:
    """Tell whether a part of a plan is for this run: by its name, and by its path where several runs share the name."""
    namesakes = [other for other in found.runs if other.folder_name == run.folder_name]
    return part.name == run.folder_name and (len(namesakes) == 1 or part.source == run.source)


def _refuse_other_entries(run: Run, planned: PlannedRun) -> None:
    listed = [entry.source for entry in planned.entries]
    there = {entry.path for entry in run.entries}
    if len(listed) > len(set(listed)):
        source, _ = Counter(listed).most_common(1)[0]
        raise PlanError(f"the plan lists {source!r} of {run.source} more than once; leave one line out")
    if missing := there - set(listed):
        raise PlanError(f"{run.folder / min(missing)}: is not in the plan; scan again, or add it")
    if gone := set(listed) - there:
        raise PlanError(
            f"{run.folder / min(gone)}: is in the plan and does not exist; scan again, or leave its line out"
        )


def divided_animals(identities: Iterable[RunIdentity]) -> list[str]:
    """Warn of ids that may be those of one animal.

    Such ids differ only in their genotype, if they are long: short ones may be numbers within a genotype. Or one is the
    other with more words, as in ``45670_ko_rescan``.
    """
    ids: dict[tuple[str, ...], set[str]] = {}
    for identity in identities:
        if identity.source_id and identity.subject:
            ids.setdefault(tuple(identity.source_id.split("_")), set()).add(f"sub-{identity.subject}")
    subjects = {words: set(of_id) for words, of_id in ids.items()}  # by what their ids have in common
    for words, of_id in ids.items():
        animal, *genotype = words
        if len(animal) >= _LONG_ID and "_".join(genotype).lower() in {"", *GENOTYPES}:
            subjects.setdefault((animal,), set()).update(of_id)
        for shorter in (words[:n] for n in range(1, len(words))):
            if shorter in ids:
                subjects[shorter] |= of_id
    together = {frozenset(found): common for common, found in subjects.items() if len(found) > 1}
    return [
        f"{'_'.join(common)} becomes {' and '.join(sorted(found))}; if that is one animal, give its runs the same "
        "subject, source_id and genotype in the plan"
        for found, common in together.items()
    ]


@dataclass(frozen=True)
class ScanReport:
    """A scan and the plan that follows from it."""

    found: Scan
    plan: Plan
    problems: tuple[str, ...]  # what `package` would omit or refuse, and why
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        runs = []
        for run, planned in zip(self.found.runs, self.plan.runs, strict=True):
            document = planned.model_dump(mode="json", exclude={"entries"})
            problems = problems_of(run, planned)
            entries = [
                line.model_dump(mode="json") | _entry_json(entry) | {"problem": problems.get(entry.path)}
                for entry, line in zip(run.entries, planned.entries, strict=True)
            ]
            runs.append(document | {"layout": run.layout, "log": run.log.fields, "entries": entries})
        return {"runs": runs, "problems": list(self.problems), "warnings": list(self.warnings)}


def report_on(found: Scan) -> ScanReport:
    """Make the default plan and collect its problems and warnings."""
    plan = make_plan(found)
    problems: list[str] = []
    warnings: list[str] = []
    for run, planned in zip(found.runs, plan.runs, strict=True):
        problems += problems_of(run, planned).values()
        warnings += run.all_warnings
        warnings += doubtful_copies(run, planned)
        unknown = [what for what in ("subject", "sample") if getattr(planned, what) is None]
        if unknown:
            warnings.append(f"{run.folder}: the {' and the '.join(unknown)} must be filled in: no name tells")
    warnings += divided_animals(map(identity_of, plan.runs))
    try:
        refuse_collisions(map(identity_of, plan.runs))
    except UsageError as error:
        problems.append(str(error))
    return ScanReport(found, plan, tuple(problems), tuple(warnings))


def _entry_json(entry: Entry) -> dict[str, Any]:
    component, volume = entry.component, entry.volume
    return {
        "content": component.content.value if component else None,
        "storage": component.storage.value if component else None,
        "grid": component.grid.value if component and component.grid else None,
        "threshold": entry.threshold,
        "shape_zyx": list(volume.shape) if volume else None,
        "dtype": volume.dtype.name if volume else None,
        "n_files": entry.n_files,
        "n_bytes": entry.n_bytes,
        "problems": list(entry.problems),
        "warnings": list(entry.warnings),
    }
