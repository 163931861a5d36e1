"""Files and links that `share` adds to a dataset, and what becomes of them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from neuroglancer.read_precomputed_annotations import AnnotationReader

from catnip2bids import package, remove_animal, share, validate, verify
from catnip2bids.bids.checksums import read_checksums
from catnip2bids.cli.app import main
from catnip2bids.errors import Catnip2bidsError, DatasetError, UsageError
from runs import Collector, settings
from viewed import KO, RAW, cohort, dataset, own_dataset, packaged, tiff_dataset

__all__ = ["cohort", "dataset", "own_dataset", "tiff_dataset"]

URL = "https://data.example.org/a%20b/dataset"
FOLDER = "derivatives/catnip-neuroglancer"


def content(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder by their paths."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def state_behind(link: str, dataset: Path) -> dict[str, Any]:
    """Return the state that a link opens."""
    client, _, address = link.partition("/#!")
    assert client == "https://neuroglancer-demo.appspot.com"
    found: dict[str, Any] = json.loads((dataset / address.removeprefix(f"{URL}/")).read_text())
    return found


def file_of(source: str, dataset: Path) -> Path:
    """Return the folder in the dataset that a source of a layer names."""
    address, _, _ = source.partition("|")
    assert address.startswith(f"{URL}/")
    return dataset / address.removeprefix(f"{URL}/")


def test_everything_that_a_link_names_is_in_the_dataset(own_dataset: Path) -> None:
    shared = share(own_dataset, f"{URL}/")
    assert shared.ok
    assert [(link.run, link.scene) for link in shared.links[:2]] == [
        (KO, "image, atlas regions and cells"),
        (KO, "heat maps, in the space of the atlas"),
    ]
    assert len(shared.links) == 4
    states = [state_behind(link.link, own_dataset) for link in shared.links]
    sources = [layer["source"] for state in states for layer in state["layers"]]
    folders = [file_of(one, own_dataset) for many in sources for one in ([many] if isinstance(many, str) else many)]
    assert len(folders) > 20
    assert all((folder / "zarr.json").is_file() or (folder / "info").is_file() for folder in folders)
    image, *_ = states[0]["layers"]
    assert (image["name"], file_of(image["source"], own_dataset)) == ("image, cFos", own_dataset / f"{RAW}.ome.zarr")
    table = (own_dataset / FOLDER / "links.tsv").read_text().splitlines()
    assert table == ["run\tscene\tlink", *("\t".join((link.run, link.scene, link.link)) for link in shared.links)]


def test_cells_and_regions_are_those_of_the_tables(own_dataset: Path) -> None:
    state = state_behind(share(own_dataset, URL).links[0].link, own_dataset)
    layers = {layer["name"]: layer for layer in state["layers"]}
    regions = json.loads((file_of(layers["atlas regions"]["source"][1], own_dataset) / "info").read_text())["inline"]
    names, tags = regions["properties"]
    labels = dict(zip(regions["ids"], names["values"], strict=True))
    assert labels["382"] == "Field CA1"
    tagged = dict(zip(regions["ids"], tags["values"], strict=True))
    assert [tags["tags"][number] for number in tagged["382"]] == ["CA1"]
    cells = layers["counted cells, threshold 10000"]
    assert cells["linkedSegmentationLayer"] == {"region": "atlas regions"}
    reader = AnnotationReader(file_of(cells["source"], own_dataset).as_uri())
    (counts,) = own_dataset.glob(f"derivatives/catnip-counts/*/micr/{KO}_desc-FRSTseg10000_counts.tsv")
    rows = [line.split("\t") for line in counts.read_text().splitlines()[1:]]
    counted = {int(row[0]): int(row[3]) for row in rows}
    assert len(reader.relationships["region"][382]) == counted[382] > 0


def test_the_dataset_stays_good_and_packaging_again_changes_nothing(own_dataset: Path, cohort: Path) -> None:
    share(own_dataset, URL)
    checksums = read_checksums(own_dataset)
    assert checksums is not None
    assert set(content(own_dataset / FOLDER)) == {
        file.removeprefix(f"{FOLDER}/") for file in checksums.files if file.startswith(FOLDER)
    }
    assert verify(own_dataset).ok
    assert validate(own_dataset).ok
    before = content(own_dataset / FOLDER)
    packaged(cohort, own_dataset)
    assert content(own_dataset / FOLDER) == before
    assert verify(own_dataset).ok


def test_sharing_again_replaces_all_files_and_the_same_address_gives_the_same(own_dataset: Path) -> None:
    share(own_dataset, URL)
    before = content(own_dataset / FOLDER)
    (own_dataset / FOLDER / "old").write_text("x")
    share(own_dataset, URL)
    assert content(own_dataset / FOLDER) == before
    link = share(own_dataset, "http://localhost:8000", client="http://localhost:9000/ng/").links[0].link
    assert link == f"http://localhost:9000/ng/#!http://localhost:8000/{FOLDER}/{KO}/image.json"
    assert URL.encode() not in b"".join(content(own_dataset / FOLDER).values())
    assert verify(own_dataset).ok


def test_damage_is_found_and_never_hidden(own_dataset: Path, cohort: Path) -> None:
    share(own_dataset, URL)
    shard = own_dataset / FOLDER / KO / "counted-cells-threshold-10000/by_id/0.shard"
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    assert not verify(own_dataset).ok
    packaged(cohort, own_dataset)
    found = verify(own_dataset)
    assert [problem.file for problem in found.file_problems] == [shard.relative_to(own_dataset).as_posix()]
    share(own_dataset, URL)
    assert verify(own_dataset).ok


def test_links_of_a_removed_or_changed_animal_go(own_dataset: Path, cohort: Path) -> None:
    share(own_dataset, URL)
    collector = Collector()
    again = settings(atlas_table=cohort.parent / "atlas_info.txt", overwrite=True)
    package(cohort / "KO", own_dataset, again, progress=collector)
    assert [folder.name.partition("_")[0] for folder in (own_dataset / FOLDER).glob("sub-*")] == ["sub-10002wt"]
    assert "10001ko" not in (own_dataset / FOLDER / "links.tsv").read_text()
    assert any("share" in note for note in collector.notes)
    assert verify(own_dataset).ok
    share(own_dataset, URL)
    remove_animal(own_dataset, "10002wt", report=False)
    assert [folder.name for folder in (own_dataset / FOLDER).glob("sub-*")] == [KO]
    assert "10002wt" not in (own_dataset / FOLDER / "links.tsv").read_text()
    assert verify(own_dataset).ok


def test_the_folder_may_be_deleted(own_dataset: Path, cohort: Path) -> None:
    share(own_dataset, URL)
    shutil.rmtree(own_dataset / FOLDER)
    assert not verify(own_dataset).ok
    packaged(cohort, own_dataset)
    assert verify(own_dataset).ok


def test_what_cannot_be_shown_is_a_problem(own_dataset: Path) -> None:
    shutil.rmtree(own_dataset / f"{RAW}.ome.zarr")
    collector = Collector()
    shared = share(own_dataset, URL, progress=collector)
    assert not shared.ok
    (problem,) = shared.problems
    assert f"{RAW}.ome.zarr" in problem
    assert len(shared.links) == 4


def test_what_is_refused_changes_nothing(own_dataset: Path, tiff_dataset: Path, tmp_path: Path) -> None:
    before = content(own_dataset)
    refused: list[tuple[Path, str, type[Catnip2bidsError], str]] = [
        (tiff_dataset, URL, UsageError, "is an OME-TIFF, which Neuroglancer cannot read"),
        (tmp_path / "nothing", URL, UsageError, "does not exist"),
        (own_dataset / f"{RAW}.ome.zarr", URL, UsageError, "is not a dataset"),
        (own_dataset, "data.example.org", UsageError, "--url data.example.org: is not the address"),
        *(
            (own_dataset, url, UsageError, f"--url {url}: is not the address")
            for url in ("https://example.org:0/d", "https://example.org:70000/d", "https://example.org:abc/d")
        ),
        (own_dataset, "file:///x", UsageError, "--url"),
        (own_dataset, "https:///x", UsageError, "--url"),
        (own_dataset, "https://x/?a", UsageError, "--url"),
        (own_dataset, "https://x/a b", UsageError, "--url"),
        (own_dataset, "https://[x", UsageError, "--url"),
    ]
    for path, url, error, words in refused:
        with pytest.raises(error, match=words):
            share(path, url)
    with pytest.raises(UsageError, match="--client"):
        share(own_dataset, URL, client="x")
    cells = next(own_dataset.rglob("*_cells.tsv.gz"))
    intact = cells.read_bytes()
    cells.write_bytes(b"x")
    with pytest.raises(DatasetError, match="cannot be read"):
        share(own_dataset, URL)
    cells.write_bytes(intact)
    assert content(own_dataset) == before


def test_a_page_of_https_and_files_of_http(own_dataset: Path) -> None:
    collector = Collector()
    for url in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "https://x"):
        share(own_dataset, url, progress=collector)
    assert collector.warnings == []
    for url in ("http://data.example.org", "HTTP://data.example.org"):
        share(own_dataset, url, progress=collector)
    what = "browsers let a page of https load files of https only; use a server with https"
    assert collector.warnings == [f"http://data.example.org: {what}", f"HTTP://data.example.org: {what}"]


def test_nothing_is_written_through_links(own_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (own_dataset / "derivatives").rename(tmp_path / "moved")
    (own_dataset / "derivatives").symlink_to(tmp_path / "moved")
    with pytest.raises(DatasetError):
        share(own_dataset, URL)
    assert not (tmp_path / "moved/catnip-neuroglancer").exists()


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Share in this process; returns the exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["catnip2bids", "share", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_the_command(
    own_dataset: Path, tiff_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, said = ended(monkeypatch, capsys, own_dataset, "--url", URL, "--json")
    links = [found["link"] for found in json.loads(out)["links"]]
    assert (code, len(links)) == (0, 4)
    assert all(link in said.splitlines() for link in links)
    code, out, said = ended(monkeypatch, capsys, tiff_dataset, "--url", URL)
    assert (code, out) == (2, "")
    assert "--format ome-zarr" in said
    (own_dataset / f"{RAW}.ome.zarr/zarr.json").unlink()
    code, out, said = ended(monkeypatch, capsys, own_dataset, "--url", URL)
    assert (code, out) == (1, "")
    assert "problem: is not shown" in said
