"""The main command: package source folders as a valid dataset.

Invariant: everything that can be refused is refused before the first byte is written. After that, an item that fails is
reported and skipped; every file in the dataset is complete, and the same command resumes the work.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

from catnip2bids.atomic_write import (
    discard_staging,
    output_folder,
    raising_write_errors,
    remove,
    remove_partials,
    unfinished_outputs,
    write_text,
)
from catnip2bids.bids.checksums import file_sha256, write_checksums
from catnip2bids.bids.dataset_paths import REPORT
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import PLAN, Invocation, Provenance, read_provenance
from catnip2bids.engine import Scheduler, check_memory, resources_for, scheduler_for
from catnip2bids.errors import Catnip2bidsError, DatasetError, NoSpaceError, WriteError, refusing
from catnip2bids.formatting import format_bytes
from catnip2bids.locks import locked
from catnip2bids.packaging.estimate_size import expected_result
from catnip2bids.packaging.existing_dataset import set_aside
from catnip2bids.packaging.images import make_image
from catnip2bids.packaging.label_names import write_label_names
from catnip2bids.packaging.metadata import Metadata
from catnip2bids.packaging.preflight import Preflight, run_preflight
from catnip2bids.packaging.repeated_images import repeated_images
from catnip2bids.packaging.result import PackageLog, PackageResult
from catnip2bids.packaging.run_packager import RunPackager
from catnip2bids.packaging.settings import Options, Settings
from catnip2bids.packaging.shared_links import remove_links_after_interruption, remove_outdated_links
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.paths import safe_path
from catnip2bids.plan import Plan, read_plan, to_toml
from catnip2bids.progress import Progress
from catnip2bids.scanning import source_list
from catnip2bids.versions import installed_versions
from catnip2bids.volume import pixel_bytes

_GENERATOR = b'<meta name="generator" content="catnip2bids">'
"""What the pages of a report have in their head."""


def package(
    sources: Sequence[Path | str] | Path | str,
    dataset: Path | str,
    settings: Settings | None = None,
    plan: Path | str | Plan | None = None,
    progress: Progress | None = None,
    *,
    dry_run: bool = False,
    **options: Unpack[Options],
) -> PackageResult:
    """Package everything below some folders as a BIDS dataset.

    Parameters
    ----------
    sources
        Folders that are runs of CATNIP or contain runs at any depth. They are only read.
    dataset
        The dataset folder: new, empty, or a dataset of this program, to which runs are added.
    settings
        Options that several calls share; see `Settings`.
    plan
        A plan or its file; by default, a plan is made from the sources.
    progress
        Receives the progress of the work.
    dry_run
        Whether to write nothing and return what would be made, with an estimate of size and time.
    options
        Fields of `Settings`, such as ``voxel_size_um``; they win over `settings`.

    Raises
    ------
    UsageError, PlanError, SourceError, DatasetError
        If an option is missing or invalid, or the sources, the plan or the dataset are. Then nothing was written.
    WriteError, WorkerError
        If the work has to stop, because the disk is full or a worker died for example. Complete images stay, and
        the next call goes on.

    Examples
    --------
    >>> result = package("cohort", "dataset", voxel_size_um=(3.7, 3.7, 5.0))
    >>> result.ok, len(result.made), len(result.kept)  # an earlier call has made all images
    (True, 0, 20)
    """
    progress, settings = progress or Progress(), replace(settings or Settings(), **options)
    with preflight_with_resources(sources, dataset, settings, plan, progress, dry_run=dry_run) as preflight:
        return expected_result(preflight, progress) if dry_run else write_dataset(preflight, progress)


@contextmanager
def preflight_with_resources(
    sources: Sequence[Path | str] | Path | str,
    dataset: Path | str,
    settings: Settings,
    plan: Path | str | Plan | None,
    progress: Progress,
    *,
    dry_run: bool = False,
) -> Iterator[Preflight]:
    """Check everything before the first byte is written; connect to the cluster, if there is one."""
    with resources_for(
        settings.cluster,
        settings.jobs,
        settings.memory_bytes,
        progress.note,
        reading=source_list(sources),
        writing=Path(dataset),
    ) as resources:
        resources = replace(resources, prepares_processes=not dry_run)
        with refusing():  # nothing is written yet, also if a worker dies
            preflight = run_preflight(sources, dataset, settings, plan, resources, progress)
        yield preflight


def write_dataset(preflight: Preflight, progress: Progress) -> PackageResult:
    """Run all tasks; report and skip tasks that fail."""
    dataset, provenance = preflight.dataset, preflight.provenance
    log = PackageLog(dataset, progress)
    for warning in preflight.warnings:
        log.warning(warning)
    known = provenance.model_copy(deep=True)
    packagers = [RunPackager(preflight, run, log) for run in preflight.runs]
    missing = [(packager, image) for packager in packagers for image in packager.missing_images()]
    pairs = [(image.volume, image.spec.image(dataset / image.target)) for _, image in missing]
    check_memory(pairs, preflight.resources)
    n_bytes = sum(pixel_bytes(volume) for volume, _ in pairs)
    with (
        _telling_needed_space(n_bytes),
        raising_write_errors(dataset),
        output_folder(dataset),
        locked_if_unchanged(dataset, known),
    ):
        with scheduler_for(pairs, preflight.resources) as scheduler, raising_exit_code_1():
            remove_partials(dataset)
            provenance.settings = preflight.settings.published()
            provenance.settings["voxel_size_um"] = preflight.plan.dataset.voxel_size_um
            provenance.command = _command(preflight)
            provenance.versions = add_to_history(provenance, provenance.command).versions
            provenance.save(dataset)
            remove_links_after_interruption(log)
            checksums = set_aside(dataset, known, is_new=not known.decisions)
            edited = _edited_tables(dataset, checksums)
            _make_images(preflight, packagers, missing, scheduler, checksums)
        with raising_exit_code_1():
            for packager in packagers:
                packager.remove_unplanned()  # no cells are looked for in images that go
            _write_cells(packagers, progress)
            for packager in packagers:
                packager.finish()
            about, naming = preflight.plan.dataset, preflight.settings.naming
            messages = Metadata(
                dataset,
                about,
                explicit=preflight.explicit,
                naming=naming,
                provenance=provenance,
                runs=preflight.runs,
                participants=preflight.participants,
            ).write()
            log.copied += write_label_names(dataset, provenance, checksums, {*log.made, *log.copied})
            remove_outdated_links(log, known, provenance, checksums, _changed_runs(preflight, log))
            for message in (*messages, *_without_edits(dataset, edited), *repeated_images(dataset, provenance)):
                log.warning(message)
            _write_plan(preflight)
            for packager in packagers:
                packager.complete()
            _save(provenance, known, checksums, log)
        _tell_unfinished(preflight, log)
    if preflight.settings.report:
        draw_report(log, preflight.settings)
    elif log.made or log.copied or log.removed:
        remove_report(dataset, progress)
    return log.result()


@contextmanager
def locked_if_unchanged(dataset: Path, known: Provenance) -> Iterator[None]:
    """Lock a dataset to change it; refuse one that another command changed since `known` was read."""
    with locked(dataset):
        if read_provenance(dataset) != known:
            raise DatasetError(f"{dataset}: was changed by another catnip2bids meanwhile; run again")
        yield


@contextmanager
def _telling_needed_space(n_bytes: int) -> Iterator[None]:
    """Add the size of the images to the error of a full disk."""
    try:
        yield
    except NoSpaceError as error:
        raise NoSpaceError(
            f"{error}; the images to make have {format_bytes(n_bytes)} of pixels before compression, "
            "package --dry-run estimates what they take on the disk"
        ) from error


@contextmanager
def raising_exit_code_1() -> Iterator[None]:
    """Give all errors the exit code of a command that has begun to write: nothing is refused any more."""
    try:
        yield
    except Catnip2bidsError as error:
        if error.exit_code == 2:
            raise WriteError(*error.args) from error
        raise


def draw_report(log: PackageLog, settings: Settings) -> None:
    """Draw the report; problems with it are warnings, since the dataset itself is complete."""
    # late: the report needs libraries that nothing else does
    from catnip2bids.reporting import MEMORY_BYTES, current_report, report

    problems: list[str] = []
    if (current := current_report(log.dataset)) is not None:
        log.report = current
    elif settings.memory_bytes is not None and settings.memory_bytes < MEMORY_BYTES:
        problems = [f"it needs {format_bytes(MEMORY_BYTES)} of memory; draw it with catnip2bids report"]
    else:
        try:
            drawn = report(log.dataset, log.progress, jobs=settings.jobs)
            log.report, problems = drawn.path, list(drawn.problems)
        except Catnip2bidsError as error:
            problems = [*error.args]
    for problem in problems:
        log.warning(f"the report does not show all: {problem}" if log.report else f"no report is drawn: {problem}")


def _tell_unfinished(preflight: Preflight, log: PackageLog) -> None:
    """Warn of unfinished work of earlier commands; discard that of images that these runs have no longer."""
    dataset, planned = preflight.dataset, {task.target for run in preflight.runs for task in run.images}
    for image in unfinished_outputs(dataset):
        path = PurePosixPath(image.relative_to(dataset).as_posix())
        if path not in planned and any(path.name.startswith(f"{run.name}_") for run in preflight.runs):
            discard_staging(safe_path(dataset, path))
            continue
        log.warning(f"{path}: is unfinished work of an earlier command and is kept; package its run again to finish it")
    for key in preflight.provenance.unfinished_runs:
        log.warning(f"{key}: packaging it was interrupted; package its run again, or take it out with --remove")


def remove_report(dataset: Path, progress: Progress) -> None:
    """Remove the pages of a report that shows what the dataset was before."""
    found = [page for name in ("index", "sub-*") for page in (dataset / REPORT).glob(f"{name}.html")]
    pages = [page for page in found if page.is_file() and _GENERATOR in page.read_bytes()]  # others are a person's
    for page in pages:
        remove(safe_path(dataset, REPORT / page.name))
    if pages:
        again = f"catnip2bids report {shlex.quote(str(dataset))}"
        progress.note(f"{dataset}: has no report now, since it has changed; draw it with {again}")


def _make_images(
    preflight: Preflight,
    packagers: Sequence[RunPackager],
    missing: Sequence[tuple[RunPackager, ImageTask]],
    scheduler: Scheduler,
    checksums: Mapping[str, str],
) -> None:
    """Make the missing images, and meanwhile write tables and copies, of which `checksums` are the earlier ones."""
    progress = packagers[0].log.progress
    make = partial(make_image, preflight.dataset, scheduler, progress, overwrite=preflight.settings.overwrite)
    if missing and scheduler.summary:
        progress.note(scheduler.summary)
    progress.start(sum(prod(image.volume.shape) for _, image in missing))
    futures = {scheduler.supervise(make, image): (packager, image) for packager, image in missing}
    for packager in packagers:
        packager.write_tables_and_copies(checksums)
    for future in as_completed(futures):
        packager, image = futures.pop(future)
        packager.record_image(image, future)


def _write_cells(packagers: Sequence[RunPackager], progress: Progress) -> None:
    """Write the tables of cells that are missing, once the images in which cells are found are made."""
    missing = [(packager, task) for packager in packagers for task in packager.missing_cells()]
    if missing:
        progress.start(sum(task.n_voxels for _, task in missing))
    for packager, task in missing:
        packager.write_cells(task)


def _edited_tables(dataset: Path, checksums: Mapping[str, str]) -> dict[str, str]:
    """Return the sha256 of the tables of counts and regions that somebody changed since they were written."""
    tables = [file for file in checksums if file.endswith(("counts.tsv", "regions.tsv"))]
    found = {file: file_sha256(dataset / file) for file in tables if (dataset / file).is_file()}
    return {file: sha256 for file, sha256 in found.items() if sha256 != checksums[file]}


def _without_edits(dataset: Path, edited: Mapping[str, str]) -> Iterator[str]:
    """Yield a message about each edited table that has been written again."""
    for file, sha256 in edited.items():
        if (dataset / file).is_file() and file_sha256(dataset / file) != sha256:
            yield (
                f"{file}: was changed since it was packaged, and has been written again without the change; "
                "columns of your own are kept in dseg.tsv and participants.tsv"
            )


def _changed_runs(preflight: Preflight, log: PackageLog) -> list[str]:
    """List the runs of which files were written or removed."""
    paths = [str(path) for path in (*log.made, *log.copied, *log.removed)]
    return [name for name in (str(run.name) for run in preflight.runs) if any(f"/{name}_" in path for path in paths)]


def _save(provenance: Provenance, known: Provenance, checksums: Mapping[str, str], log: PackageLog) -> None:
    """Save provenance and checksums; omit a command that changed nothing, so that saved check results stay valid."""
    changed = [*log.made, *map(hashes_path, log.made), *log.copied, *log.removed]
    if not changed and _facts(provenance) == _facts(known):
        known.save(log.dataset)
        if (now := write_checksums(log.dataset, checksums, changed)) == checksums:
            return
        checksums = now
    provenance.save(log.dataset)
    write_checksums(log.dataset, checksums, changed)


def _facts(provenance: Provenance) -> dict[str, Any]:
    """Return provenance as JSON without commands, and with decisions in one order."""
    document = provenance.model_dump(mode="json", exclude={"command", "history"})
    return {**document, "decisions": sorted(document["decisions"], key=lambda found: (found["run"], found["source"]))}


def add_to_history(provenance: Provenance, command: str) -> Invocation:
    """Add a command that is running to the history of a dataset."""
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    added = Invocation(command=command, time=now, versions=installed_versions(), settings=provenance.settings)
    provenance.history.append(added)
    return added


def _command(preflight: Preflight) -> str:
    """Return the command line, with only the names of folders and files, since it gets published."""
    words = ["catnip2bids", "package", *(source.resolve().name for source in preflight.sources)]
    words += ["-o", preflight.dataset.resolve().name]
    words += [] if preflight.plan_file is None else ["--plan", preflight.plan_file.name]
    for key, value in preflight.settings.published().items():
        option = "--" + key.removesuffix("_um").removeprefix("image_").replace("_", "-")
        if key == "voxel_size_um":
            words += [option, *(f"{size:.15g}" for size in value)]
        elif value is not False:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _write_plan(preflight: Preflight) -> None:
    """Merge the plan into that of the dataset; runs get a voxel size only if it differs from the dataset's."""
    path = safe_path(preflight.dataset, PLAN)
    earlier = read_plan(path) if path.is_file() else preflight.plan
    about = earlier.dataset.model_copy(update={key: value for key, value in preflight.plan.dataset if value})
    before = [(run, run.voxel_size_um or earlier.dataset.voxel_size_um) for run in earlier.runs]
    now = [(run.model_copy(update={"source": None}), run.voxel_size_um) for run in preflight.plan.runs]
    runs = {
        (run.subject, run.sample, run.stain): run.model_copy(
            update={"voxel_size_um": None if size_um == about.voxel_size_um else size_um}
        )
        for run, size_um in (*before, *now)
    }
    ordered = [run for _, run in sorted(runs.items(), key=lambda item: [label or "" for label in item[0]])]
    write_text(path, to_toml(Plan(dataset=about, runs=ordered)))
