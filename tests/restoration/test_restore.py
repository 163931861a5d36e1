"""CATNIP's files come back from the dataset alone: names, folders, order, types and pixels."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr

import catnip2bids
from catnip2bids import Format, Naming, OmeZarrVersion, make_plan, package, restore, scan
from catnip2bids.catnip.component_type import Action
from catnip2bids.errors import DatasetError, UsageError
from catnip2bids.progress import Progress
from catnip2bids.restoration import restore_runs as restoration
from in_process import called
from runs import (
    CHECKSUMS,
    FLOX,
    KO,
    KO_PREFIX,
    PROVENANCE,
    RAW,
    TODAY,
    TODAY_NAME,
    Collector,
    change_slices,
    files_of,
    partials_of,
    rewrite_slice,
    settings,
    slices_of,
    source_planes,
    write_l0,
    write_l1,
    write_l2,
)

FORMATS: dict[str, dict[str, Any]] = {
    "0.5": {},
    "0.4": {"ome_zarr_version": OmeZarrVersion.V04, "naming": Naming.DSEG},
    "ome-tiff": {"image_format": Format.OME_TIFF},
    "ome-tiff with levels": {"image_format": Format.OME_TIFF, "pyramid": True, "naming": Naming.DSEG},
}
every_format = pytest.mark.parametrize(
    "choices",
    [
        pytest.param(choices, id=name, marks=() if name == "0.5" else pytest.mark.slow)
        for name, choices in FORMATS.items()
    ],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort of one run, in which there are a copied folder and a link to it, and its dataset."""
    folder = tmp_path_factory.mktemp("made")
    run = write_l0(folder / "cohort")
    (run / "notes").mkdir()
    (run / "notes/note.txt").write_text("a note")
    (run / "notes/other.txt").write_text("another one")
    (run / "link").symlink_to("notes")
    assert package([folder / "cohort"], folder / "dataset", settings()).ok
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    """A copy of the dataset beside a copy of its cohort, both to be changed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, symlinks=True)
    return tmp_path / "dataset"


def names_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def assert_restored(source: Path, folder: Path) -> None:
    """Compare everything: with our own `compare`, and by names, types and pixels without it."""
    assert names_of(folder) == names_of(source)
    compared = catnip2bids.compare(source, folder)
    assert compared.relation == "identical"
    assert (compared.only_in_1, compared.only_in_2) == ({}, {})
    for path in source.rglob("*"):
        other = folder / path.relative_to(source)
        if path.suffix == ".tif":
            with tifffile.TiffFile(path) as one, tifffile.TiffFile(other) as two:
                assert len(one.pages) == len(two.pages)
                pages = [(page.asarray(), again.asarray()) for page, again in zip(one.pages, two.pages, strict=True)]
            for before, after in pages:
                assert before.dtype.newbyteorder("=") == after.dtype.newbyteorder("=")
                little = before.dtype.newbyteorder("<")
                assert before.astype(little).tobytes() == after.astype(little).tobytes()
        elif path.is_file():
            assert path.read_bytes() == other.read_bytes(), path


@every_format
def test_all_runs_of_a_cohort(tmp_path: Path, choices: dict[str, Any]) -> None:
    write_l0(tmp_path / "cohort", exclusion=True, thresholds=(10000, 15000))
    write_l2(tmp_path / "cohort", exclusion=True)
    before = files_of(tmp_path / "cohort")
    assert package([tmp_path / "cohort"], tmp_path / "dataset", settings(**choices)).ok
    dataset = files_of(tmp_path / "dataset")
    (tmp_path / "cohort").rename(tmp_path / "aside")
    restored = restore(tmp_path / "dataset", tmp_path / "cohort")
    assert restored.ok
    assert not restored.left_out
    assert_restored(tmp_path / "aside", tmp_path / "cohort")
    assert files_of(tmp_path / "aside") == before
    assert files_of(tmp_path / "dataset") == dataset
    assert not partials_of(tmp_path / "cohort")


@pytest.mark.slow
def test_runs_that_were_given_as_sources(tmp_path: Path) -> None:
    """A run that was the SOURCE itself gets a folder of its name."""
    runs = [write_l0(tmp_path / "cohort"), write_l0(tmp_path / "cohort", FLOX)]
    package(runs, tmp_path / "dataset", settings())
    restore(tmp_path / "dataset", tmp_path / "restored")
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {run.name for run in runs}
    for run in runs:
        assert_restored(run, tmp_path / "restored" / run.name)


def test_one_animal(tmp_path: Path) -> None:
    ko, _ = (write_l0(tmp_path / "cohort", name, only=(*RAW, "640_FRST_seg")) for name in (KO, FLOX))
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    with pytest.raises(UsageError, match="has no animal 'ko'; it has 45670ko, 45925floxed"):
        restore(tmp_path / "dataset", tmp_path / "restored", subject="ko")
    assert not (tmp_path / "restored").exists()
    done = called("restore", tmp_path / "dataset", "-o", tmp_path / "restored", "--subject", "sub-45670ko")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {"KO"}
    assert_restored(ko, tmp_path / "restored" / KO)


@pytest.mark.slow
def test_runs_of_one_name_that_were_given_as_sources(tmp_path: Path) -> None:
    """Today's CATNIP names runs after the time alone."""
    parents = {"_46001_LH_wt_20260502": "46001wt", "_46002_LH_ko_20260502": "46002ko"}
    runs = {folder: write_l2(tmp_path, f"{folder}/{TODAY_NAME}", seed=n) for n, folder in enumerate(parents)}
    for run in runs.values():
        package([run], tmp_path / "dataset", settings())
    found = catnip2bids.verify(tmp_path / "dataset", list(runs.values()))
    assert found.ok, found.problems
    restore(tmp_path / "dataset", tmp_path / "restored")
    for folder, label in parents.items():
        run = tmp_path / "restored" / f"sub-{label}_sample-LeftHemisphere_stain-cFos" / TODAY_NAME
        assert_restored(runs[folder], run)


