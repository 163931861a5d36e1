"""The commands. Only arguments and printing; each command is a few lines around one call of the API.

Exit codes: 0 done and good, 1 done but something is wrong, 2 could not be done.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperGroup

from catnip2bids._version import __version__
from catnip2bids.choices import Compression, Format, Kind, Naming, OmeZarrVersion
from catnip2bids.cli import options
from catnip2bids.cli.options import bytes_of, cluster_of
from catnip2bids.errors import Catnip2bidsError, PlanError, UsageError, WriteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.reporting.outcomes import Check
    from catnip2bids.scanning import Run

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; errors of the user become a message and exit code 2."""
    from catnip2bids.cli.terminal import say_error

    try:
        _commands()()
    except Catnip2bidsError as error:
        say_error(str(error))
        sys.exit(error.exit_code)


def _commands() -> TyperGroup:
    """Return the commands, each of them with the options that all have."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    quiet = next(option for option in group.params if option.name == "quiet")
    for command in group.commands.values():
        command.params.append(quiet)
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        _without_boxes([group, *(command for command in group.commands.values() if isinstance(command, TyperCommand))])
    return group


def _without_boxes(commands: Sequence[TyperGroup | TyperCommand]) -> None:
    """Let help and usage errors be plain text, with no frames and no styles."""
    for command in commands:
        command.help = re.sub(r"\[/?(bold)?\]", "", command.help or "")
        command.rich_markup_mode = None


def _be_quiet(wanted: bool) -> None:
    if wanted:
        from catnip2bids.cli.console import be_quiet

        be_quiet()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"catnip2bids {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            callback=_be_quiet,
            expose_value=False,
            help="Print errors and problems only; results for pipes (--json) and exit codes are the same.",
        ),
    ] = False,
) -> None:
    """Package the output of CATNIP as a BIDS microscopy dataset, every pixel accounted for.

    Try it: [bold]catnip2bids demo[/]
    """


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the demo.")] = Path("catnip2bids-demo"),
) -> None:
    """Make a small made-up cohort, package, validate, verify and draw it, and tell where to look.

    Example: [bold]catnip2bids demo my-demo[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import say, show_result, show_sights, show_validation, show_verification
    from catnip2bids.demo import run_demo

    with JobProgress() as progress:
        made = run_demo(folder, progress)
    show_result(made.packaged)
    show_validation(made.valid)
    show_verification(made.verified)
    say(f"in a viewer: catnip2bids view {shlex.quote(str(made.packaged.dataset))}")
    show_sights(made.sights)
    raise typer.Exit(0 if made.packaged.ok and made.valid.ok and made.verified.ok else 1)


@app.command()
def scan(
    sources: options.Sources,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The plan to write; by default plan.toml, if that is not there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON to stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a plan that is there.")] = False,
    check: Annotated[
        bool, typer.Option("--check-derivations", help="Test on the pixels what CATNIP computes from what.")
    ] = False,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
) -> None:
    """Find all runs, take a census of everything in them, and write the plan, to be read and corrected.

    Example: [bold]catnip2bids scan /data/cohort -o plan.toml[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import say, show_scan
    from catnip2bids.plan import report_on, write_plan
    from catnip2bids.scanning import scan as scan_sources

    memory_bytes = bytes_of(memory)
    with JobProgress() as progress:
        report = report_on(scan_sources(sources, progress.looking_at))
        show_scan(report)
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=1))
        plan = output or Path("plan.toml")
        try:
            write_plan(report, plan, overwrite=overwrite)
            say(f"{plan}: the plan; correct it where it is wrong, then package --plan {plan}")
        except PlanError as error:
            if output is not None:
                raise
            progress.warning(f"no plan is written: {error}")
        broken = _check_derivations(report.found.runs, progress, jobs, memory_bytes) if check else False
    raise typer.Exit(1 if report.problems or broken else 0)


def _check_derivations(runs: Sequence[Run], progress: JobProgress, jobs: int | None, memory_bytes: int | None) -> bool:
    """Test all claims on all runs; tells whether one does not hold."""
    from catnip2bids.comparison import check_derivations

    broken = False
    for run in runs:
        progress.note(f"\n{run.folder}")
        for found in check_derivations(run, progress, jobs=jobs, memory_bytes=memory_bytes):
            broken |= not found.holds
            (progress.note if found.holds else progress.problem)(str(found))
    return broken


@app.command()
def package(
    sources: options.Sources,
    dataset: options.DatasetToMake,
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
) -> None:
    """Make a BIDS dataset of everything below the source folders. Run again, it goes on where it stopped.

    Example: [bold]catnip2bids package /data/cohort -o dataset --voxel-size 3.7 3.7 5[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import show_dry_run, show_result
    from catnip2bids.packaging import Settings, carry_out, estimate, prepare, resources_of

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
        cluster=None if dry_run else cluster_of(cluster, n_workers),
    )
    with JobProgress() as progress, resources_of(settings, sources, dataset, progress) as resources:
        prepared = prepare(sources, dataset, settings, plan, resources, progress)
        if dry_run:
            images = [task for run in prepared.runs for task in run.images]
            show_dry_run(prepared, estimate(images, settings))
            raise typer.Exit(1 if any(run.problems for run in prepared.runs) else 0)
        result = carry_out(prepared, progress)
    show_result(result)
    raise typer.Exit(0 if result.ok else 1)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="A folder of TIFF slices, a TIFF stack, a NIfTI file, or an OME-Zarr."),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="DST", help="The image to make: NAME.ome.zarr, .ome.btf or .ome.tif (classic).")
    ],
    voxel_size: Annotated[tuple[float, float, float], typer.Option(metavar="X Y Z", help="Voxel size in micrometers.")],
    kind: Annotated[Kind, typer.Option(help="Decides how voxels are merged in lower resolution levels.")] = Kind.IMAGE,
    pyramid: Annotated[
        bool, typer.Option("--pyramid", help="OME-TIFF with lower resolution levels; OME-Zarr always has them.")
    ] = False,
    compression: options.TiffCompression = Compression.KEEP,
    check: Annotated[
        bool, typer.Option("--check", help="Decode pixels even if they only need to be copied, to find damage.")
    ] = False,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an image that is there.")] = False,
) -> None:
    """Convert one volume to one OME-Zarr or OME-TIFF. Run again after an interruption, it goes on where it stopped.

    Pixels that are compressed already are copied into an OME-TIFF as they are, wherever its layout allows that.

    Examples: [bold]catnip2bids convert 640_N4 brain.ome.zarr --voxel-size 3.7 3.7 5[/],
    [bold]catnip2bids convert FRSTseg_00010000.tif cells.ome.btf --voxel-size 3.7 3.7 5 --kind mask[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import say
    from catnip2bids.conversion import convert as convert_to_image

    memory_bytes = bytes_of(memory)
    with JobProgress() as progress:
        made = convert_to_image(
            source,
            target,
            voxel_size,
            kind,
            progress,
            jobs=jobs,
            memory_bytes=memory_bytes,
            overwrite=overwrite,
            pyramid=pyramid,
            compression=compression,
            check=check,
            cluster=cluster_of(cluster, n_workers),
        )
    sizes = " x ".join(str(n) for n in reversed(made.shape))
    say(f"{made.path}: {sizes} voxels, {made.dtype}")


@app.command()
def compare(
    path_1: Annotated[Path, typer.Argument(metavar="A", help="A slice folder, stack, NIfTI file, table, or folder.")],
    path_2: Annotated[Path, typer.Argument(metavar="B", help="What it is compared with.")],
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write the tables and the page.")
    ] = Path("comparison"),
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json to stdout, too.")] = False,
) -> None:
    """Say exactly how two components differ. Exit code 0 if they are identical, 1 if not, 2 if something is damaged.

    Example: [bold]catnip2bids compare run/atlaslabel_def_origspace run/atlaslabel_def_origspace_masked[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import show_comparison
    from catnip2bids.comparison import compare as compare_components

    memory_bytes, where = bytes_of(memory), cluster_of(cluster, n_workers)
    with JobProgress("planes") as progress:
        try:
            comparison = compare_components(
                path_1, path_2, folder, progress, jobs=jobs, memory_bytes=memory_bytes, cluster=where
            )
        except WriteError as error:
            error.exit_code = 2  # 1 says that they differ
            raise
    show_comparison(comparison, folder)
    if as_json:
        typer.echo((folder / "comparison.json").read_text(encoding="utf-8"))
    raise typer.Exit(comparison.exit_code)


@app.command()
def verify(
    dataset: options.Packaged,
    source: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE...", help="Read the originals again too: one or more source folders."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode with a second library too, and merge lower levels with it.")
    ] = False,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON to stdout.")] = False,
) -> None:
    """Prove that every pixel in a dataset is the pixel that was read, and that no other file changed. Works offline.

    Examples: [bold]catnip2bids verify dataset[/],
    [bold]catnip2bids verify dataset --source /data/cohort[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import show_verification
    from catnip2bids.verification import verify as verify_dataset

    if more and not source:
        raise UsageError(f"{more[0]}: is one word too many; source folders come after --source")
    sources, memory_bytes = [*(source or ()), *(more or ())], bytes_of(memory)
    with JobProgress() as progress:
        found = verify_dataset(
            dataset,
            sources,
            progress,
            deep=deep,
            jobs=jobs,
            memory_bytes=memory_bytes,
            cluster=cluster_of(cluster, n_workers),
        )
    show_verification(found)
    _keep_for_report(dataset, "verification", found)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    raise typer.Exit(0 if found.ok else 1)


@app.command()
def restore(
    dataset: options.Packaged,
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write; new or empty.")],
    jobs: options.Jobs = None,
    memory: options.Memory = None,
) -> None:
    """Write CATNIP's files back, pixel for pixel, under their names. Run again, it goes on where it stopped.

    Example: [bold]catnip2bids restore dataset -o restored[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import show_restoration
    from catnip2bids.restoration import restore as restore_dataset

    memory_bytes = bytes_of(memory)
    with JobProgress() as progress:
        restored = restore_dataset(dataset, folder, progress, jobs=jobs, memory_bytes=memory_bytes)
    show_restoration(restored)
    raise typer.Exit(0 if restored.ok else 1)


@app.command()
def validate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset to check.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON to stdout.")] = False,
) -> None:
    """Check a dataset: BIDS, OME-Zarr, DANDI, and what no validator looks at.

    Example: [bold]catnip2bids validate dataset[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import show_validation
    from catnip2bids.validation import validate as validate_dataset

    with JobProgress() as progress:
        progress.looking_at(str(dataset))
        found = validate_dataset(dataset)
    show_validation(found)
    _keep_for_report(dataset, "validation", found)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    raise typer.Exit(0 if found.ok else 1)


def _keep_for_report(dataset: Path, name: str, found: Check) -> None:
    """Keep what a check found for the next report; a dataset that cannot be written was checked all the same."""
    from catnip2bids.cli.terminal import say
    from catnip2bids.reporting import keep_outcome

    try:
        keep_outcome(dataset, name, found)
    except WriteError as error:
        say(f"the report will not show this: {error}")


@app.command()
def report(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset to draw.")],
) -> None:
    """Draw pages to look at: docs/report/index.html in the dataset. They open without a server or a network.

    What validate and verify found last is on them.

    Example: [bold]catnip2bids report dataset[/]
    """
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import say
    from catnip2bids.reporting import report as draw

    with JobProgress() as progress:
        drawn = draw(dataset, progress)
        for problem in drawn.problems:
            progress.problem(problem)
    say(f"look at {drawn.path}")
    raise typer.Exit(1 if drawn.problems else 0)


@app.command()
def view(
    path: Annotated[Path, typer.Argument(metavar="DATASET|IMAGE", help="A dataset, an OME-Zarr, or an OME-TIFF.")],
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to serve at (default: any free).")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open a browser.")] = True,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the address to stdout instead of opening a browser, as over ssh.")
    ] = False,
) -> None:
    """Look at images with their labels in Neuroglancer. Served from this machine only, until Ctrl-C; works offline.

    Examples: [bold]catnip2bids view dataset[/],
    [bold]catnip2bids view brain.ome.zarr --port 8000 --print-url[/]
    """
    from catnip2bids.cli.console import is_quiet
    from catnip2bids.cli.job_progress import JobProgress
    from catnip2bids.cli.terminal import show_viewing
    from catnip2bids.interruption import until_interrupted
    from catnip2bids.viewing import open_in_browser
    from catnip2bids.viewing import view as view_images

    with until_interrupted():
        with JobProgress() as progress:
            viewing = view_images(path, port=port, progress=progress)
        with viewing:
            show_viewing(viewing)
            opened = browser and not print_url and open_in_browser(viewing.url)
            if print_url or (is_quiet() and not opened):
                typer.echo(viewing.url)
            elif browser and not opened:
                progress.note("no browser could be opened; open the address above in one")
            viewing.wait()
