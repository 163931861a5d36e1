"""A volume as one multi-page TIFF file, classic or BigTIFF.

Invariant: a stack is a volume only if all its pages have one shape and dtype; none is ever dropped. Pages are read in
the order of the file, so a stack whose OME-XML says anything else is never a volume.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import tifffile
from tifffile import COMPRESSION

from catnip2bids.documents import read_xml
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count, format_list, format_planes
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.pixel_meaning import compare_meanings
from catnip2bids.volume.tiff_encoding import EncodedPlane
from catnip2bids.volume.tiff_file import StackedAxes, directory_offsets, open_tiff, saved_in_python
from catnip2bids.volume.tiff_page import (
    TiffPlanes,
    agreed,
    check_page,
    check_planes,
    has_plain_strips,
    open_page,
    plane_bytes,
    read_encoded,
)
from catnip2bids.volume.volume import Inspection, SingleFile, size_on_disk

_NOT_PLANES = {"C": "channels", "T": "time points"}
"""Axes of tifffile."""
_EACH_ONCE = "TiffData must name each of the {} planes once, in order"


@dataclass(frozen=True)
class TiffStack(SingleFile, TiffPlanes):
    """A volume stored as the pages of one TIFF file."""

    page_offsets: tuple[int, ...]  # position of the directory of each page

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (len(self.page_offsets), *self.layout.shape)

    def read_encoded(self, plane: int) -> EncodedPlane:
        """Find the segments of a plane without decoding them; only where the planes agree in their encoding."""
        return read_encoded(self.path, plane, self.layout, self.page_offsets[plane])

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a page."""
        return open_page(self.path, plane, self.layout, self.page_offsets[plane])


@dataclass(frozen=True)
class ContiguousStack(SingleFile, TiffPlanes):
    """A volume that ImageJ stored as one TIFF page, with the other planes behind its pixels, as it does above 4 GiB."""

    n_planes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (self.n_planes, *self.layout.shape)

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane."""
        return open_page(self.path, 0, self.layout, n_bytes_behind=plane * plane_bytes(self.layout))


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
            n_planes = _planes_of_images(path, planes.stacked_axes)
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
        copies = format_count(planes.n_copies, "smaller copy")
        warnings.append(
            f"{path}: also holds {copies} of its planes, which {'is' if planes.n_copies == 1 else 'are'} left out"
        )
    if len(n_planes) > 1 and max(n_planes) > 1:
        warnings.append(
            f"{path}: holds {len(n_planes)} images by tifffile's metadata, which are read as one volume of "
            f"{sum(n_planes)} planes; if they are channels or time points, save each of them by itself"
        )
    volume = None if problems else TiffStack(agreed(layouts.values()), path, planes.offsets)
    return Inspection(volume, 1, n_bytes, tuple(problems), tuple(warnings))


def _contiguous_stack(tiff: tifffile.TiffFile, path: Path) -> ContiguousStack | None:
    """Return the volume that ImageJ's description and the size of the file agree on, where only one page is listed.

    The planes must end where the file does: bytes between them, or behind them, would belong to something else.
    """
    n_planes = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    directories = directory_offsets(tiff, path)
    if n_planes < 2 or len(directories) != 1:
        return None
    page, layout = check_page(tiff, 0)
    is_stored_as_it_is = has_plain_strips(page) and page.compression == COMPRESSION.NONE
    if not (is_stored_as_it_is and page.is_contiguous) or sum(page.databytecounts) != plane_bytes(layout):
        return None
    begin, n_bytes = page.dataoffsets[0], tiff.filehandle.size
    end = begin + n_planes * plane_bytes(layout)
    if end > n_bytes:
        raise SourceError(
            f"{path}: ImageJ metadata promises {n_planes} images, which need {end} bytes, and the file has {n_bytes}; "
            "if it was cut off, copy the original again; if it is one image of a stack, save it again from Fiji"
        )
    if end < n_bytes or directories[0] > begin:
        return None
    # strips are copied from where directories say that they are, and there is but one
    return ContiguousStack(replace(layout, encoding=None), path, n_planes)


def _refuse_other_axes(tiff: tifffile.TiffFile, n_pages: int) -> None:
    """Refuse several channels, time points or images, and planes that are in other files, by the metadata."""
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
            f"{path}: its OME-XML names {sizes['planes']} planes and {n_pages} are in it; "
            "give the whole image in one file, or as a folder of slices"
        )
    if order is not None:
        raise SourceError(
            f"{path}: pages are not in the order of planes ({order}); save it again as a plain TIFF stack"
        )


def _planes_of_images(path: Path, stacked: Sequence[StackedAxes]) -> list[int]:
    """Return the number of planes of each image that tifffile wrote; `stacked` has the axes that each plane begins.

    A file to which planes were appended one by one has as many images. Raises SourceError if one is not a volume.
    """
    n_planes, n_all = [], 0
    while n_all < len(stacked):
        axes = stacked[n_all]
        if len(axes) > 1 or any(letter in _NOT_PLANES for letter, _ in axes):
            what = " x ".join(f"{n} {_NOT_PLANES.get(letter, 'planes')}" for letter, n in axes)
            raise SourceError(
                f"{path}: holds {what} by tifffile's metadata, not one volume; save each volume by itself, "
                f"{saved_in_python('tifffile.imread(OLD)[0]')}, or, if all are planes of one volume, with axes ZYX"
            )
        n_planes.append(math.prod(n for _, n in axes))
        n_all += n_planes[-1]
    if n_all > len(stacked):
        raise SourceError(
            f"{path}: tifffile's metadata promises {n_all} planes and {len(stacked)} are in it; "
            "if it was cut off, copy the original again"
        )
    return n_planes


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


def misplaced(document: ElementTree.Element, pixels: ElementTree.Element, n_planes: int) -> str | None:
    """Describe why page n is not plane n, by TiffData in OME-XML of any version; None if it is.

    `pixels` are those of one channel and one time point. Without TiffData, pages are in the order of the file.
    """
    expected, n_blocks, files = 0, 0, {document.get("UUID")} - {None}
    for block in pixels:
        if not block.tag.endswith("}TiffData"):
            continue
        n_blocks += 1
        files |= {element.text for element in block if element.tag.endswith("}UUID")}
        if len(files) > 1:
            return "planes are in several files (TiffData with UUID)"
        if (block.get("FirstC", "0"), block.get("FirstT", "0")) != ("0", "0"):
            return "TiffData names a second channel or time point"
        try:
            ifd, z = int(block.get("IFD", "0")), int(block.get("FirstZ", "0"))
            # as the schema has it: one plane if the IFD is given, else all; it was NumPlanes before 2008
            count = int(block.get("PlaneCount", block.get("NumPlanes", "1" if "IFD" in block.attrib else n_planes)))
        except ValueError as failure:
            return f"TiffData has a value that is not a valid number ({failure})"
        if ifd != z:
            return f"TiffData puts page {ifd + 1} at {format_planes([z])}"
        if z != expected or count < 0:
            return _EACH_ONCE.format(n_planes)
        expected += count
    return _EACH_ONCE.format(n_planes) if n_blocks and expected != n_planes else None
