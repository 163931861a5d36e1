"""Voxel sizes that sources state: in OME-XML, ImageJ's metadata, NIfTI headers and OME-Zarr metadata.

Invariant: a size counts only where it is given along all three axes, in a unit of length, and is possible for a
microscope. Resolution tags alone mean nothing: many programs write 72 dpi.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from catnip2bids.documents import read_xml
from catnip2bids.volume.nifti import NiftiVolume, nifti_header
from catnip2bids.volume.slice_series import SliceSeries
from catnip2bids.volume.tiff_file import open_tiff
from catnip2bids.volume.tiff_stack import ContiguousStack, TiffStack
from catnip2bids.volume.volume import Volume
from catnip2bids.volume.zarr import ZarrVolume
from catnip2bids.volume.zarr.metadata import LENGTH_UNITS

Sizes = tuple[float | None, float | None, float | None]

_AXES = "XYZ"
_NOTHING: Sizes = (None, None, None)
_MOST_OFF = 0.01
"""Largest relative difference between sizes that count as equal: programs round them differently."""
_PLAUSIBLE_UM = (1e-3, 1e3)
"""CATNIP's NIfTI files state 25 mm and mean 25 um; no microscope image has voxels of 1 mm."""
_HEADER_READERS = 8
_X_RESOLUTION, _Y_RESOLUTION = 282, 283
_FLOAT32_ERROR = 2.0**-23
_IMAGEJ_ERROR = 1e-5
"""ImageJ writes resolutions as millionths."""
# symbols of OME-XML (UnitsLength) and words of ImageJ, normalized (NFKC), beside the names that OME-Zarr uses
_POWERS = LENGTH_UNITS | {"m": 6, "dm": 5, "cm": 4, "mm": 3, "um": 0, "\u03bcm": 0, "micron": 0, "microns": 0, "nm": -3}
_POWERS |= {"pm": -6, "\u00c5": -4}
_NO_UNITS = {"", "pixel", "pixels", "inch"}
"""Inches are ImageJ's unit for resolution tags such as 72 dpi."""
_NIFTI_UNITS = {"meter": "m", "mm": "mm", "micron": "um"}


@dataclass(frozen=True)
class StatedVoxelSize:
    """The voxel size that a source states."""

    sizes_um: Sizes  # X Y Z; None if it is not understood
    where: str  # its place, such as `OME-XML`
    doubt: str | None = None  # why it is not used

    @property
    def voxel_size_um(self) -> tuple[float, float, float] | None:
        """Voxel size X Y Z in micrometers; None if there is a doubt."""
        x, y, z = self.sizes_um
        return None if self.doubt or x is None or y is None or z is None else (x, y, z)

    def contradicts(self, voxel_size_um: tuple[float, float, float]) -> bool:
        """Tell whether this size differs from another (X Y Z) by more than 1 % along an axis, or is not understood."""
        if self.sizes_um == _NOTHING:
            return True
        pairs = zip(self.sizes_um, voxel_size_um, strict=True)
        return any(stated is not None and abs(stated / size - 1) > _MOST_OFF for stated, size in pairs)

    def __str__(self) -> str:
        """Format the sizes, the metadata that states them, and the reason for a doubt."""
        size = (
            "no usable voxel size"
            if self.sizes_um == _NOTHING
            else f"a voxel size of {format_voxel_size(self.sizes_um)}"
        )
        return f"{size} in its {self.where}{f' ({self.doubt})' if self.doubt else ''}"


def format_voxel_size(sizes_um: Sequence[float | None]) -> str:
    """Format a voxel size: ``3.7 x 3.7 x 5 um``."""
    return " x ".join("?" if size is None else f"{size:g}" for size in sizes_um) + " um"


def stated_voxel_size(volume: Volume) -> StatedVoxelSize | None:
    """Return the voxel size that the files of a volume state; None if they state none."""
    if isinstance(volume, ZarrVolume):
        return None if volume.voxel_size_um is None else _stated(volume.voxel_size_um, "OME-Zarr metadata")
    if isinstance(volume, NiftiVolume):
        return _of_nifti(volume.path)
    if isinstance(volume, TiffStack | ContiguousStack):
        return _of_tiff(volume.path)
    return _of_slices(volume.slices) if isinstance(volume, SliceSeries) else None


def _stated(sizes_um: Sizes, where: str, doubt: str | None = None) -> StatedVoxelSize | None:
    """Return sizes, with a doubt if they are incomplete or impossible; None if all of them are missing."""
    missing = [axis for axis, size in zip(_AXES, sizes_um, strict=True) if size is None]
    least, most = _PLAUSIBLE_UM
    if doubt is None and len(missing) == len(_AXES):
        return None
    if doubt is None and missing:
        doubt = f"nothing is stated along {' and '.join(missing)}"
    elif doubt is None and not all(size is not None and least <= size < most for size in sizes_um):
        doubt = "no microscope has such voxels; is the unit right?"
    return StatedVoxelSize(sizes_um, where, doubt)


