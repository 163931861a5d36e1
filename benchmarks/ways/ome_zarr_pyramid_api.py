# /// script
# dependencies = ["ome-zarr-pyramid", "tifffile", "imagecodecs"]
# ///
"""ome-zarr-pyramid: ``Pyramid.downscale`` and ``write_pyramid`` from a reader of planes, with threads.

Pyramid: all axes halved, each level from the voxels of level 0; means, modes and maxima. Shards as large as ours,
because only then does the tool write all levels in one pass that decodes each plane once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from _way import CHUNK, VOXEL_SIZE_UM, Job, read_job
from ome_zarr_pyramid import Pyramid, io

METHODS = {"image": "mean", "labels": "mode", "mask": "max"}
CHUNKS_PER_SHARD = (1, 8, 10)


class Slices:
    """The slices as an array that the tool reads region by region."""

    def __init__(self, job: Job) -> None:
        self.slices = job.slices
        self.shape = job.shape
        self.dtype = job.dtype
        self.ndim = 3
        self.chunks = (1, *job.shape[1:])

    def __getitem__(self, region: tuple[slice, slice, slice]) -> npt.NDArray[Any]:
        z, y, x = region
        return np.stack([tifffile.imread(path, maxworkers=1)[y, x] for path in self.slices[z]])


def main() -> None:
    """Convert the series."""
    job = read_job()
    make = Pyramid().from_label_arrays if job.kind == "labels" else Pyramid().from_arrays
    image = make(
        [Slices(job)], axis_order="zyx", unit_list=["micrometer"] * 3, scales=[list(VOXEL_SIZE_UM)], name="image"
    )
    io.write_pyramid(
        image.downscale(n_layers=len(job.factors) + 1, downscale_method=METHODS[job.kind]),
        job.target,
        max_threads=job.threads,
        chunk_shape=CHUNK,
        shard_coefficients=CHUNKS_PER_SHARD,
        compressor="blosc",
        compressor_params=job.blosc,
    )


if __name__ == "__main__":
    main()
