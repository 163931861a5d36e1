# /// script
# dependencies = ["zarrmony", "tifffile", "imagecodecs"]
# ///
"""zarrmony: ``convert``, with a reader plugin for the folder of slices.

Pyramid: all axes halved until y and x have at most 256 voxels, each level from the files of the one before, what does
not fill a window is cut off; means that are cut instead of rounded for images, and maxima for masks. It has no mode,
and means of labels would be labels that do not exist, so labels are refused. Its codec cannot be chosen: it is Blosc
with Zstandard too, but level 3. It writes one chunk at a time.
"""

from __future__ import annotations

import sys
from collections import namedtuple

import xarray as xr
from _way import CHUNK, LARGEST_LAST_LEVEL, VOXEL_SIZE_UM, Job, read_job
from zarrmony import Geometry, convert
from zarrmony.readers.plugin import ReaderPlugin, register_plugin

METHODS = {"image": "mean", "mask": "max"}
VoxelSizes = namedtuple("VoxelSizes", "Z Y X")


class Slices:
    """The slices as an image that the tool reads; see its "Writing a zarrmony reader plugin"."""

    scenes = ("image",)
    layout_hint = "flat"
    plate_layout = None
    physical_pixel_sizes = VoxelSizes(*VOXEL_SIZE_UM)

    def __init__(self, job: Job) -> None:
        self.xarray_dask_data = xr.DataArray(job.lazy_volume().rechunk(CHUNK), dims=list("ZYX"))

    def set_scene(self, index: int) -> None:
        """Do nothing: there is but one scene."""


def main() -> None:
    """Convert the series; the image lies in TARGET."""
    job = read_job()
    if job.kind not in METHODS:
        sys.exit("zarrmony merges voxels by mean or maximum, so it cannot make levels of labels")
    register_plugin(ReaderPlugin("slices", lambda path: 100 if path.is_dir() else None, lambda _: Slices(job)))
    geometry = Geometry(
        chunk_shape=CHUNK,
        downsample_method=METHODS[job.kind],
        isotropy_tolerance=1e6,  # all axes in all levels
        axis_floor=1,
        pyramid_min_size=sys.maxsize,  # the last level is the first that is small enough
        coarse_max_bytes=sys.maxsize,
        coarse_max_long_axis=LARGEST_LAST_LEVEL,
    )
    convert(job.series, job.target, layout="per-scene", geometry=geometry, contrast_percentile=None, validate=False)


if __name__ == "__main__":
    main()
