"""Taking an animal out of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catnip2bids import Format, package, report, restore, validate, verify
from catnip2bids.bids.provenance import read_provenance
from catnip2bids.errors import DatasetError, UsageError, WriteError
from catnip2bids.packaging import remove_animal
from fork_server import start
from in_process import called, no_dandi, no_plots
from runs import FLOX, FLOX_NAME, KO, RAW, dataset_files, read_tsv, settings, state_of, write_l0

__all__ = ["no_dandi", "no_plots"]

pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, KO, only=(*RAW, "640_FRST_seg", "atlaslabel_def_origspace"))
    write_l0(folder, FLOX, only=(*RAW, "640_FRST_seg", "atlaslabel_def_origspace"))
    return folder


@pytest.fixture(scope="module")
def both(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of both animals, only to be read."""
    dataset = tmp_path_factory.mktemp("both") / "dataset"
    assert package([cohort], dataset, settings()).ok
    return dataset


@pytest.fixture
def dataset(both: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(both, tmp_path / "dataset"))


def assert_as_if_never_there(dataset: Path, without: Path) -> None:
    """Compare a dataset that an animal was taken out of with one that never had it."""
    assert not [path for path in dataset.rglob("*") if "45925" in path.name]
    both, one = dataset_files(dataset), dataset_files(without)
    of_runs = {name for name in one if not name.startswith(("code/", "docs/", "README", "CHANGES", "sourcedata/"))}
    assert {name for name in of_runs if both.get(name) != one[name]} <= {"dataset_description.json"}
    assert verify(dataset).ok
    assert restore(dataset, dataset.parent / "restored").ok


def test_what_is_left_is_as_if_the_animal_had_never_been_there(dataset: Path, cohort: Path, tmp_path: Path) -> None:
    package([cohort / KO], tmp_path / "one", settings())
    removed = remove_animal(dataset, "sub-45925floxed")
    assert (removed.ok, bool(removed.removed)) == (True, True)
    assert_as_if_never_there(dataset, tmp_path / "one")


