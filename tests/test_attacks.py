"""Datasets from strangers: nothing outside of them is read, written or deleted, and the file is named.

Each test is an attack that once worked; a table is in docs/explanation/untrusted-datasets.md.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from catnip2bids import convert, package, report, restore, validate, verify
from catnip2bids.errors import DatasetError
from catnip2bids.progress import Progress
from fork_server import command
from runs import KO_PREFIX, PROVENANCE, settings, state_of, write_l0

RAW = f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a source and the dataset of it."""
    folder = tmp_path_factory.mktemp("made")
    write_l0(folder / "source")
    package([folder / "source"], folder / "dataset", settings())
    return folder


@pytest.fixture
def lab(tmp_path: Path, made: Path) -> Path:
    """Return a copy of the folder, in which other things are that must stay as they are."""
    shutil.copytree(made, tmp_path / "lab")
    (tmp_path / "lab/thesis").mkdir()
    for name in ("thesis.tsv", "thesis.json", "index.html"):
        (tmp_path / "lab/thesis" / name).write_text(f"years of work, {name}")
    return tmp_path / "lab"


def outside(lab: Path) -> dict[str, tuple[bytes, int]]:
    """Read everything but the dataset."""
    return state_of(lab / "source") | state_of(lab / "thesis")


def tampered(dataset: Path, change: Change) -> None:
    document = json.loads((dataset / PROVENANCE).read_bytes())
    change(document)
    (dataset / PROVENANCE).write_text(json.dumps(document))


def refusals(lab: Path, *, checks: bool = True) -> list[str]:
    """Do everything with the dataset; returns what each function says against it, a check in the form of a problem."""
    dataset = lab / "dataset"
    said = []
    for refused in (
        lambda: package([lab / "source"], dataset, settings()),
        lambda: restore(dataset, lab / "restored"),
        lambda: report(dataset),
    ):
        with pytest.raises(DatasetError) as error:
            refused()
        said.append(str(error.value))
    if checks:
        verified, validated = verify(dataset), validate(dataset)
        assert not verified.ok
        assert not validated.ok
        said.append("; ".join(f"{found.file}: {found.what}" for found in verified.file_problems))
        said.append("; ".join(f"{found.file}: {found.message}" for found in validated.findings))
    return said


def first_run(document: dict[str, Any]) -> dict[str, Any]:
    (run,) = document["runs"].values()
    return run  # type: ignore[no-any-return]


def raw_image(document: dict[str, Any]) -> dict[str, Any]:
    return first_run(document)["images"][RAW]  # type: ignore[no-any-return]


def as_image(path: str) -> Change:
    return lambda document: first_run(document)["images"].update({path: raw_image(document)})


def as_atlas(path: str) -> Change:
    return lambda document: first_run(document).update(atlas_table=path)


def as_target(path: str) -> Change:
    return lambda document: document["decisions"][0].update(target=path)


PROVENANCES: dict[str, Change] = {
    "an image above the dataset": as_image("../source"),
    "an image with an absolute path": as_image("/lab/source"),
    "an image that is a folder of ours": as_image("code"),
    "an image that climbs in the middle": as_image("sub-45670ko/../../source"),
    "an image of another subject": as_image(f"sub-other/micr/{KO_PREFIX}_SPIM.ome.zarr"),
    "an atlas table elsewhere": as_atlas("../../../thesis/thesis.tsv"),
    "an atlas table that is another table": as_atlas("samples.tsv"),
    "a target elsewhere": as_target("../thesis/thesis_counts.tsv"),
    "a target that is a table of ours": as_target("participants.tsv"),
    "a sidecar elsewhere": lambda document: first_run(document)["sidecars"].update({"../thesis/thesis.json": {}}),
    "a decision of an unknown run": lambda document: document["decisions"][0].update(
        run="sub-a_sample-LeftHemisphere_stain-b"
    ),
    "labels that are others than the key": lambda document: first_run(document).update(subject="other"),
    "a newer version": lambda document: document.update(version=99),
    "a run above the source": lambda document: first_run(document).update(source="../elsewhere"),
    "a shape beyond all numbers": lambda document: raw_image(document).update(shape=[10**200, 1, 1]),
    "voxels without a size": lambda document: raw_image(document).update(voxel_size_um=[0, -1, 1e-320]),
    "files that are numbers": lambda document: document["decisions"][0].update(evidence={"files": [1]}),
}


@pytest.mark.parametrize("name", PROVENANCES)
def test_a_provenance_that_packaging_could_not_have_made_is_refused(lab: Path, name: str) -> None:
    tampered(lab / "dataset", PROVENANCES[name])
    before, dataset = outside(lab), state_of(lab / "dataset")
    assert [PROVENANCE in said for said in refusals(lab, checks=False)] == [True] * 3
    with pytest.raises(DatasetError, match="provenance"):
        verify(lab / "dataset")
    assert outside(lab) == before
    assert state_of(lab / "dataset") == dataset


