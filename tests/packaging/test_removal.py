"""Taking an animal out of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catnip2bids import Format, package, report, restore, validate, verify
from catnip2bids.bids.provenance import read_provenance
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.packaging import remove_animal
from runs import FLOX, FLOX_NAME, KO, command, dataset_files, read_tsv, settings, state_of, write_l0

ATLASES = "derivatives/catnip/dseg.tsv"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, KO)
    write_l0(folder, FLOX)
    return folder


@pytest.mark.parametrize(("image_format", "naming"), [("ome-zarr", "bids"), ("ome-tiff", "dseg")])
def test_what_is_left_is_as_if_the_animal_had_never_been_there(
    tmp_path: Path, cohort: Path, image_format: str, naming: str
) -> None:
    choices = {"image_format": Format(image_format), "naming": naming}
    package([cohort], tmp_path / "both", settings(**choices))
    report(tmp_path / "both")
    package([cohort / KO], tmp_path / "one", settings(**choices))
    removed = remove_animal(tmp_path / "both", "sub-45925floxed")
    assert removed.ok
    assert removed.removed
    assert verify(tmp_path / "both").ok
    assert validate(tmp_path / "both").ok
    assert not [path for path in (tmp_path / "both").rglob("*") if "45925" in path.name]
    both, one = dataset_files(tmp_path / "both"), dataset_files(tmp_path / "one")
    of_runs = {name for name in one if not name.startswith(("code/", "docs/", "README", "CHANGES", "sourcedata/"))}
    assert {name for name in of_runs if both.get(name) != one[name]} <= {"dataset_description.json"}
    assert restore(tmp_path / "both", tmp_path / "restored").ok


def test_nothing_but_the_history_speaks_of_it(tmp_path: Path, cohort: Path) -> None:
    package([cohort], tmp_path / "dataset", settings())
    remove_animal(tmp_path / "dataset", "45925floxed")
    provenance = read_provenance(tmp_path / "dataset")
    assert {run.subject for run in provenance.runs.values()} == {"45670ko"}
    assert provenance.history[-1].command == "catnip2bids package -o dataset --remove 45925floxed"
    assert [row["participant_id"] for row in read_tsv(tmp_path / "dataset/participants.tsv")] == ["sub-45670ko"]
    found = {
        path.relative_to(tmp_path / "dataset").as_posix()
        for path in (tmp_path / "dataset").rglob("*")
        if path.is_file() and (b"45925floxed" in path.read_bytes() or FLOX_NAME.encode() in path.read_bytes())
    }
    assert found == {"code/catnip2bids/provenance.json"}


def test_it_can_come_back(tmp_path: Path, cohort: Path) -> None:
    package([cohort], tmp_path / "dataset", settings())
    before = dataset_files(tmp_path / "dataset")
    remove_animal(tmp_path / "dataset", "45925floxed")
    again = package([cohort], tmp_path / "dataset", settings())
    assert (again.ok, len(again.kept)) == (True, len(again.made))
    after = dataset_files(tmp_path / "dataset")
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {
        "code/catnip2bids/provenance.json",
        "code/catnip2bids/checksums.sha256",
    }
    assert verify(tmp_path / "dataset").ok


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


def test_a_removal_that_was_killed_goes_on(tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package([cohort], tmp_path / "dataset", settings())
    shutil.copytree(tmp_path / "dataset", tmp_path / "other")
    remove_animal(tmp_path / "other", "45925floxed")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("catnip2bids.packaging.removal._remove_records", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_animal(tmp_path / "dataset", "45925floxed")
    remove_animal(tmp_path / "dataset", "45925floxed")
    assert verify(tmp_path / "dataset").ok
    assert dataset_files(tmp_path / "dataset").keys() == dataset_files(tmp_path / "other").keys()


def test_the_command(tmp_path: Path, cohort: Path) -> None:
    package([cohort], tmp_path / "dataset", settings())
    done = command("package", cohort, "-o", tmp_path / "dataset", "--remove", "45925floxed")
    assert done.returncode == 0, done.stderr
    assert "sub-45925floxed: removed" in done.stderr
    assert command("package", "-o", tmp_path / "dataset", "--remove", "45925floxed").returncode == 2
    assert command("package", "-o", tmp_path / "dataset").returncode == 2
