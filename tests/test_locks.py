"""Locks: between programs and between the workers of one, on all machines that share the file system."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from catnip2bids.atomic_write import discard_staging, is_temporary, markers_path, staged_output
from catnip2bids.errors import DatasetError, WorkerError
from catnip2bids.locks import (
    FOLDER_LOCK,
    LOCK,
    create_step_lock,
    hold_step_lock,
    is_locked,
    lock_output,
    locked,
    supports_locks,
    wait_for_workers,
)
from catnip2bids.packaging import package, preflight_with_resources, write_dataset
from catnip2bids.paths import safe_path
from catnip2bids.progress import Progress
from clusters import wait_for
from faulting import IN_ITS_OWN_MOUNTS, may_mount
from fork_server import Program, command, start
from runs import RAW, files_of, settings, write_l0, write_l2


def test_a_lock_ends_with_its_program(tmp_path: Path) -> None:
    script = "import os, sys, time; from pathlib import Path; from catnip2bids.locks import locked\n"
    script += "with locked(Path(sys.argv[1])):\n print('locked', flush=True)\n time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(DatasetError, match="another catnip2bids"), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_lock_is_a_file_that_goes_with_it(tmp_path: Path) -> None:
    """Linux makes flock(2) of a folder a lock of the machine alone, where the folder is on NFS."""
    with locked(tmp_path):
        (lock,) = tmp_path.iterdir()
        assert lock.is_file()
        assert is_temporary(lock)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_removed_while_another_waits_for_it_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that had it removes the file after this one opened it."""
    lock_file = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        (tmp_path / FOLDER_LOCK).unlink()
        lock_file(descriptor, operation)

    monkeypatch.setattr("catnip2bids.locks.fcntl.flock", flock)
    with locked(tmp_path), pytest.raises(DatasetError, match="another catnip2bids"), locked(tmp_path):
        pass


def test_who_only_asks_whether_a_folder_is_locked_keeps_nobody_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / FOLDER_LOCK).open("w") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        monkeypatch.setattr("catnip2bids.locks.time.sleep", lambda _: asking.close())
        with locked(tmp_path):
            assert is_locked(tmp_path)


def test_a_lock_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / FOLDER_LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "dataset"):
        pass
    assert not (tmp_path / "elsewhere").exists()


PACKAGE = """
import sys, time
from catnip2bids import Progress, Settings, package

class Waiting(Progress):
    def advance(self, n_voxels):
        print("writing", flush=True)
        time.sleep(600)

settings = Settings(voxel_size_um=(3.7, 3.7, 5.0), report=False, jobs=1)
sys.exit(0 if package(sys.argv[1], sys.argv[2], settings, progress=Waiting()).ok else 1)
"""


@pytest.fixture
def packaging(tmp_path: Path) -> Iterator[Program]:
    """Another process that packages ``source`` into ``dataset``, and has begun to write."""
    write_l0(tmp_path / "source", only=RAW)
    other = start(PACKAGE, tmp_path / "source", tmp_path / "dataset")
    wait_for(lambda: other.printed.startswith("writing\n"))
    yield other
    other.kill()


def test_of_two_commands_the_second_is_refused_until_the_first_ends(tmp_path: Path, packaging: Program) -> None:
    words = ["package", tmp_path / "source", "-o", tmp_path / "dataset", "--voxel-size", 3.7, 3.7, 5, "--no-report"]
    second = command(*words)
    assert second.returncode == 2
    assert "dataset: another catnip2bids is writing it" in second.stderr
    packaging.kill()
    assert command(*words).returncode == 0  # the lock went with the process
    assert not list((tmp_path / "dataset").rglob(f".*{LOCK}"))


def test_a_dataset_that_changed_since_it_was_read_is_refused(tmp_path: Path) -> None:
    write_l0(tmp_path / "ko", only=RAW)
    write_l2(tmp_path / "wt", only=RAW)
    dataset, progress = tmp_path / "dataset", Progress()
    with preflight_with_resources(tmp_path / "ko", dataset, settings(), None, progress) as prepared:
        package(tmp_path / "wt", dataset, settings())
        before = files_of(dataset)
        with pytest.raises(DatasetError, match="was changed by another catnip2bids meanwhile; run again"):
            write_dataset(prepared, progress)
    assert files_of(dataset) == before


