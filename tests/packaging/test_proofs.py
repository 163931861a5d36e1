"""What is left out because something else holds it: only if the pixels show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catnip2bids import PackageResult, package
from catnip2bids.packaging import proofs
from made_up import Array, write_tiff
from runs import PROVENANCE, images_of, settings, write_l0

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
    provenance = json.loads((dataset / PROVENANCE).read_text())
    (found,) = [d for d in provenance["decisions"] if d["source"].endswith(MASKED)]
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
    from catnip2bids import make_plan, scan

    plan = make_plan(scan([tmp_path / "cohort"]))
    for entry in plan.runs[0].entries:
        if entry.source == MASKED:
            entry.reason = "we never use it"
    result = package([tmp_path / "cohort"], tmp_path / "out", settings(), plan)
    assert not has_masked_image(result)
    assert decision(tmp_path / "out")["evidence"] is None
