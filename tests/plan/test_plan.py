"""What is done with every entry by default, plans that people correct, and plans that are wrong."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from catnip2bids import package
from catnip2bids.catnip.component_type import Action
from catnip2bids.errors import Catnip2bidsError, PlanError, UsageError
from catnip2bids.packaging import Settings
from catnip2bids.plan import (
    Plan,
    make_plan,
    problems_of,
    read_plan,
    report_on,
    stated_size_warnings,
    to_toml,
    write_plan,
)
from catnip2bids.plan.checks import RunIdentity, divided_animals, match_plan, voxel_size_warning
from catnip2bids.plan.model import AboutDataset, Participant, PlannedEntry, PlannedRun
from catnip2bids.scanning import scan
from runs import (
    FLOX,
    KO,
    KO_NAME,
    LOG,
    RAW,
    TODAY,
    TODAY_NAME,
    decisions,
    images_of,
    mentions,
    ome,
    settings,
    slices_of,
    source_planes,
    write_l0,
    write_l1,
    write_l2,
)
from runs import level as read_level

CONVERT, COPY, EXCLUDE = Action.CONVERT, Action.COPY, Action.EXCLUDE


def planned(source: Path) -> dict[str, PlannedEntry]:
    """Make the default plan of the only run of a source."""
    (run,) = make_plan(scan([source])).runs
    return {entry.source: entry for entry in run.entries}


def written_plan(source: Path, path: Path, *changes: tuple[str, str]) -> Path:
    """Write the default plan and correct its text."""
    found = scan([source])
    write_plan(make_plan(found), path, found, overwrite=True)
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def line_of(plan: Path, source: str) -> str:
    """Return the line of a plan that is about an entry."""
    (line,) = [line for line in plan.read_text(encoding="utf-8").splitlines() if f'source = "{source}"' in line]
    return line


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 2021, for tests that only read it."""
    folder = tmp_path_factory.mktemp("read only") / "source"
    write_l0(folder)
    return folder


@pytest.fixture(scope="module")
def default_plan(source: Path) -> Path:
    """Return its default plan, for tests that only read it."""
    return written_plan(source, source.parent / "plan.toml")


# ---- defaults


def test_the_plan_lists_every_entry_once_and_gives_a_reason(tmp_path: Path) -> None:
    write_l0(tmp_path, KO, exclusion=True)
    write_l2(tmp_path, TODAY, exclusion=True)
    found = scan([tmp_path])
    plan = make_plan(found)
    for run, part in zip(found.runs, plan.runs, strict=True):
        assert [entry.path for entry in run.entries] == [entry.source for entry in part.entries]
        assert all(entry.reason for entry in part.entries)


def test_the_plan_knows_animal_sample_time_and_atlas(tmp_path: Path) -> None:
    write_l0(tmp_path, KO)
    write_l2(tmp_path, TODAY)
    ko, today = make_plan(scan([tmp_path])).runs
    assert (ko.subject, ko.sample, ko.stain, ko.atlas_version) == ("45670ko", "LeftHemisphere", "cFos", None)
    assert ko.acquired == "2021-08-10T14:48:50"
    assert (ko.participant.sex, ko.participant.genotype, ko.participant.species) == ("F", "ko", "mus musculus")
    assert (today.subject, today.sample, today.atlas_version) == ("46001wt", "LeftHemisphere", "v2")
    assert today.participant.sex is None


def test_masked_labels_are_left_out_beside_the_unmasked_ones(tmp_path: Path) -> None:
    entries = planned(write_l0(tmp_path, KO_NAME))
    masked = entries["atlaslabel_def_origspace_masked"]
    assert masked.action == EXCLUDE
    assert "atlaslabel_def_origspace" in masked.reason
    assert entries["atlaslabel_def_origspace"].action == CONVERT


