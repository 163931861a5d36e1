"""A refused command changes nothing: names, bytes and times of all files of a dataset stay, and no new folder does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catnip2bids import Cluster, Format, Naming, make_plan, package, scan, verify, write_plan
from catnip2bids.errors import Catnip2bidsError, DatasetError, UsageError
from catnip2bids.locks import locked
from catnip2bids.progress import Progress
from in_process import called
from runs import (
    CHECKSUMS,
    KO,
    KO_NAME,
    KO_PREFIX,
    PROVENANCE,
    RAW,
    images_of,
    read_json,
    settings,
    slices_of,
    state_of,
    write_l0,
)

DERIVATIVE = "derivatives/catnip"
MICR = "sub-45670ko/micr"
SIDECAR = f"{DERIVATIVE}/{MICR}/{KO_PREFIX}_desc-FRST_SPIM.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source and its finished dataset, and nothing in it is to be changed."""
    place = tmp_path_factory.mktemp("refused")
    write_l0(place / "source", only=(*RAW, "640_FRST", "640_FRST_seg", "atlaslabel_def_origspace"))
    assert package(place / "source", place / "dataset", settings()).ok
    other = write_l0(place / "other", seed=1, only=(*RAW, "640_FRST", "640_FRST_seg", "atlaslabel_def_origspace"))
    other.rename(other.with_name(KO_NAME.replace("12-39-11", "13-00-00")))
    plan = make_plan(scan(place / "source"))
    write_plan(plan, place / "plan.toml")
    text = (place / "plan.toml").read_text()
    (place / "wrong.toml").write_text(text.replace('action = "convert"', 'action = "convrt"'))
    (place / "older.toml").write_text(text.replace('"640_FRST"', '"640_GONE"'))
    (place / "nonsense.tsv").write_text("just text\n")
    (place / "twice.tsv").write_text("participant_id\tsex\n45670-ko\tF\n45670ko\tM\n")
    (place / "empty").mkdir()
    return place


def unchanged_files(place: Path) -> dict[str, tuple[bytes, int]]:
    return {path: state for path, state in state_of(place).items() if (place / path).is_file()}


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "memory": ({"overwrite": True, "memory_bytes": 100 * 2**20}, "--memory"),
    "memory of OME-TIFF": ({"image_format": Format.OME_TIFF, "memory_bytes": 2**20}, "--memory"),
    "memory of a worker": ({"cluster": Cluster("slurm"), "memory_bytes": 2**20}, "memory"),
    "a cluster of this machine": ({"cluster": Cluster("local")}, "'local'"),
    "cluster": ({"cluster": Cluster("no://where")}, "no://where"),
    "voxel size": ({"voxel_size_um": None}, "--voxel-size"),
    "naming": ({"naming": Naming.DSEG}, "--naming"),
    "other labels": ({"subject": "other"}, "sub-45670ko"),
    "label": ({"subject": "no label"}, "no label"),
    "participants": ({"participants": "{}/gone.tsv"}, "gone.tsv"),
    "participants of no columns": ({"participants": "{}/nonsense.tsv"}, "nonsense.tsv"),
    "participants twice": ({"participants": "{}/twice.tsv"}, "twice.tsv"),
    "atlas table": ({"atlas_table": "{}/nonsense.tsv"}, "nonsense.tsv"),
    "no plan": ({"plan": "gone.toml"}, "gone.toml"),
    "wrong plan": ({"plan": "wrong.toml"}, "wrong.toml"),
    "older plan": ({"plan": "older.toml"}, "640_"),
    "no run": ({"source": "empty"}, "empty"),
    "no source": ({"source": "nowhere"}, "nowhere"),
    "same sample": ({"source": "other"}, "13-00-00"),
    "inside": ({"source": "dataset/sourcedata"}, "is only read"),
    "around": ({"source": "."}, "is only read"),
}


