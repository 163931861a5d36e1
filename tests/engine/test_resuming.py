"""What is done stays done: markers, and what happens to images whose conversion was stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest

from catnip2bids.engine import (
    ProgressCallbacks,
    Scheduler,
    StoppedError,
    UnitResult,
    convert_unit,
    convert_volume,
    own_resources,
    scheduler_for,
    split_into_units,
)
from catnip2bids.engine.unit_results import read_marker, set_marker
from catnip2bids.errors import SourceError
from catnip2bids.ome import OmeZarrImage
from catnip2bids.paths import safe_path
from catnip2bids.volume import Kind
from in_memory import VolumeInMemory
from made_up import THREE_UNITS, make_small_units, small_units, some_image
from runs import files_of

DEPTH = (THREE_UNITS[0] - 88) // 2
PLANES = some_image(THREE_UNITS)
__all__ = ["small_units"]
pytestmark = pytest.mark.usefixtures("small_units")

SECOND = frozenset(range(DEPTH, 2 * DEPTH))
"""Planes of the second of the three units."""


def image_in(folder: Path) -> OmeZarrImage:
    return OmeZarrImage(folder / "image.ome.zarr", THREE_UNITS, "uint16", (2.0, 1.0, 1.0), Kind.IMAGE)


def convert(
    volume: VolumeInMemory, folder: Path, done: Callable[[int], None] | None = None, skipped: list[int] | None = None
) -> UnitResult:
    """Convert with one processor, so that units come one after the other."""
    image, callbacks = (
        image_in(folder),
        ProgressCallbacks(done or list[int]().append, ([] if skipped is None else skipped).append),
    )
    (safe_path(folder, "markers")).mkdir(parents=True, exist_ok=True)
    with scheduler_for([(volume, image)], own_resources(1, None)) as workers:
        return convert_volume(volume, image, workers, callbacks, safe_path(folder, "markers"))


def units_with_markers(folder: Path) -> list[int]:
    """List the numbers of the units that are marked as done, and believed."""
    image = image_in(folder)
    units = split_into_units(VolumeInMemory(PLANES), image, safe_path(folder, "markers"))
    return [number for number, unit in enumerate(units) if read_marker(unit.marker, image.folder)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], UnitResult]:
    """Convert at once: files, and what was learned."""
    folder = tmp_path_factory.mktemp("at-once")
    with pytest.MonkeyPatch.context() as patched:
        make_small_units(patched)
        conversion = convert(VolumeInMemory(PLANES), folder)
    return files_of(folder / "image.ome.zarr"), conversion


def test_what_is_done_is_not_read_again(tmp_path: Path, finished: tuple[dict[str, bytes], UnitResult]) -> None:
    with pytest.raises(SourceError, match="is broken"):
        convert(VolumeInMemory(PLANES, broken=frozenset({2 * DEPTH + 3})), tmp_path)
    assert units_with_markers(tmp_path) == [0, 1]
    mended, done, skipped = VolumeInMemory(PLANES), list[int](), list[int]()
    assert convert(mended, tmp_path, done.append, skipped) == finished[1]
    assert mended.planes_read == set(range(2 * DEPTH, THREE_UNITS[0]))
    assert sum(done) + sum(skipped) == PLANES.size
    assert sum(done) == PLANES[2 * DEPTH :].size
    assert files_of(tmp_path / "image.ome.zarr") == finished[0]


def test_a_second_conversion_reads_nothing(tmp_path: Path, finished: tuple[dict[str, bytes], UnitResult]) -> None:
    convert(VolumeInMemory(PLANES), tmp_path)
    again = VolumeInMemory(PLANES, broken=frozenset(range(THREE_UNITS[0])))
    assert convert(again, tmp_path) == finished[1]
    assert not again.reads


@pytest.mark.parametrize("damage", ["shorter", "missing"])
def test_a_unit_whose_files_are_not_there_is_done_again(
    tmp_path: Path, finished: tuple[dict[str, bytes], UnitResult], damage: str
) -> None:
    convert(VolumeInMemory(PLANES), tmp_path)
    image = image_in(tmp_path)
    unit = list(split_into_units(VolumeInMemory(PLANES), image, safe_path(tmp_path, "markers")))[1]
    result = read_marker(unit.marker, image.folder)
    assert result is not None
    file = image.folder / sorted(result.files)[-1]
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    assert units_with_markers(tmp_path) == [0, 2]
    again = VolumeInMemory(PLANES)
    assert convert(again, tmp_path) == finished[1]
    assert again.planes_read == SECOND
    assert files_of(image.folder) == finished[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt,
        pytest.param(MemoryError, marks=pytest.mark.slow),
        pytest.param(RuntimeError, marks=pytest.mark.slow),
    ],
)
def test_an_interruption_stops_the_work_and_keeps_what_is_done(
    tmp_path: Path, finished: tuple[dict[str, bytes], UnitResult], error: type[BaseException]
) -> None:
    told: list[int] = []

    def interrupt(n_voxels: int) -> None:
        told.append(n_voxels)
        if sum(told) > DEPTH * THREE_UNITS[1] * THREE_UNITS[2]:
            raise error

    with pytest.raises(error):
        convert(VolumeInMemory(PLANES), tmp_path, interrupt)
    assert units_with_markers(tmp_path) == [0]
    again = VolumeInMemory(PLANES)
    assert convert(again, tmp_path) == finished[1]
    assert again.planes_read == set(range(DEPTH, THREE_UNITS[0]))
    assert files_of(tmp_path / "image.ome.zarr") == finished[0]


def test_a_unit_that_is_written_again_is_not_done_until_its_end(tmp_path: Path) -> None:
    convert(VolumeInMemory(PLANES), tmp_path)
    image = image_in(tmp_path)
    first = next(split_into_units(VolumeInMemory(PLANES), image, safe_path(tmp_path, "markers")))
    told: list[tuple[int, bool]] = []
    assert first.marker is not None
    convert_unit(first, own_resources(1, None), lambda n: told.append((n, Path(first.marker or "").is_file())))
    assert not any(is_marked for n_voxels, is_marked in told if n_voxels)
    assert units_with_markers(tmp_path) == [0, 1, 2]


def test_workers_that_are_stopped_begin_no_other_block(tmp_path: Path) -> None:
    volume, image = VolumeInMemory(PLANES), image_in(tmp_path)
    image.create()
    with scheduler_for([(volume, image)], own_resources(1, None)) as workers:
        units = [
            workers.submit(convert_unit, unit, lambda n: workers.stop() if n else None)
            for unit in split_into_units(volume, image)
        ]
        raised = [type(unit.exception()) for unit in units]
    # the first one is told after its first block, the others before theirs
    assert raised == [StoppedError] * 3
    assert volume.planes_read < set(range(DEPTH))
    assert not {plane // 64 for plane, row in volume.reads if row >= 2 * image.block_shape[1]} & {1}


def test_an_interruption_from_outside_ends_while_units_of_another_image_wait_for_their_turn(tmp_path: Path) -> None:
    at_work, all_wait = Event(), Event()

    def told(_: int) -> None:
        at_work.set()
        all_wait.wait(10)

    def interrupt(workers: Scheduler) -> None:
        for name in ("one", "other"):  # one processor: units of the other image wait
            work = partial(convert_volume, image=image_in(tmp_path / name), scheduler=workers)
            workers.supervise(
                partial(work, callbacks=ProgressCallbacks(told, list[int]().append)), VolumeInMemory(PLANES)
            )
            at_work.wait(10)
        sleep(0.5)
        all_wait.set()
        raise KeyboardInterrupt

    def be_interrupted() -> None:
        with suppress(KeyboardInterrupt), scheduler_for(pairs, own_resources(1, None)) as workers:
            interrupt(workers)

    pairs = [(VolumeInMemory(PLANES), image_in(tmp_path / name)) for name in ("one", "other")]
    ending = Thread(target=be_interrupted, daemon=True)
    ending.start()
    ending.join(timeout=30)
    assert not ending.is_alive()


RESULT = UnitResult(("ab", "cd"), (0.5, 7.0), frozenset({0, 97}), {"0/c/0/0/0": 3})


@pytest.mark.parametrize(
    "result", [RESULT, UnitResult((), None, None, {}), UnitResult(("ef",), (1.0, 1.0), frozenset(), {})]
)
def test_a_marker_says_what_was_learned(tmp_path: Path, result: UnitResult) -> None:
    (tmp_path / "0/c/0/0").mkdir(parents=True)
    (tmp_path / "0/c/0/0/0").write_bytes(b"abc")
    marker = safe_path(tmp_path, "planes-000000.json")
    assert read_marker(marker, tmp_path) is None
    set_marker(marker, result)
    assert read_marker(marker, tmp_path) == result
    marker.unlink()
    assert read_marker(marker, tmp_path) is None


def test_units_without_a_marker_are_never_done(tmp_path: Path) -> None:
    assert read_marker(None, tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"sha256": 1, "value_range": 7}', b"[" * 200_000])
def test_a_unit_whose_marker_is_damaged_is_not_done(tmp_path: Path, content: bytes) -> None:
    marker = safe_path(tmp_path, "planes-000000.json")
    (tmp_path / "planes-000000.json").write_bytes(content)
    assert read_marker(marker, tmp_path) is None


@pytest.mark.parametrize("name", ["zarr.json/x", "a" * 300])
def test_a_unit_of_files_with_impossible_paths_is_not_done(tmp_path: Path, name: str) -> None:
    (tmp_path / "zarr.json").touch()
    assert not UnitResult((), None, None, {name: 1}).is_on_disk(tmp_path)
