"""What packaging takes, estimated before it is done: figures against those of the dataset that is made then."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from catnip2bids.engine import Resources
from catnip2bids.enums import Format, OmeZarrVersion
from catnip2bids.packaging import Estimate, Settings, expected_result, package, run_preflight
from catnip2bids.progress import Progress
from in_process import called
from runs import KO, Collector, files_of, images_of, settings, slices_of, write_l0

SHAPE = (24, 160, 144)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, KO, shape=SHAPE)
    return folder


def expected_of(
    cohort: Path, dataset: Path, choices: Settings, progress: Progress | None = None, memory_bytes: int = 2**30
) -> Estimate | None:
    progress = progress or Progress()
    prepared = run_preflight([cohort], dataset, choices, None, Resources(2, memory_bytes), progress)
    return expected_result(prepared, progress).estimate


def estimated(cohort: Path, dataset: Path, choices: Settings) -> Estimate:
    found = expected_of(cohort, dataset, choices)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "choices",
    [
        settings(),
        *(
            pytest.param(choices, marks=pytest.mark.slow)
            for choices in (
                settings(ome_zarr_version=OmeZarrVersion.V04),
                settings(image_format=Format.OME_TIFF),
                settings(image_format=Format.OME_TIFF, pyramid=True),
            )
        ),
    ],
)
def test_it_is_near_to_what_comes_out(tmp_path: Path, cohort: Path, choices: Settings) -> None:
    expected = estimated(cohort, tmp_path / "dataset", choices)
    assert not (tmp_path / "dataset").exists()
    package([cohort], tmp_path / "dataset", choices)
    images = [tmp_path / "dataset" / image for image in images_of(tmp_path / "dataset")]
    n_files = sum(len(files_of(image)) for image in images)
    n_bytes = sum(path.stat().st_size for image in images for path in [image, *image.rglob("*")] if path.is_file())
    # shards of nothing but zeros are not stored
    assert n_files <= expected.n_files <= 2 * n_files
    assert n_bytes / 4 < expected.n_bytes_written < 4 * n_bytes
    n_voxels = math.prod(SHAPE)
    assert expected.n_bytes_read > n_voxels * (2 + 4 + 2 + 1)  # N4, FRST, atlas, cells, and more
    assert expected.n_units == len(images)  # small ones are one unit each
    assert expected.bytes_per_second > 0
    assert list(expected.seconds) == [1, 8, 64]
    assert expected.seconds[1] == pytest.approx(expected.n_bytes_read / expected.bytes_per_second)
    assert expected.seconds[1] > expected.seconds[8] >= expected.seconds[64] > 0


def test_copies_take_space_too(tmp_path: Path, cohort: Path) -> None:
    folder = tmp_path / "cohort"
    shutil.copytree(cohort, folder)
    before = estimated(folder, tmp_path / "dataset", settings())
    cell_list = folder / KO / "640_FRST_seg/cellvolumes/FRSTseg_00010000_cellpixelIDlist.mat"
    cell_list.parent.mkdir()
    cell_list.touch()
    os.truncate(cell_list, 2**30)
    after = estimated(folder, tmp_path / "dataset", settings())
    assert after.n_files == before.n_files + 1
    assert after.n_bytes_written - before.n_bytes_written == pytest.approx(2**30, rel=0.1)


@pytest.mark.slow
def test_images_that_are_there_cost_nothing(tmp_path: Path, cohort: Path) -> None:
    whole = estimated(cohort, tmp_path / "dataset", settings())
    package([cohort], tmp_path / "dataset", settings())
    assert expected_of(cohort, tmp_path / "dataset", settings()) is None
    again = estimated(cohort, tmp_path / "dataset", settings(overwrite=True))
    assert (again.n_bytes_read, again.n_files) == (whole.n_bytes_read, whole.n_files)
    sorted((tmp_path / "dataset").rglob("*.ome.zarr"))[0].rename(tmp_path / "elsewhere")
    one = estimated(cohort, tmp_path / "dataset", settings())
    assert 0 < one.n_bytes_read < whole.n_bytes_read
    assert one.n_units == 1


def damaged_in(folder: Path, n_slices: int, of: Path) -> Path:
    """Copy a cohort, and spoil the first slices of each folder of it."""
    shutil.copytree(of, folder)
    for place in [path for path in (folder / KO).iterdir() if path.is_dir()]:
        for damaged in slices_of(place)[:n_slices]:
            content = bytearray(damaged.read_bytes())
            content[200:400] = bytes(200)
            damaged.write_bytes(content)
    return folder


def test_a_sample_that_is_damaged_is_named(tmp_path: Path, cohort: Path) -> None:
    told = Collector()
    folder = damaged_in(tmp_path / "cohort", SHAPE[0], cohort)
    assert expected_of(folder, tmp_path / "dataset", settings(), told) is None
    assert [".tif" in text for text in told.warnings if "no estimate" in text] == [True]


def test_the_sample_is_from_the_middle(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.packaging.estimate_size._SAMPLE_BYTES", 4 * math.prod(SHAPE[1:]) * 4)
    folder = damaged_in(tmp_path / "cohort", SHAPE[0] // 4, cohort)
    assert estimated(folder, tmp_path / "dataset", settings()).bytes_per_second > 0


def test_with_too_little_memory_it_is_said_why_there_is_none(tmp_path: Path, cohort: Path) -> None:
    told = Collector()
    assert expected_of(cohort, tmp_path / "dataset", settings(), told, 132 * 2**20) is None  # enough to compare labels
    assert [text for text in told.warnings if "no estimate" in text and "--memory" in text]


def test_the_sample_leaves_nothing(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    estimated(cohort, tmp_path / "dataset", settings())
    assert list(tmp_path.iterdir()) == []


def test_images_are_listed_in_the_order_of_their_entries(tmp_path: Path, cohort: Path) -> None:
    prepared = run_preflight([cohort], tmp_path / "dataset", settings(), None, Resources(2, 2**30), Progress())
    expected = expected_result(prepared, Progress())
    assert expected.made == tuple(task.target for run in prepared.runs for task in run.images)


def test_a_dry_run_says_it_and_calls_it_an_estimate(tmp_path: Path, cohort: Path) -> None:
    done = called("package", cohort, "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5, "--dry-run")
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("estimate: ")]
    assert len(lines) == 3
    assert re.match(r"estimate: 1 worker \d+ seconds?, ", lines[2])
    assert list(tmp_path.iterdir()) == []
