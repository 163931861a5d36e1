"""Locks: between programs and between the workers of one, on all machines that share the file system."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from catnip2bids.errors import DatasetError, WorkerError
from catnip2bids.locks import busy, has_locks, lock_of, locked, reserved, wait_for_others
from catnip2bids.publish import construction, forget_construction, markers_path


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


def test_a_name_is_reserved_until_it_is_made(tmp_path: Path) -> None:
    final = tmp_path / "image.ome.zarr"
    with reserved(final), pytest.raises(DatasetError, match="another catnip2bids"), reserved(final):
        pass
    with reserved(final):
        pass
    assert list(final.parent.iterdir()) == []


@contextmanager
def working(marker: Path, seconds: float) -> Iterator[None]:
    """Let another process be at a step for some time."""
    script = "import sys, time; from pathlib import Path; from catnip2bids.locks import busy\n"
    script += "with busy(Path(sys.argv[1])):\n print('busy', flush=True)\n time.sleep(float(sys.argv[2]))"
    command = [sys.executable, "-c", script, str(lock_of(marker, "run")), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "busy\n"
        yield
        other.kill()


def test_a_step_is_done_by_one_process_at_a_time(tmp_path: Path) -> None:
    marker = tmp_path / "planes-000000.json"
    with working(marker, 1):
        start = time.monotonic()
        with busy(lock_of(marker, "run")):
            assert time.monotonic() - start > 0.5


@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_a_construction_waits_for_workers_of_an_earlier_one(tmp_path: Path, fingerprint: str) -> None:
    final = tmp_path / "image.ome.zarr"
    with pytest.raises(KeyboardInterrupt), construction(final, "same"):
        raise KeyboardInterrupt
    with working(markers_path(final) / "planes-000000.json", 1):
        start = time.monotonic()
        with construction(final, fingerprint):
            assert time.monotonic() - start > 0.5


def test_a_worker_that_is_late_does_nothing_once_another_command_has_begun(tmp_path: Path) -> None:
    final = tmp_path / "image.ome.zarr"
    marker = markers_path(final) / "planes-000000.json"
    marker.parent.mkdir()
    lock = lock_of(marker, "earlier")
    with construction(final, "same"):
        assert lock_of(marker, "later") != lock
        with pytest.raises(WorkerError, match="another command has taken it up"), busy(lock):
            pass


def test_who_waited_for_a_lock_that_is_gone_does_nothing(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "planes-000000.json", "run")

    def work() -> str:
        with busy(lock):
            return "worked"

    with ThreadPoolExecutor(1) as waiting, working(tmp_path / "planes-000000.json", 60):
        late = waiting.submit(work)
        time.sleep(0.3)
        lock.unlink()
    with pytest.raises(WorkerError, match="another command has taken it up"):
        late.result()


def test_workers_that_go_on_for_long_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.locks._SECONDS_FOR_OTHERS", 0.3)
    final = tmp_path / "image.ome.zarr"
    with pytest.raises(KeyboardInterrupt), construction(final, "same"):
        raise KeyboardInterrupt
    with working(markers_path(final) / "planes-000000.json", 60):
        with pytest.raises(DatasetError, match=r"image\.ome\.zarr: a worker of an earlier command is still writing it"):
            wait_for_others(markers_path(final), final)
        with pytest.raises(DatasetError, match="still writing"), construction(final, "other"):
            pass
        with pytest.raises(DatasetError, match="still writing"):
            forget_construction(final)
        assert markers_path(final).is_dir()
    forget_construction(final)  # it died
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_have_locked_tells_that_there_are_locks(tmp_path: Path) -> None:
    file = lock_of(tmp_path / "planes-000000.json", "run")
    assert has_locks(file)
    with working(tmp_path / "planes-000000.json", 60):
        assert has_locks(file)
