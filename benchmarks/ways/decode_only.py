"""A limit: all planes are read and decoded, and nothing is written. No way can be faster."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import imagecodecs
import numpy as np
import tifffile
from _way import read_job, report_seconds


def main() -> None:
    """Decode the series, of Deflate strips as `make_series.py` writes them; prints the seconds that it took."""
    job = read_job()
    slices, plane_bytes, row_bytes = job.slices, job.first_plane.nbytes, job.first_plane[0].nbytes
    buffers = threading.local()

    def decode(path: Path) -> None:
        # memory that is used again costs much less than memory that is asked for
        if not hasattr(buffers, "plane"):
            buffers.plane = np.empty(plane_bytes, np.uint8)
        content = memoryview(path.read_bytes())
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            strip_bytes = page.rowsperstrip * row_bytes
            for strip, (first, n_bytes) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
                rows = buffers.plane[strip * strip_bytes : (strip + 1) * strip_bytes]
                imagecodecs.deflate_decode(content[first : first + n_bytes], out=rows)

    begin = perf_counter()
    with ThreadPoolExecutor(job.threads) as threads:
        for _ in threads.map(decode, slices):
            pass
    report_seconds(perf_counter() - begin)


if __name__ == "__main__":
    main()
