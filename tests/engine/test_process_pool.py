"""Worker processes of this machine: the same files as in one process, and an end whatever happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.build_image import ImageSpec, build_image
from catnip2bids.engine import (
    OVERHEAD_BYTES,
    ProgressCallbacks,
    Resources,
    StoppedError,
    UnitResult,
    convert_unit,
    convert_volume,
    process_pool,
    scheduler,
    scheduler_for,
    split_into_units,
)
from catnip2bids.engine.work_units import Block, BlockReader
from catnip2bids.enums import Compression, Kind
from catnip2bids.errors import UsageError, WorkerError
from catnip2bids.ome import OmeTiff, OmeZarr, OmeZarrImage
from catnip2bids.paths import safe_file
from catnip2bids.volume import OpenPlane, SliceSeries, inspect_slices, plane_sha256
from catnip2bids.volume.volume import PlaneSource, ReadCost
from cluster_work import SIZES, VOXEL_SIZE, markers_of, series
from clusters import wait_for
from fork_server import Program, start
from in_memory import VolumeInMemory
from made_up import DEFLATE, THREE_UNITS, Flavour, found, small_units, some_image, write_slices
from runs import files_of

RESOURCES = Resources(2, 2**30)
__all__ = ["series", "small_units"]


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in worker processes."""
    prefer_processes(monkeypatch)


