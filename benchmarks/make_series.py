"""Slices of a made-up brain, as CATNIP would write them: what all ways of the benchmark are given.

Invariant: a plane depends on the seed, the shape and its own number alone, so planes may be made in any order by any
number of threads, only a few of them are in memory at a time, and the same command makes the same pixels again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import tifffile

Shape = tuple[int, int, int]
Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[np.uint16] | npt.NDArray[np.uint8]

ROWS_PER_STRIP: Final = 16
_NODES: Final = (6, 12, 12)  # of the random grids (z, y, x) from which everything smooth is interpolated
_LARGEST_LABEL: Final = 12_000
_REGIONS_PER_AXIS: Final = 8
_CELL_RADIUS: Final = 2
_CELLS_PER_VOXEL: Final = 1e-4
_CELL_PITCH: Final = (8, 9, 9)  # (z, y, x) of cells that do not touch


@dataclass(frozen=True)
class Brain:
    """A made-up brain.

    Attributes
    ----------
    shape
        Voxels along (z, y, x).
    seed
        Other seeds, other brains; image, labels and mask of one seed belong together.
    has_separate_cells
        Whether there is a cell in 648 voxels, and none touches another; else one in 10,000 voxels, at random places.
    """

    shape: Shape
    seed: int
    has_separate_cells: bool = False

    def image(self, z: int) -> npt.NDArray[np.uint16]:
        """Plane z of the image: tissue with shot noise and bright cells on black."""
        rng = np.random.default_rng([self.seed, 0, z])
        tissue = self._smooth(self._brightness, z)
        tissue += 0.4
        tissue *= 420
        tissue += np.sqrt(tissue) * rng.standard_normal(tissue.shape, np.float32)
        tissue *= self._inside(z)
        plane = np.rint(tissue).astype(np.uint16)
        rows, columns = self._cell_voxels(z)
        plane[rows, columns] += rng.integers(1500, 4000, len(rows), np.uint16)
        return plane

    def labels(self, z: int) -> npt.NDArray[np.uint16]:
        """Plane z of the labels: several hundred regions with smooth borders, background 0."""
        z_place, rows, columns = ((np.arange(n, dtype=np.float32) + 0.5) / n for n in self.shape)
        places = (z_place[z], rows[:, None], columns)
        region = np.zeros(self.shape[1:], np.intp)
        for place, warp in zip(places, self._warps, strict=True):
            bent = (place + 0.15 * (self._smooth(warp, z) - 0.5)) * _REGIONS_PER_AXIS
            region = region * _REGIONS_PER_AXIS + np.clip(bent, 0, _REGIONS_PER_AXIS - 1).astype(np.intp)
        ids = np.random.default_rng([self.seed, 1]).permutation(_LARGEST_LABEL)[: _REGIONS_PER_AXIS**3] + 1
        return ids.astype(np.uint16)[region] * self._inside(z)

    def mask(self, z: int) -> npt.NDArray[np.uint8]:
        """Plane z of the mask: 255 in the cells, else 0."""
        plane = np.zeros(self.shape[1:], np.uint8)
        plane[self._cell_voxels(z)] = 255
        return plane

    @cached_property
    def _brightness(self) -> Floats:
        return np.random.default_rng([self.seed, 2]).random(_NODES, np.float32)

    @cached_property
    def _warps(self) -> Floats:
        return np.random.default_rng([self.seed, 3]).random((3, *_NODES), np.float32)

    def _smooth(self, nodes: Floats, z: int) -> Floats:
        """Plane z of a random grid, interpolated to all voxels; between 0 and 1."""
        weights_z, weights_y, weights_x = self._weights
        flat: Floats = np.tensordot(weights_z[z], nodes, 1)
        return np.asarray(weights_y @ flat @ weights_x.T, np.float32)

    @cached_property
    def _weights(self) -> tuple[Floats, ...]:
        return tuple(_interpolation(n, n_nodes) for n, n_nodes in zip(self.shape, _NODES, strict=True))

    def _inside(self, z: int) -> npt.NDArray[np.bool_]:
        """Where there is tissue: a slice of an ellipsoid that is cut off at both ends."""
        depth, rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in self.shape)
        inside: npt.NDArray[np.bool_] = rows[:, None] ** 2 + columns**2 < 0.9 - 0.3 * depth[z] ** 2
        return inside

    def _cell_centres(self, z: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows and columns of the centres of cells in plane z, also outside of tissue."""
        rng, (_, n_rows, n_columns) = np.random.default_rng([self.seed, 4, z]), self.shape
        if not self.has_separate_cells:
            n_cells = rng.poisson(_CELLS_PER_VOXEL * n_rows * n_columns)
            return rng.integers(0, n_rows, n_cells), rng.integers(0, n_columns, n_cells)
        depth, height, width = _CELL_PITCH
        if z % depth != depth // 2:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        rows, columns = np.mgrid[height // 2 : n_rows : height, width // 2 : n_columns : width].reshape(2, -1)
        return rows + rng.integers(-1, 2, len(rows)), columns + rng.integers(-1, 2, len(rows))

    def _cell_voxels(self, z: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows and columns of the voxels of plane z that belong to cells, each once."""
        inside, (n_planes, n_rows, n_columns) = self._inside(z), self.shape
        found = [np.empty(0, np.intp)]
        for centre in range(max(z - _CELL_RADIUS, 0), min(z + _CELL_RADIUS + 1, n_planes)):
            rows, columns = self._cell_centres(centre)
            for dy, dx in _disc(centre - z):
                y, x = np.clip(rows + dy, 0, n_rows - 1), np.clip(columns + dx, 0, n_columns - 1)
                found.append(y * n_columns + x)
        y, x = np.divmod(np.unique(np.concatenate(found)), n_columns)
        is_tissue = inside[y, x]
        return y[is_tissue], x[is_tissue]


def _interpolation(n: int, n_nodes: int) -> Floats:
    """Weights (n, n_nodes) with which a line of nodes becomes a smooth line of n voxels."""
    places = np.linspace(0, n_nodes - 1, n)
    distances = np.clip(np.abs(places[:, None] - np.arange(n_nodes)), 0, 1)
    weights: Floats = ((1 + np.cos(np.pi * distances)) / 2).astype(np.float32)
    return weights


def _disc(dz: int) -> Iterator[tuple[int, int]]:
    """Rows and columns, from its centre, of a cell's cut `dz` planes from the centre."""
    steps = range(-_CELL_RADIUS, _CELL_RADIUS + 1)
    return ((dy, dx) for dy in steps for dx in steps if dz**2 + dy**2 + dx**2 <= _CELL_RADIUS**2 + 1)


KINDS: Final[dict[str, Callable[[Brain, int], Plane]]] = {
    "image": Brain.image,
    "labels": Brain.labels,
    "mask": Brain.mask,
}
"""What can be made; the names are those of `catnip2bids.Kind`."""


def make_series(folder: Path, brain: Brain, kind: str = "image") -> None:
    """Write the slices ``Z0001.tif``, ``Z0002.tif`` ... of a made-up brain.

    Parameters
    ----------
    folder
        Where to write them; made if need be.
    brain
        The brain.
    kind
        ``image`` (uint16), ``labels`` (uint16, up to 12,000) or ``mask`` (uint8, 0 and 255).
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(z: int) -> None:
        tifffile.imwrite(
            folder / f"Z{z + 1:04d}.tif",
            KINDS[kind](brain, z),
            photometric="minisblack",
            compression="adobe_deflate",
            rowsperstrip=ROWS_PER_STRIP,
            maxworkers=1,
            metadata=None,
            software=False,
        )

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(write, range(brain.shape[0])):
            pass


def make_stack(stack: Path, series: Path) -> None:
    """Write the planes of a series again, as one BigTIFF with strips like those of the slices."""
    slices = sorted(series.glob("*.tif"))
    first = tifffile.imread(slices[0])
    tifffile.imwrite(
        stack,
        (tifffile.imread(path) for path in slices),
        shape=(len(slices), *first.shape),
        dtype=first.dtype,
        bigtiff=True,
        photometric="minisblack",
        compression="adobe_deflate",
        rowsperstrip=ROWS_PER_STRIP,
        metadata={"axes": "ZYX"},
    )


def read_shape(text: str) -> Shape:
    """Read a shape written as ``ZxYxX``.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not one.
    """
    sizes = text.split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write it as ZxYxX, such as 192x2048x2560")
    z, y, x = map(int, sizes)
    return (z, y, x)


def main() -> int:
    """Make a series as the command line says."""
    parser = argparse.ArgumentParser(description="Write made-up slices as CATNIP would.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to write; must not be there yet")
    parser.add_argument("shape", metavar="ZxYxX", type=read_shape, help="voxels, such as 192x2048x2560")
    parser.add_argument("--kind", choices=KINDS, default="image")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.folder.exists():
        parser.error(f"{given.folder}: is there already; give another name")
    make_series(given.folder, Brain(given.shape, given.seed), given.kind)
    return 0


if __name__ == "__main__":
    sys.exit(main())
