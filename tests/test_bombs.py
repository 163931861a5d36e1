"""Datasets that promise more than they hold: refused before memory is taken, by file and with the right exit code.

A table is in docs/explanation/untrusted-datasets.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bombs import BOMBS, MIB, TIFF_BOMBS, run_watched
from catnip2bids import package, verify
from catnip2bids.errors import DatasetError
from runs import KO_PREFIX, settings, write_l0

RAW = f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
GIVEN = "512MiB"
MOST_BYTES = 768 * MIB
OF_ARRAYS = [name for name in BOMBS if " of 2 GiB" not in name and not name.endswith(("lists", "lines"))]
OF_ARRAYS += ["a chunk of 2 GiB", "a chunk of 2 GiB, by another codec"]


EVERYWHERE = ("a frame of 1 GiB", "an index of 4 GiB", "metadata of 2 GiB", "a table of many lines")
"""Also for the commands that start other programs, or take long."""
FILES = {
    "metadata of an array": "0/zarr.json",
    "metadata": RAW,
    "provenance": "provenance.json",
    "a table": "participants.tsv",
    "plane hashes": f"pixels/{Path(RAW).name}.tsv",
    "a sidecar": "dataset_description.json",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset."""
    folder = tmp_path_factory.mktemp("made")
    write_l0(folder / "source")
    package([folder / "source"], folder / "dataset", settings())
    return folder / "dataset"


@pytest.fixture
def dataset(tmp_path: Path, made: Path) -> Path:
    """Return a copy of the dataset."""
    return shutil.copytree(made, tmp_path / "dataset")


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_an_image_that_promises_too_much_is_a_problem_and_all_others_are_proven(dataset: Path, name: str) -> None:
    BOMBS[name](dataset, RAW)
    found = verify(dataset, memory_bytes=512 * MIB)
    assert [verdict.image for verdict in found.images if not verdict.ok] == [RAW]
    assert all(verdict.n_planes for verdict in found.images if verdict.ok)


@pytest.mark.parametrize("name", [name for name in BOMBS if name not in OF_ARRAYS])
def test_a_document_that_is_too_large_is_named(dataset: Path, name: str) -> None:
    BOMBS[name](dataset, RAW)
    try:
        problems = verify(dataset, memory_bytes=512 * MIB).problems
    except DatasetError as error:
        problems = (str(error),)
    file = next(file for words, file in FILES.items() if name.startswith(words))
    assert [problem for problem in problems if file in problem]


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_no_command_takes_more_memory_than_it_was_given(dataset: Path, tmp_path: Path, name: str) -> None:
    BOMBS[name](dataset, RAW)
    commands: list[tuple[str | Path, ...]] = [
        ("verify", dataset, "--memory", GIVEN),
        ("report", dataset),
        ("restore", dataset, "-o", tmp_path / "restored", "--memory", GIVEN),
    ]
    if name in OF_ARRAYS or name.startswith("metadata"):
        commands.append(("convert", dataset / RAW, tmp_path / "again.ome.zarr", "--memory", GIVEN))
    if name in EVERYWHERE:
        commands += [
            ("verify", dataset, "--deep", "--memory", GIVEN),
            ("validate", dataset),
            ("compare", dataset / RAW, dataset / RAW, "-o", tmp_path / "compared", "--memory", GIVEN),
        ]
    for command in commands:
        run = run_watched(*command, log=tmp_path / "log.txt", with_others=name == EVERYWHERE[0])
        assert run.exit_code in (0, 1, 2), run.said
        assert "Traceback" not in run.said
        assert "this is a mistake in catnip2bids" not in run.said
        assert run.peak_bytes <= MOST_BYTES, (command, run.peak_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("name", TIFF_BOMBS)
def test_no_tiff_is_decoded_to_more_memory_than_was_given(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.tif"
    TIFF_BOMBS[name](path)
    voxels = ("--voxel-size", "1", "1", "1")
    run = run_watched(
        "convert", path, tmp_path / "image.ome.zarr", *voxels, "--memory", GIVEN, log=tmp_path / "log.txt"
    )
    assert run.exit_code == 2, run.said
    assert run.peak_bytes <= MOST_BYTES, run.peak_bytes