@pytest.mark.parametrize("refusal", OPTIONS)
def test_what_is_asked_for_is_refused(finished: Path, refusal: str) -> None:
    choices, says = OPTIONS[refusal]
    choices = {key: value.format(finished) if isinstance(value, str) else value for key, value in choices.items()}
    plan = finished / choices.pop("plan") if "plan" in choices else None
    source = finished / choices.pop("source", "source")
    before = unchanged_files(finished)
    with pytest.raises(Catnip2bidsError, match=says) as refused:
        package(source, finished / "dataset", settings(**choices), plan)
    assert refused.value.exit_code == 2
    assert unchanged_files(finished) == before


def test_the_command_line_refuses_with_2_and_the_dataset_verifies(finished: Path) -> None:
    before = state_of(finished)
    sizes = ["--voxel-size", 3.7, 3.7, 5]
    done = called("package", finished / "source", "-o", finished / "dataset", *sizes, "--overwrite", "--memory=100MiB")
    assert done.returncode == 2
    assert "129 MiB of memory" in done.stderr
    assert state_of(finished) == before
    assert verify(finished / "dataset").ok


def test_a_locked_dataset_is_refused(finished: Path) -> None:
    with locked(finished / "dataset"):
        before = state_of(finished)
        with pytest.raises(Catnip2bidsError, match="dataset: another catnip2bids is writing it"):
            package(finished / "source", finished / "dataset", settings(overwrite=True))
        assert state_of(finished) == before
    assert verify(finished / "dataset").ok


Change = Callable[[Path], object]


def text(content: str | bytes) -> Change:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def fields(**changed: Any) -> Change:
    return lambda path: path.write_text(json.dumps({**read_json(path), **changed}))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


EXISTING: tuple[tuple[str, Change], ...] = (
    ("dataset_description.json", fields(GeneratedBy={"Name": "catnip2bids"})),
    ("dataset_description.json", fields(GeneratedBy=["catnip2bids"])),
    ("dataset_description.json", fields(GeneratedBy=[{"Name": ["catnip2bids"]}])),
    ("dataset_description.json", fields(SourceDatasets="here")),
    ("dataset_description.json", fields(Name=["two", "names"])),
    ("dataset_description.json", fields(License=None)),
    ("dataset_description.json", text("{")),
    ("dataset_description.json", text("[" * 100_000)),
    ("dataset_description.json", text('{"Name": "\\ud800"}')),
    (f"{DERIVATIVE}/dataset_description.json", fields(GeneratedBy={})),
    ("participants.json", text("[]")),
    ("samples.json", text("null")),
    ("SPIM.json", text('"text"')),
    (f"{DERIVATIVE}/descriptions.json", text("1")),
    (f"{DERIVATIVE}/dseg.json", text("[]")),
    ("derivatives/catnip-counts/counts.json", text("[]")),
    ("derivatives/catnip-counts/regions.json", text("[]")),
    ("sub-45670ko/sub-45670ko_scans.json", text("[]")),
    (SIDECAR, text("[]")),
    (SIDECAR, text(b"\xff\xfe")),
    (SIDECAR, folder),
    ("participants.tsv", text("participant_id\tsex\nsub-45670ko\n")),
    ("participants.tsv", text("name\nsub-45670ko\n")),
    ("participants.tsv", text(b"participant_id\nB\xe4r\n")),
    ("participants.tsv", folder),
    ("participants.tsv", text("participant_id\tweek\nsub-45670ko\t1\nsub-45670ko\t2\n")),
    ("samples.tsv", text("sample_id\nsample-LeftHemisphere\n")),
    ("samples.tsv", text("participant_id\nsub-45670ko\n")),
    (f"{DERIVATIVE}/descriptions.tsv", text("description\ntext\n")),
    (f"{DERIVATIVE}/dseg.tsv", text("just text\n")),
    ("sub-45670ko/sub-45670ko_scans.tsv", text("acq_time\nn/a\n")),
    ("sub-45670ko/sub-45670ko_scans.tsv", text("filename\tnote\nmicr/a\t1\nmicr/a\t2\n")),
    ("README.md", text(b"B\xe4r")),
    (".bidsignore", text(b"B\xe4r")),
    ("code/catnip2bids/plan.toml", text("[[run")),
    (PROVENANCE, fields(runs=[])),
    (PROVENANCE, fields(decisions={"run": 1})),
    (PROVENANCE, text("{")),
    (CHECKSUMS, folder),
)


