"""Each OME-TIFF image: OME-XML that agrees with the file, and complete pages and lower levels.

Invariant: only the first and the last page are decoded; of the others, and of lower levels, the tags are compared with
each other and with the size of the file, in one walk through the directories.

The BIDS validator sees none of this: it reads only the first 4096 bytes of classic TIFF files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
import tifffile

from catnip2bids.documents import read_xml
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes, format_shape
from catnip2bids.validation.findings import Finding, error, warning
from catnip2bids.validation.tree import Tree
from catnip2bids.volume import TiffStack
from catnip2bids.volume.open_plane import WholePlane
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_page import MOST_READ_BYTES, ROWS_AT_A_TIME, PageLayout, bytes_to_read, levels_of
from catnip2bids.volume.tiff_stack import misplaced

CHECK = "ome-tiff"
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

_UM = "µm"
"""With U+00B5 MICRO SIGN, as in the schema's enumeration UnitsLength; U+03BC is another character."""
_OME_TYPES = {"float32": "float", "float64": "double", "bool": "bit"}

_error = partial(error, CHECK)
_warning = partial(warning, CHECK)


@dataclass(frozen=True)
class Pixels:
    """An image as OME-XML describes it."""

    # voxels along (z, y, x), and their size in micrometers
    shape: tuple[int, int, int]
    voxel_size_um: tuple[float, float, float]
    ome_type: str  # an OME pixel type
    big_endian: bool | None  # None if not stated


@dataclass(frozen=True)
class Pages:
    """The directories of a TIFF file."""

    big: bool
    big_endian: bool
    n_pages: int
    layout: PageLayout  # of each page
    description: str  # of the first page


def check_ome_tiff(tree: Tree) -> list[Finding]:
    """Check every `.ome.tif` and `.ome.btf` file of the dataset, except in `sourcedata`, `code` and `docs`."""
    files = [file for file in tree.plain_files if file.name.endswith((".ome.tif", ".ome.btf"))]
    return [finding for file in files for finding in _check_file(tree.root, file)]


def read_pixels(file: Path) -> Pixels:
    """Read the OME-XML of a file; raise SourceError if it does not describe one 3D image in micrometers."""
    with open_tiff(file) as tiff:
        text = tiff.pages.first.description
    return _parse(text)


def _check_file(root: Path, file: PurePosixPath) -> Iterator[Finding]:
    try:
        pages = _read_pages(root / file)
    except SourceError as failure:
        # the message names the file with its folders, which must not be in a report
        yield _error("OME_TIFF_UNREADABLE", file, str(failure).replace(f"{root / file}", file.name))
        return
    if (n_bytes := bytes_to_read(pages.layout)) > MOST_READ_BYTES:
        message = f"was not decoded: a plane takes {format_bytes(n_bytes)}, and validate decodes planes of at most"
        yield _warning("OME_TIFF_NOT_DECODED", file, f"{message} {format_bytes(MOST_READ_BYTES)}; verify decodes it")
    if pages.big != file.name.endswith(".btf"):
        found = "BigTIFF" if pages.big else "classic TIFF"
        yield _error("OME_TIFF_EXTENSION", file, f"is {found}; BIDS names BigTIFF .ome.btf and classic TIFF .ome.tif")
    try:
        pixels = _parse(pages.description)
        _check_schema(pages.description)
    except SourceError as failure:
        yield _error("OME_XML_INVALID", file, failure)
        return
    shape = (pages.n_pages, *pages.layout.shape)
    ome_type = _OME_TYPES.get(str(pages.layout.dtype), str(pages.layout.dtype))
    if (pixels.shape, pixels.ome_type) != (shape, ome_type):
        said, are = f"{format_shape(pixels.shape)} {pixels.ome_type}", f"{format_shape(shape)} {ome_type}"
        yield _error("OME_XML_PIXELS", file, f"OME-XML says {said} and the pages are {are}")
    if pixels.big_endian not in (None, pages.big_endian) and pages.layout.dtype.itemsize > 1:
        yield _error("OME_XML_PIXELS", file, f"OME-XML says BigEndian={str(pixels.big_endian).lower()}, the file not")