def test_the_command_refuses_a_provenance_that_leads_out(lab: Path) -> None:
    tampered(lab / "dataset", PROVENANCES["an image above the dataset"])
    before, dataset = outside(lab), state_of(lab / "dataset")
    done = command("restore", lab / "dataset", "-o", lab / "restored")
    assert (done.returncode, PROVENANCE in done.stderr) == (2, True), done.stderr
    assert outside(lab) == before
    assert state_of(lab / "dataset") == dataset
    assert not (lab / "restored").exists()


def link_to_thesis(dataset: Path, name: str) -> None:
    place = dataset / name
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(dataset.parent / ("thesis" if "." not in place.name[1:] else "thesis/thesis.tsv"))


LINKS = [
    "README.md",
    "participants.tsv",
    "docs",
    "docs/report",
    "derivatives/catnip",
    "sub-45670ko",
    "sourcedata",
    "code/catnip2bids/checksums.sha256",
    f"{RAW}/0",
    f"sub-45670ko/micr/.{KO_PREFIX}_SPIM.ome.zarr.progress",
    f"sub-45670ko/micr/.{KO_PREFIX}_SPIM.ome.zarr.partial",
]


@pytest.mark.parametrize("name", LINKS)
def test_links_out_of_a_dataset_are_named_and_not_followed(lab: Path, name: str) -> None:
    (lab / "dataset" / name).parent.mkdir(parents=True, exist_ok=True)
    link_to_thesis(lab / "dataset", name)
    before, dataset = outside(lab), state_of(lab / "dataset")
    assert ["is a link out of the dataset" in said for said in refusals(lab)] == [True] * 5
    assert outside(lab) == before
    assert state_of(lab / "dataset") == dataset


