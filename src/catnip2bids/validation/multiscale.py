"""The metadata of OME-Zarr groups, checked with the models of ome-zarr-models before it is used.

Invariant: what comes out is valid by the specification, 0.4 or 0.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import ome_zarr_models.v04
import ome_zarr_models.v05
from pydantic import ValidationError

from catnip2bids.errors import SourceError
from catnip2bids.paths import exists
from catnip2bids.volume import zarr
from catnip2bids.volume.zarr.metadata import Multiscale

_LEAST_SIZE, _MOST_SIZE = 1e-12, 1e12
"""Bounds of voxel sizes in any unit, so that their ratios are finite."""
ZarrFormat = Literal[2, 3]


def zarr_format(folder: Path) -> ZarrFormat:
    """Tell the Zarr format of a group or array by its metadata file.

    Raises
    ------
    SourceError
        If it has none.
    """
    if exists(folder / "zarr.json"):
        return 3
    if exists(folder / ".zgroup") or exists(folder / ".zarray"):
        return 2
    raise SourceError("is not a valid Zarr group: it has neither zarr.json nor .zgroup")


def read_attributes(folder: Path) -> dict[str, Any]:
    """Read the OME attributes of a group: what is below `ome` in 0.5, all attributes in 0.4.

    Raises
    ------
    SourceError
        If they cannot be read.
    """
    zarr_format(folder)
    return zarr.read_attributes(folder)


def read_multiscale(folder: Path) -> Multiscale:
    """Read the first multiscale image of a group.

    Raises
    ------
    SourceError
        If the metadata cannot be read or is not valid.
    """
    attributes = read_attributes(folder)
    models = ome_zarr_models.v05 if zarr_format(folder) == 3 else ome_zarr_models.v04
    try:
        first = models.image.ImageAttrs.model_validate(attributes).multiscales[0]
        multiscale = Multiscale.model_validate(first.model_dump(mode="json"))
    except ValidationError as failure:
        raise SourceError(str(failure)) from failure
    for level in multiscale.levels:
        scale, _ = multiscale.placement(level)
        if not all(_LEAST_SIZE <= size <= _MOST_SIZE for size in scale):
            raise SourceError(f"level {level.path} has the scale {scale}; no voxel has such a size")
    return multiscale
