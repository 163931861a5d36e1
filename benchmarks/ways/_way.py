"""What all ways share: their arguments, the layout all are asked for, and planes that dask reads when it needs them.

Nothing but the standard library is imported at the top: every way runs with the libraries of one tool only.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import dask.array as da
    import numpy as np
    import numpy.typing as npt

VOXEL_SIZE_UM: Final = (5.0, 3.7, 3.7)
CHUNK: Final = (64, 128, 128)
LARGEST_LAST_LEVEL: Final = 256


@dataclass(frozen=True)
class Job:
    """What a way has to do.

    Attributes
    ----------
    series
        Folder of slices.
    target
        Image to write.
    kind
        ``image``, ``labels`` or ``mask``.
    threads
        Threads or processes to use.
    """

    series: Path
    target: Path
    kind: str
    threads: int

    @property
    def stack(self) -> Path:
        """The same planes as one TIFF, for tools that read one file only."""
        return self.series.with_suffix(".tif")

    @cached_property
    def slices(self) -> list[Path]:
        """The slices in order of z."""
        return sorted(self.series.glob("*.tif"))

    @property
    def blosc(self) -> dict[str, Any]:
        """The codec of our images of this kind; every tool whose codec can be chosen is given the same one."""
        return {"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle" if self.kind == "image" else "noshuffle"}

    @property
    def shuffle_code(self) -> int:
        """The shuffle as Blosc itself and Zarr v2 name it."""
        return 2 if self.kind == "image" else 0

    @cached_property
    def first_plane(self) -> npt.NDArray[Any]:
        """The plane that tells shape and type of all."""
        import tifffile

        return tifffile.imread(self.slices[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        n_rows, n_columns = self.first_plane.shape
        return (len(self.slices), n_rows, n_columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.first_plane.dtype

    @property
    def factors(self) -> list[dict[str, int]]:
        """How many voxels of level 0 each lower level merges along each axis: 2, 4, 8 ... as in our images.

        An axis of few voxels is merged only as long as one voxel is left of it.
        """
        factors, factor = [], 2
        while not factors or max(self.shape) * 2 > LARGEST_LAST_LEVEL * factor:
            factors.append(
                {axis: min(factor, 1 << (n.bit_length() - 1)) for axis, n in zip("zyx", self.shape, strict=True)}
            )
            factor *= 2
        return factors

    def lazy_volume(self) -> da.Array:
        """All planes as a dask array (z, y, x), one chunk a plane, computed by the threads of the job."""
        import dask
        import dask.array as da
        import tifffile

        dask.config.set(scheduler="threads", num_workers=self.threads)
        read = dask.delayed(tifffile.imread, pure=True)
        planes = [da.from_delayed(read(path, maxworkers=1), self.shape[1:], self.dtype) for path in self.slices]
        return da.stack(planes)


def read_job() -> Job:
    """Read the arguments of a way: ``SERIES TARGET --kind KIND --threads N``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("series", metavar="SERIES", type=Path)
    parser.add_argument("target", metavar="TARGET", type=Path)
    parser.add_argument("--kind", choices=("image", "labels", "mask"), default="image")
    parser.add_argument("--threads", metavar="N", type=int, required=True)
    return Job(**vars(parser.parse_args()))


def report_seconds(seconds: float) -> None:
    """Tell how long the part took that a limit is about."""
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")
