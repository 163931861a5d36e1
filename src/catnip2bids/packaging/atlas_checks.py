"""Check that the atlas tables of a command fit its runs, before anything is written.

Invariant: all that a dataset keeps of one run is of one atlas, and names regions as CATNIP's counts do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from catnip2bids.bids.checksums import file_sha256, read_checksums
from catnip2bids.bids.dataset_paths import COUNTS_ENDING, DERIVATIVE, tables_of_counts
from catnip2bids.bids.provenance import Provenance, RunRecord
from catnip2bids.catnip.atlas import ATLAS_LABELS, AtlasTable, may_have_same_table
from catnip2bids.catnip.atlas_parents import region_tree
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.formatting import format_list
from catnip2bids.packaging.region_tables import atlas_tables, counted_regions, fits, read_written_table, stored_regions
from catnip2bids.packaging.tasks import RunTasks


def atlas_warnings(
    dataset: Path, runs: Sequence[RunTasks], atlas: AtlasTable | None, given: Path | str | None
) -> Iterator[str]:
    """Warn of unusable parents in a given atlas table, of what it replaces, and of runs with other regions."""
    if atlas is None:
        return
    for problem in region_tree(atlas.regions.values()).problems:
        yield f"{given}: has {problem}"
    for path, written in atlas_tables(dataset).items():
        if written.same_atlas_as(atlas) and (replaced := written.edited_otherwise(atlas)):
            yield (
                f"{path}: has other colours, abbreviations or columns for {format_list(replaced)} than {given}, which "
                "replaces them; leave out --atlas-table to keep them"
            )
    for run in runs:
        counts = [task.entry.location for task in run.counts]
        counted = counted_regions(counts)
        if not fits(atlas, run.planned.atlas_version, counted):
            why = f"is of atlas {atlas.version}, and {run.run.folder} of {run.planned.atlas_version}"
            if counts:
                why = f"names other regions than {counts[0]} ({atlas.contradiction(counted)})"
            yield f"{given}: {why}; it is not used for that run; is it the right table?"
        elif counts and not atlas.same_atlas_as(counted):
            yield f"{given}: lists other regions than {counts[0]}; is it the right table?"


def refuse_renamed_regions(dataset: Path, provenance: Provenance) -> None:
    """Raise DatasetError if a person changed the name of a region in an atlas table of the dataset.

    Counts and cells have the names that CATNIP wrote. One finished run of each atlas is compared, whose counts are
    intact. After an interruption none is: counts may be new already, and names old.
    """
    checksums = read_checksums(dataset)
    if checksums is None or not checksums.is_intact:
        return

    def is_intact(path: Path) -> bool:
        return file_sha256(path) == checksums.files.get(path.relative_to(dataset).as_posix())

    checked = set[str]()
    for key, run in sorted(provenance.runs.items()):
        if run.unfinished or run.atlas_table is None or run.atlas_table in checked:
            continue
        path = dataset / DERIVATIVE / run.atlas_table
        counted = stored_regions(filter(is_intact, tables_of_counts(dataset, run=key)))
        written = read_written_table(path)
        if written is None or not counted.regions:
            continue
        checked.add(run.atlas_table)
        if difference := counted.contradiction(written):
            raise DatasetError(
                f"{path}: names a region otherwise than the counts of {key} ({difference}); all tables of a dataset "
                "name regions as CATNIP does, so correct the name (other columns may be yours), or remove the file to "
                "have it made again"
            )


def changed_atlases(dataset: Path, provenance: Provenance, runs: Sequence[RunTasks]) -> Iterator[str]:
    """Warn of runs that have another atlas than before.

    Raises UsageError if labels or counts of the earlier one would stay, because their source is gone or has a problem.
    """
    for run in runs:
        record = provenance.runs.get(str(run.name))
        if record is None or (difference := _other_atlas(dataset, record, run)) is None:
            continue
        usable = {entry.path for entry in run.run.entries} - run.problems.keys()
        kept = [
            target
            for target, image in record.images.items()
            if image.role in ATLAS_LABELS and image.source not in usable
        ]
        for path, decision in provenance.decisions_of(str(run.name)).items():
            if path not in usable and (decision.target or "").endswith(COUNTS_ENDING):
                kept.append(str(decision.target))
        if kept:
            raise UsageError(
                f"{run.run.folder}: has another atlas than before ({difference}), and the sources of "
                f"{format_list(kept)} are gone or have problems; bring them back, or take the animal out first "
                f"(package -o DATASET --remove {run.subject})"
            )
        yield (
            f"{run.run.folder}: has another atlas than when it was packaged ({difference}); its regions get the names "
            "of its counts, and edits of its atlas table are not kept"
        )


def _other_atlas(dataset: Path, record: RunRecord, run: RunTasks) -> str | None:
    """Say how the atlas of a run differs from the one that it was packaged with; None if it does not."""
    before = None if record.atlas_table is None else read_written_table(dataset / DERIVATIVE / record.atlas_table)
    if before is not None and before.regions and run.atlas.regions:
        return before.contradiction(run.atlas)
    versions = record.atlas_version, run.planned.atlas_version
    return None if may_have_same_table(*versions) else " and ".join(map(str, versions))
