"""Write TIFF files as CATNIP does: folders of slices and stacks of pages.

Invariant: the same pixels give the same bytes, and a volume is never copied whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tifffile

_DEFLATE: Final = tifffile.COMPRESSION.ADOBE_DEFLATE  # tag value 8
_SLICE_STRIP_BYTES: Final = 16384  # about the size of strips from MATLAB's imwrite
_PAGE_NUMBER_TAG: Final = 297

_Plane = npt.NDArray[Any]


def write_slice(path: Path, plane: _Plane) -> None:
    """Write one plane (y, x) as MATLAB's ``imwrite`` with Deflate would.

    Parameters
    ----------
    path
        File to write; its folder must be there.
    plane
        Pixels of any TIFF data type.
    """
    rows = max(1, _SLICE_STRIP_BYTES // (plane.shape[1] * plane.itemsize))
    tifffile.imwrite(
        path,
        plane,
        photometric="minisblack",
        compression=_DEFLATE,
        rowsperstrip=rows,
        metadata=None,
        software=False,
    )


def write_stack(path: Path, planes: Iterable[_Plane], n_planes: int) -> None:
    """Write planes (y, x) as the pages of one file as ``saveastiff`` would: one row per strip.

    Parameters
    ----------
    path
        File to write; its folder must be there.
    planes
        Planes in order of z.
    n_planes
        Number of planes, which each page stores.
    """
    with tifffile.TiffWriter(path) as stack:
        for number, plane in enumerate(planes):
            stack.write(
                plane,
                photometric="minisblack",
                compression=_DEFLATE,
                rowsperstrip=1,
                metadata=None,
                software=False,
                extratags=[(_PAGE_NUMBER_TAG, "H", 2, (number, n_planes), False)],
            )


def write_volume(folder: Path, pattern: str, volume: _Plane) -> None:
    """Write a volume (z, y, x) as slices, or as a stack if the pattern has no ``{plane}``.

    Parameters
    ----------
    folder
        Folder that `pattern` is relative to.
    pattern
        Path of the file or files, such as ``FRST/Z{plane:06d}_FRST.tif``; planes are numbered from 1.
    volume
        Pixels of any TIFF data type.
    """
    (folder / pattern).parent.mkdir(parents=True, exist_ok=True)
    if "{plane" not in pattern:
        write_stack(folder / pattern, volume, len(volume))
        return
    paths = [folder / pattern.format(plane=number) for number in range(1, len(volume) + 1)]
    with ThreadPoolExecutor(cpu_count()) as threads:
        list(threads.map(write_slice, paths, volume))


def write_series(
    folder: Path,
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike = "uint16",
    seed: int = 0,
    pattern: str = "Z{plane:04d}.tif",
) -> list[Path]:
    """Write a slice series of any size, plane by plane, for tests of large data.

    All planes differ; the pixels resemble dim tissue with noise and compress well.

    Parameters
    ----------
    folder
        Folder of the slices; created if necessary.
    shape
        Planes, rows, columns.
    dtype
        Any integer or floating point type of TIFF; values cover about its lower half (floats: 0 to 32767).
    seed
        Different seeds give different pixels.
    pattern
        Name of a slice; planes are numbered from 1.

    Returns
    -------
    list of Path
        The files, in order of z.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / pattern.format(plane=number) for number in range(1, shape[0] + 1)]
    with ThreadPoolExecutor(cpu_count()) as threads:
        list(
            threads.map(
                lambda z: write_slice(paths[z], _tissue_plane(shape, z, np.dtype(dtype), seed)), range(shape[0])
            )
        )
    return paths


def _tissue_plane(shape: tuple[int, int, int], z: int, dtype: np.dtype[Any], seed: int) -> _Plane:
    """Return one plane of a dome that moves with z: smooth, with a little noise, 0 in the corners."""
    depth, height, width = shape
    top = np.iinfo(dtype).max // 2 if dtype.kind in "iu" else 32767
    shades = np.float32(min(top, 250))  # few, so that planes compress well
    turn = 2 * np.pi * (z + 1) / (depth + 1)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(0.2 * np.sin(turn))
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(0.2 * np.cos(turn))
    dome = np.rint(shades * np.maximum(1 - rows * rows - columns * columns, 0)) * (top // shades)
    noise = np.random.default_rng([seed, z]).integers(0, 4, (height, width), np.uint8)
    return np.asarray(np.where(dome > 0, dome + noise, 0).astype(dtype))
