# /// script
# dependencies = ["ome-zarr", "tifffile", "imagecodecs"]
# ///
"""ome-zarr-py: ``write_image`` and ``write_labels`` from planes that dask reads.

Pyramid: all axes halved, as it is asked to (left alone it keeps z); means for images, the nearest voxel for labels and
masks, because it has neither mode nor maximum.
"""

from __future__ import annotations

import zarr
from _way import CHUNK, VOXEL_SIZE_UM, read_job
from ome_zarr.scale import Methods
from ome_zarr.writer import write_image, write_labels
from zarr.codecs import BloscCodec


def main() -> None:
    """Convert the series."""
    job = read_job()
    volume = job.lazy_volume().rechunk(CHUNK)
    group = zarr.open_group(job.target, mode="w")
    options = {
        "axes": list("zyx"),
        "scale": dict(zip("zyx", VOXEL_SIZE_UM, strict=True)),
        "axes_units": dict.fromkeys("zyx", "micrometer"),
        "scale_factors": job.factors,
        "storage_options": {"chunks": CHUNK, "compressors": [BloscCodec(**job.blosc)]},
    }
    if job.kind == "image":
        write_image(volume, group, method=Methods.LOCAL_MEAN, **options)
    else:
        write_labels(volume, group, name="atlas", method=Methods.NEAREST, **options)


if __name__ == "__main__":
    main()
