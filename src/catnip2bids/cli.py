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

from catnip2bids.choices import Cluster, Compression, Format, Kind, Naming, OmeZarrVersion
from catnip2bids.errors import Catnip2bidsError, PlanError, UsageError, WriteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catnip2bids.reporting.outcomes import Check
    from catnip2bids.scanning import Run
    from catnip2bids.terminal import JobProgress

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processors to use (default: all).")]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="The most memory that may be used, such as 2GiB (default: a quarter of the machine's, at most 8GiB).",
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="Have a Dask cluster do the work: tcp://SCHEDULER:8786, slurm, or local; --jobs and --memory are then "
        "those of each worker that is started.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="N", help="Workers at the most, of slurm or local."),
]
CompressionOption = Annotated[Compression, typer.Option(help="Of OME-TIFF: as in the source, Deflate, or none.")]
Sources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE", help="Folders that are CATNIP runs, or hold runs at any depth.")
]


def main() -> None:
    """Run the command line; errors of the user become a message and exit code 2."""
    from catnip2bids.terminal import say_error

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
        from catnip2bids.console import be_quiet

        be_quiet()


def _print_versions(wanted: bool) -> None:
    if wanted:
        from catnip2bids.versions import versions

        typer.echo("\n".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="Show the version, and those of all that matters, and exit.",
        ),
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
    from catnip2bids.demo import run_demo
    from catnip2bids.terminal import JobProgress, say, show_result, show_sights, show_validation, show_verification

    with JobProgress() as progress:
        made = run_demo(folder, progress)
    show_result(made.packaged)
    show_validation(made.valid)
    show_verification(made.verified)
    say(f"in a viewer: catnip2bids view {shlex.quote(str(made.packaged.dataset))}")
    show_sights(made.sights)
    raise typer.Exit(0 if made.packaged.ok and made.valid.ok and made.verified.ok else 1)


def _cluster(address: str | None, n_workers: int | None) -> Cluster | None:
    """Read where the work is to be done."""
    if address is None:
        if n_workers is not None:
            raise UsageError("--workers says how many workers a cluster gets at the most; say --cluster too")
        return None
    return Cluster(address, n_workers)


def _bytes_of(memory: str | None) -> int | None:
    """Read the size that was given with --memory."""
    from catnip2bids.engine import parse_bytes

    return None if memory is None else parse_bytes(memory)


