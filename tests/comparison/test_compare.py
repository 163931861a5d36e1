"""Two components: which planes differ, how, and what that means."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile

import catnip2bids
from catnip2bids import Comparison
from catnip2bids.comparison import Relation, VolumeComparison, first_difference
from catnip2bids.comparison.compared_volume import open_compared, plane_bytes
from catnip2bids.comparison.files import compare_files
from catnip2bids.comparison.output import COLUMNS
from catnip2bids.engine import OVERHEAD_BYTES, Resources, process_pool
from catnip2bids.errors import Catnip2bidsError, SourceError, UsageError
from catnip2bids.scanning import Entry
from in_process import called
from made_up import DEFLATE, FLAVOURS, Array, Flavour, some_image, some_labels, write_slices, write_tiff
from runs import Collector

SHAPE = (12, 30, 40)
LABELS = some_labels(SHAPE) + np.uint16(1)  # no voxel is 0
HALF = np.where(np.arange(40) < 25, 1, 0).astype("uint16")
MASKED = LABELS.copy()
MASKED[7:] *= HALF


def compare(folder: Path, one: Array, two: Array, **first: Any) -> Comparison:
    """Compare two volumes that are written as slices with other names."""
    write_slices(folder / "1", one, first.get("names", "Z{plane:04d}.tif"), Flavour(DEFLATE, rows_per_strip=4))
    write_slices(folder / "2", two, "Z{plane:06d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    return catnip2bids.compare(folder / "1", folder / "2", folder / "out")


def document(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "out/comparison.json").read_text())
    assert isinstance(found, dict)
    return found


def rows(folder: Path, name: str = "comparison_results.csv") -> list[dict[str, str]]:
    with (folder / "out" / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_storage_does_not_matter(tmp_path: Path, flavour: str) -> None:
    image = some_image(SHAPE)
    write_slices(tmp_path / "1", image, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    write_slices(tmp_path / "2", image, "Z{plane:06d}_FRST_T010000.tif", FLAVOURS[flavour])
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code, comparison.problems) == (Relation.IDENTICAL, 0, ())
    found = rows(tmp_path)
    assert [row["same_hash"] for row in found] == ["True"] * 12
    assert [row["hash_1"] for row in found] == [hashlib.sha256(plane.tobytes()).hexdigest() for plane in image]
    assert [row["hash_2"] for row in found] == [row["hash_1"] for row in found]
    assert rows(tmp_path, "different.csv") == []


@pytest.mark.slow
def test_processes_find_what_threads_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slices(tmp_path / "1", LABELS, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    write_slices(tmp_path / "2", MASKED, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    (tmp_path / "2/Z0003.tif").write_bytes(b"no TIFF")
    started, start_pool = [], process_pool.ProcessPool.__init__

    def counted(self: process_pool.ProcessPool, n_processes: int, kept_bytes: int = 0) -> None:
        started.append(n_processes)
        start_pool(self, n_processes, kept_bytes)

    monkeypatch.setattr(process_pool.ProcessPool, "__init__", counted)
    found = []
    for smallest_bytes in (2**40, 0):
        monkeypatch.setattr(process_pool, "_SMALL_BYTES", smallest_bytes)
        comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out", jobs=2)
        found.append((comparison.relation, comparison.problems, document(tmp_path), rows(tmp_path)))
    assert found[0] == found[1]
    assert any("Z0003.tif" in problem for problem in comparison.problems)
    assert set(started) == {2}


def as_stack(folder: Path, image: Array) -> Path:
    return write_tiff(folder / "stack.tif", image, Flavour(DEFLATE, rows_per_strip=1))


def as_nifti(folder: Path, image: Array) -> Path:
    path = folder / "image.nii.gz"
    nib.save(nib.Nifti1Image(image.T, np.eye(4)), path)
    return path


@pytest.mark.parametrize("store", [as_stack, as_nifti])
def test_page_n_is_slice_n(tmp_path: Path, store: Callable[[Path, Array], Path]) -> None:
    image = some_image(SHAPE)
    write_slices(tmp_path / "1", image)
    stored = store(tmp_path, image)
    assert catnip2bids.compare(tmp_path / "1", stored).relation == Relation.IDENTICAL
    image[3, 2, 1] ^= 1
    stored = store(tmp_path, image)
    comparison = catnip2bids.compare(stored, tmp_path / "1", tmp_path / "out")
    assert comparison.relation == Relation.DIFFERENT
    assert [row["plane"] for row in rows(tmp_path, "different.csv")] == ["4"]


def test_masked_labels_are_counted_as_a_plain_count_does(tmp_path: Path) -> None:
    comparison = compare(tmp_path, LABELS, MASKED)
    assert (comparison.relation, comparison.exit_code) == (Relation.MASKED_2, 1)
    found, different = document(tmp_path), LABELS != MASKED
    assert found["relation"] == "2-is-1-masked"
    assert (found["n_pairs"], found["n_identical"], found["n_different"]) == (12, 7, 5)
    assert (found["only_in_1"], found["only_in_2"]) == ([], [])
    evidence = found["evidence"]
    assert evidence["voxels"] == LABELS.size
    assert evidence["voxels_different"] == evidence["voxels_zeroed_2"] == np.count_nonzero(different)
    assert evidence["voxels_zeroed_1"] == 0
    assert evidence["planes_different"] == [8, 9, 10, 11, 12]
    assert evidence["extent"] == {"z": [8, 12], "y": [0, 29], "x": [25, 39]}
    assert evidence["mask"] == {"planes_emptied": [], "whole_planes": False, "constant_over_z": True}
    lost = set(np.unique(LABELS)) - set(np.unique(MASKED))
    assert evidence["labels_lost_2"] == {str(v): int(np.count_nonzero(v == LABELS)) for v in lost}
    assert evidence["labels_lost_1"] == {}
    for row, plane in zip(rows(tmp_path), different, strict=True):
        assert int(row["n_different"]) == int(row["n_zeroed_2"]) == np.count_nonzero(plane)
    assert "2 is a copy of 1 with 5 of 12 planes masked" in found["meaning"]


def test_the_other_way_round_it_is_the_other_side(tmp_path: Path) -> None:
    assert compare(tmp_path, MASKED, LABELS).relation == Relation.MASKED_1
    assert document(tmp_path)["evidence"]["voxels_zeroed_1"] == np.count_nonzero(LABELS != MASKED)


def test_planes_that_are_masked_as_a_whole_are_told(tmp_path: Path) -> None:
    masked = LABELS.copy()
    masked[9:] = 0
    compare(tmp_path, LABELS, masked)
    mask = {"planes_emptied": [10, 11, 12], "whole_planes": True, "constant_over_z": True}
    assert document(tmp_path)["evidence"]["mask"] == mask


def test_a_mask_that_moves_is_not_constant(tmp_path: Path) -> None:
    masked = LABELS.copy()
    masked[4, :10], masked[5, 5:20] = 0, 0
    compare(tmp_path, LABELS, masked)
    mask = {"planes_emptied": [], "whole_planes": False, "constant_over_z": False}
    assert document(tmp_path)["evidence"]["mask"] == mask


def test_a_label_that_is_somewhere_else_is_not_lost(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[2], labels[5] = 77, 77
    masked = labels.copy()
    masked[2] = 0
    compare(tmp_path, labels, masked)
    assert "77" not in document(tmp_path)["evidence"]["labels_lost_2"]
    masked[5] = 0
    compare(tmp_path, labels, masked)
    assert document(tmp_path)["evidence"]["labels_lost_2"]["77"] == 2 * 30 * 40


def test_noise_has_no_labels_to_lose(tmp_path: Path) -> None:
    compare(tmp_path, some_image(SHAPE), some_image(SHAPE, seed=1))
    assert "labels_lost_1" not in document(tmp_path)["evidence"]


def test_one_voxel_of_an_image_is_no_label(tmp_path: Path) -> None:
    image = some_image(SHAPE) | np.uint16(1)
    changed = image.copy()
    changed[3, 4, 5] = 0
    compare(tmp_path, image, changed)
    assert "labels_lost_2" not in document(tmp_path)["evidence"]


def test_an_image_on_an_even_background_is_no_label_image(tmp_path: Path) -> None:
    image = np.full(SHAPE, 100, "uint16")
    image[:, 10:20, 10:30] = some_image((12, 10, 20))
    changed = image.copy()
    changed[2:5, 12:14] = 0
    compare(tmp_path, image, changed)
    assert "labels_lost_2" not in document(tmp_path)["evidence"]


def test_labels_that_are_stored_as_float_are_labels(tmp_path: Path) -> None:
    compare(tmp_path, LABELS.astype("float32"), MASKED.astype("float32"))
    lost = set(np.unique(LABELS)) - set(np.unique(MASKED))
    assert document(tmp_path)["evidence"]["labels_lost_2"] == {str(v): int(np.count_nonzero(v == LABELS)) for v in lost}


def test_thin_borders_that_differ_are_labels_all_the_same(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[:, ::7, ::5] = 77
    changed = labels.copy()
    changed[labels == 77] = 78
    compare(tmp_path, labels, changed)
    evidence = document(tmp_path)["evidence"]
    assert evidence["labels_lost_2"] == {"77": int(np.count_nonzero(labels == 77))}
    assert evidence["labels_lost_1"] == {"78": int(np.count_nonzero(labels == 77))}


def test_labels_of_planes_without_a_partner_are_lost(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[4] = 77
    compare(tmp_path, labels, labels)
    (tmp_path / "2/Z000005.tif").unlink()
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert document(tmp_path)["evidence"]["labels_lost_2"]["77"] == 30 * 40


@pytest.mark.parametrize("shift", [1, 2, -1])
def test_other_numbers_are_a_shift(tmp_path: Path, shift: int) -> None:
    image = some_image(SHAPE)
    names = [f"Z{number:04d}.tif" for number in range(5, 5 + len(image))]
    write_slices(tmp_path / "1", image, names)
    write_slices(tmp_path / "2", image, [f"Z{number + shift:05d}.tif" for number in range(5, 5 + len(image))])
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.SHIFTED, 1)
    assert document(tmp_path)["evidence"]["shift"] == shift


def test_planes_that_are_pushed_out_at_the_end_are_a_shift_too(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    assert compare(tmp_path, image, np.concatenate([some_image((1, 30, 40), seed=9), image[:-1]])).relation == "shifted"


def test_the_same_values_of_another_type_are_a_cast(tmp_path: Path) -> None:
    comparison = compare(tmp_path, LABELS, LABELS.astype("float32"))
    assert (comparison.relation, comparison.exit_code) == (Relation.CAST, 1)
    assert {row["same_hash"] for row in rows(tmp_path)} == {"False"}
    assert {row["n_different"] for row in rows(tmp_path)} == {"0"}


def test_a_number_that_a_float_rounds_is_no_cast(tmp_path: Path) -> None:
    one = np.full((2, 20, 20), 2**24 + 1, "uint32")
    assert compare(tmp_path, one, one.astype("float32")).relation == Relation.DIFFERENT


def test_one_voxel_is_found(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    changed = image.copy()
    changed[6, 13, 29] = image[6, 13, 29] // 2 + 1
    comparison = compare(tmp_path, image, changed)
    assert comparison.relation == Relation.DIFFERENT
    (row,) = rows(tmp_path, "different.csv")
    assert (row["plane"], row["n_different"]) == ("7", "1")
    assert document(tmp_path)["evidence"]["extent"] == {"z": [7, 7], "y": [13, 13], "x": [29, 29]}


def test_nan_is_nan_and_minus_zero_is_another_value(tmp_path: Path) -> None:
    image = some_image(SHAPE, "float32")
    image[2, 3, 4], image[5, 6, 7] = np.nan, 0.0
    assert compare(tmp_path, image, image.copy()).relation == Relation.IDENTICAL
    changed = image.copy()
    changed[5, 6, 7] = -0.0
    compare(tmp_path, image, changed)
    assert [row["plane"] for row in rows(tmp_path, "different.csv")] == ["6"]


def test_a_missing_plane_is_a_row(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    write_slices(tmp_path / "1", image)
    write_slices(tmp_path / "2", image)
    (tmp_path / "1/Z0003.tif").unlink()
    (tmp_path / "2/Z0010.tif").unlink()
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.DIFFERENT, 1)
    found = document(tmp_path)
    assert (found["n_pairs"], found["only_in_1"], found["only_in_2"]) == (10, [10], [3])
    three, ten = rows(tmp_path, "different.csv")
    assert (three["filepath_1"], three["plane"], three["note"]) == ("", "3", "only in 2")
    assert (ten["filepath_2"], ten["plane"], ten["note"]) == ("", "10", "only in 1")


@pytest.mark.parametrize("side", ["1", "2"])
@pytest.mark.parametrize("damage", ["cut off", "no TIFF", "empty"])
def test_a_damaged_plane_is_a_row_and_trouble(tmp_path: Path, side: str, damage: str) -> None:
    image = some_image(SHAPE)
    for folder in ("1", "2"):
        write_slices(tmp_path / folder, image, flavour=Flavour(DEFLATE, rows_per_strip=4))
    broken = tmp_path / side / "Z0005.tif"
    content = broken.read_bytes()
    broken.write_bytes({"cut off": content[:-200], "no TIFF": b"hello", "empty": b""}[damage])
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert comparison.exit_code == 2
    assert str(broken) in comparison.problems[0]
    (row,) = rows(tmp_path, "different.csv")
    assert row["plane"] == "5"
    assert str(broken) in row["note"]
    assert row["hash_2" if side == "1" else "hash_1"] != ""


def test_the_same_damage_on_both_sides_is_trouble_too(tmp_path: Path) -> None:
    for folder in ("1", "2"):
        write_slices(tmp_path / folder, some_image(SHAPE))
        (tmp_path / folder / "Z0005.tif").write_bytes(b"hello")
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2")
    assert (comparison.exit_code, len(comparison.problems)) == (2, 2)


def test_two_files_of_one_number_are_trouble(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    for folder in ("1", "2"):
        write_slices(tmp_path / folder, image)
    write_tiff(tmp_path / "1/Z00004.tif", image[:1])
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2")
    assert comparison.exit_code == 2
    assert "slice number 4 is there 2 times" in comparison.problems[0]


HEADER = "Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)\n"


def test_tables_are_compared_by_label(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(HEADER + "1,root,r,5,100\n7,cortex,c,3,40\n9,nucleus,n,2,10\n11,tract,t,1,9\n")
    (tmp_path / "2.csv").write_text(HEADER + "9,nucleus,n,4,10\n1,root,r,5,100\n7,cortex,c,-1,-1\n12,new,w,1,1\n")
    comparison = catnip2bids.compare(tmp_path / "1.csv", tmp_path / "2.csv", tmp_path / "out")
    assert comparison.exit_code == 1
    found = document(tmp_path)
    assert (found["n_pairs"], found["n_identical"], found["only_in_1"], found["only_in_2"]) == (3, 1, [11], [12])
    assert found["evidence"]["excluded_2"] == {"7": "cortex"}
    (changed,) = found["evidence"]["changed"]
    assert (changed["index"], changed["cell_count"]) == (9, [2, 4])
    assert found["evidence"]["total_cells"] == [11, 10]
    assert "2 excludes 1 region: 7 cortex" in found["meaning"]


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [
        ('"Acronym";"Name";"Label_ID";"Label_Volume(Pixels)";"Cell_Count"\r\n"r";"root";1.0;1E+02;5\r\n', 0),
        ("index\tname\tabbreviation\tcell_count\tlabel_volume\n1\troot\tr\t5\t100\n", 0),
        (HEADER + "1,root,r,6.0,100\n", 1),
        (HEADER + "1,root,r,NA,100\n", 1),
        (HEADER + '1,root,r,"5,0",100\n', 0),
        (HEADER + '1,root,r,"5,000",100\n', 2),
    ],
)
def test_a_table_that_another_program_saved_is_compared(tmp_path: Path, text: str, exit_code: int) -> None:
    (tmp_path / "1.csv").write_text(HEADER + "1,root,r,5,100\n")
    (tmp_path / "2.CSV").write_bytes(text.encode("utf-16"))
    comparison = catnip2bids.compare(tmp_path / "1.csv", tmp_path / "2.CSV", tmp_path / "out")
    assert comparison.exit_code == exit_code
    assert document(tmp_path)["evidence"].get("excluded_2", {}) == {}
    if exit_code == 2:
        assert comparison.problems[0].startswith(f"{tmp_path / '2.CSV'}, line 2, column Cell_Count: ")


@pytest.mark.parametrize("ending", ["csv", "txt"])
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("id,name,acronym\n1,root,r\n2,tract,t\n", 'ID;Acronym;Name\n1.0;"r";"root"\n2.0;t;tract\n;;\n'),
        ("participant_id\tsex\nsub-1\tF\n", '"participant_id","sex"\n"sub-1","F"\n'),
    ],
)
def test_other_tables_may_be_the_same_in_another_notation(tmp_path: Path, one: str, two: str, ending: str) -> None:
    first, second = tmp_path / f"1.{ending}", tmp_path / "2.csv"
    first.write_text(one)
    second.write_text(two)
    comparison = catnip2bids.compare(first, second, tmp_path / "out")
    assert comparison.relation == Relation.IDENTICAL
    assert "another notation" in document(tmp_path)["meaning"]
    second.write_text(two.replace("root", "rout").replace("F", "M"))
    assert catnip2bids.compare(second, first).relation == Relation.DIFFERENT


def test_folders_are_compared_path_by_path(tmp_path: Path) -> None:
    for side in ("a", "b"):
        folder = tmp_path / side
        folder.mkdir()
        (folder / "FRSTseg_00010000.csv").write_text(HEADER + f"7,cortex,c,{'3,40' if side == 'a' else '-1,-1'}\n")
        (folder / "notes.txt").write_text("same")
    write_tiff(tmp_path / "a/FRSTseg_00010000.tif", some_image((3, 20, 20)))
    write_slices(tmp_path / "a/FRSTseg_00020000", some_image((3, 20, 20)))
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.DIFFERENT, 1)
    found = document(tmp_path)
    assert found["only_in_1"] == ["FRSTseg_00010000.tif", "FRSTseg_00020000"]
    assert found["evidence"]["only_in_1_by_kind"] == {
        "slice folder": ["FRSTseg_00020000"],
        "TIFF stack": ["FRSTseg_00010000.tif"],
    }
    assert (found["n_pairs"], found["n_identical"]) == (2, 1)
    assert "2 excludes 1 region: 7 cortex" in found["meaning"]
    lines = called("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "new").stderr.splitlines()
    assert not [line for line in lines if "notes.txt" in line]
    assert lines[-1] == "different: 2 in both, 1 of them identical, 2 only in 1, 0 only in 2"


def test_folders_of_stacks_that_are_masked_are_masked(tmp_path: Path) -> None:
    heat = some_image((4, 20, 20), "float32")
    kept = heat.copy()
    kept[1, 3:9, 4:5] = 0
    for threshold in (10000, 15000):
        write_tiff(tmp_path / f"a/FRSTseg_{threshold:08d}.tif", heat)
        write_tiff(tmp_path / f"b/FRSTseg_{threshold:08d}.tif", kept)
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert comparison.relation == Relation.MASKED_2
    extents = [item["evidence"]["extent"] for item in document(tmp_path)["evidence"]["items"]]
    assert extents == [{"z": [2, 2], "y": [3, 8], "x": [4, 4]}] * 2


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "1", some_image((3, 20, 20)))
    (tmp_path / "t.csv").write_text(HEADER)
    with pytest.raises(UsageError, match="cannot be compared"):
        catnip2bids.compare(tmp_path / "1", tmp_path / "t.csv")
    with pytest.raises(SourceError, match="does not exist"):
        catnip2bids.compare(tmp_path / "1", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="only read"):
        catnip2bids.compare(tmp_path / "1", tmp_path / "1", tmp_path / "1/out")
    assert sorted((tmp_path / "1").iterdir()) == slices


def test_the_command_has_the_exit_codes_of_diff(tmp_path: Path) -> None:
    write_slices(tmp_path / "1", LABELS)
    write_slices(tmp_path / "2", MASKED)

    assert called("compare", "1", "1", cwd=tmp_path).returncode == 0
    program = [sys.executable, "-m", "catnip2bids", "compare", "1", "2", "--json", "-o", "out"]
    different = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert different.returncode == 1
    assert json.loads(different.stdout)["relation"] == "2-is-1-masked"
    assert "2-is-1-masked: 2 is a copy of 1 with" in different.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.json",
        "comparison_results.csv",
        "different.csv",
        "index.html",
    ]
    assert (tmp_path / "comparison/index.html").is_file()
    assert tuple(rows(tmp_path)[0]) == COLUMNS
    missing = called("compare", "1", "nowhere", cwd=tmp_path)
    assert (missing.returncode, "does not exist" in missing.stderr) == (2, True)
    for side in ("a", "b"):
        fill(tmp_path / side, "damaged tables")
    nothing = called("compare", "a", "b", cwd=tmp_path)
    assert nothing.returncode == 2
    assert nothing.stderr.splitlines()[-1].startswith("nothing was compared: ")
    assert "Traceback" not in missing.stderr + nothing.stderr


def test_what_is_beside_slices_is_compared_too(tmp_path: Path) -> None:
    for side in ("a", "b"):
        write_slices(tmp_path / side, LABELS)
        (tmp_path / side / "Thumbs.db").write_text(side)
    assert catnip2bids.compare(tmp_path / "a", tmp_path / "b").relation == Relation.IDENTICAL
    write_slices(tmp_path / "a/more", LABELS)
    write_slices(tmp_path / "b/more", MASKED)
    assert catnip2bids.compare(tmp_path / "a", tmp_path / "b").relation == Relation.MASKED_2
    (tmp_path / "a/notes.txt").write_text("1")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.relation, list(comparison.only_in_1)) == (Relation.DIFFERENT, ["notes.txt"])


def test_slices_on_one_side_only_are_told(tmp_path: Path) -> None:
    write_slices(tmp_path / "a", LABELS)
    (tmp_path / "b").mkdir()
    for side in ("a", "b"):
        (tmp_path / side / "notes.txt").write_text("")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.exit_code, {str(kind) for kind in comparison.only_in_1.values()}) == (1, {"slice folder"})


def test_half_of_the_planes_are_no_shift(tmp_path: Path) -> None:
    image, other = some_image((10, 30, 40)), some_image((5, 30, 40), seed=7)
    assert compare(tmp_path, image, np.concatenate([image[5:], other])).relation == Relation.DIFFERENT


def test_a_damaged_stack_does_not_keep_others_from_being_compared(tmp_path: Path) -> None:
    for side in ("a", "b"):
        for name in ("s.tif", "t.tif"):
            write_tiff(tmp_path / side / name, some_image((3, 20, 20)))
    broken = tmp_path / "b/s.tif"
    broken.write_bytes(broken.read_bytes()[:7])
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert comparison.exit_code == 2
    assert [item.relation for item in comparison.items] == [Relation.DIFFERENT, Relation.IDENTICAL]
    assert any(str(broken) in problem for problem in comparison.problems)


def test_minus_zero_is_not_masked(tmp_path: Path) -> None:
    zeros = np.zeros((3, 20, 20), "float32")
    assert compare(tmp_path, zeros, -zeros).relation == Relation.DIFFERENT


def test_a_cast_of_nan_is_a_cast(tmp_path: Path) -> None:
    image = some_image(SHAPE, "float32")
    image[2, 3, 4] = np.nan
    assert compare(tmp_path, image, image.astype("float64")).relation == Relation.CAST


def test_type_and_extent_are_told(tmp_path: Path) -> None:
    image = some_image(SHAPE)
    changed = image.astype("int32")
    changed[6, 13, 29] += 1
    compare(tmp_path, image, changed)
    found = document(tmp_path)
    assert found["evidence"]["extent"]["z"] == [7, 7]
    assert "1 is 40 x 30 uint16, 2 is 40 x 30 int32" in found["meaning"]


def test_other_tables_are_files(tmp_path: Path) -> None:
    for name in ("1.csv", "2.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    assert catnip2bids.compare(tmp_path / "1.csv", tmp_path / "2.csv").exit_code == 0
    (tmp_path / "2.csv").write_text("a,b\n1,3\n")
    assert catnip2bids.compare(tmp_path / "1.csv", tmp_path / "2.csv").exit_code == 1


def test_a_file_that_cannot_be_read_is_not_the_same(tmp_path: Path) -> None:
    there, gone = tmp_path / "1.txt", tmp_path / "2.txt"
    there.write_text("a note")
    assert compare_files(there, there).relation == Relation.IDENTICAL
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would wait for somebody who writes into it
    for other in (gone, pipe):
        found = compare_files(there, other)
        assert (found.relation, len(found.problems), str(other) in found.problems[0]) == (Relation.DIFFERENT, 1, True)


def test_another_name_is_no_other_number(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(HEADER + "1,root,r,5,100\n")
    (tmp_path / "2.csv").write_text(HEADER + "1,Root,r,5,100\n")
    catnip2bids.compare(tmp_path / "1.csv", tmp_path / "2.csv", tmp_path / "out")
    found = document(tmp_path)
    assert found["evidence"]["changed"] == []
    assert "Other names of 1 region: root" in found["meaning"]


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path) -> None:
    for side in ("a", "b"):
        write_tiff(tmp_path / side / "s.tif", some_image((3, 20, 20)))
        (tmp_path / side / "loop").symlink_to(".")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.relation, len(comparison.items)) == (Relation.IDENTICAL, 1)


def test_things_in_subfolders_are_told_apart(tmp_path: Path) -> None:
    for side in ("a", "b"):
        for part in ("x", "y"):
            (tmp_path / side / part).mkdir(parents=True)
            (tmp_path / side / part / "t.csv").write_text(HEADER + f"1,root,r,5,{100 if part == 'x' else side}\n")
    catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert "x/t.csv: The same counts" in document(tmp_path)["meaning"]
    assert "y/t.csv: " in document(tmp_path)["meaning"]


def test_an_empty_folder_is_listed(tmp_path: Path) -> None:
    for side in ("a", "b"):
        write_tiff(tmp_path / side / "s.tif", some_image((3, 20, 20)))
        (tmp_path / side / "empty").mkdir()
    assert catnip2bids.compare(tmp_path / "a", tmp_path / "b").relation == Relation.IDENTICAL
    (tmp_path / "b/empty").rmdir()
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.relation, comparison.only_in_1) == (Relation.DIFFERENT, {"empty": "empty folder"})


def test_names_that_are_no_utf_8_are_written_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"heat\xff.tif")
    for side in ("a", "b"):
        write_tiff(tmp_path / side / name, some_image((2, 20, 20), seed=ord(side)))
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert comparison.exit_code == 1
    for file in ("comparison_results.csv", "different.csv", "index.html"):
        assert "heat\\udcff.tif" in (tmp_path / "out" / file).read_text(encoding="utf-8")
    (item,) = document(tmp_path)["evidence"]["items"]
    assert item["path_1"] == str(tmp_path / "a" / name)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    for side in ("1", "2"):
        voxels = np.full((3, 20, 20), int(side), "complex64")
        tifffile.imwrite(tmp_path / f"{side}.tif", voxels, photometric="minisblack")
    comparison = catnip2bids.compare(tmp_path / "1.tif", tmp_path / "2.tif")
    assert comparison.exit_code == 2
    assert "complex64" in comparison.problems[0]


def test_a_problem_is_told_once(tmp_path: Path) -> None:
    image = some_image((2, 20, 20))
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "s.tif").write_bytes(b"hello")
        write_tiff(tmp_path / side / "t.tif", image)
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert len(comparison.problems) == len(set(comparison.problems)) == 2


def test_nan_among_labels_is_no_label(tmp_path: Path) -> None:
    labels = np.zeros((9, 900, 700), "float32")
    labels[:, 200:800] = np.repeat(np.arange(1, 8), 100)
    changed = labels.copy()
    changed[4, 210, :9] = np.nan
    comparison = compare(tmp_path, labels, changed)
    assert comparison.relation == Relation.DIFFERENT
    assert "labels_lost_1" not in document(tmp_path)["evidence"]


def test_labels_at_the_edge_of_planes_are_labels(tmp_path: Path) -> None:
    labels = np.zeros((4, 3000, 400), "uint16")
    labels[:, :300] = np.repeat(np.arange(1, 9), 50)
    masked = np.where(labels == 5, 0, labels).astype("uint16")
    compare(tmp_path, labels, masked)
    assert document(tmp_path)["evidence"]["labels_lost_2"] == {"5": 4 * 300 * 50}


def test_planes_that_are_there_twice_can_be_shifted_too(tmp_path: Path) -> None:
    image = np.repeat(some_image((6, 30, 40)), 2, axis=0)
    write_slices(tmp_path / "1", image)
    write_slices(tmp_path / "2", image, [f"Z{number:04d}.tif" for number in range(2, 14)])
    assert catnip2bids.compare(tmp_path / "1", tmp_path / "2").relation == Relation.SHIFTED


def test_planes_that_cannot_be_read_are_not_different(tmp_path: Path) -> None:
    for side in ("1", "2"):
        write_slices(tmp_path / side, some_image(SHAPE))
    (tmp_path / "2/Z0005.tif").write_bytes(b"hello")
    catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    found = document(tmp_path)
    assert (found["n_pairs"], found["n_identical"], found["n_different"]) == (12, 11, 0)
    assert found["evidence"]["planes_different"] == []
    assert len(found["evidence"]["unreadable"]) == 1


def test_damage_in_files_that_are_the_same_does_not_keep_the_page_away(tmp_path: Path) -> None:
    for side in ("1", "2"):
        write_slices(tmp_path / side, LABELS, flavour=Flavour(DEFLATE, rows_per_strip=30))
        for number in range(1, 12):
            path = tmp_path / side / f"Z{number:04d}.tif"
            content = bytearray(path.read_bytes())
            content[200:230] = bytes(30)
            path.write_bytes(content)
    write_tiff(tmp_path / "2/Z0012.tif", (LABELS[-1:] // 2).astype("uint16"))
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code, len(comparison.problems)) == (Relation.DIFFERENT, 2, 22)
    assert (tmp_path / "out/index.html").is_file()


def test_unpacking_needs_memory(tmp_path: Path) -> None:
    image = np.zeros((40, 1000, 1000), "uint16")
    path = as_nifti(tmp_path, image)
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(image.T + np.uint16(1), np.eye(4)), other)
    refused = f"{path} and {other}: unpacking takes at least"
    with pytest.raises(UsageError, match=f"^{re.escape(refused)}"):
        catnip2bids.compare(path, other, memory_bytes=256 * 2**20)


def test_unpacking_needs_memory_also_where_the_first_difference_is_enough(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = as_nifti(tmp_path, LABELS), as_nifti(tmp_path / "other", LABELS)
    volumes = [open_compared(path) for path in paths]
    held_bytes, planes_bytes = 2 * LABELS.nbytes, sum(map(plane_bytes, volumes))
    enough = Resources(1, OVERHEAD_BYTES + held_bytes + planes_bytes)
    entries = [Entry(path.name, path) for path in paths]
    assert first_difference(entries[0], entries[1], enough) is None
    with pytest.raises(UsageError, match="unpacking takes at least"):
        first_difference(entries[0], entries[1], replace(enough, memory_bytes=enough.memory_bytes - 1))


def test_a_report_that_cannot_be_written_is_trouble(tmp_path: Path) -> None:
    write_slices(tmp_path / "1", LABELS)
    (tmp_path / "file").write_text("")
    with pytest.raises(Catnip2bidsError, match=re.escape(str(tmp_path / "file"))) as error:
        catnip2bids.compare(tmp_path / "1", tmp_path / "1", tmp_path / "file")
    assert error.value.exit_code == 2


def test_an_empty_table_beside_counts_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(HEADER + "1,root,r,5,100\n")
    (tmp_path / "2.csv").write_text("")
    assert catnip2bids.compare(tmp_path / "1.csv", tmp_path / "2.csv").exit_code == 2


def test_what_imagej_calibrates_is_a_cast(tmp_path: Path) -> None:
    values = some_image(SHAPE, "int16")
    stored = (values.astype("int32") + 2**15).astype("uint16")
    write_slices(tmp_path / "values", values)
    for name, calibration in (("calibrated.tif", {"cf": 0, "c0": -32768.0, "c1": 1.0}), ("plain.tif", {})):
        tifffile.imwrite(tmp_path / name, stored, imagej=True, metadata={"axes": "ZYX", **calibration})
    comparison = catnip2bids.compare(tmp_path / "calibrated.tif", tmp_path / "values", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.CAST, 1)
    assert document(tmp_path)["evidence"]["calibration"] == "value = stored - 32768"
    comparison = catnip2bids.compare(tmp_path / "values", tmp_path / "plain.tif", tmp_path / "out")
    assert comparison.relation == Relation.DIFFERENT
    assert document(tmp_path)["evidence"]["constant_difference"] == 32768
    assert "the constant 32768 everywhere" in document(tmp_path)["meaning"]
    comparison = catnip2bids.compare(tmp_path / "calibrated.tif", tmp_path / "plain.tif")
    assert comparison.relation == Relation.IDENTICAL
    assert any("value = stored - 32768" in warning for warning in comparison.warnings)


def test_one_voxel_in_one_plane_breaks_a_calibration(tmp_path: Path) -> None:
    values = some_image(SHAPE, "int16")
    stored = (values.astype("int32") + 2**15).astype("uint16")
    stored[9, 8, 7] ^= 1
    metadata = {"axes": "ZYX", "cf": 0, "c0": -32768.0, "c1": 1.0}
    tifffile.imwrite(tmp_path / "calibrated.tif", stored, imagej=True, metadata=metadata)
    write_slices(tmp_path / "values", values)
    comparison = catnip2bids.compare(tmp_path / "calibrated.tif", tmp_path / "values", tmp_path / "out")
    assert comparison.relation == Relation.DIFFERENT
    assert not document(tmp_path)["evidence"].keys() & {"calibration", "constant_difference"}


def test_values_with_other_bits_are_told(tmp_path: Path) -> None:
    image = some_image(SHAPE, "float32")
    image[2, :3, :24], image[5, 6, 7] = np.nan, 0.0
    other = image.copy()
    other.view("uint32")[2, :3, :24], other[5, 6, 7] = 0xFFC00001, -0.0
    assert compare(tmp_path, image, other).relation == Relation.DIFFERENT
    assert document(tmp_path)["evidence"]["voxels_with_other_bits"] == 73
    assert [row["note"] for row in rows(tmp_path, "different.csv")] == [
        "same values, other bits in 72 voxels",
        "same values, other bits in 1 voxel",
    ]


def test_labels_that_were_wrapped_or_rounded_are_told(tmp_path: Path) -> None:
    labels = LABELS.astype("uint32")
    labels[3, :9], labels[5, 9:] = 70_000, 2**24 + 1
    compare(tmp_path, labels, labels.astype("uint16"))
    assert document(tmp_path)["evidence"]["equal_modulo"] == 65536
    compare(tmp_path, labels, labels.astype("float32"))
    assert document(tmp_path)["evidence"]["rounded_to_float32"] == 2


def test_every_plane_has_its_hashes_also_where_large_files_are_the_same(tmp_path: Path) -> None:
    for side in ("1", "2"):
        (tmp_path / side).mkdir()
    tifffile.imwrite(tmp_path / "1/Z1.tif", shape=(2**14 + 16, 2**14), dtype="uint8", metadata=None)  # sparse
    (tmp_path / "2/Z1.tif").hardlink_to(tmp_path / "1/Z1.tif")
    (item,) = catnip2bids.compare(tmp_path / "1", tmp_path / "2").items
    assert isinstance(item, VolumeComparison)
    (pair,) = item.pairs
    assert pair.plane_1 is not None
    assert pair.plane_2 is not None
    assert pair.plane_1.sha256 == pair.plane_2.sha256 is not None


@pytest.mark.parametrize("what", ["empty", "nothing in both", "no number in both"])
def test_where_nothing_was_compared_nothing_is_claimed(tmp_path: Path, what: str) -> None:
    for side in ("1", "2"):
        (tmp_path / side).mkdir()
        if what == "nothing in both":
            (tmp_path / side / f"{side}.txt").write_text("")
        if what == "no number in both":
            numbers = range(int(side) * 10, int(side) * 10 + 3)
            write_slices(tmp_path / side, some_image((3, 20, 20), seed=int(side)), [f"Z{n:03d}.tif" for n in numbers])
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2", tmp_path / "out")
    assert (comparison.exit_code, comparison.is_compared, len(comparison.problems)) == (2, False, 1)
    assert "nothing was compared" in repr(comparison)
    assert "nothing was compared" in (tmp_path / "out/index.html").read_text()


def test_what_cannot_be_read_on_one_side_is_trouble(tmp_path: Path) -> None:
    for side in ("1", "2"):
        write_slices(tmp_path / side / "volume", some_image((3, 20, 20)))
    (tmp_path / "1/gone.tif").symlink_to("nowhere.tif")
    comparison = catnip2bids.compare(tmp_path / "1", tmp_path / "2")
    assert (comparison.exit_code, comparison.is_compared) == (2, True)
    assert str(tmp_path / "1/gone.tif") in comparison.problems[0]


def test_what_is_hidden_is_not_compared_and_said(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name / ".hidden").mkdir(parents=True)
        (tmp_path / name / ".hidden/N4.txt").write_text(str(value))
        (tmp_path / name / "same.txt").write_text("same")
    found = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert found.relation == Relation.IDENTICAL
    assert [".hidden is hidden, and was not compared" in note for note in found.notes] == [True, True]
    for name in ("a", "b"):
        (tmp_path / name / "same.txt").unlink()
    assert catnip2bids.compare(tmp_path / "a", tmp_path / "b").exit_code == 2


def fill(folder: Path, what: str) -> None:
    """Put into a folder what is not compared, or cannot be."""
    folder.mkdir()
    match what:
        case "hidden things":
            (folder / "in/.hidden").mkdir(parents=True)
            (folder / ".notes.txt").write_text(folder.name)
        case "leftovers":
            (folder / ".DS_Store").write_text(folder.name)
        case "empty folders":
            (folder / "in/deep").mkdir(parents=True)
        case "a link to itself":
            (folder / "loop").symlink_to(".")
        case "links to nowhere":
            (folder / "image.tif").symlink_to("nowhere.tif")
        case "named pipes":
            os.mkfifo(folder / "image.tif")
        case "damaged tables":
            (folder / "t.csv").write_text(HEADER + "1,root,r,5,many\n")
        case "tables without rows":
            (folder / "t.csv").write_text(HEADER)
        case "damaged volumes":
            (folder / "N4.tif").write_text("text")
            (folder / "N4").mkdir()
            (folder / "N4/Z1.tif").write_text("text")


NOT_COMPARED = {
    "nothing": (0, 0),
    "hidden things": (0, 4),
    "leftovers": (0, 2),
    "empty folders": (0, 0),
    "a link to itself": (0, 2),
    "links to nowhere": (1, 0),
    "named pipes": (1, 0),
    "damaged tables": (1, 0),
    "tables without rows": (1, 0),
    "damaged volumes": (2, 0),
}
"""What two folders hold: so many pairs that cannot be compared, and so many things that are skipped."""


@pytest.mark.parametrize("what", NOT_COMPARED)
def test_folders_in_which_nothing_can_be_compared_are_never_identical(tmp_path: Path, what: str) -> None:
    for side in ("a", "b"):
        fill(tmp_path / side, what)
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert (comparison.exit_code, comparison.verdict) == (2, "nothing was compared")
    found = document(tmp_path)
    assert (found["relation"], found["n_not_compared"], found["n_skipped"]) == ("different", *NOT_COMPARED[what])
    assert found["problems"]
    page = (tmp_path / "out/index.html").read_text()
    assert "nothing was compared</span>" in page
    assert ": identical</title>" not in page


def test_named_pipes_among_slices_are_not_opened(tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        os.mkfifo(tmp_path / side / "Z1.tif")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.relation, comparison.exit_code) == (Relation.DIFFERENT, 2)
    assert "Z1.tif: is a named pipe or a device" in comparison.problems[0]


def test_what_is_skipped_is_counted_and_named_everywhere(tmp_path: Path) -> None:
    for side in ("a", "b"):
        fill(tmp_path / side, "hidden things")
        write_slices(tmp_path / side / "640_N4", some_image((3, 20, 20)))
        (tmp_path / side / "640_N4/.old").mkdir()
    (tmp_path / "a/.DS_Store").write_text("")
    (tmp_path / "a/loop").symlink_to(".")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.IDENTICAL, 0)
    hidden = [".notes.txt", "640_N4/.old", "in/.hidden"]
    found = document(tmp_path)
    assert found["n_skipped"] == 8
    assert found["skipped_in_1"] == {
        "hidden": hidden,
        "left behind by a system or another program": [".DS_Store"],
        "link to a folder that it is in": ["loop"],
    }
    assert found["skipped_in_2"] == {"hidden": hidden}
    assert "Skipped: 8 paths." in found["meaning"]
    assert sum(row["note"] == "not compared: hidden" for row in rows(tmp_path)) == 6
    assert rows(tmp_path, "different.csv") == []
    page = (tmp_path / "out/index.html").read_text()
    assert "Skipped: 5 in 1, 3 in 2" in page
    assert page.count("640_N4/.old") >= 2
    assert "8 skipped" in repr(comparison)
    comparison = catnip2bids.compare(tmp_path / "a/640_N4", tmp_path / "b/640_N4")  # the same of single volumes
    assert (comparison.exit_code, comparison.skipped_1, comparison.skipped_2) == (
        0,
        {".old": "hidden"},
        {".old": "hidden"},
    )
    assert [".old is hidden, and was not compared" in text for text in comparison.warnings] == [True, True]


def test_things_of_two_kinds_under_one_name_are_named(tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "same.txt").write_text("same")
    (tmp_path / "a/seg").write_text("a list")
    write_slices(tmp_path / "b/seg", some_image((3, 20, 20)))
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.relation, comparison.exit_code) == (Relation.DIFFERENT, 1)
    assert comparison.notes == (
        "seg: was not compared, because it is of another kind in 1 (file) than in 2 (slice folder)",
    )


def test_a_folder_of_others_is_not_written_into(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("same")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/index.html").write_text("my page")
    with pytest.raises(UsageError, match=r"mine: holds index\.html and no comparison"):
        catnip2bids.compare(tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "mine")
    assert (tmp_path / "mine/index.html").read_text() == "my page"
    told = Collector()
    for notes in ([], [f"{tmp_path}/out: held an earlier comparison, which this one has replaced"]):
        # into one of its own it is, with what somebody added
        catnip2bids.compare(tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "out", told)
        (tmp_path / "out/notes.md").write_text("my notes")
        assert told.notes == notes


def test_a_pattern_that_matches_no_slice_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "1", some_image(SHAPE), "Z{plane:04d}.tif")
    with pytest.raises(UsageError, match=r"z00#.* matches no file, such as Z0001\.tif"):
        catnip2bids.compare(tmp_path / "1", tmp_path / "1", slice_numbers=["a_z00#.tif"])


@pytest.mark.parametrize(("dtype", "first"), [("int64", 2**53), ("uint64", 2**63 + 2**11)])
def test_large_whole_numbers_have_exact_differences(tmp_path: Path, dtype: str, first: int) -> None:
    values = (np.arange(6 * 8 * 10, dtype=dtype) % 2 + np.array(first, dtype)).reshape(6, 8, 10)
    write_slices(tmp_path / "1", values, "Z{plane:04d}.tif")
    write_slices(tmp_path / "2", values.astype("float64"), "Z{plane:04d}.tif")
    found = catnip2bids.compare(tmp_path / "1", tmp_path / "2")
    (item,) = found.items
    assert isinstance(item, VolumeComparison)
    assert {pair.difference.largest_difference for pair in item.pairs if pair.difference} == {1.0}


@pytest.mark.parametrize("what", ["slices", "table", "stack"])
def test_nothing_is_said_of_a_thing_whose_other_side_cannot_be_opened(tmp_path: Path, what: str) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "same.txt").write_text("same")
    name = {"slices": "N4", "table": "t.csv", "stack": "s.tif"}[what]
    match what:
        case "slices":
            for side in ("a", "b"):
                write_slices(tmp_path / side / name, some_image((3, 20, 20)))
            os.mkfifo(tmp_path / "b/N4/pipe2.tif")
        case "table":
            (tmp_path / "a" / name).write_text(HEADER + "1,root,r,5,100\n")
            (tmp_path / "b" / name).write_text(HEADER + "1,root,r,5,many\n")
        case "stack":
            write_tiff(tmp_path / "a" / name, some_image((3, 20, 20)))
            (tmp_path / "b/text.txt").write_text("text")
            (tmp_path / "b" / name).symlink_to("text.txt")
            (tmp_path / "a/text.txt").write_text("text")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert (comparison.relation, comparison.exit_code) == (Relation.DIFFERENT, 2)
    assert comparison.verdict == "nothing differs, but 1 was not fully compared"
    found = document(tmp_path)
    assert (found["n_different"], found["n_not_compared"]) == (0, 1)
    (item,) = (item for item in found["evidence"]["items"] if item["path_1"].endswith(name))
    assert (item["n_different"], item["only_in_1"], item["only_in_2"]) == (0, [], [])
    assert item["evidence"] == {"unreadable": list(comparison.problems)}
    assert "only in" not in found["meaning"]
    assert rows(tmp_path, "different.csv") == []
    (row,) = (row for row in rows(tmp_path) if row["filepath_1"].endswith(name))
    assert (row["same_hash"], row["note"]) == ("", f"not compared: {comparison.problems[0]}")
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("<h2>Not compared</h2>") == 1
    assert html.unescape(page).count(comparison.problems[0]) == 1
    assert 'class="bar"' not in page


def test_one_torn_slice_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for side in ("1", "2"):
        write_slices(Path(side) / "seg", LABELS, flavour=Flavour(DEFLATE, rows_per_strip=4))
    torn = Path("2/seg/Z0005.tif")
    torn.write_bytes(torn.read_bytes()[:-200])
    alone = catnip2bids.compare("1/seg", "2/seg")
    assert (alone.verdict, alone.exit_code) == ("nothing differs in what could be compared", 2)
    assert [problem.startswith(f"{torn}: ") for problem in (*alone.problems, *alone.warnings)] == [True]
    folders = catnip2bids.compare("1", "2", "out")
    assert folders.verdict == "nothing differs, but 1 was not fully compared"
    found = document(tmp_path)
    assert (found["n_identical"], found["n_different"], found["n_not_compared"]) == (0, 0, 1)
    with tifffile.TiffWriter(Path("2/seg/Z0006.tif")) as writer:
        writer.write(LABELS[5] + np.uint16(1))
    assert catnip2bids.compare("1/seg", "2/seg").verdict == "different"


@pytest.mark.parametrize("what", ["named pipe", "device"])
def test_a_pipe_or_a_device_is_not_called_missing(tmp_path: Path, what: str) -> None:
    path = Path("/dev/zero")
    if what == "named pipe":
        path = tmp_path / "a.tif"
        os.mkfifo(path)
    with pytest.raises(SourceError, match=f"^{path}: is a named pipe or a device"):
        catnip2bids.compare(path, path)


def test_what_is_alike_in_two_folders_is_not_drawn(tmp_path: Path) -> None:
    for side in ("a", "b"):
        write_slices(tmp_path / side / "N4", some_image((3, 20, 20)))
    catnip2bids.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert "<img" not in (tmp_path / "out/index.html").read_text()


def test_what_only_one_folder_can_read_is_not_missing_from_the_other_one(tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "same.txt").write_text("same")
    write_tiff(tmp_path / "a/image.tif", some_image((3, 20, 20)))
    os.mkfifo(tmp_path / "b/image.tif")
    (tmp_path / "a/run").mkdir()
    (tmp_path / "a/run/notes.txt").write_text("")
    (tmp_path / "b/run").symlink_to("nowhere")
    comparison = catnip2bids.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.only_in_1, comparison.only_in_2, comparison.notes) == ({}, {}, ())
    assert comparison.problems == (
        f"{tmp_path}/b/image.tif: is a named pipe or a device, not a file; move it away, or exclude it in the plan",
        f"{tmp_path}/b/run: is a link to nothing; give a file or a folder",
    )
    assert comparison.verdict == "nothing differs, but 2 were not fully compared"
