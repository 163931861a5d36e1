"""A limit: all levels of our image are encoded and written out of memory. SERIES is that image, not a folder of slices.

The arrays get the very same metadata, so they become the very same files; but nothing is read, decoded, merged or
hashed.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tensorstore as ts
from _way import read_job, report_seconds


def open_array(folder: Path, context: ts.Context, metadata: dict[str, Any] | None = None) -> Any:
    """Open the array in a folder; with metadata it is created."""
    spec: dict[str, Any] = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    if metadata is not None:
        spec["metadata"] = metadata
    return ts.open(ts.Spec(spec), open=True, create=metadata is not None, context=context).result()


def main() -> None:
    """Encode the image; prints the seconds that it took."""
    job = read_job()
    context = ts.Context({"data_copy_concurrency": {"limit": job.threads}})
    group = json.loads((job.series / "zarr.json").read_text(encoding="utf-8"))
    levels = [level["path"] for level in group["attributes"]["ome"]["multiscales"][0]["datasets"]]
    documents = [json.loads((job.series / level / "zarr.json").read_text(encoding="utf-8")) for level in levels]
    arrays = [np.asarray(open_array(job.series / level, context).read().result()) for level in levels]

    start = perf_counter()
    targets = [
        open_array(job.target / level, context, document) for level, document in zip(levels, documents, strict=True)
    ]
    writes = [
        target.write(array, can_reference_source_data_indefinitely=True)
        for target, array in zip(targets, arrays, strict=True)
    ]
    for write in writes:
        write.result()
    report_seconds(perf_counter() - start)


if __name__ == "__main__":
    main()
