"""Write the tables of cells of one segmentation, from rows that wait in files until it is known which are proven.

Invariant: memory never holds all rows, however many cells there are.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from catnip2bids.atomic_write import atomic_output
from catnip2bids.bids.cell_tables import CELLS_COLUMNS, UNCOUNTED_COLUMNS, CellBlock, encode_cells, encode_header
from catnip2bids.cells.counting_rule import CELL_ROW, FATES, Fate
from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources
from catnip2bids.paths import SafePath

_BLOCK_ROWS = 2**16
_ROW_BYTES = 1000
"""Memory for a row while it is encoded."""
_COUNTED, _TOO_LARGE = map(FATES.index, (Fate.COUNTED, Fate.TOO_LARGE))
_Zyx = tuple[float, float, float]
_Rows = npt.NDArray[np.void]  # of `CELL_ROW`


@dataclass(frozen=True)
class RowFiles:
    """Temporary files with the rows of both tables, as `CELL_ROW`."""

    counted: IO[bytes]
    uncounted: IO[bytes]

    def add(self, rows: _Rows) -> None:
        """Add the components of a segmentation to both tables."""
        self.add_counted(rows)
        self.uncounted.write(rows.compress(rows["fate"] != _COUNTED).tobytes())

    def add_counted(self, rows: _Rows) -> None:
        """Add the components that count."""
        self.counted.write(rows.compress(rows["fate"] == _COUNTED).tobytes())

    def add_uncounted(self, rows: _Rows) -> None:
        """Add the components that do not count, except large ones in a region: CATNIP has counted parts of them."""
        is_divided = (rows["fate"] == _TOO_LARGE) & (rows["region"] > 0)
        self.uncounted.write(rows[(rows["fate"] != _COUNTED) & ~is_divided].tobytes())

    def sample_of_counted(self, n_most: int) -> _Rows:
        """Return some rows of the table of counted cells, spread evenly over it, or all if there are no more."""
        n_rows = self.counted.tell() // CELL_ROW.itemsize
        rows = []
        for index in np.unique(np.linspace(0, n_rows - 1, min(n_most, n_rows)).astype(int)).tolist():
            self.counted.seek(index * CELL_ROW.itemsize)
            rows.append(self.counted.read(CELL_ROW.itemsize))
        self.counted.seek(0, os.SEEK_END)
        return np.frombuffer(b"".join(rows), CELL_ROW)

    def forget_counted(self) -> None:
        """Remove all rows of the table of counted cells."""
        self.counted.seek(0)
        self.counted.truncate()

    def write_counted(
        self,
        table: SafePath,
        voxel_size_um: _Zyx,
        names: Mapping[int, str],
        proven: frozenset[int],
        resources: Resources,
    ) -> None:
        """Write the table of counted cells; `names` and `proven` are the regions, by label value."""
        _write(table, CELLS_COLUMNS, partial(_encoded_counted, voxel_size_um, names, proven), self.counted, resources)

    def write_uncounted(self, table: SafePath, voxel_size_um: _Zyx, resources: Resources) -> None:
        """Write the table of cells that no region counts."""
        _write(table, UNCOUNTED_COLUMNS, partial(_encoded_uncounted, voxel_size_um), self.uncounted, resources)


@contextmanager
def open_row_files(folder: Path) -> Iterator[RowFiles]:
    """Make temporary files for rows in a folder, for as long as they are needed."""
    with tempfile.TemporaryFile(dir=folder) as counted, tempfile.TemporaryFile(dir=folder) as uncounted:
        yield RowFiles(counted, uncounted)


def _write(
    table: SafePath,
    columns: tuple[str, ...],
    encode: Callable[[_Rows], bytes],
    row_file: IO[bytes],
    resources: Resources,
) -> None:
    """Write a table, encoding several blocks of rows at the same time."""
    if resources.executor is not None:  # the rows are on this machine, not on the cluster
        resources = Resources(1, OVERHEAD_BYTES + _BLOCK_ROWS * _ROW_BYTES)
    with (
        BoundedMap(resources, _BLOCK_ROWS * _ROW_BYTES, n_bytes=row_file.tell(), about=table.name) as workers,
        atomic_output(table) as partial_file,
        partial_file.open("wb") as file,
    ):
        file.write(encode_header(columns))
        row_file.seek(0)
        for encoded in workers.map(encode, _blocks(row_file)):
            file.write(encoded)


def _blocks(row_file: IO[bytes]) -> Iterator[_Rows]:
    while content := row_file.read(_BLOCK_ROWS * CELL_ROW.itemsize):
        yield np.frombuffer(content, CELL_ROW)


def _encoded_counted(voxel_size_um: _Zyx, names: Mapping[int, str], proven: frozenset[int], rows: _Rows) -> bytes:
    is_proven = np.isin(rows["region"], list(proven))
    return encode_cells(CellBlock(rows["centre"], rows["n_voxels"], rows["region"], is_proven), voxel_size_um, names)


def _encoded_uncounted(voxel_size_um: _Zyx, rows: _Rows) -> bytes:
    reasons = tuple(FATES[fate].value for fate in rows["fate"].tolist())
    nothing = np.zeros(len(rows), np.int64)
    block = CellBlock(rows["centre"], rows["n_voxels"], nothing, nothing.astype(bool), reasons)
    return encode_cells(block, voxel_size_um, {})
