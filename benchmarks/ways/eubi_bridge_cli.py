# /// script
# dependencies = ["eubi-bridge-lite"]
# ///
"""EuBI-Bridge (its edition without Java): ``eubi to_zarr``, which joins the slices along z.

Pyramid: all axes halved; means, modes and maxima.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from _way import CHUNK, VOXEL_SIZE_UM, read_job

METHODS = {"image": "mean", "labels": "mode", "mask": "max"}


def main() -> int:
    """Convert the series; the image gets its name from the tool and lies in TARGET."""
    job = read_job()
    options: dict[str, object] = {
        "output_path": job.target,
        "z_tag": "Z",
        "concatenation_axes": "z",
        "ome_zarr_version": "0.5",
        "max_processes": job.threads,
        "max_threads": job.threads,
        "decode_threads": job.threads,
        "use_threading": True,  # a pool of threads: there is but one image
        "auto_chunk": False,
        "compressor": "blosc",
        "compressor_params": {**job.blosc, "shuffle": job.shuffle_code},
        "n_layers": len(job.factors) + 1,
        "downscale_method": METHODS[job.kind],
    }
    for axis, chunk, size in zip("zyx", CHUNK, VOXEL_SIZE_UM, strict=True):
        options |= {f"{axis}_chunk": chunk, f"{axis}_scale": size, f"{axis}_unit": "micrometer"}
    command = [str(Path(sys.executable).with_name("eubi")), "to_zarr", str(job.series)]
    with TemporaryDirectory() as settings:
        # the tool keeps its settings in the home directory otherwise, where a person's own may be
        environment = {**os.environ, "EUBI_CONFIG_DIR": settings}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return subprocess.run([*command, *words], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
