"""Read blocks out of any volume.

Invariant: a block is what NumPy would cut out of the whole volume. Only the Zarr chunks that the block
touches are read, and only its rows of TIFF files, if rows can be read by themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.volume.volume import Volume, open_planes
from catnip2bids.volume.zarr.zarr_volume import ZarrVolume


def read_block(volume: Volume, block: tuple[slice, slice, slice]) -> npt.NDArray[Any]:
    """Read the block with these slices, each with a start and a stop, along (z, y, x).

    Raises SourceError if a plane or chunk cannot be read.
    """
    if isinstance(volume, ZarrVolume):
        return volume.read_block(block)
    planes, rows, columns = block
    n_rows = rows.stop - rows.start
    out = np.empty((planes.stop - planes.start, n_rows, columns.stop - columns.start), volume.dtype)
    is_whole = out.shape[2] == volume.shape[2]
    band = np.empty((n_rows, volume.shape[2]), volume.dtype)
    for index, plane in enumerate(open_planes(volume, range(planes.start, planes.stop))):
        plane.read_rows(rows.start, rows.stop, out[index] if is_whole else band)
        if not is_whole:
            out[index] = band[:, columns]
    return out
