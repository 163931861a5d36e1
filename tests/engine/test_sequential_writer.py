"""Images of one file: planes in order, and an interrupted one goes on to be the same bytes in the end."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catnip2bids.engine import (
    ProgressCallbacks,
    Resources,
    Scheduler,
    StoppedError,
    UnitResult,
    convert_volume,
    own_resources,
    resume_sequential_write,
    scheduler_for,
    sequential_writer,
    write_sequentially,
)
from catnip2bids.engine.memory import PlaneMemory, divide_memory_by_planes
from catnip2bids.errors import SourceError, UsageError, WriteError
from catnip2bids.ome import OmeTiffImage
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import Kind, Volume, inspect_slices, inspect_stack, plane_sha256
from in_memory import VolumeInMemory
from made_up import DEFLATE, Array, Flavour, found, some_image, some_labels, write_slices, write_tiff
from ome_tiffs import image_of, levels_of

PLANES = some_image((9, 30, 25))
RESOURCES = Resources(n_threads=2, memory_bytes=2**28)


class _Interrupted(BaseException):
    """Whatever may end the work."""


@dataclass
class Told:
    """Counts planes, and interrupts after some."""

    stop_after: int | None = None
    n_voxels: list[int] = field(default_factory=list)

    def __call__(self, n_voxels: int) -> None:
        self.n_voxels.append(n_voxels)
        if len(self.n_voxels) == self.stop_after:
            raise _Interrupted


def slices(folder: Path) -> Volume:
    write_slices(folder / "slices", PLANES, flavour=Flavour(DEFLATE, rows_per_strip=4))
    return found(inspect_slices((folder / "slices").iterdir()))


def memory(folder: Path) -> Volume:
    del folder
    return VolumeInMemory(PLANES)


def stack(folder: Path) -> Volume:
    return found(inspect_stack(write_tiff(folder / "stack.tif", PLANES, Flavour(DEFLATE, big_endian=True))))


SOURCES: dict[str, tuple[Callable[[Path], Volume], bool, bool]] = {
    "copied": (slices, False, False),
    "copied and looked at": (slices, True, False),
    "copied, with lower levels": (stack, False, True),
    "encoded": (memory, True, False),
    "encoded, with lower levels": (memory, True, True),
}
"""Where planes come from, whether they are looked at, and whether there are lower levels."""
every_source = pytest.mark.parametrize("source", SOURCES)


@pytest.fixture(autouse=True)
def small_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small planes have lower levels."""
    monkeypatch.setattr("catnip2bids.ome.ome_tiff.LARGEST_LAST_LEVEL", 8)
    monkeypatch.setattr("catnip2bids.ome.ome_tiff._TILE", (16, 16))


