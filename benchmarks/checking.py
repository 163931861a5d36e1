"""Whether what a way wrote has the pixels of the slices, and which levels it has.

Invariant: files are read by libraries that none of our own code wrote, and at most one slab of planes is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tifffile
import zarr

_SLAB: Final = 64


@dataclass(frozen=True)
class Check:
    """What was found in the output of a way.

    Attributes
    ----------
    is_equal
        Whether level 0 has the pixels of the slices.
    levels
        Shapes of all levels, each in the order of the image's own axes.
    """

    is_equal: bool
    levels: list[list[int]]


def check(output: Path, series: Path) -> Check:
    """Compare the image in an output folder with the slices that it was made of.

    Raises
    ------
    ValueError
        If there is no image.
    """
    slices = sorted(series.glob("*.tif"))
    stacks = list(output.glob("*.tif"))
    if stacks:
        with tifffile.TiffFile(stacks[0]) as tiff:
            levels = [list(level.shape) for level in tiff.series[0].levels]
            return Check(_equal((page.asarray() for page in tiff.pages), slices), levels)
    folder, multiscales = _find_image(output)
    axes = "".join(axis["name"] for axis in multiscales["axes"])
    full = _open(folder / multiscales["datasets"][0]["path"])
    arrays = [_open(path.parent) for path in folder.rglob("zarr.json") if _read(path)["node_type"] == "array"]
    levels = sorted((list(array.shape) for array in arrays), reverse=True)
    return Check(_equal(_planes(full, axes), slices), levels)


def _equal(planes: Iterator[npt.NDArray[Any]], slices: list[Path]) -> bool:
    n_planes = 0
    for n_planes, plane in enumerate(planes, start=1):
        if n_planes > len(slices) or not np.array_equal(plane, tifffile.imread(slices[n_planes - 1])):
            return False
    return n_planes == len(slices)


def _planes(array: zarr.Array[Any], axes: str) -> Iterator[npt.NDArray[Any]]:
    """Planes (y, x) of an array whose axes have any order; axes other than z, y and x have length 1."""
    depth = axes.index("z")
    order = sorted(range(len(axes)), key=lambda axis: "zyx".find(axes[axis]))
    for first in range(0, array.shape[depth], _SLAB):
        wanted = tuple(slice(first, first + _SLAB) if axis == depth else slice(None) for axis in range(len(axes)))
        slab = np.asarray(array[wanted]).transpose(order)
        yield from slab.reshape(slab.shape[-3:])


def _find_image(output: Path) -> tuple[Path, dict[str, Any]]:
    """Folder and first multiscales entry of the OME-Zarr 0.5 image somewhere in a folder."""
    for document in sorted(output.rglob("zarr.json")):
        for multiscales in _read(document).get("attributes", {}).get("ome", {}).get("multiscales", []):
            return document.parent, multiscales
    raise ValueError("no OME-Zarr 0.5 image was written")


def _read(document: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(document.read_text(encoding="utf-8"))
    return content


def _open(folder: Path) -> zarr.Array[Any]:
    return zarr.open_array(folder, mode="r")