@app.command()
def scan(
    sources: Sources,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The plan to write; by default plan.toml, if that is not there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON to stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a plan that is there.")] = False,
    check: Annotated[
        bool, typer.Option("--check-derivations", help="Test on the pixels what CATNIP computes from what.")
    ] = False,
    jobs: Jobs = None,
    memory: Memory = None,
) -> None:
    """Find all runs, take a census of everything in them, and write the plan, to be read and corrected.

    Example: [bold]catnip2bids scan /data/cohort -o plan.toml[/]
    """
    from catnip2bids.plan import report_on, write_plan
    from catnip2bids.scanning import scan as scan_sources
    from catnip2bids.terminal import JobProgress, say, show_scan

    memory_bytes = _bytes_of(memory)
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
    sources: Sources,
    dataset: Annotated[Path, typer.Option("-o", "--output", metavar="DATASET", help="The dataset to make or add to.")],
    plan: Annotated[Path | None, typer.Option(help="A plan written by scan, corrected.")] = None,
    voxel_size: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="X Y Z", help="Voxel size in micrometers; CATNIP does not record it."),
    ] = None,
    image_format: Annotated[
        Format, typer.Option("--format", help="OME-Zarr, or OME-TIFF (.ome.btf, and .ome.tif on the atlas grid).")
    ] = Format.OME_ZARR,
    ome_zarr_version: Annotated[
        OmeZarrVersion, typer.Option(help="Version of OME-Zarr; 0.5 is sharded.")
    ] = OmeZarrVersion.V05,
    pyramid: Annotated[bool, typer.Option("--pyramid", help="OME-TIFF with lower resolution levels.")] = False,
    compression: CompressionOption = Compression.KEEP,
    naming: Annotated[
        Naming, typer.Option(help="Strict BIDS names, or _dseg, _mask and _counts as in DANDI 001362.")
    ] = Naming.BIDS,
    subject: Annotated[str | None, typer.Option(help="Subject of one run whose name does not tell.")] = None,
    sample: Annotated[str | None, typer.Option(help="Sample of one run whose name does not tell.")] = None,
    stain: Annotated[str | None, typer.Option(help="Stain of all runs (default: cFos).")] = None,
    atlas_table: Annotated[Path | None, typer.Option(help="CATNIP's atlas_info.txt.")] = None,
    participants: Annotated[Path | None, typer.Option(help="TSV to be merged into participants.tsv.")] = None,
    embed_labels: Annotated[bool, typer.Option("--embed-labels", help="Put labels inside the raw image too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    jobs: Jobs = None,
    memory: Memory = None,
    cluster: ClusterOption = None,
    n_workers: WorkersOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make all images anew.")] = False,
    draw_report: Annotated[bool, typer.Option("--report/--no-report", help="Draw the report at the end.")] = True,
) -> None:
    """Make a BIDS dataset of everything below the source folders. Run again, it goes on where it stopped.

    Example: [bold]catnip2bids package /data/cohort -o dataset --voxel-size 3.7 3.7 5[/]
    """
    from catnip2bids.packaging import Settings, carry_out, estimate, prepare, resources_of
    from catnip2bids.terminal import JobProgress, show_dry_run, show_result

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
        memory_bytes=_bytes_of(memory),
        cluster=None if dry_run else _cluster(cluster, n_workers),
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
    compression: CompressionOption = Compression.KEEP,
    check: Annotated[
        bool, typer.Option("--check", help="Decode pixels even if they only need to be copied, to find damage.")
    ] = False,
    jobs: Jobs = None,
    memory: Memory = None,
    cluster: ClusterOption = None,
    n_workers: WorkersOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an image that is there.")] = False,
) -> None:
    """Convert one volume to one OME-Zarr or OME-TIFF. Run again after an interruption, it goes on where it stopped.

    Pixels that are compressed already are copied into an OME-TIFF as they are, wherever its layout allows that.

    Examples: [bold]catnip2bids convert 640_N4 brain.ome.zarr --voxel-size 3.7 3.7 5[/],
    [bold]catnip2bids convert FRSTseg_00010000.tif cells.ome.btf --voxel-size 3.7 3.7 5 --kind mask[/]
    """
    from catnip2bids.conversion import convert as convert_to_image
    from catnip2bids.terminal import JobProgress, say

    memory_bytes = _bytes_of(memory)
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
            cluster=_cluster(cluster, n_workers),
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
    jobs: Jobs = None,
    memory: Memory = None,
    cluster: ClusterOption = None,
    n_workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json to stdout, too.")] = False,
) -> None:
    """Say exactly how two components differ. Exit code 0 if they are identical, 1 if not, 2 if something is damaged.

    Example: [bold]catnip2bids compare run/atlaslabel_def_origspace run/atlaslabel_def_origspace_masked[/]
    """
    from catnip2bids.comparison import compare as compare_components
    from catnip2bids.terminal import JobProgress, show_comparison

    memory_bytes, where = _bytes_of(memory), _cluster(cluster, n_workers)
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
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset, or a copy of it.")],
    source: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE...", help="Read the originals again too: one or more source folders."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode with a second library too, and merge lower levels with it.")
    ] = False,
    jobs: Jobs = None,
    memory: Memory = None,
    cluster: ClusterOption = None,
    n_workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON to stdout.")] = False,
) -> None:
    """Prove that every pixel in a dataset is the pixel that was read, and that no other file changed. Works offline.

    Examples: [bold]catnip2bids verify dataset[/],
    [bold]catnip2bids verify dataset --source /data/cohort[/]
    """
    from catnip2bids.terminal import JobProgress, show_verification
    from catnip2bids.verification import verify as verify_dataset

    if more and not source:
        raise UsageError(f"{more[0]}: is one word too many; source folders come after --source")
    sources, memory_bytes = [*(source or ()), *(more or ())], _bytes_of(memory)
    with JobProgress() as progress:
        found = verify_dataset(
            dataset,
            sources,
            progress,
            deep=deep,
            jobs=jobs,
            memory_bytes=memory_bytes,
            cluster=_cluster(cluster, n_workers),
        )
    show_verification(found)
    _keep_for_report(dataset, "verification", found)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    raise typer.Exit(0 if found.ok else 1)


@app.command()
def restore(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset, or a copy of it.")],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write; new or empty.")],
    jobs: Jobs = None,
    memory: Memory = None,
) -> None:
    """Write CATNIP's files back, pixel for pixel, under their names. Run again, it goes on where it stopped.

    Example: [bold]catnip2bids restore dataset -o restored[/]
    """
    from catnip2bids.restoration import restore as restore_dataset
    from catnip2bids.terminal import JobProgress, show_restoration

    memory_bytes = _bytes_of(memory)
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
    from catnip2bids.terminal import JobProgress, show_validation
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
    from catnip2bids.reporting import keep_outcome
    from catnip2bids.terminal import say

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
    from catnip2bids.reporting import report as draw
    from catnip2bids.terminal import JobProgress, say

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
    from catnip2bids.console import is_quiet
    from catnip2bids.interruption import until_interrupted
    from catnip2bids.terminal import JobProgress, show_viewing
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
