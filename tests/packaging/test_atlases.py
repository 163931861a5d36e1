"""Runs of several atlases in one dataset, and atlas tables that change: names of regions are never mixed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from catnip2bids import make_plan, package, remove_animal, scan, share, verify
from catnip2bids.bids.provenance import read_provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.demo import write_atlas_table
from catnip2bids.enums import Naming
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.packaging import package_runs
from catnip2bids.packaging.metadata import Metadata
from runs import (
    FLOX,
    KO,
    KO_PREFIX,
    TODAY_PREFIX,
    dataset_files,
    mentions,
    ome,
    read_tsv,
    settings,
    state_of,
    write_l0,
    write_l2,
)

FLOX_PREFIX = "sub-45925floxed_sample-RightHemisphere_stain-cFos"
LABELS = "_space-orig_desc-atlas_SPIM.ome.zarr"
DERIVATIVE = Path("derivatives/catnip")


def rename_regions(run: Path) -> None:
    """Give a run the counts of another atlas, which has the same label values."""
    for table in run.rglob("*.csv"):
        header, *rows = table.read_text().splitlines()
        fields = [row.split(",") for row in rows]
        table.write_text("\n".join([header, *(",".join([f[0], f"Other_{f[1]}", *f[2:]]) for f in fields)]) + "\n")


def names_of(image: Path) -> dict[int, str]:
    return {row["label-value"]: row["name"] for row in ome(image)["image-label"]["properties"]}


def labels_of(dataset: Path, key: str) -> Path:
    return dataset / DERIVATIVE / key.partition("_")[0] / "micr" / f"{key}{LABELS}"


def table_of(dataset: Path, key: str) -> dict[int, dict[str, str]]:
    table = read_provenance(dataset).runs[key].atlas_table
    assert table is not None
    return {int(row["index"]): row for row in read_tsv(dataset / DERIVATIVE / table)}


def assert_labels_are_named_by_tables(dataset: Path) -> None:
    for key in read_provenance(dataset).runs:
        rows, described = table_of(dataset, key), ome(labels_of(dataset, key))["image-label"]
        for row in described["properties"]:
            assert row["name"] == rows[row["label-value"]]["name"]
        for row in described["colors"]:
            assert bytes(row["rgba"][:3]).hex() == rows[row["label-value"]]["color"].removeprefix("#")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two runs with the same label values."""
    for name in (KO, FLOX):
        write_l0(tmp_path / "source", name)
    return tmp_path / "source"


@pytest.fixture
def atlas_table(tmp_path: Path) -> Path:
    write_atlas_table(tmp_path / "atlas_info.txt")
    return tmp_path / "atlas_info.txt"


def test_a_given_table_is_not_for_runs_of_another_atlas(source: Path, tmp_path: Path, atlas_table: Path) -> None:
    rename_regions(source / FLOX)
    result = package([source], tmp_path / "out", settings(atlas_table=atlas_table))
    (warning,) = (text for text in result.warnings if "is not used for that run" in text)
    assert warning.startswith(f"{atlas_table}: names other regions than {source / FLOX}")
    ko, flox = (table_of(tmp_path / "out", key) for key in (KO_PREFIX, FLOX_PREFIX))
    assert ko[821]["color"] == "#145a96"
    assert flox[821]["name"] == f"Other_{ko[821]['name'].replace(' ', '_')}"
    assert_labels_are_named_by_tables(tmp_path / "out")


@pytest.mark.parametrize("choices", [{}, {"naming": Naming.DSEG, "embed_labels": True}], ids=["bids", "dseg, embedded"])
def test_a_table_that_comes_later_names_the_labels_of_all_animals(
    source: Path, tmp_path: Path, atlas_table: Path, choices: dict[str, Any]
) -> None:
    one_by_one = tmp_path / "one by one"
    package([source / KO], one_by_one, settings(**choices))
    before = read_provenance(one_by_one).runs[KO_PREFIX].images
    result = package([source / FLOX], one_by_one, settings(atlas_table=atlas_table, **choices))
    assert {image for image in result.made if KO_PREFIX in image.name} == set()
    package([source], tmp_path / "at once", settings(atlas_table=atlas_table, **choices))
    documents = [
        {path: content for path, content in dataset_files(dataset).items() if path.endswith("zarr.json")}
        for dataset in (one_by_one, tmp_path / "at once")
    ]
    assert documents[0] == documents[1]
    assert before.keys() == read_provenance(one_by_one).runs[KO_PREFIX].images.keys()
    assert verify(one_by_one).ok


