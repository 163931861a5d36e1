"""Smaller copies in TIFF files are left out, and nothing but these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from catnip2bids.comparison import compare
from catnip2bids.errors import SourceError
from catnip2bids.volume import inspect_volume, plane_pages
from catnip2bids.volume.tiff_pages import PageSize, reduced_pages
from made_up import Array, found, read_all, some_image, the_problem

PLANES = some_image((4, 32, 24))
FULL, SMALL, TINY = PageSize(32, 24), PageSize(16, 12, marked=True), PageSize(8, 6, marked=True)


@pytest.mark.parametrize(
    ("sizes", "reduced"),
    [
        ([FULL], set()),
        ([FULL, FULL], set()),
        ([FULL, SMALL, FULL, SMALL], {1, 3}),
        ([SMALL, FULL], {0}),
        ([FULL, SMALL, TINY], {1, 2}),
        ([SMALL, SMALL], set()),  # of what, is not in the file
        ([FULL, PageSize(16, 12)], set()),
        ([FULL, PageSize(32, 24, marked=True)], set()),
        ([FULL, PageSize(64, 6, marked=True)], set()),
        ([FULL, PageSize(10, 10), SMALL], set()),
        ([], set()),
    ],
)
def test_reduced_pages_are_marked_and_smaller(sizes: Sequence[PageSize], reduced: set[int]) -> None:
    assert reduced_pages(sizes) == reduced


def write_pyramids(path: Path, planes: Array, *, subifds: bool, first: bool = False, marked: int = 1) -> Path:
    """Write planes, each with a smaller copy: as a SubIFD, or as a page behind or before it."""
    path.parent.mkdir(exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for plane in planes:
            pages = [(plane, 0), (plane[::2, ::2], marked)]
            for pixels, kind in reversed(pages) if first else pages:
                n_below = 1 if subifds and kind == 0 else 0
                writer.write(
                    pixels, subifds=n_below, subfiletype=kind, photometric="minisblack", metadata=None, contiguous=False
                )
    return path


@pytest.mark.parametrize(("subifds", "first"), [(True, False), (False, False), (False, True)])
def test_copies_in_a_stack_are_left_out(tmp_path: Path, subifds: bool, first: bool) -> None:
    path = write_pyramids(tmp_path / "stack.tif", PLANES, subifds=subifds, first=first)
    inspection = inspect_volume(path)
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert inspection.warnings == (f"{path}: 4 smaller copies of its planes, not converted",)


@pytest.mark.parametrize("subifds", [True, False])
def test_copies_in_slices_are_left_out(tmp_path: Path, subifds: bool) -> None:
    for number, plane in enumerate(PLANES, start=1):
        write_pyramids(tmp_path / "slices" / f"Z{number}.TIF", plane[np.newaxis], subifds=subifds)
    inspection = inspect_volume(tmp_path / "slices")
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    (warning,) = inspection.warnings
    assert "4 slices (Z1.TIF, Z2.TIF, Z3.TIF, Z4.TIF)" in warning


def test_a_slice_behind_its_copy_is_a_problem(tmp_path: Path) -> None:
    path = write_pyramids(tmp_path / "slices/Z1.tif", PLANES[:1], subifds=False, first=True)
    assert "Z1.tif: has its slice in page 2; " in the_problem(inspect_volume(path.parent))
    tifffile.imwrite(path, tifffile.imread(path, key=1), photometric="minisblack")
    np.testing.assert_array_equal(read_all(found(inspect_volume(path.parent))), PLANES[:1])


@pytest.mark.parametrize("kind", [0, 2])
def test_a_smaller_page_that_is_not_marked_is_a_problem(tmp_path: Path, kind: int) -> None:
    path = write_pyramids(tmp_path / "slices/Z1.tif", PLANES[:1], subifds=False, marked=kind)
    assert "has 2 pages, a slice has one; " in the_problem(inspect_volume(path.parent))
    assert "1 page other than" in the_problem(inspect_volume(path))


@pytest.mark.parametrize("shape", [(32, 24), (64, 48)])
def test_an_image_in_a_subifd_that_is_not_smaller_is_a_problem(tmp_path: Path, shape: tuple[int, int]) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        writer.write(PLANES[0], subifds=1, photometric="minisblack", metadata=None)
        writer.write(np.zeros(shape, "uint16"), photometric="minisblack", metadata=None)
    said = f"stack.tif: has another image of {shape[1]} x {shape[0]} in a SubIFD"
    assert said in the_problem(inspect_volume(tmp_path / "stack.tif"))


def test_a_page_that_is_marked_and_as_large_is_a_plane(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        for number, plane in enumerate(PLANES):
            writer.write(plane, subfiletype=int(number == 2), photometric="minisblack", metadata=None, contiguous=False)
    inspection = inspect_volume(tmp_path / "stack.tif")
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert "1 page has reduced resolution (NewSubfileType 1): 3;" in inspection.warnings[0]


def test_levels_of_an_ome_tiff_are_not_worth_a_warning(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.ome.tif", ome=True) as writer:
        writer.write(PLANES, subifds=1, photometric="minisblack", metadata={"axes": "ZYX"})
        writer.write(PLANES[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    inspection = inspect_volume(tmp_path / "stack.ome.tif")
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert inspection.warnings == ()


def test_a_comparison_leaves_copies_out_as_well(tmp_path: Path) -> None:
    one = write_pyramids(tmp_path / "1.tif", PLANES, subifds=False)
    tifffile.imwrite(tmp_path / "2.tif", PLANES, photometric="minisblack")
    assert plane_pages(one) == (0, 2, 4, 6)
    assert compare(one, tmp_path / "2.tif", tmp_path / "out").relation == "identical"


def test_pages_that_cannot_be_read_are_none_to_leave_out(tmp_path: Path) -> None:
    path = write_pyramids(tmp_path / "stack.tif", PLANES, subifds=False)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[2].aspage().tags["ImageWidth"].offset
    path.write_bytes(data[: at + 2] + b"\xff\xff" + data[at + 4 :])  # a type of values that does not exist
    assert plane_pages(path) == tuple(range(8))
    with pytest.raises(SourceError, match=r"gone\.tif"):
        plane_pages(tmp_path / "gone.tif")
