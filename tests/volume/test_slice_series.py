"""Slice folders: planes in the order of their numbers, and every reason not to trust a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from catnip2bids.errors import SourceError
from catnip2bids.volume import Inspection, PlaneSource, SliceSeries, Volume, inspect_slices, inspect_volume, read_planes
from made_up import (
    BITS,
    FLAVOURS,
    PHOTOMETRIC,
    SAMPLES,
    SHARED,
    Flavour,
    found,
    read_all,
    some_image,
    the_problem,
    tiff_bytes,
    write_slices,
    write_tiff,
)
from traced import peak_bytes

MIXED_PADDING = ("Z9.tif", "Z10.tif", "Z0011.tif", "Z00012.tif", "Z13.tif", "Z014.tif")


def inspection(folder: Path) -> Inspection:
    return inspect_slices(folder.iterdir())


def test_planes_come_in_the_order_of_their_numbers_whatever_the_padding(tmp_path: Path) -> None:
    image = some_image((6, 5, 4))
    files = write_slices(tmp_path, image, MIXED_PADDING)
    volume = found(inspection(tmp_path))
    np.testing.assert_array_equal(read_all(volume), image)
    assert volume.files == tuple(files)
    assert volume.shape == (6, 5, 4)
    assert [volume.plane_source(plane) for plane in (0, 2)] == [PlaneSource(files[0], 0), PlaneSource(files[2], 0)]
    assert isinstance(volume, SliceSeries)
    assert isinstance(volume, Volume)


@settings(max_examples=25, deadline=None)
@given(paddings=st.lists(st.integers(0, 6), min_size=1, max_size=12), first=st.integers(0, 99), data=st.data())
def test_any_padding_and_any_order_of_the_listing_gives_the_same_volume(
    tmp_path_factory: pytest.TempPathFactory, paddings: list[int], first: int, data: st.DataObject
) -> None:
    image = some_image((len(paddings), 3, 2))
    names = [f"Z{number:0{padding}d}.tif" for number, padding in enumerate(paddings, start=first)]
    files = write_slices(tmp_path_factory.mktemp("slices"), image, names)
    volume = found(inspect_slices(data.draw(st.permutations(files))))
    assert volume.files == tuple(files)
    np.testing.assert_array_equal(read_all(volume), image)


def test_segmentation_slices_are_numbered_by_z_and_not_by_the_threshold(tmp_path: Path) -> None:
    image = some_image((12, 5, 4), "uint8")
    write_slices(tmp_path, image, "Z{plane:06d}_FRST_T001000.tif")
    np.testing.assert_array_equal(read_all(found(inspection(tmp_path))), image)


def test_names_with_blanks_brackets_and_unicode_work(tmp_path: Path) -> None:
    image = some_image((3, 5, 4))
    write_slices(tmp_path / "Gehirn [ä] (1) %s", image, "mäuse {{1}} 50%_Z{plane}.tif")
    np.testing.assert_array_equal(read_all(found(inspection(tmp_path / "Gehirn [ä] (1) %s"))), image)


def test_slices_may_be_encoded_each_in_its_own_way(tmp_path: Path) -> None:
    image = some_image((len(FLAVOURS), 13, 11))
    for number, (flavour, plane) in enumerate(zip(FLAVOURS.values(), image, strict=True), start=1):
        write_tiff(tmp_path / f"Z{number}.tif", [plane], flavour)
    np.testing.assert_array_equal(read_all(found(inspection(tmp_path))), image)


def test_any_range_of_planes_can_be_read(tmp_path: Path) -> None:
    image = some_image((7, 5, 4), "float32")
    write_slices(tmp_path, image)
    volume, planes = found(inspection(tmp_path)), np.empty((3, 5, 4), "float32")
    read_planes(volume, 2, 5, planes)
    np.testing.assert_array_equal(planes, image[2:5])


def test_the_inspection_counts_files_and_bytes(tmp_path: Path) -> None:
    files = write_slices(tmp_path, some_image((4, 5, 4)))
    taken = inspection(tmp_path)
    assert (taken.n_files, taken.n_bytes) == (4, sum(len(file.read_bytes()) for file in files))
    assert taken.warnings == ()


def test_no_slices_are_no_volume() -> None:
    assert inspect_slices([]).volume is None


@pytest.mark.parametrize(("first", "n_warnings"), [(0, 0), (1, 0), (2, 1), (900, 1)])
def test_a_series_that_begins_late_is_a_warning(tmp_path: Path, first: int, n_warnings: int) -> None:
    write_slices(tmp_path, some_image((3, 5, 4)), [f"Z{number}.tif" for number in range(first, first + 3)])
    taken = inspection(tmp_path)
    assert taken.problems == ()
    assert len(taken.warnings) == n_warnings
    assert all(str(tmp_path) in warning and str(first) in warning for warning in taken.warnings)


def test_a_gap_is_a_problem_that_names_the_missing_numbers(tmp_path: Path) -> None:
    write_slices(tmp_path, some_image((4, 5, 4)), ["Z9.tif", "Z0010.tif", "Z13.tif", "Z15.tif"])
    problem = the_problem(inspection(tmp_path))
    assert str(tmp_path) in problem
    assert "3 slices missing" in problem
    assert "(11, 12, 14)" in problem


def test_a_date_for_a_slice_number_costs_no_memory(tmp_path: Path) -> None:
    write_slices(tmp_path, some_image((2, 5, 4)), ["Z1.tif", "Z20210810.tif"])
    assert peak_bytes(_find_gap, tmp_path) < 32 * 2**20


def _find_gap(folder: Path) -> None:
    assert "20,210,808 slices missing" in the_problem(inspection(folder))


@pytest.mark.parametrize("second", ["Z00990.tif", "Z990.tif", "z0990.TIF"])
def test_one_number_in_two_paddings_is_a_problem(tmp_path: Path, second: str) -> None:
    write_slices(tmp_path, some_image((3, 5, 4)), ["Z0989.tif", "Z0990.tif", second])
    problem = the_problem(inspection(tmp_path))
    assert "number 990" in problem
    assert "Z0990.tif" in problem
    assert second in problem


def test_a_constant_step_is_a_series_with_a_warning(tmp_path: Path) -> None:
    image = some_image((4, 5, 4))
    write_slices(tmp_path, image, [f"{number:06d}.tif" for number in (0, 40, 80, 120)])
    taken = inspection(tmp_path)
    np.testing.assert_array_equal(read_all(found(taken)), image)
    assert ["steps of 40" in warning for warning in taken.warnings] == [True]


def test_a_gap_in_steps_is_a_problem(tmp_path: Path) -> None:
    write_slices(tmp_path, some_image((4, 5, 4)), [f"{number:06d}.tif" for number in (0, 40, 80, 160)])
    assert "1 slice missing between number 0 and 160 (120)" in the_problem(inspection(tmp_path))


def test_files_that_a_pattern_does_not_match_are_left_out_with_a_warning(tmp_path: Path) -> None:
    image = some_image((3, 5, 4))
    write_slices(tmp_path, image, "C01_Z{plane}.tif")
    (tmp_path / "C02_Z1.tif").write_bytes(b"not a TIFF file")
    assert any("C02_Z1.tif is not named like" in problem for problem in inspection(tmp_path).problems)
    taken = inspect_slices(tmp_path.iterdir(), "C01_Z#.tif")
    np.testing.assert_array_equal(read_all(found(taken)), image)
    assert ["C02_Z1.tif" in warning for warning in taken.warnings] == [True]


@pytest.mark.parametrize(
    "odd",
    [some_image((1, 5, 5)), some_image((1, 4, 4)), some_image((1, 5, 4), "uint32"), some_image((1, 5, 4), "int16")],
)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_slice_of_another_shape_or_type_is_a_problem(tmp_path: Path, odd: np.ndarray, at: int) -> None:
    files = write_slices(tmp_path, some_image((5, 5, 4)))
    write_tiff(files[at], odd)
    problem = the_problem(inspection(tmp_path))
    assert str(files[at]) in problem
    assert "most slices of the folder are 4 x 5 uint16" in problem


def test_one_wide_slice_among_narrow_ones_is_never_cut(tmp_path: Path) -> None:
    files = write_slices(tmp_path, some_image((3, 5, 4)))
    write_tiff(files[1], np.full((1, 5, 4), 70000, "uint32"))
    assert "uint32" in the_problem(inspection(tmp_path))


DAMAGE: dict[str, bytes] = {
    "empty": b"",
    "text": b"This slice was deleted on purpose.\n",
    "zeros": bytes(4096),
    "two pages": tiff_bytes(some_image((2, 5, 4)), Flavour()),
    "no page": b"II*\0\0\0\0\0",
    "directory missing": tiff_bytes(some_image((1, 5, 4)), Flavour())[:48],
    "colour": tiff_bytes(some_image((1, 5, 4)), Flavour(), {SAMPLES: [2], BITS: [8, 8], PHOTOMETRIC: [1]}),
    "cut off": tiff_bytes(some_image((1, 5, 4)), Flavour(directory_first=True))[:-1],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_slice_is_a_problem_that_names_it(tmp_path: Path, damage: str) -> None:
    files = write_slices(tmp_path, some_image((5, 5, 4)))
    files[3].write_bytes(DAMAGE[damage])
    assert f"{files[3]}: " in the_problem(inspection(tmp_path))


def test_a_folder_in_place_of_a_slice_is_a_problem(tmp_path: Path) -> None:
    write_slices(tmp_path, some_image((2, 5, 4)))
    (tmp_path / "Z0003.tif").mkdir()
    assert f"{tmp_path / 'Z0003.tif'}: " in the_problem(inspection(tmp_path))


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path) -> None:
    write_slices(tmp_path, some_image((2, 5, 4)))
    (tmp_path / "Z0003.tif").symlink_to(tmp_path / "gone.tif")
    assert f"{tmp_path / 'Z0003.tif'}: " in the_problem(inspection(tmp_path))


def test_all_problems_of_a_folder_are_told_at_once(tmp_path: Path) -> None:
    files = write_slices(tmp_path, some_image((6, 5, 4)), ["Z1.tif", "Z2.tif", "Z02.tif", "Z4.tif", "Z5.tif", "Z6.tif"])
    files[4].write_bytes(b"")
    write_tiff(files[3], some_image((1, 9, 9)))
    taken = inspection(tmp_path)
    assert taken.volume is None
    told = "\n".join(taken.problems)
    assert len(taken.problems) == 4
    assert all(name in told for name in ("Z5.tif", "Z4.tif", "Z02.tif", "(3)"))


def test_a_slice_that_changed_after_the_inspection_is_an_error(tmp_path: Path) -> None:
    files = write_slices(tmp_path, some_image((3, 5, 4)))
    volume = found(inspection(tmp_path))
    write_tiff(files[1], some_image((1, 5, 3)))
    with pytest.raises(SourceError, match=r"Z0002\.tif"):
        read_all(volume)


def test_a_slice_that_went_away_after_the_inspection_is_an_error(tmp_path: Path) -> None:
    files = write_slices(tmp_path, some_image((3, 5, 4)))
    volume = found(inspection(tmp_path))
    files[1].unlink()
    with pytest.raises(SourceError, match=r"Z0002\.tif"):
        read_all(volume)


series = SHARED / "data/series/clearmap1_matlab"


@pytest.mark.skipif(not series.is_dir(), reason="the workshop's data is not here")
def test_slices_that_matlab_wrote_are_a_volume() -> None:
    files = sorted(series.glob("Data/Synthetic/test_iDISCO_*.tif"))
    volume = found(inspect_slices(files))
    assert len(files) == volume.shape[0] == 40
    assert read_all(volume).any(axis=(1, 2)).all()


def _write_kinds(folder: Path, kinds: list[int]) -> None:
    """Write slices with so many samples a pixel."""
    folder.mkdir()
    for number, n_samples in enumerate(kinds, start=1):
        pixels = np.zeros((2, 2, n_samples) if n_samples > 1 else (2, 2), "uint8")
        tifffile.imwrite(
            folder / f"Z{number:04d}.tif", pixels, photometric="minisblack", planarconfig="contig", metadata=None
        )


def test_the_same_problem_of_many_slices_is_said_once(tmp_path: Path) -> None:
    _write_kinds(tmp_path / "slices", [2] * 300 + [4] * 2 + [5])
    problems = inspect_volume(tmp_path / "slices").problems
    folder = tmp_path / "slices"
    assert [problem.partition(": has")[0] for problem in problems] == [
        f"{folder}: each of 300 slices (e.g. Z0001.tif, Z0002.tif, Z0003.tif)",
        f"{folder}: each of 2 slices (Z0301.tif, Z0302.tif)",
        f"{folder / 'Z0303.tif'}",
    ]


def test_many_problems_that_are_all_different_are_cut_short(tmp_path: Path) -> None:
    _write_kinds(tmp_path / "slices", list(range(2, 42)))
    problems = inspect_volume(tmp_path / "slices").problems
    assert len(problems) == 9
    assert problems[-1].startswith(f"{tmp_path / 'slices'}: each of 32 slices (e.g. Z0009.tif, Z0010.tif, Z0011.tif): ")


def test_many_odd_slices_are_said_once(tmp_path: Path) -> None:
    write_slices(tmp_path, some_image((9, 5, 4)))
    for number in range(2, 6):
        write_tiff(tmp_path / f"Z{number:04d}.tif", some_image((1, 5, 5)))
    problem = the_problem(inspect_volume(tmp_path))
    assert problem.startswith(f"{tmp_path}: each of 4 slices (e.g. Z0002.tif, Z0003.tif, Z0004.tif): is 5 x 5 uint16, ")


@pytest.mark.parametrize("reverse", [False, True])
def test_an_order_in_ome_xml_that_contradicts_the_names_is_a_problem(tmp_path: Path, reverse: bool) -> None:
    names = [f"s_{number}.ome.tif" for number in range(1, 5)]
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names[::-1] if reverse else names)
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="6" SizeY="5" SizeZ="4" SizeC="1" SizeT="1">'
        f"{blocks}</Pixels></Image></OME>"
    )
    for name, plane in zip(names, some_image((4, 5, 6)), strict=True):
        tifffile.imwrite(tmp_path / name, plane, description=xml, metadata=None)
    inspection = inspect_volume(tmp_path)
    if reverse:
        assert "another order than the numbers in the names" in the_problem(inspection)
    else:
        assert read_all(found(inspection)).tobytes() == some_image((4, 5, 6)).tobytes()
