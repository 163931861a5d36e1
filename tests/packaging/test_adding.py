"""Datasets that grow, that were interrupted, that people edited, and whose sources changed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import catnip2bids
from catnip2bids import Format, make_plan, package, scan
from catnip2bids.catnip.component_type import Action
from catnip2bids.demo import write_atlas_table
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.packaging import region_tables
from catnip2bids.packaging.readme_texts import replace_marked_part
from catnip2bids.paths import safe_path
from catnip2bids.plan import report_on
from catnip2bids.progress import Progress
from fork_server import python
from in_process import no_dandi
from runs import (
    CHECKSUMS,
    FLOX,
    KO,
    KO_NAME,
    KO_PREFIX,
    LOG,
    PROVENANCE,
    RAW,
    SHAPE,
    TODAY,
    TODAY_NAME,
    TODAY_PREFIX,
    VOXEL_SIZE_UM,
    column,
    dataset_files,
    files_of,
    images_of,
    level,
    mentions,
    ome,
    partials_of,
    read_json,
    read_tsv,
    rewrite_slice,
    settings,
    slices_of,
    source_planes,
    state_of,
    targets,
    write_l0,
    write_l2,
)

__all__ = ["no_dandi"]

_KO_DERIVATIVE = "derivatives/catnip/sub-45670ko/micr"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    write_l0(folder, KO)
    write_l0(folder, FLOX, seed=2, exclusion=True)
    write_l2(folder, TODAY, seed=3, exclusion=True)
    return folder


@pytest.fixture(scope="module")
def at_once(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = tmp_path_factory.mktemp("at_once") / "dataset"
    assert package([cohort], dataset, settings()).ok
    return dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run in `source`, its dataset in `out`, and in `ko` the dataset of the cohort's folder KO."""
    folder = tmp_path_factory.mktemp("made")
    write_l0(folder / "source", KO)
    assert package([folder / "source"], folder / "out", settings()).ok
    assert package([folder / "source/KO"], folder / "ko", settings()).ok
    return folder


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """The dataset of `tmp_path / "source"`, a run that may be changed too."""
    shutil.copytree(made / "source", tmp_path / "source")
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


@pytest.fixture
def ko_only(made: Path, tmp_path: Path) -> Path:
    """The dataset of the cohort's folder KO, to which others are added."""
    return Path(shutil.copytree(made / "ko", tmp_path / "out"))


# ---- one by one


@pytest.mark.parametrize(
    "order",
    [
        ["FLOX", "WT", "KO"],
        pytest.param([TODAY, KO, "FLOX"], marks=pytest.mark.slow),
    ],
)
def test_animals_one_by_one_are_the_same_as_all_at_once(
    cohort: Path, at_once: Path, tmp_path: Path, order: list[str]
) -> None:
    """Folders of the cohort, or the runs in them."""
    for name in order:
        assert package([cohort / name], tmp_path / "out", settings()).ok
    assert_same(tmp_path / "out", at_once)


@pytest.mark.slow
def test_runs_and_folders_given_together_are_the_same_too(cohort: Path, at_once: Path, tmp_path: Path) -> None:
    assert package([cohort / name for name in ("WT", KO, FLOX)], tmp_path / "out", settings()).ok
    assert_same(tmp_path / "out", at_once)


@pytest.mark.slow
def test_a_cohort_that_grows_is_the_same_as_the_grown_one(cohort: Path, at_once: Path, tmp_path: Path) -> None:
    for name in ("KO", "WT", "FLOX"):
        shutil.copytree(cohort / name, tmp_path / "growing" / name)
        assert package([tmp_path / "growing"], tmp_path / "out", settings()).ok
    assert_same(tmp_path / "out", at_once)


def assert_same(dataset: Path, other: Path) -> None:
    one, two = dataset_files(dataset), dataset_files(other)
    assert set(one) == set(two)
    assert not [path for path in one if one[path] != two[path]]
    assert targets(dataset) == targets(other)


def test_adding_touches_nothing_of_the_others_and_tables_keep_what_is_there(cohort: Path, ko_only: Path) -> None:
    before = state_of(ko_only / "sub-45670ko")
    images = state_of(ko_only / _KO_DERIVATIVE)
    result = package([cohort / "WT"], ko_only, settings())
    assert [*result.made, *result.kept]
    assert all("46001wt" in str(target) for target in [*result.made, *result.kept])
    assert state_of(ko_only / "sub-45670ko") == before
    assert state_of(ko_only / _KO_DERIVATIVE) == images
    assert column(read_tsv(ko_only / "participants.tsv"), "participant_id") == ["sub-45670ko", "sub-46001wt"]
    assert len(read_tsv(ko_only / "samples.tsv")) == 2
    counted = column(read_tsv(ko_only / "derivatives/catnip-counts/counts.tsv"), "participant_id")
    assert set(counted) == {"sub-45670ko", "sub-46001wt"}


