"""The commands that write data: demo, scan, package, convert, restore.

Invariant: a command parses arguments, calls one function of the API, and prints its result.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from catnip2bids.cli import options
from catnip2bids.cli.options import bytes_of, cluster_of
from catnip2bids.enums import Compression, Format, Kind, Naming, OmeZarrVersion
from catnip2bids.errors import PlanError, UsageError, refusing
from catnip2bids.formatting import format_list, format_shape
from catnip2bids.leftovers import ignored

if TYPE_CHECKING:
    from catnip2bids.packaging import Settings


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the demo.")] = Path("catnip2bids-demo"),
    cohort_only: Annotated[bool, typer.Option("--cohort-only", help="Write only the cohort, to practise on.")] = False,
) -> None:
    """Write a made-up cohort, package, validate and verify it, draw its report, and list the results.

    Example: [bold]catnip2bids demo my-demo[/]
    """
    from catnip2bids.cli.console import JobProgress, print_line
    from catnip2bids.cli.terminal import show_outputs, show_result, show_validation, show_verification
    from catnip2bids.demo import run_demo, write_demo_cohort

    if cohort_only:
        with refusing(), JobProgress() as progress:
            cohort = write_demo_cohort(folder, progress)
        show_outputs(
            ((cohort.folder, "the made-up output of CATNIP"), (cohort.atlas_table, "the names of its regions"))
        )
        return
    with refusing(), JobProgress() as progress:
        made = run_demo(folder, progress)
    show_result(made.packaged)
    show_validation(made.valid)
    show_verification(made.verified)
    is_elsewhere = Path(sys.argv[0]).name == "catnip2bids" and shutil.which("catnip2bids") is None
    program = sys.argv[0] if is_elsewhere else "catnip2bids"  # in an environment that is not active
    print_line(f"in a viewer: {shlex.join([program, 'view', str(made.packaged.dataset)])}")
    show_outputs(made.outputs)
    raise typer.Exit(0 if made.packaged.ok and made.valid.ok and made.verified.ok else 1)


def scan(
    sources: options.Sources,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Plan to write (default: plan.toml, unless it exists)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON to stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing plan.")] = False,
) -> None:
    """Find all runs, inspect every file in them, and write a plan for you to review and correct.

    Example: [bold]catnip2bids scan /data/cohort -o plan.toml[/]
    """
    from catnip2bids.cli.console import JobProgress, print_line
    from catnip2bids.cli.terminal import show_scan
    from catnip2bids.plan import refuse_plan_file, report_on, write_plan
    from catnip2bids.scanning import scan as scan_sources

    if output is not None:
        refuse_plan_file(output, sources, overwrite=overwrite)
    with refusing(), JobProgress() as progress:
        report = report_on(scan_sources(sources, progress))
        if report.found.leftovers:
            progress.note(ignored(report.found.leftovers))
        show_scan(report)
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=1))
        plan = output or Path("plan.toml")
        try:
            write_plan(report.plan, plan, report.found, overwrite=overwrite)
            print_line(f"{plan}: the plan; {_what_next(plan, len(report.problems))}")
        except PlanError as error:
            if output is not None:
                raise
            progress.warning(f"no plan is written: {error}")
    raise typer.Exit(1 if report.problems else 0)


def _what_next(plan: Path, n_problems: int) -> str:
    if not n_problems:
        return f"correct it where it is wrong, then package --plan {plan}"
    them = "the problem" if n_problems == 1 else f"the {n_problems:,} problems"
    return f"settle {them} first: correct the files and scan again, or exclude the entries in the plan"


def package(
    context: typer.Context,
    dataset: options.DatasetToMake,
    sources: options.SourcesUnlessRemoving = None,
    plan: options.PlanFile = None,
    voxel_size: options.VoxelSize = None,
    image_format: options.ImageFormat = Format.OME_ZARR,
    ome_zarr_version: options.ZarrVersion = OmeZarrVersion.V05,
    pyramid: options.Pyramid = False,
    compression: options.TiffCompression = Compression.KEEP,
    naming: options.Names = Naming.BIDS,
    subject: options.Subject = None,
    sample: options.Sample = None,
    stain: options.Stain = None,
    atlas_table: options.AtlasTableFile = None,
    participants: options.ParticipantsFile = None,
    embed_labels: options.EmbedLabels = False,
    dry_run: options.DryRun = False,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    draw_report: options.DrawReport = True,
    remove: options.Remove = None,
) -> None:
    """Package the source folders as a BIDS dataset. Run it again to resume after an interruption.

    Example: [bold]catnip2bids package /data/cohort -o dataset --voxel-size 3.7 3.7 5[/]
    """
    from catnip2bids.packaging import Settings

    if remove is not None:
        _refuse_with_remove(context)
        _remove(dataset, remove, Settings(report=draw_report, jobs=jobs, memory_bytes=bytes_of(memory)))
        return
    where = cluster_of(cluster, n_workers)
    settings = Settings(
        voxel_size_um=voxel_size,
        image_format=image_format,
        ome_zarr_version=ome_zarr_version,
        pyramid=pyramid,
        compression=compression,
        naming=naming,
        subject=subject,
        sample=sample,
        stain=stain,
        atlas_table=atlas_table,
        participants=participants,
        embed_labels=embed_labels,
        overwrite=overwrite,
        report=draw_report,
        jobs=jobs,
        memory_bytes=bytes_of(memory),
        cluster=None if dry_run else where,
    )
    if not sources:
        raise UsageError("give one or more SOURCE folders: CATNIP runs, or folders that hold runs at any depth")
    _package(sources, dataset, settings, plan, dry_run=dry_run)


def _package(
    sources: Sequence[Path], dataset: Path, settings: Settings, plan: Path | None, *, dry_run: bool
) -> NoReturn:
    """Package or print a dry run, then exit."""
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_dry_run, show_result
    from catnip2bids.packaging import expected_result, preflight_with_resources, write_dataset

    with (
        JobProgress() as progress,
        preflight_with_resources(sources, dataset, settings, plan, progress, dry_run=dry_run) as prepared,
    ):
        if dry_run:
            result = expected_result(prepared, progress)
            show_dry_run(prepared, result)
        else:
            result = write_dataset(prepared, progress)
    if not dry_run:
        show_result(result)
    raise typer.Exit(0 if result.ok else 1)


def _refuse_with_remove(context: typer.Context) -> None:
    """Refuse arguments and options that mean nothing beside --remove."""
    allowed = {"dataset", "remove", "jobs", "memory", "draw_report", "quiet"}
    given = [
        "SOURCE" if parameter.name == "sources" else parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in allowed
        and (found := context.get_parameter_source(str(parameter.name))) is not None
        and found.name == "COMMANDLINE"
        and context.params[str(parameter.name)] not in ((), [])  # old versions of Typer count SOURCE as given
    ]
    if given:
        raise UsageError(f"--remove packages nothing; leave out {format_list(given)}, or --remove")


def _remove(dataset: Path, label: str, settings: Settings) -> None:
    """Remove an animal from the dataset and from the report."""
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_result
    from catnip2bids.packaging import remove_animal

    with JobProgress() as progress:
        result = remove_animal(
            dataset,
            label,
            progress,
            report=settings.report,
            jobs=settings.jobs,
            memory_bytes=settings.memory_bytes,
        )
    show_result(result, f"sub-{label.removeprefix('sub-')} removed")


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Folder of TIFF slices, TIFF stack, NIfTI file, or OME-Zarr image."),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="DST", help="Image to write: NAME.ome.zarr, .ome.btf or .ome.tif (classic TIFF).")
    ],
    voxel_size: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="X Y Z", help="Voxel size in micrometers (default: from the source).", show_default=False),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Decides how lower resolution levels are computed.")] = Kind.IMAGE,
    slice_number: Annotated[str | None, options.SLICE_NUMBER] = None,
    pyramid: options.Pyramid = False,
    compression: options.TiffCompression = Compression.KEEP,
    check: Annotated[
        bool, typer.Option("--check", help="Decode all pixels to find damage, even where compressed pixels are copied.")
    ] = False,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing image.")] = False,
) -> None:
    """Convert one volume to OME-Zarr or OME-TIFF. Run it again to resume after an interruption.

    Compressed pixels are copied into an OME-TIFF without decoding them where the format allows it.

    Examples: [bold]catnip2bids convert 640_N4 brain.ome.zarr --voxel-size 3.7 3.7 5[/],
    [bold]catnip2bids convert FRSTseg_00010000.tif cells.ome.btf --voxel-size 3.7 3.7 5 --kind mask[/]
    """
    from catnip2bids.cli.console import JobProgress, print_line
    from catnip2bids.conversion import convert as convert_to_image

    memory_bytes = bytes_of(memory)
    with JobProgress() as progress:
        made = convert_to_image(
            source,
            target,
            voxel_size,
            kind,
            progress,
            slice_number=slice_number,
            jobs=jobs,
            memory_bytes=memory_bytes,
            overwrite=overwrite,
            pyramid=pyramid,
            compression=compression,
            check=check,
            cluster=cluster_of(cluster, n_workers),
        )
    print_line(f"{made.path}: {format_shape(made.shape)} voxels, {made.dtype}")


def restore(
    dataset: options.Packaged,
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to, new or empty.")],
    subject: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Restore only this animal, such as 45670ko (default: all).")
    ] = None,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
) -> None:
    """Restore CATNIP's files, pixel for pixel, under their names. Run it again to resume after an interruption.

    Example: [bold]catnip2bids restore dataset -o restored[/]
    """
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_restoration
    from catnip2bids.restoration import restore as restore_dataset

    memory_bytes = bytes_of(memory)
    with JobProgress("restoring") as progress:
        restored = restore_dataset(dataset, folder, progress, subject=subject, jobs=jobs, memory_bytes=memory_bytes)
    show_restoration(restored)
    raise typer.Exit(0 if restored.ok else 1)
