"""What is left out because something else holds it: only if the pixels show it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catnip2bids import PackageResult, make_plan, package, scan
from catnip2bids.packaging import proofs
from made_up import DEFLATE, Array, Flavour, write_slices, write_tiff
from runs import PROVENANCE, images_of, level, settings, write_l0, write_l2

MASKED = "atlaslabel_def_origspace_masked"


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


def test_masked_labels_are_left_out_with_the_evidence(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert not has_masked_image(result)
    labels, masked = volume_of(run / "atlaslabel_def_origspace"), volume_of(run / MASKED)
    different = labels != masked
    assert different.any()
    assert (masked[different] == 0).all()
    found = decision(tmp_path / "out")
    evidence = found["evidence"]
    assert (found["action"], evidence["relation"]) == ("exclude", "2-is-1-masked")
    assert evidence["compared_with"] == "atlaslabel_def_origspace"
    assert evidence["planes_compared"] == len(labels)
    assert evidence["planes_different"] == [z + 1 for z in np.flatnonzero(different.any(axis=(1, 2))).tolist()]
    assert evidence["voxels_different"] == evidence["voxels_zeroed"] == np.count_nonzero(different)
    lost = set(np.unique(labels).tolist()) - set(np.unique(masked).tolist())
    assert set(evidence["labels_lost"]) == {str(value) for value in lost}
    assert found["reason"] in (tmp_path / "out/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("value", "where_labels_are"), [(9999, True), (97, False)])
def test_one_voxel_more_and_they_are_packaged_too(tmp_path: Path, value: int, where_labels_are: bool) -> None:
    run = write_l0(tmp_path / "cohort")
    change(run, 3, value, where_labels_are=where_labels_are)
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert result.ok
    assert has_masked_image(result)
    (warning,) = [warning for warning in result.warnings if MASKED in warning and "packaged too" in warning]
    assert "it is not atlaslabel_def_origspace times the hemisphere mask" in warning
    assert decision(tmp_path / "out")["action"] == "convert"


def test_one_voxel_less_is_still_a_mask(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    change(run, 3, 0)
    assert not has_masked_image(package([tmp_path / "cohort"], tmp_path / "out", settings()))


def test_labels_that_are_the_same_are_packaged_once(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    for source, target in zip(
        sorted((run / "atlaslabel_def_origspace").iterdir()), sorted((run / MASKED).iterdir()), strict=True
    ):
        target.write_bytes(source.read_bytes())
    assert not has_masked_image(package([tmp_path / "cohort"], tmp_path / "out", settings()))
    found = decision(tmp_path / "out")
    assert found["evidence"]["relation"] == "identical"
    assert "the same as atlaslabel_def_origspace, pixel for pixel" in found["reason"]


def test_files_that_did_not_change_are_not_compared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_l0(tmp_path / "cohort")
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    before = decision(tmp_path / "out")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was compared again")

    with monkeypatch.context() as patch:
        patch.setattr(proofs, "compare_as_volumes", refuse)
        package([tmp_path / "cohort"], tmp_path / "out", settings())
        assert decision(tmp_path / "out") == before
        change(run, 3, 9999)
        with pytest.raises(AssertionError, match="compared again"):
            package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert has_masked_image(package([tmp_path / "cohort"], tmp_path / "out", settings()))


def test_the_plan_in_the_dataset_gives_the_same_decision(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort")
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    before = decision(tmp_path / "out")
    package([tmp_path / "cohort"], tmp_path / "out", settings(), tmp_path / "out/code/catnip2bids/plan.toml")
    assert decision(tmp_path / "out") == before


def test_what_somebody_excludes_with_a_reason_needs_no_proof(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    change(run, 3, 9999)
    plan = make_plan(scan([tmp_path / "cohort"]))
    for entry in plan.runs[0].entries:
        if entry.source == MASKED:
            entry.reason = "we never use it"
    result = package([tmp_path / "cohort"], tmp_path / "out", settings(), plan)
    assert not has_masked_image(result)
    assert decision(tmp_path / "out")["evidence"] is None


def level_0(dataset: Path, desc: str) -> Array:
    (image,) = [image for image in images_of(dataset) if f"_desc-{desc}_" in image]
    return level(dataset / image)


def assert_masked_can_be_made_again(run: Path, dataset: Path) -> None:
    made = level_0(dataset, "atlas") * level_0(dataset, "hemispheremask")
    masked = volume_of(run / MASKED)
    assert made.dtype == masked.dtype
    assert np.array_equal(made, masked)


def test_the_mask_is_recovered_where_catnip_kept_none(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
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
    write_slices(run / "hemispheremask_origspace", (labels == masked).astype("uint16"), "Z{plane:06d}.tif")
    return run


def test_the_mask_of_the_run_is_packaged_if_it_is_the_right_one(tmp_path: Path) -> None:
    run = with_mask(write_l0(tmp_path / "cohort"))
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert_masked_can_be_made_again(run, tmp_path / "out")
    assert np.array_equal(level_0(tmp_path / "out", "hemispheremask"), volume_of(run / "hemispheremask_origspace"))
    evidence = decision(tmp_path / "out")["evidence"]
    assert (evidence["product_with"], evidence["voxels_not_the_product"]) == ("hemispheremask_origspace", 0)
    assert not has_masked_image(PackageResult(tmp_path / "out"))


def test_with_another_mask_the_masked_labels_are_packaged_too(tmp_path: Path) -> None:
    run = with_mask(write_l0(tmp_path / "cohort"))
    labels = volume_of(run / "atlaslabel_def_origspace")
    path = sorted((run / "hemispheremask_origspace").iterdir())[4]
    mask = tifffile.imread(path)
    mask[tuple(np.argwhere(labels[4])[0])] ^= 1
    write_tiff(path, mask[np.newaxis])
    result = package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert has_masked_image(result)
    (warning,) = [warning for warning in result.warnings if "packaged too" in warning]
    assert "times hemispheremask_origspace: 1 voxels are not what this gives" in warning


def test_heat_maps_that_are_the_same_are_packaged_once(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", exclusion=True)
    plain, corrected = run / "heatmaps_atlasspace", run / "heatmaps_atlasspace_corrected"
    (name,) = [path.name for path in corrected.glob("*.tif")]
    write_tiff(corrected / name, tifffile.imread(plain / name), Flavour(DEFLATE, rows_per_strip=4))
    assert (corrected / name).read_bytes() != (plain / name).read_bytes()
    package([tmp_path / "cohort"], tmp_path / "out", settings())
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


def test_masked_labels_that_are_a_link_are_packaged_once(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    shutil.rmtree(run / MASKED)
    (run / MASKED).symlink_to("atlaslabel_def_origspace")
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert not has_masked_image(PackageResult(tmp_path / "out"))
    assert decision(tmp_path / "out")["evidence"]["relation"] == "identical"
    assert not [image for image in images_of(tmp_path / "out") if "hemispheremask" in image]


def test_one_of_two_that_are_the_same_may_be_kept_by_the_plan(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", exclusion=True)
    plain, corrected = run / "heatmaps_atlasspace", run / "heatmaps_atlasspace_corrected"
    (name,) = [path.name for path in corrected.glob("*.tif")]
    shutil.copy(plain / name, corrected / name)
    plan = make_plan(scan([tmp_path / "cohort"]))
    for entry in plan.runs[0].entries:
        if entry.source == f"heatmaps_atlasspace_corrected/{name}":
            entry.reason = "both are wanted"
    package([tmp_path / "cohort"], tmp_path / "out", settings(), plan)
    assert len([image for image in images_of(tmp_path / "out") if "_desc-heatmap" in image]) == 2
