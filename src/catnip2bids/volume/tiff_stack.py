"""A volume as one multi-page TIFF file, classic or BigTIFF.

Invariant: a stack is a volume only if all its pages have one shape and dtype; none is ever dropped.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from catnip2bids.documents import read_xml
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.volume.inspection import Inspection, size_on_disk
from catnip2bids.volume.ome_plane_order import misplaced
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.pixel_meaning import compare_meanings
from catnip2bids.volume.tiff_encoding import EncodedPlane
from catnip2bids.volume.tiff_file import directory_offsets, open_tiff
from catnip2bids.volume.tiff_page import (
    PageLayout,
    agreed,
    check_tags,
    has_plain_strips,
    open_page,
    page_at,
    read_encoded,
)
from catnip2bids.volume.tiff_pages import check_planes
from catnip2bids.volume.tiff_volume import TiffPlanes
from catnip2bids.volume.volume import PlaneSource


@dataclass(frozen=True)
class TiffStack(TiffPlanes):
    """A volume stored as the pages of one TIFF file."""

    path: Path
    page_offsets: tuple[int, ...]  # position of the directory of each page

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (len(self.page_offsets), *self.layout.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the page of a plane."""
        return PlaneSource(self.path, plane)

    def read_encoded(self, plane: int) -> EncodedPlane:
        """Read the segments of a plane without decoding them; only where the planes agree in their encoding."""
        return read_encoded(self.path, plane, self.layout, self.page_offsets[plane])

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a page."""
        return open_page(self.path, plane, self.layout, self.page_offsets[plane])


@dataclass(frozen=True)
class ContiguousStack(TiffPlanes):
    """A volume that ImageJ stored as one TIFF page, with the other planes behind its pixels, as it does above 4 GiB."""

    path: Path
    n_planes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (self.n_planes, *self.layout.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the file, and the number of the plane in it."""
        return PlaneSource(self.path, plane)

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane."""
        return open_page(self.path, 0, self.layout, n_bytes_behind=plane * _plane_bytes(self.layout))


def inspect_stack(path: Path) -> Inspection:
    """Inspect a multi-page TIFF file: read the tags of every page, decode nothing."""
    n_bytes = size_on_disk(path)
    try:
        with open_tiff(path) as tiff:
            contiguous = _contiguous_stack(tiff, path)
            if contiguous is not None:
                _refuse_other_axes(tiff, contiguous.n_planes)
                _, warnings = compare_meanings(str(path), "page", {"1": contiguous.layout.meaning})
                return Inspection(contiguous, 1, n_bytes, warnings=tuple(warnings))
            planes = check_planes(tiff)
            _refuse_other_axes(tiff, len(planes.offsets))
    except SourceError as error:
        return Inspection(None, 1, n_bytes, (str(error),))
    layouts = {str(index + 1): layout for index, layout in planes.layouts.items()}
    usual = Counter(layouts.values()).most_common(1)[0][0]
    odd = [number for number, layout in layouts.items() if layout != usual]
    problems, warnings = compare_meanings(str(path), "page", {page: layout.meaning for page, layout in layouts.items()})
    if odd:
        others = f"{format_count(len(odd), 'page')} other than {usual}: {format_list(odd)}"
        problems = [f"{path}: has {others}; save images of different kinds as files of their own", *problems]
    if planes.n_copies:
        warnings.append(f"{path}: {format_count(planes.n_copies, 'smaller copy')} of its planes, not converted")
    volume = None if problems else TiffStack(agreed(layouts.values()), path, planes.offsets)
    return Inspection(volume, 1, n_bytes, tuple(problems), tuple(warnings))


def _contiguous_stack(tiff: tifffile.TiffFile, path: Path) -> ContiguousStack | None:
    """Return the volume that ImageJ's description and the size of the file agree on, where only one page is listed.

    The planes must end where the file does: bytes between them, or behind them, would belong to something else.

    Raises
    ------
    SourceError
        If the file is too small.
    """
    n_planes = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    directories = directory_offsets(tiff, path)
    if n_planes < 2 or len(directories) != 1:
        return None
    page, where = page_at(tiff, 0, None)
    layout = check_tags(page, where)
    is_stored_as_it_is = has_plain_strips(page) and page.compression == tifffile.COMPRESSION.NONE
    if not (is_stored_as_it_is and page.is_contiguous) or sum(page.databytecounts) != _plane_bytes(layout):
        return None
    begin, n_bytes = page.dataoffsets[0], tiff.filehandle.size
    end = begin + n_planes * _plane_bytes(layout)
    if end > n_bytes:
        raise SourceError(
            f"{path}: ImageJ metadata promises {n_planes} images, which need {end} bytes, and the file has {n_bytes}; "
            "if it was cut off, copy the original again; if it is one image of a stack, save it again from Fiji"
        )
    if end < n_bytes or directories[0] > begin:
        return None
    # strips are copied from where directories say that they are, and there is but one
    return ContiguousStack(replace(layout, encoding=None), path, n_planes)


def _plane_bytes(layout: PageLayout) -> int:
    return math.prod(layout.shape) * layout.dtype.itemsize


def _refuse_other_axes(tiff: tifffile.TiffFile, n_pages: int) -> None:
    """Refuse a file whose metadata say that its pages are not the planes of one volume.

    Raises
    ------
    SourceError
        For several channels, time points or images, and for planes that are in other files.
    """
    path = tiff.filehandle.path
    sizes = {"channels": 1, "time points": 1, "images": 1, "planes": n_pages}
    if tiff.is_imagej and tiff.imagej_metadata is not None:
        of_imagej = tiff.imagej_metadata
        sizes |= {"channels": int(of_imagej.get("channels", 1)), "time points": int(of_imagej.get("frames", 1))}
    order = None
    if tiff.ome_metadata is not None:
        stated, order = _read_ome(tiff.ome_metadata, path)
        sizes |= stated
    several = [f"{sizes[what]} {what}" for what in ("channels", "time points", "images") if sizes[what] != 1]
    if several:
        raise SourceError(
            f"{path}: holds {' and '.join(several)}, not one volume; save each of them by itself, "
            "or, if they are planes, have Fiji call them slices (Image > Properties)"
        )
    if sizes["planes"] != n_pages:
        raise SourceError(
            f"{path}: its OME-XML speaks of {sizes['planes']} planes and {n_pages} are in it; "
            "give the whole image in one file, or as a folder of slices"
        )
    if order is not None:
        raise SourceError(
            f"{path}: pages are not in the order of planes ({order}); save it again as a plain TIFF stack"
        )


def _read_ome(xml: str, path: str) -> tuple[dict[str, int], str | None]:
    """Read the numbers of planes, channels and time points from OME-XML of any version, and errors in their order."""
    try:
        document = read_xml(xml)
        pixels = [element for element in document.iter() if element.tag.endswith("}Pixels")]
        (first, *_) = pixels
        sizes = {axis: int(first.get(f"Size{axis}", "")) for axis in "ZCT"}
    except (ElementTree.ParseError, ValueError) as error:
        raise SourceError(f"{path}: its OME-XML is damaged ({error}); save it again as a plain TIFF stack") from error
    counts = {"channels": sizes["C"], "time points": sizes["T"], "images": len(pixels), "planes": sizes["Z"]}
    return counts, misplaced(document, first, sizes["Z"])
