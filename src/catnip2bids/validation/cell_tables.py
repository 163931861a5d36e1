"""Check tables of cells: each cell lies in the image, and a region is proven if it has as many cells as CATNIP counted.

Invariant: a table is read row by row, and memory does not grow with it. Whatever it holds, reading ends: lines have a
largest length, and a file may not unpack to much more than its own size.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catnip2bids.documents import open_gzip
from catnip2bids.errors import reason_of
from catnip2bids.formatting import format_bytes
from catnip2bids.validation.findings import Finding, our_error
from catnip2bids.validation.region_tables import VOXEL_SIZE_TOLERANCE, geometry_of_sample
from catnip2bids.validation.sidecars import Geometry, packaged_cells
from catnip2bids.validation.tables import Row, TableError, rows_of, split_line
from catnip2bids.validation.tree import COUNTS_FOLDERS, Tree

_CELLS, _UNCOUNTED = "_cells.tsv.gz", "_uncounted.tsv.gz"
_PLACE = ("z", "y", "x", "z_um", "y_um", "x_um", "volume_voxels", "volume_um3")
_COLUMNS = {_CELLS: (*_PLACE, "index", "name", "proven"), _UNCOUNTED: (*_PLACE, "reason")}
_REASONS = ("outside", "no region", "too large")
_TRUTH = {"true": True, "false": False}
_ROUNDING = 0.01
"""Of places, in voxels and in micrometers."""
_LONGEST_LINE = 2**12
_LARGEST_RATIO, _SMALL = 100, 2**20
"""The most bytes that a byte may unpack to, once a table has more than so many; those of real cells unpack to four."""


def check_cells(tree: Tree) -> Iterator[Finding]:
    """Check that tables of cells exist and can be read, and compare them with the tables of counts beside them."""
    packaged = packaged_cells(tree)
    for table in packaged:
        for name in (table, table.removesuffix(_CELLS) + _UNCOUNTED):
            if not (tree.root / name).is_file():
                what = "does not exist, but was packaged; bring it back from a copy, or package its run again"
                yield our_error("CELLS_MISSING", PurePosixPath(name), what)
    for file in tree.plain_files:
        ending = next((ending for ending in _COLUMNS if file.name.endswith(ending)), None)
        if ending is None or not set(COUNTS_FOLDERS).intersection(file.parents):
            continue
        geometry, n_cells = geometry_of_sample(tree, file), packaged.get(file.as_posix())
        cells = _Cells(tree.root / file, _COLUMNS[ending], geometry, n_cells)
        try:
            if ending == _UNCOUNTED:
                _check_uncounted(cells)
            else:
                yield from _compare_with_counts(tree, file, cells)
        except (OSError, EOFError, zlib.error, ValueError) as failure:
            remedy = "bring it back from a copy, or remove it and package its run again"
            yield our_error("CELLS_UNREADABLE", file, f"is damaged: {reason_of(failure)}; {remedy}")


@dataclass(frozen=True)
class _Cells:
    """A table of cells."""

    file: Path
    columns: tuple[str, ...]
    geometry: Geometry | None  # of the image; None without an image
    n_cells: int | None  # by provenance; None if it does not say

    def read_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield number and values of each row.

        Raises TableError at the first row whose place or volume is wrong, or if provenance has another number of rows.
        """
        lines, number = _lines(self.file), 1
        if next(lines, []) != list(self.columns):
            raise TableError(f"its columns are not {' '.join(self.columns)}")
        for number, row in enumerate(lines, start=2):
            if len(row) != len(self.columns):
                raise TableError(f"row {number} has {len(row)} values, and there are {len(self.columns)} columns")
            numbers = [float(text) for text in row[: len(_PLACE)]]
            if not all(0 <= value < math.inf for value in numbers) or int(row[6]) < 1:
                raise TableError(f"row {number} has a cell without a place or a volume")
            if self.geometry is not None and (what := _wrong_numbers(numbers, self.geometry)):
                raise TableError(f"row {number} has {what}")
            yield number, row
        if self.n_cells not in (None, number - 1):
            raise TableError(f"it has {number - 1:,} cells, and had {self.n_cells:,} when it was packaged")


