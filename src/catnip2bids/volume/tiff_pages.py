"""The images of a TIFF file: planes, and smaller copies of them.

Invariant: an image is left out only if the file marks it as a copy of reduced resolution and it is smaller than every
plane, or if it is a SubIFD and smaller than its plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_shape
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_page import PageLayout, check_tags, page_at, subifds

_SUBFILE_TYPE, _REDUCED = 255, 2
"""TIFF 6.0 replaced the tag SubfileType by NewSubfileType, of which bit 0 says the same."""


@dataclass(frozen=True)
class PageSize:
    """Rows and columns of a page, and whether it is marked as a copy of reduced resolution."""

    n_rows: int
    n_columns: int
    marked: bool = False

    def is_smaller(self, other: PageSize) -> bool:
        """Tell whether there are fewer pixels than in another page, and no side is longer."""
        sides = (self.n_rows, self.n_columns), (other.n_rows, other.n_columns)
        return sides[0] != sides[1] and all(mine <= theirs for mine, theirs in zip(*sides, strict=True))


@dataclass(frozen=True)
class CheckedPlanes:
    """The planes of one file."""

    layouts: Mapping[int, PageLayout]  # by the index of the page
    offsets: tuple[int, ...]  # positions of their directories
    n_copies: int  # reduced copies in the file, without the levels of an OME-TIFF


def reduced_pages(sizes: Sequence[PageSize]) -> frozenset[int]:
    """Return the indices of the pages that are marked as reduced, and are smaller than all pages that are not."""
    planes = {size for size in sizes if not size.marked}
    return frozenset(
        index
        for index, size in enumerate(sizes)
        if size.marked and planes and all(size.is_smaller(plane) for plane in planes)
    )


def check_planes(tiff: tifffile.TiffFile) -> CheckedPlanes:
    """Check all pages of a file that are planes; decodes nothing.

    Raises
    ------
    SourceError
        As `check_page`, and for a SubIFD that is not smaller than its page.
    """
    offsets, sizes, layouts, n_copies = page_offsets(tiff), [], {}, 0
    for index, offset in enumerate(offsets):
        page, where = page_at(tiff, index, offset if index else None)
        sizes.append(_size(page))
        if not sizes[-1].marked:
            layouts[index] = check_tags(page, where)
            n_copies += _count_subifds(page, where)
    reduced = reduced_pages(sizes)
    for index in (index for index, size in enumerate(sizes) if size.marked and index not in reduced):
        page, where = page_at(tiff, index, offsets[index])
        layouts[index] = check_tags(page, where)
        n_copies += _count_subifds(page, where)
    planes = sorted(layouts)
    n_copies = len(reduced) + (0 if tiff.is_ome else n_copies)
    return CheckedPlanes({index: layouts[index] for index in planes}, tuple(offsets[i] for i in planes), n_copies)


def plane_pages(path: Path) -> tuple[int, ...]:
    """Return the indices of the pages of a TIFF file that are planes, without checking them.

    Raises
    ------
    SourceError
        If the file cannot be read, or its list of pages is damaged.
    """
    with open_tiff(path) as tiff:
        offsets = page_offsets(tiff)
    reduced: frozenset[int] = frozenset()
    if len(offsets) > 1:
        try:
            with open_tiff(path) as tiff:
                reduced = reduced_pages([_size(page_at(tiff, *place)[0]) for place in enumerate(offsets)])
        except SourceError:
            pass  # the damaged page is named when it is opened
    return tuple(index for index in range(len(offsets)) if index not in reduced)


def _size(page: tifffile.TiffPage) -> PageSize:
    marked = page.is_reduced or page.tags.valueof(_SUBFILE_TYPE) == _REDUCED
    return PageSize(page.imagelength, page.imagewidth, marked)


def _count_subifds(page: tifffile.TiffPage, where: str) -> int:
    """Count the SubIFDs of a page.

    Raises
    ------
    SourceError
        If one of them is not smaller than the page, or as `subifds` does.
    """
    size, tiff, offsets = _size(page), page.parent, subifds(page, where)
    for offset in offsets:
        tiff.filehandle.seek(offset)
        try:
            below = _size(tifffile.TiffPage(tiff, index=page.index))
        except tifffile.TiffFileError as error:
            raise SourceError(f"{where}has a damaged SubIFD ({error}); replace it by the original") from error
        if below.n_rows and not below.is_smaller(size):
            raise SourceError(
                f"{where}has another image of {format_shape((below.n_rows, below.n_columns))} in a SubIFD; "
                "save each image by itself, for instance from Fiji"
            )
    return len(offsets)
