"""Links that other animals or an interruption made wrong are removed, and the dataset verifies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tifffile

from catnip2bids import package, remove_animal, share, verify
from catnip2bids.bids.dataset_paths import NEUROGLANCER
from runs import Collector, dataset_files, mentions, read_tsv, settings
from viewed import KO, cohort, dataset, own_dataset, packaged

__all__ = ["cohort", "dataset", "own_dataset"]

URL = "https://data.example.org/dataset"
WT = "10002wt"


def linked(dataset: Path) -> set[str]:
    """Return the runs that have links, after checking that these are the links that `share` would make now."""
    links = {row["run"] for row in read_tsv(dataset / NEUROGLANCER / "links.tsv")}
    assert {folder.name for folder in (dataset / NEUROGLANCER).glob("sub-*")} == links
    again = Path(shutil.copytree(dataset, dataset.with_name("again")))
    share(again, URL)
    before, now = dataset_files(dataset), dataset_files(again)
    shown = [file for file in now if any(file.startswith(f"{NEUROGLANCER}/{run}/") for run in links)]
    assert [file for file in shown if before.get(file) != now[file]] == []
    shutil.rmtree(again)
    return links


@pytest.fixture
def own_cohort(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the cohort and its atlas table in which the second animal has more cells in its heat maps."""
    shutil.copyfile(cohort.parent / "atlas_info.txt", tmp_path / "atlas_info.txt")
    copy = Path(shutil.copytree(cohort, tmp_path / "cohort"))
    for file in (copy / "WT").rglob("heatmaps*/*.tif"):
        tifffile.imwrite(file, tifffile.imread(file) * 10)
    return copy


def test_links_on_an_outdated_scale_go(own_dataset: Path, own_cohort: Path) -> None:
    share(own_dataset, URL)
    collector = Collector()
    again = settings(atlas_table=own_cohort.parent / "atlas_info.txt")
    package(own_cohort / "WT", own_dataset, again, progress=collector)
    assert linked(own_dataset) == set()
    assert mentions(collector.notes, "outdated links", "make them again with catnip2bids share")
    assert verify(own_dataset).ok
    share(own_dataset, URL)
    collector = Collector()
    remove_animal(own_dataset, WT, collector, report=False)
    assert linked(own_dataset) == set()
    assert mentions(collector.notes, "outdated links", "make them again with catnip2bids share")
    assert verify(own_dataset).ok


def test_links_with_outdated_colours_go(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package(cohort, dataset, settings())
    share(dataset, URL)
    packaged(cohort / "WT", dataset)
    assert linked(dataset) == set()
    assert verify(dataset).ok


def test_links_with_abbreviations_that_a_person_has_corrected_go(own_dataset: Path, cohort: Path) -> None:
    share(own_dataset, URL)
    table = own_dataset / "derivatives/catnip/dseg.tsv"
    table.write_text(table.read_text().replace("\tCA1\t", "\tCA9\t"))
    packaged(cohort / "WT", own_dataset)
    assert linked(own_dataset) == set()
    assert verify(own_dataset).ok


def test_links_that_another_animal_leaves_as_they_are_stay(cohort: Path, tmp_path: Path) -> None:
    dataset = packaged(cohort / "WT", tmp_path / "dataset")
    share(dataset, URL)
    shutil.copytree(cohort / "KO", tmp_path / "KO")
    shutil.copyfile(cohort.parent / "atlas_info.txt", tmp_path / "atlas_info.txt")
    for file in (tmp_path / "KO").rglob("heatmaps*/*.tif"):
        tifffile.imwrite(file, tifffile.imread(file) / 10)
    packaged(tmp_path / "KO", dataset)
    assert {run.partition("_")[0] for run in linked(dataset)} == {f"sub-{WT}"}
    assert verify(dataset).ok
    remove_animal(dataset, "10001ko", report=False)
    assert {run.partition("_")[0] for run in linked(dataset)} == {f"sub-{WT}"}
    assert verify(dataset).ok


# ---- commands that are interrupted


def interrupt(monkeypatch: pytest.MonkeyPatch, step: str, command: Callable[[], object]) -> None:
    """Call a command, and press Ctrl-C when it reaches a step."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(f"catnip2bids.{step}", stop)
        with pytest.raises(KeyboardInterrupt):
            command()


@pytest.mark.parametrize("next_command", ["package", "remove", "share"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "again"])
def test_sharing_that_was_interrupted_leaves_nothing_wrong(
    own_dataset: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool, next_command: str
) -> None:
    if not is_first:
        share(own_dataset, "https://elsewhere.example.org")
    interrupt(monkeypatch, "sharing.share_dataset.write_checksums", partial(share, own_dataset, URL))
    assert not verify(own_dataset).ok
    collector = Collector()
    match next_command:
        case "package":
            package([cohort], own_dataset, settings(), progress=collector)
        case "remove":
            remove_animal(own_dataset, WT, collector, report=False)
        case "share":
            share(own_dataset, URL)
    assert verify(own_dataset).ok
    assert mentions(collector.notes, "was interrupted", "catnip2bids share") == (next_command != "share")
    assert (own_dataset / NEUROGLANCER).exists() == (next_command == "share")


@pytest.mark.parametrize("step", ["_write_plan", "_save"])
def test_links_that_interrupted_packaging_removed_are_not_missed(
    own_dataset: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    share(own_dataset, URL)
    again = partial(packaged, cohort / "KO", own_dataset, overwrite=True)
    interrupt(monkeypatch, f"packaging.package_runs.{step}", again)
    assert not (own_dataset / NEUROGLANCER / KO).exists()
    packaged(cohort, own_dataset)
    assert verify(own_dataset).ok
    assert not (own_dataset / NEUROGLANCER).exists()
    share(own_dataset, URL)
    packaged(cohort, own_dataset)
    assert len(linked(own_dataset)) == 2


@pytest.mark.parametrize("step", ["_remove_records", "remove_outdated_links", "write_checksums"])
def test_an_interrupted_removal_leaves_no_outdated_links(
    own_dataset: Path, own_cohort: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    packaged(own_cohort, own_dataset)
    share(own_dataset, URL)
    remove = partial(remove_animal, own_dataset, WT, report=False)
    interrupt(monkeypatch, f"packaging.removal.{step}", remove)
    remove()
    assert verify(own_dataset).ok
    assert not (own_dataset / NEUROGLANCER).exists()
