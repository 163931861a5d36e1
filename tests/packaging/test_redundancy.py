"""What is left out because something else holds it: only if the pixels show it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catnip2bids import PackageResult, make_plan, package, read_plan, scan, verify
from catnip2bids.catnip.component_type import Action
from catnip2bids.packaging import redundancy
from catnip2bids.plan import Plan
from made_up import DEFLATE, Array, Flavour, write_slices, write_tiff
from runs import KO, PROVENANCE, RAW, TODAY, Collector, images_of, level, settings, write_l0, write_l2

MASKED = "atlaslabel_def_origspace_masked"
BOTH_LABELS = (*RAW, "atlaslabel_def_origspace", MASKED)


def volume_of(folder: Path) -> Array:
    return np.stack([tifffile.imread(path) for path in sorted(folder.iterdir())])


def change(run: Path, plane: int, value: int, *, where_labels_are: bool = True) -> None:
    """Give one voxel of the masked labels another value than that of the labels, or 0."""
    path = sorted((run / MASKED).iterdir())[plane]
    pixels = tifffile.imread(path)
    labels = tifffile.imread(sorted((run / "atlaslabel_def_origspace").iterdir())[plane])
    y, x = np.argwhere((pixels != 0) & (labels != 0) if where_labels_are else labels == 0)[0]
    pixels[y, x] = value
    write_tiff(path, pixels[np.newaxis])


def decision(dataset: Path) -> dict[str, Any]:
    return decision_about(dataset, MASKED)


def decision_about(dataset: Path, entry: str) -> dict[str, Any]:
    provenance = json.loads((dataset / PROVENANCE).read_text())
    (found,) = [d for d in provenance["decisions"] if d["source"].endswith(entry)]
    assert isinstance(found, dict)
    return found


def has_masked_image(result: PackageResult) -> bool:
    return any("desc-atlasmasked" in image for image in images_of(result.dataset))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort of one run, and its dataset in `out`."""
    folder = tmp_path_factory.mktemp("made")
    write_l0(folder / "cohort", only=BOTH_LABELS)
    package([folder / "cohort"], folder / "out", settings())
    return folder


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the dataset beside a copy of its cohort, both to be changed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def test_masked_labels_are_left_out_with_the_evidence(made: Path) -> None:
    run, dataset = made / "cohort" / KO, made / "out"
    assert not has_masked_image(PackageResult(dataset))
    labels, masked = volume_of(run / "atlaslabel_def_origspace"), volume_of(run / MASKED)
    different = labels != masked
    assert different.any()
    assert (masked[different] == 0).all()
    found = decision(dataset)
    evidence = found["evidence"]
    assert (found["action"], evidence["relation"]) == ("exclude", "2-is-1-masked")
    assert evidence["compared_with"] == "atlaslabel_def_origspace"
    assert evidence["planes_compared"] == len(labels)
    assert evidence["planes_different"] == [z + 1 for z in np.flatnonzero(different.any(axis=(1, 2))).tolist()]
    assert evidence["voxels_different"] == evidence["voxels_zeroed"] == np.count_nonzero(different)
    lost = set(np.unique(labels).tolist()) - set(np.unique(masked).tolist())
    assert set(evidence["labels_lost"]) == {str(value) for value in lost}
    assert found["reason"] in (dataset / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("value", "where_labels_are"), [(9999, True), pytest.param(97, False, marks=pytest.mark.slow)])
def test_one_voxel_more_and_they_are_packaged_too(tmp_path: Path, value: int, where_labels_are: bool) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    change(run, 3, value, where_labels_are=where_labels_are)
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert result.ok
    assert has_masked_image(result)
    (warning,) = [warning for warning in result.warnings if MASKED in warning and "packaged too" in warning]
    assert "it is not atlaslabel_def_origspace times the hemisphere mask" in warning
    assert decision(tmp_path / "out")["action"] == "convert"


