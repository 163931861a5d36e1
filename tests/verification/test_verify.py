"""Whatever changes in a dataset after it was packaged is found, and what did not change is proven."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import catnip2bids
from catnip2bids import Action, Format, Kind, Naming, OmeZarrVersion, Verification, make_plan, package, scan, verify
from catnip2bids.documents import MOST_BYTES
from catnip2bids.engine import OVERHEAD_BYTES
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.locks import FOLDER_LOCK, locked
from catnip2bids.ome import downsample, downsample_plainly
from catnip2bids.progress import Progress
from catnip2bids.verification.image_readers import Piece, TiffReader
from damaging import Damager
from in_process import called
from runs import (
    CHECKSUMS,
    FLOX,
    KO,
    KO_NAME,
    KO_PREFIX,
    PROVENANCE,
    TALL,
    files_of,
    images_of,
    rewrite_slice,
    settings,
    slices_of,
    write_l0,
    write_l2,
)

FORMATS: dict[str, dict[str, Any]] = {
    "0.5": {},
    "0.4, labels inside": {"ome_zarr_version": OmeZarrVersion.V04, "embed_labels": True},
    "ome-tiff": {"image_format": Format.OME_TIFF},
    "ome-tiff with levels": {"image_format": Format.OME_TIFF, "pyramid": True, "naming": Naming.DSEG},
}
SIZE, SIZE_WITHOUT_ONE = (f"{TALL[2]} x {TALL[1]} x {n_planes}" for n_planes in (TALL[0], TALL[0] - 1))
RAW = f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"


WRITERS = {"0.4, labels inside": write_l0, "ome-tiff": write_l0}
"""The layout of the run that becomes a dataset of a format; that of today unless told."""


@dataclass(frozen=True)
class Packaged:
    source: Path
    dataset: Path


@pytest.fixture(
    scope="session",
    params=[name if name == "0.5" else pytest.param(name, marks=pytest.mark.slow) for name in FORMATS],
)
def packaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("verify")
    WRITERS.get(request.param, write_l2)(folder / "cohort", shape=TALL, exclusion=True)
    assert package([folder / "cohort"], folder / "dataset", settings(**FORMATS[request.param])).ok
    return Packaged(folder / "cohort", folder / "dataset")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a source and the dataset of it."""
    folder = tmp_path_factory.mktemp("made")
    write_l0(folder / "cohort", shape=TALL)
    package([folder / "cohort"], folder / "dataset", settings())
    return folder