@pytest.mark.parametrize(("file", "change"), EXISTING, ids=[f"{n} {file}" for n, (file, _) in enumerate(EXISTING)])
def test_a_dataset_with_a_file_that_cannot_be_merged_is_refused(
    finished: Path, tmp_path: Path, file: str, change: Change
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(finished / "dataset", dataset)
    change(dataset / file)
    before = state_of(tmp_path)
    with pytest.raises(Catnip2bidsError, match=Path(file).name) as refused:
        package(finished / "source", dataset, settings(overwrite=True))
    assert refused.value.exit_code == 2
    assert state_of(tmp_path) == before


def test_wrong_types_are_named_with_their_fields(finished: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(finished / "dataset", dataset)
    fields(GeneratedBy=[{"Name": 5}])(dataset / "dataset_description.json")
    with pytest.raises(Catnip2bidsError, match=r"dataset_description\.json: field GeneratedBy\.0\.Name: .*string"):
        package(finished / "source", dataset, settings())


@pytest.mark.parametrize("place", ["sourcedata", f"sub-45670ko/{MICR[12:]}", DERIVATIVE, "derivatives/catnip-counts"])
def test_a_file_where_a_folder_is_needed_is_refused(finished: Path, tmp_path: Path, place: str) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(finished / "dataset", dataset)
    shutil.rmtree(dataset / place)
    (dataset / place).write_text("a file")
    before = state_of(tmp_path)
    with pytest.raises(Catnip2bidsError, match=Path(place).name) as refused:
        package(finished / "source", dataset, settings())
    assert refused.value.exit_code == 2
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("choices", [{"memory_bytes": 100 * 2**20}, {"subject": "s" * 250}, {"voxel_size_um": None}])
def test_a_new_dataset_that_is_refused_is_not_begun(finished: Path, tmp_path: Path, choices: dict[str, Any]) -> None:
    with pytest.raises(Catnip2bidsError) as refused:
        package(finished / "source", tmp_path / "new/folders/dataset", settings(**choices))
    assert refused.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_stops_a_command_that_has_begun_ends_with_1(finished: Path, tmp_path: Path) -> None:
    """Whatever turns up only then, since 2 promises that nothing was written."""
    dataset = tmp_path / "dataset"

    class Breaking(Progress):
        def advance(self, n_voxels: int) -> None:
            del n_voxels
            (dataset / "participants.tsv").write_bytes(b"participant_id\nB\xe4r\n")

    with pytest.raises(Catnip2bidsError, match=r"participants\.tsv") as stopped:
        package(finished / "source", dataset, settings(), progress=Breaking())
    assert stopped.value.exit_code == 1
    assert images_of(dataset)
    (dataset / "participants.tsv").unlink()
    assert package(finished / "source", dataset, settings()).ok


def test_the_finished_dataset_is_whole(finished: Path) -> None:
    """The last of this file: what all the others were refused to change."""
    assert slices_of(finished / "source" / KO / "640_N4")
    assert verify(finished / "dataset").ok


def test_runs_for_which_provenance_has_no_room_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_l0(tmp_path / "source")
    monkeypatch.setattr("catnip2bids.packaging.existing_dataset.MOST_PARTS", 1000)
    with pytest.raises(UsageError, match=r"provenance\.json would have about .*package them into another dataset"):
        package(tmp_path / "source", tmp_path / "dataset", settings())
    assert not (tmp_path / "dataset").exists()


def test_a_foreign_folder_is_refused_before_its_links_are_named(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(DatasetError, match="was not begun by catnip2bids"):
        package(finished / "source", tmp_path, settings())
