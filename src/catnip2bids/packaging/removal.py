"""Remove an animal from a dataset, so that the remaining dataset is valid and verifies.

Invariant: files are removed before their records in provenance, so that a removal that was killed can be repeated. A
removal that was killed after that is the last command in the history, and repeating it does the remaining steps.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import raising_write_errors, refuse_unwritable, remove, write_text
from catnip2bids.bids.checksums import write_checksums
from catnip2bids.bids.dataset_paths import COUNTS, DERIVATIVE, REPORT, SOURCEDATA, tables_of_counts
from catnip2bids.bids.provenance import FOLDER, PLAN, Provenance, RunRecord, provenance_of
from catnip2bids.bids.tables import remove_rows
from catnip2bids.documents import refuse_foreign
from catnip2bids.enums import Naming
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_list
from catnip2bids.packaging.existing_dataset import check_checksums, check_counts, check_existing, set_aside
from catnip2bids.packaging.images import remove_image
from catnip2bids.packaging.label_names import write_label_names
from catnip2bids.packaging.metadata import Metadata
from catnip2bids.packaging.package_runs import add_to_history, draw_report, locked_if_unchanged, raising_exit_code_1
from catnip2bids.packaging.participants import PARTICIPANTS
from catnip2bids.packaging.result import PackageLog, PackageResult
from catnip2bids.packaging.settings import Settings
from catnip2bids.packaging.shared_links import remove_links_after_interruption, remove_outdated_links, remove_shared
from catnip2bids.paths import safe_path
from catnip2bids.plan import AboutDataset, Plan, read_plan, to_toml
from catnip2bids.progress import Progress

_TABLES = (PurePosixPath(PARTICIPANTS), PurePosixPath("samples.tsv"), DERIVATIVE / "samples.tsv")
"""Tables with rows of each animal."""


def remove_animal(
    dataset: Path | str,
    label: str,
    progress: Progress | None = None,
    *,
    report: bool = True,
    jobs: int | None = None,
    memory_bytes: int | None = None,
) -> PackageResult:
    """Remove an animal from a dataset: its images, tables, copies and provenance, and reports and results that name it.

    After an interruption, call it again.

    Parameters
    ----------
    dataset
        A dataset that `package` made.
    label
        The animal: ``45670ko`` or ``sub-45670ko``.
    progress
        Receives notes of removed files, and of a missing report.
    report
        Whether the report is drawn at the end.
    jobs, memory_bytes
        Processors and memory for drawing it; see `Settings`.

    Raises
    ------
    UsageError
        If the dataset does not have the animal, or no other one, or an option is invalid.
    DatasetError
        If it is not a dataset of this program, a file cannot be read, or the folder is read-only.

    Examples
    --------
    >>> remove_animal("dataset", "10002wt", report=False).ok
    True
    """
    dataset, progress = Path(dataset), progress or Progress()
    settings = Settings(report=report, jobs=jobs, memory_bytes=memory_bytes)
    refuse_foreign(dataset)
    provenance = provenance_of(dataset)
    refuse_unwritable(dataset)
    subject = label.removeprefix("sub-")
    _refuse_removal(dataset, provenance, subject)
    check_existing(dataset, provenance, ())
    check_checksums(dataset, provenance)
    check_counts(dataset, tables_of_counts(dataset, run=f"sub-{subject}"))
    log = PackageLog(dataset, progress)
    with (
        raising_write_errors(dataset),
        locked_if_unchanged(dataset, provenance),
        raising_exit_code_1(),  # nothing is refused after this
    ):
        _remove(dataset, provenance, subject, log)
    if settings.report:
        draw_report(log, settings)
    else:  # the pages are removed, because they link to the animal
        progress.note(f"{dataset}: has no report now; draw it with catnip2bids report {shlex.quote(str(dataset))}")
    return log.result()


def _refuse_removal(dataset: Path, provenance: Provenance, subject: str) -> None:
    """Refuse an animal that the dataset does not have, unless the last command removed it, and its only animal."""
    subjects = sorted({run.subject for run in provenance.runs.values()})
    was_last = bool(provenance.history) and provenance.history[-1].command.endswith(f" --remove {subject}")
    if subject not in subjects and not was_last:
        raise UsageError(f"{dataset}: has no animal {subject!r}; it has {format_list(subjects)}")
    if subjects == [subject]:
        raise UsageError(f"{dataset}: {subject} is its only animal; delete the whole folder instead")


def _remove(dataset: Path, provenance: Provenance, subject: str, log: PackageLog) -> None:
    """Remove the animal, or finish its removal if provenance does not have it any more."""
    remove_links_after_interruption(log)
    checksums, before = set_aside(dataset, provenance), provenance.model_copy(deep=True)
    removed = {key: run for key, run in provenance.runs.items() if run.subject == subject}
    provenance.runs = {key: run for key, run in provenance.runs.items() if key not in removed}
    provenance.decisions = [decision for decision in provenance.decisions if decision.run not in removed]
    if removed:
        _remove_files(dataset, provenance, subject, removed, log)
        add_to_history(provenance, f"catnip2bids package -o {dataset.resolve().name} --remove {subject}")
    for message in _remove_records(dataset, provenance, subject):
        log.warning(message)
    renamed = write_label_names(dataset, provenance, checksums, set())
    provenance.save(dataset)
    remove_outdated_links(log, before, provenance, checksums)
    for path in log.removed:
        log.progress.note(f"{path}: removed")
    of_others = {file: sha256 for file, sha256 in checksums.items() if not _is_of(file, f"sub-{subject}")}
    write_checksums(dataset, of_others, [*log.removed, *renamed])


def _is_of(file: str, name: str) -> bool:
    """Tell by its path whether a file belongs to a subject."""
    return any(part == name or part.startswith(f"{name}_") for part in PurePosixPath(file).parts)


def _remove_files(
    dataset: Path, kept: Provenance, subject: str, removed: Mapping[str, RunRecord], log: PackageLog
) -> None:
    """Remove all files of the animal, the tables of atlases that no other run has, and reports that name it."""
    for run in removed.values():
        for image in map(PurePosixPath, run.images):
            remove_image(dataset, image)
    name = f"sub-{subject}"
    paths = [PurePosixPath(name), DERIVATIVE / name, COUNTS / name]
    for pattern in (f"{SOURCEDATA}/{name}_*", f"{FOLDER}/pixels/{name}_*"):
        paths += [PurePosixPath(path.relative_to(dataset).as_posix()) for path in sorted(dataset.glob(pattern))]
    paths += sorted(_atlas_files(removed.values()) - _atlas_files(kept.runs.values()))
    for path in paths:
        if (dataset / path).exists():
            remove(safe_path(dataset, path))
            log.removed.append(path)
    for page in (dataset / REPORT).glob("*.*"):
        if page.suffix in {".html", ".json"}:  # pages link to each other
            remove(safe_path(dataset, REPORT / page.name))
    log.removed += remove_shared(dataset, removed)


def _atlas_files(runs: Iterable[RunRecord]) -> set[PurePosixPath]:
    """Return the tables of the atlases of some runs, with their sidecars."""
    tables: set[PurePosixPath] = set()
    for run in runs:
        tables |= {DERIVATIVE / run.atlas_table} if run.atlas_table else set()
        tables |= {PurePosixPath(run.region_table)} if run.region_table else set()
    return tables | {table.with_suffix(".json") for table in tables}


def _remove_records(dataset: Path, provenance: Provenance, subject: str) -> list[str]:
    """Remove the animal from tables and plan, and update the files that are made from them.

    Returns what a person should know.
    """
    for path in _TABLES:
        remove_rows(dataset, path, "participant_id", {f"sub-{subject}"})
    about = _remove_from_plan(dataset, subject)
    naming = Naming(provenance.settings.get("naming", Naming.BIDS))
    return Metadata(dataset, about, explicit=False, naming=naming, provenance=provenance).write()


def _remove_from_plan(dataset: Path, subject: str) -> AboutDataset:
    """Remove the runs of the animal from the plan; return what the plan says about the dataset."""
    path = safe_path(dataset, PLAN)
    if not path.is_file():
        return AboutDataset()
    plan = read_plan(path)
    write_text(path, to_toml(Plan(dataset=plan.dataset, runs=[run for run in plan.runs if run.subject != subject])))
    return plan.dataset