_BEHIND_ANOTHER_MOUNT = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="needs the right to mount")
def test_a_lock_holds_for_another_mount_of_the_dataset(tmp_path: Path, packaging: Program) -> None:
    assert packaging.poll() is None
    (tmp_path / "mount").mkdir()
    source, dataset, mount = (str(tmp_path / name) for name in ("source", "dataset", "mount"))
    words = [*IN_ITS_OWN_MOUNTS, _BEHIND_ANOTHER_MOUNT, "sh", dataset, mount, sys.executable, "-m", "catnip2bids"]
    words += ["package", source, "-o", mount, "--voxel-size", "3.7", "3.7", "5"]
    second = subprocess.run(words, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "mount: another catnip2bids is writing it" in second.stderr


def test_a_name_is_reserved_until_it_is_made(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with lock_output(final), pytest.raises(DatasetError, match="another catnip2bids"), lock_output(final):
        pass
    with lock_output(final):
        pass
    assert list(final.parent.iterdir()) == []


@contextmanager
def working(marker: Path, seconds: float) -> Iterator[None]:
    """Let another process be at a step for some time."""
    script = "import sys, time; from pathlib import Path; from catnip2bids.locks import hold_step_lock\n"
    script += "with hold_step_lock(Path(sys.argv[1])):\n print('busy', flush=True)\n time.sleep(float(sys.argv[2]))"
    command = [sys.executable, "-c", script, str(create_step_lock(marker, "run")), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "busy\n"
        yield
        other.kill()


def test_a_step_is_done_by_one_process_at_a_time(tmp_path: Path) -> None:
    marker = tmp_path / "planes-000000.json"
    with working(marker, 1):
        start = time.monotonic()
        with hold_step_lock(create_step_lock(marker, "run")):
            assert time.monotonic() - start > 0.5


@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_a_construction_waits_for_workers_of_an_earlier_one(tmp_path: Path, fingerprint: str) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(KeyboardInterrupt), staged_output(final, "same"):
        raise KeyboardInterrupt
    with working(markers_path(final) / "planes-000000.json", 1):
        start = time.monotonic()
        with staged_output(final, fingerprint):
            assert time.monotonic() - start > 0.5


def test_a_worker_that_is_late_does_nothing_once_another_command_has_begun(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    marker = markers_path(final) / "planes-000000.json"
    marker.parent.mkdir()
    lock = create_step_lock(marker, "earlier")
    with staged_output(final, "same"):
        assert create_step_lock(marker, "later") != lock
        with pytest.raises(WorkerError, match="another command is writing it"), hold_step_lock(lock):
            pass


def test_who_waited_for_a_lock_that_is_gone_does_nothing(tmp_path: Path) -> None:
    lock = create_step_lock(tmp_path / "planes-000000.json", "run")

    def work() -> str:
        with hold_step_lock(lock):
            return "worked"

    with ThreadPoolExecutor(1) as waiting, working(tmp_path / "planes-000000.json", 60):
        late = waiting.submit(work)
        time.sleep(0.3)
        lock.unlink()
    with pytest.raises(WorkerError, match="another command is writing it"):
        late.result()


def test_workers_that_go_on_for_long_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.locks._WAIT_SECONDS", 0.3)
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(KeyboardInterrupt), staged_output(final, "same"):
        raise KeyboardInterrupt
    with working(markers_path(final) / "planes-000000.json", 60):
        with pytest.raises(DatasetError, match=r"image\.ome\.zarr: a worker of an earlier command is still writing it"):
            wait_for_workers(markers_path(final), final)
        with pytest.raises(DatasetError, match="still writing"), staged_output(final, "other"):
            pass
        with pytest.raises(DatasetError, match="still writing"):
            discard_staging(final)
        assert markers_path(final).is_dir()
    discard_staging(final)  # it died
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_have_locked_tells_that_there_are_locks(tmp_path: Path) -> None:
    file = create_step_lock(tmp_path / "planes-000000.json", "run")
    assert supports_locks(file)
    with working(tmp_path / "planes-000000.json", 60):
        assert supports_locks(file)
