"""A volume as one multi-page TIFF file, classic or BigTIFF.

Invariant: a stack is a volume only if all its pages have one shape and dtype; none is ever dropped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.volume.census import Census, listed, size_on_disk
from catnip2bids.volume.tiff import PageLayout, check_page, count_pages, open_tiff, read_page
from catnip2bids.volume.volume import PlaneSource


@dataclass(frozen=True)
class TiffStack:
    """A volume stored as the pages of one TIFF file."""

    path: Path
    n_planes: int
    layout: PageLayout

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (self.n_planes, *self.layout.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return self.layout.dtype

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the page of a plane."""
        return PlaneSource(self.path, plane)

    def read_planes(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the planes `start` to `stop` (exclusive) into `out` (stop - start, y, x)."""
        with open_tiff(self.path) as tiff:
            for plane in range(start, stop):
                read_page(tiff, plane, self.layout, out[plane - start])


def census_stack(path: Path) -> Census:
    """Take the census of one multi-page TIFF file: every page's tags are looked at, nothing is decoded."""
    n_bytes = size_on_disk(path)
    try:
        with open_tiff(path) as tiff:
            layouts = [check_page(tiff, index) for index in range(count_pages(tiff))]
    except SourceError as error:
        return Census(None, 1, n_bytes, (str(error),))
    usual = Counter(layouts).most_common(1)[0][0]
    odd = [str(index + 1) for index, layout in enumerate(layouts) if layout != usual]
    if odd:
        problem = f"{path}: page(s) {listed(odd)} are not {usual} as the others; replace the file by the original"
        return Census(None, 1, n_bytes, (problem,))
    return Census(TiffStack(path, len(layouts), usual), 1, n_bytes)