def prefer_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use as many worker processes as there are processors and units."""
    monkeypatch.setattr(process_pool, "_SMALL_BYTES", 0)
    monkeypatch.setattr(scheduler, "_LOCKED", 1)


def slices(folder: Path) -> SliceSeries:
    """Write a volume of three units."""
    write_slices(folder, some_image(THREE_UNITS), "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    series = found(inspect_slices(folder.iterdir()))
    assert isinstance(series, SliceSeries)
    return series


def image_in(folder: Path) -> OmeZarrImage:
    return OmeZarrImage(folder / "image.ome.zarr", THREE_UNITS, "uint16", (2.0, 1.0, 1.0), Kind.IMAGE)


def convert(volume: SliceSeries, image: OmeZarrImage, done: list[int]) -> UnitResult:
    with scheduler_for([(volume, image)], RESOURCES) as workers:
        return convert_volume(volume, image, workers, ProgressCallbacks(done.append, list[int]().append))


@pytest.mark.slow
@pytest.mark.usefixtures("small_units")
def test_processes_make_the_same_image_as_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, done = slices(tmp_path / "source"), list[int]()
    alone = convert(volume, image_in(tmp_path / "threads"), list[int]())
    prefer_processes(monkeypatch)
    assert convert(volume, image_in(tmp_path / "processes"), done) == alone
    assert sum(done) == np.prod(THREE_UNITS)
    assert files_of(tmp_path / "processes/image.ome.zarr") == files_of(tmp_path / "threads/image.ome.zarr")


@pytest.mark.slow
@pytest.mark.usefixtures("small_units", "in_processes")
def test_stopped_workers_start_no_other_block(tmp_path: Path) -> None:
    volume, image, done = slices(tmp_path / "source"), image_in(tmp_path), list[int]()
    image.create()
    with scheduler_for([(volume, image)], RESOURCES) as workers:
        workers.stop()
        units = [workers.submit(convert_unit, unit, done.append) for unit in split_into_units(volume, image)]
        assert [type(unit.exception()) for unit in units] == [StoppedError] * 3
    assert done == []
    assert not any((tmp_path / "image.ome.zarr").rglob("c/*"))


@pytest.mark.slow
@pytest.mark.usefixtures("small_units", "in_processes")
def test_an_error_of_a_callback_stops_the_workers_and_is_raised(tmp_path: Path) -> None:
    volume, image = slices(tmp_path / "source"), image_in(tmp_path)

    def refuse(_: int) -> None:
        raise KeyError("progress")

    callbacks = ProgressCallbacks(refuse, list[int]().append)
    with pytest.raises(KeyError, match="progress"), scheduler_for([(volume, image)], RESOURCES) as workers:
        convert_volume(volume, image, workers, callbacks)


@dataclass(frozen=True)
class Deadly:
    """A volume with a plane that kills the process reading it, as long as a file exists."""

    planes: SliceSeries
    weapon: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read_cost: ReadCost

    @property
    def files(self) -> tuple[Path, ...]:
        return self.planes.files

    def plane_source(self, plane: int) -> PlaneSource:
        return self.planes.plane_source(plane)

    def open_plane(self, plane: int) -> OpenPlane:
        if plane > self.shape[0] // 2 and self.weapon.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.planes.open_plane(plane)


@pytest.mark.slow
@pytest.mark.usefixtures("small_units", "in_processes")
@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.btf"])
def test_the_death_of_a_worker_is_an_error_and_the_work_resumes_later(tmp_path: Path, ending: str) -> None:
    whole, target = slices(tmp_path / "source"), tmp_path / f"image{ending}"
    (tmp_path / "weapon").touch()
    volume = Deadly(whole, tmp_path / "weapon", whole.shape, whole.dtype, whole.read_cost)
    form = OmeZarr() if ending == ".ome.zarr" else OmeTiff(big=True, compression=Compression.DEFLATE)
    spec = ImageSpec(volume, "image", "image", (1.0, 1.0, 2.0), Kind.IMAGE, form)
    callbacks = ProgressCallbacks(list[int]().append, list[int]().append)

    def build() -> UnitResult:
        pair = (volume, spec.image(target))
        with scheduler_for([pair, pair], RESOURCES) as workers:  # a single OME-TIFF would need no process
            return build_image(spec, safe_file(target), workers, callbacks)[0]

    with pytest.raises(WorkerError, match="a worker died"):
        build()
    assert not target.exists()
    (tmp_path / "weapon").unlink()
    assert build().sha256 == tuple(map(plane_sha256, some_image(THREE_UNITS)))
    assert target.exists()


_ANY_SIZE = f"""
import sys
sys.path.append({str(Path(__file__).parents[1])!r})
from catnip2bids.engine import process_pool, scheduler
from interrupting import settle_sizes
settle_sizes({SIZES!r})
process_pool._SMALL_BYTES, scheduler._LOCKED = 0, 1
"""
_SLOWLY = f"""{_ANY_SIZE}
from catnip2bids.engine import process_pool
from engine.test_process_pool import start_slow_worker
process_pool._start_worker = start_slow_worker
from catnip2bids.__main__ import main
main()
"""
_SCRIPT = f"""{_ANY_SIZE}
print("script")
import catnip2bids
catnip2bids.convert(sys.argv[1], sys.argv[2], (3.7, 3.7, 5.0), jobs=2)
"""
_start_worker, _blocks = process_pool._start_worker, BlockReader.blocks


def start_slow_worker(*connection: Any) -> None:
    """Start a worker that takes its time for each block."""
    _start_worker(*connection)
    setattr(BlockReader, "blocks", _slow_blocks)  # noqa: B010 (a method)


def _slow_blocks(*arguments: Any) -> Iterator[Block]:
    for block in _blocks(*arguments):
        time.sleep(0.1)
        yield block


def running(series: Path, target: Path) -> tuple[Program, Sequence[psutil.Process]]:
    """Start a conversion, and return it with its workers when they have finished their first units."""
    program = start(_SLOWLY, "convert", series, target, *VOXEL_SIZE, "--jobs", 2, own_session=True)
    wait_for(lambda: program.poll() is not None or markers_of(target))
    assert program.poll() is None, program.said
    return program, psutil.Process(program.pid).children(recursive=True)


@pytest.mark.slow
def test_workers_end_with_a_killed_command_and_the_next_one_resumes(tmp_path: Path, series: Path) -> None:
    target = tmp_path / "x.ome.zarr"
    program, workers = running(series, target)
    assert len(workers) >= 3  # two workers and their fork server
    program.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    done = {path: path.stat().st_mtime_ns for path in markers_of(target)}
    again, _ = running(series, target)
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in done.items())
    assert again.wait() == 0, again.said
    assert target.is_dir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_of_all_processes_is_one_message(tmp_path: Path, series: Path, number: signal.Signals) -> None:
    program, workers = running(series, tmp_path / "x.ome.zarr")
    os.killpg(program.pid, number)
    assert program.wait(30) == 128 + number
    assert program.said.splitlines()[-1] == "error: interrupted; run the same command again to go on"
    assert "Traceback" not in program.said
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


_WITH_CTRL_C = f"""{_ANY_SIZE}
import os, signal, threading
delay, start = float(sys.argv.pop(1)), process_pool.ensure_running