@pytest.mark.slow
def test_one_voxel_less_is_still_a_mask(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    change(run, 3, 0)
    assert not has_masked_image(package([tmp_path / "cohort"], tmp_path / "out", settings()))


@pytest.mark.slow
def test_one_label_that_is_lost_is_one(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    labels, masked = (sorted((run / name).iterdir()) for name in ("atlaslabel_def_origspace", MASKED))
    for path, other in zip(labels, masked, strict=True):
        write_tiff(other, tifffile.imread(path)[np.newaxis])
    pixels = tifffile.imread(labels[3])
    y, x = np.argwhere(pixels == 0)[0]
    pixels[y, x] = 9999
    write_tiff(labels[3], pixels[np.newaxis])
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    reason = decision(tmp_path / "out")["reason"]
    assert f"1 of {len(labels)} planes differs, in 1 voxel, " in reason
    assert reason.endswith("; 1 label lost in it, which the other has")


def test_labels_that_are_the_same_are_packaged_once(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    for source, target in zip(
        sorted((run / "atlaslabel_def_origspace").iterdir()), sorted((run / MASKED).iterdir()), strict=True
    ):
        target.write_bytes(source.read_bytes())
    assert not has_masked_image(package([tmp_path / "cohort"], tmp_path / "out", settings()))
    found = decision(tmp_path / "out")
    assert found["evidence"]["relation"] == "identical"
    assert "the same as atlaslabel_def_origspace, pixel for pixel" in found["reason"]


def test_files_that_did_not_change_are_not_compared_again(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "cohort" / KO
    before = decision(out)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was compared again")

    with monkeypatch.context() as patch:
        patch.setattr(redundancy, "compare_label_volumes", refuse)
        package([tmp_path / "cohort"], out, settings())
        assert decision(out) == before
        change(run, 3, 9999)
        with pytest.raises(AssertionError, match="compared again"):
            package([tmp_path / "cohort"], out, settings())
    assert has_masked_image(package([tmp_path / "cohort"], out, settings()))


def test_the_plan_in_the_dataset_gives_the_same_decision(tmp_path: Path, out: Path) -> None:
    before = decision(out)
    package([tmp_path / "cohort"], out, settings(), out / "code/catnip2bids/plan.toml")
    assert decision(out) == before


def planned(cohort: Path, **changes: tuple[str, str]) -> Plan:
    """Make the default plan, with other actions and reasons for some entries."""
    plan = make_plan(scan([cohort]))
    for run in plan.runs:
        for entry in run.entries:
            if entry.source in changes:
                action, reason = changes[entry.source]
                entry.action, entry.reason = Action(action), reason or entry.reason
    return plan


def test_what_somebody_excludes_with_a_reason_stays_out_and_a_warning_says_what_is_lost(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    change(run, 3, 9999)
    plan = planned(tmp_path / "cohort", **{MASKED: ("exclude", "we never use it")})
    result = package([tmp_path / "cohort"], tmp_path / "out", settings(), plan)
    assert not has_masked_image(result)
    found = decision(tmp_path / "out")
    assert (found["action"], found["reason"], found["evidence"]["relation"]) == (
        "exclude",
        "we never use it",
        "different",
    )
    assert any("does not contain all of its pixels" in warning for warning in result.warnings)


@pytest.mark.slow
def test_with_a_reason_of_ones_own_the_mask_is_recovered_too(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    plan = planned(tmp_path / "cohort", **{MASKED: ("exclude", "it can be made again")})
    package([tmp_path / "cohort"], tmp_path / "out", settings(), plan)
    assert decision(tmp_path / "out")["reason"] == "it can be made again"
    assert_masked_can_be_made_again(run, tmp_path / "out")


@pytest.mark.parametrize("action", ["exclude", pytest.param("copy", marks=pytest.mark.slow)])
def test_without_the_labels_the_masked_ones_are_packaged(tmp_path: Path, out: Path, action: str) -> None:
    plan = planned(tmp_path / "cohort", atlaslabel_def_origspace=(action, "not wanted as an image"))
    result = package([tmp_path / "cohort"], tmp_path / "new", settings(), plan)
    assert has_masked_image(result)
    assert any("(atlas) is not packaged" in warning for warning in result.warnings)
    result = package([tmp_path / "cohort"], out, settings(), plan)
    assert has_masked_image(result)
    assert not [image for image in images_of(out) if "hemispheremask" in image]


@pytest.mark.parametrize(
    "change",
    [{}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({"reason": "in other words"}, {"by_pixels": None}))],
)
def test_the_plan_of_a_dataset_proves_nothing_about_labels_that_broke_since(
    tmp_path: Path, out: Path, change: dict[str, str | None]
) -> None:
    """Neither does it in other words, nor as versions wrote it that had no `by_pixels`."""
    run = tmp_path / "cohort" / KO
    path = sorted((run / "atlaslabel_def_origspace").iterdir())[4]
    path.write_bytes(path.read_bytes()[:-20])
    plan = read_plan(out / "code/catnip2bids/plan.toml")
    lines = plan.runs[0].entries
    assert [entry.source for entry in lines if entry.by_pixels == Action.EXCLUDE] == [MASKED]
    plan.runs[0].entries = [entry.model_copy(update=change) if entry.source == MASKED else entry for entry in lines]
    result = package([tmp_path / "cohort"], tmp_path / "new", settings(), plan)
    assert not result.ok
    assert has_masked_image(result)


@pytest.mark.slow
def test_the_plan_of_a_dataset_does_not_leave_out_both_of_two_that_are_the_same(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", exclusion=True)
    name = the_same_heat_maps(run)
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    plan = read_plan(tmp_path / "out/code/catnip2bids/plan.toml")
    for entry in plan.runs[0].entries:
        if entry.source == f"heatmaps_atlasspace/{name}":
            entry.action, entry.reason = Action.EXCLUDE, "one is enough"
    package([tmp_path / "cohort"], tmp_path / "new", settings(), plan)
    (heat_map,) = [image for image in images_of(tmp_path / "new") if "_desc-heatmap" in image]
    assert "_desc-heatmapcorrected10000_" in heat_map


def test_an_action_that_somebody_changed_counts_whatever_the_reason_says(tmp_path: Path, out: Path) -> None:
    plan = read_plan(out / "code/catnip2bids/plan.toml")
    for entry in plan.runs[0].entries:
        if entry.source == MASKED:
            entry.action = Action.CONVERT
    assert has_masked_image(package([tmp_path / "cohort"], tmp_path / "new", settings(), plan))


@pytest.mark.slow
def test_the_proof_of_one_animal_is_none_for_another(tmp_path: Path) -> None:
    """All files have the same names, sizes and times."""
    for animal in ("a", "b"):
        name = f"WT/_4600{'ab'.index(animal)}_LH_wt_20260502/640_2026-05-02_09-12-33"
        run = write_l0(tmp_path / animal, name)
        for folder in ("atlaslabel_def_origspace", MASKED):
            volume = volume_of(run / folder)
            if (animal, folder) == ("b", MASKED):
                volume[3][tuple(np.argwhere(volume[3])[0])] = 9999
            shutil.rmtree(run / folder)
            for file in write_slices(run / folder, volume):
                os.utime(file, (1, 1))
    assert not has_masked_image(package([tmp_path / "a"], tmp_path / "out", settings()))
    result = package([tmp_path / "b"], tmp_path / "out", settings())
    assert has_masked_image(result)
    assert any("packaged too" in warning for warning in result.warnings)


@pytest.mark.slow
def test_a_mask_of_0_and_255_is_not_the_factor(tmp_path: Path) -> None:
    run = with_mask(write_l0(tmp_path / "cohort"))
    for path in (run / "hemispheremask_origspace").iterdir():
        write_tiff(path, tifffile.imread(path)[np.newaxis] * 255)
    assert has_masked_image(package([tmp_path / "cohort"], tmp_path / "out", settings()))


def test_a_mask_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    run = with_mask(write_l0(tmp_path / "cohort", only=BOTH_LABELS))
    path = sorted((run / "hemispheremask_origspace").iterdir())[4]
    with tifffile.TiffFile(path) as tiff:
        first, n_bytes = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[first : first + n_bytes] = b"\xff" * n_bytes
    path.write_bytes(content)
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert not result.ok
    assert has_masked_image(result)
    assert any("times hemispheremask_origspace: it cannot be read" in warning for warning in result.warnings)


@pytest.mark.slow
def test_labels_of_another_type_are_told(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    for path in (run / MASKED).iterdir():
        write_tiff(path, tifffile.imread(path)[np.newaxis].astype("float32"))
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert any("it has 36 x 40 float32, and the other has 36 x 40 uint16" in warning for warning in result.warnings)


def level_0(dataset: Path, desc: str) -> Array:
    (image,) = [image for image in images_of(dataset) if f"_desc-{desc}_" in image]
    return level(dataset / image)


def assert_masked_can_be_made_again(run: Path, dataset: Path) -> None:
    made = level_0(dataset, "atlas") * level_0(dataset, "hemispheremask")
    masked = volume_of(run / MASKED)
    assert made.dtype == masked.dtype
    assert np.array_equal(made, masked)


@pytest.mark.slow
def test_a_recovered_mask_empties_the_right_planes_where_slice_numbers_have_a_step(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    for folder in ("atlaslabel_def_origspace", MASKED):
        for index, file in reversed(list(enumerate(sorted((run / folder).iterdir())))):
            file.rename(file.with_name(f"Z{index * 40:06d}_labels.tif"))
    emptied = sorted((run / MASKED).iterdir())[5]
    write_tiff(emptied, np.zeros_like(tifffile.imread(emptied))[np.newaxis])
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    evidence = decision(tmp_path / "out")["evidence"]
    assert evidence["planes"] == [0, 440]
    assert 200 in evidence["planes_emptied"]
    mask = level_0(tmp_path / "out", "hemispheremask")
    assert [number for number in evidence["planes_emptied"] if (mask[number // 40] != 0).any()] == []
    assert_masked_can_be_made_again(run, tmp_path / "out")
    assert verify(tmp_path / "out", tmp_path / "cohort").problems == ()


def test_the_mask_is_recovered_where_catnip_kept_none(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=BOTH_LABELS)
    assert not (run / "hemispheremask_origspace").exists()
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert_masked_can_be_made_again(run, tmp_path / "out")
    mask = level_0(tmp_path / "out", "hemispheremask")
    assert set(np.unique(mask)) == {0, 1}
    evidence = decision(tmp_path / "out")["evidence"]
    assert all((mask[number - evidence["planes"][0]] == 0).all() for number in evidence["planes_emptied"])
    (sidecar,) = (tmp_path / "out").rglob("*desc-hemispheremask*.json")
    described = json.loads(sidecar.read_text())
    assert f"recovered from CATNIP's atlaslabel_def_origspace and {MASKED}" in described["Description"]
    assert "desc-atlas_" in described["Sources"][0]
    assert (tmp_path / "out" / evidence["mask"]).is_dir()
    assert (tmp_path / "out" / evidence["image"]).is_dir()
    assert decision(tmp_path / "out")["target"] is None


def empty_planes(run: Path, *planes: int) -> None:
    for plane in planes:
        path = sorted((run / MASKED).iterdir())[plane]
        write_tiff(path, np.zeros_like(tifffile.imread(path))[np.newaxis])


@pytest.mark.slow
def test_planes_that_the_mask_empties_are_0_in_it_as_a_whole(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    for source, target in zip(
        sorted((run / "atlaslabel_def_origspace").iterdir()), sorted((run / MASKED).iterdir()), strict=True
    ):
        target.write_bytes(source.read_bytes())
    empty_planes(run, 7, 8)
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    mask = level_0(tmp_path / "out", "hemispheremask")
    labels = volume_of(run / "atlaslabel_def_origspace")
    assert labels[7].any()
    assert labels[8].any()
    assert [z for z, plane in enumerate(mask) if not plane.any()] == [7, 8]
    assert (np.delete(mask, [7, 8], axis=0) == 1).all()
    assert_masked_can_be_made_again(run, tmp_path / "out")
    empty_planes(run, 6)
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert_masked_can_be_made_again(run, tmp_path / "out")


def with_mask(run: Path) -> Path:
    """Keep the mask, as later versions of CATNIP do."""
    labels, masked = volume_of(run / "atlaslabel_def_origspace"), volume_of(run / MASKED)
    mask = (labels == masked).astype("uint16")
    write_slices(run / "hemispheremask_origspace", mask, "Z{plane:06d}.tif", Flavour(DEFLATE, rows_per_strip=8))
    return run


@pytest.mark.slow
def test_the_mask_of_the_run_is_packaged_if_it_is_the_right_one(tmp_path: Path) -> None:
    run = with_mask(write_l0(tmp_path / "cohort", only=BOTH_LABELS))
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert_masked_can_be_made_again(run, tmp_path / "out")
    assert np.array_equal(level_0(tmp_path / "out", "hemispheremask"), volume_of(run / "hemispheremask_origspace"))
    evidence = decision(tmp_path / "out")["evidence"]
    assert (evidence["product_with"], evidence["voxels_not_the_product"]) == ("hemispheremask_origspace", 0)
    assert not has_masked_image(PackageResult(tmp_path / "out"))


def test_with_another_mask_the_masked_labels_are_packaged_too(tmp_path: Path) -> None:
    run = with_mask(write_l0(tmp_path / "cohort", only=BOTH_LABELS))
    labels = volume_of(run / "atlaslabel_def_origspace")
    path = sorted((run / "hemispheremask_origspace").iterdir())[4]
    mask = tifffile.imread(path)
    mask[tuple(np.argwhere(labels[4])[0])] ^= 1
    write_tiff(path, mask[np.newaxis])
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert has_masked_image(result)
    (warning,) = [warning for warning in result.warnings if "packaged too" in warning]
    assert "times hemispheremask_origspace: 1 voxel differs from the product" in warning


def the_same_heat_maps(run: Path) -> str:
    """Write the heat map as the corrected one too, with other strips; returns its name."""
    plain, corrected = run / "heatmaps_atlasspace", run / "heatmaps_atlasspace_corrected"
    (name,) = [path.name for path in corrected.glob("*.tif")]
    write_tiff(corrected / name, tifffile.imread(plain / name), Flavour(DEFLATE, rows_per_strip=4))
    return name


def test_heat_maps_that_are_the_same_are_packaged_once(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", exclusion=True, only=("heatmaps_atlasspace", "heatmaps_atlasspace_corrected"))
    plain, corrected = run / "heatmaps_atlasspace", run / "heatmaps_atlasspace_corrected"
    name = the_same_heat_maps(run)
    assert (corrected / name).read_bytes() != (plain / name).read_bytes()
    told = Collector()
    package([tmp_path / "cohort"], tmp_path / "out", settings(), progress=told)
    excluded = f"{TODAY}/heatmaps_atlasspace_corrected/{name}"
    same = f"1 entry excluded, because packaged entries have the same pixels, which scan does not compare: {excluded}"
    assert same in told.notes
    (heat_map,) = [image for image in images_of(tmp_path / "out") if "_desc-heatmap" in image]
    found = decision_about(tmp_path / "out", f"heatmaps_atlasspace_corrected/{name}")
    assert (found["action"], found["evidence"]["relation"]) == ("exclude", "identical")
    assert found["evidence"]["image"] == heat_map
    assert f"the same as heatmaps_atlasspace/{name}, pixel for pixel" in found["reason"]
    voxels = tifffile.imread(corrected / name)
    voxels[tuple(np.argwhere(voxels)[0])] = 0
    write_tiff(corrected / name, voxels)
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert len([image for image in images_of(tmp_path / "out") if "_desc-heatmap" in image]) == 2
    found = decision_about(tmp_path / "out", f"heatmaps_atlasspace_corrected/{name}")
    assert (found["action"], found["evidence"]["relation"]) == ("convert", "different")


@pytest.mark.slow
def test_masked_labels_that_are_a_link_are_packaged_once(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    shutil.rmtree(run / MASKED)
    (run / MASKED).symlink_to("atlaslabel_def_origspace")
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert not has_masked_image(PackageResult(tmp_path / "out"))
    assert decision(tmp_path / "out")["evidence"]["relation"] == "identical"
    assert not [image for image in images_of(tmp_path / "out") if "hemispheremask" in image]


@pytest.mark.slow
def test_one_of_two_that_are_the_same_may_be_kept_by_the_plan(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", exclusion=True)
    name = the_same_heat_maps(run)
    plan = planned(tmp_path / "cohort", **{f"heatmaps_atlasspace_corrected/{name}": ("convert", "both are wanted")})
    package([tmp_path / "cohort"], tmp_path / "out", settings(), plan)
    assert len([image for image in images_of(tmp_path / "out") if "_desc-heatmap" in image]) == 2
