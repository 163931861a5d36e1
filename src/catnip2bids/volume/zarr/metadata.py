"""What the metadata of an OME-Zarr image, version 0.5 (zarr v3) or 0.4 (zarr v2), tell about its level 0.

Invariant: whatever is in the files, what is wrong with them is said in an error that names the file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catnip2bids.documents import read_json
from catnip2bids.errors import DatasetError, ReadError, SourceError

_MOST_LEVELS = 64
SPATIAL = ("z", "y", "x")
DOCUMENTS = ("zarr.json", ".zattrs", ".zgroup")
POWERS = {
    "angstrom": -4,
    "picometer": -6,
    "nanometer": -3,
    "micrometer": 0,
    "millimeter": 3,
    "centimeter": 4,
    "decimeter": 5,
    "meter": 6,
}
"""Units of length of OME-Zarr ("axes"), as powers of ten of a micrometer."""


@dataclass(frozen=True)
class Multiscale:
    """What the metadata of an image tells about its level 0."""

    level: str
    axes: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None


def document_of(path: Path) -> Path:
    """Return the file that holds the metadata of a group: ``zarr.json``, or ``.zattrs`` in version 0.4."""
    document = path / "zarr.json"
    return document if document.is_file() else path / ".zattrs"


def read_attributes(path: Path) -> dict[str, Any]:
    """Read what OME-Zarr says of a group: what is below ``ome`` in version 0.5, and all attributes in 0.4.

    Raises
    ------
    SourceError
        If the metadata are not there, cannot be read, or are no JSON. Where they say nothing, nothing is returned.
    """
    document = document_of(path)
    attributes: dict[str, Any] = {}
    match _read_json(document):
        case {"attributes": {"ome": dict() as found}} if document.name == "zarr.json":
            attributes = found
        case dict() as found if document.name != "zarr.json":
            attributes = found
    match attributes.get("multiscales"):
        case [{"datasets": [*levels]}, *_] if len(levels) > _MOST_LEVELS:
            raise SourceError(f"{document}: has {len(levels):,} levels, and images have at most {_MOST_LEVELS}")
    return attributes


def read_multiscale(path: Path) -> Multiscale:
    """Read the metadata of an image: the first one of its multiscales."""
    document = document_of(path)
    match read_attributes(path):
        case {"multiscales": [dict() as image]}:
            return _check_multiscale(image, document)
        case {"multiscales": [dict(), *others]}:
            raise SourceError(
                f"{document}: describes {1 + len(others)} images (multiscales); save the one you want as an OME-Zarr "
                "of its own"
            )
    raise SourceError(f"{document}: describes no OME-Zarr image (multiscales); give the folder of the image itself")


def _read_json(document: Path) -> object:
    try:
        content: object = json.loads(read_json(document))
    except FileNotFoundError as error:
        raise SourceError(
            f"{document.parent}: has no metadata of OME-Zarr in it (zarr.json or .zattrs); replace it by the original"
        ) from error
    except DatasetError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise ReadError(f"{document}: cannot be read: {error.strerror}; make it readable and run again") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{document}: damaged JSON ({error}); replace it by the original") from error
    return content


def _check_multiscale(image: dict[Any, object], document: Path) -> Multiscale:
    match image.get("datasets"):
        case [dict() as dataset, *lower] if isinstance(level := dataset.get("path"), str) and level:
            pass
        case _:
            raise SourceError(f"{document}: does not tell where level 0 is (datasets); replace it by the original")
    described = image.get("axes")
    axes: tuple[str, ...] = ()
    units: list[object] = []
    for axis in described if isinstance(described, list) else ():
        match axis:
            case str(name):  # version 0.3
                axes, units = (*axes, name), [*units, None]
            case {"name": str(name)}:
                axes, units = (*axes, name), [*units, axis.get("unit")]
            case _:
                raise SourceError(f"{document}: has an axis without a name; replace it by the original")
    if tuple(axis for axis in axes if axis in SPATIAL) != SPATIAL:
        names = ", ".join(axes) or "none"
        raise SourceError(f"{document}: its axes are {names}; save the image with the axes z, y, x in this order")
    scales = _scale(dataset, len(axes)), _scale(image, len(axes))
    for other in lower:
        smaller = _scale(other, len(axes)) if isinstance(other, dict) else None
        if scales[0] and smaller and any(b < a for a, b in zip(scales[0], smaller, strict=True)):
            raise SourceError(
                f"{document}: its levels (datasets) do not begin with the one of the smallest voxels; put them in order"
            )
    return Multiscale(level, axes, _voxel_size_um(axes, units, scales))


def _scale(described: dict[Any, object], n_axes: int) -> list[float] | None:
    """Return the scale that a dataset or a whole image was given; None where there is none to be understood."""
    match described.get("coordinateTransformations"):
        case [*transformations]:
            for transformation in transformations:
                match transformation:
                    case {"type": "scale", "scale": [*scale]} if len(scale) == n_axes:
                        return list(map(_number, scale))
    return None


def _number(value: object) -> float:
    """Return a number of JSON, or NaN for anything else; JSON has integers that no float can hold."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _voxel_size_um(
    axes: tuple[str, ...], units: list[object], scales: tuple[list[float] | None, list[float] | None]
) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z); scales of the dataset and of the image are multiplied (OME-Zarr)."""
    of_level, of_image = scales
    if of_level is None:
        return None
    sizes = {}
    for index, (axis, unit) in enumerate(zip(axes, units, strict=True)):
        size, power = of_level[index] * (1.0 if of_image is None else of_image[index]), POWERS.get(str(unit))
        if axis in SPATIAL and power is not None and math.isfinite(size) and size > 0:
            sizes[axis] = size * 10**power if power >= 0 else size / 10**-power  # exact powers keep 3700 nm 3.7
    return (sizes["x"], sizes["y"], sizes["z"]) if len(sizes) == len(SPATIAL) else None