def start_and_interrupt():
    start()
    threading.Timer(delay, os.killpg, (0, signal.SIGINT)).start()

process_pool.ensure_running = start_and_interrupt
from catnip2bids.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3])
def test_ctrl_c_while_the_fork_server_imports_is_one_message(tmp_path: Path, series: Path, seconds: float) -> None:
    words = ("convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, "--jobs", 2)
    program = start(_WITH_CTRL_C, seconds, *words, own_session=True)
    assert program.wait(60) == 130
    assert program.said.splitlines()[-1] == "error: interrupted; run the same command again to go on"
    assert "Traceback" not in program.said


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, series: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    program = start(
        "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')",
        script,
        series,
        tmp_path / "x.ome.zarr",
    )
    assert program.wait() == 0, program.said
    assert program.printed.split() == ["script"]


@pytest.mark.slow
def test_where_no_process_can_start_threads_do_the_work(tmp_path: Path, series: Path) -> None:
    too_long = tmp_path / ("x" * 120)  # for the address of a socket
    too_long.mkdir()
    script = f"""{_ANY_SIZE}
from catnip2bids.__main__ import main
main()
"""
    environment = {**os.environ, "TMPDIR": str(too_long)}
    words = ("convert", series, tmp_path / "x.ome.zarr", *VOXEL_SIZE, "--jobs", 2)
    program = start(script, *words, environment=environment)
    assert program.wait() == 0, program.said
    assert "2 threads" in program.said
    assert "Traceback" not in program.said


@pytest.mark.parametrize(
    ("planes", "n_images", "n_processes"),
    [
        (192, 1, 1),  # units of 128 and 64 planes: two processes would be idle for a third of the time
        (256, 1, 2),
        (192, 8, 2),
        (10, 1, 1),
        (100, 2, 2),
    ],
)
def test_the_number_of_processes_is_the_one_that_should_be_fastest(
    planes: int, n_images: int, n_processes: int
) -> None:
    volume = VolumeInMemory(np.broadcast_to(np.zeros((), "uint16"), (planes, 2048, 2560)))
    image = OmeZarrImage(Path("image.ome.zarr"), volume.shape, "uint16", (5.0, 1.0, 1.0), Kind.IMAGE)
    n_found, _, _ = scheduler._divide([(volume, image)] * n_images, Resources(2, 2**33))
    assert n_found == n_processes


@given(sizes=st.lists(st.integers(1, 2**40), min_size=1, max_size=40), n_threads=st.integers(1, 64), data=st.data())
def test_no_time_is_predicted_that_the_processors_cannot_reach(
    sizes: list[int], n_threads: int, data: st.DataObject
) -> None:
    n_processes = data.draw(st.integers(1, n_threads))
    sizes.sort(reverse=True)
    assert scheduler._relative_time(sizes, n_processes, n_threads) >= 0.999 * sum(sizes) / n_threads


@given(
    planes=st.integers(1, 4000),
    side=st.integers(16, 12_000),
    memory=st.integers(2**28, 2**35),
    n_threads=st.integers(1, 64),
)
def test_processes_share_the_threads_and_the_memory(planes: int, side: int, memory: int, n_threads: int) -> None:
    volume = VolumeInMemory(np.broadcast_to(np.zeros((), "uint16"), (planes, side, side)))
    image = OmeZarrImage(Path("image.ome.zarr"), volume.shape, "uint16", (5.0, 1.0, 1.0), Kind.IMAGE)
    try:
        n_units, share, _ = scheduler._divide([(volume, image)], Resources(n_threads, memory))
    except UsageError:
        return
    assert 1 <= n_units <= n_threads
    assert n_threads <= n_units * share.n_threads < n_threads + n_units
    own_bytes = process_pool.WORKER_BYTES if n_units > 1 else 0
    assert OVERHEAD_BYTES + n_units * (own_bytes + share.memory_bytes) <= memory
