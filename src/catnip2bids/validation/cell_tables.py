"""Tables of cells: each row is read, and proven regions have as many cells as the table of counts says.

Invariant: a table is read row by row, and memory does not grow with it. Whatever it holds, reading ends: lines have a
largest length, and a file may not unpack to much more than its own size.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from catnip2bids.documents import open_without_waiting
from catnip2bids.errors import reason_of
from catnip2bids.formatting import format_bytes
from catnip2bids.validation.findings import Finding, error
from catnip2bids.validation.tables import CHECK, TableError, rows_of
from catnip2bids.validation.tree import COUNTS_FOLDERS, Tree

_CELLS, _UNCOUNTED = "_cells.tsv.gz", "_uncounted.tsv.gz"
_PLACE = ("z", "y", "x", "z_um", "y_um", "x_um", "volume_voxels", "volume_um3")
_COLUMNS = {_CELLS: (*_PLACE, "index", "name", "proven"), _UNCOUNTED: (*_PLACE, "reason")}
_REASONS = ("outside", "no region", "too large")
_TRUTH = {"true": True, "false": False}
_LONGEST_LINE = 2**12
_LARGEST_RATIO, _SMALL = 100, 2**20
"""The most bytes that a byte may unpack to, once a table has more than so many; those of real cells unpack to four."""

_error = partial(error, CHECK)


def check_cells(tree: Tree) -> Iterator[Finding]:
    """Check tables of cells, and compare those of regions that are called proven with the table of counts beside."""
    for file in tree.plain_files:
        ending = next((ending for ending in _COLUMNS if file.name.endswith(ending)), None)
        if ending is None or not set(COUNTS_FOLDERS).intersection(file.parents):
            continue
        try:
            if ending == _UNCOUNTED:
                _check_uncounted(tree.root / file)
            else:
                yield from _compare_with_counts(tree, file)
        except (OSError, EOFError, zlib.error, ValueError) as failure:
            yield _error("CELLS_UNREADABLE", file, f"cannot be read: {reason_of(failure)}")


def _check_uncounted(file: Path) -> None:
    for number, row in _read_rows(file, _COLUMNS[_UNCOUNTED]):
        if row[-1] not in _REASONS:
            raise TableError(f"row {number} has reason {row[-1]!r}, and reasons are {', '.join(_REASONS)}")


def _check_without_counts(file: Path) -> None:
    for number, row in _read_rows(file, _COLUMNS[_CELLS]):
        if row[10] != "false":
            raise TableError(f"row {number} has proven {row[10]!r}, and no table of counts beside it proves that")


def _compare_with_counts(tree: Tree, file: PurePosixPath) -> Iterator[Finding]:
    counts = file.with_name(f"{file.name.removesuffix(_CELLS)}_counts.tsv")
    if not (tree.root / counts).is_file():
        _check_without_counts(tree.root / file)
        return
    counted = {row.get("index", ""): row.get("cell_count", "") for row in rows_of(tree.root / counts)}
    if not counted:
        return  # the table cannot be read, and has a finding that says so
    found = _proven_cells(tree.root / file, counted)
    wrong = [index for index, n_cells in found.items() if counted[index] != str(n_cells)]
    for index in wrong[:1]:
        more = f"; so are {len(wrong) - 1} more regions" if len(wrong) > 1 else ""
        what = f"has {found[index]} cells of region {index}, and {counts.name} counts {counted[index]}"
        yield _error("CELLS_COUNT", file, f"{what}, although that region is called proven{more}; package again")


def _proven_cells(file: Path, counted: Mapping[str, str]) -> Counter[str]:
    """Count the cells of proven regions; `counted` has all regions that may occur."""
    is_proven: dict[str, bool] = {}
    n_cells: Counter[str] = Counter()
    for number, row in _read_rows(file, _COLUMNS[_CELLS]):
        index, proven = row[8], _TRUTH.get(row[10])
        if index not in counted:
            raise TableError(f"row {number} has a cell of region {index!r}, which the table of counts does not have")
        if proven is None or is_proven.setdefault(index, proven) != proven:
            raise TableError(f"row {number} has proven {row[10]!r}; it is true, or false, for all cells of a region")
        if proven:
            n_cells[index] += 1
    return n_cells


def _read_rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield number and values of each row whose place and volume are right; raise TableError at the first wrong one."""
    lines = _lines(file)
    if next(lines, []) != list(columns):
        raise TableError(f"its columns are not {' '.join(columns)}")
    for number, row in enumerate(lines, start=2):
        if len(row) != len(columns):
            raise TableError(f"row {number} has {len(row)} values, and there are {len(columns)} columns")
        if not all(0 <= float(text) < math.inf for text in row[: len(_PLACE)]) or int(row[6]) < 1:
            raise TableError(f"row {number} has a cell without a place or a volume")
        yield number, row


def _lines(file: Path) -> Iterator[list[str]]:
    with open(file, "rb", opener=open_without_waiting) as packed, gzip.open(packed) as unpacked:
        most_bytes = max(_SMALL, file.stat().st_size * _LARGEST_RATIO)
        n_bytes = 0
        while line := unpacked.readline(_LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise TableError(f"has a line without an end within {format_bytes(_LONGEST_LINE)}")
            n_bytes += len(line)
            if n_bytes > most_bytes:
                raise TableError(f"unpacks to more than {format_bytes(most_bytes)}, {_LARGEST_RATIO} times its size")
            yield line.decode().removesuffix("\n").split("\t")
