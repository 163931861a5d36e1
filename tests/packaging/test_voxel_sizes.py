"""Runs with voxels of several sizes in one dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.errors import UsageError
from catnip2bids.packaging import Settings, package
from catnip2bids.plan import Plan, make_plan, read_plan
from catnip2bids.scanning import scan
from runs import KO_PREFIX, RAW, TODAY_PREFIX, read_json, scales, write_l0, write_l2

SETTINGS = Settings(report=False)
DEFAULT_UM, OWN_UM = (3.7, 3.7, 5.0), (1.8, 1.8, 4.0)
STORED_PLAN = "code/catnip2bids/plan.toml"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two animals."""
    write_l0(tmp_path / "cohort", only=RAW)
    write_l2(tmp_path / "cohort", only=RAW)
    return tmp_path / "cohort"


@pytest.fixture
def plan(cohort: Path) -> Plan:
    """A plan in which the second animal has a voxel size of its own."""
    plan = make_plan(scan(cohort))
    plan.dataset.voxel_size_um = DEFAULT_UM
    plan.runs[1].voxel_size_um = OWN_UM
    return plan


def sizes(dataset: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return the sizes X Y Z of the raw images, as in the sidecar and as in the image."""
    return {
        prefix: (
            read_json(next(dataset.glob(f"sub-*/micr/{prefix}_SPIM.json")))["PixelSize"],
            scales(next(dataset.glob(f"sub-*/micr/{prefix}_SPIM.ome.zarr")))[0][::-1],
        )
        for prefix in (KO_PREFIX, TODAY_PREFIX)
    }


@pytest.mark.slow
def test_a_run_has_the_voxel_size_of_its_part_of_the_plan(cohort: Path, plan: Plan, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    assert package(cohort, dataset, SETTINGS, plan).ok
    expected = {KO_PREFIX: ([*DEFAULT_UM],) * 2, TODAY_PREFIX: ([*OWN_UM],) * 2}
    assert sizes(dataset) == expected
    again = package(cohort, dataset, SETTINGS, dataset / STORED_PLAN)
    assert again.ok
    assert not again.made
    assert sizes(dataset) == expected


def test_the_command_line_wins_and_says_so(cohort: Path, plan: Plan, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    result = package(cohort, dataset, Settings(report=False, voxel_size_um=(2.0, 2.0, 2.0)), plan)
    assert sizes(dataset) == dict.fromkeys((KO_PREFIX, TODAY_PREFIX), ([2.0] * 3,) * 2)
    warned = [warning for warning in result.warnings if "--voxel-size" in warning]
    assert [size in text for text, size in zip(warned, ("3.7", "1.8"), strict=True)] == [True, True]
    assert [run.voxel_size_um for run in read_plan(dataset / STORED_PLAN).runs] == [None, None]


@pytest.mark.slow
def test_a_dataset_remembers_the_sizes_of_commands_with_several(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    for run, size_um in zip(sorted(cohort.iterdir()), (DEFAULT_UM, OWN_UM), strict=True):
        assert package(run, dataset, Settings(report=False, voxel_size_um=size_um)).ok
    stored = read_plan(dataset / STORED_PLAN)
    assert (stored.dataset.voxel_size_um, [run.voxel_size_um for run in stored.runs]) == (OWN_UM, [DEFAULT_UM, None])
    before = sizes(dataset)
    assert not package(cohort, dataset, SETTINGS, stored).made
    assert sizes(dataset) == before == {KO_PREFIX: ([*DEFAULT_UM],) * 2, TODAY_PREFIX: ([*OWN_UM],) * 2}


def test_a_run_without_a_size_is_named(cohort: Path, plan: Plan, tmp_path: Path) -> None:
    plan.dataset.voxel_size_um = None
    with pytest.raises(UsageError, match=f"{plan.runs[0].name} is not known: CATNIP records it nowhere"):
        package(cohort, tmp_path / "dataset", SETTINGS, plan)
    assert not (tmp_path / "dataset").exists()
