# /// script
# dependencies = ["acquire-zarr", "tifffile", "imagecodecs"]
# ///
"""acquire-zarr: its streaming writer, fed by as many decoding threads. A library for microscopes, no converter.

Pyramid: its own choice of levels; y and x are halved, z only while it is longer than a chunk. Means for images, the
first voxel of each window for labels, because it has no mode, and maxima for masks.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import acquire_zarr as aqz
import tifffile
from _way import CHUNK, VOXEL_SIZE_UM, Job, read_job

METHODS = {
    "image": aqz.DownsamplingMethod.MEAN,
    "labels": aqz.DownsamplingMethod.DECIMATE,
    "mask": aqz.DownsamplingMethod.MAX,
}
SHARD_CHUNKS = {"z": 1, "y": 8, "x": 10}


def open_stream(job: Job) -> Any:
    """Open the stream that takes the planes in order of z."""
    dimensions = [
        aqz.Dimension(
            name=axis,
            kind=aqz.DimensionType.SPACE,
            array_size_px=n,
            chunk_size_px=chunk,
            shard_size_chunks=min(SHARD_CHUNKS[axis], math.ceil(n / chunk)),
            scale=size,
            unit="micrometer",
        )
        for axis, n, chunk, size in zip("zyx", job.shape, CHUNK, VOXEL_SIZE_UM, strict=True)
    ]
    array = aqz.ArraySettings(
        dimensions=dimensions,
        data_type=job.dtype,
        downsampling_method=METHODS[job.kind],
        compression=aqz.CompressionSettings(
            compressor=aqz.Compressor.BLOSC1,
            codec=aqz.CompressionCodec.BLOSC_ZSTD,
            level=job.blosc["clevel"],
            shuffle=job.shuffle_code,
        ),
    )
    settings = aqz.StreamSettings(arrays=[array], store_path=str(job.target), max_threads=job.threads)
    return aqz.ZarrStream(settings)


def main() -> None:
    """Convert the series."""
    job = read_job()
    stream = open_stream(job)
    decoding: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(job.threads) as threads:
        for path in job.slices:
            decoding.append(threads.submit(tifffile.imread, path, maxworkers=1))
            if len(decoding) > 2 * job.threads:
                stream.append(decoding.popleft().result())
        while decoding:
            stream.append(decoding.popleft().result())
    stream.close()


if __name__ == "__main__":
    main()
