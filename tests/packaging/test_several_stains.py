"""Two stains of one brain beside an animal whose atlas table is another one: nothing of them is mixed."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from catnip2bids import package, verify
from catnip2bids.bids.provenance import read_provenance
from catnip2bids.packaging import remove_animal
from catnip2bids.viewing.scene import scenes_of
from runs import FLOX, TODAY, TODAY_PREFIX, dataset_files, read_json, read_tsv, settings, write_l2

SECOND = TODAY.replace("640_", "561_")
"""The same brain, imaged with another laser line."""
NEUN_PREFIX = TODAY_PREFIX.replace("cFos", "NeuN")
COUNTS = "derivatives/catnip-counts"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each run, and the stain of each by the name of the folder."""
    folder = tmp_path_factory.mktemp("sources")
    write_l2(folder / "first", TODAY)
    write_l2(folder / "second", SECOND, seed=2)
    for table in write_l2(folder / "other", FLOX, seed=3).rglob("FRSTseg_*.csv"):
        rows = [row.split(",") for row in table.read_text().splitlines()]
        if rows[0][0] == "Label_ID":
            renamed = [[index, f"Other_{name}", *more] for index, name, *more in rows[1:]]
            table.write_text("".join(",".join(row) + "\n" for row in (rows[0], *renamed)))
    return {path.name: path for path in folder.iterdir()}


def packaged(dataset: Path, sources: dict[str, Path], *names: str) -> Path:
    for name in names:
        stain = {"stain": "NeuN"} if name == "second" else {}
        assert package(sources[name], dataset, settings(**stain)).ok
    return dataset


@pytest.fixture(scope="module")
def dataset(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of all runs, only to be read by all but the last test."""
    return packaged(tmp_path_factory.mktemp("several") / "dataset", sources, "first", "other", "second")


def test_the_order_does_not_matter(dataset: Path, sources: dict[str, Path], tmp_path: Path) -> None:
    other = packaged(tmp_path / "dataset", sources, "second", "first", "other", "first")
    assert dataset_files(other) == dataset_files(dataset)


def test_each_stain_has_its_own_cells_and_all_are_confirmed(dataset: Path) -> None:
    found = verify(dataset, counts=True)
    assert (found.ok, found.counts_agree, len(found.counts)) == (True, True, 3)
    for prefix in (TODAY_PREFIX, NEUN_PREFIX):
        record = read_provenance(dataset).runs[prefix]
        ((table, cells),) = record.cells.items()
        with gzip.open(dataset / table, "rt") as file:
            regions = Counter(row["index"] for row in csv.DictReader(file, delimiter="\t"))
        counts = read_tsv(dataset / table.replace("_cells.tsv.gz", "_counts.tsv"))
        assert cells.origin == "cell list"
        assert {row["index"]: int(row["cell_count"]) for row in counts if row["cell_count"] != "0"} == regions
    assert {row["stain"] for row in read_tsv(dataset / COUNTS / "counts.tsv")} == {"cFos", "NeuN"}


def test_the_viewer_shows_each_stain_with_its_own_cells(dataset: Path) -> None:
    def no_warning(text: str) -> None:
        raise AssertionError(text)

    scenes = [scene for scene in scenes_of(dataset, no_warning) if scene.cells]
    tables = {scene.sample: {cells.table.path.name for cells in scene.cells} for scene in scenes}
    for prefix in (TODAY_PREFIX, NEUN_PREFIX):
        ends = ("cells", "uncounted")
        assert tables[prefix] == {f"{prefix}_desc-FRSTseg10000_{end}.tsv.gz" for end in ends}


def test_the_readme_tells_stains_and_atlases_apart(dataset: Path) -> None:
    text = (dataset / "README.md").read_text(encoding="utf-8")
    assert "There are several stains: choose one" in text
    assert "There are several atlases: each has its own `..._dseg.tsv` and `..._regions.tsv`" in text
    atlases = {
        run.atlas_table.removesuffix("_dseg.tsv") for run in read_provenance(dataset).runs.values() if run.atlas_table
    }
    assert len(atlases) == 2
    assert all(f" | {atlas} |" in text for atlas in atlases)
    assert '& (counts.stain == "cFos")]' in text


def test_without_the_animal_of_two_stains_nothing_speaks_of_stains(
    dataset: Path, sources: dict[str, Path], tmp_path: Path
) -> None:
    remove_animal(dataset, "46001wt", report=False)
    assert dataset_files(dataset) == dataset_files(packaged(tmp_path / "dataset", sources, "other"))
    assert "stain" not in read_json(dataset / COUNTS / "counts.json")
    assert verify(dataset, counts=True).counts_agree
