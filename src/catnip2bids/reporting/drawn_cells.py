"""Choose the cells to draw over each picture of a sample, from its tables of cells.

Invariant: a table is read once, in blocks of rows. All cells are counted, and at most `_MOST_CELLS` of a kind are kept
for a picture, so that memory and the size of a page do not grow with the number of cells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from catnip2bids.bids.cell_tables import CellBlock, read_cells
from catnip2bids.errors import DatasetError
from catnip2bids.reporting.preview import DamagedImageError

Array = npt.NDArray[Any]

SCALE: Final = 4096
"""Places of cells are whole numbers from 0 to this, from one edge of a picture to the other."""
_MOST_CELLS: Final = 1000
_REASONS: Final = {
    "outside": "outside the mask",
    "no region": "between regions",
    "too large": "too large for one cell",
}
"""Why no region counts a cell, in words."""


@dataclass(frozen=True)
class Slab:
    """The part of a volume that a picture shows; axes are 0 to 2 for z, y, x."""

    axis: int  # perpendicular to the picture
    low: float  # where it begins along that axis, in voxels of level 0; the centre of a voxel is a whole number
    high: float
    rows: int  # axis that runs down the picture
    columns: int  # axis that runs to the right


@dataclass(frozen=True)
class SlabCells:
    """The cells to draw over a picture, as x, y, x, y, ... in units of `SCALE`."""

    counted: list[int]
    uncounted: list[int]
    n_all: int  # cells in the slab, also those that are not drawn

    @property
    def is_thinned(self) -> bool:
        """Whether some cells are not drawn."""
        return len(self.counted) + len(self.uncounted) < 2 * self.n_all


@dataclass(frozen=True)
class SampleCells:
    """The cells of one segmentation of a sample."""

    n_counted: dict[int, int]  # by the label value of the region
    n_uncounted: dict[str, int]  # by reason, in words
    slabs: tuple[SlabCells, ...]

    @property
    def summary(self) -> str:
        """How many cells are counted and not counted: ``1,062 counted, 260 outside the mask``."""
        numbers = {"counted": sum(self.n_counted.values()), **self.n_uncounted}
        return ", ".join(f"{n:,} {what}" for what, n in numbers.items())


class _Places:
    """Places of the cells in one slab, thinned out evenly."""

    def __init__(self) -> None:
        self.n_all = 0
        self._step = 1  # of how many cells one is kept
        self._kept = np.empty((0, 2), np.int64)

    def add(self, places: Array) -> None:
        """Add the places (x, y) of more cells, (n, 2)."""
        self._kept = np.concatenate([self._kept, places[-self.n_all % self._step :: self._step]])
        self.n_all += len(places)
        while len(self._kept) > _MOST_CELLS:
            self._kept, self._step = self._kept[::2], 2 * self._step

    def to_list(self) -> list[int]:
        return [int(number) for number in self._kept.ravel()]


def read_sample_cells(
    tables: Sequence[Path],
    slabs: Sequence[Slab],
    shape: tuple[int, int, int],
    voxel_size_um: tuple[float, float, float],
) -> SampleCells:
    """Read the tables of counted and of uncounted cells; shape and voxel size are (z, y, x) of the image.

    A cell is in a slab if a sphere of its volume reaches into it. Raises DamagedImageError if a table cannot be read
    or has cells outside of the image.
    """
    n_counted, n_uncounted = Counter[int](), Counter[str]()
    counted, uncounted = ([_Places() for _ in slabs] for _ in range(2))
    for table, kinds in zip(tables, (counted, uncounted), strict=True):
        for block in _blocks(table, shape):
            for slab, places in zip(slabs, kinds, strict=True):
                places.add(_places(block, slab, shape, voxel_size_um))
            n_uncounted.update(block.reasons)
            if not block.reasons:
                regions, n_cells = np.unique(block.regions, return_counts=True)
                n_counted.update(dict(zip(regions.tolist(), n_cells.tolist(), strict=True)))
    return SampleCells(
        dict(n_counted),
        {_REASONS.get(reason, reason): n for reason, n in sorted(n_uncounted.items(), key=lambda item: -item[1])},
        tuple(
            SlabCells(one.to_list(), other.to_list(), one.n_all + other.n_all)
            for one, other in zip(counted, uncounted, strict=True)
        ),
    )


def _blocks(table: Path, shape: tuple[int, int, int]) -> Iterator[CellBlock]:
    if not table.is_file():
        raise DamagedImageError(table, "does not exist; bring it back from a copy, or package again")
    try:
        for block in read_cells(table):
            if not ((block.centres > -1) & (block.centres < shape)).all():
                raise DamagedImageError(table, "has a cell outside of the image")
            yield block
    except DatasetError as error:
        raise DamagedImageError(table, str(error).removeprefix(f"{table}: ")) from error


def _places(
    block: CellBlock, slab: Slab, shape: tuple[int, int, int], voxel_size_um: tuple[float, float, float]
) -> Array:
    """Return the places (x, y) of the cells of a block that are in a slab, (n, 2)."""
    volumes_um3 = block.volumes_voxels * math.prod(voxel_size_um)
    radii = np.cbrt(volumes_um3 * 3 / (4 * math.pi)) / voxel_size_um[slab.axis]
    centres = block.centres[:, slab.axis]
    inside = block.centres[(centres + radii >= slab.low) & (centres - radii <= slab.high)]
    sizes = [shape[axis] for axis in (slab.columns, slab.rows)]
    fractions = (inside[:, [slab.columns, slab.rows]] + 0.5) / sizes
    return np.asarray(np.rint(np.clip(fractions, 0, 1) * SCALE), np.int64)
