"""Checks of the records of catnip2bids: provenance, and the tables with the source of each plane.

Invariant: these checks are for datasets of ours; without `code/catnip2bids` there is nothing to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from catnip2bids.formatting import format_count
from catnip2bids.validation.findings import Finding, error
from catnip2bids.validation.geometry import read_geometry
from catnip2bids.validation.sidecars import SidecarError, read_sidecar
from catnip2bids.validation.tables import TableError, read_table
from catnip2bids.validation.tree import Image, Tree

CHECK = "catnip2bids"

_RECORDS = PurePosixPath("code/catnip2bids")

_error = partial(error, CHECK)


def check_provenance(tree: Tree) -> Iterator[Finding]:
    """Check that provenance.json exists and can be read."""
    if _RECORDS not in tree.folders:
        return
    file = _RECORDS / "provenance.json"
    if not (tree.root / file).is_file():
        yield _error("PROVENANCE_MISSING", file, "does not exist: how this dataset was made is not known")
        return
    try:
        read_sidecar(tree.root / file)
    except SidecarError as failure:
        yield _error("PROVENANCE_INVALID", file, failure)


def check_plane_tables(tree: Tree) -> Iterator[Finding]:
    """Check that each image has a table of its planes with a row for each plane."""
    if _RECORDS not in tree.folders:
        return
    for image in tree.images:
        file = _find_plane_table(tree, image)
        if file is None:
            yield _error("PIXELS_MISSING", image.path, f"has no table of planes in {_RECORDS}/pixels")
            continue
        yield from _compare_planes(tree, image, file)


def _find_plane_table(tree: Tree, image: Image) -> PurePosixPath | None:
    names = (image.path.name, image.stem.name)
    files = (_RECORDS / "pixels" / f"{name}.tsv" for name in names)
    return next((file for file in files if (tree.root / file).is_file()), None)


def _compare_planes(tree: Tree, image: Image, file: PurePosixPath) -> Iterator[Finding]:
    try:
        n_rows = len(read_table(tree.root / file).rows)
    except TableError as failure:
        yield _error("TABLE_UNREADABLE", file, failure)
        return
    geometry = read_geometry(tree.root, image)
    if geometry is not None and geometry.n_planes != n_rows:
        yield _error(
            "PIXELS_ROWS",
            file,
            f"has {format_count(n_rows, 'row')} and {image.path.name} has {format_count(geometry.n_planes, 'plane')}",
        )
