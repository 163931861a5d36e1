"""What is wrong with a source is named, the rest is packaged, and nothing wrong ever stands in a dataset."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import tifffile

from catnip2bids import Action, PackageResult, make_plan, package, restore, verify
from catnip2bids.errors import Catnip2bidsError, DatasetError, SourceError, UsageError
from catnip2bids.packaging import preflight_with_resources
from catnip2bids.packaging.copies import copy_verbatim
from catnip2bids.packaging.tasks import CopyTask
from catnip2bids.plan import default_plan, report_on
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry, scan
from in_process import called
from made_up import HEIGHT, WIDTH, Flavour, write_tiff
from runs import (
    KO,
    KO_NAME,
    KO_PREFIX,
    LOG,
    RAW,
    SHAPE,
    TODAY,
    TODAY_NAME,
    change_slices,
    dataset_files,
    decisions,
    files_of,
    images_of,
    level,
    mentions,
    partials_of,
    read_tsv,
    rewrite_slice,
    settings,
    slices_of,
    source_planes,
    state_of,
    write_l0,
    write_l2,
)

_DERIVATIVE = "derivatives/catnip/sub-45670ko/micr"
ALL_IMAGES = {
    f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr",
    f"{_DERIVATIVE}/{KO_PREFIX}_desc-FRST_SPIM.ome.zarr",
    f"{_DERIVATIVE}/{KO_PREFIX}_space-orig_desc-atlas_SPIM.ome.zarr",
    f"{_DERIVATIVE}/{KO_PREFIX}_space-orig_desc-hemispheremask_SPIM.ome.zarr",
    f"{_DERIVATIVE}/{KO_PREFIX}_space-orig_desc-FRSTseg10000_SPIM.ome.zarr",
    f"{_DERIVATIVE}/{KO_PREFIX}_space-CATNIP_desc-heatmap10000_SPIM.ome.zarr",
}
_SEGMENTATION = "640_FRST_seg/FRSTseg_00010000.tif"
_FRST, _ATLAS, _SEG = "desc-FRST_", "desc-atlas_", "desc-FRSTseg10000_"


def some_slice(run: Path, folder: str = "640_FRST") -> Path:
    return slices_of(run / folder)[5]


# ---- each of these damages one component and returns the name that must be in the message


def gap(run: Path) -> str:
    some_slice(run).unlink()
    return "640_FRST"


def number_twice_under_two_paddings(run: Path) -> str:
    file = some_slice(run)
    shutil.copy(file, file.with_name(file.name.replace("Z0", "Z00")))
    return file.name


def other_shape(run: Path) -> str:
    rewrite_slice(some_slice(run), tifffile.imread(some_slice(run))[:-1])
    return some_slice(run).name


def other_dtype(run: Path) -> str:
    rewrite_slice(some_slice(run), tifffile.imread(some_slice(run)).astype(np.float64))
    return some_slice(run).name


def two_pages(run: Path) -> str:
    plane = tifffile.imread(some_slice(run))
    write_tiff(some_slice(run), [plane, plane])
    return some_slice(run).name


def colours(run: Path) -> str:
    tifffile.imwrite(some_slice(run), np.zeros((*SHAPE[1:], 3), np.uint8), photometric="rgb")
    return some_slice(run).name


def no_number(run: Path) -> str:
    shutil.copy(some_slice(run), some_slice(run).with_name("average.tif"))
    return "average.tif"


def cut_in_the_middle(run: Path) -> str:
    content = some_slice(run).read_bytes()
    some_slice(run).write_bytes(content[: len(content) // 2])
    return some_slice(run).name


def last_byte_gone(run: Path) -> str:
    plane = tifffile.imread(some_slice(run))
    write_tiff(some_slice(run), [plane], Flavour(directory_first=True))
    some_slice(run).write_bytes(some_slice(run).read_bytes()[:-1])
    return some_slice(run).name


def empty(run: Path) -> str:
    some_slice(run).write_bytes(b"")
    return some_slice(run).name


def text(run: Path) -> str:
    some_slice(run).write_text("this slice was lost\n")
    return some_slice(run).name


def absurd_size(run: Path) -> str:
    plane = tifffile.imread(some_slice(run))
    write_tiff(some_slice(run), [plane], tags={WIDTH: [2**31 - 1], HEIGHT: [2**31 - 1]})
    return some_slice(run).name


def directories_in_a_circle(run: Path) -> str:
    plane = tifffile.imread(some_slice(run))
    write_tiff(some_slice(run), [plane])
    content = bytearray(some_slice(run).read_bytes())
    content[-4:] = content[4:8]  # the next directory is the first one
    some_slice(run).write_bytes(content)
    return some_slice(run).name


def a_folder_among_slices(run: Path) -> str:
    some_slice(run).unlink()
    some_slice_name = "Z000006_FRST.tif"
    (run / "640_FRST" / some_slice_name).mkdir()
    return some_slice_name


def no_slices(run: Path) -> str:
    for file in slices_of(run / "640_FRST"):
        file.unlink()
    return "640_FRST"


def a_broken_link(run: Path) -> str:
    name = some_slice(run).name
    some_slice(run).unlink()
    (run / "640_FRST" / name).symlink_to("nowhere.tif")
    return name


def pages_of_two_sizes(run: Path) -> str:
    planes = [tifffile.imread(some_slice(run, "640_N4"))[: 20 + index % 2] for index in range(4)]
    write_tiff(run / _SEGMENTATION, planes)
    return "FRSTseg_00010000.tif"


def stack_cut_off(run: Path) -> str:
    content = (run / _SEGMENTATION).read_bytes()
    (run / _SEGMENTATION).write_bytes(content[: len(content) // 2])
    return "FRSTseg_00010000.tif"


def stack_of_text(run: Path) -> str:
    (run / _SEGMENTATION).write_text("no image")
    return "FRSTseg_00010000.tif"


def labels_too_large_for_floats(run: Path) -> str:
    change_slices(run / "atlaslabel_def_origspace", lambda plane: np.where(plane > 0, 182305696, 0).astype(np.float32))
    return "atlaslabel_def_origspace"


def labels_that_are_no_whole_numbers(run: Path) -> str:
    change_slices(run / "atlaslabel_def_origspace", lambda plane: (plane / 2).astype(np.float32))
    return "atlaslabel_def_origspace"


def labels_that_are_no_numbers(run: Path) -> str:
    change_slices(run / "atlaslabel_def_origspace", lambda plane: np.where(plane > 0, np.nan, 0).astype(np.float32))
    return "atlaslabel_def_origspace"


def garbled_pixels(run: Path) -> str:
    """Whole in every header: only decoding shows it."""
    file = some_slice(run, "640_FRST")
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        start, size = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(file.read_bytes())
    content[start : start + size] = b"\xff" * size
    file.write_bytes(content)
    return file.name


IN_HEADERS = [
    (gap, _FRST),
    (number_twice_under_two_paddings, _FRST),
    (other_shape, _FRST),
    (other_dtype, _FRST),
    (two_pages, _FRST),
    (colours, _FRST),
    (no_number, _FRST),
    (cut_in_the_middle, _FRST),
    (last_byte_gone, _FRST),
    (empty, _FRST),
    (text, _FRST),
    (absurd_size, _FRST),
    (directories_in_a_circle, _FRST),
    (a_folder_among_slices, _FRST),
    (no_slices, _FRST),
    (a_broken_link, _FRST),
    (pages_of_two_sizes, _SEG),
    (stack_cut_off, _SEG),
    (stack_of_text, _SEG),
]
IN_VALUES = [
    (labels_too_large_for_floats, _ATLAS),
    (labels_that_are_no_whole_numbers, _ATLAS),
    (labels_that_are_no_numbers, _ATLAS),
]
DAMAGES = [*IN_HEADERS, *IN_VALUES, (garbled_pixels, _FRST)]


def names(damages: Sequence[tuple[Callable[[Path], str], str]]) -> list[str]:
    return [damage.__name__ for damage, _ in damages]


FAST = (gap, stack_of_text, labels_that_are_no_numbers, garbled_pixels)
"""Damages of each kind: in a series, in a stack, in values, and one that only decoding shows."""
SLOW = (cut_in_the_middle, directories_in_a_circle, no_slices, a_broken_link, labels_too_large_for_floats)
"""More, of which the messages come from elsewhere; packaging does the same with all that the scan says."""


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        pytest.param(damage, lost, id=damage.__name__, marks=() if damage in FAST else pytest.mark.slow)
        for damage, lost in DAMAGES
        if damage in FAST + SLOW
    ],
)
def test_the_component_is_named_and_skipped_and_the_rest_is_packaged(
    tmp_path: Path, damage: Callable[[Path], str], lost: str
) -> None:
    run = write_l0(tmp_path / "source")
    named = damage(run)
    before = state_of(tmp_path / "source")
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert not result.ok
    assert mentions(result.problems, named)
    missing = {image for image in ALL_IMAGES if lost in image or (lost == _ATLAS and "hemispheremask" in image)}
    expected = ALL_IMAGES - missing
    if lost == _ATLAS and "desc-atlasmasked" in "".join(images_of(tmp_path / "out")):
        expected |= {image.replace("atlas_", "atlasmasked_") for image in missing if lost in image}
    assert images_of(tmp_path / "out") == expected
    assert not partials_of(tmp_path / "out")
    for image in missing:
        assert not (tmp_path / "out" / image.replace(".ome.zarr", ".json")).exists()
        assert not (tmp_path / "out/code/catnip2bids/pixels" / f"{Path(image).name}.tsv").exists()
    failed = [decision for decision in decisions(tmp_path / "out").values() if "problem" in decision["reason"]]
    assert mentions([decision["reason"] for decision in failed], named)
    assert all(decision["problem"] in decision["reason"] for decision in failed)
    assert all(decision["action"] == "exclude" and decision["target"] is None for decision in failed)
    assert state_of(tmp_path / "source") == before
    assert not [path for path, content in _texts(tmp_path / "out") if str(tmp_path) in content]


def _texts(dataset: Path) -> list[tuple[Path, str]]:
    files = [path for path in dataset.rglob("*") if path.suffix in {".json", ".md", ".tsv", ".toml"}]
    return [(path, path.read_text(encoding="utf-8")) for path in files]


@pytest.mark.parametrize(("damage", "lost"), [*IN_HEADERS, *IN_VALUES], ids=names([*IN_HEADERS, *IN_VALUES]))
def test_the_scan_says_so_before(tmp_path: Path, damage: Callable[[Path], str], lost: str) -> None:
    named = damage(write_l0(tmp_path))
    assert lost
    assert mentions(report_on(scan([tmp_path])).problems, named)


def test_everything_wrong_at_once_is_all_named(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", exclusion=True)
    named = [gap(run), labels_that_are_no_whole_numbers(run), stack_of_text(run)]
    slices = slices_of(run / "640_N4")
    rewrite_slice(slices[2], np.zeros((3, 3), np.uint16))
    (run / "640_FRST_seg/FRSTseg_00010000.csv").write_text("Label_ID,Name\n1,x\n")
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    for name in [*named, slices[2].name, "FRSTseg_00010000.csv"]:
        assert mentions(result.problems, name), name
    assert {image.rpartition("desc-")[2] for image in images_of(tmp_path / "out")} - {"atlasmasked_SPIM.ome.zarr"} == {
        "heatmap10000_SPIM.ome.zarr",
        "heatmapcorrected10000_SPIM.ome.zarr",
    }


def test_one_run_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    gap(write_l0(tmp_path / "source", KO, only=(*RAW, "640_FRST")))
    write_l2(tmp_path / "source", TODAY, only=RAW)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert not result.ok
    assert list((tmp_path / "out").glob("sub-46001wt/micr/*.ome.zarr"))
    assert [row["participant_id"] for row in read_tsv(tmp_path / "out/participants.tsv")] == [
        "sub-45670ko",
        "sub-46001wt",
    ]


@pytest.mark.slow
def test_the_command_line_ends_with_1_and_names_the_file(tmp_path: Path) -> None:
    named = number_twice_under_two_paddings(write_l0(tmp_path / "source"))
    done = called("package", tmp_path / "source", "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5)
    assert done.returncode == 1
    assert named in done.stderr
    assert not done.stdout
    scanned = called("scan", tmp_path / "source", "-o", tmp_path / "plan.toml")
    assert scanned.returncode == 1
    assert named in scanned.stderr


def test_a_mended_source_completes_the_dataset(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=(*RAW, "640_FRST"))
    file = some_slice(run)
    shutil.move(file, tmp_path / "lost.tif")
    assert not package([tmp_path / "source"], tmp_path / "out", settings()).ok
    shutil.move(tmp_path / "lost.tif", file)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok
    assert [target.name for target in result.made] == [f"{KO_PREFIX}_desc-FRST_SPIM.ome.zarr"]
    package([tmp_path / "source"], tmp_path / "fresh", settings())
    assert dataset_files(tmp_path / "out") == dataset_files(tmp_path / "fresh")


@pytest.mark.parametrize("damage", [gap, pytest.param(garbled_pixels, marks=pytest.mark.slow)])
def test_what_is_packaged_stays_when_its_source_breaks(tmp_path: Path, damage: Callable[[Path], str]) -> None:
    run = write_l0(tmp_path / "source", only=(*RAW, "640_FRST"))
    package([tmp_path / "source"], tmp_path / "out", settings())
    image = tmp_path / "out" / f"{_DERIVATIVE}/{KO_PREFIX}_desc-FRST_SPIM.ome.zarr"
    before = files_of(image)
    images = images_of(tmp_path / "out")
    damage(run)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert not result.ok
    assert files_of(image) == before
    assert images_of(tmp_path / "out") == images
    assert not partials_of(tmp_path / "out")


@pytest.mark.parametrize(
    "table",
    [
        "1,a,a,-1,5\n",
        *(
            pytest.param(table, marks=pytest.mark.slow)
            for table in (
                "",
                "Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)\n",
                "1,a,a,1.5,5\n",
                "1,a,a\n",
                "1,a,a,1,2\n1,b,b,1,2\n",
            )
        ),
    ],
)
def test_a_wrong_table_of_counts_is_named_and_left_out(tmp_path: Path, table: str) -> None:
    run = write_l0(tmp_path / "source")
    (run / "640_FRST_seg/FRSTseg_00010000.csv").write_text(table)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.problems, "FRSTseg_00010000.csv")
    assert images_of(tmp_path / "out") == ALL_IMAGES
    assert not list((tmp_path / "out").rglob("*_counts.tsv"))


def test_unknown_things_are_copied_if_small_and_named_if_large(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (run / "my notes [1]").mkdir()
    (run / "my notes [1]/ö.txt").write_text("x")
    with (run / "raw.czi").open("wb") as file:
        file.truncate(65 * 2**20)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert not result.ok
    assert mentions(result.problems, "raw.czi")
    made = decisions(tmp_path / "out")
    assert (tmp_path / "out" / made[f"{KO}/my notes [1]"]["target"] / "ö.txt").read_text() == "x"
    assert made[f"{KO}/raw.czi"]["action"] == "exclude"
    assert "raw.czi" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").rglob("raw.czi"))


def test_a_large_copy_of_a_known_entry_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_l2(tmp_path / "source", only=(*RAW, "FRST_seg"))
    (cell_list,) = run.rglob("*cellpixelIDlist.mat")
    monkeypatch.setattr(default_plan, "SMALL_BYTES", cell_list.stat().st_size - 1)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    (warning,) = (text for text in result.warnings if str(cell_list) in text)
    assert warning.endswith("and is copied as it is by default; the plan can exclude it")
    (copy,) = (tmp_path / "out/sourcedata").rglob(cell_list.name)
    assert copy.read_bytes() == cell_list.read_bytes()


def test_everything_in_an_unknown_folder_is_copied(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.txt").write_text("a")
    (run / "notes/deep/er").mkdir(parents=True)
    (run / "notes/deep/er/b.txt").write_text("b")
    (run / "notes/.hidden").write_text("c")
    (run / "notes/linked").symlink_to(tmp_path / "elsewhere")
    package([tmp_path / "source"], tmp_path / "out", settings())
    copied = files_of(tmp_path / "out" / decisions(tmp_path / "out")[f"{KO}/notes"]["target"])
    assert set(copied) == {"deep/er/b.txt", ".hidden", "linked/a.txt"}


def test_a_broken_link_in_an_unknown_folder_is_a_problem(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (run / "notes").mkdir()
    (run / "notes/gone").symlink_to(tmp_path / "nowhere")
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.problems, "gone")
    assert images_of(tmp_path / "out") == {f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"}


@pytest.mark.parametrize(
    "parent",
    [
        "Mäuse 脳 (2021) [new]",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("my brains (2021) [new]", "50% 'off' #1; $HOME `x`")),
    ],
)
def test_names_with_blanks_brackets_and_unicode_work(tmp_path: Path, parent: str) -> None:
    run = write_l0(tmp_path / parent, f"{parent}/{KO_NAME}", only=RAW)
    (run / f"{parent}.txt").write_text("x")
    for file in slices_of(run / "640_N4"):
        file.rename(file.with_name(f"14-48-50 [00 x 00] ö {file.name}"))
    result = package([tmp_path / parent], tmp_path / f"out {parent}", settings())
    assert result.ok, result.problems
    planes = np.stack([tifffile.imread(file) for file in sorted((run / "640_N4").iterdir())])
    dataset = tmp_path / f"out {parent}"
    np.testing.assert_array_equal(level(dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"), planes)
    rows = read_tsv(dataset / f"code/catnip2bids/pixels/{KO_PREFIX}_SPIM.ome.zarr.tsv")
    assert rows[0]["source"].endswith("14-48-50 [00 x 00] ö Z0001.tif")
    assert f"{parent}/{KO_NAME}/{parent}.txt" in decisions(dataset)


def test_a_log_of_another_image_size_is_a_problem(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source", only=(*RAW, "FRST", LOG))
    slices_of(run / "FRST")[-1].unlink()
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.problems, "FRST", "log")
    assert not [image for image in images_of(tmp_path / "out") if "desc-FRST_" in image]


def test_labels_as_whole_floats_keep_their_type(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=(*RAW, "atlaslabel_def_origspace"))
    change_slices(run / "atlaslabel_def_origspace", lambda plane: plane.astype(np.float32))
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok, result.problems
    pixels = level(tmp_path / "out" / f"{_DERIVATIVE}/{KO_PREFIX}_space-orig_desc-atlas_SPIM.ome.zarr")
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, source_planes(run / "atlaslabel_def_origspace"))


@pytest.mark.parametrize(
    "dtype",
    [
        *("int16", "float16", ">u2"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("uint8", "uint32", "int32", "float64", ">f4")),
    ],
)
def test_any_type_of_pixels_stays_what_it_is(tmp_path: Path, dtype: str) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    for file in slices_of(run / "640_N4"):
        plane = tifffile.imread(file).astype(dtype)
        write_tiff(file, [plane.astype(plane.dtype.newbyteorder("="))], Flavour(big_endian=dtype.startswith(">")))
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok, result.problems
    pixels = level(tmp_path / "out" / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr")
    assert pixels.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(pixels, source_planes(run / "640_N4"))


# ---- refusals: nothing is written


def refused(tmp_path: Path, sources: list[Path], dataset: Path, **choices: object) -> str:
    """Package, expect a refusal, and see that nothing was written anywhere; returns the message."""
    before = state_of(tmp_path)
    with pytest.raises(Catnip2bidsError) as caught:
        package(sources, dataset, settings(**choices))
    assert state_of(tmp_path) == before
    return str(caught.value)


def test_without_a_voxel_size_nothing_is_written(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    message = refused(tmp_path, [tmp_path / "source"], tmp_path / "out", voxel_size_um=None)
    assert "--voxel-size" in message
    assert "plan" in message


def test_without_a_subject_nothing_is_written(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    message = refused(tmp_path, [tmp_path / "source"], tmp_path / "out")
    assert "--subject" in message
    assert "--plan" in message
    assert TODAY_NAME in message


def test_without_a_sample_nothing_is_written(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    assert "--sample" in refused(tmp_path, [tmp_path / "source"], tmp_path / "out", subject="m1")


def test_everything_that_is_not_known_of_animals_is_told_at_once(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", f"a/{TODAY_NAME}", only=RAW)
    message = refused(tmp_path, [tmp_path / "source"], tmp_path / "out")
    assert "the subject and the sample" in message
    write_l2(tmp_path / "source", "b/640_2026-05-03_09-12-33", only=RAW)
    write_l0(tmp_path / "source", KO, only=RAW)
    message = refused(tmp_path, [tmp_path / "source"], tmp_path / "out")
    assert "2 of 3 runs" in message
    assert f"{TODAY_NAME} (subject and sample)" in message
    assert "640_2026-05-03_09-12-33 (subject and sample)" in message


def test_a_sample_may_be_told_in_short(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    with preflight_with_resources(
        tmp_path / "source", tmp_path / "out", settings(subject="m1", sample="sample-LH"), None, Progress()
    ) as prepared:
        assert prepared.plan.runs[0].sample == "LeftHemisphere"


def test_a_subject_for_several_runs_is_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO, only=RAW)
    write_l2(tmp_path / "source", TODAY, only=RAW)
    assert "--subject" in refused(tmp_path, [tmp_path / "source"], tmp_path / "out", subject="m1")


@pytest.mark.parametrize("subject", ["46001-wt", "a b", "ö", "sub-", "../x"])
def test_a_subject_that_is_no_label_is_refused(tmp_path: Path, subject: str) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    refused(tmp_path, [tmp_path / "source"], tmp_path / "out", subject=subject, sample="LeftHemisphere")


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.docx").write_text("x")
    assert "out" in refused(tmp_path, [tmp_path / "source"], tmp_path / "out")


def test_the_dataset_of_somebody_else_is_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1"}')
    refused(tmp_path, [tmp_path / "source"], tmp_path / "out")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "out").mkdir()
    assert package([tmp_path / "source"], tmp_path / "out", settings()).ok


def test_a_file_is_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "out").write_text("x")
    refused(tmp_path, [tmp_path / "source"], tmp_path / "out")


@pytest.mark.parametrize("where", ["source/out", "source/KO/out", f"source/{KO}/out", "source", "."])
def test_source_and_dataset_inside_each_other_are_refused(tmp_path: Path, where: str) -> None:
    write_l0(tmp_path / "source", only=RAW)
    assert "source" in refused(tmp_path, [tmp_path / "source"], tmp_path / where)


def test_they_are_refused_behind_links_too(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "link").symlink_to("source")
    refused(tmp_path, [tmp_path / "source"], tmp_path / "link/out")


@pytest.mark.slow
def test_a_run_that_is_linked_into_the_source_from_the_dataset_is_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "first")
    package([tmp_path / "first"], tmp_path / "out", settings())
    (tmp_path / "first/KO").rename(tmp_path / "out/sourcedata/KO")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/link").symlink_to(tmp_path / "out/sourcedata/KO")
    refused(tmp_path, [tmp_path / "source"], tmp_path / "out")


def test_a_dataset_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match="file"):
        package([tmp_path / "source"], tmp_path / "file/out", settings())


def test_a_damaged_provenance_is_named(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    package([tmp_path / "source"], tmp_path / "out", settings())
    (tmp_path / "out/code/catnip2bids/provenance.json").write_text("{")
    assert "provenance.json" in refused(tmp_path, [tmp_path / "source"], tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("atlas_table", None),
        ("atlas_table", b""),
        ("atlas_table", b"just text\n"),
        ("atlas_table", b"id,name\n1,a\n1,b\n"),
        ("atlas_table", b"\xff\xfe\x00"),
        ("participants", None),
        ("participants", b""),
        ("participants", b"id\tsex\n1\tF\n"),
        ("participants", b"participant_id\tsex\n45670-ko\n"),
        ("participants", b"participant_id\tstrain\n45670-ko\tB\x81r\n"),
        ("participants", b"participant_id\tstrain\n45670-ko\tA\n45670ko\tB\n"),
        ("participants", b"participant_id\tsex\tsex\n45670-ko\tF\tM\n"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path: Path, option: str, content: bytes | None) -> None:
    write_l0(tmp_path / "source", only=RAW)
    if content is not None:
        (tmp_path / "my.tsv").write_bytes(content)
    assert "my.tsv" in refused(tmp_path, [tmp_path / "source"], tmp_path / "out", **{option: tmp_path / "my.tsv"})


@pytest.mark.parametrize(
    "table",
    [
        *("participants.tsv", "samples.tsv", "sub-45670ko/sub-45670ko_scans.tsv"),
        *(f"derivatives/catnip/{name}.tsv" for name in ("samples", "descriptions", "dseg")),
        f"derivatives/catnip-counts/sub-1/micr/{KO_PREFIX}_desc-FRSTseg10000_counts.tsv",
    ],
)
def test_a_damaged_table_of_the_dataset_is_refused_before_anything_changes(packaged_once: Path, table: str) -> None:
    """All tables that rows are merged into are read first."""
    path = packaged_once / "out" / table
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.is_file() else None
    for damage in (b'a\tb\n1\t"2\n', b"a\tb\n1\t2\n", b"a\xff\tb\n"):
        path.write_bytes(damage)
        message = refused(packaged_once, [packaged_once / "source"], packaged_once / "out")
        assert message.startswith(str(path))
    if before is None:
        path.unlink()
    else:
        path.write_bytes(before)


@pytest.fixture(scope="module")
def packaged_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packaged")
    write_l0(folder / "source")
    package([folder / "source"], folder / "out", settings())
    return folder


@pytest.mark.slow
def test_an_atlas_table_of_another_atlas_is_not_believed(tmp_path: Path) -> None:
    """Ids of different tables are never mixed: the run's own counts say which names its labels have."""
    write_l0(tmp_path / "source")
    (tmp_path / "atlas_info.txt").write_text(
        "ID,name,acronym\n" + "".join(f"{n},Left_{n},L{n}\n" for n in range(1, 1300))
    )
    said = []
    try:
        result = package([tmp_path / "source"], tmp_path / "out", settings(atlas_table=tmp_path / "atlas_info.txt"))
        said = [*result.problems, *result.warnings]
    except (SourceError, UsageError) as error:
        said = [str(error)]
    assert mentions(said, "atlas_info.txt")


