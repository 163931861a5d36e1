"""Tables of counts and of regions: volumes and densities are computed again, parents are followed.

Invariant: columns and tables that earlier versions did not write may be missing. A table that cannot be read has a
finding of its own (`catnip2bids.validation.tables.check_readable`), and none here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import PurePosixPath

from catnip2bids.formatting import format_count
from catnip2bids.validation.findings import Finding, our_error
from catnip2bids.validation.sidecars import Geometry, read_geometry
from catnip2bids.validation.tables import Row, TableError, read_lines, rows_of, tables_named
from catnip2bids.validation.tree import COUNTS_FOLDERS, Tree, parse_name

_UNKNOWN = "n/a"
_COUNTED = ("cell_count", "label_volume", "volume_mm3", "density_per_mm3")
_REGION = ("index", "name", "abbreviation", "parent", "depth", "color")
_SAME_AS_ATLAS = ("name", "abbreviation", "color")
_OF_SAMPLE = {"participant_id", "sample_id", "threshold", "corrected"}
"""Columns of counts.tsv that tell from which table of counts a row is; `stain` is there if there are several."""
_SEGMENTATION = re.compile("FRSTseg(?P<corrected>corrected)?(?P<threshold>[0-9]+)")
_RUN = ("sub", "sample", "stain")
"""The entities that all files of a run share."""
_ROUNDING = 1e-8
"""Of numbers that are written with nine digits; twice as much where two of them are divided."""
VOXEL_SIZE_TOLERANCE = 1e-3
"""Voxel sizes in sidecars and images may differ by this part (`sidecars.check_pixel_sizes`)."""
_UM3_PER_MM3 = 1e9


def check_densities(tree: Tree) -> Iterator[Finding]:
    """Check volumes and densities in tables of counts."""
    for file in tables_named(tree, "counts.tsv"):
        voxel_mm3 = _voxel_mm3(tree, file)
        first, n_wrong = "", 0
        try:
            for what in _wrong_rows(read_lines(tree.root / file), voxel_mm3):
                first, n_wrong = first or what, n_wrong + 1
        except TableError:
            continue
        if n_wrong:
            also = f"; so have {format_count(n_wrong - 1, 'other row')}" if n_wrong > 1 else ""
            yield our_error("COUNTS_DENSITY", file, f"{first}{also}; package again")


def _voxel_mm3(tree: Tree, counts: PurePosixPath) -> float | None:
    """Return the volume of a voxel in which a sample was counted; None for several samples, or without an image."""
    geometry = geometry_of_sample(tree, counts)
    return None if geometry is None else math.prod(geometry.voxel_size_xyz_um) / _UM3_PER_MM3


def geometry_of_sample(tree: Tree, table: PurePosixPath) -> Geometry | None:
    """Return the geometry of the images in which the cells of a table lie; None for several samples, or no image."""
    run = _run_of(table.name)
    if "sub" not in run:
        return None
    desc = parse_name(table.name).entities.get("desc")
    of_run = (image for image in tree.images if _run_of(image.path.name) == run)
    native = [image for image in of_run if image.name.entities.get("space", "orig") == "orig"]
    native.sort(key=lambda image: image.name.entities.get("desc") != desc)
    return next((found for image in native if (found := read_geometry(tree.root, image)) is not None), None)


def _run_of(name: str) -> Mapping[str, str]:
    return {key: label for key, label in parse_name(name).entities.items() if key in _RUN}


def _wrong_rows(lines: Iterator[Sequence[str]], voxel_mm3: float | None) -> Iterator[str]:
    """Describe what is wrong with each wrong row; a table without volumes has none."""
    header = next(lines)
    if not set(_COUNTED) <= set(header):
        return
    columns = [header.index(column) for column in _COUNTED]
    for number, row in enumerate(lines, start=2):
        if what := _wrong_numbers([row[column] for column in columns], voxel_mm3):
            yield f"row {number} has {what}"


def _wrong_numbers(texts: Sequence[str], voxel_mm3: float | None) -> str | None:
    """Say what is wrong with the numbers in the columns `_COUNTED`; None if they are right."""
    try:
        n_cells, n_voxels, volume, density = (None if text == _UNKNOWN else float(text) for text in texts)
    except ValueError:
        return f"a value that is not a number: {' '.join(texts)}"
    volume_mm3 = volume if n_voxels is None or voxel_mm3 is None else n_voxels * voxel_mm3
    if (volume is None) != (n_voxels is None) or not _is_close(volume, volume_mm3, VOXEL_SIZE_TOLERANCE):
        return f"volume_mm3 {texts[2]} for label_volume {texts[1]}, which does not fit the voxels of the images"
    if not _is_close(density, n_cells / volume if n_cells is not None and volume else None, 2 * _ROUNDING):
        return f"density_per_mm3 {texts[3]} for cell_count {texts[0]} in volume_mm3 {texts[2]}"
    return None


def _is_close(number: float | None, expected: float | None, tolerance: float) -> bool:
    if number is None or expected is None:
        return number is expected
    return math.isclose(number, expected, rel_tol=tolerance)


def check_joined_counts(tree: Tree) -> Iterator[Finding]:
    """Check that counts.tsv has the rows of the tables of counts of all samples, in the order of their paths."""
    for file in (folder / "counts.tsv" for folder in COUNTS_FOLDERS):
        if not (tree.root / file).is_file():
            continue
        folders = {file.parent / subject.name / "micr" for subject in (tree.root / file.parent).glob("sub-*")}
        tables = sorted(path for path in tables_named(tree, "counts.tsv") if path.parent in folders)
        try:
            lines = read_lines(tree.root / file)
            header = next(lines)
            if not _OF_SAMPLE.issubset(header):
                continue
            expected = chain.from_iterable(_rows_of_sample(tree, table) for table in tables)
            for number, (line, pair) in enumerate(zip_longest(lines, expected), start=2):
                table, row = pair or (None, {})
                found = dict(zip(header, line or (), strict=False))
                if not row or any(found.get(column) != row[column] for column in row.keys() & set(header)):
                    what = f"differs from {table}" if table else "is in no table of counts"
                    yield our_error("COUNTS_JOINED", file, f"row {number} {what}; package again")
                    break
        except TableError:
            continue


def _rows_of_sample(tree: Tree, table: PurePosixPath) -> Iterator[tuple[PurePosixPath, Row]]:
    """Yield the rows of a table of counts as counts.tsv has them; none if it is not one of ours."""
    entities = parse_name(table.name).entities
    segmentation = _SEGMENTATION.fullmatch(entities.get("desc", ""))
    if segmentation is None or not {"sub", "sample"} <= entities.keys():
        return
    of_sample = {
        "participant_id": f"sub-{entities['sub']}",
        "sample_id": f"sample-{entities['sample']}",
        "stain": entities.get("stain", _UNKNOWN),
        "threshold": str(int(segmentation["threshold"])),
        "corrected": "true" if segmentation["corrected"] else "false",
    }
    header, *rows = read_lines(tree.root / table)
    for row in rows:
        yield table, of_sample | {column: value or _UNKNOWN for column, value in zip(header, row, strict=True)}


def check_corrected_counts(tree: Tree) -> Iterator[Finding]:
    """Check that corrected tables of counts only leave out regions of the uncorrected ones."""
    for file in tables_named(tree, "counts.tsv"):
        segmentation = _SEGMENTATION.fullmatch(parse_name(file.name).entities.get("desc", ""))
        if segmentation is None or not segmentation["corrected"]:
            continue
        uncorrected = file.with_name(file.name.replace("desc-FRSTsegcorrected", "desc-FRSTseg"))
        numbers = {row.get("index"): _counted(row) for row in rows_of(tree.root / uncorrected)}
        for row in rows_of(tree.root / file):
            found, expected = _counted(row), numbers.get(row.get("index"), (_UNKNOWN, _UNKNOWN))
            if any(_UNKNOWN not in pair and pair[0] != pair[1] for pair in zip(found, expected, strict=True)):
                what = f"has {' cells in '.join(found)} voxels for {row['index']}, and {uncorrected.name} has"
                remedy = "undo an edit, or exclude the table of another run or threshold in the plan, and package again"
                yield our_error("COUNTS_CORRECTED", file, f"{what} {' in '.join(expected)}; {remedy}")
                break


def _counted(row: Row) -> tuple[str, str]:
    """Return the numbers of cells and of voxels in a row of a table of counts."""
    return row.get("cell_count", _UNKNOWN), row.get("label_volume", _UNKNOWN)


def check_regions(tree: Tree) -> Iterator[Finding]:
    """Check that tables of regions are trees, and have the regions of their atlas table."""
    for file in tables_named(tree, "regions.tsv"):
        if file.parent not in COUNTS_FOLDERS or not (rows := rows_of(tree.root / file)):
            continue
        if missing := [column for column in _REGION if column not in rows[0]]:
            yield our_error("REGIONS_COLUMNS", file, f"has no column {', '.join(missing)}; package again")
        elif what := next(_not_a_tree(rows), None):
            yield our_error("REGIONS_TREE", file, f"{what}; package again")
        else:
            yield from _compare_with_atlas(tree, file, rows)


def _not_a_tree(rows: Sequence[Row]) -> Iterator[str]:
    """Describe the rows that break the tree; each must be one level deeper than its parent, which rules out circles."""
    depths = {row["index"]: row["depth"] for row in rows}
    if len(depths) < len(rows):
        yield "has more than one row for an index"
    for row in rows:
        index, parent = row["index"], row["parent"]
        if parent == _UNKNOWN:
            depth = "0"
        elif parent in depths:
            depth = str(int(depths[parent]) + 1) if re.fullmatch("[0-9]{1,9}", depths[parent]) else _UNKNOWN
        else:
            yield f"says that {parent} is the parent of {index}, and has no row for {parent}"
            continue
        if row["depth"] != depth:
            yield f"has depth {row['depth']} for {index}, and its parent {parent} makes it {depth}"


def _compare_with_atlas(tree: Tree, file: PurePosixPath, rows: Iterable[Row]) -> Iterator[Finding]:
    name = f"{file.name.removesuffix('regions.tsv')}dseg.tsv"
    candidates = (folder / name for folder in COUNTS_FOLDERS)
    atlas = next((path for path in candidates if (tree.root / path).is_file()), None)
    if atlas is None:
        remedy = "package again, or remove this file if no animal has that atlas any more"
        what = f"has no {name} in derivatives/catnip, which names its regions"
        yield our_error("REGIONS_ATLAS_MISSING", file, f"{what}; {remedy}")
        return
    listed = {row.get("index", ""): row for row in rows_of(tree.root / atlas)}
    if not listed:
        return
    regions = {row["index"]: row for row in rows}
    groups = {index for index, row in regions.items() if row["color"] == _UNKNOWN}
    if different := sorted((regions.keys() - groups) ^ listed.keys()):
        what = f"and {atlas} do not list the same regions: {different[0]} is in one of them only"
        yield our_error("REGIONS_ATLAS", file, f"{what}; package again")
        return
    for index, row in listed.items():
        for column in _SAME_AS_ATLAS:
            if column in row and row[column] != regions[index][column]:
                what = f"has {column} {regions[index][column]} for {index}, and {atlas} has {row[column]}"
                remedy = f"; undo the edit of {atlas.name}, or remove it and" if column == "name" else ";"
                yield our_error("REGIONS_ATLAS", file, f"{what}{remedy} package again")
                return
