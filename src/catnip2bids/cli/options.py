"""Arguments and options of the commands that several have, or that need many words; and how they are read.

Invariant: an option is described once, and means the same wherever it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from catnip2bids.enums import DEFAULT_STAIN, Cluster, Compression, Format, Naming, OmeZarrVersion
from catnip2bids.errors import UsageError

# ---- what several commands have

Sources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE", help="Folders that are CATNIP runs, or hold runs at any depth.")
]
SourcesUnlessRemoving = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SOURCE", help="Folders that are CATNIP runs, or hold runs at any depth."),
]
Packaged = Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset, or a copy of it.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processors to use (default: all).")]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="The most memory that may be used, such as 2GiB (default: a quarter of the machine's, at most 8GiB).",
    ),
]
ClusterAddress = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Have a Dask cluster do the work: tls://SCHEDULER:8786, tcp://..., slurm, or local; --jobs and --memory "
        "are then those of each worker that is started.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Workers (processes) at the most (default: of slurm 1, of local as many as --jobs, or processors).",
    ),
]
SLICE_NUMBER = typer.Option(
    metavar="PATTERN",
    help="Where more than one number varies in the names of slices: the name with # for the slice number (#.# for a "
    "decimal) and * for what else varies, such as 'brain_Z#_*.tif'.",
)
TiffCompression = Annotated[Compression, typer.Option(help="Of OME-TIFF: as in the source, Deflate, or none.")]

# ---- what a dataset is to be

DatasetToMake = Annotated[
    Path, typer.Option("-o", "--output", metavar="DATASET", help="The dataset to make or add to.")
]
PlanFile = Annotated[Path | None, typer.Option(help="A plan written by scan, corrected.")]
VoxelSize = Annotated[
    tuple[float, float, float] | None,
    typer.Option(metavar="X Y Z", help="Voxel size in micrometers; CATNIP does not record it."),
]
ImageFormat = Annotated[
    Format, typer.Option("--format", help="OME-Zarr, or OME-TIFF (.ome.btf, and .ome.tif on the atlas grid).")
]
ZarrVersion = Annotated[OmeZarrVersion, typer.Option(help="Version of OME-Zarr; 0.5 is sharded.")]
Pyramid = Annotated[
    bool, typer.Option("--pyramid", help="OME-TIFF with lower resolution levels; OME-Zarr always has them.")
]
Names = Annotated[Naming, typer.Option(help="Strict BIDS names, or _dseg, _mask and _counts as in DANDI 001362.")]
Subject = Annotated[str | None, typer.Option(help="Subject of one run whose name does not tell.")]
Sample = Annotated[str | None, typer.Option(help="Sample of one run whose name does not tell.")]
Stain = Annotated[str | None, typer.Option(help=f"Stain of all runs (default: {DEFAULT_STAIN}).")]
AtlasTableFile = Annotated[Path | None, typer.Option(help="CATNIP's atlas_info.txt.")]
ParticipantsFile = Annotated[Path | None, typer.Option(help="Table (TSV or CSV) to be merged into participants.tsv.")]
EmbedLabels = Annotated[bool, typer.Option("--embed-labels", help="Put labels inside the raw image too.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")]
Remove = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Take an animal out of the dataset, and package nothing: 45670ko."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Rebuild all images.")]
DrawReport = Annotated[bool, typer.Option("--report/--no-report", help="Draw the report at the end.")]


_BETWEEN_SIZES = re.compile(r"[\s,;x\u00d7]+")


def split_voxel_sizes(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments of a command, a voxel size such as ``3.7,3.7,5`` or ``3.7x3.7x5`` as three of them.

    Raises
    ------
    UsageError
        If a voxel size is not three numbers.
    """
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        option, equals, value = argument.partition("=")
        if option != "--voxel-size":
            yield argument
            continue
        given = [*([value] if equals else []), *rest][:3]
        sizes = [_BETWEEN_SIZES.split(text.strip(" ,;")) for text in given]
        n_used = 1 if sizes and len(sizes[0]) == 3 else 3
        numbers = [number for size in sizes[:n_used] for number in size]
        if len(numbers) != 3 or not all(map(_is_number, numbers)):
            wrong = " ".join([option, *(text for text in given if text[:1].isdecimal())])
            raise UsageError(
                f"{wrong}: is not three sizes X Y Z in micrometers, with decimal points; give for example "
                "--voxel-size 3.7 3.7 5"
            )
        del rest[: n_used - bool(equals)]
        yield from (option, *numbers)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def cluster_of(address: str | None, n_workers: int | None) -> Cluster | None:
    """Read where the work is to be done.

    Raises
    ------
    UsageError
        If workers are asked for, and no cluster.
    """
    if address is None:
        if n_workers is not None:
            raise UsageError("--workers says how many workers a cluster gets at the most; say --cluster too")
        return None
    return Cluster(address, n_workers)


def bytes_of(memory: str | None) -> int | None:
    """Read the size that was given with --memory.

    Raises
    ------
    UsageError
        If it is not a valid size.
    """
    from catnip2bids.engine import parse_bytes  # late: it takes libraries that --help should not wait for

    return None if memory is None else parse_bytes(memory)