def _in_um(size: float, unit: str) -> tuple[float | None, str | None]:
    """Convert a size to micrometers; return the reason if the unit is unknown. Sizes of 0 or less mean nothing."""
    power = _POWERS.get(unicodedata.normalize("NFKC", unit.replace("\\u00B5", "\u00b5").strip()))
    if power is None:
        return None, f"the unit {unit!r} is not a unit of length that is known here"
    if not (math.isfinite(size) and size > 0):
        return None, None
    return (size * 10**power if power >= 0 else size / 10**-power), None


def _converted(sizes: Sequence[tuple[float, str] | None], where: str) -> StatedVoxelSize | None:
    """Convert sizes along X Y Z, each with its unit, or None where there is none."""
    found = [(None, None) if size is None else _in_um(*size) for size in sizes]
    (x, _), (y, _), (z, _) = found
    return _stated((x, y, z), where, next((doubt for _, doubt in found if doubt), None))


def _shortest(size: float, relative_error: float) -> float:
    """Return the decimal number with the fewest digits that is within an error of a size."""
    decimals = (float(f"{size:.{n_digits}g}") for n_digits in range(1, 17))
    return next((number for number in decimals if abs(number - size) <= relative_error * size), size)


def _of_nifti(path: Path) -> StatedVoxelSize | None:
    header = nifti_header(path)
    unit, _ = header.get_xyzt_units()
    if unit not in _NIFTI_UNITS:
        return None  # nibabel and others write a size of 1 and no unit where they know nothing
    where, zooms = "NIfTI header", [float(zoom) for zoom in header.get_zooms()[:3]]
    stated = _converted([(_shortest(zoom, _FLOAT32_ERROR), _NIFTI_UNITS[unit]) for zoom in zooms], where)
    lengths = np.linalg.norm(header.get_best_affine()[:3, :3], axis=0)
    if stated is not None and not np.allclose(lengths, zooms, rtol=_MOST_OFF, atol=0):
        return replace(stated, doubt="pixdim and the affine do not agree")
    return stated


def _of_tiff(path: Path) -> StatedVoxelSize | None:
    with open_tiff(path) as tiff:
        if (xml := tiff.ome_metadata) is not None:
            return _of_ome_xml(xml)
        return _of_imagej(tiff) if tiff.is_imagej else None


def _of_ome_xml(xml: str) -> StatedVoxelSize | None:
    """Read the sizes of the first image; without a unit they are micrometers (OME schema, PhysicalSizeXUnit)."""
    try:
        elements = read_xml(xml).iter()
        pixels = next((element.attrib for element in elements if element.tag.endswith("}Pixels")), {})
        sizes = [
            (float(pixels[f"PhysicalSize{axis}"]), pixels.get(f"PhysicalSize{axis}Unit", "um"))
            if f"PhysicalSize{axis}" in pixels
            else None
            for axis in _AXES
        ]
    except (ElementTree.ParseError, ValueError) as error:
        return StatedVoxelSize(_NOTHING, "OME-XML", f"it is damaged ({error})")
    return _converted(sizes, "OME-XML")


def _of_imagej(tiff: tifffile.TiffFile) -> StatedVoxelSize | None:
    """Read pixels per unit and the spacing of planes; X has the unit of all axes that have none of their own."""
    metadata, tags = tiff.imagej_metadata or {}, tiff.pages.first.tags
    unit = str(metadata.get("unit", "")).strip()
    if unit in _NO_UNITS:
        return None
    sizes: list[tuple[float, str] | None] = []
    for tag, key in ((_X_RESOLUTION, "unit"), (_Y_RESOLUTION, "yunit")):
        match tags.valueof(tag):
            case (int(n_pixels), int(length)) if n_pixels > 0 and length > 0:
                size = _shortest(length / n_pixels, min(1 / n_pixels, _IMAGEJ_ERROR))
                sizes.append((size, str(metadata.get(key, unit))))
            case _:
                sizes.append(None)
    match metadata.get("spacing"):
        case int() | float() as spacing:  # negative where planes go down
            sizes.append((abs(float(spacing)), str(metadata.get("zunit", unit))))
        case _:
            sizes.append(None)
    return _converted(sizes, "ImageJ metadata")


def _of_slices(slices: Sequence[Path]) -> StatedVoxelSize | None:
    """Read the size that all slices state; if three of them state none, as is usual, the others are not read."""
    some = {slices[0], slices[len(slices) // 2], slices[-1]}
    if not any(map(_of_tiff, some)):
        return None
    with ThreadPoolExecutor(_HEADER_READERS) as readers:
        stated = list(readers.map(_of_tiff, slices))
    sizes = [_NOTHING if one is None else one.sizes_um for one in stated]
    for file, other in zip(slices, sizes, strict=True):
        if not _alike(sizes[0], other):
            doubt = f"{format_voxel_size(sizes[0])} in {slices[0].name}, but {format_voxel_size(other)} in {file.name}"
            return StatedVoxelSize(_NOTHING, "slices", doubt)
    return stated[0]


def _alike(sizes_1: Sizes, sizes_2: Sizes) -> bool:
    return all(
        a is b if a is None or b is None else abs(a / b - 1) <= _MOST_OFF for a, b in zip(sizes_1, sizes_2, strict=True)
    )
