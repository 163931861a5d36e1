"""What packaging takes, estimated before it is done: figures against those of the dataset that is made then."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.choices import Format, OmeZarrVersion
from catnip2bids.engine import Resources
from catnip2bids.packaging import Estimate, Settings, estimate, package, prepare
from catnip2bids.packaging.estimating import makespan
from catnip2bids.progress import Progress
from runs import KO, command, files_of, images_of, settings, write_l0

SHAPE = (24, 160, 144)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, KO, shape=SHAPE)
    return folder


def estimated(cohort: Path, dataset: Path, choices: Settings) -> Estimate:
    prepared = prepare([cohort], dataset, choices, None, Resources(2, 2**30), Progress())
    found = estimate([task for run in prepared.runs for task in run.images], choices)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "choices",
    [
        settings(),
        settings(ome_zarr_version=OmeZarrVersion.V04),
        settings(image_format=Format.OME_TIFF),
        settings(image_format=Format.OME_TIFF, pyramid=True),
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


def test_without_images_there_is_nothing_to_estimate() -> None:
    assert estimate([], settings()) is None


def test_the_sample_leaves_nothing(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    estimated(cohort, tmp_path / "dataset", settings())
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(1, 50))
def test_work_takes_no_less_than_its_share_and_no_less_than_its_longest_part(units: list[float], n: int) -> None:
    total, longest = sum(units), max(units)
    found = makespan(units, n)
    assert max(total / n, longest) <= found * (1 + 1e-9)
    assert found <= (total / n + longest) * (1 + 1e-9)
    assert makespan(units, 1) == pytest.approx(total)


def test_a_dry_run_says_it_and_calls_it_an_estimate(tmp_path: Path, cohort: Path) -> None:
    done = command("package", cohort, "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5, "--dry-run")
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("estimate: ")]
    assert len(lines) == 3
    assert "if the file system keeps up: 1 0:00:" in lines[2]
    assert list(tmp_path.iterdir()) == []