def test_masked_labels_are_packaged_where_they_are_alone(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    shutil.rmtree(run / "atlaslabel_def_origspace")
    assert planned(run)["atlaslabel_def_origspace_masked"].action == CONVERT


def test_masked_labels_are_packaged_where_the_unmasked_ones_are_damaged(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    slices_of(run / "atlaslabel_def_origspace")[4].unlink()
    assert planned(run)["atlaslabel_def_origspace_masked"].action == CONVERT


def test_masked_labels_that_are_damaged_do_not_matter_where_they_are_left_out(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", KO_NAME)
    slices_of(run / "atlaslabel_def_origspace_masked")[4].unlink()
    report = report_on(scan([run]))
    assert not [problem for problem in report.problems if "atlaslabel_def_origspace" not in problem]
    assert planned(run)["atlaslabel_def_origspace_masked"].action == EXCLUDE


def test_intermediates_are_left_out_and_small_files_copied(tmp_path: Path) -> None:
    run = write_l1(tmp_path, TODAY_NAME, exclusion=True)
    shutil.copytree(run / "640_N4_masked", run / "640_flipped")
    shutil.copytree(run / "640_N4_masked", run / "640_N4Field")
    (run / "640_downsampled_6x6x5.nii.gz").write_bytes(b"x")
    (run / "notes.txt").write_text("x")
    entries = planned(run)
    actions = {path: entry.action for path, entry in entries.items()}
    assert actions["640_flipped"] == actions["640_N4Field"] == EXCLUDE
    assert actions["640_downsampled_6x6x5.nii.gz"] == actions["notes.txt"] == COPY
    assert actions[f"{TODAY_NAME}.log.txt"] == actions["atlasimage_reg0GenericAffine.mat"] == COPY
    assert actions["640_FRST_seg/FRSTseg_00010000.csv"] == CONVERT
    assert actions["640_FRST_seg_corrected/FRSTseg_00010000.csv"] == CONVERT


def nifti_twin(stack: Path) -> Path:
    """Write a stack as NIfTI, as CATNIP's nii2tiff relates them: page k, row j, column i is voxel [i, j, k]."""
    twin = stack.with_suffix(".nii.gz")
    volume = np.ascontiguousarray(source_planes(stack).T)
    image = nib.Nifti1Image(volume, np.diag([-25.0, -25.0, 25.0, 1.0]))  # no types
    nib.save(image, twin)
    return twin


@pytest.mark.parametrize("folder", ["heatmaps_atlasspace", "heatmaps_atlasspace_corrected"])
def test_a_nifti_heatmap_is_copied_beside_its_tiff_twin(tmp_path: Path, folder: str) -> None:
    run = write_l2(tmp_path, TODAY_NAME, exclusion=True)
    (stack,) = (run / folder).iterdir()
    twin = nifti_twin(stack)
    entries = planned(run)
    assert entries[f"{folder}/{stack.name}"].action == CONVERT
    assert entries[f"{folder}/{twin.name}"].action == COPY


def test_a_nifti_heatmap_alone_is_converted_voxel_by_voxel(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source", TODAY, exclusion=True, only=("heatmaps_atlasspace",))
    (stack,) = (run / "heatmaps_atlasspace").iterdir()
    planes = source_planes(stack)
    twin = nifti_twin(stack)
    stack.unlink()
    assert planned(run)[f"heatmaps_atlasspace/{twin.name}"].action == CONVERT
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok, result.problems
    (image,) = [name for name in images_of(tmp_path / "out") if "desc-heatmap10000_" in name]
    pixels = read_level(tmp_path / "out" / image)
    assert pixels.dtype == planes.dtype
    np.testing.assert_array_equal(pixels, planes)


def test_a_damaged_tiff_twin_lets_the_nifti_heatmap_in(tmp_path: Path) -> None:
    run = write_l2(tmp_path, TODAY_NAME)
    (stack,) = (run / "heatmaps_atlasspace").iterdir()
    twin = nifti_twin(stack)
    stack.write_bytes(stack.read_bytes()[:100])
    assert planned(run)[f"heatmaps_atlasspace/{twin.name}"].action == CONVERT


def test_what_nobody_knows_is_copied_if_small_and_a_problem_if_large(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / "notes").mkdir()
    (run / "notes/a.txt").write_text("x")
    with (run / "raw.czi").open("wb") as file:
        file.truncate(65 * 2**20)  # sparse
    report = report_on(scan([run]))
    actions = {entry.source: entry.action for entry in report.plan.runs[0].entries}
    assert actions["notes"] == COPY
    assert actions["raw.czi"] == EXCLUDE
    assert mentions(report.problems, "raw.czi")
    assert not mentions(report.problems, "notes")


@pytest.mark.parametrize("paths", [("notes.txt", "Notes.txt"), ("640_N4", "640_n4")])
def test_names_that_differ_only_in_case_are_problems_until_one_is_excluded(
    tmp_path: Path, paths: tuple[str, str]
) -> None:
    run = write_l0(tmp_path, KO_NAME, only=RAW)
    (run / "notes.txt").write_text("x")
    copy = shutil.copytree if (run / paths[0]).is_dir() else shutil.copy
    copy(run / paths[0], run / paths[1])
    found = scan(run)
    (part,) = make_plan(found).runs
    assert problems_of(found.runs[0], part).keys() == set(paths)
    line = next(entry for entry in part.entries if entry.source == paths[1])
    line.action, line.reason = Action.EXCLUDE, "the older one"
    assert problems_of(found.runs[0], part) == {}


def test_a_whole_brain_atlas_means_a_whole_brain(tmp_path: Path) -> None:
    run = write_l2(tmp_path, TODAY_NAME)
    log = run / f"{TODAY_NAME}.log.txt"
    log.write_text(log.read_text().replace("Atlas version                 : v2", "Atlas version                 : v5"))
    (part,) = make_plan(scan([run])).runs
    assert (part.sample, part.atlas_version) == ("WholeBrain", "v5")


def test_the_rat_atlas_means_a_rat(tmp_path: Path) -> None:
    run = write_l2(tmp_path, TODAY_NAME)
    log = run / f"{TODAY_NAME}.log.txt"
    log.write_text(log.read_text().replace("Atlas version                 : v2", "Atlas version                 : v9"))
    (part,) = make_plan(scan([run])).runs
    assert part.participant.species == "rattus norvegicus"


# ---- as TOML


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
_ENTRIES = st.lists(
    st.builds(PlannedEntry, source=_TEXT, action=st.sampled_from(Action), reason=_TEXT.filter(str.strip)), max_size=4
)
_VALUES = st.one_of(_TEXT, st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False, width=32))


@given(
    dataset=st.builds(
        AboutDataset,
        name=_TEXT,
        authors=st.lists(_TEXT, max_size=3),
        license=st.none() | _TEXT,
        voxel_size_um=st.none() | st.tuples(*[st.floats(0.01, 100)] * 3),
        description=st.dictionaries(_TEXT, _VALUES, max_size=3),
        acquisition=st.dictionaries(_TEXT, _VALUES, max_size=3),
    ),
    run=st.builds(
        PlannedRun,
        source=_TEXT,
        source_id=st.none() | _TEXT,
        subject=st.none() | _TEXT,
        acquired=st.none() | _TEXT,
        participant=st.builds(Participant, strain=st.none() | _TEXT, age=st.none() | st.floats(0, 100)),
        entries=_ENTRIES,
    ),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_reading_what_was_written_gives_the_same_plan(dataset: AboutDataset, run: PlannedRun) -> None:
    plan = Plan(dataset=dataset, runs=[run])
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "plan.toml"
        path.write_bytes(to_toml(plan).encode())
        assert read_plan(path) == plan


@pytest.mark.parametrize(
    "name", ["my brain [1] {x} #3", 'say "hello" \\ there', "Mäuse = 脳", "tab\there", "line\nbreak"]
)
def test_odd_names_survive_a_plan_with_its_comments(tmp_path: Path, name: str) -> None:
    run = write_l0(tmp_path / name, KO_NAME, only=RAW)
    (run / f"{name}.txt").write_text("x")
    slices_of(run / "640_N4")[3].unlink()
    report = report_on(scan([tmp_path / name]))
    write_plan(report.plan, tmp_path / "plan.toml", report.found)
    assert read_plan(tmp_path / "plan.toml") == report.plan


def test_a_plan_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("x = " + "[" * 50_000)
    with pytest.raises(PlanError, match="is nested too deeply"):
        read_plan(tmp_path / "plan.toml")


def test_the_written_plan_says_sizes_problems_and_what_to_fill_in(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", "data")
    slices_of(run / "640_FRST")[3].unlink()
    plan = written_plan(tmp_path / "source", tmp_path / "plan.toml")
    assert "36 x 40 x 12" in line_of(plan, "640_N4")
    assert "PROBLEM" in line_of(plan, "640_FRST")
    text = plan.read_text(encoding="utf-8")
    assert "voxel_size_um" in text
    assert text.count("fill in") == 2


def test_the_plan_of_runs_given_one_by_one_has_the_comments_of_each(tmp_path: Path) -> None:
    ko, today = write_l0(tmp_path, KO), write_l2(tmp_path, TODAY)
    report = report_on(scan([ko, today]))
    write_plan(report.plan, tmp_path / "plan.toml", report.found)
    assert len(read_plan(tmp_path / "plan.toml").runs) == 2


# ---- corrected by people


REASONS = {
    "640_FRST": "too dim to use",
    "640_FRST_seg/FRSTseg_00010000.tif": 'it | is \\"odd\\"',
    "heatmaps_atlasspace/FRSTseg_00010000.tif": "two\\nlines",
    "640_FRST_seg/FRSTseg_00010000.csv": "50% <b>ö</b>",
}
"""Of entries that a person excludes, as they stand in TOML."""


def test_what_a_person_excludes_is_left_out_with_the_reason_even_if_it_is_broken(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source")
    slices_of(run / "640_FRST")[3].unlink()
    plan = written_plan(tmp_path / "source", tmp_path / "plan.toml")
    for entry, reason in REASONS.items():
        line = line_of(plan, entry)
        mended = line.split("action")[0] + f'action = "exclude", reason = "{reason}"}},'
        plan.write_text(plan.read_text(encoding="utf-8").replace(line, mended), encoding="utf-8")
    result = package([tmp_path / "source"], tmp_path / "out", settings(), plan)
    assert result.ok, result.problems
    assert not [name for name in images_of(tmp_path / "out") if "desc-FRST" in name or "heatmap" in name]
    decision = decisions(tmp_path / "out")[f"{KO}/640_FRST"]
    assert (decision["action"], decision["reason"], decision["target"]) == ("exclude", "too dim to use", None)
    lines = (tmp_path / "out/README.md").read_text(encoding="utf-8").splitlines()
    for entry in REASONS:  # the table stays whole, whatever the reason
        (row,) = (line for line in lines if f"{entry}`" in line)
        assert row.endswith("_sample-LeftHemisphere_stain-cFos |")
        assert row.count("|") == 4
        assert ("too dim to use" in row) == (entry == "640_FRST")


def test_many_problems_of_an_entry_are_cut_after_a_few_and_whole_in_the_json(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME, only=RAW)
    for number, file in enumerate((run / "640_N4").iterdir()):
        file.write_bytes(bytes([65 + number]))
    report = report_on(scan(run))
    (problem,) = report.problems
    assert problem.endswith("and 1 more")
    entry = next(entry for entry in report.to_json()["runs"][0]["entries"] if entry["source"] == "640_N4")
    assert len(entry["problems"]) == 9


def test_what_a_person_copies_is_in_sourcedata(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=(*RAW, "640_FRST"))
    plan = written_plan(tmp_path / "source", tmp_path / "plan.toml")
    line = line_of(plan, "640_FRST")
    mended = line.replace('"convert"', '"copy"')
    plan.write_text(plan.read_text(encoding="utf-8").replace(line, mended), encoding="utf-8")
    assert package([tmp_path / "source"], tmp_path / "out", settings(), plan).ok
    copied = tmp_path / "out/sourcedata/catnip/sub-45670ko_sample-LeftHemisphere/640_FRST"
    assert [path.read_bytes() for path in slices_of(copied)] == [
        path.read_bytes() for path in slices_of(run / "640_FRST")
    ]
    assert not [name for name in images_of(tmp_path / "out") if "desc-FRST_" in name]


def test_subject_voxel_size_authors_and_animal_come_from_the_plan(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    plan = written_plan(
        tmp_path / "source",
        tmp_path / "plan.toml",
        ('subject = ""', 'subject = "m7"'),
        ('sample = ""', 'sample = "RightHemisphere"'),
        ("# voxel_size_um = []", "voxel_size_um = [2, 2.5, 10]  #"),
        ("authors = []", 'authors = ["A. Person", "B. Person"]'),
        ('license = ""', 'license = "CC0"'),
        ('age = ""', "age = 12.5"),
    )
    result = package([tmp_path / "source"], tmp_path / "out", Settings(report=False), plan)
    assert result.ok, result.problems
    raw = tmp_path / "out/sub-m7/micr/sub-m7_sample-RightHemisphere_stain-cFos_SPIM.ome.zarr"
    assert ome(raw)["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] == [10, 2.5, 2]
    assert "12.5" in (tmp_path / "out/participants.tsv").read_text(encoding="utf-8")
    assert "B. Person" in (tmp_path / "out/dataset_description.json").read_text(encoding="utf-8")
    assert (tmp_path / "out/LICENSE").read_text(encoding="utf-8").startswith("CC0")


# ---- plans that are wrong


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('action = "convert"', 'action = "zip"', "action"),
        ('stain = "cFos"', 'stain = "cFos"\nstian = "x"', "stian"),
        ("authors = []", "authors = 3", "authors"),
        ("# voxel_size_um = []", "voxel_size_um = [1, 2]  #", "voxel_size_um"),
        ("# voxel_size_um = []", "voxel_size_um = [1, 2, 0]  #", "voxel_size_um"),
        ("# voxel_size_um = []", "voxel_size_um = [1, 2, nan]  #", "voxel_size_um"),
        ("# voxel_size_um = []", "voxel_size_um = [1, -2, 3]  #", "voxel_size_um"),
        ('age = ""', 'age = "old"', "age"),
        ("[[run]]", "[[runs]]", "run"),
        ("[[run]]", "[run]", "[[run]], in double brackets"),
        ("authors = []", "authors = [", "plan.toml"),
    ],
)
def test_errors_of_a_plan_name_the_file_and_the_key(
    tmp_path: Path, default_plan: Path, old: str, new: str, named: str
) -> None:
    text = default_plan.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "plan.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        read_plan(tmp_path / "plan.toml")
    assert "plan.toml" in str(caught.value)
    assert named in str(caught.value)


_PLAN = """\
[dataset]
authors = []

[dataset.acquisition]

[[run]]
name = "one"
stain = "cFos"
entries = [
    {source = "640_N4", action = "convert", reason = "raw"},
]

[[run]]
name = "two"
stain = "cFos"
participant = {sex = "F", age = ""}
entries = [
    {source = "640_N4", action = "convert", reason = "raw"}, # beside "640_FRST"
    {source = "640_FRST", action = "convert", reason = "source = 640_N4"},
]
"""


@pytest.mark.parametrize(
    ("line", "old", "new", "where", "named"),
    [
        (18, '"convert"', '"convrt"', "line 18, 640_N4", ["action 'convrt' is unknown", "convert, copy or exclude"]),
        (19, '"convert"', '"zip"', "line 19, 640_FRST", ["'zip'"]),
        (19, 'action = "convert"', 'act = "convert"', "line 19, 640_FRST", ["has no action"]),
        (18, 'source = "640_N4", ', "", "line 18:", ["has no source"]),
        (10, 'source = "640_N4"', "source = 3", "line 10:", ["source must be a text"]),
        (10, "reason", "raeson", "line 10, 640_N4", ["'raeson'", "source, action, reason, slice_number or by_pixels"]),
        (10, '"raw"', '" "', "line 10, 640_N4:", ["reason is empty; say why"]),
        (15, "stain", "stian", "line 15, two", ["'stian'", "stain"]),
        (16, 'age = ""', 'age = "old"', "line 16, two", ["age must be a number, not 'old'"]),
        (2, "[]", "3", "line 2:", ["authors must be a list"]),
        (2, "authors", "author", "line 2:", ["'author'", "authors"]),
        (2, "authors = []", "voxel_size_um = [1, 2]", "line 2:", ["three sizes"]),
        (4, "acquisition", "aquisition", "line 4:", ["'aquisition'", "acquisition"]),
        (4, "[dataset.acquisition]", "description = {Authors = []}", "line 4:", ["Authors does not", "authors ="]),
        (4, "[dataset.acquisition]", "description = {BIDSVersion = ''}", "line 4:", ["catnip2bids writes it"]),
        (1, "dataset", "datast", "line 1:", ["'datast'", "dataset or run"]),
        (9, "[", "", "line 9:", ["TOML"]),
        (9, "[", "3\nx = [", "line 9, one:", ["entries must be a list, such as [{source", "not 3"]),
        (
            10,
            '{source = "640_N4", action = "convert", reason = "raw"}',
            '"a"',
            "line 9:",
            ["each of entries must be a t"],
        ),
        (11, "]", "", "line 9:", ["the list that begins here has no end; close it with ]"]),
        (20, "]", "", "line 17:", ["the list that begins here has no end"]),
        (2, "[]", '["A. [Person]", # ]', "line 2:", ["the list that begins here has no end"]),
        (7, '"one"', "Brain 1", "line 7:", ["the value of name is not valid TOML; put text in quotes"]),
        (7, '"one"', "M01 # the first", "line 7:", ["the value of name is not valid TOML; put text in quotes"]),
        (7, '"one"', "45670ko", "line 7:", ["the value of name is not valid TOML; put text in quotes"]),
        (7, '"one"', "", "line 7:", ["put text in quotes"]),
        (7, '"one"', "45670", "line 7:", ["name must be a text in quotes, not 45670"]),
        (16, '"F"', "Mus musculus", "line 16:", ["the value of sex is not valid TOML; put text in quotes"]),
        (2, "[]", "[A. Person]", "line 2:", ["put text in quotes"]),
    ],
)
def test_a_mistake_in_a_plan_is_told_with_its_line_its_entry_and_what_is_possible(
    tmp_path: Path, line: int, old: str, new: str, where: str, named: list[str]
) -> None:
    lines = _PLAN.splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    (tmp_path / "plan.toml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        read_plan(tmp_path / "plan.toml")
    assert f"plan.toml, {where}" in str(caught.value)
    assert all(text in str(caught.value) for text in named)


def test_empty_labels_are_told_with_their_lines(tmp_path: Path) -> None:
    names = ("640_2026-05-02_09-12-33", "640_2026-05-03_09-12-33")
    for name in names:
        write_l0(tmp_path / "source", name, only=RAW)
    plan = tmp_path / "plan.toml"
    write_plan(make_plan(scan([tmp_path / "source"])), plan)
    text = plan.read_text(encoding="utf-8").replace('subject = ""', 'subject = " "', 1)
    written = [line for line in text.splitlines() if not line.startswith("sample")]
    plan.write_text("\n".join(written), encoding="utf-8")
    first, second = (number for number, line in enumerate(written, 1) if line.startswith("subject = "))
    runs = [number for number, line in enumerate(written, 1) if line == "[[run]]"]
    with pytest.raises(UsageError) as caught:
        package([tmp_path / "source"], tmp_path / "out", settings(), plan)
    samples = "sample is empty; fill in: LeftHemisphere, RightHemisphere, WholeBrain"
    assert caught.value.args == (
        f"{plan}, line {first}, {names[0]}: subject is empty; fill in: letters and digits",
        f"{plan}, line {runs[0]}, {names[0]}: {samples}",
        f"{plan}, line {second}, {names[1]}: subject is empty; fill in: letters and digits",
        f"{plan}, line {runs[1]}, {names[1]}: {samples}",
    )
    with pytest.raises(UsageError, match=f"line {first}, {names[0]}: subject is empty; .*, or give --subject"):
        package([tmp_path / "source" / names[0]], tmp_path / "out", settings(sample="LH"), _first_run_of(plan))
    assert not (tmp_path / "out").exists()


def _first_run_of(plan: Path) -> Path:
    head, run, *_ = plan.read_text(encoding="utf-8").split("[[run]]")
    plan.write_text(f"{head}[[run]]{run}", encoding="utf-8")
    return plan


def test_all_mistakes_of_a_plan_are_counted_and_the_first_ones_told(tmp_path: Path) -> None:
    entries = "".join(f'{{source = "e{number}", action = "no", reason = "x"}},\n' for number in range(30))
    (tmp_path / "plan.toml").write_text(f'[[run]]\nname = "x"\nentries = [\n{entries}]', encoding="utf-8")
    with pytest.raises(PlanError, match="and 22 more") as caught:
        read_plan(tmp_path / "plan.toml")
    assert len(str(caught.value).splitlines()) == 9


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"just text", b"[dataset]\n"])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, source: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "plan.toml").write_bytes(content)
    with pytest.raises(PlanError, match=r"plan\.toml"):
        package([source], tmp_path / "out", settings(), tmp_path / "plan.toml")
    assert not (tmp_path / "out").exists()


def _another_entry(source: Path) -> str:
    (source / KO / "new.txt").write_text("x")
    return "new.txt"


def _one_entry_less(source: Path) -> str:
    shutil.rmtree(source / KO / "640_FRST")
    return "640_FRST"


def _another_run(source: Path) -> str:
    write_l0(source, FLOX, seed=2)
    return "45925"


def _another_name(source: Path) -> str:
    (source / KO).rename(source / "KO" / KO_NAME.replace("45670", "45671"))
    return "45671"


@pytest.mark.parametrize("change", [_another_entry, _one_entry_less, _another_run, _another_name])
def test_a_plan_of_other_folders_is_refused(tmp_path: Path, change: Callable[[Path], str]) -> None:
    source = tmp_path / "source"
    write_l0(source, only=(*RAW, "640_FRST"))
    plan = written_plan(source, tmp_path / "plan.toml")
    named = change(source)
    with pytest.raises(PlanError, match=named):
        package([source], tmp_path / "out", settings(), plan)
    assert not (tmp_path / "out").exists()


def test_an_entry_that_is_planned_twice_is_refused(tmp_path: Path, source: Path, default_plan: Path) -> None:
    plan = shutil.copyfile(default_plan, tmp_path / "plan.toml")
    line = line_of(plan, "640_FRST")
    plan.write_text(plan.read_text(encoding="utf-8").replace(line, f"{line}\n{line}"), encoding="utf-8")
    with pytest.raises(PlanError, match="640_FRST"):
        package([source], tmp_path / "out", settings(), plan)


def test_a_run_that_is_planned_twice_is_refused(tmp_path: Path, source: Path, default_plan: Path) -> None:
    plan = shutil.copyfile(default_plan, tmp_path / "plan.toml")
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text + text[text.index("[[run]]") :].replace('"45670ko"', '"m2"'), encoding="utf-8")
    with pytest.raises(PlanError, match="45670"):
        package([source], tmp_path / "out", settings(), plan)


def test_what_cannot_be_converted_is_a_problem_that_names_it(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (run / "notes.txt").write_text("x")
    plan = written_plan(tmp_path / "source", tmp_path / "plan.toml")
    line = line_of(plan, "notes.txt")
    plan.write_text(
        plan.read_text(encoding="utf-8").replace(line, line.replace('"copy"', '"convert"')), encoding="utf-8"
    )
    result = package([tmp_path / "source"], tmp_path / "out", settings(), plan)
    assert not result.ok
    assert mentions(result.problems, "notes.txt")


def test_a_plan_of_a_folder_above_is_for_a_run_that_is_given_itself(source: Path) -> None:
    plan = make_plan(scan([source]))
    ((run, part),) = match_plan(scan([source / KO]), plan)
    assert (part.source, run.source) == (KO, ".")


# ---- collisions and doubts


@pytest.mark.parametrize("stain", ["c-Fos", "cFös", "c Fos", "c_Fos"])
def test_a_stain_that_is_no_label_is_refused(tmp_path: Path, source: Path, stain: str) -> None:
    with pytest.raises(UsageError, match="stain"):
        package([source], tmp_path / "out", settings(stain=stain))
    assert not (tmp_path / "out").exists()


def test_two_ids_that_become_one_label_are_refused_and_both_are_named(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO_NAME, only=RAW)
    write_l0(tmp_path / "source", KO_NAME.replace("45670_ko", "45670-ko").replace("_LH_", "_RH_"), only=RAW)
    with pytest.raises(UsageError) as caught:
        package([tmp_path / "source"], tmp_path / "out", settings())
    assert "45670_ko" in str(caught.value)
    assert "45670-ko" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_two_runs_for_one_sample_and_stain_are_refused_and_both_are_named(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO_NAME, only=RAW)
    second = KO_NAME.replace("12-39-11", "18-00-00")
    write_l0(tmp_path / "source", second, only=RAW)
    with pytest.raises(UsageError) as caught:
        package([tmp_path / "source"], tmp_path / "out", settings())
    assert KO_NAME in str(caught.value)
    assert second in str(caught.value)
    assert mentions(report_on(scan([tmp_path / "source"])).problems, KO_NAME, second)
    assert not (tmp_path / "out").exists()


def test_copies_of_one_run_in_two_folders_are_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", f"a/{KO_NAME}", only=RAW)
    write_l0(tmp_path / "source", f"b/{KO_NAME}", seed=5, only=RAW)
    with pytest.raises(UsageError, match="45670ko"):
        package([tmp_path / "source"], tmp_path / "out", settings())


def test_both_hemispheres_of_one_animal_are_one_subject(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO_NAME, only=RAW)
    write_l0(tmp_path / "source", KO_NAME.replace("_LH_", "_RH_"), seed=2, only=RAW)
    assert package([tmp_path / "source"], tmp_path / "out", settings()).ok
    assert len(list((tmp_path / "out").glob("sub-*"))) == 1
    assert len(list((tmp_path / "out").glob("sub-*/micr/*_SPIM.ome.zarr"))) == 2


def test_a_voxel_size_that_does_not_fit_the_log_is_a_warning(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", only=(*RAW, LOG))
    (run,) = scan([tmp_path / "source"]).runs
    assert voxel_size_warning(run, (3.7, 3.7, 5.0)) is None
    for size in ((25.0, 25.0, 25.0), (3.7, 3.7, 1.0)):
        warning = voxel_size_warning(run, size)
        assert warning is not None
        assert "25 um" in warning
    result = package([tmp_path / "source"], tmp_path / "out", settings(voxel_size_um=size))
    assert result.ok
    assert warning in result.warnings


def test_a_voxel_size_that_sources_contradict_is_a_warning(tmp_path: Path) -> None:
    run = write_l0(tmp_path)
    sizes = {"PhysicalSizeX": 1.8, "PhysicalSizeY": 1.8, "PhysicalSizeZ": 2.0}
    for name in ("640_FRST_seg/FRSTseg_00010000.tif", "heatmaps_atlasspace"):
        (path,) = [run / name] if name.endswith(".tif") else (run / name).glob("*.tif")
        pixels = tifffile.imread(path)
        tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata={"axes": "ZYX", **sizes})
    (found,) = scan([tmp_path]).runs
    (warning,) = stated_size_warnings(found, (3.7, 3.7, 5.0))  # heat maps are on another grid
    assert "FRSTseg_00010000.tif: states a voxel size of 1.8 x 1.8 x 2 um" in warning
    assert stated_size_warnings(found, (1.8, 1.8, 2.0)) == []


@pytest.mark.parametrize(
    "size", [(0.0, 3.7, 5.0), (3.7, -3.7, 5.0), (3.7, 3.7, float("nan")), (3.7, float("inf"), 5.0)]
)
def test_an_impossible_voxel_size_is_refused(tmp_path: Path, source: Path, size: tuple[float, float, float]) -> None:
    with pytest.raises(Catnip2bidsError, match="voxel size"):
        package([source], tmp_path / "out", settings(voxel_size_um=size))
    assert not (tmp_path / "out").exists()


def test_a_plan_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    plan = written_plan(tmp_path / "source", tmp_path / "plan.toml", ("authors = []", 'authors = ["Me"]'))
    report = report_on(scan([tmp_path / "source"]))
    with pytest.raises(PlanError, match=r"plan\.toml"):
        write_plan(report.plan, plan, report.found)
    assert '"Me"' in plan.read_text(encoding="utf-8")


def test_a_float_heatmap_keeps_its_type(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=("heatmaps_atlasspace",))
    (stack,) = (run / "heatmaps_atlasspace").iterdir()
    assert tifffile.imread(stack).dtype == np.float32
    package([tmp_path / "source"], tmp_path / "out", settings())
    (image,) = [name for name in images_of(tmp_path / "out") if "heatmap10000" in name]
    assert read_level(tmp_path / "out" / image).dtype == np.float32


def test_a_stack_in_the_place_of_a_slice_folder_is_told(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source", only=RAW)
    tifffile.imwrite(run / "N4.tif", source_planes(run / "N4_masked"))
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert mentions(result.warnings, "N4.tif: looks like N4 saved as one file", "a folder N4")


def test_another_action_with_the_old_reason_is_told(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=(*RAW, "640_FRST"))
    plan = make_plan(scan([tmp_path / "source"]))
    line = next(line for line in plan.runs[0].entries if line.source == "640_FRST")
    line.action = EXCLUDE
    result = package([tmp_path / "source"], tmp_path / "out", settings(), plan)
    assert mentions(result.warnings, "640_FRST: the plan says exclude instead of convert", "give the new reason")
    line.reason = "not needed"
    result = package([tmp_path / "source"], tmp_path / "out", settings(), plan)
    assert not mentions(result.warnings, "old reason")


def test_a_plan_with_another_voxel_size_and_a_prefixed_subject(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=RAW)
    plan = make_plan(scan([tmp_path / "source"]))
    plan.dataset.voxel_size_um = (1.0, 1.0, 1.0)
    plan.runs[0].subject = "sub-mouse"
    result = package([tmp_path / "source"], tmp_path / "out", settings(), plan)
    assert mentions(result.warnings, "the plan says that voxels are 1 x 1 x 1 um", "3.7 x 3.7 x 5 um is used")
    assert (tmp_path / "out/sub-mouse").is_dir()


def test_a_plan_of_2_gib_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.touch()
    os.truncate(path, 2**31)
    with pytest.raises(PlanError, match=r"has 2\.0 GiB"):
        read_plan(path)


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 20_000) + " = 1",
        "[" + " . ".join(['"a"'] * 20_000) + "]",
        "x = {a = '''\n\"''', " + ".".join(["a"] * 20_000) + " = 1}",
        'x = {a = """a"""", ' + ".".join(["a"] * 20_000) + " = 1}",
        "x = [" + "{}," * 600_000 + "]",
        "\n".join(f"[a{number}]" for number in range(110_000)),
        "\n".join(f"a{number} = 1" for number in range(20_000)),
    ],
    ids=["key", "table", "literal text", "text", "values", "tables", "mistakes"],
)
def test_a_plan_that_would_take_gigabytes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    start = time.process_time()
    with pytest.raises(PlanError, match=r"plan\.toml: has (more|2)"):
        read_plan(tmp_path / "plan.toml")
    assert time.process_time() - start < 10


def test_dots_in_texts_and_comments_of_a_plan_do_not_count(tmp_path: Path) -> None:
    dots = "." * 30
    (tmp_path / "plan.toml").write_text(
        f'[dataset]\nname = "{dots}\\"{dots}" # {dots}\nlicense = \'{dots}\'\n[[run]]\n'
    )
    with pytest.raises(PlanError, match="has no"):
        read_plan(tmp_path / "plan.toml")


@pytest.mark.parametrize("name", ["210810_45670_female_RH", "210810_45670_wt_RH"])
def test_an_id_with_several_genotypes_is_a_warning(tmp_path: Path, name: str) -> None:
    for run in ("210810_45670_ko_female_LH", "210810_45671_ko_female_LH", name):
        write_l0(tmp_path / "source", f"{run}_14-48-50_decon_2021-10-28_12-39-11", only=("640_N4",))
    (warning,) = (text for text in report_on(scan(tmp_path / "source")).warnings if "becomes" in text)
    assert warning.startswith("45670 becomes sub-45670")
    package(tmp_path / "source", tmp_path / "out", settings())
    assert warning in package(tmp_path / "source", tmp_path / "out", settings()).warnings


def test_an_id_with_two_subjects_is_a_warning() -> None:
    identities = [RunIdentity(name, "45670_ko", name, "LeftHemisphere", "cFos") for name in ("45670ko", "45671ko")]
    [warning] = divided_animals(identities)
    assert warning.startswith("45670 becomes sub-45670ko and sub-45671ko; ")


def test_an_id_that_is_another_with_more_words_is_a_warning(tmp_path: Path) -> None:
    for animal in ("45670_ko_rescan", "45670_ko", "45671_5xFAD", "45671_5xFAD_old", "batch1_mouse1", "batch1_mouse2"):
        name = f"210810_{animal}_female_LH_14-48-50_decon_2021-10-28_12-39-11"
        write_l0(tmp_path / animal, name, only=("640_N4",))
    found = [text.partition(";")[0] for text in report_on(scan(tmp_path)).warnings if "becomes" in text]
    assert found == [
        "45670_ko becomes sub-45670ko and sub-45670korescan",
        "45671_5xFAD becomes sub-456715xFAD and sub-456715xFADold",
    ]


def test_a_name_with_both_hemispheres_tells_none(tmp_path: Path) -> None:
    write_l0(tmp_path, "210810_45670_ko_female_LH_RH_14-48-50_decon_2021-10-28_12-39-11", only=("640_N4",))
    (run,) = make_plan(scan(tmp_path)).runs
    assert (run.subject, run.sample) == ("45670ko", None)
