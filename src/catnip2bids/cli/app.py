"""The command line program: its commands, common options and exit codes.

Exit codes: 0 success; 1 finished with problems, or stopped midway; 2 refused; 130 and 143 interrupted. `errors.py`
maps exceptions to exit codes.
"""

from __future__ import annotations

import re
import sys
from errno import ENAMETOOLONG
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup

from catnip2bids.cli.options import refuse_repeated, split_voxel_sizes
from catnip2bids.cli.read_commands import compare, report, share, validate, verify, view
from catnip2bids.cli.write_commands import convert, demo, package, restore, scan
from catnip2bids.errors import Catnip2bidsError, NotEnoughMemoryError
from catnip2bids.formatting import format_bytes
from catnip2bids.standard_streams import LEAST_ADDRESS_SPACE, small_limit

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, scan, package, convert, compare, verify, restore, validate, report, view, share):
    app.command()(command)


def main() -> None:
    """Run the command line; print errors of this package as messages and exit with their codes."""
    from catnip2bids.cli.console import print_message

    try:
        if (limit := small_limit()) is not None and not {"-h", "--help", "--version"} & set(sys.argv):
            raise NotEnoughMemoryError(
                f"the limit of {format_bytes(limit)} on memory (ulimit -v) is too small for the libraries that do the "
                f"work; raise it to {format_bytes(LEAST_ADDRESS_SPACE)} or more"
            )
        commands = _commands()
        command = next((commands.commands[name] for name in sys.argv[1:] if name in commands.commands), None)
        if isinstance(command, TyperCommand):
            refuse_repeated(sys.argv[1:], command)
        commands(list(split_voxel_sizes(sys.argv[1:])))
    except Catnip2bidsError as error:
        for fact in error.args:
            print_message("error", fact)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != ENAMETOOLONG:
            raise
        advice = "give a shorter name, or a place with a shorter path"
        print_message("error", f"{error.filename}: {error.strerror}; {advice}")
        sys.exit(2)


def _commands() -> TyperGroup:
    """Return the commands, with the common options added to each."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    quiet = next(option for option in group.params if option.name == "quiet")
    for command in group.commands.values():
        command.params.append(quiet)
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        for command in (group, *group.commands.values()):  # help and usage errors without frames and styles
            assert isinstance(command, TyperGroup | TyperCommand)
            command.help = re.sub(r"\[/?(bold)?\]", "", command.help or "")
            command.rich_markup_mode = None
    return group


def _be_quiet(wanted: bool) -> None:
    if wanted:
        from catnip2bids.cli.console import be_quiet

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
            help="Show the versions of catnip2bids and its libraries, and exit.",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            callback=_be_quiet,
            expose_value=False,
            help="Print only errors and problems; exit codes, and what --json prints, stay the same.",
        ),
    ] = False,
) -> None:
    """Package the output of CATNIP as a BIDS microscopy dataset, every pixel accounted for.

    Try it: [bold]catnip2bids demo[/]
    """