@pytest.mark.parametrize(
    "name", ["README.md", "participants.tsv", PROVENANCE, f"{RAW}/0/c/0/0/0", "docs/report/verification.json"]
)
def test_named_pipes_are_named_and_not_opened(lab: Path, name: str) -> None:
    pipe = lab / "dataset" / name
    pipe.parent.mkdir(parents=True, exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    assert ["is a named pipe" in said for said in refusals(lab)] == [True] * 5


def some_decision(document: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a decision of a run about an entry; it lies where the entries of the run lie."""
    (key,) = document["runs"]
    name = first_run(document)["source"]
    return {"run": key, "source": f"{name}/{source}", "action": "exclude", "reason": "the same as another"}


def without_checksums(dataset: Path) -> None:
    (dataset / "code/catnip2bids/checksums.sha256").unlink()


def test_restoring_does_not_climb_out_through_links_that_it_made(lab: Path) -> None:
    """The second link lies below the first one, whose target is elsewhere, so its own target is another one."""
    dataset, deep = lab / "dataset", "/".join(["x"] * 25)

    def climb(document: dict[str, Any]) -> None:
        copy = next(path for path in (dataset / "sourcedata").rglob("*.csv")).relative_to(dataset).as_posix()
        link, through = some_decision(document, f"p/{deep}/d"), some_decision(document, f"p/{deep}/d/x")
        link["evidence"] = {"relation": "identical", "compared_with": "a_top"}
        through["evidence"] = {"relation": "identical", "compared_with": "thesis"}
        top, evil = (some_decision(document, source) for source in ("a_top/f", f"p/{deep}/d/x/evil.sh"))
        top |= {"action": "copy", "target": copy}
        evil |= {"action": "copy", "target": copy}
        document["decisions"] += [link, through, top, evil]

    tampered(dataset, climb)
    without_checksums(dataset)
    everything = {path.relative_to(lab) for path in lab.rglob("*")}
    restored = restore(dataset, lab / "restored")
    assert not restored.ok
    new = {path.relative_to(lab) for path in lab.rglob("*")} - everything
    assert {path.parts[0] for path in new} == {"restored"}
    assert not (lab / "a_top").exists()
    assert not [
        path for path in (lab / "restored").rglob("evil.sh") if (lab / "restored") not in path.resolve().parents
    ]


@pytest.mark.parametrize(
    "names", [["a.tif", "b.tif"], ["a.tif"] * 12, ["a/b.tif"] * 12, [f"{n}.tif" for n in range(13)]]
)
def test_slices_are_restored_under_one_name_each_or_not_at_all(lab: Path, names: list[str]) -> None:
    dataset = lab / "dataset"

    def rename(document: dict[str, Any]) -> None:
        image = next(iter(first_run(document)["images"]))
        decision = some_decision(document, "another_N4")
        decision["evidence"] = {"relation": "identical", "image": image, "files": names, "fingerprint": "a"}
        document["decisions"].append(decision)

    tampered(dataset, rename)
    without_checksums(dataset)
    if len(set(names)) < len(names):
        with pytest.raises(DatasetError, match=rf"provenance\.json: .*evidence: files names '{names[0]}'"):
            restore(dataset, lab / "restored")
    else:
        restored = restore(dataset, lab / "restored")
        assert [problem for problem in restored.problems if "another_N4" in problem]
    assert not list((lab / "restored").rglob("another_N4"))


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.btf"])
@pytest.mark.parametrize("left", ["progress", "partial"])
def test_converting_follows_no_link_that_somebody_planted(lab: Path, ending: str, left: str) -> None:
    (lab / f".image{ending}.{left}").symlink_to(lab / "thesis")
    before = outside(lab)
    with suppress(DatasetError):
        convert(next((lab / "source").rglob("640_N4")), lab / f"image{ending}", (3.7, 3.7, 5.0))
    assert outside(lab) == before


def test_packaging_writes_nothing_through_a_link_in_work_that_it_takes_up(lab: Path) -> None:
    """Somebody plants a link in the folder of an image that an interrupted command left."""
    dataset = lab / "dataset"
    image = dataset / RAW
    partial = image.with_name(f".{image.name}.partial")
    with pytest.raises(KeyboardInterrupt):
        package([lab / "source"], dataset, settings(overwrite=True), progress=Interrupting())
    partial.mkdir(exist_ok=True)
    shutil.rmtree(partial / "0", ignore_errors=True)
    (partial / "0").symlink_to(lab / "thesis")
    before = outside(lab)
    with pytest.raises(DatasetError, match="is a link out of the dataset"):
        package([lab / "source"], dataset, settings())
    assert outside(lab) == before


class Interrupting(Progress):
    """Presses Ctrl-C at the first voxels."""

    def advance(self, n_voxels: int) -> None:
        """Stop."""
        del n_voxels
        raise KeyboardInterrupt


@pytest.mark.parametrize("to", ["another_N4", "nothing"])
def test_a_link_that_would_lead_nowhere_is_not_restored(lab: Path, to: str) -> None:
    dataset = lab / "dataset"

    def link(document: dict[str, Any]) -> None:
        evidence = {"relation": "identical", "compared_with": to}
        document["decisions"].append(some_decision(document, "another_N4") | {"evidence": evidence})

    tampered(dataset, link)
    without_checksums(dataset)
    restored = restore(dataset, lab / "restored")
    assert [problem for problem in restored.problems if f"it is the same as {to}, which is not" in problem]
    assert not list((lab / "restored").rglob("another_N4"))


def test_a_mask_of_another_size_is_a_problem_of_its_entry(lab: Path) -> None:
    dataset = lab / "dataset"

    def mask(document: dict[str, Any]) -> None:
        images = first_run(document)["images"]
        smaller = next(path for path, image in images.items() if image["shape"] != images[RAW]["shape"])
        evidence = {"relation": "2-is-1-masked", "image": RAW, "mask": smaller, "fingerprint": "a"}
        document["decisions"].append(some_decision(document, "another_N4") | {"evidence": evidence})

    tampered(dataset, mask)
    without_checksums(dataset)
    restored = restore(dataset, lab / "restored")
    assert [problem for problem in restored.problems if "and its mask have" in problem]


@pytest.mark.parametrize("source", ["", "../../.catnip2bids-restore/x"])
def test_entries_that_no_run_has_are_problems(lab: Path, source: str) -> None:
    dataset = lab / "dataset"
    raw = RAW

    def add(document: dict[str, Any]) -> None:
        first_run(document)["source"] = "KO/run"
        evidence = {"relation": "identical", "image": raw, "fingerprint": "a"}
        decision = some_decision(document, "x") | {"evidence": evidence}
        decision["source"] = f"KO/run/{source}".removesuffix("/")
        document["decisions"].append(decision)

    tampered(dataset, add)
    without_checksums(dataset)
    try:
        problems = restore(dataset, lab / "restored").problems
    except DatasetError as error:
        problems = (str(error),)
    assert [problem for problem in problems if "no entry of a run has this name" in problem or "leads out" in problem]
    assert not list((lab / "restored").glob(".catnip2bids-restore/*"))


def test_a_mask_with_other_values_is_a_problem_of_its_entry(lab: Path) -> None:
    dataset = lab / "dataset"

    def mask(document: dict[str, Any]) -> None:
        evidence = {"relation": "2-is-1-masked", "image": RAW, "mask": RAW, "fingerprint": "a"}
        document["decisions"].append(some_decision(document, "another_N4") | {"evidence": evidence})

    tampered(dataset, mask)
    without_checksums(dataset)
    restored = restore(dataset, lab / "restored")
    assert [problem for problem in restored.problems if "is not a mask" in problem]
    assert not list((lab / "restored").rglob("another_N4"))


def test_a_folder_named_git_inside_of_a_dataset_is_looked_into(lab: Path) -> None:
    dataset = lab / "dataset"
    (dataset / RAW / ".git").mkdir()
    (dataset / RAW / ".git/0").symlink_to(lab / "source")
    os.mkfifo(dataset / "code/.git")
    said = refusals(lab)
    assert all(f"{RAW}/.git/0: is a link out of the dataset" in one for one in said)
    assert all("code/.git: is a named pipe" in one for one in said)


def test_a_readme_of_a_tebibyte_is_not_hashed(lab: Path) -> None:
    os.truncate(lab / "dataset/README.md", 2**40)
    problems = verify(lab / "dataset").problems
    assert "README.md: has 1.0 TiB, nearly all of it empty: too much to be hashed" in problems
