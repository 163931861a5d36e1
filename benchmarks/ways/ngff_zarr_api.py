# /// script
# dependencies = ["ngff-zarr", "tifffile", "imagecodecs"]
# ///
"""ngff-zarr: ``to_multiscales`` and ``to_ngff_zarr`` from planes that dask reads.

Pyramid: all axes halved, what does not fill a window is cut off; means for images. It has no maximum: masks are merged
like labels.
"""

from __future__ import annotations

import ngff_zarr as nz
from _way import CHUNK, VOXEL_SIZE_UM, read_job

METHODS = {
    "image": nz.Methods.DASK_BIN_SHRINK,
    "labels": nz.Methods.DASK_IMAGE_MODE,
    "mask": nz.Methods.DASK_IMAGE_MODE,
}


def main() -> None:
    """Convert the series."""
    job = read_job()
    image = nz.to_ngff_image(
        job.lazy_volume(),
        dims=["z", "y", "x"],
        scale=dict(zip("zyx", VOXEL_SIZE_UM, strict=True)),
        axes_units=dict.fromkeys("zyx", "micrometer"),
    )
    multiscales = nz.to_multiscales(image, job.factors, METHODS[job.kind], CHUNK, cache=False)
    blosc = {"name": "blosc", "configuration": {**job.blosc, "typesize": job.dtype.itemsize, "blocksize": 0}}
    nz.to_ngff_zarr(job.target, multiscales, version="0.5", compressors=[blosc])


if __name__ == "__main__":
    main()