@pytest.mark.parametrize("command", ["package", "remove"])
def test_labels_are_named_after_a_kill(
    source: Path, tmp_path: Path, atlas_table: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends after the names were written, before the checksums."""
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    before = ome(labels_of(dataset, KO_PREFIX))
    with monkeypatch.context() as patch:
        patch.setattr(package_runs, "_write_plan", interrupted)
        with pytest.raises(KeyboardInterrupt):
            package([source / FLOX], dataset, settings(atlas_table=atlas_table))
    if command == "package":
        package([source / FLOX], dataset, settings(atlas_table=atlas_table))
    else:
        remove_animal(dataset, "45925floxed", report=False)
    assert ome(labels_of(dataset, KO_PREFIX)) != before
    assert_labels_are_named_by_tables(dataset)
    assert verify(dataset).ok


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_with_another_atlas_than_before_keeps_nothing_of_it(source: Path, tmp_path: Path) -> None:
    dataset, run = tmp_path / "out", source / KO
    shutil.rmtree(run)
    write_l0(source, KO, thresholds=(10000, 15000))
    package([source], dataset, settings())
    before = state_of(dataset)
    for path in [path for path in run.rglob("*15000*") if path.exists()]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    rename_regions(run)
    with pytest.raises(UsageError, match=r"has another atlas than before \(region .* --remove 45670ko"):
        package([source], dataset, settings())
    assert state_of(dataset) == before
    remove_animal(dataset, "45670ko")
    package([source], dataset, settings())
    assert names_of(labels_of(dataset, KO_PREFIX))[821].startswith("Other_")
    assert_labels_are_named_by_tables(dataset)


@pytest.mark.parametrize("stays", ["counts", "nothing"])
def test_a_run_of_another_version_that_is_not_counted_gets_no_old_names(tmp_path: Path, stays: str) -> None:
    dataset, run = tmp_path / "out", write_l2(tmp_path / "source")
    if stays == "nothing":
        remove_tables(run)
    table = tmp_path / "atlas_v2/atlas_info.txt"
    write_atlas_table(table)
    package([tmp_path / "source"], dataset, settings(atlas_table=table))
    log = next(run.rglob("*.log.txt"))
    log.write_text(log.read_text().replace("v2", "v5"))
    remove_tables(run)
    if stays == "counts":
        with pytest.raises(UsageError, match=r"has another atlas than before \(v2 and v5\)"):
            package([tmp_path / "source"], dataset, settings())
        return
    package([tmp_path / "source"], dataset, settings())
    assert names_of(labels_of(dataset, TODAY_PREFIX))[821] == "unlisted_821"
    warnings = package([tmp_path / "source"], dataset, settings(atlas_table=table)).warnings
    assert mentions(warnings, "atlas_info.txt: is of atlas v2, and", "of v5; it is not used for that run")
    assert_labels_are_named_by_tables(dataset)


def remove_tables(run: Path) -> None:
    for table in [*run.rglob("*.csv")]:
        table.unlink()


def test_a_region_that_a_person_renamed_is_refused_and_other_edits_stay(source: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    table = dataset / DERIVATIVE / "dseg.tsv"
    made = table.read_text()
    name = table_of(dataset, KO_PREFIX)[821]["name"]
    table.write_text(made.replace(f"821\t{name}\t", "821\tMy_name\t"))
    before = state_of(dataset)
    for run in (source / KO, source / FLOX):
        with pytest.raises(
            DatasetError,
            match=rf"otherwise than the counts of {KO_PREFIX} \(region 821 is {name} in one and My_name in",
        ):
            package([run], dataset, settings())
    assert state_of(dataset) == before
    table.unlink()
    package([source / FLOX], dataset, settings())
    assert table.read_text() == made
    color = table_of(dataset, KO_PREFIX)[821]["color"]
    table.write_text(made.replace(color, "#010203"))
    package([source / FLOX], dataset, settings())
    assert table_of(dataset, KO_PREFIX)[821]["color"] == "#010203"
    assert_labels_are_named_by_tables(dataset)
    assert verify(dataset).ok


def test_an_interrupted_change_of_the_atlas_is_finished_by_the_same_command(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of counts are written before the names of regions."""
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    rename_regions(source / KO)
    with monkeypatch.context() as patch:
        patch.setattr(Metadata, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            package([source / KO], dataset, settings())
    package([source / KO], dataset, settings())
    assert names_of(labels_of(dataset, KO_PREFIX))[821].startswith("Other_")
    assert_labels_are_named_by_tables(dataset)
    assert verify(dataset).ok


def test_a_damaged_table_of_counts_is_made_again(source: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    [counts] = dataset.glob(f"derivatives/catnip-counts/*/micr/{KO_PREFIX}*_counts.tsv")
    for content in ("", "garbage", counts.read_text().replace("\tMidbrain\t", "\tOther\t")):
        whole = counts.read_text()
        counts.write_text(content)
        package([source / KO], dataset, settings())
        assert counts.read_text() == whole
        assert verify(dataset).ok


def test_damaged_metadata_of_labels_are_not_written_again(source: Path, tmp_path: Path, atlas_table: Path) -> None:
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    document = labels_of(dataset, KO_PREFIX) / "zarr.json"
    damaged = document.read_text().replace("3.7", "9.7")
    document.write_text(damaged)
    package([source / FLOX], dataset, settings(atlas_table=atlas_table))
    assert document.read_text() == damaged
    assert not verify(dataset).ok


def test_links_are_not_made_while_packaging_is_unfinished(
    source: Path, tmp_path: Path, atlas_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take the mark of the interruption away, by which the next command knows what to record again."""
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    with monkeypatch.context() as patch:
        patch.setattr(package_runs, "_write_plan", interrupted)
        with pytest.raises(KeyboardInterrupt):
            package([source / FLOX], dataset, settings(atlas_table=atlas_table))
    with pytest.raises(UsageError, match=f"packaging of {FLOX_PREFIX} was interrupted; package again first"):
        share(dataset, "https://data.example.org/dataset")
    package([source / FLOX], dataset, settings(atlas_table=atlas_table))
    share(dataset, "https://data.example.org/dataset")
    assert verify(dataset).ok


def test_a_run_without_labels_and_counts_needs_no_atlas_table(source: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    (dataset / DERIVATIVE / "dseg.tsv").unlink()
    plan = make_plan(scan(source / KO))
    for entry in plan.runs[0].entries:
        if entry.source.startswith("atlaslabel") or entry.source.endswith(".csv"):
            entry.action, entry.reason = Action.EXCLUDE, "not wanted"
    package([source / KO], dataset, settings(), plan)
    assert read_provenance(dataset).runs[KO_PREFIX].atlas_table is None
    assert verify(dataset).ok


def test_versions_with_the_same_table_are_one_atlas(tmp_path: Path) -> None:
    run, table = write_l2(tmp_path / "source"), tmp_path / "atlas_v1/atlas_info.txt"
    remove_tables(run)  # so that only the versions, v1 and v2, tell
    write_atlas_table(table)
    package([tmp_path / "source"], tmp_path / "out", settings(atlas_table=table))
    assert names_of(labels_of(tmp_path / "out", TODAY_PREFIX))[821] == "Primary_visual_area_layer_2/3"


def test_regions_that_a_given_table_lacks_have_the_names_of_the_counts(
    source: Path, tmp_path: Path, atlas_table: Path
) -> None:
    lines = atlas_table.read_text().splitlines()
    atlas_table.write_text("\n".join(line for line in lines if not line.startswith("821,")) + "\n")
    package([source], tmp_path / "out", settings(atlas_table=atlas_table))
    assert names_of(labels_of(tmp_path / "out", KO_PREFIX))[821] == "Primary_visual_area_layer_2/3"
    assert_labels_are_named_by_tables(tmp_path / "out")


def test_a_renamed_region_is_refused_also_if_another_command_took_it_over(source: Path, tmp_path: Path) -> None:
    """`share` gives edited tables new checksums."""
    dataset = tmp_path / "out"
    package([source / KO], dataset, settings())
    table = dataset / DERIVATIVE / "dseg.tsv"
    name = table_of(dataset, KO_PREFIX)[821]["name"]
    table.write_text(table.read_text().replace(f"821\t{name}\t", "821\tMy_name\t"))
    share(dataset, "https://data.example.org/dataset")
    with pytest.raises(DatasetError, match="names a region otherwise than the counts of"):
        package([source / FLOX], dataset, settings())


def test_counts_that_come_later_and_name_other_regions_are_a_warning(source: Path, tmp_path: Path) -> None:
    run, dataset = source / KO, tmp_path / "out"
    shutil.copytree(run, tmp_path / "counted")
    remove_tables(run)
    table = tmp_path / "regions.tsv"
    table.write_text("index\tname\tcolor\n821\tMy_name\t#010203\n")
    package([run], dataset, settings(atlas_table=table))
    shutil.copytree(tmp_path / "counted", run, dirs_exist_ok=True)
    warnings = package([run], dataset, settings()).warnings
    assert mentions(warnings, f"{run}: has another atlas than when it was packaged (region 821 is My_name in one and")
    assert_labels_are_named_by_tables(dataset)