def test_nothing_is_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    refused(tmp_path, [tmp_path / "source"], tmp_path / "out")
    refused(tmp_path, [tmp_path / "nowhere"], tmp_path / "out")


# ---- the disk


_SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["catnip2bids", *sys.argv[2:]]
from catnip2bids.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("largest_file_bytes", [100, 30_000])
def test_a_full_disk_is_an_error_and_leaves_nothing_half(tmp_path: Path, largest_file_bytes: int) -> None:
    """The first limit stops a small file, the second one the pixels of an image."""
    run = write_l0(tmp_path / "source")
    rng = np.random.default_rng(1)
    change_slices(run / "640_N4", lambda plane: rng.integers(1, 65535, plane.shape, np.uint16))
    options = ["package", tmp_path / "source", "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5]
    words = [sys.executable, "-c", _SMALL_DISK, str(largest_file_bytes), *map(str, options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # a pipe, which may be of any size
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr
    assert "error" in done.stderr
    for image in images_of(tmp_path / "out"):
        level(tmp_path / "out" / image)
    assert f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr" not in images_of(tmp_path / "out")
    assert package([tmp_path / "source"], tmp_path / "out", settings()).ok
    assert images_of(tmp_path / "out") == ALL_IMAGES
    assert not partials_of(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_dataset_that_must_not_be_written_is_an_error(tmp_path: Path) -> None:
    write_l0(tmp_path / "source")
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(DatasetError, match="closed"):
        package([tmp_path / "source"], tmp_path / "closed/out", settings())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_must_not_be_read_is_an_error(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source")
    (run / "640_FRST").chmod(0)
    try:
        result: PackageResult = package([tmp_path / "source"], tmp_path / "out", settings())
        assert mentions(result.problems, "640_FRST")
    finally:
        (run / "640_FRST").chmod(0o700)


@pytest.mark.slow
def test_one_thing_in_two_storages_is_a_problem_of_the_scan_and_of_packaging(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source")
    (stack,) = (run / "640_FRST_seg").glob("FRSTseg_*10000.tif")
    planes, folder = tifffile.imread(stack), stack.with_suffix("")
    folder.mkdir()
    for number, plane in enumerate(planes):
        tifffile.imwrite(folder / f"Z{number:04}.tif", plane)
    report = report_on(scan(tmp_path / "source"))
    assert len(report.problems) == 2
    assert mentions(report.problems, stack.name, f"640_FRST_seg/{stack.stem}", "would become one file", "in the plan")
    assert sorted(package([tmp_path / "source"], tmp_path / "out", settings()).problems) == sorted(report.problems)


@pytest.mark.slow
def test_two_files_that_would_become_one_copy(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source")
    (log,) = run.glob("*.log.txt")
    (run.parent / log.name).write_text("another one, beside the run")
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.problems, log.name, "would both become")


@pytest.mark.parametrize("name", ["notes\udcff.txt", "640_N4/Z0013\udcff.tif"])
def test_names_that_are_no_text(tmp_path: Path, name: str) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (run / name).write_bytes(b"a")
    done = called("package", tmp_path / "source", "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5)
    assert (done.returncode, "is not UTF-8; rename it" in done.stderr) == (2, True)


# ---- names that a dataset cannot hold, or not on all systems

_LONG = f"{'n' * 239}.txt"
"""The shortest name that leaves no room for that of work in progress: 243 bytes."""


def a_long_name(run: Path) -> str:
    (run / _LONG).write_text("notes")
    return _LONG


def a_long_name_in_bytes_alone(run: Path) -> str:
    (run / ("更" * 81)).write_text("notes")
    return "更" * 81


def a_long_name_in_a_folder(run: Path) -> str:
    (run / "extra").mkdir()
    (run / "extra" / _LONG).write_text("notes")
    return "extra"


def a_long_name_of_a_volume(run: Path) -> str:
    name = f"heatmaps_atlasspace/FRSTseg_00020000_{'n' * 190}_heatmap_imagespace_atlasspace.nii"
    shutil.copy(next((run / "heatmaps_atlasspace").iterdir()), run / name)
    return name


def names_that_differ_in_case(run: Path) -> str:
    (run / "extra").mkdir()
    for name in ("Notes.txt", "notes.txt"):
        (run / "extra" / name).write_text(name)
    return "extra"


def names_that_differ_in_accents(run: Path) -> str:
    (run / "extra/in").mkdir(parents=True)
    for form in ("NFC", "NFD"):
        (run / "extra/in" / unicodedata.normalize(form, "Mäuse.txt")).write_text(form)
    return "extra"


@pytest.mark.parametrize(
    "add",
    [
        a_long_name,
        names_that_differ_in_case,
        *(
            pytest.param(add, marks=pytest.mark.slow)
            for add in (
                a_long_name_in_bytes_alone,
                a_long_name_in_a_folder,
                a_long_name_of_a_volume,
                names_that_differ_in_accents,
            )
        ),
    ],
)
def test_a_name_that_a_dataset_cannot_hold_is_a_problem_of_its_entry(
    tmp_path: Path, add: Callable[[Path], str]
) -> None:
    run = write_l0(tmp_path / "cohort", only=(*RAW, "heatmaps_atlasspace"))
    entry = add(run)
    (problem,) = report_on(scan(tmp_path / "cohort")).problems
    assert problem.startswith(str(run / entry.partition("/")[0]))
    found = package(tmp_path / "cohort", tmp_path / "out", settings())
    assert found.problems == (problem,)
    assert images_of(tmp_path / "out") == {image for image in ALL_IMAGES if "desc-" not in image or "heatmap" in image}
    left_out = decisions(tmp_path / "out")[f"{KO}/{entry}"]
    assert (left_out["action"], left_out["target"]) == ("exclude", None)
    assert "problem: " in left_out["reason"]
    assert verify(tmp_path / "out").ok


@pytest.mark.slow
def test_names_of_242_bytes_are_copied_and_restored(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / _LONG[1:]).write_text("notes")
    assert package(tmp_path / "cohort", tmp_path / "out", settings()).ok
    assert restore(tmp_path / "out", tmp_path / "restored").ok
    assert (tmp_path / "restored" / KO / _LONG[1:]).read_text() == "notes"


@pytest.mark.slow
def test_a_path_that_gets_too_long_in_the_dataset_or_when_it_is_restored_is_a_problem_of_its_entry(
    tmp_path: Path,
) -> None:
    """Linux takes paths of 4095 bytes."""
    run = write_l0(tmp_path / "cohort")
    deep = run / "extra" / "/".join(["d" * 200] * ((3600 - len(str(run))) // 201))
    deep.mkdir(parents=True)
    (deep / "notes.txt").write_text("notes")
    far = tmp_path / "/".join(["f" * 100] * 6)
    assert report_on(scan(tmp_path / "cohort")).problems == ()
    (problem,) = package(tmp_path / "cohort", far / "out", settings()).problems
    assert "notes.txt: its path below " in problem
    assert images_of(far / "out") == ALL_IMAGES
    assert package(tmp_path / "cohort", tmp_path / "o", settings()).ok
    restored = restore(tmp_path / "o", far / "restored")
    assert restored.problems == (
        f"{KO}/extra: its name or path is too long here; restore into a folder with a shorter path",
    )
    assert len(restored.restored) == len(restore(tmp_path / "o", tmp_path / "r").restored) - 1


def test_a_name_that_only_this_file_system_refuses_is_a_problem_of_its_entry(tmp_path: Path) -> None:
    """Some take fewer than 255 bytes; here the name of the copy has more."""
    file = tmp_path / "notes.txt"
    file.write_text("notes")
    task = CopyTask(Entry("notes.txt", file), PurePosixPath("n" * 256))
    with pytest.raises(SourceError, match=r"notes\.txt: cannot be copied below .*File name too long; give it"):
        list(copy_verbatim(task, tmp_path / "dataset", {}))


@pytest.mark.slow
def test_names_in_folders_that_differ_in_case_are_problems(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    for name in ("Extra", "extra"):
        (run / name).mkdir()
        (run / name / f"{name}.txt").write_text(name)
    found = package(tmp_path / "cohort", tmp_path / "out", settings())
    assert [mentions([problem], "Extra, extra are the same name") for problem in found.problems] == [True, True]
    plan = make_plan(scan(tmp_path / "cohort"))
    for line in plan.runs[0].entries:
        if line.source == "Extra":
            line.action, line.reason = Action.EXCLUDE, "an older copy"
    assert package(tmp_path / "cohort", tmp_path / "out", settings(), plan).ok
    assert len(list((tmp_path / "out/sourcedata").rglob("extra.txt"))) == 1


@pytest.mark.slow
def test_a_copy_does_not_come_to_lie_beside_one_that_differs_only_in_case(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / "Notes.txt").write_text("notes")
    assert package(tmp_path / "cohort", tmp_path / "out", settings()).ok
    (run / "Notes.txt").rename(run / "notes.txt")
    (problem,) = package(tmp_path / "cohort", tmp_path / "out", settings()).problems
    assert "notes.txt: its copy and " in problem
    assert "Notes.txt in the dataset are the same name" in problem
    assert [path.name for path in (tmp_path / "out/sourcedata").rglob("*otes.txt")] == ["Notes.txt"]
