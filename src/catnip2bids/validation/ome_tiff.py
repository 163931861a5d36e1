"""Each OME-TIFF image: OME-XML that says what the file is, and pages that are all there.

Invariant: only the first and the last page are decoded; of the others the tags are compared with each other
and with the size of the file.

What the BIDS validator cannot see is looked at here: it reads the first 4096 bytes of classic TIFF files only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from catnip2bids.errors import SourceError
from catnip2bids.validation.findings import Finding, error
from catnip2bids.validation.programs import name_with_version
from catnip2bids.validation.tree import Tree
from catnip2bids.volume import TiffStack, read_planes
from catnip2bids.volume.tiff import PageLayout, check_page, count_pages, open_tiff

CHECK = "ome-tiff"
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

_UM = "µm"
"""With U+00B5 MICRO SIGN, as in the schema's enumeration UnitsLength; U+03BC is another character."""
_OME_TYPES = {"float32": "float", "float64": "double", "bool": "bit"}

_error = partial(error, CHECK)


class OmeXmlError(ValueError):
    """The OME-XML is missing or does not describe one 3D image in micrometers."""


@dataclass(frozen=True)
class Pixels:
    """What OME-XML says about an image: shape (z, y, x), voxel size (z, y, x) in micrometers, OME pixel type."""

    shape: tuple[int, int, int]
    voxel_size_um: tuple[float, float, float]
    ome_type: str


def check_ome_tiff(tree: Tree) -> list[Finding]:
    """Check every `.ome.tif` and `.ome.btf` file of the dataset, except in `sourcedata`, `code` and `docs`."""
    files = [file for file in tree.plain_files if file.name.endswith((".ome.tif", ".ome.btf"))]
    return [finding for file in files for finding in _check_file(tree.root, file)]


def describe() -> str:
    """Name the check with its version."""
    return f"OME-TIFF ({name_with_version('tifffile')})"


def read_pixels(file: Path) -> Pixels:
    """Read the OME-XML of a file.

    Raises
    ------
    SourceError
        If the TIFF cannot be read.
    OmeXmlError
        If it has no OME-XML, or one that does not describe one 3D image in micrometers.
    """
    with open_tiff(file) as tiff:
        text = tiff.pages.first.description
    return _parse(text)


def _check_file(root: Path, file: PurePosixPath) -> Iterator[Finding]:
    try:
        is_bigtiff, n_pages, layout = _read_pages(root / file)
    except SourceError as failure:
        yield _error("OME_TIFF_UNREADABLE", file, failure)
        return
    if is_bigtiff != file.name.endswith(".btf"):
        found = "BigTIFF" if is_bigtiff else "classic TIFF"
        yield _error("OME_TIFF_EXTENSION", file, f"is {found}; BIDS names BigTIFF .ome.btf and classic TIFF .ome.tif")
    try:
        pixels = read_pixels(root / file)
    except OmeXmlError as failure:
        yield _error("OME_XML_INVALID", file, failure)
        return
    shape = (n_pages, *layout.shape)
    ome_type = _OME_TYPES.get(str(layout.dtype), str(layout.dtype))
    if (pixels.shape, pixels.ome_type) != (shape, ome_type):
        said = f"{pixels.shape} {pixels.ome_type}"
        yield _error("OME_XML_PIXELS", file, f"OME-XML says {said} and the pages are {shape} {ome_type}")


def _read_pages(file: Path) -> tuple[bool, int, PageLayout]:
    with open_tiff(file) as tiff:
        n_pages = count_pages(tiff)
        layouts = {check_page(tiff, index) for index in range(n_pages)}
        if len(layouts) > 1:
            raise SourceError(f"pages differ in size or type: {', '.join(sorted(map(str, layouts)))}")
        layout = layouts.pop()
        is_bigtiff = tiff.is_bigtiff
    pixels = np.empty((1, *layout.shape), layout.dtype)
    stack = TiffStack(file, n_pages, layout, layout.reads_rows)
    for index in {0, n_pages - 1}:
        read_planes(stack, index, index + 1, pixels)
    return is_bigtiff, n_pages, layout


def _parse(text: str) -> Pixels:
    try:
        document = ElementTree.fromstring(text)
    except ElementTree.ParseError as failure:
        raise OmeXmlError(f"the first page's description is no XML ({failure})") from failure
    found = document.findall(f"{{{NAMESPACE}}}Image/{{{NAMESPACE}}}Pixels")
    if document.tag != f"{{{NAMESPACE}}}OME" or len(found) != 1:
        raise OmeXmlError(f"it must be an OME document of {NAMESPACE} with one Image of one Pixels")
    attributes = found[0].attrib
    if (attributes.get("SizeC"), attributes.get("SizeT")) != ("1", "1"):
        raise OmeXmlError("SizeC and SizeT of its Pixels must be 1")
    sizes_z, sizes_y, sizes_x = (_axis(attributes, axis) for axis in "ZYX")
    return Pixels(
        shape=(sizes_z[0], sizes_y[0], sizes_x[0]),
        voxel_size_um=(sizes_z[1], sizes_y[1], sizes_x[1]),
        ome_type=attributes.get("Type", "of no type"),
    )


def _axis(attributes: dict[str, str], axis: str) -> tuple[int, float]:
    """Read the number of voxels along an axis and their size in micrometers."""
    if attributes.get(f"PhysicalSize{axis}Unit") != _UM:
        raise OmeXmlError(f"PhysicalSize{axis}Unit must be given and be {_UM}")
    try:
        length, size_um = int(attributes[f"Size{axis}"]), float(attributes[f"PhysicalSize{axis}"])
    except (KeyError, ValueError) as failure:
        raise OmeXmlError(f"Size{axis} or PhysicalSize{axis} is missing or no number ({failure})") from failure
    if not (math.isfinite(size_um) and size_um > 0):
        raise OmeXmlError(f"PhysicalSize{axis} must be more than 0, not {size_um}")
    return length, size_um