def _read_pages(file: Path) -> Pages:
    """Read all directories, and decode the first and the last page.

    Raises SourceError if the file cannot be read, pages differ, or lower levels are not what they should be.
    """
    with open_tiff(file) as tiff:
        offsets = page_offsets(tiff)
        layouts, n_levels = set(), set()
        for index, offset in enumerate(offsets):
            levels = levels_of(tiff, index, offset)
            layouts.add(levels[0][1])
            n_levels.add(len(levels) - 1)
            _check_levels(f"{file}: page {index + 1}: ", levels)
        for found, what in ((layouts, "size or type"), (n_levels, "the number of their levels")):
            if len(found) > 1:
                raise SourceError(f"{file}: pages differ in {what}: {', '.join(sorted(map(str, found)))}")
        pages = Pages(
            big=tiff.is_bigtiff,
            big_endian=tiff.byteorder == ">",
            n_pages=len(offsets),
            layout=layouts.pop(),
            description=tiff.pages.first.description,
        )
    stack = TiffStack(pages.layout, file, offsets)
    for index in {0, pages.n_pages - 1} if bytes_to_read(pages.layout) <= MOST_READ_BYTES else ():
        _decode(stack, index)
    return pages


def _decode(stack: TiffStack, plane: int) -> None:
    """Decode a plane, some rows at a time where that is possible."""
    n_rows, n_columns = stack.layout.shape
    with closing(stack.open_plane(plane)) as opened:
        if isinstance(opened, WholePlane):
            opened.decode()
            return
        rows = np.empty((min(ROWS_AT_A_TIME, n_rows), n_columns), stack.dtype)
        for top in range(0, n_rows, ROWS_AT_A_TIME):
            bottom = min(top + ROWS_AT_A_TIME, n_rows)
            opened.read_rows(top, bottom, rows[: bottom - top])


def _check_levels(where: str, levels: list[tuple[tifffile.TiffPage, PageLayout]]) -> None:
    """Check the lower levels of a page (OME-TIFF specification, "Supporting sub-resolutions")."""
    for number, ((_, above), (level, layout)) in enumerate(pairwise(levels), 1):
        if layout.shape != above.half_shape or layout.dtype != above.dtype or not level.is_reduced:
            raise SourceError(
                f"{where}level {number} is {layout}, not half of {above}, or it is not marked as a reduced image"
            )


def _check_schema(text: str) -> None:
    """Validate OME-XML against the schema that ome-types brings along."""
    from lxml.etree import LxmlError
    from ome_types import validate_xml  # late: it takes 0.7 s

    try:
        validate_xml(text.encode(), warn_on_schema_update=False)
    except (LxmlError, ValueError) as failure:
        raise SourceError(f"it is not valid against the schema: {failure}") from failure


def _parse(text: str) -> Pixels:
    try:
        document = read_xml(text)
    except ElementTree.ParseError as failure:
        raise SourceError(f"the first page's description is not valid XML ({failure})") from failure
    found = document.findall(f"{{{NAMESPACE}}}Image/{{{NAMESPACE}}}Pixels")
    if document.tag != f"{{{NAMESPACE}}}OME" or len(found) != 1:
        raise SourceError(f"it must be an OME document of {NAMESPACE} with one Image of one Pixels")
    attributes = found[0].attrib
    if (attributes.get("SizeC"), attributes.get("SizeT")) != ("1", "1"):
        raise SourceError("SizeC and SizeT of its Pixels must be 1")
    sizes_z, sizes_y, sizes_x = (_axis(attributes, axis) for axis in "ZYX")
    if found[0].find(f"{{{NAMESPACE}}}TiffData") is None:
        raise SourceError("its Pixels must have TiffData")
    if (problem := misplaced(document, found[0], sizes_z[0])) is not None:
        raise SourceError(problem)
    return Pixels(
        shape=(sizes_z[0], sizes_y[0], sizes_x[0]),
        voxel_size_um=(sizes_z[1], sizes_y[1], sizes_x[1]),
        ome_type=attributes.get("Type", "of no type"),
        big_endian={"true": True, "1": True, "false": False, "0": False}.get(attributes.get("BigEndian", "")),
    )


def _axis(attributes: dict[str, str], axis: str) -> tuple[int, float]:
    """Read the number of voxels along an axis and their size in micrometers."""
    if attributes.get(f"PhysicalSize{axis}Unit") != _UM:
        raise SourceError(f"PhysicalSize{axis}Unit must be given and be {_UM}")
    try:
        length, size_um = int(attributes[f"Size{axis}"]), float(attributes[f"PhysicalSize{axis}"])
    except (KeyError, ValueError) as failure:
        raise SourceError(f"Size{axis} or PhysicalSize{axis} is missing or not a valid number ({failure})") from failure
    if not (math.isfinite(size_um) and size_um > 0):
        raise SourceError(f"PhysicalSize{axis} must be more than 0, not {size_um}")
    return length, size_um
