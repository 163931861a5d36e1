"""Originals that were left out, since images have their pixels, are compared with what would be restored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tifffile

from catnip2bids import Verification, package, verify
from catnip2bids.verification.result import ProblemKind
from runs import rewrite_slice, settings, slices_of, write_l2

MASKED, HEATMAPS = "atlaslabel_def_origspace_masked", "heatmaps_atlasspace_corrected"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = write_l2(tmp_path / "source")
    shutil.rmtree(run / HEATMAPS, ignore_errors=True)
    shutil.copytree(run / "heatmaps_atlasspace", run / HEATMAPS)
    (run / "linked").symlink_to("hemispheremask_origspace")
    assert package([tmp_path / "source"], tmp_path / "out", settings()).ok
    return run


def problems(found: Verification) -> list[tuple[str, str, tuple[int, ...], ProblemKind]]:
    return [
        (image.image.split("desc-")[-1], problem.what, problem.planes, problem.kind)
        for image in found.images
        for problem in image.problems
    ]


@pytest.mark.usefixtures("run")
def test_unchanged_originals_are_no_problem(tmp_path: Path) -> None:
    found = verify(tmp_path / "out", tmp_path / "source")
    assert found.ok
    assert found.sources_read


def test_changed_pixels_of_a_masked_volume_are_found(run: Path, tmp_path: Path) -> None:
    file = slices_of(run / MASKED)[4]
    pixels = tifffile.imread(file)
    pixels[0, 0] += 1
    rewrite_slice(file, pixels)
    ((image, what, planes, kind),) = problems(verify(tmp_path / "out", tmp_path / "source"))
    assert image.startswith("atlas_")
    assert what.startswith(f"{MASKED}, ")
    assert (planes, kind) == ((4,), ProblemKind.CHANGED)
    assert verify(tmp_path / "out").ok


def test_changed_pixels_of_a_copy_are_found(run: Path, tmp_path: Path) -> None:
    file = next((run / HEATMAPS).glob("*.tif"))
    pixels = tifffile.imread(file)
    pixels[2, 0, 0] += 1
    tifffile.imwrite(file, pixels, metadata=None, photometric="minisblack")
    ((image, what, planes, kind),) = problems(verify(tmp_path / "out", tmp_path / "source"))
    assert image.startswith("heatmap")
    assert what.startswith(f"{HEATMAPS}/{file.name}, ")
    assert (planes, kind) == ((2,), ProblemKind.CHANGED)


def test_a_shorter_volume_is_found(run: Path, tmp_path: Path) -> None:
    slices_of(run / MASKED)[-1].unlink()
    ((_, what, _, _),) = problems(verify(tmp_path / "out", tmp_path / "source"))
    assert what.startswith(f"{MASKED}, ")
    assert "x 11 voxels" in what


def test_a_volume_that_is_gone_or_damaged_was_not_compared(run: Path, tmp_path: Path) -> None:
    file = slices_of(run / MASKED)[4]
    content = file.read_bytes()
    file.write_bytes(content[:-1000])
    ((_, what, _, kind),) = problems(verify(tmp_path / "out", tmp_path / "source"))
    assert what.startswith(f"{MASKED}, ")
    assert kind == ProblemKind.NOT_READ
    shutil.rmtree(run / MASKED)
    ((_, what, _, kind),) = problems(verify(tmp_path / "out", tmp_path / "source"))
    assert "not in the sources" in what
    assert kind == ProblemKind.NOT_READ


def test_a_link_that_became_a_folder_is_found(run: Path, tmp_path: Path) -> None:
    (run / "linked").unlink()
    shutil.copytree(run / "hemispheremask_origspace", run / "linked")
    (problem,) = verify(tmp_path / "out", tmp_path / "source").file_problems
    assert "linked was a link to hemispheremask_origspace, and is not any more" in problem.what