@pytest.fixture
def copy(tmp_path: Path, made: Path) -> Packaged:
    """A dataset of OME-Zarr that may be changed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Packaged(tmp_path / "cohort", tmp_path / "dataset")


def problems(found: Verification) -> str:
    return "\n".join(found.problems)


# ---- nothing is wrong


def test_all_that_is_as_it_was_is_proven(packaged: Packaged) -> None:
    before = files_of(packaged.dataset)
    found = verify(packaged.dataset)
    assert found.ok, problems(found)
    assert not found.notes
    images = images_of(packaged.dataset)
    assert {verdict.image for verdict in found.images if "/labels/" not in verdict.image} == images
    assert all(verdict.n_planes > 0 for verdict in found.images)
    assert any(verdict.n_levels > 1 for verdict in found.images) or ".ome.btf" in "".join(images)
    assert files_of(packaged.dataset) == before


def test_the_originals_and_another_way_to_merge_say_the_same(packaged: Packaged) -> None:
    found = verify(packaged.dataset, packaged.source, deep=True, jobs=1, memory_bytes=2**28)
    assert found.ok, problems(found)
    assert found.sources_read


def test_a_copy_is_proven_without_anything_else(copy: Packaged, tmp_path: Path) -> None:
    shutil.copytree(copy.dataset, tmp_path / "downloaded")
    for left in (copy.dataset, copy.source):
        shutil.rmtree(left)
    assert verify(tmp_path / "downloaded").ok


def test_sha256sum_reads_the_checksums(copy: Packaged) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", CHECKSUMS], cwd=copy.dataset, capture_output=True, check=False
    )
    assert done.returncode == 0, done
    names = {line.rpartition(b": ")[0].decode() for line in done.stdout.splitlines()}
    everything = {name for name in files_of(copy.dataset) if ".ome.zarr/" not in name}
    assert {name for name in names if ".ome.zarr/" not in name} == everything - {CHECKSUMS}
    assert f"{RAW}/zarr.json" in names
    assert f"{RAW}/0/zarr.json" in names


def test_every_plane_of_level_0_is_counted(copy: Packaged) -> None:
    (verdict,) = [verdict for verdict in verify(copy.dataset).images if verdict.image == RAW]
    assert (verdict.n_planes, verdict.n_levels) == (TALL[0], len(list((copy.dataset / RAW).glob("[0-9]"))))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_both_ways_to_merge_are_the_same(kind: Kind, dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 5, (6, 9, 11)).astype(dtype)
    for step in ((1, 2, 2), (2, 2, 2), (2, 1, 1)):
        assert np.array_equal(downsample(array, step, kind), downsample_plainly(array, step, kind))


# ---- something is wrong with pixels


def test_single_bits_and_files_of_images(packaged: Packaged, tmp_path: Path) -> None:
    shutil.copytree(packaged.dataset, tmp_path / "dataset")
    damager = Damager(tmp_path / "dataset", seed=1)
    outcomes = [*damager.flips(12), *damager.files(every=6)]
    assert sum(damage.does_harm for damage, _ in outcomes) > 12
    assert [(str(damage), missed) for damage, missed in outcomes if missed] == []


def change_voxel(level: Path, voxel: tuple[int, int, int]) -> None:
    array = zarr.open_array(level, mode="r+")
    array[voxel] = np.asarray(array[voxel]) + 1


def test_one_other_voxel_is_found_with_its_plane(copy: Packaged) -> None:
    change_voxel(copy.dataset / RAW / "0", (3, 5, 7))
    (verdict,) = [verdict for verdict in verify(copy.dataset).images if not verdict.ok]
    assert verdict.image == RAW
    (problem,) = [problem for problem in verdict.problems if problem.level == 0]
    assert problem.planes == (3,)
    assert problem.to_json()["planes"] == [3]
    assert str(problem).startswith("level 0, plane 4: ")
    assert "640_N4/Z0004.tif" in problem.what


def test_rows_and_planes_that_cannot_be_decoded_are_counted_from_1(copy: Packaged) -> None:
    shard = copy.dataset / RAW / "0/c/0/0/0"
    shard.write_bytes(bytes(shard.stat().st_size))
    (told,) = [line for line in verify(copy.dataset).problems if "level 0, " in line]
    assert f"level 0, planes 1 to {TALL[0]}: cannot be decoded, rows 1 to {TALL[1]} (" in told


def test_one_other_voxel_of_a_lower_level_is_found(copy: Packaged) -> None:
    change_voxel(copy.dataset / RAW / "1", (2, 5, 7))
    for deep in (False, True):
        (verdict,) = [verdict for verdict in verify(copy.dataset, deep=deep).images if not verdict.ok]
        assert {(problem.level, problem.planes) for problem in verdict.problems if problem.level} == {(1, (2,))}


def test_a_level_of_another_size_is_told_x_first(copy: Packaged) -> None:
    document = copy.dataset / RAW / "zarr.json"
    metadata = json.loads(document.read_text())
    (multiscale,) = metadata["attributes"]["ome"]["multiscales"]
    scale = multiscale["datasets"][1]["coordinateTransformations"][0]["scale"]
    z, y, x = zarr.open_array(copy.dataset / RAW / "1").shape
    scale[0] *= 4
    document.write_text(json.dumps(metadata))
    assert f"level 1 has {x} x {y} x {z} voxels, which is not {SIZE} merged by 2 x 2 x " in problems(
        verify(copy.dataset)
    )


def test_levels_of_a_later_plane_are_told_x_first(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tif"
    with tifffile.TiffWriter(path) as tiff:
        for n_rows in (4, 2):
            tiff.write(np.zeros((8, 12), "uint8"), subifds=1, metadata=None, photometric="minisblack")
            tiff.write(np.zeros((n_rows, 6), "uint8"), subfiletype=1, metadata=None, photometric="minisblack")
    (problem,) = TiffReader(path, Kind.IMAGE, downsample).check(Piece(0, 1, 2)).problems
    assert problem.what == "cannot be decoded (level 1 has 6 x 2 pixels, not 6 x 4)"


def test_other_colours_of_a_later_plane_are_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tif"
    with tifffile.TiffWriter(path) as tiff:
        for photometric in ("minisblack", "miniswhite"):
            tiff.write(np.zeros((8, 12), "uint8"), metadata=None, photometric=photometric)
    (problem,) = TiffReader(path, Kind.IMAGE, downsample).check(Piece(0, 1, 2)).problems
    assert problem.what == "cannot be decoded (has other colours than it had (photometric 0))"


def test_an_image_that_nobody_packaged(copy: Packaged) -> None:
    strange = f"sub-45670ko/micr/{KO_PREFIX}_acq-2_SPIM.ome.zarr"
    shutil.copytree(copy.dataset / RAW, copy.dataset / strange)
    found = verify(copy.dataset)
    assert not found.ok
    assert f"{strange}: is an image that was not packaged" in problems(found)


def test_an_image_that_is_gone(copy: Packaged) -> None:
    shutil.rmtree(copy.dataset / RAW)
    assert f"{RAW}: does not exist" in problems(verify(copy.dataset))


# ---- something is wrong with other files


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1) + b"\n")


@pytest.mark.parametrize(
    "files",
    [
        [
            "participants.tsv",
            f"sub-45670ko/micr/{KO_PREFIX}_SPIM.json",
            f"{RAW}/zarr.json",
            f"{RAW}/1/zarr.json",
            "derivatives/catnip-counts/counts.tsv",
            "sourcedata/catnip/sub-45670ko_sample-LeftHemisphere/640_FRST_seg/FRSTseg_00010000.csv",
            f"code/catnip2bids/pixels/{KO_PREFIX}_SPIM.ome.zarr.tsv",
            "code/catnip2bids/plan.toml",
        ],
        ["derivatives/catnip-counts/counts.tsv"],
        [CHECKSUMS],
    ],
    ids=["many", "one", "checksums"],
)
def test_files_that_were_changed_or_removed_are_named(copy: Packaged, files: list[str]) -> None:
    for file in files:
        edit(copy.dataset / file)
    changed = verify(copy.dataset)
    assert not changed.ok
    assert [file for file in files if f"{file}: was changed" not in problems(changed)] == []
    for file in files:
        (copy.dataset / file).unlink()
    removed = verify(copy.dataset)
    assert not removed.ok
    assert [file for file in files if f"{file}: does not exist" not in problems(removed)] == []


def test_files_that_came_later_are_told_and_are_no_harm(copy: Packaged) -> None:
    (copy.dataset / "docs").mkdir(exist_ok=True)
    (copy.dataset / "docs/report.html").write_text("made at any time")
    (copy.dataset / "sub-45670ko/notes.txt").write_text("a note")
    found = verify(copy.dataset)
    assert found.ok
    assert found.notes == ("sub-45670ko/notes.txt: came after the dataset was packaged",)


def test_a_large_file_of_a_person_is_hashed(copy: Packaged) -> None:
    with (copy.dataset / "sub-45670ko/measured.bin").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert package([copy.source], copy.dataset, settings()).ok
    found = verify(copy.dataset)
    assert found.ok, problems(found)


@pytest.mark.parametrize(
    ("file", "protected"),
    [
        ("sourcedata/catnip/sub-45670ko_sample-LeftHemisphere/640_FRST_seg/FRSTseg_00010000.csv", True),
        (f"code/catnip2bids/pixels/{KO_PREFIX}_SPIM.ome.zarr.tsv", True),
        (f"{RAW}/zarr.json", True),
        ("README.md", False),
    ],
)
def test_packaging_again_takes_no_damage_for_the_truth(copy: Packaged, file: str, protected: bool) -> None:
    """What a person may edit is taken as it is then; what must not change is not."""
    path = copy.dataset / file
    state = path.stat()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"e", b"f", 1))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert package([copy.source], copy.dataset, settings()).ok
    assert verify(copy.dataset).ok is not protected


@pytest.mark.slow
def test_images_that_were_made_again_have_new_checksums(copy: Packaged) -> None:
    rewrite_slice(slices_of(copy.source / KO / "640_N4")[0], np.full(TALL[1:], 60000, np.uint16))
    package([copy.source], copy.dataset, settings())
    assert verify(copy.dataset, copy.source).ok
    package([copy.source], copy.dataset, settings(embed_labels=True))
    assert verify(copy.dataset, copy.source).ok


@pytest.mark.slow
def test_packaging_the_next_animal_takes_no_damage_for_the_truth(copy: Packaged) -> None:
    deleted = next((copy.dataset / "sourcedata").rglob("FRSTseg_00010000.csv"))
    edited = next((copy.dataset / "derivatives/catnip-counts").rglob("*_desc-FRSTseg10000_cells.tsv.gz"))
    original = edited.read_bytes()
    deleted.unlink()
    edit(edited)
    write_l0(copy.source.parent / "other", FLOX)
    package([copy.source.parent / "other"], copy.dataset, settings())
    found = problems(verify(copy.dataset))
    assert f"{deleted.relative_to(copy.dataset)}: does not exist any more" in found
    assert f"{edited.relative_to(copy.dataset)}: was changed" in found
    edited.write_bytes(original)
    package([copy.source], copy.dataset, settings())
    assert verify(copy.dataset).ok


def rot(path: Path) -> None:
    state = path.stat()
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FRSTseg_00010000.csv", "*_cells.tsv.gz"])
def test_a_file_that_rotted_is_mended_by_overwriting(copy: Packaged, name: str) -> None:
    rot(next(copy.dataset.rglob(name)))
    package([copy.source], copy.dataset, settings())
    assert not verify(copy.dataset).ok
    package([copy.source], copy.dataset, settings(overwrite=True))
    assert verify(copy.dataset, copy.source).ok


@pytest.mark.parametrize("is_rotten", [False, True])
def test_a_killed_command_keeps_the_checksums_of_before(
    copy: Packaged, monkeypatch: pytest.MonkeyPatch, is_rotten: bool
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    rotted = next((copy.dataset / "sourcedata").rglob("FRSTseg_00010000.csv"))
    if is_rotten:
        rot(rotted)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["catnip2bids.packaging.metadata"], "write_atlas_tables", killed)
        rewrite_slice(slices_of(copy.source / KO / "640_N4")[0], np.full(TALL[1:], 60000, np.uint16))
        with pytest.raises(KeyboardInterrupt):
            package([copy.source], copy.dataset, settings())
    assert f"{CHECKSUMS}: does not exist: packaging was interrupted" in problems(verify(copy.dataset))
    package([copy.source], copy.dataset, settings())
    found = verify(copy.dataset)
    changed = [rotted.relative_to(copy.dataset).as_posix()] if is_rotten else []
    assert [problem.file for problem in found.file_problems] == changed
    assert all(verdict.ok for verdict in found.images)


@pytest.mark.parametrize("damage", [edit, Path.unlink])
def test_checksums_that_somebody_changed_or_removed_are_not_written_again(
    copy: Packaged, damage: Callable[[Path], None]
) -> None:
    """If the new list of checksums included the changed copy, verify would call it proven."""
    damage(copy.dataset / CHECKSUMS)
    rotted = next((copy.dataset / "sourcedata").rglob("FRSTseg_00010000.csv"))
    rot(rotted)
    before = files_of(copy.dataset)
    with pytest.raises(DatasetError, match=r"checksums\.sha256: (was changed|is missing), so nothing proves"):
        package([copy.source], copy.dataset, settings())
    assert files_of(copy.dataset) == before
    write_l0(copy.source.parent / "other", FLOX)
    package([copy.source.parent / "other"], copy.dataset, settings(overwrite=True))
    assert f"{CHECKSUMS}: lacks 16 files" in problems(verify(copy.dataset))
    assert rotted.relative_to(copy.dataset).as_posix() not in (copy.dataset / CHECKSUMS).read_text()
    package([copy.source], copy.dataset, settings(overwrite=True))
    assert verify(copy.dataset).ok


def test_a_copy_without_its_checksum_does_not_get_another_one(copy: Packaged) -> None:
    rotted = next((copy.dataset / "sourcedata").rglob("FRSTseg_00010000.csv"))
    rot(rotted)
    without_lines(copy.dataset, lambda name: name.endswith(rotted.name))
    for _ in range(2):
        assert package([copy.source], copy.dataset, settings()).ok
        (problem,) = verify(copy.dataset).problems
        assert f"{CHECKSUMS}: lacks 1 file of those that packaging lists: " in problem
        assert f"{rotted.name}; bring it back from a copy, or package again with --overwrite" in problem
    package([copy.source], copy.dataset, settings(overwrite=True))
    assert verify(copy.dataset).ok


@pytest.mark.parametrize(
    "name", ["/dev/zero", "../outside.txt", "a/../../outside.txt", "with\0null", ".git/out", "a/../.git/out"]
)
def test_checksums_of_files_elsewhere_are_not_followed(copy: Packaged, name: str) -> None:
    path = copy.dataset / CHECKSUMS
    _, _, rest = path.read_text().partition("\n")
    rest += f"{'0' * 64}  {name}\n"
    path.write_text(f"# sha256 of all lines below: {hashlib.sha256(rest.encode()).hexdigest()}\n{rest}")
    assert problems(verify(copy.dataset)) == f"{CHECKSUMS}: was changed: its own checksum is not right"


@pytest.mark.slow
def test_the_ome_xml_of_an_ome_tiff(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(image_format=Format.OME_TIFF))
    image = tmp_path / f"dataset/sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.btf"
    image.write_bytes(image.read_bytes().replace(b'PhysicalSizeX="3.7"', b'PhysicalSizeX="9.9"'))
    assert f"{KO_PREFIX}_SPIM.ome.btf: its OME-XML was changed" in problems(verify(tmp_path / "dataset"))


@pytest.mark.slow
def test_what_has_no_source_any_more_stays(copy: Packaged) -> None:
    """Somebody deletes what is packaged and proven, and adds the next animal."""
    before = images_of(copy.dataset)
    for folder in ("640_N4", "atlaslabel_def_origspace", "atlaslabel_def_origspace_masked"):
        shutil.rmtree(copy.source / KO / folder)
    write_l0(copy.source, FLOX)
    assert package([copy.source], copy.dataset, settings()).ok
    assert before <= images_of(copy.dataset)
    assert verify(copy.dataset).ok
    restored = catnip2bids.restore(copy.dataset, copy.source.parent / "restored")
    assert restored.ok
    assert len(slices_of(copy.source.parent / "restored" / KO / "atlaslabel_def_origspace_masked")) == TALL[0]


@pytest.mark.slow
def test_strangers_among_slices_do_not_make_slices_copies(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / "640_N4/notes.txt").write_text("a note")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    found = verify(tmp_path / "dataset", tmp_path / "cohort")
    assert found.ok, problems(found)


def without_lines(dataset: Path, is_removed: Callable[[str], bool]) -> int:
    """Remove lines from the list of checksums, as somebody would who knows of its first line; returns how many."""
    path = dataset / CHECKSUMS
    lines = path.read_text().splitlines(keepends=True)[1:]
    rest = "".join(line for line in lines if not is_removed(line[66:-1]))
    path.write_text(f"# sha256 of all lines below: {hashlib.sha256(rest.encode()).hexdigest()}\n{rest}")
    return len(lines) - rest.count("\n")


ALWAYS_THERE = ["participants.tsv", f"sub-45670ko/micr/{KO_PREFIX}_SPIM.json"]


TABLES = [
    "derivatives/catnip/dseg.tsv",
    "derivatives/catnip/dseg.json",
    "derivatives/catnip-counts/counts.tsv",
    "derivatives/catnip-counts/counts.json",
    "derivatives/catnip-counts/regions.tsv",
    "derivatives/catnip-counts/regions.json",
    *(
        f"derivatives/catnip-counts/sub-45670ko/micr/{KO_PREFIX}_desc-FRSTseg10000_{table}"
        for table in ("counts.tsv", "cells.tsv.gz", "uncounted.tsv.gz")
    ),
]


@pytest.mark.parametrize(
    "file",
    [
        *ALWAYS_THERE,
        PROVENANCE,
        f"{RAW}/zarr.json",
        f"{RAW}/1/zarr.json",
        "sub-45670ko/sub-45670ko_scans.tsv",
        "derivatives/catnip-counts/counts.tsv",
        "sourcedata/catnip/sub-45670ko_sample-LeftHemisphere/640_FRST_seg/FRSTseg_00010000.csv",
        f"code/catnip2bids/pixels/{KO_PREFIX}_SPIM.ome.zarr.tsv",
    ],
)
def test_a_packaged_file_without_a_checksum_is_a_problem(copy: Packaged, file: str) -> None:
    assert without_lines(copy.dataset, lambda name: name == file) == 1
    (problem,) = verify(copy.dataset).problems
    assert file in problem
    assert "checksums.sha256" in problem


@pytest.mark.parametrize("file", [*ALWAYS_THERE, *TABLES])
def test_a_packaged_file_that_was_deleted_with_its_checksum_is_missed(copy: Packaged, file: str) -> None:
    assert without_lines(copy.dataset, lambda name: name == file) == 1
    (copy.dataset / file).unlink()
    (problem,) = verify(copy.dataset).problems
    assert problem.startswith(f"{CHECKSUMS}: lacks 1 file of those that packaging lists: {file}; ")


def test_a_list_of_checksums_that_was_emptied_is_a_problem(copy: Packaged) -> None:
    assert without_lines(copy.dataset, lambda _: True) > 40
    found = verify(copy.dataset)
    lacks = [problem for problem in found.file_problems if problem.file == CHECKSUMS]
    assert [problem.what.startswith("lacks ") for problem in lacks] == [True]
    named = {problem.file for problem in found.file_problems}
    assert {f"{RAW}/0/zarr.json", "derivatives/catnip/samples.tsv"} <= named
    assert called("verify", copy.dataset).returncode == 1


def test_files_that_only_look_packaged_are_problems(copy: Packaged) -> None:
    look_packaged = {
        "sourcedata/catnip/sub-45670ko_sample-LeftHemisphere/640_FRST_seg/more.csv",
        f"derivatives/catnip/sub-45670ko/micr/{KO_PREFIX}_desc-FRST_counts.tsv",
        "derivatives/catnip-counts/more.tsv",
        f"sub-45670ko/micr/{KO_PREFIX}_acq-2_SPIM.json",
        "code/catnip2bids/pixels/more.tsv",
        f"{RAW}/2/zarr.json",
    }
    others = {
        "notes.txt",
        "sourcedata/mri/scan.dcm",
        f"derivatives/mine/sub-45670ko/micr/{KO_PREFIX}_desc-mine.tsv",
        "code/analysis.py",
    }
    for files, is_ok in ((others, True), (look_packaged, False)):
        for file in files:
            (copy.dataset / file).parent.mkdir(parents=True, exist_ok=True)
            (copy.dataset / file).write_text("{}")
        found = verify(copy.dataset)
        assert found.ok is is_ok
        assert {note.partition(": ")[0] for note in found.notes} == others
    told = [problem.file for problem in found.file_problems]
    assert sorted(told) == sorted(look_packaged)


# ---- packaging runs, or was killed


def test_nothing_is_said_of_a_dataset_that_is_being_packaged(copy: Packaged) -> None:
    before = files_of(copy.dataset)
    with locked(copy.dataset):
        for name in ("verify", "validate", "report"):
            done = called(name, copy.dataset)
            now = f"{copy.dataset}: is being packaged now; run {name} again when that is done"
            assert (done.returncode, done.stderr.splitlines()) == (2, [f"error: {now}"])
        done = called("restore", copy.dataset, "-o", copy.source.parent / "restored")
        assert (done.returncode, "is being packaged now; run restore again" in done.stderr) == (2, True)
        assert files_of(copy.dataset).keys() == before.keys() | {FOLDER_LOCK}
    assert not (copy.source.parent / "restored").exists()
    assert files_of(copy.dataset) == before


class Packaging(Progress):
    """Packages the dataset while it is verified."""

    def __init__(self, packaged: Packaged, *, to_the_end: bool) -> None:
        self._packaged, self._to_the_end, self.lock = packaged, to_the_end, ExitStack()

    def start(self, n_voxels: int) -> None:
        """Package before the first image."""
        del n_voxels
        if self._to_the_end:
            package([self._packaged.source], self._packaged.dataset, settings())
        else:
            self.lock.enter_context(locked(self._packaged.dataset))


@pytest.mark.parametrize(("to_the_end", "told"), [(True, "was packaged meanwhile"), (False, "is being packaged now")])
def test_nothing_is_said_of_a_dataset_that_was_packaged_meanwhile(copy: Packaged, to_the_end: bool, told: str) -> None:
    packaging = Packaging(copy, to_the_end=to_the_end)
    with packaging.lock, pytest.raises(DatasetError, match=told):
        verify(copy.dataset, progress=packaging)
    assert verify(copy.dataset).ok


@pytest.mark.parametrize(
    ("left", "named"),
    [
        (FOLDER_LOCK, FOLDER_LOCK),
        (f"sub-45670ko/micr/.{KO_PREFIX}_SPIM.ome.zarr.partial", RAW),
        (f"sub-45670ko/micr/.{KO_PREFIX}_SPIM.ome.zarr.progress/0", RAW),
        (".participants.tsv.partial", "participants.tsv"),
    ],
)
def test_what_a_killed_command_left_is_a_problem(copy: Packaged, left: str, named: str) -> None:
    (copy.dataset / left).parent.mkdir(exist_ok=True)
    (copy.dataset / left).touch()
    (problem,) = verify(copy.dataset).problems
    assert problem.startswith(f"{named}: ")
    assert "package again" in problem


# ---- label images inside of others


@pytest.fixture
def labelled(copy: Packaged) -> Path:
    assert package([copy.source], copy.dataset, settings(embed_labels=True)).ok
    return copy.dataset


def test_strange_files_among_label_images_are_named(labelled: Path) -> None:
    strange = labelled / RAW / "labels/other/0/c/0"
    strange.mkdir(parents=True)
    (strange / "0").write_bytes(bytes(100))
    (problem,) = verify(labelled).problems
    assert problem == f"{RAW}: labels/other is not known: nothing can be said of its pixels"


def test_a_label_image_that_copies_no_image_is_named(labelled: Path) -> None:
    document = json.loads((labelled / PROVENANCE).read_text())
    (run,) = document["runs"].values()
    name = next(iter(run["images"][RAW]["embedded"]))
    run["images"][RAW]["embedded"][name] = "0" * 64
    (labelled / PROVENANCE).write_text(json.dumps(document))
    assert f"{RAW}: labels/{name} is not known: nothing can be said of its pixels" in verify(labelled).problems


# ---- an image that cannot be read


def test_an_image_that_is_a_link_to_itself_is_a_problem_of_this_image(copy: Packaged) -> None:
    shutil.rmtree(copy.dataset / RAW)
    (copy.dataset / RAW).symlink_to(copy.dataset / RAW)
    found = verify(copy.dataset)
    assert [verdict.image for verdict in found.images if not verdict.ok] == [RAW]
    assert f"{RAW}: does not exist" in problems(found)


@pytest.mark.slow
def test_an_image_that_needs_more_memory_stops_no_other(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort", shape=(8, 1000, 1000), only=("640_N4", "640_FRST"))
    dataset = tmp_path / "dataset"
    package([tmp_path / "cohort"], dataset, settings())
    found = verify(dataset, memory_bytes=OVERHEAD_BYTES + 24 * 2**20)
    largest = f"{KO_PREFIX}_desc-FRST_SPIM.ome.zarr"
    assert [PurePosixPath(verdict.image).name for verdict in found.images if not verdict.ok] == [largest]
    assert [PurePosixPath(verdict.image).name for verdict in found.images if verdict.ok] == [
        f"{KO_PREFIX}_SPIM.ome.zarr"
    ]
    for verdict in (verdict for verdict in found.images if not verdict.ok):
        (problem,) = verdict.problems
        assert problem.what.startswith("could not be verified: verifying it needs at least ")
        assert problem.what.endswith(" of memory; give more with --memory")
    assert not found.file_problems


# ---- the originals


def damage_slice(source: Path) -> None:
    path = slices_of(source / KO / "640_FRST")[2]
    plane = tifffile.imread(path)
    plane[0, 0] += 1
    rewrite_slice(path, plane)


def remove_slice(source: Path) -> None:
    slices_of(source / KO / "640_FRST")[2].unlink()


def remove_last_slice(source: Path) -> None:
    slices_of(source / KO / "640_FRST")[-1].unlink()


def change_mask(source: Path) -> None:
    path = slices_of(source / KO / "atlaslabel_def_origspace_masked")[2]
    rewrite_slice(path, np.zeros_like(tifffile.imread(path)))


def change_csv(source: Path) -> None:
    edit(source / KO / "640_FRST_seg/FRSTseg_00010000.csv")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (damage_slice, "_desc-FRST_SPIM.ome.zarr: level 0, plane 3: its original has other pixels now"),
        (remove_slice, f"_desc-FRST_SPIM.ome.zarr: its original {KO_NAME}/640_FRST is not whole any more"),
        (
            remove_last_slice,
            f"_desc-FRST_SPIM.ome.zarr: its original has {SIZE_WITHOUT_ONE} voxels now, and had {SIZE}",
        ),
        (change_mask, "_desc-hemispheremask_SPIM.ome.zarr: level 0, plane 3: its original has other pixels now"),
        (change_csv, "FRSTseg_00010000.csv: its original has another content now"),
    ],
)
def test_originals_that_changed_are_named(copy: Packaged, change: Callable[[Path], None], named: str) -> None:
    change(copy.source)
    assert verify(copy.dataset).ok
    found = verify(copy.dataset, copy.source)
    assert not found.ok
    assert named in problems(found)


def test_files_of_a_copied_folder_that_came_or_went_are_named(copy: Packaged) -> None:
    notes = copy.source / KO / "notes"
    notes.mkdir()
    (notes / "gone.txt").write_text("a note")
    (notes / "kept.txt").write_text("another one")
    package([copy.source], copy.dataset, settings())
    assert verify(copy.dataset, copy.source).ok
    (notes / "gone.txt").rename(notes / "new.txt")
    found = {Path(problem.file).name: problem.what for problem in verify(copy.dataset, copy.source).file_problems}
    assert found == {
        "gone.txt": "its original is not in the sources that were given",
        "new.txt": "has no checksum: its original is new, or the list was changed; package again",
    }


def test_originals_that_are_not_there(copy: Packaged, tmp_path: Path) -> None:
    write_l2(tmp_path / "others")
    assert "is not in the sources that were given" in problems(verify(copy.dataset, tmp_path / "others"))
    with pytest.raises(SourceError):
        verify(copy.dataset, tmp_path / "nowhere")


# ---- the command


def test_nothing_is_called_read_or_changed_beside_a_link_out_of_the_dataset(copy: Packaged) -> None:
    (copy.dataset / "out").symlink_to(copy.source)
    found = verify(copy.dataset, copy.source)
    assert (found.ok, found.sources_read, found.has_changed) == (False, False, False)


def test_the_command(copy: Packaged) -> None:
    done = called("verify", copy.dataset, "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert (document["ok"], len(document["images"])) == (True, len(images_of(copy.dataset)))
    assert str(copy.dataset) not in done.stdout
    edit(copy.dataset / "participants.tsv")
    done = called("verify", copy.dataset, "--source", copy.source, "--deep", "--jobs", 1, "--memory", "512MiB")
    assert done.returncode == 1
    assert "participants.tsv: was changed since it was packaged" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_several_sources(tmp_path: Path) -> None:
    one, two = write_l0(tmp_path / "one").parent, write_l2(tmp_path / "two").parent
    package([one, two], tmp_path / "dataset", settings())
    assert called("verify", tmp_path / "dataset", "--source", one, two).returncode == 0
    assert called("verify", tmp_path / "dataset", "--source", one, "--source", two).returncode == 0
    assert called("verify", tmp_path / "dataset", "--source", one).returncode == 1
    done = called("verify", tmp_path / "dataset", one)
    assert (done.returncode, "after --source" in done.stderr) == (2, True)


def test_a_run_without_a_raw_image_has_a_note_with_the_reason(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort", only=["640_N4", "640_FRST"])
    write_l0(tmp_path / "cohort", FLOX, only=["640_FRST"])
    plan = make_plan(scan(tmp_path / "cohort"))
    raw = next(entry for run in plan.runs for entry in run.entries if entry.source == "640_N4")
    raw.action, raw.reason = Action.EXCLUDE, "too dark"
    package(tmp_path / "cohort", tmp_path / "dataset", settings(), plan)
    found = verify(tmp_path / "dataset")
    assert found.ok, problems(found)
    assert set(found.notes) == {
        f"{KO_PREFIX}: no raw image was packaged (640_N4: too dark)",
        "sub-45925floxed_sample-RightHemisphere_stain-cFos: no raw image was packaged (its run has none)",
    }


def test_what_cannot_be_verified_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match=r"give a dataset that catnip2bids package made"):
            catnip2bids.verify(folder)
    assert called("verify", tmp_path).returncode == 2


def test_a_damaged_memory_is_refused(copy: Packaged) -> None:
    (copy.dataset / PROVENANCE).write_text("{")
    done = called("verify", copy.dataset)
    assert (done.returncode, "is damaged" in done.stderr) == (2, True)


def test_too_little_memory_is_refused(copy: Packaged) -> None:
    done = called("verify", copy.dataset, "--memory", "128MiB")
    assert (done.returncode, "give more with --memory" in done.stderr) == (2, True)


@pytest.mark.parametrize("target", ["0", "nowhere"])
def test_a_shard_that_is_a_link_to_nothing_is_a_problem_of_its_image(copy: Packaged, target: str) -> None:
    dataset = copy.dataset
    image = next(dataset.glob("sub-*/micr/*_SPIM.ome.zarr"))
    shard = image / "0/c/0/0/0"
    shard.unlink()
    shard.symlink_to(target)
    found = verify(dataset)
    assert [verdict.image for verdict in found.images if not verdict.ok] == [image.relative_to(dataset).as_posix()]
