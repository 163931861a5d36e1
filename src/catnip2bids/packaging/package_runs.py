"""The main job: from source folders to a valid dataset.

Invariant: everything that can be refused is refused before the first byte is written. After that, one item that
fails is named and left out, and all others are done; whatever stands in the dataset is whole, and the same command
run again goes on where it stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from math import prod
from pathlib import Path

from catnip2bids.atomic_write import output_folder, raising_write_errors, write_text
from catnip2bids.bids.checksums import CHECKSUMS, set_checksums_aside, write_checksums
from catnip2bids.bids.plane_hashes import hashes_path
from catnip2bids.bids.provenance import PLAN, ImageRecord, Invocation, read_provenance
from catnip2bids.engine import ProgressCallbacks, Scheduler, check_memory, resources_for, scheduler_for
from catnip2bids.errors import Catnip2bidsError, DatasetError, NoSpaceError, WriteError
from catnip2bids.formatting import format_bytes
from catnip2bids.locks import locked
from catnip2bids.packaging.atlases import write_atlas_tables
from catnip2bids.packaging.images import make_image
from catnip2bids.packaging.metadata import Metadata
from catnip2bids.packaging.preflight import Preflight, run_preflight
from catnip2bids.packaging.result import PackageResult
from catnip2bids.packaging.run_packager import RunPackager
from catnip2bids.packaging.settings import Settings
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.paths import safe_path
from catnip2bids.plan import Plan, read_plan, to_toml
from catnip2bids.progress import Progress
from catnip2bids.scanning import source_list
from catnip2bids.staging import discard_staging, remove_partials, unfinished_outputs
from catnip2bids.versions import installed_versions


def package(
    sources: Sequence[Path | str] | Path | str,
    dataset: Path | str,
    settings: Settings | None = None,
    plan: Path | str | Plan | None = None,
    progress: Progress | None = None,
) -> PackageResult:
    """Package everything below some folders as a BIDS dataset.

    Parameters
    ----------
    sources
        Folders that are runs of CATNIP, or hold runs at any depth. They are only read.
    dataset
        The dataset folder: new, empty, or a dataset of ours, to which is added.
    settings
        Choices.
    plan
        A plan, or the file it is in; without one the default plan is made.
    progress
        Told how the work goes.

    Raises
    ------
    UsageError, PlanError, SourceError, DatasetError
        If something is missing or contradicts itself; nothing was written then.

    Examples
    --------
    >>> settings = Settings(voxel_size_um=(3.7, 3.7, 5.0))
    >>> result = package("cohort", "dataset", settings)
    >>> result.ok, len(result.made), len(result.kept)  # all images were there from an earlier call
    (True, 0, 20)
    """
    progress, settings = progress or Progress(), settings or Settings()
    with preflight_with_resources(sources, dataset, settings, plan, progress) as prepared:
        return write_dataset(prepared, progress)


@contextmanager
def preflight_with_resources(
    sources: Sequence[Path | str] | Path | str,
    dataset: Path | str,
    settings: Settings,
    plan: Path | str | Plan | None,
    progress: Progress,
) -> Iterator[Preflight]:
    """Settle everything before the first byte, with this process or a cluster whose workers see the same files.

    Raises
    ------
    UsageError, PlanError, SourceError, DatasetError
        As in `package`.
    """
    with resources_for(
        settings.cluster,
        settings.jobs,
        settings.memory_bytes,
        progress.note,
        reading=source_list(sources),
        writing=Path(dataset),
    ) as resources:
        yield run_preflight(sources, dataset, settings, plan, resources, progress)


def write_dataset(prepared: Preflight, progress: Progress) -> PackageResult:
    """Do all tasks; what fails is named and left out.

    Raises
    ------
    UsageError, DatasetError
        If the memory is not enough, or another program writes or has changed the dataset; nothing was written then.
    """
    dataset, provenance = prepared.dataset, prepared.provenance
    result = PackageResult(dataset, warnings=list(prepared.warnings))
    for warning in prepared.warnings:
        progress.warning(warning)
    known = provenance.model_copy(deep=True)
    jobs = [RunPackager(prepared, run, result, progress) for run in prepared.runs]
    missing = [(job, image) for job in jobs for image in job.missing_images()]
    pairs = [(image.volume, image.spec.image(dataset / image.target)) for _, image in missing]
    check_memory(pairs, prepared.resources)
    n_bytes = sum(prod(volume.shape) * volume.dtype.itemsize for volume, _ in pairs)
    published = raising_write_errors(dataset)
    with _telling_needed_space(n_bytes), published, output_folder(dataset), locked(dataset):
        if read_provenance(dataset) != known:
            raise DatasetError(f"{dataset}: was changed by another catnip2bids meanwhile; run again")
        with scheduler_for(pairs, prepared.resources) as workers:  # nothing is refused after this
            _write(prepared, jobs, missing, workers, result)
    if prepared.settings.report:
        draw_report(result, prepared.settings, progress)
    return result


@contextmanager
def _telling_needed_space(n_bytes: int) -> Iterator[None]:
    """Say of a full disk how large the images are that were to be made."""
    try:
        yield
    except NoSpaceError as error:
        raise NoSpaceError(
            f"{error}; the images to make have {format_bytes(n_bytes)} of pixels before compression, "
            "package --dry-run estimates what they take on the disk"
        ) from error


def _write(
    prepared: Preflight,
    jobs: Sequence[RunPackager],
    missing: Sequence[tuple[RunPackager, ImageTask]],
    workers: Scheduler,
    result: PackageResult,
) -> None:
    """Write everything; the exit code of an error is that of a command that has begun.

    Raises
    ------
    WriteError, WorkerError
        If it has to stop.
    """
    dataset, provenance, progress = prepared.dataset, prepared.provenance, jobs[0].progress
    try:
        remove_partials(dataset)
        _remember_command(prepared)
        provenance.save(dataset)
        checksums = _taken_checksums(dataset, result, progress)
        _make_images(prepared, jobs, missing, workers)
        for job in jobs:
            job.finish()
        atlases = {str(job.tasks.name): job.tasks.atlas for job in jobs}
        names = write_atlas_tables(dataset, provenance, atlases)
        metadata = Metadata(
            dataset, prepared.plan.dataset, prepared.explicit, prepared.settings.naming, provenance, prepared.runs
        )
        metadata.write(prepared.participants, names)
        _write_plan(prepared)
        provenance.save(dataset)
        made = [*result.made, *map(hashes_path, result.made), *result.copied]
        write_checksums(dataset, checksums, made, result.removed)
        _name_unfinished(dataset, result, progress)
    except Catnip2bidsError as error:
        if error.exit_code == 2:
            raise WriteError(str(error)) from error
        raise


def draw_report(result: PackageResult, settings: Settings, progress: Progress) -> None:
    """Draw the report; what it cannot show is a warning, since the dataset itself is whole."""
    from catnip2bids.reporting import MEMORY_BYTES, report  # late: drawing takes libraries of its own

    if settings.memory_bytes is not None and settings.memory_bytes < MEMORY_BYTES:
        problems = [f"it needs {format_bytes(MEMORY_BYTES)} of memory; draw it with catnip2bids report"]
    else:
        try:
            drawn = report(result.dataset, progress, jobs=settings.jobs)
            result.report, problems = drawn.path, list(drawn.problems)
        except Catnip2bidsError as error:
            problems = [str(error)]
    for problem in problems:
        warning = f"the report does not show all: {problem}" if result.report else f"no report is drawn: {problem}"
        result.warnings.append(warning)
        progress.warning(warning)


def _taken_checksums(dataset: Path, result: PackageResult, progress: Progress) -> Mapping[str, str]:
    """Return the checksums of before, which count for what is not made now."""
    there = set_checksums_aside(dataset)
    if there is None:
        return {}
    if not there.is_intact:
        warning = f"{dataset / CHECKSUMS}: was changed by hand; verify cannot tell what else was"
        result.warnings.append(warning)
        progress.warning(warning)
    return there.files


def _make_images(
    prepared: Preflight,
    jobs: Sequence[RunPackager],
    missing: Sequence[tuple[RunPackager, ImageTask]],
    workers: Scheduler,
) -> None:
    """Make the images that are missing, and copy everything else meanwhile."""
    progress = jobs[0].progress
    listener = ProgressCallbacks(progress.advance, progress.skip)

    def make(image: ImageTask) -> ImageRecord:
        progress.item(image.target.name, image.spec.how)
        if prepared.settings.overwrite:
            discard_staging(safe_path(prepared.dataset, image.target))
        return make_image(image, prepared.dataset, workers, listener)

    if missing and workers.summary:
        progress.note(workers.summary)
    progress.start(sum(prod(image.volume.shape) for _, image in missing))
    making = {workers.begin(make, image): (job, image) for job, image in missing}
    for job in jobs:
        job.write_tables_and_copies()
    for future in as_completed(making):
        job, image = making.pop(future)
        job.take_image(image, future)


def _name_unfinished(dataset: Path, result: PackageResult, progress: Progress) -> None:
    """Say what an interrupted command began, and this one had nothing to do with."""
    for image in unfinished_outputs(dataset):
        warning = (
            f"{image.relative_to(dataset)}: is unfinished work of an earlier command and is kept; "
            "package its run again to finish it"
        )
        result.warnings.append(warning)
        progress.warning(warning)


def _remember_command(prepared: Preflight) -> None:
    provenance, settings = prepared.provenance, prepared.settings.published()
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    provenance.command = _command(prepared)
    provenance.settings = {**settings, "voxel_size_um": prepared.plan.dataset.voxel_size_um}
    provenance.versions = installed_versions()
    provenance.history.append(
        Invocation(command=provenance.command, time=now, versions=provenance.versions, settings=provenance.settings)
    )


def _command(prepared: Preflight) -> str:
    """Write down the command line; of folders and files only the names, since this gets published."""
    words = ["catnip2bids", "package", *(source.resolve().name for source in prepared.sources)]
    words += ["-o", prepared.dataset.resolve().name]
    words += [] if prepared.plan_file is None else ["--plan", prepared.plan_file.name]
    for key, value in prepared.settings.published().items():
        option = "--" + key.removesuffix("_um").removeprefix("image_").replace("_", "-")
        if key == "voxel_size_um":
            words += [option, *(f"{size:g}" for size in value)]
        elif value is not False:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _write_plan(prepared: Preflight) -> None:
    path = safe_path(prepared.dataset, PLAN)
    there = read_plan(path) if path.is_file() else prepared.plan
    runs = {(run.subject, run.sample, run.stain): run for run in there.runs}
    runs |= {
        (run.subject, run.sample, run.stain): run.model_copy(update={"source": None}) for run in prepared.plan.runs
    }
    ordered = [run for _, run in sorted(runs.items(), key=lambda item: [label or "" for label in item[0]])]
    about = there.dataset.model_copy(update={key: value for key, value in prepared.plan.dataset if value})
    write_text(path, to_toml(Plan(dataset=about, runs=ordered)))