def _wrong_numbers(numbers: Sequence[float], geometry: Geometry) -> str | None:
    """Describe what does not fit the image; None if all of the cell fits. Numbers are those of the columns `_PLACE`."""
    sizes_um = geometry.voxel_size_xyz_um[::-1]
    if any(at > n_voxels - 1 for at, n_voxels in zip(numbers, geometry.shape, strict=False)):
        return "a cell outside of the image"
    for at, um, size_um in zip(numbers[:3], numbers[3:6], sizes_um, strict=True):
        if abs(at * size_um - um) > _ROUNDING * (1 + size_um) + VOXEL_SIZE_TOLERANCE * um:
            return f"a place of {um:g} um and {at:g} voxels, which does not fit the voxels of the image"
    if not math.isclose(numbers[7], numbers[6] * math.prod(sizes_um), rel_tol=VOXEL_SIZE_TOLERANCE):
        return f"a volume of {numbers[7]:g} um3 and {numbers[6]:g} voxels, which does not fit the voxels of the image"
    return None


def _check_uncounted(cells: _Cells) -> None:
    for number, row in cells.read_rows():
        if row[-1] not in _REASONS:
            raise TableError(f"row {number} has reason {row[-1]!r}, and reasons are {', '.join(_REASONS)}")


def _check_without_counts(cells: _Cells) -> None:
    for number, row in cells.read_rows():
        if row[10] != "false":
            raise TableError(f"row {number} has proven {row[10]!r}, and no table of counts beside it proves that")


def _compare_with_counts(tree: Tree, file: PurePosixPath, cells: _Cells) -> Iterator[Finding]:
    counts = file.with_name(f"{file.name.removesuffix(_CELLS)}_counts.tsv")
    if not (tree.root / counts).is_file():
        _check_without_counts(cells)
        return
    counted = {row.get("index", ""): row for row in rows_of(tree.root / counts)}
    if not counted:
        return  # the table cannot be read, and has a finding that says so
    n_cells, is_proven = _cells_of_regions(cells, counted)
    n_counted = {index: row.get("cell_count", "") for index, row in counted.items()}
    wrong = [index for index, proven in is_proven.items() if proven != (n_counted[index] == str(n_cells[index]))]
    for index in wrong[:1]:
        more = f"; so are {len(wrong) - 1} more regions" if len(wrong) > 1 else ""
        what = f"has {n_cells[index]} cells of region {index}, and {counts.name} counts {n_counted[index]}"
        called = "proven" if is_proven[index] else "not proven"
        yield our_error("CELLS_COUNT", file, f"{what}, although that region is called {called}{more}; package again")


def _cells_of_regions(cells: _Cells, counted: Mapping[str, Row]) -> tuple[Counter[str], dict[str, bool]]:
    """Count the cells of each region, and tell whether it is called proven.

    `counted` has the rows of all regions that may occur.
    """
    is_proven: dict[str, bool] = {}
    n_cells: Counter[str] = Counter()
    for number, row in cells.read_rows():
        index, name, proven = row[8], row[9], _TRUTH.get(row[10])
        if index not in counted:
            raise TableError(f"row {number} has a cell of region {index!r}, which its table of counts does not have")
        if name != counted[index].get("name", name):
            raise TableError(f"row {number} has name {name!r} for region {index}, which the table of counts does not")
        if proven is None or is_proven.setdefault(index, proven) != proven:
            raise TableError(f"row {number} has proven {row[10]!r}; it is true, or false, for all cells of a region")
        n_cells[index] += 1
    return n_cells, is_proven


def _lines(file: Path) -> Iterator[list[str]]:
    with open_gzip(file) as unpacked:
        most_bytes = max(_SMALL, file.stat().st_size * _LARGEST_RATIO)
        n_bytes = 0
        while line := unpacked.readline(_LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise TableError(f"has a line without an end within {format_bytes(_LONGEST_LINE)}")
            n_bytes += len(line)
            if n_bytes > most_bytes:
                raise TableError(f"unpacks to more than {format_bytes(most_bytes)}, {_LARGEST_RATIO} times its size")
            yield split_line(line.decode().removesuffix("\n"))
