"""Runs are found wherever they are, everything in them is listed once, and nothing is touched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import tifffile
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from catnip2bids.engine import Resources
from catnip2bids.errors import SourceError
from catnip2bids.progress import Progress
from catnip2bids.scanning import Entry, Run, scan, scan_sources, scan_with_resources
from catnip2bids.volume import inspect_volume
from in_process import called
from runs import FLOX, KO, KO_NAME, RAW, SHAPE, TODAY, TODAY_NAME, slices_of, state_of, write_l0, write_l1, write_l2


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, KO, exclusion=True)
    write_l0(folder, FLOX, seed=2)
    write_l2(folder, TODAY, exclusion=True)
    return folder


def only_run(source: Path) -> Run:
    (run,) = scan([source]).runs
    return run


def entry_of(run: Run, path: str) -> Entry:
    (entry,) = [entry for entry in run.entries if entry.path == path]
    return entry


def assert_everything_listed_once(run: Run) -> None:
    """Hold the entries of a run against what a plain walk finds."""
    listed = Counter(entry.path for entry in run.entries)
    assert set(listed.values()) <= {1}
    inside = [entry for entry in run.entries if not entry.path.startswith("../")]
    n_files = 0
    for folder, folders, files in os.walk(run.folder):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        n_files += len(files) + len(links)
        lonely = [] if folders or files or Path(folder) == run.folder else [""]
        for name in [*files, *links, *lonely]:
            path = (Path(folder) / name).relative_to(run.folder).as_posix()
            assert any(path == entry or path.startswith(f"{entry}/") for entry in listed), path
    assert sum(entry.n_files for entry in inside) == n_files


def test_nested_runs_are_found(cohort: Path) -> None:
    found = scan([cohort])
    assert {run.source for run in found.runs} == {KO, FLOX, TODAY}
    assert {run.name.subject_label for run in found.runs} == {"45670ko", "45925floxed", "46001wt"}
    assert {run.layout for run in found.runs} == {"L0", "L2"}


def test_a_run_that_is_given_directly_is_found(cohort: Path) -> None:
    run = only_run(cohort / FLOX)
    assert run.source == "."
    assert run.name.subject_label == "45925floxed"
    assert run.name.hemisphere == "R"
    assert run.source_of(entry_of(run, "640_N4")) == "640_N4"


def test_what_parents_tell_is_known_from_within(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cohort / TODAY)
    run = only_run(Path())
    assert (run.name.subject_label, run.name.hemisphere) == ("46001wt", "L")


def test_a_run_given_twice_is_one(cohort: Path) -> None:
    assert len(scan([cohort, cohort / "KO", cohort / KO]).runs) == 3


def test_several_runs_given_directly_keep_their_own_entries(cohort: Path) -> None:
    found = scan([cohort / KO, cohort / TODAY])
    assert [run.layout for run in found.runs] == ["L0", "L2"]


def test_a_run_behind_a_link_is_found_once(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(cohort / "KO")
    (tmp_path / "b").symlink_to(cohort / "KO")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert only_run(tmp_path).name.subject_label == "45670ko"


@pytest.mark.parametrize("path", ["nothing", "empty", "file.txt"])
def test_a_source_without_runs_is_an_error_that_names_it(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(SourceError, match=path):
        scan([tmp_path / path])


def test_one_source_without_runs_among_good_ones_is_an_error(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=tmp_path.name):
        scan([cohort, tmp_path])


@pytest.mark.parametrize("name", [KO, FLOX, TODAY])
def test_everything_is_listed_once(cohort: Path, name: str) -> None:
    assert_everything_listed_once(only_run(cohort / name))


def test_scanning_changes_nothing(cohort: Path) -> None:
    before = state_of(cohort)
    scan([cohort])
    assert state_of(cohort) == before


def test_the_census_knows_shapes_types_and_thresholds(cohort: Path) -> None:
    run = only_run(cohort / TODAY)
    volumes = {entry.path: entry.volume for entry in run.entries if entry.volume}
    seg = volumes["FRST_seg/FRSTseg_00010000"]
    assert (seg.shape, seg.dtype.name) == (SHAPE, "uint8")
    assert (volumes["FRST"].shape, volumes["FRST"].dtype.name) == (SHAPE, "float32")
    assert entry_of(run, "FRST_seg/FRSTseg_00010000").threshold == 10000
    assert entry_of(run, "FRST_seg/FRSTseg_00010000_filtered").n_files == SHAPE[0]


def test_planes_are_in_the_order_of_their_numbers_whatever_the_padding(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME, plane_digits=1)
    volume = entry_of(only_run(run), "640_N4").volume
    assert volume is not None
    names = [volume.plane_source(plane).path.name for plane in range(SHAPE[0])]
    assert names == [f"Z{number}.tif" for number in range(1, SHAPE[0] + 1)]


# ---- names in another case


def test_entries_are_found_whatever_the_case_of_their_names(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    for path in sorted(run.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))
    found = only_run(run)
    paths = {entry.path: entry.component.role for entry in found.entries if entry.component}
    assert paths["640_FRST_SEG/FRSTSEG_00010000.CSV"] == "counts"
    assert paths["640_FRST_SEG/FRSTSEG_00010000.TIF"] == "FRSTseg"
    assert {"640_N4", "ATLASLABEL_DEF_ORIGSPACE", "HEATMAPS_ATLASSPACE/FRSTSEG_00010000.TIF"} < paths.keys()
    assert len(paths) == len(found.entries)
    assert all(entry.volume for entry in found.entries if entry.component and entry.component.grid)
    assert found.layout == "L0"


# ---- what else lies in run folders


def test_leftovers_of_operating_systems_are_set_aside_and_no_slices(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    paths = [".DS_Store", "640_N4/.DS_Store", "640_N4/Thumbs.db", "640_N4/._Z0001.tif", "640_FRST_seg/.DS_Store"]
    for path in paths:
        (run / path).write_bytes(b"x")
    found = only_run(run)
    assert_everything_listed_once(found)
    assert all(entry_of(found, path).set_aside for path in paths)
    assert entry_of(found, "640_N4").volume is not None


def test_a_folder_with_the_name_of_a_leftover_file_is_none(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / "._important").mkdir()
    (run / "._important/data.csv").write_text("1")
    assert not entry_of(only_run(run), "._important").set_aside


def test_strangers_among_slices_are_listed_by_themselves(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / "640_N4/notes.txt").write_text("x")
    (run / "640_N4/old").mkdir()
    (run / "640_N4/old/Z0001.tif").write_bytes(b"x")
    found = only_run(run)
    assert_everything_listed_once(found)
    assert entry_of(found, "640_N4/notes.txt").component is None
    assert entry_of(found, "640_N4/old").component is None
    assert entry_of(found, "640_N4").volume is not None


@pytest.mark.parametrize("name", ["._Z0001.tif", ".copy.tif"])
def test_scan_and_convert_agree_on_what_a_slice_is(tmp_path: Path, name: str) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / "640_N4" / name).write_bytes((run / "640_N4/Z0001.tif").read_bytes())
    entry = entry_of(only_run(run), "640_N4")
    alone = inspect_volume(run / "640_N4")
    assert (entry.problems, alone.problems) == ((), ())
    assert entry.volume is not None
    assert alone.volume is not None
    assert entry.volume.shape == alone.volume.shape == SHAPE
    assert_everything_listed_once(only_run(run))


def test_a_tiff_that_no_number_puts_among_the_slices_is_a_problem_for_both(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / "640_N4/whole.btf").write_bytes((run / "640_N4/Z0001.tif").read_bytes())
    entry = entry_of(only_run(run), "640_N4")
    assert entry.problems == inspect_volume(run / "640_N4").problems
    assert "whole.btf" in entry.problems[0]


def test_empty_folders_are_listed(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    for path in ("nothing", "640_FRST_seg_corr", "heatmaps_atlasspace_corrected", "640_FRST_hemisphere"):
        (run / path).mkdir()
    found = only_run(run)
    assert_everything_listed_once(found)
    assert entry_of(found, "640_FRST_hemisphere").problems
    assert "640_FRST_hemisphere" in entry_of(found, "640_FRST_hemisphere").problems[0]


def test_a_link_within_the_run_is_set_aside(tmp_path: Path) -> None:
    """From c9fb7b4 to be073b2 CATNIP made the masked labels of a whole brain a link to the unmasked ones."""
    run = write_l2(tmp_path, TODAY_NAME)
    for path in (run / "atlaslabel_def_origspace_masked").iterdir():
        path.unlink()
    (run / "atlaslabel_def_origspace_masked").rmdir()
    (run / "atlaslabel_def_origspace_masked").symlink_to("atlaslabel_def_origspace")
    found = only_run(run)
    assert_everything_listed_once(found)
    linked = entry_of(found, "atlaslabel_def_origspace_masked")
    assert "atlaslabel_def_origspace" in linked.set_aside
    assert not linked.problems


def test_a_link_out_of_the_run_is_followed_and_said(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", KO_NAME)
    (run / "640_N4").rename(tmp_path / "elsewhere")
    (run / "640_N4").symlink_to(tmp_path / "elsewhere")
    linked = entry_of(only_run(run), "640_N4")
    assert linked.volume is not None
    assert "640_N4" in linked.warnings[0]


def test_a_linked_folder_of_components_is_said_too(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", KO_NAME)
    (run / "640_FRST_seg").rename(tmp_path / "elsewhere")
    (run / "640_FRST_seg").symlink_to(tmp_path / "elsewhere")
    entries = [entry for entry in only_run(run).entries if entry.path.startswith("640_FRST_seg")]
    assert any(entry.volume for entry in entries)
    assert any("640_FRST_seg" in warning for entry in entries for warning in entry.warnings)


def test_broken_links_and_links_in_circles_are_problems(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / "gone").symlink_to(tmp_path / "nowhere")
    (run / "circle").symlink_to("circle")
    found = only_run(run)
    assert "gone" in entry_of(found, "gone").problems[0]
    assert "circle" in entry_of(found, "circle").problems[0]


def test_a_broken_link_among_slices_is_a_problem_of_the_series(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    slice_file = slices_of(run / "640_N4")[5]
    slice_file.unlink()
    slice_file.symlink_to(tmp_path / "nowhere.tif")
    entry = entry_of(only_run(run), "640_N4")
    assert entry.volume is None
    assert slice_file.name in " ".join(entry.problems)


@pytest.mark.parametrize("parent", ["my brains (2021) [new]", "Mäuse & Köpfe 脳", "50% & more; 'quoted' \"twice\" #1"])
def test_any_name_works(tmp_path: Path, parent: str) -> None:
    run = write_l0(tmp_path / parent, KO_NAME)
    (run / "640_FRST_seg" / f"{parent}.txt").write_text("x")
    (run / parent).mkdir()
    (run / parent / f"{parent} 1.bin").write_bytes(b"x")
    found = only_run(tmp_path / parent)
    assert_everything_listed_once(found)
    assert entry_of(found, f"{parent}").n_bytes == 1


def test_a_log_beside_the_run_folder_belongs_to_the_run(tmp_path: Path) -> None:
    run = write_l2(tmp_path, TODAY_NAME)
    (run / f"{TODAY_NAME}.log.txt").rename(tmp_path / f"{TODAY_NAME}.log.txt")
    found = only_run(tmp_path)
    assert found.log.atlas_version == "v2"
    log = entry_of(found, f"../{TODAY_NAME}.log.txt")
    assert found.source_of(log) == f"{TODAY_NAME}.log.txt"


def test_a_log_beside_a_run_that_is_given_directly_is_read_too(tmp_path: Path) -> None:
    """The same run must become the same dataset whether it or the folder above it is given."""
    run = write_l2(tmp_path, TODAY_NAME)
    (run / f"{TODAY_NAME}.log.txt").rename(tmp_path / f"{TODAY_NAME}.log.txt")
    assert only_run(run).log.atlas_version == "v2"


def test_the_log_of_another_run_beside_is_not_taken(tmp_path: Path) -> None:
    write_l0(tmp_path, KO_NAME)
    (tmp_path / f"{TODAY_NAME}.log.txt").write_text("x")
    assert not only_run(tmp_path).log.fields


def test_worker_processes_find_what_this_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_l0(tmp_path, KO, exclusion=True)
    slices_of(write_l2(tmp_path, TODAY) / "FRST")[0].write_bytes(b"no TIFF")
    here = scan(tmp_path)
    looked_at: list[str] = []
    monkeypatch.setattr("catnip2bids.scanning.scan_sources._HEADER_BYTES", 2**28)
    progress = Progress()
    monkeypatch.setattr(progress, "looking_at", looked_at.append)
    elsewhere = scan_with_resources(tmp_path, progress, Resources(2, 2**30))
    assert elsewhere == here
    assert [entry.path for entry in elsewhere.runs[1].entries if entry.problems] == ["FRST"]
    assert looked_at == [f"{run.folder.name}/{entry.path}" for run in here.runs for entry in run.entries]
    components = [[entry.component for run in found.runs for entry in run.entries] for found in (here, elsewhere)]
    assert list(map(id, components[0])) == list(map(id, components[1]))


def test_the_image_size_of_the_log_is_held_against_the_slices(tmp_path: Path) -> None:
    run = write_l2(tmp_path, TODAY_NAME)
    slices_of(run / "FRST")[-1].unlink()  # the last one: no gap shows
    found = only_run(run)
    frst = entry_of(found, "FRST")
    assert frst.volume is None
    assert "FRST" in frst.problems[0]
    assert "12" in frst.problems[0]
    assert entry_of(found, "N4_masked").volume is not None
    heatmaps = [entry for entry in found.entries if entry.path.startswith("heatmaps_atlasspace/")]
    assert heatmaps
    assert not any(entry.problems for entry in heatmaps)


def test_without_a_log_an_image_of_another_size_is_a_warning(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    slices_of(run / "640_FRST")[-1].unlink()
    frst = entry_of(only_run(run), "640_FRST")
    assert "640_FRST" in " ".join(frst.warnings)


def test_a_run_of_the_second_layout_is_read(tmp_path: Path) -> None:
    found = only_run(write_l1(tmp_path, TODAY_NAME, exclusion=True))
    assert found.layout == "L1"
    assert_everything_listed_once(found)
    assert {entry.component.role for entry in found.entries if entry.component} >= {
        "N4masked", "FRST", "FRSTseg", "atlasmasked", "hemispheremask", "heatmap", "counts", "countscorrected"
    }  # fmt: skip


def test_stacks_are_looked_at_page_by_page(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    stack = entry_of(only_run(run), "640_FRST_seg/FRSTseg_00010000.tif").volume
    assert stack is not None
    with tifffile.TiffFile(run / "640_FRST_seg/FRSTseg_00010000.tif") as tiff:
        assert stack.shape == (len(tiff.pages), *SHAPE[1:])


_FOLDERS = st.sampled_from(
    ["640_N4", "640_FRST_seg", "640_FRST_seg_corr", "FRSTseg_00010000", "heatmaps_atlasspace", "cellvolumes", "notes",
     "a b[1]", "ö", "atlaslabel_def_origspace_masked"]
)  # fmt: skip
_FILES = st.sampled_from(
    ["FRSTseg_00010000.csv", "Z0001.tif", "Z0002.tif", ".DS_Store", "notes.txt", "FRSTseg_00010000.tif"]
)
_FOLDER_PATHS = st.lists(_FOLDERS, max_size=3).map("/".join)


@given(
    files=st.lists(st.tuples(_FOLDER_PATHS, _FILES), max_size=12),
    folders=st.lists(_FOLDER_PATHS, max_size=4),
)
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_lies_in_a_run_is_listed_once(files: list[tuple[str, str]], folders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        (run / "FRST").mkdir(parents=True)
        for path in folders:
            (run / path).mkdir(parents=True, exist_ok=True)
        for path, file in files:
            (run / path).mkdir(parents=True, exist_ok=True)
            (run / path / file).write_bytes(b"x")
        assert_everything_listed_once(only_run(run))


def test_what_every_run_has_is_missed(tmp_path: Path) -> None:
    run = write_l2(tmp_path)
    assert not only_run(tmp_path).warnings
    shutil.rmtree(run / "N4_masked")
    (run / "FRST_seg/FRSTseg_00010000.csv").unlink()
    no_image, no_counts = only_run(tmp_path).warnings
    assert "N4_masked" in no_image
    assert "no raw image" in no_image
    assert "threshold 10000" in no_counts


def test_what_is_not_used_of_a_name_is_a_warning(tmp_path: Path) -> None:
    run = write_l0(tmp_path, "081021_M_45670_ko_LH_14-48-50_decon_2021-10-28_12-39-11")
    of_sex, of_date = only_run(tmp_path).warnings
    assert of_sex.startswith(f"{run}: M before 45670")
    assert of_date.startswith(f"{run}: the date in its name")
    assert "acquired" in of_date


def test_the_log_is_read_that_says_something_of_the_run(tmp_path: Path) -> None:
    run = write_l2(tmp_path, TODAY)
    (run / "0.log").write_text("ANTs: iteration 1")
    assert only_run(tmp_path).log.atlas_version == "v2"
    assert not only_run(tmp_path).warnings


@pytest.mark.parametrize("text", ["", "=== Image Info ===\nImage si", "\ufeffnotes"])
def test_a_log_that_says_nothing_of_the_run_is_a_warning(tmp_path: Path, text: str) -> None:
    run = write_l2(tmp_path, TODAY)
    log = run / f"{TODAY_NAME}.log.txt"
    log.write_text(text)
    (warning,) = only_run(tmp_path).warnings
    assert warning.startswith(f"{log}: says neither the atlas version")


def test_counts_whose_cells_cannot_be_found_are_a_warning(tmp_path: Path) -> None:
    write_l2(tmp_path)
    (segmentation,) = tmp_path.rglob("FRSTseg_00010000")
    shutil.rmtree(segmentation)
    (warning,) = only_run(tmp_path).warnings
    assert "has a table of cell counts but no segmentation for threshold 10000" in warning


def test_counts_whose_segmentation_does_not_fit_the_labels_are_a_warning(tmp_path: Path) -> None:
    write_l2(tmp_path)
    for log in tmp_path.rglob("*.log.txt"):  # which would say that the segmentation is incomplete
        log.unlink()
    (segmentation,) = tmp_path.rglob("FRSTseg_00010000")
    slices_of(segmentation)[-1].unlink()
    (warning,) = (text for text in only_run(tmp_path).warnings if "table of cell counts" in text)
    assert "no atlas labels of the size of the segmentation" in warning
    assert "threshold 10000" in warning


def _die(_: Entry) -> Entry:
    os._exit(1)


@pytest.mark.parametrize("words", [("scan", "-o", "plan.toml"), ("package", "-o", "dataset", "--voxel-size", 1, 1, 1)])
def test_a_worker_that_dies_while_scanning_ends_with_2_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...]
) -> None:
    write_l0(tmp_path / "cohort", only=RAW)
    monkeypatch.setattr(scan_sources, "_HEADER_BYTES", 2**30)
    monkeypatch.setattr(scan_sources, "_inspected", _die)
    done = called(*words, "cohort", cwd=tmp_path)
    assert (done.returncode, "a worker died" in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
