"""Arguments and options that several commands share or that need long descriptions, and their parsers.

Invariant: each option is described once and means the same in every command.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperOption

from catnip2bids.enums import DEFAULT_STAIN, Cluster, Compression, Format, Naming, OmeZarrVersion
from catnip2bids.errors import UsageError

# ---- shared by several commands

_SOURCES = typer.Argument(metavar="SOURCE", help="CATNIP runs, or folders that hold runs at any depth.")
Sources = Annotated[list[Path], _SOURCES]
SourcesUnlessRemoving = Annotated[list[Path] | None, _SOURCES]
Packaged = Annotated[Path, typer.Argument(metavar="DATASET", help="Packaged dataset, or a copy of it.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of processors to use (default: all).")]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Memory limit, such as 2GiB (default: a quarter of the machine's memory, at most 8GiB)."
    ),
]
ClusterAddress = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Run on a Dask cluster: tls://SCHEDULER:8786, tcp://..., or slurm; --jobs and --memory then apply to each "
        "job that is started.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="N", help="Maximum number of Slurm jobs at the same time (default: 1)."),
]
SLICE_NUMBER = typer.Option(
    metavar="PATTERN",
    help="Pattern for names of slices in which more than one number varies, such as 'brain_Z#_*.tif': # is the slice "
    "number (#.# a decimal), * anything else that varies.",
)
TiffCompression = Annotated[
    Compression, typer.Option(help="Compression of OME-TIFF: as in the source, Deflate, or none.")
]

# ---- options of package

DatasetToMake = Annotated[
    Path, typer.Option("-o", "--output", metavar="DATASET", help="Dataset to create or to add to.")
]
PlanFile = Annotated[Path | None, typer.Option(help="Plan written by scan and corrected by you.")]
VoxelSize = Annotated[
    tuple[float, float, float] | None,
    typer.Option(metavar="X Y Z", help="Voxel size in micrometers; CATNIP does not record it."),
]
ImageFormat = Annotated[
    Format,
    typer.Option("--format", help="Format of images: OME-Zarr, or OME-TIFF (.ome.btf; .ome.tif on the atlas grid)."),
]
ZarrVersion = Annotated[OmeZarrVersion, typer.Option(help="Version of OME-Zarr; 0.5 uses shards.")]
Pyramid = Annotated[
    bool, typer.Option("--pyramid", help="Add lower resolution levels to OME-TIFF; OME-Zarr always has them.")
]
Names = Annotated[Naming, typer.Option(help="File names: strict BIDS, or _dseg, _mask and _counts as in DANDI 001362.")]
Subject = Annotated[str | None, typer.Option(help="Subject label, for a single run whose name has none.")]
Sample = Annotated[str | None, typer.Option(help="Sample label, for a single run whose name has none.")]
Stain = Annotated[str | None, typer.Option(help=f"Stain label of all runs (default: {DEFAULT_STAIN}).")]
AtlasTableFile = Annotated[Path | None, typer.Option(help="Atlas table, CATNIP's atlas_info.txt.")]
ParticipantsFile = Annotated[Path | None, typer.Option(help="Table (TSV or CSV) to merge into participants.tsv.")]
EmbedLabels = Annotated[bool, typer.Option("--embed-labels", help="Also store the labels inside the raw image.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written without writing anything.")]
Remove = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Remove an animal from the dataset, such as 45670ko, and package nothing."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Rebuild all images.")]
DrawReport = Annotated[bool, typer.Option("--report/--no-report", help="Draw the report at the end.")]


def refuse_repeated(arguments: Sequence[str], command: TyperCommand) -> None:
    """Refuse the arguments of a command if an option with one value is given more than once: the last one would win."""
    given = Counter(argument.partition("=")[0] for argument in takewhile("--".__ne__, arguments))
    for option in command.params:
        if isinstance(option, TyperOption) and not (option.multiple or option.is_flag):
            n = sum(given[name] for name in option.opts)
            if n > 1:
                raise UsageError(f"{max(option.opts, key=len)} is given {n} times; give it once")


_BETWEEN_SIZES = re.compile(r"[\s,;x\u00d7]+")


def split_voxel_sizes(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments of a command, with a voxel size such as ``3.7,3.7,5`` or ``3.7x3.7x5`` split into three."""
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        option, equals, value = argument.partition("=")
        if option != "--voxel-size":
            yield argument
            continue
        given = [*([value] if equals else []), *remaining][:3]
        sizes = [_BETWEEN_SIZES.split(text.strip(" ,;")) for text in given]
        n_used = 1 if sizes and len(sizes[0]) == 3 else 3
        numbers = [number for size in sizes[:n_used] for number in size]
        if len(numbers) != 3 or not all(map(_is_number, numbers)):
            wrong = " ".join([option, *(text for text in given if text[:1].isdecimal())])
            raise UsageError(
                f"{wrong}: is not three sizes X Y Z in micrometers, with decimal points; give for example "
                "--voxel-size 3.7 3.7 5"
            )
        del remaining[: n_used - bool(equals)]
        yield from (option, *numbers)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def cluster_of(address: str | None, n_workers: int | None) -> Cluster | None:
    """Return the cluster that --cluster and --workers describe, or None."""
    if address is None and n_workers is not None:
        raise UsageError("--workers sets the maximum number of workers of a cluster; give --cluster too")
    return None if address is None else Cluster(address, n_workers)


def bytes_of(memory: str | None) -> int | None:
    """Parse the size given with --memory."""
    from catnip2bids.engine import parse_bytes  # late: --help should not wait for its libraries

    return None if memory is None else parse_bytes(memory)
