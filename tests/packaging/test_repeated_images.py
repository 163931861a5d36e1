"""One brain under two names is a warning, since it would count as two animals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from catnip2bids import Format, package
from catnip2bids.packaging.removal import remove_animal
from catnip2bids.validation.cross_checks import cross_check
from catnip2bids.validation.tree import read_tree
from runs import KO_NAME, change_slices, mentions, rewrite_slice, settings, slices_of, write_l0

SAME = "has the same pixels in every plane"


def packaged(folder: Path, image_format: Format = Format.OME_ZARR) -> tuple[str, ...]:
    result = package([folder / "source"], folder / "out", settings(image_format=image_format))
    assert result.ok
    return result.warnings


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in `tmp_path / "source"`, with the components that decide its name and raw image."""
    return write_l0(tmp_path / "source", KO_NAME, only=("640_N4",))


@pytest.mark.parametrize("image_format", list(Format))
@pytest.mark.parametrize(("old", "new"), [("45670", "45760"), ("_LH_", "_RH_")])
def test_a_run_that_was_renamed_is_found_each_time(
    tmp_path: Path, run: Path, old: str, new: str, image_format: Format
) -> None:
    assert not mentions(packaged(tmp_path, image_format), SAME)
    renamed = run.rename(run.with_name(run.name.replace(old, new)))
    for _ in range(2):
        warnings = packaged(tmp_path, image_format)
        assert mentions(warnings, SAME, run.name, renamed.name, "--remove")
        assert len([text for text in warnings if SAME in text]) == 1
    assert [found.code for found in cross_check(read_tree(tmp_path / "out"))] == ["RAW_IMAGE_REPEATED"]


def test_a_copy_of_a_run_is_found_and_can_be_taken_out(tmp_path: Path, run: Path) -> None:
    copy = shutil.copytree(run, run.with_name(run.name.replace("_ko_", "_ko_rescan_")))
    assert mentions(packaged(tmp_path), SAME, run.name, copy.name)
    shutil.rmtree(copy)
    remove_animal(tmp_path / "out", "45670korescan", report=False)
    assert not mentions(packaged(tmp_path), SAME)


def test_brains_that_differ_in_one_voxel_are_not_the_same(tmp_path: Path, run: Path) -> None:
    other = Path(shutil.copytree(run, run.with_name(run.name.replace("45670", "45760"))))
    path = slices_of(other / "640_N4")[3]
    plane = tifffile.imread(path)
    plane[-1, -1] += 1
    rewrite_slice(path, plane)
    assert not mentions(packaged(tmp_path), SAME)


def test_images_of_one_value_are_not_the_same_brain(tmp_path: Path, run: Path) -> None:
    change_slices(run / "640_N4", np.zeros_like)
    shutil.copytree(run, run.with_name(run.name.replace("45670", "45760")))
    assert not mentions(packaged(tmp_path), SAME)
