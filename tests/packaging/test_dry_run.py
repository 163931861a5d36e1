"""The dry run of the API: it says what packaging does then, and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import catnip2bids
from catnip2bids import PackageResult
from runs import VOXEL_SIZE_UM, files_of, write_l0


def dry(cohort: Path, dataset: Path) -> PackageResult:
    return catnip2bids.package(cohort, dataset, voxel_size_um=VOXEL_SIZE_UM, report=False, dry_run=True)


def test_it_says_what_packaging_does_and_writes_nothing(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / "640_FRST/Z000005_FRST.tif").unlink()
    expected = dry(tmp_path / "cohort", tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
    assert expected.estimate is not None
    made = catnip2bids.package(tmp_path / "cohort", tmp_path / "dataset", voxel_size_um=VOXEL_SIZE_UM, report=False)
    assert (set(expected.made), expected.problems, expected.runs) == (set(made.made), made.problems, made.runs)
    assert set(expected.copied) == set(made.copied)
    assert (expected.ok, expected.kept, expected.removed) == (False, (), ())
    before = files_of(tmp_path / "dataset")
    again = dry(tmp_path / "cohort", tmp_path / "dataset")
    assert (again.made, set(again.kept), again.estimate) == ((), set(made.made), None)
    assert files_of(tmp_path / "dataset") == before


def test_keywords_win_over_settings(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort")
    settings = catnip2bids.Settings(voxel_size_um=VOXEL_SIZE_UM, report=False, stain="NeuN")
    same = replace(settings, stain="cFos")
    keyword = catnip2bids.package(tmp_path / "cohort", tmp_path / "a", settings, dry_run=True, stain="cFos")
    assert keyword.made == catnip2bids.package(tmp_path / "cohort", tmp_path / "a", same, dry_run=True).made
    assert all("_stain-cFos_" in target.name for target in keyword.made)


def test_a_single_image_with_nothing_to_compare_is_estimated(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort", only=("640_N4",))
    expected = dry(tmp_path / "cohort", tmp_path / "dataset")
    assert len(expected.made) == 1
    assert expected.estimate is not None
    assert expected.estimate.worker_bytes > 0
