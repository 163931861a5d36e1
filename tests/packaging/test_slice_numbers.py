"""A plan, and an option of convert and compare, choose the slice number where names do not tell it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import catnip2bids
from catnip2bids.bids.provenance import PROVENANCE
from catnip2bids.errors import DatasetError, PlanError, UsageError
from catnip2bids.plan import make_plan, read_plan, write_plan
from catnip2bids.scanning import scan
from in_process import called
from runs import KO_PREFIX, Array, decisions, level, settings, slices_of, source_planes, write_l0

PATTERN = "section#_label*.tif"
VOXEL_SIZE = (3.7, 3.7, 5.0)


@pytest.fixture(scope="module")
def pixels() -> list[Array]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pixels: list[Array]) -> Path:
    """A run whose image has a number that rises and one that falls in the names of its slices, and a stale slice."""
    folder = write_l0(tmp_path_factory.mktemp("source"))
    slices = slices_of(folder / "640_N4")
    pixels.append(source_planes(folder / "640_N4"))
    for number, file in enumerate(slices):
        file.rename(file.with_name(f"section{number:02d}_label{len(slices) - number:02d}.tif"))
    shutil.copy(folder / "640_N4" / "section00_label12.tif", folder / "640_N4" / "other_0001.tif")
    return folder


@pytest.mark.slow
def test_a_plan_chooses_the_number_that_counts(run: Path, pixels: list[Array], tmp_path: Path) -> None:
    found = scan(run.parent)
    (problem,) = found.problems
    assert "other_0001.tif" in problem
    plan = make_plan(found)
    (line,) = [entry for entry in plan.runs[0].entries if entry.source == "640_N4"]
    line.slice_number = PATTERN
    write_plan(plan, tmp_path / "plan.toml", found)
    assert [
        entry.slice_number for entry in read_plan(tmp_path / "plan.toml").runs[0].entries if entry.slice_number
    ] == [PATTERN]
    dataset = tmp_path / "dataset"
    result = catnip2bids.package(run.parent, dataset, settings(), tmp_path / "plan.toml")
    assert result.ok
    assert any("1 file left out" in warning and "other_0001.tif" in warning for warning in result.warnings)
    np.testing.assert_array_equal(level(dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"), pixels[0])
    (decision,) = [each for source, each in decisions(dataset).items() if source.endswith("640_N4")]
    assert decision["slice_number"] == PATTERN
    (left_out,) = [each for source, each in decisions(dataset).items() if source.endswith("other_0001.tif")]
    assert left_out["action"] == "exclude"
    assert PATTERN in left_out["reason"]
    assert catnip2bids.verify(dataset, run.parent).ok
    again = catnip2bids.package(run.parent, dataset, settings())  # without the plan
    assert again.ok
    assert not again.made
    assert len([source for source in decisions(dataset) if source.endswith("other_0001.tif")]) == 1
    assert catnip2bids.verify(dataset, run.parent).ok
    catnip2bids.restore(dataset, tmp_path / "restored")
    restored = sorted((tmp_path / "restored").rglob("section*"))
    assert [file.name for file in restored] == [f"section{n:02d}_label{12 - n:02d}.tif" for n in range(12)]
    provenance = dataset / PROVENANCE
    provenance.write_text(provenance.read_text().replace(PATTERN, "section_label*.tif"))
    with pytest.raises(DatasetError, match=r"provenance.json: is damaged .*'section_label.*' does not say which"):
        catnip2bids.package(run.parent, dataset, settings())


@pytest.mark.parametrize(
    ("source", "pattern", "said"),
    [("640_N4", "Z*.tif", "pattern"), ("640_FRST_seg/FRSTseg_00010000.tif", "Z#.tif", "is not a slice folder")],
)
def test_a_slice_number_that_cannot_be_is_refused(
    run: Path, tmp_path: Path, source: str, pattern: str, said: str
) -> None:
    found = scan(run.parent)
    write_plan(make_plan(found), tmp_path / "plan.toml", found)
    text = (tmp_path / "plan.toml").read_text()
    (tmp_path / "plan.toml").write_text(
        text.replace(f'source = "{source}"', f'source = "{source}", slice_number = "{pattern}"')
    )
    with pytest.raises((PlanError, UsageError), match=said):
        catnip2bids.package(run.parent, tmp_path / "dataset", settings(), tmp_path / "plan.toml")
    assert not (tmp_path / "dataset").exists()


def test_convert_takes_a_pattern_or_refuses(run: Path, pixels: list[Array], tmp_path: Path) -> None:
    words = ["convert", run / "640_N4", tmp_path / "n4.ome.zarr", "--voxel-size", "3.7", "3.7", "5"]
    refused = called(*words)
    assert refused.returncode == 2
    assert "other_0001.tif" in refused.stderr
    assert "--slice-number" in refused.stderr
    made = called(*words, "--slice-number", PATTERN)
    assert made.returncode == 0
    assert "other_0001.tif" in made.stderr
    np.testing.assert_array_equal(level(tmp_path / "n4.ome.zarr"), pixels[0])
    with pytest.raises(UsageError, match="is not a folder of TIFF slices"):
        catnip2bids.convert(tmp_path / "n4.ome.zarr", tmp_path / "b.ome.zarr", VOXEL_SIZE, slice_number=PATTERN)


def test_compare_takes_a_pattern_or_refuses(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "640_N4", tmp_path / "copy")
    (tmp_path / "copy" / "other_0001.tif").unlink()
    refused = called("compare", run / "640_N4", tmp_path / "copy", "-o", tmp_path / "refused")
    assert refused.returncode == 2
    assert "other_0001.tif" in refused.stderr
    same = catnip2bids.compare(run / "640_N4", tmp_path / "copy", slice_numbers=[PATTERN])
    assert same.relation == "identical"
    assert same.exit_code == 0
