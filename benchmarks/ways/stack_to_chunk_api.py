# /// script
# dependencies = ["stack-to-chunk", "tifffile", "imagecodecs"]
# ///
"""stack-to-chunk: ``MultiScaleGroup`` from planes that dask reads, with processes.

Pyramid: all axes halved, each level from the files of the one before; means that are cut instead of rounded, modes for
labels, maxima for masks. Its axes are (x, y, z), and a shard of level 0 is a slab of whole planes.
"""

from __future__ import annotations

import numpy as np
import stack_to_chunk
from _way import CHUNK, VOXEL_SIZE_UM, read_job
from pydantic_zarr.v3 import ArraySpec, NamedConfig, RegularChunking, RegularChunkingConfig

FUNCTIONS = {"image": np.mean, "labels": stack_to_chunk.mode, "mask": np.max}


def main() -> None:
    """Convert the series."""
    job = read_job()
    volume = job.lazy_volume().T
    blosc = {**job.blosc, "typesize": job.dtype.itemsize, "blocksize": 0}
    spec = ArraySpec(
        attributes={},
        shape=volume.shape,
        data_type=job.dtype.name,
        chunk_grid=RegularChunking(name="regular", configuration=RegularChunkingConfig(chunk_shape=CHUNK[::-1])),
        chunk_key_encoding=NamedConfig(name="default", configuration={"separator": "/"}),
        fill_value=0,
        codecs=(
            NamedConfig(name="bytes", configuration={"endian": "little"}),
            NamedConfig(name="blosc", configuration=blosc),
        ),
        storage_transformers=(),
    )
    group = stack_to_chunk.MultiScaleGroup(
        job.target, name="image", voxel_size=VOXEL_SIZE_UM[::-1], spatial_unit="micrometer", array_spec=spec
    )
    group.add_full_res_data(volume, n_processes=job.threads)
    for level in range(1, len(job.factors) + 1):
        group.add_downsample_level(level, n_processes=job.threads, downsample_func=FUNCTIONS[job.kind])


if __name__ == "__main__":
    main()
