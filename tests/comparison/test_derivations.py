"""CATNIP's claims, on made-up runs that keep them, and on runs that were changed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from catnip2bids import scan
from catnip2bids.catnip.derivations import MASKED_LABELS
from catnip2bids.comparison import DerivationCheck, check_claim, check_derivations
from catnip2bids.comparison.sides import open_side, plane_bytes
from catnip2bids.engine import OVERHEAD_BYTES, Resources
from made_up import Array, some_image, write_slices, write_tiff


def write_run(folder: Path) -> Path:
    """Write a run of today's layout that keeps all claims."""
    run = folder / "640_2026-05-02_09-12-33"
    image = some_image((6, 12, 14), seed=1)
    frst = (image.astype("float32") - 20000) / 2
    mask = np.ones(image.shape, "uint16")
    mask[:, :, 9:] = 0
    labels = (image % 7 + 1).astype("uint16")
    heat = np.abs(frst)
    kept = heat.copy()
    kept[:, :3] = 0
    for name, volume in {
        "N4": image,
        "N4_masked": image * mask,
        "FRST": frst,
        "atlaslabel_def_origspace": labels,
        "atlaslabel_def_origspace_masked": labels * mask,
        "hemispheremask_origspace": mask,
    }.items():
        write_slices(run / name, volume, "Z{plane:06d}.tif")
    for threshold in (5000, 10000):
        cells = np.where(frst >= threshold, 255, 0).astype("uint8")
        name = f"FRSTseg_{threshold:08d}"
        write_slices(run / "FRST_seg" / name, cells, f"Z{{plane:06d}}_FRST_T{threshold:06d}.tif")
        write_slices(run / f"FRST_seg/{name}_filtered", (cells // 255 * 3).astype("uint16"), "Z{plane:05d}.tif")
        ending = "cellpixelIDlist_heatmap_imagespace_atlasspace.tif"
        write_tiff(run / f"heatmaps_atlasspace/{name}_{ending}", heat)
        write_tiff(run / f"heatmaps_atlasspace_corrected/{name}_{ending}", kept)
    return run


def checks_of(folder: Path) -> list[DerivationCheck]:
    (run,) = scan([folder]).runs
    return check_derivations(run)


def test_all_claims_hold_where_nothing_was_changed(tmp_path: Path) -> None:
    write_run(tmp_path)
    checks = checks_of(tmp_path)
    assert [str(check) for check in checks if not check.holds] == []
    assert {check.n_voxels for check in checks} == {6 * 12 * 14}
    assert len(checks) == 3 + 2 + 1 + 2 + 2  # masks, thresholds, nesting, filtered cells, heat maps


def change(path: Path, at: tuple[int, int], value: int) -> None:
    plane: Array = tifffile.imread(path)
    plane[at] = value
    write_tiff(path, plane[np.newaxis])


@pytest.mark.parametrize(
    ("file", "value", "broken"),
    [
        ("atlaslabel_def_origspace_masked/Z000003.tif", 99, ["x hemispheremask", "x a mask"]),
        ("N4_masked/Z000003.tif", 1, ["N4_masked"]),
        ("FRST_seg/FRSTseg_00005000/Z000003_FRST_T005000.tif", 7, ["FRSTseg_5000 ="]),
    ],
)
def test_one_voxel_breaks_a_claim(tmp_path: Path, file: str, value: int, broken: list[str]) -> None:
    run = write_run(tmp_path)
    change(run / file, (4, 13), value)
    found = [check for check in checks_of(tmp_path) if not check.holds]
    assert [part in str(check) for part, check in zip(broken, found, strict=True)] == [True] * len(broken)
    for check in found:
        assert (check.n_broken, check.planes_broken) == (1, (3,))
        assert "does not hold for 1 of 1,008 voxels, in 1 plane" in str(check)


def lose_a_slice(run: Path) -> None:
    (run / "hemispheremask_origspace/Z000006.tif").unlink()


def cut_off(run: Path) -> None:
    path = run / "hemispheremask_origspace/Z000002.tif"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [lose_a_slice, cut_off])
def test_what_cannot_be_tested_does_not_hold(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run = write_run(tmp_path)
    (found,) = scan([tmp_path]).runs
    damage(run)
    broken = [check for check in check_derivations(found) if not check.holds]
    assert len(broken) == 2
    assert all("cannot be tested" in str(check) and "hemispheremask_origspace" in check.problem for check in broken)


def test_the_command_prints_them_and_ends_with_1_if_one_is_broken(tmp_path: Path) -> None:
    run = write_run(tmp_path / "cohort")
    command = [sys.executable, "-m", "catnip2bids", "scan", str(tmp_path / "cohort"), "--check-derivations"]
    whole = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert whole.stderr.count(": holds for all 1,008 voxels") == 10
    change(run / "N4_masked/Z000003.tif", (0, 13), 5)
    broken = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert broken.returncode == 1
    assert "N4_masked = N4 x hemispheremask_origspace: does not hold for 1 of 1,008 voxels" in broken.stderr


def test_unpacking_needs_memory(tmp_path: Path) -> None:
    (run,) = scan([write_run(tmp_path)]).runs
    cells = np.full((6, 12, 14), 255, "uint8")
    nib.save(nib.nifti1.Nifti1Image(cells.T, np.eye(4)), tmp_path / "cells.nii.gz")
    entries = [replace(entry, location=tmp_path / "cells.nii.gz") for entry in run.entries[: len(MASKED_LABELS.roles)]]
    sides = [open_side(entry.location) for entry in entries]
    enough = Resources(1, OVERHEAD_BYTES + len(entries) * cells.nbytes + sum(map(plane_bytes, sides)))
    assert check_claim(MASKED_LABELS, entries, enough).n_voxels == cells.size
    refused = check_claim(MASKED_LABELS, entries, replace(enough, memory_bytes=enough.memory_bytes - 1))
    assert not refused.holds
    assert re.search(r"cells\.nii\.gz: unpacking takes at least \d+ MiB of memory", refused.problem)


def test_a_run_without_segmentations_has_claims_too(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    shutil.rmtree(run / "FRST_seg")
    assert len(checks_of(tmp_path)) == 3 + 2


def test_a_component_that_was_refused_breaks_its_claims(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "atlaslabel_def_origspace_masked/Z000003.tif").unlink()
    broken = [check for check in checks_of(tmp_path) if not check.holds]
    assert len(broken) == 2
    assert all("cannot be tested" in str(check) and "missing" in check.problem for check in broken)
