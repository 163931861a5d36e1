"""What a person should know before packaging begins, though nothing has to stop.

Invariant: nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from catnip2bids.bids.dataset_paths import image_stem
from catnip2bids.bids.provenance import ImageRecord, Provenance
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.catnip.counts import other_counts, read_counts
from catnip2bids.enums import voxel_size_unit_warning
from catnip2bids.formatting import format_list
from catnip2bids.packaging.redundancy import CheckedPlan
from catnip2bids.packaging.settings import Settings
from catnip2bids.packaging.tasks import RunTasks
from catnip2bids.plan import Plan, doubtful_copies, kept_reasons, stated_size_warnings, voxel_size_warning
from catnip2bids.scanning import Run
from catnip2bids.volume import format_voxel_size


def run_warnings(checked: Sequence[tuple[Run, CheckedPlan]]) -> list[str]:
    """List warnings about runs: from the scan, the plan, the comparison of pixels, and the voxel sizes."""
    runs = [run for run, _ in checked]
    sized = [(run, plan.planned.voxel_size_um) for run, plan in checked if plan.planned.voxel_size_um is not None]
    unit_warnings = {size_um: voxel_size_unit_warning(size_um) for _, size_um in sized}
    return [
        *(warning for run in runs for warning in run.all_warnings),
        *(
            text
            for run, plan in checked
            for text in (*doubtful_copies(run, plan.planned), *kept_reasons(run, plan.planned))
        ),
        *(warning for _, plan in checked for warning in plan.warnings),
        *filter(None, unit_warnings.values()),
        *(text for run, size in sized if not unit_warnings[size] and (text := voxel_size_warning(run, size))),
        *(text for run, size_um in sized for text in stated_size_warnings(run, size_um)),
    ]


def changed_voxel_sizes(
    runs: Sequence[RunTasks], provenance: Provenance, given: Plan | None, settings: Settings
) -> list[str]:
    """Warn if voxel sizes in the plan differ from the settings, or from those that runs were packaged with before."""
    warnings = []
    if given is not None and settings.voxel_size_um is not None:
        in_plan = [given.dataset.voxel_size_um, *(run.voxel_size_um for run in given.runs)]
        now = format_voxel_size(settings.voxel_size_um)
        for size_um in dict.fromkeys(in_plan):
            if size_um is not None and size_um != settings.voxel_size_um:
                other = format_voxel_size(size_um)
                warnings.append(f"the plan says that voxels are {other}; {now} is used, as given with --voxel-size")
    for run in runs:
        record = provenance.runs.get(str(run.name))
        images = record.images.items() if record is not None else ()
        earlier = {image_stem(PurePosixPath(target)): image.voxel_size_um for target, image in images}
        again = [task.spec for task in run.images if task.spec.name in earlier]
        if changed := [spec for spec in again if spec.voxel_size_um != earlier[spec.name]]:
            before, now = format_voxel_size(earlier[changed[0].name]), format_voxel_size(changed[0].voxel_size_um)
            warnings.append(f"{run.run.folder}: was packaged with voxels of {before}, and is packaged with {now} now")
        if kept := [target for target, image in images if _keeps_voxel_size(image, run)]:
            warnings.append(
                f"{run.run.folder}: images whose source is gone or has a problem keep their old voxel size, as do "
                f"cells and densities from them: {format_list(kept)}; bring the source back and package again"
            )
    return warnings


def _keeps_voxel_size(image: ImageRecord, run: RunTasks) -> bool:
    """Tell whether an image has another voxel size than its run, and cannot be made again."""
    usable = {entry.path for entry in run.run.entries} - run.problems.keys()
    has_other = image.voxel_size_um not in (run.voxel_size_um, (ATLAS_VOXEL_SIZE_UM,) * 3)
    return has_other and not {image.source, image.recovered_from or image.source} <= usable


def task_warnings(runs: Sequence[RunTasks], provenance: Provenance) -> Iterator[str]:
    """Yield warnings about tables of counts, and about raw images that are kept."""
    yield from _missing_regions(runs)
    yield from _contradicting_counts(runs)
    yield from _kept_raw_images(runs, provenance)


def _missing_regions(runs: Sequence[RunTasks]) -> Iterator[str]:
    """Warn if the tables of counts of a run list different regions; CATNIP lists the same in all of them."""
    for run in runs:
        tables = [task.entry.location for task in run.counts]
        names = {table: {row.index: row.name for row in read_counts(table)} for table in tables}
        longest = max(names, key=lambda table: len(names[table]), default=None)
        for table, regions in names.items():
            if longest is not None and (differing := sorted(regions.keys() ^ names[longest].keys())):
                both = names[longest] | regions
                yield (
                    f"{table}: lists other regions than {longest}; only one of them has "
                    f"{format_list([f'{index} {both[index]}' for index in differing])}; copy both again from where "
                    "CATNIP wrote them"
                )


def _contradicting_counts(runs: Sequence[RunTasks]) -> Iterator[str]:
    """Warn if a corrected table of counts does more than leave out regions of the uncorrected one."""
    for run in runs:
        tables = {(task.entry.threshold, task.component.is_corrected): task.entry.location for task in run.counts}
        for (threshold, is_corrected), corrected in tables.items():
            uncorrected = tables.get((threshold, False))
            if not is_corrected or uncorrected is None:
                continue
            if others := other_counts(read_counts(corrected), read_counts(uncorrected)):
                regions = format_list([f"{row.index} {row.name}" for row, _ in others])
                yield (
                    f"{corrected}: has other numbers than {uncorrected} for {regions}, but CATNIP only leaves out "
                    "regions; check that both are of the same run and threshold, and exclude the wrong one"
                )


def _kept_raw_images(runs: Sequence[RunTasks], provenance: Provenance) -> Iterator[str]:
    """Warn if an image cannot become the raw image, since the one in the dataset is kept although its source is gone.

    Masked images get no warning, because CATNIP deletes the unmasked image when it ends.
    """
    for run in runs:
        record = provenance.runs.get(str(run.name))
        paths = {entry.path for entry in run.run.entries}
        images = record.images.items() if record is not None else ()
        kept = [image for target, image in images if target.startswith("sub-") and image.source not in paths]
        ranks = {row.role: rank for rank, row in enumerate(COMPONENTS)}
        for task in run.images if kept and run.raw_image is None else ():
            if task.component.raw and ranks[task.component.role] < ranks.get(kept[0].role, 0):
                yield (
                    f"{task.entry.location}: becomes a derivative, since the raw image in the dataset was made from "
                    f"{kept[0].source}, which is gone; to make it the raw image, take the animal out with package "
                    "--remove and package it again, or bring the source back"
                )