@pytest.mark.slow
def test_a_run_with_nothing_but_masked_labels(tmp_path: Path) -> None:
    write_l1(tmp_path / "cohort")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    assert restore(tmp_path / "dataset", tmp_path / "restored").ok
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_floating_point_values_keep_their_bits(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=(*RAW, "640_FRST"))
    odd = np.array([np.nan, -0.0, np.inf, -np.inf, 1e-45], np.float32)
    odd.view(np.uint32)[0] = 0x7FC12345
    for path in slices_of(run / "640_FRST"):
        plane = tifffile.imread(path).astype(np.float32)
        plane[0, :5] = odd
        rewrite_slice(path, plane)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    restore(tmp_path / "dataset", tmp_path / "restored")
    restored = source_planes(tmp_path / "restored" / KO / "640_FRST")
    assert restored[:, 0, :5].tobytes() == np.tile(odd, len(restored)).tobytes()
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_a_link_is_a_link_again(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", only=(*RAW, "atlaslabel_def_origspace", "atlaslabel_def_origspace_masked"))
    shutil.rmtree(run / "atlaslabel_def_origspace_masked")
    (run / "atlaslabel_def_origspace_masked").symlink_to("atlaslabel_def_origspace")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    restore(tmp_path / "dataset", tmp_path / "restored")
    link = tmp_path / "restored" / TODAY / "atlaslabel_def_origspace_masked"
    assert link.readlink() == Path("atlaslabel_def_origspace")
    assert slices_of(link)


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [
        (".nii.gz", "float32"),
        (".nii", "uint16"),
        pytest.param(".nii", "float32", marks=pytest.mark.slow),
        pytest.param(".nii.gz", "uint16", marks=pytest.mark.slow),
    ],
)
def test_heat_maps_that_are_only_there_as_nifti(tmp_path: Path, ending: str, dtype: str) -> None:
    run = write_l2(tmp_path / "cohort", only=("heatmaps_atlasspace",))
    (stack,) = (run / "heatmaps_atlasspace").iterdir()
    voxels = source_planes(stack).astype(dtype).T
    stack.unlink()
    name = f"{stack.stem}{ending}"
    image = nib.nifti1.Nifti1Image(voxels, np.eye(4))
    nib.save(image, run / "heatmaps_atlasspace" / name)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    restore(tmp_path / "dataset", tmp_path / "restored")
    restored = tmp_path / "restored" / TODAY / "heatmaps_atlasspace" / name
    stored = nib.nifti1.load(restored)
    assert stored.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(stored.dataobj), voxels)


