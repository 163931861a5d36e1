"""The commands that read existing data: compare, verify, validate, report, view, share.

Invariant: a command parses arguments, calls one function of the API, and prints its result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from catnip2bids.cli import options
from catnip2bids.cli.options import bytes_of, cluster_of
from catnip2bids.errors import DatasetError, UsageError, refusing
from catnip2bids.leftovers import ignored, leftovers_below

if TYPE_CHECKING:
    from catnip2bids.validation import ValidationReport
    from catnip2bids.verification import Verification


def compare(
    path_1: Annotated[Path, typer.Argument(metavar="A", help="Volume, table, or folder of these.")],
    path_2: Annotated[Path, typer.Argument(metavar="B", help="Volume, table, or folder to compare it with.")],
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the tables and the HTML page.")
    ] = Path("comparison"),
    slice_number: Annotated[list[str] | None, options.SLICE_NUMBER] = None,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Also print comparison.json to stdout.")] = False,
) -> None:
    """Show exactly how two volumes, tables or folders differ.

    Exit code 0 if they are identical, 1 if not, 2 if something could not be read or nothing was compared.

    Volumes can be slice folders, TIFF stacks, NIfTI files, and OME-Zarr or OME-TIFF images, in any combination.

    Example: [bold]catnip2bids compare run/atlaslabel_def_origspace run/atlaslabel_def_origspace_masked[/]
    """
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_comparison
    from catnip2bids.comparison import compare as compare_components

    memory_bytes, where = bytes_of(memory), cluster_of(cluster, n_workers)
    with refusing(), JobProgress("comparing", "planes") as progress:
        comparison = compare_components(
            path_1,
            path_2,
            folder,
            progress,
            slice_numbers=slice_number or (),
            jobs=jobs,
            memory_bytes=memory_bytes,
            cluster=where,
        )
    show_comparison(comparison, folder)
    if as_json:  # dumped again to print ASCII in any locale, as the other commands do
        typer.echo(json.dumps(json.loads((folder / "comparison.json").read_text(encoding="utf-8")), indent=1))
    raise typer.Exit(comparison.exit_code)


def verify(
    dataset: options.Packaged,
    source: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE...", help="Also read the originals again: one or more source folders."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(hidden=True, metavar="SOURCE")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also decode with a second library, and recompute lower levels with it.")
    ] = False,
    counts: Annotated[
        bool, typer.Option("--counts", help="Also count all cells again, and compare with CATNIP's tables.")
    ] = False,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    cluster: options.ClusterAddress = None,
    n_workers: options.Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON to stdout.")] = False,
) -> None:
    """Prove that every pixel in a dataset is the one that was read, and that no other file changed. Works offline.

    Examples: [bold]catnip2bids verify dataset[/],
    [bold]catnip2bids verify dataset --source /data/cohort[/],
    [bold]catnip2bids verify dataset --counts[/]
    """
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_verification
    from catnip2bids.verification import verify as verify_dataset

    if more and not source:
        raise UsageError(f"{more[0]}: is not expected here; put source folders after --source")
    sources, memory_bytes = [*(source or ()), *(more or ())], bytes_of(memory)
    with refusing(), JobProgress("verifying") as progress:
        found = verify_dataset(
            dataset,
            sources,
            progress,
            deep=deep,
            counts=counts,
            jobs=jobs,
            memory_bytes=memory_bytes,
            cluster=cluster_of(cluster, n_workers),
        )
    show_verification(found)
    _finish_check(dataset, "verification", found, as_json=as_json)


def validate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset to check.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON to stdout.")] = False,
) -> None:
    """Check a dataset against BIDS, OME-Zarr, OME-TIFF and DANDI, and for errors that no validator looks for.

    Example: [bold]catnip2bids validate dataset[/]
    """
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_validation
    from catnip2bids.validation import validate as validate_dataset

    with refusing(), JobProgress() as progress:
        found = validate_dataset(dataset, progress)
    show_validation(found)
    _finish_check(dataset, "validation", found, as_json=as_json)


def _finish_check(dataset: Path, name: str, found: ValidationReport | Verification, *, as_json: bool) -> NoReturn:
    """Save a result for the next report, or print a note if the dataset is read-only; then exit."""
    from catnip2bids.cli.console import print_line
    from catnip2bids.reporting import save_check_result

    try:
        save_check_result(dataset, name, found)
    except DatasetError as error:
        print_line(f"the report will not show this: {error}")
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    raise typer.Exit(0 if found.ok else 1)


def report(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset to report on.")],
    jobs: options.Jobs = None,
) -> None:
    """Write an HTML report to docs/report/index.html in the dataset. It opens without a server or a network.

    It includes the last results of validate and verify.

    Example: [bold]catnip2bids report dataset[/]
    """
    from catnip2bids.cli.console import JobProgress, print_line
    from catnip2bids.reporting import report as draw

    with JobProgress() as progress:
        drawn = draw(dataset, progress, jobs=jobs)
        if leftovers := leftovers_below(dataset):
            progress.note(ignored(leftovers))
        for problem in drawn.problems:
            progress.problem(problem)
    print_line(f"look at {drawn.path}")
    raise typer.Exit(1 if drawn.problems else 0)


def view(
    path: Annotated[Path, typer.Argument(metavar="DATASET|IMAGE", help="Dataset, OME-Zarr image, or OME-TIFF image.")],
    image: Annotated[
        str | None, typer.Option(metavar="NAME", help="Image of a dataset to open first, by its file name or path.")
    ] = None,
    position: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="X Y Z", help="Voxel to open first, counted from 0, as in the command that the report gives."
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port to serve at (default: any free).", show_default=False),
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    print_url: Annotated[
        bool,
        typer.Option("--print-url", help="Print the address to stdout and open no browser, for use over ssh."),
    ] = False,
) -> None:
    """View images with their labels in Neuroglancer. Serves this machine only, until Ctrl-C. Works offline.

    A report of the dataset is served, too, with pictures that link to the viewer.

    Examples: [bold]catnip2bids view dataset[/],
    [bold]catnip2bids view brain.ome.zarr --position 136 160 48 --port 8000 --print-url[/]
    """
    from catnip2bids.cli.console import JobProgress, is_quiet
    from catnip2bids.cli.terminal import show_viewing
    from catnip2bids.interruption import until_interrupted
    from catnip2bids.standard_streams import stdout_fails
    from catnip2bids.viewing import open_in_browser
    from catnip2bids.viewing import view as view_images

    with until_interrupted():
        with JobProgress() as progress:
            viewing = view_images(path, image=image, position=position, port=port, progress=progress)
        with viewing:
            show_viewing(viewing, with_url=not print_url)
            opened = browser and not print_url and open_in_browser(viewing.url)
            if print_url or (is_quiet() and not opened):
                typer.echo(viewing.url)
                if stdout_fails():
                    return  # the address could not be printed
            elif browser and not opened:
                progress.note("no browser could be opened; open the address above in one")
            viewing.wait()


def share(
    dataset: options.Packaged,
    url: Annotated[
        str,
        typer.Option(
            "--url", metavar="URL", help="Address of the dataset's root folder on a web server or in a bucket."
        ),
    ],
    client: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Neuroglancer to open (default: https://neuroglancer-demo.appspot.com)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the links as JSON to stdout.")] = False,
) -> None:
    """Make links that open a published dataset in a public Neuroglancer, with images, regions by name and cells.

    Adds files to derivatives/catnip-neuroglancer, which have to be published with the dataset. Sends nothing anywhere.
    The server must allow other web pages to read (CORS) and answer requests for byte ranges.

    Examples: [bold]catnip2bids share dataset --url https://data.example.org/dataset[/],
    [bold]catnip2bids share dataset --url https://BUCKET.s3.amazonaws.com/dataset --json[/]
    """
    from catnip2bids.cli.console import JobProgress
    from catnip2bids.cli.terminal import show_links
    from catnip2bids.sharing import PUBLIC_CLIENT
    from catnip2bids.sharing import share as share_dataset

    with JobProgress("describing") as progress:
        shared = share_dataset(dataset, url, client=client or PUBLIC_CLIENT, progress=progress)
    show_links(shared)
    if as_json:
        typer.echo(json.dumps(shared.to_json(), indent=1))
    raise typer.Exit(0 if shared.ok else 1)