@pytest.fixture
def marked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark every plane."""
    monkeypatch.setattr(sequential_writer, "BYTES_PER_MARKER", 1)


def pair(folder: Path, source: str, big: bool = True) -> tuple[Volume, OmeTiffImage]:
    read, inspect, pyramid = SOURCES[source]
    folder.mkdir(parents=True, exist_ok=True)
    volume = read(folder)
    return volume, image_of(volume, folder / "image.tif", inspect=inspect, pyramid=pyramid, big=big)


def go_on(volume: Volume, image: OmeTiffImage, told: Told | None = None) -> UnitResult:
    """Write what is missing; markers lie beside the image."""
    markers = safe_path(image.file.parent, "markers")
    markers.mkdir(exist_ok=True)
    return write_sequentially(resume_sequential_write(volume, image, markers), RESOURCES, told)


def marked(volume: Volume, image: OmeTiffImage) -> int:
    """How many planes are in the file, as the marker says."""
    return resume_sequential_write(volume, image, safe_path(image.file.parent, "markers")).start


@every_source
@pytest.mark.usefixtures("marked_often")
def test_stopped_after_any_plane_it_is_the_same_bytes_in_the_end(tmp_path: Path, source: str) -> None:
    volume, image = pair(tmp_path / "at-once", source)
    result, expected = go_on(volume, image), image.file.read_bytes()
    for stop in range(1, len(PLANES) + 1):
        volume, image = pair(tmp_path / str(stop), source)
        with pytest.raises(_Interrupted):
            go_on(volume, image, Told(stop))
        assert marked(volume, image) == stop - 1  # the last plane was told of before it was marked
        told = Told()
        assert go_on(volume, image, told) == result
        assert told.n_voxels == [PLANES[0].size] * (len(PLANES) - stop + 1)
        assert image.file.read_bytes() == expected
    assert result.sha256 == (tuple(map(plane_sha256, PLANES)) if image.decodes else ())
    np.testing.assert_array_equal(levels_of(image.file)[0], PLANES)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.sampled_from(list(SOURCES)),
    stops=st.lists(st.integers(1, len(PLANES)), max_size=5),
    bytes_per_marker=st.integers(1, 6000),
    garbage=st.binary(max_size=3000),
    big=st.booleans(),
)
def test_stopped_again_and_again_it_is_the_same_bytes_in_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    source: str,
    stops: list[int],
    bytes_per_marker: int,
    garbage: bytes,
    big: bool,
) -> None:
    folder = tmp_path_factory.mktemp("again")
    volume, image = pair(folder / "at-once", source, big)
    result, expected = go_on(volume, image), image.file.read_bytes()
    volume, image = pair(folder / "stopped", source, big)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential_writer, "BYTES_PER_MARKER", bytes_per_marker)
        for stop in stops:
            before = marked(volume, image)
            try:
                go_on(volume, image, Told(stop))
            except _Interrupted:
                assert before <= marked(volume, image) < before + stop
            with image.file.open("ab") as file:
                file.write(garbage)
        assert go_on(volume, image) == result
    assert image.file.read_bytes() == expected


@pytest.mark.usefixtures("marked_often")
def test_what_stands_behind_the_marked_end_is_thrown_away(tmp_path: Path) -> None:
    volume, image = pair(tmp_path / "at-once", "copied")
    go_on(volume, image)
    expected = image.file.read_bytes()
    volume, image = pair(tmp_path / "stopped", "copied")
    with pytest.raises(_Interrupted):
        go_on(volume, image, Told(4))
    n_marked = json.loads((tmp_path / "stopped/markers/planes.json").read_bytes())["files"]["image.tif"]
    data = image.file.read_bytes()
    assert len(data) > n_marked  # the plane that was written and not marked
    assert data[:n_marked] == expected[:n_marked]
    with image.file.open("r+b") as file:
        file.seek(n_marked)
        file.write(b"garbage" * 2 * len(expected))
    told = Told()
    go_on(volume, image, told)
    assert len(told.n_voxels) == len(PLANES) - 3
    assert image.file.read_bytes() == expected


@pytest.mark.usefixtures("marked_often")
def test_planes_are_on_disk_before_the_marker_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, image = pair(tmp_path, "copied and looked at")
    marker, on_disk = tmp_path / "markers/planes.json", [0]
    n_marked: list[int] = []

    def note(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), image.file.stat()):
            on_disk.append(os.fstat(descriptor).st_size)

    def save(path: SafePath, text: str) -> None:
        assert path == marker
        n_marked.append(json.loads(text)["files"]["image.tif"])
        assert n_marked[-1] <= on_disk[-1]

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(sequential_writer, "write_text", save)
    go_on(volume, image)
    assert n_marked[-1] == image.file.stat().st_size


@pytest.mark.parametrize("damage", ["shorter", "empty", "missing", "no marker"])
@pytest.mark.usefixtures("marked_often")
def test_a_file_that_is_not_what_the_marker_says_is_begun_anew(tmp_path: Path, damage: str) -> None:
    volume, image = pair(tmp_path, "copied and looked at")
    result = go_on(volume, image)
    expected = image.file.read_bytes()
    if damage == "no marker":
        (tmp_path / "markers/planes.json").unlink()
    elif damage == "missing":
        image.file.unlink()
    else:
        image.file.write_bytes(expected[:-1] if damage == "shorter" else b"")
    assert marked(volume, image) == 0
    told = Told()
    assert go_on(volume, image, told) == result
    assert len(told.n_voxels) == len(PLANES)
    assert image.file.read_bytes() == expected


@every_source
def test_what_is_finished_is_not_read_again(tmp_path: Path, source: str) -> None:
    volume, image = pair(tmp_path, source)
    result, told = go_on(volume, image), Told()
    data = image.file.read_bytes()
    assert marked(volume, image) == len(PLANES)
    for file in volume.files:
        file.unlink()
    if isinstance(volume, VolumeInMemory):
        volume = VolumeInMemory(PLANES, broken=frozenset(range(len(PLANES))))
    assert go_on(volume, image, told) == result
    assert told.n_voxels == []
    assert image.file.read_bytes() == data


def test_without_markers_everything_is_done(tmp_path: Path) -> None:
    volume, image = pair(tmp_path, "encoded")
    first = write_sequentially(resume_sequential_write(volume, image), RESOURCES)
    data = image.file.read_bytes()
    told = Told()
    assert write_sequentially(resume_sequential_write(volume, image), RESOURCES, told) == first
    assert len(told.n_voxels) == len(PLANES)
    assert image.file.read_bytes() == data


# ---- what is learned


@pytest.mark.parametrize("kind", [Kind.LABELS, Kind.MASK])
@pytest.mark.usefixtures("marked_often")
def test_labels_of_planes_before_an_interruption_are_not_forgotten(tmp_path: Path, kind: Kind) -> None:
    planes = some_labels((9, 30, 25))
    planes[0, 0, 0], planes[-1, 0, 0] = 4001, 4002
    volume, image = VolumeInMemory(planes), image_of(VolumeInMemory(planes), tmp_path / "image.tif", kind)
    with pytest.raises(_Interrupted):
        go_on(volume, image, Told(5))
    result = go_on(volume, image)
    assert result.labels == frozenset(np.unique(planes).tolist())
    assert result.value_range == (0, 4002)
    assert result.sha256 == tuple(map(plane_sha256, planes))


@pytest.mark.usefixtures("marked_often")
def test_the_range_of_values_is_of_all_planes(tmp_path: Path) -> None:
    planes = some_image((5, 20, 20), "float32")
    planes[0, 0, 0], planes[3, 1, 1], planes[4, 2, 2] = -1e9, np.nan, np.inf
    planes[2, 5, 5] = 1e9
    volume = VolumeInMemory(planes)
    image = image_of(volume, tmp_path / "image.tif")
    with pytest.raises(_Interrupted):
        go_on(volume, image, Told(2))
    assert go_on(volume, image).value_range == (-1e9, 1e9)


def test_an_image_without_a_finite_value_has_no_range(tmp_path: Path) -> None:
    volume = VolumeInMemory(np.full((3, 20, 20), np.nan, "float32"))
    image = image_of(volume, tmp_path / "image.tif")
    assert go_on(volume, image).value_range is None
    with scheduler_for([(volume, image)], own_resources(1, None)) as workers:
        assert convert_volume(volume, image, workers, _nobody()).value_range is None


# ---- how it is done


def _nobody() -> ProgressCallbacks:
    return ProgressCallbacks(list[int]().append, list[int]().append)


@pytest.mark.parametrize("reads_rows", [True, False])
@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_threads_and_memory_change_nothing(tmp_path: Path, reads_rows: bool, jobs: int) -> None:
    planes = some_image((20, 70, 50))
    volume = VolumeInMemory(planes, reads_rows=reads_rows)
    files = []
    for name, memory_bytes in (("much", None), ("little", 136 * 2**20)):
        image = image_of(volume, tmp_path / f"{name}.tif", pyramid=True)
        with scheduler_for([(volume, image)], own_resources(jobs, memory_bytes)) as workers:
            made = convert_volume(volume, image, workers, _nobody())
        assert made.sha256 == tuple(map(plane_sha256, planes))
        files.append(image.file.read_bytes())
    assert files[0] == files[1]
    assert set(volume.reads.values()) == {2}  # each row of each plane once for each of both


def test_no_more_planes_are_ahead_than_fit_into_memory(tmp_path: Path) -> None:
    volume = VolumeInMemory(some_image((50, 200, 300)))
    image = image_of(volume, tmp_path / "image.tif")
    portions = divide_memory_by_planes(volume, image, Resources(2, 2**30))
    assert portions.total_bytes <= 2**30
    for n_planes in (1, 2, 3):
        resources = Resources(2, n_planes * portions.plane_bytes)
        assert divide_memory_by_planes(volume, image, resources).n_planes == n_planes
        ahead: list[int] = []

        def told(_: int, ahead: list[int] = ahead) -> None:
            ahead.append(len(volume.planes_read) - len(ahead))

        volume.reads.clear()
        write_sequentially(resume_sequential_write(volume, image), resources, told)
        assert max(ahead) <= n_planes
    with pytest.raises(UsageError, match="--memory"):
        write_sequentially(resume_sequential_write(volume, image), Resources(2, portions.plane_bytes - 1))


def test_a_broken_plane_ends_it_and_what_is_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential_writer, "BYTES_PER_MARKER", 1)
    volume = VolumeInMemory(PLANES, broken=frozenset({6}))
    image = image_of(volume, tmp_path / "image.tif")
    with pytest.raises(SourceError, match="plane 6"):
        go_on(volume, image)
    assert marked(volume, image) == 6
    mended = VolumeInMemory(PLANES)
    assert go_on(mended, image).sha256 == tuple(map(plane_sha256, PLANES))
    assert mended.planes_read == {6, 7, 8}
    np.testing.assert_array_equal(levels_of(image.file)[0], PLANES)


def test_planes_are_told_of_one_by_one_and_skipped_ones_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential_writer, "BYTES_PER_MARKER", 1)
    volume, image = pair(tmp_path, "encoded")
    with pytest.raises(_Interrupted):
        go_on(volume, image, Told(6))
    done, there = list[int](), list[int]()
    with scheduler_for([(volume, image)], own_resources(2, None)) as workers:
        convert_volume(
            volume, image, workers, ProgressCallbacks(done.append, there.append), safe_path(tmp_path, "markers")
        )
    assert (done, there) == ([PLANES[0].size] * 4, [PLANES[0].size * 5])


def test_workers_that_are_stopped_write_no_other_plane(tmp_path: Path) -> None:
    volume, image = pair(tmp_path, "encoded")
    with scheduler_for([(volume, image)], own_resources(1, None)) as workers:
        told = list[int]()

        def stop(workers: Scheduler, n_voxels: int) -> None:
            told.append(n_voxels)
            workers.stop()

        with pytest.raises(StoppedError):
            workers.submit(write_sequentially, resume_sequential_write(volume, image), partial(stop, workers)).result()
    assert len(told) == 1


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    volume: Volume = VolumeInMemory(PLANES)
    image = image_of(volume, tmp_path / "nowhere/image.tif")
    with pytest.raises(WriteError, match=r"nowhere/image\.tif: cannot be written"):
        write_sequentially(resume_sequential_write(volume, image), RESOURCES)


def test_several_images_are_written_at_the_same_time(tmp_path: Path) -> None:
    volumes: list[Array] = [some_image((20, 40, 30), seed=seed) for seed in range(4)]
    pairs = [(VolumeInMemory(v), image_of(VolumeInMemory(v), tmp_path / f"{n}.tif")) for n, v in enumerate(volumes)]
    with scheduler_for(pairs, own_resources(8, None)) as workers:
        running = [
            workers.submit(write_sequentially, resume_sequential_write(*both), list[int]().append) for both in pairs
        ]
        results = [future.result() for future in running]
    for planes, (_, image), result in zip(volumes, pairs, results, strict=True):
        assert result.sha256 == tuple(map(plane_sha256, planes))
        np.testing.assert_array_equal(levels_of(image.file)[0], planes)


def test_a_plane_is_gone_before_another_one_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[sequential_writer._PreparedPlane]] = []
    seen: list[int] = []
    prepare = sequential_writer._prepare

    def watched(work: sequential_writer.SequentialWrite, plane: int) -> sequential_writer._PreparedPlane:
        seen.append(sum(one() is not None for one in made))
        prepared = prepare(work, plane)
        made.append(weakref.ref(prepared))
        return prepared

    monkeypatch.setattr(sequential_writer, "_prepare", watched)
    monkeypatch.setattr(
        sequential_writer, "divide_memory_by_planes", lambda *_: PlaneMemory(1, 0, n_planes=1, n_threads=1)
    )
    volume = memory(tmp_path)
    write_sequentially(resume_sequential_write(volume, image_of(volume, tmp_path / "image.ome.btf")), RESOURCES)
    assert seen == [0] * len(PLANES)