@pytest.mark.slow
def test_labels_that_are_the_same_come_back_twice(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    labels = source_planes(run / "atlaslabel_def_origspace")
    for path, plane in zip(slices_of(run / "atlaslabel_def_origspace_masked"), labels, strict=True):
        rewrite_slice(path, plane)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    restore(tmp_path / "dataset", tmp_path / "restored")
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_what_was_excluded_is_named_with_the_reason(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort", only=(*RAW, "640_FRST"))
    plan = make_plan(scan([tmp_path / "cohort"]))
    (run,) = plan.runs
    entries = [
        entry.model_copy(update={"action": Action.EXCLUDE, "reason": "not ours to publish"})
        if entry.source == "640_FRST"
        else entry
        for entry in run.entries
    ]
    plan = plan.model_copy(update={"runs": [run.model_copy(update={"entries": entries})]})
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(), plan)
    restored = restore(tmp_path / "dataset", tmp_path / "restored")
    assert restored.ok
    assert restored.left_out == {f"{KO}/640_FRST": "not ours to publish"}
    done = called("restore", tmp_path / "dataset", "-o", tmp_path / "again")
    assert (done.returncode, done.stdout) == (0, "")
    assert "640_FRST: not ours to publish" in done.stderr


# ---- what is damaged, interrupted, or refused


def test_what_was_damaged_when_it_was_packaged_is_a_problem(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", only=(*RAW, "640_FRST"))
    slices_of(run / "640_FRST")[3].write_bytes(b"damaged")
    assert not package([tmp_path / "cohort"], tmp_path / "dataset", settings()).ok
    restored = restore(tmp_path / "dataset", tmp_path / "restored")
    (problem,) = restored.problems
    assert problem.startswith(f"{KO}/640_FRST: is not in the dataset, because packaging it failed: ")
    assert not restored.left_out
    assert called("restore", tmp_path / "dataset", "-o", tmp_path / "again").returncode == 1


def test_a_damaged_plane_is_never_written(tmp_path: Path, dataset: Path) -> None:
    array = zarr.open_array(dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr/0", mode="r+")
    whole = np.asarray(array[...])
    array[4, 3, 2] = whole[4, 3, 2] + 1
    done = called("restore", dataset, "-o", tmp_path / "restored")
    assert done.returncode == 1
    assert "plane 5 is not what was read from" in done.stderr
    assert not (tmp_path / "restored" / KO / "640_N4").exists()
    assert (tmp_path / "restored" / KO / "640_FRST").is_dir()
    assert not partials_of(tmp_path / "restored" / KO)
    array[...] = whole
    assert restore(dataset, tmp_path / "restored").restored == (f"{KO}/640_N4",)
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_a_damaged_copy_is_never_written(tmp_path: Path, dataset: Path) -> None:
    (copy,) = (dataset / "sourcedata").rglob("FRSTseg_00010000.csv")
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b"1", b"2", 1))
    restored = restore(dataset, tmp_path / "restored")
    assert [problem for problem in restored.problems if "was changed since it was packaged" in problem]
    assert not (tmp_path / "restored" / KO / "640_FRST_seg/FRSTseg_00010000.csv").exists()


@pytest.mark.parametrize("missing", [["note.txt"], ["note.txt", "other.txt"]])
def test_a_copied_folder_without_one_of_its_files_is_not_restored(
    tmp_path: Path, dataset: Path, missing: list[str]
) -> None:
    (notes,) = (dataset / "sourcedata").rglob("notes")
    for name in missing:
        (notes / name).unlink()
    restored = restore(dataset, tmp_path / "restored")
    assert f"{KO}/notes: {notes / 'note.txt'}: does not exist any more; bring it back from a copy" in restored.problems
    assert not (tmp_path / "restored" / KO / "notes").exists()
    assert (tmp_path / "restored" / KO / "640_N4").is_dir()


def test_a_copied_folder_that_was_emptied_stops_nothing_else_without_checksums(tmp_path: Path, dataset: Path) -> None:
    (notes,) = (dataset / "sourcedata").rglob("notes")
    for file in notes.iterdir():
        file.unlink()
    (dataset / CHECKSUMS).unlink()
    restored = restore(dataset, tmp_path / "restored")
    assert f"{KO}/notes" in restored.restored
    assert len(restored.restored) == 9


def test_an_image_of_another_size_is_a_problem_of_its_entry(tmp_path: Path, dataset: Path) -> None:
    """The memory was found to be enough for the size that provenance tells."""
    level = dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr/0/zarr.json"
    document = json.loads(level.read_text())
    document["shape"][1:] = [40_000, 36_000]
    level.write_text(json.dumps(document))
    restored = restore(dataset, tmp_path / "restored", memory_bytes=600 * 2**20)
    (problem,) = restored.problems
    assert "36000 x 40000 x 12 voxels of uint16, and had 36 x 40 x 12 of uint16; bring it back from a copy" in problem
    assert len(restored.restored) == 8


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_what_no_checksum_proves_is_restored_and_named(tmp_path: Path, dataset: Path, damage: str) -> None:
    checksums = dataset / CHECKSUMS
    if damage == "missing":
        (copy,) = (dataset / "sourcedata").rglob("FRSTseg_00010000.csv")
        copy.write_bytes(copy.read_bytes().replace(b"1", b"2", 1))
        checksums.unlink()
    else:
        checksums.write_text(checksums.read_text().replace("# sha256 of all lines below: ", "# sha256 of all lines: "))
    for _ in range(2):  # also a file from an earlier run
        restored = restore(dataset, tmp_path / "restored")
        everything = [*restored.restored, *restored.kept]
        assert len(everything) == 9
        assert not restored.ok
        assert "checksums.sha256" in restored.problems[0]
        assert [problem.partition(": ")[0] for problem in restored.problems[1:]] == everything
        (tmp_path / "restored/.catnip2bids-restore").write_bytes(
            hashlib.sha256((dataset / PROVENANCE).read_bytes()).hexdigest().encode()
        )  # as if it had been interrupted at the end
    (tmp_path / "restored/.catnip2bids-restore").unlink()
    assert called("restore", dataset, "-o", tmp_path / "again").returncode == 1
    assert not (tmp_path / "again/.catnip2bids-restore").exists()
    assert names_of(tmp_path / "again") == names_of(tmp_path / "cohort")


@every_format
@pytest.mark.slow
def test_with_too_little_memory_nothing_is_written(tmp_path: Path, choices: dict[str, Any]) -> None:
    write_l0(tmp_path / "cohort")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(**choices))
    done = called("restore", tmp_path / "dataset", "-o", tmp_path / "restored", "--memory", "128MiB")
    assert done.returncode == 2
    assert not (tmp_path / "restored").exists()
    found = re.search(r"restoring it needs at least (\d+ MiB) of memory; give more with --memory", done.stderr)
    assert found
    assert called("restore", tmp_path / "dataset", "-o", tmp_path / "restored", "--memory", found[1]).returncode == 0
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_memory_that_turns_out_too_little_is_no_problem_of_an_item(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(restoration._Restorer, "check_memory", lambda _: None)
        with pytest.raises(UsageError, match="give more with --memory"):
            restore(dataset, tmp_path / "restored", memory_bytes=2**20)
    assert restore(dataset, tmp_path / "restored").ok
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_interrupted_it_goes_on(tmp_path: Path, dataset: Path) -> None:

    class Interrupting(Progress):
        n_items = 0

        def advance(self, n_voxels: int) -> None:
            self.n_items += n_voxels
            if self.n_items > 3 * 12 * 40 * 36:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(dataset, tmp_path / "restored", Interrupting())
    with pytest.raises(DatasetError, match="is not empty"):
        restore(dataset, tmp_path / "restored", subject="45670ko")  # else the rest would be missing in silence
    restored = restore(dataset, tmp_path / "restored")
    assert restored.kept
    assert restored.restored
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


@pytest.mark.slow
def test_strangers_in_the_folder_of_a_volume_wait_for_it(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / "640_N4/notes.txt").write_text("a note")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    level = tmp_path / f"dataset/sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr/0"
    level.rename(tmp_path / "aside")
    told = Collector()
    failed = restore(tmp_path / "dataset", tmp_path / "restored", told)
    assert [problem.partition(": ")[0] for problem in failed.problems] == [f"{KO}/640_N4", f"{KO}/640_N4/notes.txt"]
    assert failed.problems[1].endswith(f"lies in {KO}/640_N4, which is not restored; correct that, and restore again")
    assert tuple(told.problems) == failed.problems
    (tmp_path / "aside").rename(level)
    assert restore(tmp_path / "dataset", tmp_path / "restored").ok
    assert_restored(tmp_path / "cohort", tmp_path / "restored")


def test_names_of_slices_that_were_changed_are_not_used(tmp_path: Path, dataset: Path) -> None:
    table = dataset / f"code/catnip2bids/pixels/{KO_PREFIX}_SPIM.ome.zarr.tsv"
    table.write_text(table.read_text().replace("Z0002", "Z9999"))
    (problem,) = restore(dataset, tmp_path / "restored").problems
    assert "was changed since it was packaged" in problem


def change_provenance(dataset: Path, old: str, new: str) -> None:
    """Change provenance as somebody would who knows of the checksums."""
    path = dataset / "code/catnip2bids/provenance.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    (dataset / CHECKSUMS).unlink()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f'"source": "{KO}"', '"source": "../evil"'),
        (f'"source": "{KO}"', '"source": "/tmp/evil"'),
        (f'"source": "{KO}/640_N4"', '"source": "../../../../evil"'),
        ('"Z00001.tif"', '"../../../../evil.tif"'),
        ('"target": "sourcedata/catnip/', '"target": "../../'),
        ('"compared_with": "notes"', '"compared_with": "../../.."'),
    ],
)
def test_nothing_is_read_or_written_elsewhere(made: Path, tmp_path: Path, old: str, new: str) -> None:
    shutil.copytree(made / "dataset", tmp_path / "some/where/dataset")
    change_provenance(tmp_path / "some/where/dataset", old, new)
    (tmp_path / "some/where/restored").mkdir()
    before = names_of(tmp_path)
    done = called("restore", tmp_path / "some/where/dataset", "-o", tmp_path / "some/where/restored")
    assert done.returncode in (1, 2)
    assert "the dataset was tampered with" in done.stderr
    assert {name for name in names_of(tmp_path) - before if not name.startswith("some/where/restored")} == set()
    assert "evil" not in "".join(names_of(tmp_path))


