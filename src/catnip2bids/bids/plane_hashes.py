"""The hashes of an image's planes: ``code/catnip2bids/pixels/<name of the image>.tsv``.

Invariant: one row for each plane, in order, counted from 0, with the source of its pixels and their sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import write_text
from catnip2bids.bids.provenance import FOLDER
from catnip2bids.bids.tables import Table, read_table
from catnip2bids.errors import DatasetError
from catnip2bids.paths import safe_path

_COLUMNS = ("plane", "source", "sha256")


@dataclass(frozen=True)
class PlaneRecord:
    """The source of a plane, as a path from the run folder on (``n/a`` for recovered pixels), and its sha256."""

    source: str
    sha256: str


def hashes_path(image: PurePosixPath) -> PurePosixPath:
    """Return the table of an image's plane hashes, as a path below the dataset."""
    return FOLDER / "pixels" / f"{image.name}.tsv"


def write_hashes(dataset: Path, image: PurePosixPath, planes: Iterable[PlaneRecord]) -> None:
    """Write the table of plane hashes of an image."""
    rows = [{"plane": str(n), "source": plane.source, "sha256": plane.sha256} for n, plane in enumerate(planes)]
    write_text(safe_path(dataset, hashes_path(image)), Table(_COLUMNS, tuple(rows)).to_tsv())


def read_hashes(dataset: Path, image: PurePosixPath) -> tuple[PlaneRecord, ...]:
    """Read the table of plane hashes of an image; raise DatasetError if it does not exist or is not such a table."""
    path = dataset / hashes_path(image)
    table = read_table(path)
    if set(_COLUMNS) - set(table.columns):
        raise DatasetError(f"{path}: is missing or not a table of {', '.join(_COLUMNS)}; bring it back from a copy")
    if [row["plane"] for row in table.rows] != [str(n) for n in range(len(table.rows))]:
        raise DatasetError(f"{path}: its planes are not numbered from 0 on; bring it back from a copy")
    return tuple(PlaneRecord(row["source"], row["sha256"]) for row in table.rows)


def pixels_sha256(*images: Iterable[PlaneRecord]) -> str:
    """Return a hash of the pixels of one or several images."""
    return hashlib.sha256("\n".join(plane.sha256 for planes in images for plane in planes).encode()).hexdigest()
