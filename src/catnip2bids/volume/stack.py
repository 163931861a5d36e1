"""A volume as one multi-page TIFF file, classic or BigTIFF.

Invariant: a stack is a volume only if all its pages have one shape and dtype; none is ever dropped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from catnip2bids.errors import SourceError
from catnip2bids.volume.census import Census, size_on_disk
from catnip2bids.volume.encoding import EncodedPlane
from catnip2bids.volume.ome_planes import misplaced
from catnip2bids.volume.planes import OpenPlane
from catnip2bids.volume.tiff import (
    agreed,
    check_page,
    open_page,
    read_encoded,
)
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_planes import TiffPlanes
from catnip2bids.volume.volume import PlaneSource
from catnip2bids.wording import counted, listed


@dataclass(frozen=True)
class TiffStack(TiffPlanes):
    """A volume stored as the pages of one TIFF file.

    Attributes
    ----------
    path
        The file.
    page_offsets
        Where the directory of each page is in it.
    """

    path: Path
    page_offsets: tuple[int, ...]

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


def census_stack(path: Path) -> Census:
    """Take the census of one multi-page TIFF file: every page's tags are looked at, nothing is decoded."""
    n_bytes = size_on_disk(path)
    try:
        with open_tiff(path) as tiff:
            offsets = page_offsets(tiff)
            _refuse_other_axes(tiff, len(offsets))
            layouts = [check_page(tiff, index, offset) for index, offset in enumerate(offsets)]
    except SourceError as error:
        return Census(None, 1, n_bytes, (str(error),))
    usual = Counter(layouts).most_common(1)[0][0]
    odd = [str(index + 1) for index, layout in enumerate(layouts) if layout != usual]
    if odd:
        others = f"{counted(len(odd), 'page')} other than {usual}: {listed(odd)}"
        problem = f"{path}: has {others}; replace the file by the original"
        return Census(None, 1, n_bytes, (problem,))
    return Census(TiffStack(agreed(layouts), path, offsets), 1, n_bytes)


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
        raise SourceError(f"{path}: holds {' and '.join(several)}, not one volume; save each of them by itself")
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
    """Read from OME-XML, of any version, how many planes there are of what, and what is wrong with their order."""
    try:
        document = ElementTree.fromstring(xml)
        pixels = [element for element in document.iter() if element.tag.endswith("}Pixels")]
        (first, *_) = pixels
        sizes = {axis: int(first.get(f"Size{axis}", "")) for axis in "ZCT"}
    except (ElementTree.ParseError, ValueError) as error:
        raise SourceError(f"{path}: its OME-XML is damaged ({error}); save it again as a plain TIFF stack") from error
    counts = {"channels": sizes["C"], "time points": sizes["T"], "images": len(pixels), "planes": sizes["Z"]}
    return counts, misplaced(document, first, sizes["Z"])