def test_a_dataset_whose_provenance_was_changed_is_refused(tmp_path: Path, dataset: Path) -> None:
    path = dataset / "code/catnip2bids/provenance.json"
    path.write_text(path.read_text().replace("640_N4", "640_N5"))
    with pytest.raises(DatasetError, match="was changed since it was packaged"):
        restore(dataset, tmp_path / "restored")


def seal(dataset: Path, is_kept: Callable[[str], bool] = lambda _: True) -> None:
    """Write the list of checksums again, as somebody would who knows of its first line."""
    path = dataset / CHECKSUMS
    provenance = hashlib.sha256((dataset / PROVENANCE).read_bytes()).hexdigest()
    lines = [line for line in path.read_text().splitlines()[1:] if is_kept(line[66:])]
    lines = [f"{provenance}  {PROVENANCE}" if line[66:] == PROVENANCE else line for line in lines]
    rest = "".join(f"{line}\n" for line in lines)
    path.write_text(f"# sha256 of all lines below: {hashlib.sha256(rest.encode()).hexdigest()}\n{rest}")


def test_a_copy_that_is_not_in_the_list_of_checksums_is_not_trusted(tmp_path: Path, dataset: Path) -> None:
    seal(dataset, lambda name: not name.endswith("FRSTseg_00010000.csv"))
    restored = restore(dataset, tmp_path / "restored")
    (problem,) = restored.problems
    assert "FRSTseg_00010000.csv: is not in checksums.sha256, so nothing proves it" in problem
    assert not list((tmp_path / "restored").rglob("FRSTseg_00010000.csv"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda document: document.update(decisions=[], runs={}), "has no run"),
        (lambda document: document.update(decisions=[]), f"has no decision about {KO_PREFIX}_SPIM.ome.zarr, "),
        (
            lambda document: document.update(
                decisions=[], runs={key: run | {"images": {}} for key, run in document["runs"].items()}
            ),
            f"has no decision about any entry of {KO_PREFIX}",
        ),
        (
            lambda document: document.update(
                decisions=[one for one in document["decisions"] if not one["source"].endswith("/640_N4")]
            ),
            f"has no decision about {KO_PREFIX}_SPIM.ome.zarr: ",
        ),
    ],
)
def test_a_provenance_without_decisions_restores_nothing_in_silence(
    tmp_path: Path, dataset: Path, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    path = dataset / PROVENANCE
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    seal(dataset)
    done = called("restore", dataset, "-o", tmp_path / "restored")
    assert done.returncode == 1
    assert f"provenance.json: {named}" in done.stderr


def test_a_killed_packaging_is_restored_as_far_as_it_came_and_said_to_be_killed(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort")
    with pytest.raises(KeyboardInterrupt):
        package([tmp_path / "cohort"], tmp_path / "dataset", settings(), progress=Interrupting())
    done = called("restore", tmp_path / "dataset", "-o", tmp_path / "restored")
    assert done.returncode == 1
    assert "package again" in done.stderr


class Interrupting(Progress):
    """Presses Ctrl-C at the first voxels."""

    def advance(self, n_voxels: int) -> None:
        """Stop."""
        del n_voxels
        raise KeyboardInterrupt


def test_links_to_what_was_copied(made: Path, tmp_path: Path) -> None:
    restored = restore(made / "dataset", tmp_path / "restored")
    assert restored.ok
    assert not restored.left_out
    assert (tmp_path / "restored" / KO / "link").readlink() == Path("notes")
    assert restored.restored[-1] == f"{KO}/link"  # so that nothing is written through it


def test_folders_that_hold_something_are_refused(tmp_path: Path, dataset: Path) -> None:
    run = tmp_path / "cohort" / KO
    before = files_of(tmp_path / "cohort")
    with pytest.raises(DatasetError, match="is not empty"):
        restore(dataset, tmp_path / "cohort")
    assert files_of(tmp_path / "cohort") == before
    with pytest.raises(UsageError):
        restore(dataset, dataset / "sourcedata/again")
    with pytest.raises(DatasetError, match="catnip2bids package made"):
        restore(run, tmp_path / "restored")
    assert called("restore", run, "-o", tmp_path / "restored").returncode == 2


@pytest.mark.slow
def test_a_restored_cohort_makes_the_same_dataset(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    change_slices(run / "640_N4", lambda plane: plane + np.uint16(1))
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    restore(tmp_path / "dataset", tmp_path / "restored/cohort")
    package([tmp_path / "restored/cohort"], tmp_path / "again", settings())
    one, two = files_of(tmp_path / "dataset"), files_of(tmp_path / "again")
    pixels = {path for path in one if path.startswith("code/catnip2bids/pixels") or "/c/" in path}
    assert pixels
    assert {path: one[path] for path in pixels} == {path: two[path] for path in pixels}