def test_a_changed_table_of_counts_is_refused_before_it_gets_into_the_one_that_joins_all(
    cohort: Path, ko_only: Path
) -> None:
    (table,) = (ko_only / "derivatives/catnip-counts/sub-45670ko/micr").glob("*_counts.tsv")
    whole = table.read_bytes()
    table.write_bytes(re.sub(rb"(\t\d+)(\t\d+\t[\d.]+\t)", rb"\g<1>0\2", whole, count=1))  # ten times as many cells
    assert table.read_bytes() != whole
    before = state_of(ko_only)
    with pytest.raises(DatasetError, match=rf"{re.escape(table.name)}: was changed since it was packaged"):
        package([cohort / "WT"], ko_only, settings())
    assert state_of(ko_only) == before
    assert package([cohort / "KO"], ko_only, settings()).ok  # which writes the table again
    assert table.read_bytes() == whole
    assert package([cohort / "WT"], ko_only, settings()).ok


# ---- interrupted


class _Stop(Progress):
    """Raises in the middle of an image."""

    def __init__(self, error: BaseException, at: int) -> None:
        self.error, self.left = error, at

    def advance(self, n_voxels: int) -> None:
        """Some planes were written, the image is not finished."""
        del n_voxels
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_exception_in_the_middle_of_an_image_leaves_no_half_image(
    cohort: Path, at_once: Path, tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        package([cohort], tmp_path / "out", settings(jobs=1), progress=_Stop(error, 7))
    n_made = len(images_of(tmp_path / "out"))
    assert 0 < n_made < len(images_of(at_once))
    assert_whole(tmp_path / "out", at_once)
    result = package([cohort], tmp_path / "out", settings())
    assert 0 < len(result.kept) <= n_made  # one may have been published and not recorded
    assert_same(tmp_path / "out", at_once)


def assert_whole(dataset: Path, finished: Path) -> None:
    """Whatever stands under a final name is what it is in the finished dataset."""
    expected = files_of(finished)
    for image in images_of(dataset):
        content = {f"{image}/{path}": value for path, value in files_of(dataset / image).items()}
        assert content == {path: value for path, value in expected.items() if path.startswith(f"{image}/")}, image


_KILLED = """
import os, signal, sys
from catnip2bids import Settings, package
from catnip2bids.progress import Progress

class Killer(Progress):
    left = int(sys.argv[3])
    def advance(self, n_voxels):
        Killer.left -= 1
        if Killer.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

package([sys.argv[1]], sys.argv[2], Settings(voxel_size_um=(3.7, 3.7, 5.0), report=False), progress=Killer())
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_an_image_it_goes_on_where_it_stopped(
    cohort: Path, at_once: Path, tmp_path: Path
) -> None:
    assert python(_KILLED, cohort, tmp_path / "out", 24).returncode == -9
    n_made = len(images_of(tmp_path / "out"))
    assert 0 < n_made < len(images_of(at_once))
    assert_whole(tmp_path / "out", at_once)
    result = package([cohort], tmp_path / "out", settings())
    # those that were made at the same time when it was killed may have been published and not recorded
    assert 0 < len(result.kept) <= n_made
    assert_same(tmp_path / "out", at_once)
    assert not partials_of(tmp_path / "out")


_KILLED_WHILE_SAVING = """
import os, signal, sys
from catnip2bids import Settings, package

sync = os.fsync
source, out, *numbers = sys.argv[1:]
for number in numbers:  # a process for each, forked before there are threads
    left = int(number)

    def fsync(descriptor):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    if (child := os.fork()) == 0:
        os.fsync = fsync
        package([source], f"{out}{number}", Settings(voxel_size_um=(3.7, 3.7, 5.0), report=False))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_killed_while_something_is_published_it_goes_on(made: Path, tmp_path: Path) -> None:
    """At 1 not even the file is complete by which the dataset is known to be ours."""
    at = [1, 2, 8, 60]
    assert python(_KILLED_WHILE_SAVING, made / "source", tmp_path / "out", *at).stdout.split() == ["-9"] * len(at)
    for number in at:
        dataset = tmp_path / f"out{number}"
        assert_whole(dataset, made / "out")
        assert package([made / "source"], dataset, settings()).ok
        assert_same(dataset, made / "out")
        assert not partials_of(dataset)


_KILLED_WHILE_REPLACING = """
import os, shutil, signal, sys
from pathlib import Path
from catnip2bids import Settings, package

def rmtree(path, *args, **kwargs):
    files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    files[-1].unlink()
    os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = rmtree
package([sys.argv[1]], sys.argv[2], Settings(voxel_size_um=(3.7, 3.7, 5.0), overwrite=True, report=False))
"""


@pytest.mark.slow
def test_killed_while_an_old_image_is_removed_it_leaves_no_half_image(made: Path, out: Path) -> None:
    """Removing a folder takes time: what is half removed must not stand under the final name, nor be kept."""
    assert python(_KILLED_WHILE_REPLACING, made / "source", out).returncode == -9
    assert_whole(out, made / "out")
    assert package([made / "source"], out, settings()).ok
    assert_same(out, made / "out")


def test_an_image_that_was_removed_is_made_again(made: Path, out: Path) -> None:
    image = f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
    shutil.rmtree(out / image)
    result = package([made / "source"], out, settings())
    assert [str(target) for target in result.made] == [image]
    assert_same(out, made / "out")


def test_overwrite_makes_everything_anew_and_the_same(made: Path, out: Path) -> None:
    result = package([made / "source"], out, settings(overwrite=True))
    assert {str(target) for target in result.made} == images_of(made / "out")
    assert_same(out, made / "out")


def test_what_is_done_twice_from_a_copy_of_the_source_is_the_same(made: Path, tmp_path: Path) -> None:
    """Neither the place of the source nor the times of its files show in the dataset, but for the copies' times."""
    shutil.copytree(made / "source", tmp_path / "elsewhere", copy_function=shutil.copyfile)
    package([tmp_path / "elsewhere"], tmp_path / "out", settings())
    assert_same(tmp_path / "out", made / "out")


# ---- sources and settings that change


def only_made(source: Path, dataset: Path, **choices: Any) -> list[str]:
    result = package([source], dataset, settings(**choices))
    assert result.ok, result.problems
    return [target.name.removeprefix(KO_PREFIX) for target in result.made]


def test_a_changed_source_makes_only_its_image_anew(tmp_path: Path, out: Path) -> None:
    run = tmp_path / "source" / KO
    file = slices_of(run / "640_FRST")[3]
    plane = tifffile.imread(file)
    plane[3, 3] += 7
    rewrite_slice(file, plane)
    assert only_made(tmp_path / "source", out) == ["_desc-FRST_SPIM.ome.zarr"]
    image = out / f"{_KO_DERIVATIVE}/{KO_PREFIX}_desc-FRST_SPIM.ome.zarr"
    np.testing.assert_array_equal(level(image), source_planes(run / "640_FRST"))
    package([tmp_path / "source"], tmp_path / "fresh", settings())
    assert_same(out, tmp_path / "fresh")


@pytest.mark.slow
def test_only_what_is_written_now_counts_as_copied(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", exclusion=True)
    first = package([tmp_path / "source"], tmp_path / "out", settings())
    tables = {path for path in first.copied if path.name.endswith("_counts.tsv")}
    assert len(tables) == 2
    again = package([tmp_path / "source"], tmp_path / "out", settings())
    assert (again.copied, "0 other files" in repr(again)) == ((), True)
    table = run / "640_FRST_seg/FRSTseg_00010000.csv"
    table.write_text(re.sub(r"(?m)^(73,.*),(\d+),(\d+)$", r"\1,77,88", table.read_text()))
    changed = package([tmp_path / "source"], tmp_path / "out", settings())
    assert changed.made == ()
    counts = next(path.name for path in tables if "corr" not in path.name)
    cells = {counts.replace("_counts.tsv", ending) for ending in ("_cells.tsv.gz", "_uncounted.tsv.gz")}
    assert {path.name for path in changed.copied} == {table.name, counts, *cells}
    assert catnip2bids.verify(tmp_path / "out").ok
    rows = read_tsv(tmp_path / "out/derivatives/catnip-counts/counts.tsv")
    brought_up_to_date = [
        (row["cell_count"], row["label_volume"]) for row in rows if row["index"] == "73" and row["corrected"] == "false"
    ]
    assert brought_up_to_date == [("77", "88")]
    package([tmp_path / "source"], tmp_path / "fresh", settings())
    assert_same(tmp_path / "out", tmp_path / "fresh")


def test_a_changed_atlas_table_makes_no_image_anew(tmp_path: Path) -> None:
    write_l0(tmp_path / "source")
    table = tmp_path / "atlas_info.txt"
    write_atlas_table(table)
    package([tmp_path / "source"], tmp_path / "out", settings(atlas_table=table))
    table.write_bytes(table.read_bytes().replace(b"20,90,150", b"1,2,3"))
    assert not only_made(tmp_path / "source", tmp_path / "out", atlas_table=table)
    rows = {row["index"]: row for row in read_tsv(tmp_path / "out/derivatives/catnip/dseg.tsv")}
    assert rows["821"]["color"] == "#010203"
    image = tmp_path / "out" / f"{_KO_DERIVATIVE}/{KO_PREFIX}_space-orig_desc-atlas_SPIM.ome.zarr"
    colors = {color["label-value"]: color["rgba"] for color in ome(image)["image-label"]["colors"]}
    assert colors[821] == [1, 2, 3, 255]


@pytest.mark.slow
def test_an_atlas_table_that_comes_later_is_taken_for_all_runs_of_its_atlas(
    cohort: Path, ko_only: Path, tmp_path: Path
) -> None:
    write_atlas_table(tmp_path / "atlas_info.txt")
    package([cohort / "WT"], ko_only, settings(atlas_table=tmp_path / "atlas_info.txt"))
    rows = {row["index"]: row for row in read_tsv(ko_only / "derivatives/catnip/dseg.tsv")}
    assert rows["821"]["color"] == "#145a96"
    assert not list((ko_only / "derivatives/catnip").glob("atlas-*"))


def test_another_voxel_size_makes_native_images_anew(tmp_path: Path, out: Path) -> None:
    result = package([tmp_path / "source"], out, settings(voxel_size_um=(4.0, 4.0, 5.0)))
    assert any("was packaged with voxels of 3.7 x 3.7 x 5 um" in warning for warning in result.warnings)
    assert sorted(target.name.removeprefix(KO_PREFIX) for target in result.made) == [
        "_SPIM.ome.zarr",
        "_desc-FRST_SPIM.ome.zarr",
        "_space-orig_desc-FRSTseg10000_SPIM.ome.zarr",
        "_space-orig_desc-atlas_SPIM.ome.zarr",
        "_space-orig_desc-hemispheremask_SPIM.ome.zarr",
    ]
    assert read_json(out / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.json")["PixelSize"] == [4, 4, 5]


def test_another_version_of_ome_zarr_makes_all_images_anew(tmp_path: Path, out: Path) -> None:
    made = only_made(tmp_path / "source", out, ome_zarr_version=type(settings().ome_zarr_version)("0.4"))
    assert len(made) == 6
    assert not list(out.rglob("zarr.json"))


@pytest.mark.slow
def test_a_log_that_changes_does_not_leave_two_names_for_one_heatmap(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source", only=("heatmaps_atlasspace", LOG))
    log = run / f"{TODAY_NAME}.log.txt"
    text = log.read_text()
    log.write_text("nothing of interest")
    package([tmp_path / "source"], tmp_path / "out", settings())
    log.write_text(text)
    package([tmp_path / "source"], tmp_path / "out", settings())
    heatmaps = [image for image in images_of(tmp_path / "out") if "heatmap10000" in image]
    assert [re.findall(r"space-(\w+?)_", image) for image in heatmaps] == [["CATNIPv2"]]


def test_what_is_excluded_later_is_not_in_the_dataset_any_more(tmp_path: Path, out: Path) -> None:
    """The plan, the README and the provenance say that it is left out: then it must be."""
    plan = catnip2bids.read_plan(out / "code/catnip2bids/plan.toml")
    (run,) = plan.runs
    entries = [
        entry.model_copy(update={"action": Action.EXCLUDE, "reason": "too dim"})
        if entry.source == "640_FRST"
        else entry
        for entry in run.entries
    ]
    changed = plan.model_copy(update={"runs": [run.model_copy(update={"entries": entries})]})
    package([tmp_path / "source"], out, settings(), changed)
    package([tmp_path / "source"], tmp_path / "fresh", settings(), changed)
    assert images_of(out) == images_of(tmp_path / "fresh")
    assert_same(out, tmp_path / "fresh")


def test_the_same_run_from_another_place_is_the_same_run(made: Path, ko_only: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "source/KO", tmp_path / "moved/deeper")
    result = package([tmp_path / "moved"], ko_only, settings())
    assert result.ok
    assert not result.made


def test_another_run_for_the_same_sample_is_refused_and_both_are_named(ko_only: Path, tmp_path: Path) -> None:
    other = KO_NAME.replace("12-39-11", "18-00-00")
    write_l0(tmp_path / "source", other, seed=9, only=RAW)
    before = state_of(ko_only)
    with pytest.raises(UsageError) as caught:
        package([tmp_path / "source"], ko_only, settings())
    assert KO_NAME in str(caught.value)
    assert other in str(caught.value)
    assert state_of(ko_only) == before


def test_another_animal_with_the_same_label_is_refused_and_both_are_named(ko_only: Path, tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO_NAME.replace("45670_ko", "45670-ko").replace("_LH_", "_RH_"), seed=9, only=RAW)
    with pytest.raises(UsageError) as caught:
        package([tmp_path / "source"], ko_only, settings())
    assert "45670_ko" in str(caught.value)
    assert "45670-ko" in str(caught.value)


KO_IN_CAPITALS = KO_NAME.replace("45670_ko", "45670_KO")


@pytest.mark.slow
def test_animals_whose_labels_differ_only_in_case_are_refused_and_both_are_named(ko_only: Path, tmp_path: Path) -> None:
    """On macOS and Windows their folders would be one."""
    write_l0(tmp_path / "both", KO_NAME, only=RAW)
    write_l0(tmp_path / "both", KO_IN_CAPITALS, seed=9, only=RAW)
    says = f"{KO_IN_CAPITALS} and {KO_NAME}: the subjects '45670KO' and '45670ko' differ only in case"
    (problem,) = report_on(scan(tmp_path / "both")).problems
    assert problem.startswith(says)
    with pytest.raises(UsageError, match=says):
        package([tmp_path / "both"], tmp_path / "new", settings())
    says = f"{KO_NAME} and {KO_IN_CAPITALS}: the subjects '45670ko' and '45670KO' differ only in case"
    assert not (tmp_path / "new").exists()
    before = state_of(ko_only)
    with pytest.raises(UsageError, match=says):
        package([tmp_path / "both" / KO_IN_CAPITALS], ko_only, settings())
    assert state_of(ko_only) == before
    assert package([tmp_path / "both" / KO_IN_CAPITALS], ko_only, settings(subject="45670b")).ok


@pytest.mark.parametrize(("label", "other"), [("sample", "lefthemisphere2"), ("stain", "CFOS")])
def test_samples_and_stains_of_one_animal_that_differ_only_in_case_are_refused(
    tmp_path: Path, label: str, other: str
) -> None:
    first = "LeftHemisphere2" if label == "sample" else "cFos"
    package([write_l0(tmp_path / "first", only=RAW)], tmp_path / "out", settings(**{label: first}))
    again = KO_NAME.replace("12-39-11", "18-00-00")
    write_l0(tmp_path / "source", again, seed=9, only=RAW)
    before = state_of(tmp_path / "out")
    says = f"{KO_NAME} and {again}: the {label}s '{first}' and '{other}' differ only in case"
    with pytest.raises(UsageError, match=says):
        package([tmp_path / "source"], tmp_path / "out", settings(**{label: other}))
    assert state_of(tmp_path / "out") == before


def test_a_folder_of_somebody_else_that_differs_only_in_case_is_refused(cohort: Path, ko_only: Path) -> None:
    (ko_only / "sub-46001WT/anat").mkdir(parents=True)
    before = state_of(ko_only)
    with pytest.raises(DatasetError, match=r"sub-46001WT: and .*sub-46001wt, .* the same name on macOS and Windows"):
        package([cohort / "WT"], ko_only, settings())
    assert state_of(ko_only) == before


# ---- atlases and stains


def test_tables_of_two_atlases_whose_versions_differ_only_in_case_have_names_of_their_own() -> None:
    assert region_tables._file_names(["v2", "V2", "v5"]) == [
        "atlas-CATNIPv2_dseg.tsv",
        "atlas-CATNIPV2x2_dseg.tsv",
        "atlas-CATNIPv5_dseg.tsv",
    ]


def with_other_atlas(folder: Path) -> None:
    """Write a run of today that was made with an atlas in which other regions have the same ids."""
    run = write_l2(folder, TODAY, seed=3)
    log = run / f"{TODAY_NAME}.log.txt"
    log.write_text(log.read_text().replace(": v2", ": v5").replace("atlas_v2", "atlas_v5"))
    for table in run.glob("FRST_seg*/*.csv"):
        lines = table.read_text().splitlines()
        table.write_text("\n".join([lines[0], *(re.sub(r"^(\d+),", r"\1,Left_", line) for line in lines[1:])]) + "\n")


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_two_atlases_in_one_dataset_keep_their_tables_apart(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO)
    with_other_atlas(tmp_path / "source")
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok
    folder = tmp_path / "out/derivatives/catnip"
    tables = {path.name: read_tsv(path) for path in folder.glob("*dseg.tsv")}
    assert set(tables) == {"atlas-CATNIP_dseg.tsv", "atlas-CATNIPv5_dseg.tsv"}
    assert {path.name for path in folder.glob("*dseg.json")} == {"atlas-CATNIP_dseg.json", "atlas-CATNIPv5_dseg.json"}
    assert all(row["name"].startswith("Left_") for row in tables["atlas-CATNIPv5_dseg.tsv"])
    assert not any(row["name"].startswith("Left_") for row in tables["atlas-CATNIP_dseg.tsv"])
    image = folder / f"sub-46001wt/micr/{TODAY_PREFIX}_space-orig_desc-atlas_SPIM.ome.zarr"
    assert all(label["name"].startswith("Left_") for label in ome(image)["image-label"]["properties"])
    assert catnip2bids.validate(tmp_path / "out").ok
    for name in ("KO", "WT"):
        package([tmp_path / "source" / name], tmp_path / "one by one", settings())
    assert_same(tmp_path / "one by one", tmp_path / "out")


def test_a_run_without_any_table_gets_its_labels_listed(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source")
    (run / "640_FRST_seg/FRSTseg_00010000.csv").unlink()
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.warnings, "atlaslabel_def_origspace")
    rows = read_tsv(tmp_path / "out/derivatives/catnip/dseg.tsv")
    values = set(np.unique(source_planes(run / "atlaslabel_def_origspace")).tolist()) - {0}
    assert {int(row["index"]): row["name"] for row in rows} == {value: f"unlisted_{value}" for value in values}


@pytest.mark.slow
def test_several_stains_of_one_sample(tmp_path: Path) -> None:
    write_l2(tmp_path / "a", TODAY)
    write_l2(tmp_path / "b", TODAY.replace("640_", "488_").replace("09-12-33", "10-00-00"), seed=8)
    package([tmp_path / "a"], tmp_path / "out", settings())
    result = package([tmp_path / "b"], tmp_path / "out", settings(stain="Npas4"))
    assert result.ok
    raw = sorted(path.name for path in (tmp_path / "out").glob("sub-*/micr/*.ome.zarr"))
    assert raw == [f"sub-46001wt_sample-LeftHemisphere_stain-{stain}_SPIM.ome.zarr" for stain in ("Npas4", "cFos")]
    assert len(read_tsv(tmp_path / "out/samples.tsv")) == 1
    assert len(read_tsv(tmp_path / "out/participants.tsv")) == 1
    assert len(read_tsv(tmp_path / "out/sub-46001wt/sub-46001wt_scans.tsv")) == 2
    logs = sorted(path.parent.name for path in (tmp_path / "out/sourcedata").rglob("*.log.txt"))
    assert len(logs) == 2
    rows = read_tsv(tmp_path / "out/derivatives/catnip-counts/counts.tsv")
    assert {row["stain"] for row in rows} == {"cFos", "Npas4"}
    package([tmp_path / "b"], tmp_path / "other order", settings(stain="Npas4"))
    package([tmp_path / "a"], tmp_path / "other order", settings())
    assert_same(tmp_path / "other order", tmp_path / "out")


# ---- animals that people describe


@pytest.mark.slow
def test_a_table_of_participants_is_merged(cohort: Path, tmp_path: Path) -> None:
    table = tmp_path / "animals.tsv"
    table.write_text(
        "participant_id\tage\tstrain\tcage\n"
        "sub-45670-ko\t12\tC57BL/6J\tA 1\n"
        "46001_wt\tn/a\tC57BL/6N\t\n"
        "99999\t3\tx\tz\n"
    )
    result = package([cohort], tmp_path / "out", settings(participants=table))
    assert result.ok
    rows = {row["participant_id"]: row for row in read_tsv(tmp_path / "out/participants.tsv")}
    assert set(rows) == {"sub-45670ko", "sub-45925floxed", "sub-46001wt"}
    ko = rows["sub-45670ko"]
    assert (ko["age"], ko["strain"], ko["cage"], ko["sex"], ko["genotype"]) == ("12", "C57BL/6J", "A 1", "F", "ko")
    assert (rows["sub-46001wt"]["strain"], rows["sub-46001wt"]["cage"]) == ("C57BL/6N", "n/a")
    assert rows["sub-45925floxed"]["cage"] == "n/a"
    assert read_json(tmp_path / "out/participants.json")["cage"]["Description"]
    package([cohort], tmp_path / "out", settings())
    assert {row["participant_id"]: row for row in read_tsv(tmp_path / "out/participants.tsv")} == rows


def test_a_participant_who_is_not_there_is_said(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "animals.tsv").write_text("participant_id\tage\n45671-ko\t12\n")
    result = package([cohort / "KO"], tmp_path / "out", settings(participants=tmp_path / "animals.tsv"))
    assert mentions(result.warnings, "45671")


# ---- what people edit


@pytest.mark.slow
def test_what_people_wrote_stays(cohort: Path, ko_only: Path) -> None:
    out = ko_only
    readme = out / "README.md"
    readme.write_text(
        "Our own words.\n\n" + readme.read_text(encoding="utf-8") + "\nThanks to all.\n", encoding="utf-8"
    )
    (out / "SPIM.json").write_text(
        (out / "SPIM.json").read_text().replace('"Manufacturer": "n/a"', '"Manufacturer": "ACME"')
    )
    table = out / "participants.tsv"
    table.write_text(
        table.read_text()
        .replace("\tF\t", "\tM\t")
        .replace("genotype\n", "genotype\tcage\n")
        .replace("ko\n", "ko\tA1\n")
    )
    description = read_json(out / "dataset_description.json")
    description |= {"Authors": ["A", "B"], "Funding": ["C"], "Name": "Ours"}
    (out / "dataset_description.json").write_text(json.dumps(description))
    (out / "CHANGES").write_text("1.0.1 2026-01-01\n  - Mended.\n")
    (out / ".bidsignore").write_text((out / ".bidsignore").read_text() + "mine.txt\n")
    (out / "mine.txt").write_text("x")
    sidecar = out / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.json"
    sidecar.write_text(sidecar.read_text().replace('"PixelSizeUnits"', '"Immersion": "oil",\n  "PixelSizeUnits"'))

    assert package([cohort / "KO", cohort / "WT"], out, settings()).ok

    text = readme.read_text(encoding="utf-8")
    assert text.startswith("Our own words.")
    assert text.endswith("Thanks to all.\n")
    assert "46001wt" in text
    assert read_json(out / "SPIM.json")["Manufacturer"] == "ACME"
    ko, *_ = read_tsv(table)
    assert (ko["sex"], ko["cage"]) == ("M", "A1")
    after = read_json(out / "dataset_description.json")
    assert (after["Authors"], after["Funding"], after["Name"]) == (["A", "B"], ["C"], "Ours")
    assert "Mended" in (out / "CHANGES").read_text()
    assert "mine.txt" in (out / ".bidsignore").read_text()
    assert (out / "mine.txt").read_text() == "x"
    assert read_json(sidecar)["Immersion"] == "oil"


@pytest.mark.slow
def test_a_plan_for_the_next_animal_keeps_what_it_does_not_speak_of(cohort: Path, tmp_path: Path) -> None:
    plan = catnip2bids.make_plan(catnip2bids.scan([cohort / "KO"]))
    plan.dataset.name, plan.dataset.authors, plan.dataset.license = "Ours", ["A", "B"], "CC0"
    plan.dataset.voxel_size_um = VOXEL_SIZE_UM
    plan.dataset.acquisition = {"Manufacturer": "ACME"}
    package([cohort / "KO"], tmp_path / "out", plan=plan)
    package([cohort / "WT"], tmp_path / "out", settings(), plan=catnip2bids.make_plan(catnip2bids.scan(cohort / "WT")))
    package([cohort / "FLOX"], tmp_path / "out", settings())  # without a plan
    after = read_json(tmp_path / "out/dataset_description.json")
    assert (after["Name"], after["Authors"], after["License"]) == ("Ours", ["A", "B"], "CC0")
    kept = catnip2bids.read_plan(tmp_path / "out/code/catnip2bids/plan.toml")
    assert (kept.dataset.name, kept.dataset.authors, len(kept.runs)) == ("Ours", ["A", "B"], 3)
    assert kept.dataset.acquisition == {"Manufacturer": "ACME"}


# ---- labels inside images


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in `source`, and its dataset with labels inside of images in `out`."""
    folder = tmp_path_factory.mktemp("embedded")
    write_l2(folder / "source")
    assert package([folder / "source"], folder / "out", settings(embed_labels=True)).ok
    return folder


@pytest.fixture
def with_labels(embedded: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(embedded, tmp_path, dirs_exist_ok=True))


def test_labels_are_embedded_where_they_are_wanted(embedded: Path) -> None:
    run = embedded / "source" / TODAY
    raw = embedded / f"out/sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr"
    listed = read_json(raw / "labels/zarr.json")["attributes"]["ome"]["labels"]
    assert set(listed) == {"atlas", "hemispheremask", "FRSTseg10000"}
    assert {path.name for path in (raw / "labels").iterdir() if path.is_dir()} == set(listed)
    for name, source in (("atlas", "atlaslabel_def_origspace"), ("FRSTseg10000", "FRST_seg/FRSTseg_00010000")):
        np.testing.assert_array_equal(level(raw / "labels" / name), source_planes(run / source))
        assert ome(raw / "labels" / name)["image-label"]
    np.testing.assert_array_equal(level(raw), source_planes(run / "N4_masked"))


@pytest.mark.slow
def test_a_dataset_with_embedded_labels_is_valid(embedded: Path) -> None:
    assert catnip2bids.validate(embedded / "out").ok


@pytest.mark.slow
def test_embedded_labels_follow_their_images(with_labels: Path) -> None:
    source, dataset = with_labels / "source", with_labels / "out"
    before = files_of(dataset)
    assert not package([source], dataset, settings(embed_labels=True)).made
    assert {k: v for k, v in files_of(dataset).items() if k not in (PROVENANCE, CHECKSUMS)} == {
        k: v for k, v in before.items() if k not in (PROVENANCE, CHECKSUMS)
    }
    for path in ("atlaslabel_def_origspace", "N4_masked"):
        rewrite_slice(slices_of(source / TODAY / path)[2], np.full(SHAPE[1:], 821, np.uint16))
    package([source], dataset, settings(embed_labels=True))
    package([source], with_labels / "fresh", settings(embed_labels=True))
    assert_same(dataset, with_labels / "fresh")


def test_embedded_labels_do_not_outlive_their_images(with_labels: Path) -> None:
    """Without the option again, labels inside must not go stale when the label image changes."""
    run = with_labels / "source" / TODAY
    rewrite_slice(slices_of(run / "atlaslabel_def_origspace")[2], np.full(SHAPE[1:], 821, np.uint16))
    package([with_labels / "source"], with_labels / "out", settings())
    inside = with_labels / f"out/sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr/labels/atlas"
    if inside.is_dir():
        np.testing.assert_array_equal(level(inside), source_planes(run / "atlaslabel_def_origspace"))


@pytest.mark.slow
def test_killed_while_embedding_nothing_half_stays(tmp_path: Path) -> None:
    script = _KILLED_WHILE_REPLACING.replace("overwrite=True", "embed_labels=True").replace(
        "shutil.rmtree = rmtree",
        "import catnip2bids.packaging.images as images\n"
        "def killed(*args): os.kill(os.getpid(), signal.SIGKILL)\nimages.write_labels_group = killed",
    )
    write_l2(tmp_path / "source")
    assert python(script, tmp_path / "source", tmp_path / "out").returncode == -9
    package([tmp_path / "source"], tmp_path / "out", settings())
    package([tmp_path / "source"], tmp_path / "fresh", settings())
    assert_same(tmp_path / "out", tmp_path / "fresh")


# ---- what the dataset knows already


@pytest.mark.slow
def test_a_run_that_is_there_under_other_labels_is_refused(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=RAW)
    package([tmp_path / "source"], tmp_path / "out", settings(subject="a1", sample="LeftHemisphere"))
    before = dataset_files(tmp_path / "out")
    for other in ({"subject": "b2"}, {"sample": "RightHemisphere"}, {"stain": "NeuN"}):
        labels = {"subject": "a1", "sample": "LeftHemisphere"} | other
        with pytest.raises(UsageError, match="sub-a1"):
            package([tmp_path / "source"], tmp_path / "out", settings(**labels))
    assert dataset_files(tmp_path / "out") == before


@pytest.mark.slow
def test_animals_whose_folders_have_one_name_are_told_apart_by_their_parents(tmp_path: Path) -> None:
    """Today's CATNIP names folders after the second it began in, which a batch of jobs may share."""
    for parent in ("_46001_LH_wt_20260502", "_46002_LH_wt_20260502"):
        write_l2(tmp_path / "source", f"{parent}/{TODAY_NAME}", only=RAW)
    for _ in range(2):  # and again, to go on
        assert package([tmp_path / "source"], tmp_path / "out", settings()).ok
    for parent in ("_46002_LH_wt_20260502", "_46001_LH_wt_20260502"):
        assert package([tmp_path / "source" / parent], tmp_path / "one by one", settings()).ok
    assert images_of(tmp_path / "one by one") == images_of(tmp_path / "out")


@pytest.mark.slow
def test_a_table_that_was_given_once_stays_without_the_option(tmp_path: Path) -> None:
    write_l0(tmp_path / "source")
    write_atlas_table(tmp_path / "atlas_info.txt")
    table = tmp_path / "out/derivatives/catnip/dseg.tsv"
    package([tmp_path / "source"], tmp_path / "out", settings(atlas_table=tmp_path / "atlas_info.txt"))
    before = table.read_bytes()
    again = package([tmp_path / "source"], tmp_path / "out", settings())
    assert table.read_bytes() == before
    assert again.made == ()


def test_descriptions_say_what_images_are_even_where_they_were_counted(made: Path) -> None:
    rows = read_tsv(made / "out/derivatives/catnip/descriptions.tsv")
    assert [row["description"] for row in rows if row["desc_id"] == "desc-FRSTseg10000"] == [
        "binary cell segmentation, FRST at least 10000: 255 inside cells"
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_a_dataset_without_its_raw_image_is_valid_all_the_same(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source")
    slices_of(run / "640_N4")[3].unlink()
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.problems, "640_N4")
    report = catnip2bids.validate(tmp_path / "out")
    assert [finding for finding in report.findings if finding.severity == "error"] == []


@pytest.mark.slow
def test_what_a_person_added_to_the_table_of_scans_outlives_the_format(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO)
    package([tmp_path / "source"], tmp_path / "out", settings(image_format=Format.OME_TIFF))
    (scans,) = (tmp_path / "out").glob("sub-*/*_scans.tsv")
    header, row = scans.read_text(encoding="utf-8").splitlines()
    scans.write_text(f"{header}\toperator\n{row}\tJane\n", encoding="utf-8")
    package([tmp_path / "source"], tmp_path / "out", settings())
    (scan,) = read_tsv(scans)
    assert scan["operator"] == "Jane"
    assert (scans.parent / scan["filename"]).is_dir()


@pytest.mark.slow
def test_what_is_excluded_later_is_removed_but_not_the_copies_beside_it(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / "notes").mkdir()
    (run / "notes/private.txt").write_text("not to be published")
    (run / "640_FRST/notes.txt").write_text("a note")
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    assert list((tmp_path / "out/sourcedata").rglob("private.txt"))
    plan = make_plan(scan([tmp_path / "cohort"]))
    excluded = {"notes", "640_FRST_seg/FRSTseg_00010000.csv", "640_FRST"}
    (planned,) = plan.runs
    entries = [
        entry.model_copy(update={"action": Action.EXCLUDE, "reason": "private"}) if entry.source in excluded else entry
        for entry in planned.entries
    ]
    plan = plan.model_copy(update={"runs": [planned.model_copy(update={"entries": entries})]})
    assert package([tmp_path / "cohort"], tmp_path / "out", settings(), plan).ok
    left = files_of(tmp_path / "out")
    assert not [path for path in left if "private.txt" in path or path.endswith(("10000.csv", "10000_counts.tsv"))]
    assert not [image for image in images_of(tmp_path / "out") if "desc-FRST_" in image]
    assert list((tmp_path / "out/sourcedata").rglob("notes.txt"))
    assert catnip2bids.verify(tmp_path / "out", tmp_path / "cohort").ok


def test_a_readme_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = safe_path(tmp_path, "README.md")
    earlier = "<!-- written by catnip2bids: as an earlier version worded it -->"
    path.write_text(f"mine\n{earlier}\nold\n<!-- end of what catnip2bids writes -->\nmine too\n")
    replace_marked_part(path, "new")
    lines = path.read_text().splitlines()
    assert (lines[0], lines[2:]) == ("mine", ["new", "<!-- end of what catnip2bids writes -->", "mine too"])
