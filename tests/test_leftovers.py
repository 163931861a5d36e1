"""What systems and programs leave behind is known by its name, and no command takes it for data."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from catnip2bids.bids.checksums import checked_files
from catnip2bids.bids.provenance import is_ours
from catnip2bids.catnip.component_type import Action
from catnip2bids.comparison import compare
from catnip2bids.conversion import convert
from catnip2bids.leftovers import LEFT_BEHIND, ignored, is_leftover, kind_of_file, leftovers_below
from catnip2bids.ome import image_size, unexpected_files
from catnip2bids.packaging import package
from catnip2bids.plan import make_plan, match_plan, problems_of, read_plan, report_on, write_plan
from catnip2bids.progress import Progress
from catnip2bids.restoration import restore
from catnip2bids.scanning import scan
from catnip2bids.validation import validate
from catnip2bids.verification import verify
from runs import FLOX, KO_NAME, RAW, Collector, settings, state_of, write_l0

FILES = [
    *("._Z0001.tif", ".DS_Store", "Icon\r", ".ds_store", "Thumbs.db", "THUMBS.DB", "ehthumbs.db", "Desktop.ini"),
    *(".nfs000000000012abcd00000001", ".smbdeleteAAA1f2.4", ".fuse_hidden0000000100000001", "a.tif:Zone.Identifier"),
    *("~$FRSTseg_00010000.csv", ".~lock.FRSTseg_00010000.csv#", ".notes.txt.swp", "counts.csv~", "#counts.csv#"),
    *("Z0001.tif@SynoResource", "Z0001.tif@SynoEAStream", ".directory"),
]
FOLDERS = [
    *(".AppleDouble", ".Spotlight-V100", ".Trashes", ".fseventsd", "$RECYCLE.BIN", "$Recycle.Bin"),
    *("System Volume Information", "@eaDir", "#recycle", "@Recycle", ".snapshot", "~snapshot", "lost+found"),
    *(".Trash-1000", "__MACOSX"),
]
MEANT = [
    *(".myfile", ".bidsignore", ".zattrs", ".gitattributes", "_.tif", "Z0001.tif", "DS_Store", "my Thumbs.db.txt"),
    *("Icon", "Icons.tif", "desktop.init", "nfs01.csv", "lock.csv", "~notes.txt", "brain~2.tif", "recycle.tif"),
    *(".FRSTseg.csv.partial", ".data.lock", "swp.tif", "#1.tif", "snapshot.tif"),
]
MEANT_FOLDERS = ["._important", "Trash", "recycle", "snapshot", "snapshots", "eaDir", "lost", "old~", ".git", "Icon\r"]


@pytest.mark.parametrize("name", FILES)
def test_files_that_systems_and_programs_leave_are_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert is_leftover(tmp_path / name)
    assert leftovers_below(tmp_path) == [tmp_path / name]
    assert kind_of_file(name)


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_systems_leave_are_known_and_not_entered(tmp_path: Path, name: str) -> None:
    (tmp_path / name / ".AppleDouble").mkdir(parents=True)
    assert is_leftover(tmp_path / name)
    assert leftovers_below(tmp_path) == [tmp_path / name]


def test_what_people_and_programs_mean_is_no_leftover(tmp_path: Path) -> None:
    for name in MEANT:
        (tmp_path / name).write_bytes(b"")
    for name in MEANT_FOLDERS:
        (tmp_path / name).mkdir()
    assert leftovers_below(tmp_path) == []
    assert not any(is_leftover(path) for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        *(f"Z5.tif.{ending}" for ending in ("part", "filepart", "partial", "tmp", "TMP", "crdownload", "download")),
        ".Z5.tif.aB3xYz",
    ],
)
def test_names_of_unfinished_copies_are_told_whatever_reads_them(tmp_path: Path, name: str) -> None:
    run = write_l0(tmp_path / "source", KO_NAME, only=("640_N4",))
    (run / "640_N4" / name).write_bytes(b"")
    text = f"{run / '640_N4'}: {name} looks like an unfinished copy; finish copying and run again"
    for warnings in (
        report_on(scan(run)).warnings,
        package(run, tmp_path / "dataset", settings()).warnings,
        converted_with_warnings(run / "640_N4", tmp_path / "image.ome.zarr"),
    ):
        assert [warning for warning in warnings if "unfinished" in warning] == [text]


def test_several_unfinished_copies_are_one_warning_of_convert(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME, only=("640_N4",))
    for name in ("Z7.tif.part", "Z6.tif.part", "~WRD0001.tmp", ".config", "notes.txt", "Z0001.tif.bak"):
        (run / "640_N4" / name).write_bytes(b"x")
    (warning,) = converted_with_warnings(run / "640_N4", tmp_path / "image.ome.zarr")
    assert "Z6.tif.part, Z7.tif.part look like unfinished copies" in warning.replace(" and ", ", ")


def converted_with_warnings(slices: Path, image: Path) -> list[str]:
    collector = Collector()
    convert(slices, image, (3.7, 3.7, 5.0), progress=collector)
    return collector.warnings


def test_what_was_ignored_is_counted_with_a_few_names() -> None:
    names = [".DS_Store", *(f"._Z{n}.tif" for n in range(4)), "Icon\r"]
    said = ignored([Path("run") / name for name in names])
    assert said == "ignored 6 files left by systems or programs (.DS_Store, ._Z0.tif, ._Z1.tif ...)"


def leave(folder: Path) -> None:
    """Leave what a Mac, Windows and a network drive do, in a folder and in all folders below it."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for file in [path for path in place.iterdir() if path.is_file()]:
            (place / f"._{file.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        for name in (".DS_Store", "Thumbs.db", "Icon\r"):
            (place / name).write_bytes(b"x")
        (place / "@eaDir").mkdir()
        (place / "@eaDir/SYNOINDEX_MEDIA_INFO").write_bytes(b"x")


# ---- in sources


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source folder with one run and much that was left behind."""
    source = tmp_path_factory.mktemp("littered")
    run = write_l0(source, KO_NAME)
    (run / "notes/old").mkdir(parents=True)
    (run / "notes/old/notes.txt").write_text("mine")
    (run / ".myfile").write_text("mine")
    leave(run)
    (run / "640_FRST_seg/~$FRSTseg_00010000.csv").write_bytes(b"\x05user")
    (run / "640_FRST_seg/.~lock.FRSTseg_00010000.csv#").write_text(",user,host,01.01.2024 10:00,;")
    shutil.copytree(run, source / "#recycle" / KO_NAME)
    (run / "#recycle").mkdir()
    shutil.copy(run / "640_N4/Z0001.tif", run / "#recycle/old.tif")
    return source


def test_a_plan_has_leftovers_as_excluded_entries_and_nothing_else_of_them(littered: Path) -> None:
    found = scan(littered)
    (run,) = found.runs
    (planned,) = make_plan(found).runs
    left_out = {entry.source: entry.reason for entry in planned.entries if entry.action == Action.EXCLUDE}
    excluded = {source for source, reason in left_out.items() if reason == LEFT_BEHIND}
    assert {"#recycle", "@eaDir", "Icon\r", "640_N4/@eaDir", "640_N4/._Z0001.tif"} < excluded
    assert {"notes/old/.DS_Store", "notes/@eaDir"} < excluded
    assert {entry.path for entry in run.entries if not entry.is_leftover} == {
        *("640_N4", "640_FRST", "atlaslabel_def_origspace", "atlaslabel_def_origspace_masked", "notes", ".myfile"),
        *("640_FRST_seg/FRSTseg_00010000.csv", "640_FRST_seg/FRSTseg_00010000.tif"),
        "heatmaps_atlasspace/FRSTseg_00010000.tif",
    }
    assert problems_of(run, planned) == {}


def test_many_leftovers_of_a_kind_in_a_folder_are_one_entry(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    for number in range(30):
        (run / f"640_N4/._Z{number:04d}.tif").write_bytes(b"x")
    (run / "640_N4/.DS_Store").write_bytes(b"x")
    found = scan(run)
    leftovers = {entry.path: entry.n_files for entry in found.runs[0].entries if entry.is_leftover}
    assert leftovers == {"640_N4/._*": 30, "640_N4/.DS_Store": 1}
    assert len(found.leftovers) == 31


def test_a_plan_stays_good_when_leftovers_come_and_go(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", KO_NAME)
    (run / "Thumbs.db").write_bytes(b"x")
    before = scan(run)
    write_plan(make_plan(before), tmp_path / "plan.toml", before)
    (run / "Thumbs.db").unlink()
    (run / "640_N4/.DS_Store").write_bytes(b"x")
    ((_, planned),) = match_plan(scan(run), read_plan(tmp_path / "plan.toml"))
    excluded = [entry.source for entry in planned.entries if entry.action == Action.EXCLUDE]
    assert "640_N4/.DS_Store" in excluded
    assert "Thumbs.db" not in excluded


def test_a_leftover_is_never_copied_whatever_a_plan_says(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    (run / ".~lock.a.csv#").write_text("user,host")
    found = scan(run)
    (planned,) = make_plan(found).runs
    line = next(entry for entry in planned.entries if entry.source == ".~lock.a.csv#")
    line.action, line.reason = Action.COPY, "wanted"
    assert problems_of(found.runs[0], planned).keys() == {".~lock.a.csv#"}


def test_a_leftover_whose_name_is_not_text_stops_nothing(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    Path(f"{run}/._caf\udce9.tif").write_bytes(b"x")
    found = scan(run)
    write_plan(make_plan(found), tmp_path / "plan.toml")
    assert len(found.leftovers) == 1


def test_folders_with_and_without_leftovers_are_identical(littered: Path, tmp_path: Path) -> None:
    clean = write_l0(tmp_path, KO_NAME)
    for path in ("640_N4", "640_FRST_seg"):
        compared = compare(clean / path, littered / KO_NAME / path)
        assert (compared.relation, compared.only_in_1, compared.only_in_2) == ("identical", {}, {})


# ---- in datasets of ours


class Notes(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.ignored: list[str] = []

    def note(self, text: str) -> None:
        self.ignored += [text] if text.startswith("ignored") else []


@pytest.fixture(scope="module")
def packaged(littered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset with one animal, in which systems left much behind after it was packaged."""
    dataset = tmp_path_factory.mktemp("packaged") / "dataset"
    notes = Notes()
    assert package(littered, dataset, settings(), progress=notes).ok
    assert len(notes.ignored) == 1
    assert leftovers_below(dataset) == []
    assert (dataset / "sourcedata/catnip/sub-45670ko_sample-LeftHemisphere/notes/old/notes.txt").is_file()
    leave(dataset)
    return dataset


def test_leftovers_have_no_checksums_and_are_no_part_of_images(packaged: Path) -> None:
    assert not [file for file in checked_files(packaged) if "._" in file or file.endswith((".DS_Store", "Thumbs.db"))]
    image = next(packaged.glob("sub-*/micr/*.ome.zarr"))
    before = image_size(image)
    (image / "notes.txt").write_text("mine")
    assert image_size(image) == replace(before, n_files=before.n_files + 1, n_bytes=before.n_bytes + 4)
    assert list(unexpected_files(image)) == ["notes.txt"]
    found = verify(packaged)
    (image / "notes.txt").unlink()
    (problem,) = found.problems
    assert image.name in problem
    assert "notes.txt is not part of it" in problem


@pytest.mark.slow
def test_a_dataset_with_leftovers_is_valid_and_all_that_it_was(packaged: Path, littered: Path) -> None:
    report, found = validate(packaged), verify(packaged, littered)
    assert report.ok, [finding for finding in report.findings if finding.severity == "error"]
    assert [finding.message for finding in report.findings if "ignored" in finding.message]
    assert found.ok, found.problems
    assert len([note for note in found.notes if note.startswith("ignored")]) == 1
    assert not [note for note in found.notes if "came after" in note]


def test_a_dataset_with_leftovers_is_restored_without_them(packaged: Path, tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert restore(packaged, tmp_path).ok
    assert leftovers_below(tmp_path) == [tmp_path / ".DS_Store"]
    assert (tmp_path / KO_NAME / ".myfile").is_file()


def test_the_next_animal_comes_into_a_dataset_with_leftovers(packaged: Path, tmp_path: Path) -> None:
    write_l0(tmp_path, FLOX, only=(*RAW, "640_FRST_seg"))
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    before = {path: state for path, state in state_of(dataset).items() if is_leftover(dataset / path)}
    assert package(tmp_path / "FLOX", dataset, settings()).ok
    text = (dataset / "derivatives/catnip-counts/counts.tsv").read_text(encoding="utf-8")
    assert {line.split("\t")[0] for line in text.splitlines()[1:]} == {"sub-45670ko", "sub-45925floxed"}
    after = {path: state for path, state in state_of(dataset).items() if is_leftover(dataset / path)}
    assert after == before
    assert verify(dataset).ok


def test_a_folder_with_nothing_but_leftovers_is_as_good_as_empty(tmp_path: Path) -> None:
    (tmp_path / ".Spotlight-V100/Store-V2").mkdir(parents=True)
    (tmp_path / ".Spotlight-V100/Store-V2/store.db").write_bytes(b"x")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert is_ours(tmp_path)
    (tmp_path / "mine.txt").write_bytes(b"x")
    assert not is_ours(tmp_path)
