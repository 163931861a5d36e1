"""Refused commands other than `package` change nothing either, and leave no new folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catnip2bids import compare, convert, package, restore
from catnip2bids.demo import run_demo
from catnip2bids.errors import Catnip2bidsError
from catnip2bids.locks import lock_output
from catnip2bids.reporting import report
from runs import KO, PROVENANCE, VOXEL_SIZE_UM, settings, slices_of, state_of, write_l0

MIB = 2**20


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source, its dataset, and an image made by `convert`."""
    place = tmp_path_factory.mktemp("commands")
    run = write_l0(place / "source")
    assert package(place / "source", place / "dataset", settings()).ok
    convert(run / "640_FRST", place / "frst.ome.zarr", VOXEL_SIZE_UM)
    convert(run / "640_FRST", place / "frst.ome.btf", VOXEL_SIZE_UM)
    shutil.copytree(run / "640_FRST", place / "cut")
    slices_of(place / "cut")[3].write_bytes(slices_of(place / "cut")[3].read_bytes()[:300])
    (place / "file").write_text("a file")
    return place


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder."""
    shutil.copytree(original, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


SLICES = f"source/{KO}/640_FRST"
REFUSED: dict[str, Callable[[], object]] = {
    "restore with little memory": lambda: restore("dataset", "new/restored", memory_bytes=20 * MIB),
    "restore what is not a dataset": lambda: restore("source", "new/restored"),
    "restore into a folder that holds something": lambda: restore("dataset", "cut"),
    "restore into a file": lambda: restore("dataset", "file"),
    "restore below a file": lambda: restore("dataset", "file/restored"),
    "restore into the dataset": lambda: restore("dataset", "dataset/restored"),
    "convert with little memory": lambda: convert(
        SLICES, "frst.ome.zarr", VOXEL_SIZE_UM, overwrite=True, memory_bytes=MIB
    ),
    "convert to OME-TIFF with little memory": lambda: convert(
        SLICES, "new/folders/frst.ome.btf", VOXEL_SIZE_UM, compression="deflate", memory_bytes=MIB
    ),
    "convert what is damaged": lambda: convert("cut", "frst.ome.zarr", VOXEL_SIZE_UM, overwrite=True),
    "convert what is not there": lambda: convert("gone", "new/frst.ome.zarr", VOXEL_SIZE_UM),
    "convert again": lambda: convert(SLICES, "frst.ome.zarr", VOXEL_SIZE_UM),
    "convert below a file": lambda: convert(SLICES, "file/frst.ome.zarr", VOXEL_SIZE_UM),
    "convert with an impossible choice": lambda: convert(
        SLICES, "frst.ome.zarr", VOXEL_SIZE_UM, compression="deflate", overwrite=True
    ),
    "compare what is not there": lambda: compare("cut", "gone", "new/comparison"),
    "compare different things": lambda: compare("cut", "file", "new/comparison"),
    "compare into a side": lambda: compare("cut", SLICES, "cut/comparison"),
    "compare below a file": lambda: compare("cut", SLICES, "file/comparison"),
    "report on what is not a dataset": lambda: report("source"),
    "report with impossible jobs": lambda: report("dataset", jobs=0),
    "demo in a folder of others": lambda: run_demo(Path("source")),
    "demo below a file": lambda: run_demo(Path("file/demo")),
}


@pytest.mark.parametrize("refusal", REFUSED)
def test_a_refused_command_changes_nothing(place: Path, refusal: str) -> None:
    before = state_of(place)
    with pytest.raises(Catnip2bidsError) as refused:
        REFUSED[refusal]()
    assert refused.value.exit_code == 2
    assert {**state_of(place), ".": before["."]} == before  # a new folder in it has come and gone


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("participants.tsv", "name\nA\n"),
        ("samples.tsv", "sample_id\nB\n"),
        ("dataset_description.json", "[]"),
        ("dataset_description.json", "[" * 100_000),
        (PROVENANCE, "{}}"),
        ("docs", "a file"),
    ],
)
def test_a_report_of_a_dataset_that_cannot_be_read_changes_nothing(place: Path, file: str, content: str) -> None:
    (place / "dataset" / file).write_text(content)
    before = state_of(place)
    with pytest.raises(Catnip2bidsError, match=Path(file).name) as refused:
        report("dataset")
    assert refused.value.exit_code == 2
    assert state_of(place) == before


@pytest.mark.parametrize("file", ["cohort", "dataset", "dataset/thesis.docx", "atlas_info.txt", "thesis.docx"])
def test_a_demo_writes_over_nothing(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    before = state_of(tmp_path)
    with pytest.raises(Catnip2bidsError, match=Path(file).parts[0]) as refused:
        run_demo(tmp_path)
    assert refused.value.exit_code == 2
    assert state_of(tmp_path) == before


def test_an_image_that_another_program_writes_stays(place: Path) -> None:
    with lock_output(place / "frst.ome.zarr"):
        before = state_of(place)
        with pytest.raises(Catnip2bidsError, match="another catnip2bids") as refused:
            convert(SLICES, "frst.ome.zarr", VOXEL_SIZE_UM, overwrite=True)
        assert refused.value.exit_code == 2
        assert state_of(place) == before
