"""What pixel values mean: a mixture is a problem, a meaning that gets lost is a warning, and values stay as stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import catnip2bids
from catnip2bids.volume import Inspection, inspect_volume
from catnip2bids.volume.pixel_meaning import PixelMeaning, compare_meanings
from made_up import Array, found, read_all, some_image, the_problem

VOXEL_UM = (3.7, 3.7, 5.0)
PLANES = some_image((5, 8, 9), "uint8")
COLORS = np.random.default_rng(0).integers(0, 2**16, (3, 256), "uint16")
SIGNED = "ImageJ=1.54f\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"
GDAL = '<GDALMetadata><Item name="OFFSET" sample="0" role="offset">100</Item>{}</GDALMetadata>'
SCALE = '<Item name="SCALE" sample="0" role="scale">0.5</Item>'

UNUSUAL: dict[str, dict[str, Any]] = {
    "white": {"photometric": "miniswhite"},
    "palette": {"photometric": "palette", "colormap": COLORS},
    "signed": {"photometric": "minisblack", "description": SIGNED},
    "gdal": {"photometric": "minisblack", "extratags": [(42112, 2, 0, GDAL.format(SCALE), True)]},
    "turned": {"photometric": "minisblack", "extratags": [(274, 3, 1, 3, True)]},
}
USUAL: dict[str, Any] = {"photometric": "minisblack"}
ONLY_WARNINGS = {"turned"}


def write_mixed(folder: Path, unusual: Mapping[str, Any], odd: set[int], planes: Array = PLANES) -> Path:
    """Write slices of which some, counted from 1, have unusual tags."""
    folder.mkdir(parents=True)
    for number, plane in enumerate(planes, start=1):
        tags = unusual if number in odd else USUAL
        tifffile.imwrite(folder / f"Z{number:04d}.tif", plane, metadata=None, **tags)
    return folder


def write_mixed_stack(path: Path, unusual: Mapping[str, Any], odd: set[int]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for number, plane in enumerate(PLANES, start=1):
            writer.write(plane, metadata=None, contiguous=False, **(unusual if number in odd else USUAL))
    return path


def findings(inspection: Inspection) -> tuple[str, ...]:
    return inspection.problems + inspection.warnings


@pytest.mark.parametrize("kind", UNUSUAL)
def test_slices_that_mean_something_else_are_named(tmp_path: Path, kind: str) -> None:
    inspection = inspect_volume(write_mixed(tmp_path / "slices", UNUSUAL[kind], {2, 4}))
    assert (inspection.volume is None) == (kind not in ONLY_WARNINGS)
    (said,) = findings(inspection)
    assert said.startswith(f"{tmp_path / 'slices'}: 2 slices have ")
    assert "Z0002.tif, Z0004.tif;" in said
    assert "Z0001.tif" not in said


@pytest.mark.parametrize("kind", UNUSUAL)
def test_pages_that_mean_something_else_are_named(tmp_path: Path, kind: str) -> None:
    inspection = inspect_volume(write_mixed_stack(tmp_path / "stack.tif", UNUSUAL[kind], {4}))
    assert (inspection.volume is None) == (kind not in ONLY_WARNINGS)
    (said,) = findings(inspection)
    assert said.startswith(f"{tmp_path / 'stack.tif'}: 1 page has ")
    assert ": 4;" in said


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("is_stack", [False, True])
def test_a_meaning_that_all_share_is_a_warning_and_values_stay(tmp_path: Path, kind: str, is_stack: bool) -> None:
    everywhere = {1, 2, 3, 4, 5}
    if is_stack:
        inspection = inspect_volume(write_mixed_stack(tmp_path / "stack.tif", UNUSUAL[kind], everywhere))
    else:
        inspection = inspect_volume(write_mixed(tmp_path / "slices", UNUSUAL[kind], everywhere))
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert len(inspection.warnings) == 1


def test_usual_slices_have_nothing_to_be_said_of(tmp_path: Path) -> None:
    assert findings(inspect_volume(write_mixed(tmp_path / "slices", {}, set()))) == ()


def test_palettes_that_differ_are_a_mixture(tmp_path: Path) -> None:
    folder = write_mixed(tmp_path / "slices", UNUSUAL["palette"], {1, 2, 3, 4, 5})
    other = UNUSUAL["palette"] | {"colormap": COLORS[:, ::-1]}
    tifffile.imwrite(folder / "Z0003.tif", PLANES[2], metadata=None, **other)
    assert "Z0003.tif" in the_problem(inspect_volume(folder))


def test_the_description_of_an_imagej_stack_counts_for_all_its_pages(tmp_path: Path) -> None:
    path = write_mixed_stack(tmp_path / "stack.tif", UNUSUAL["signed"], {1})
    inspection = inspect_volume(path)
    np.testing.assert_array_equal(read_all(found(inspection)), PLANES)
    assert "(value = -32768 + 1 * stored)" in inspection.warnings[0]


@pytest.mark.parametrize(
    ("description", "function"),
    [
        ("cf=0\nc0=0.0\nc1=1.0\n", None),
        ("cf=20\nc0=5\n", None),
        ("cf=0\n", None),
        ("", None),
        ("cf=0\nc0=-1\nc1=0.25\n", "(value = -1 + 0.25 * stored)"),
        ("c0=7\nc1=1\n", "(value = 7 + 1 * stored)"),
        ("cf=1\nc0=1\nc1=0\nc2=2e0\n", "(value = 1 + 2 * stored^2)"),
        ("cf=4\nc0=1\nc1=2\n", "(ImageJ's function 4 of 1, 2, 0, 0, 0)"),
        ("cf=21\n", "ImageJ's function 21"),
        ("cf=0\nc0=x\nc1=1\n", "value = x"),
    ],
)
def test_the_function_of_imagej_is_told(tmp_path: Path, description: str, function: str | None) -> None:
    tags = USUAL | {"description": "ImageJ=1.54f\n" + description}
    inspection = inspect_volume(write_mixed(tmp_path / "slices", tags, {1, 2, 3, 4, 5}))
    assert (function is None) == (inspection.warnings == ())
    assert function is None or function in inspection.warnings[0]


def test_calibrations_that_differ_in_their_notation_alone_are_one(tmp_path: Path) -> None:
    folder = write_mixed(tmp_path / "slices", UNUSUAL["signed"], {1, 2, 3, 4, 5})
    tags = USUAL | {"description": "ImageJ=1.53\ncf=0\nc0=-3.2768E4\nc1=1\n"}
    tifffile.imwrite(folder / "Z0002.tif", PLANES[1], metadata=None, **tags)
    found(inspect_volume(folder))


def test_the_most_frequent_meaning_is_the_usual_one() -> None:
    meanings = {"a": PixelMeaning("0 as white"), "b": PixelMeaning("0 as white"), "c": PixelMeaning()}
    problems, warnings = compare_meanings("here", "slice", meanings)
    assert [problem.split(";")[:2] for problem in problems] == [
        ["here: 1 slice has 0 as black: c", " others have 0 as white"]
    ]
    assert warnings == []


def test_two_thousand_odd_slices_are_a_short_message() -> None:
    meanings = {
        f"Z{number:06d}.tif": PixelMeaning("0 as white" if number % 2 else "0 as black") for number in range(4000)
    }
    (problem,), _ = compare_meanings("here", "slice", meanings)
    assert len(problem) < 500


@pytest.mark.parametrize("kind", ["white", "palette"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_all_readers_find_stored_values_in_an_ome_tiff(tmp_path: Path, kind: str, compression: str | None) -> None:
    """Pillow turns MinIsWhite round, so the same pixels under another tag would be others for it."""
    folder = write_mixed(tmp_path / "slices", UNUSUAL[kind] | {"compression": compression}, {1, 2, 3, 4, 5})
    made = catnip2bids.convert(folder, tmp_path / "image.ome.tif", VOXEL_UM)
    np.testing.assert_array_equal(tifffile.imread(made.path), PLANES)
    with Image.open(made.path) as image:
        for number, plane in enumerate(PLANES):
            image.seek(number)
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), plane)


def test_pixels_with_the_predictor_of_floats_are_encoded_anew(tmp_path: Path) -> None:
    """Bio-Formats does not know it."""
    planes = some_image((3, 8, 9), "float32")
    tags = USUAL | {"compression": "zlib", "predictor": 3}
    folder = write_mixed(tmp_path / "slices", tags, {1, 2, 3}, planes)
    made = catnip2bids.convert(folder, tmp_path / "image.ome.btf", VOXEL_UM)
    with tifffile.TiffFile(made.path) as tiff:
        assert {page.aspage().predictor for page in tiff.pages} == {1}
        np.testing.assert_array_equal(tiff.asarray(), planes)