def test_a_changed_table_of_counts_is_refused_unless_it_is_removed(dataset: Path) -> None:
    (table,) = (dataset / "derivatives/catnip-counts/sub-45925floxed/micr").glob("*_counts.tsv")
    table.write_text(table.read_text(encoding="utf-8") + "7654321\tPons\tP\t1\t1\t1\t1\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=table.name):
        remove_animal(dataset, "45670ko", report=False)
    assert remove_animal(dataset, "45925floxed", report=False).ok
    assert verify(dataset).ok


_ON_A_READ_ONLY_DISK = """
import ctypes, os, subprocess, sys
from pathlib import Path
from catnip2bids.__main__ import main

dataset = sys.argv[3]
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
user, group = os.getuid(), os.getgid()
if ctypes.CDLL(None).unshare(CLONE_NEWNS | CLONE_NEWUSER):
    sys.exit(77)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {user} 1")
Path("/proc/self/gid_map").write_text(f"0 {group} 1")
for options in (["--bind", dataset], ["-o", "remount,bind,ro"]):
    if subprocess.run(["mount", *options, dataset]).returncode:
        sys.exit(77)
main()
"""


def test_on_a_read_only_disk_it_is_refused(dataset: Path) -> None:
    done = start(_ON_A_READ_ONLY_DISK, "package", "-o", dataset, "--remove", "45925floxed")
    if done.wait() == 77:
        pytest.skip(f"may not mount: {done.said}")
    assert done.wait() == 2, done.said
    assert f"error: {dataset}: cannot be written" in done.said.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
@pytest.mark.parametrize(("image_format", "naming"), [("ome-zarr", "bids"), ("ome-tiff", "dseg")])
def test_what_is_left_is_valid_and_without_reports_of_the_animal(
    tmp_path: Path, cohort: Path, image_format: str, naming: str
) -> None:
    choices = {"image_format": Format(image_format), "naming": naming}
    package([cohort], tmp_path / "both", settings(**choices))
    report(tmp_path / "both")
    package([cohort / KO], tmp_path / "one", settings(**choices))
    removed = remove_animal(tmp_path / "both", "sub-45925floxed")
    assert (removed.ok, bool(removed.removed)) == (True, True)
    assert_as_if_never_there(tmp_path / "both", tmp_path / "one")
    assert validate(tmp_path / "both").ok


@pytest.mark.slow
def test_nothing_but_the_history_speaks_of_it(dataset: Path) -> None:
    remove_animal(dataset, "45925floxed")
    provenance = read_provenance(dataset)
    assert {run.subject for run in provenance.runs.values()} == {"45670ko"}
    assert provenance.history[-1].command == "catnip2bids package -o dataset --remove 45925floxed"
    assert [row["participant_id"] for row in read_tsv(dataset / "participants.tsv")] == ["sub-45670ko"]
    found = {
        path.relative_to(dataset).as_posix()
        for path in dataset.rglob("*")
        if path.is_file() and (b"45925floxed" in path.read_bytes() or FLOX_NAME.encode() in path.read_bytes())
    }
    assert found == {"code/catnip2bids/provenance.json"}


@pytest.mark.slow
def test_it_can_come_back(dataset: Path, cohort: Path) -> None:
    before = dataset_files(dataset)
    remove_animal(dataset, "45925floxed")
    again = package([cohort], dataset, settings())
    assert (again.ok, len(again.kept)) == (True, len(again.made))
    after = dataset_files(dataset)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {
        "code/catnip2bids/provenance.json",
        "code/catnip2bids/checksums.sha256",
    }
    assert verify(dataset).ok


@pytest.mark.usefixtures("no_dandi")
def test_what_a_person_wrote_about_an_atlas_moves_when_its_table_goes(tmp_path: Path, cohort: Path) -> None:
    dataset, described = tmp_path / "dataset", "atlas-CATNIPx2_description.json"
    for name, animal in (("A", KO), ("B", FLOX)):
        table = tmp_path / f"{name}.tsv"
        table.write_text("index\tname\n" + "".join(f"{index}\t{name}{index}\n" for index in range(1, 6)))
        assert package([cohort / animal], dataset, settings(atlas_table=table)).ok
    text = '{"Name": "Atlas B", "License": "CC0"}\n'
    (dataset / "derivatives/catnip" / described).write_text(text)
    (dataset / "code" / described).write_text("{}")
    removed = remove_animal(dataset, "45925floxed")
    assert removed.warnings == (
        f"derivatives/catnip/{described}: moved to code/atlas-CATNIPx2_description-2.json, because BIDS allows it only "
        "beside atlas-CATNIPx2_dseg.tsv",
    )
    assert (dataset / "code/atlas-CATNIPx2_description-2.json").read_text() == text
    assert validate(dataset).ok
    assert verify(dataset).ok


def test_an_unknown_or_an_only_animal_is_refused(tmp_path: Path, cohort: Path) -> None:
    package([cohort / KO], tmp_path / "dataset", settings())
    before = state_of(tmp_path / "dataset")
    with pytest.raises(UsageError, match="has no animal 'other'; it has 45670ko"):
        remove_animal(tmp_path / "dataset", "other")
    with pytest.raises(UsageError, match="only animal"):
        remove_animal(tmp_path / "dataset", "45670ko")
    with pytest.raises(DatasetError):
        remove_animal(tmp_path / "nowhere", "45670ko")
    assert state_of(tmp_path / "dataset") == before


@pytest.mark.slow
def test_a_removal_that_was_killed_goes_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(dataset, tmp_path / "other")
    remove_animal(tmp_path / "other", "45925floxed")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("catnip2bids.packaging.removal._remove_records", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_animal(dataset, "45925floxed")
    remove_animal(dataset, "45925floxed")
    assert verify(dataset).ok
    assert dataset_files(dataset).keys() == dataset_files(tmp_path / "other").keys()


def test_a_removal_that_was_killed_while_the_report_was_drawn_goes_on(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(dataset, verification=verify(dataset))
    pages = dataset / "docs/report"
    assert "45925floxed" in (pages / "verification.json").read_text()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("catnip2bids.packaging.removal.draw_report", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_animal(dataset, "45925floxed")
    assert not (pages / "verification.json").exists()
    assert not (pages / "index.html").exists()
    n_commands = len(read_provenance(dataset).history)
    assert remove_animal(dataset, "sub-45925floxed").report == pages / "index.html"
    assert not [path for path in pages.iterdir() if b"45925floxed" in path.read_bytes()]
    assert len(read_provenance(dataset).history) == n_commands
    assert verify(dataset).ok


def test_a_removal_that_was_killed_before_the_checksums_were_written_goes_on(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("catnip2bids.packaging.removal.write_checksums", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_animal(dataset, "45925floxed", report=False)
    assert remove_animal(dataset, "45925floxed", report=False).ok
    assert verify(dataset).ok


def test_an_error_after_the_first_deletion_is_not_called_a_refusal(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DatasetError("a table is damaged")

    monkeypatch.setattr("catnip2bids.packaging.removal._remove_records", fail)
    with pytest.raises(WriteError, match="a table is damaged") as error:
        remove_animal(dataset, "45925floxed")
    assert error.value.exit_code == 1


def test_checksums_that_were_changed_are_refused(dataset: Path) -> None:
    checksums = dataset / "code/catnip2bids/checksums.sha256"
    checksums.write_text(checksums.read_text().replace("a", "b"))
    before = state_of(dataset)
    with pytest.raises(DatasetError, match=r"checksums\.sha256: was changed, so nothing proves the other files"):
        remove_animal(dataset, "45925floxed")
    assert state_of(dataset) == before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--dry-run",), "--dry-run"),
        (("SOURCE", "--plan", "plan.toml"), "SOURCE, --plan"),
        (("--stain", "cFos", "--voxel-size", "3.7", "3.7", "5"), "--voxel-size, --stain"),
    ],
)
def test_options_that_mean_nothing_beside_it_are_refused(both: Path, given: tuple[str, ...], named: str) -> None:
    before = state_of(both)
    done = called("package", "-o", both, "--remove", "45925floxed", *given)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: --remove packages nothing; leave out {named}, or --remove\n",
    )
    assert state_of(both) == before


def test_two_animals_at_a_time_are_refused(both: Path) -> None:
    before = state_of(both)
    done = called("package", "-o", both, "--remove", "45925floxed", "--remove", "45670ko")
    assert (done.returncode, done.stderr) == (2, "error: --remove is given 2 times; give it once\n")
    assert state_of(both) == before


def test_without_a_report_it_says_how_to_draw_one(dataset: Path) -> None:
    report(dataset)
    done = called("package", "-o", dataset, "--remove", "45925floxed", "--no-report")
    assert done.returncode == 0, done.stderr
    assert not (dataset / "docs/report/index.html").exists()
    assert f"{dataset}: has no report now; draw it with catnip2bids report {dataset}" in done.stderr


@pytest.mark.slow
def test_the_command(dataset: Path) -> None:
    done = called("package", "-o", dataset, "--remove", "45925floxed", "--jobs", "1", "--memory", "2GiB")
    assert done.returncode == 0, done.stderr
    assert "sub-45925floxed: removed" in done.stderr
    assert done.stderr.splitlines()[-1] == f"{dataset}: sub-45925floxed removed"
    assert called("package", "-o", dataset, "--remove", "45925floxed").returncode == 0
    assert called("package", "-o", dataset, "--remove", "45925").returncode == 2
    assert called("package", "-o", dataset).returncode == 2
