"""The usual script: read all planes into memory, then write one OME-TIFF with Deflate.

Pyramid: none.
"""

from __future__ import annotations

import numpy as np
import tifffile
from _way import VOXEL_SIZE_UM, read_job


def main() -> None:
    """Convert the series; the file is TARGET with the ending ``.tif``."""
    job = read_job()
    volume = np.empty(job.shape, job.dtype)
    for z, path in enumerate(job.slices):
        volume[z] = tifffile.imread(path)
    metadata: dict[str, str | float] = {"axes": "ZYX"}
    for axis, size in zip("ZYX", VOXEL_SIZE_UM, strict=True):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(
        job.target.with_suffix(".tif"),
        volume,
        bigtiff=True,
        ome=True,
        photometric="minisblack",
        metadata=metadata,
        compression="ADOBE_DEFLATE",
        maxworkers=job.threads,
    )


if __name__ == "__main__":
    main()
