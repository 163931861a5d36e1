"""Other systems than Linux: the same files come out where the functions that only Linux has are missing.

The tests remove from Python's modules what macOS does not have, and run the real commands.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from catnip2bids import compare, convert, package, restore, verify
from catnip2bids.atomic_write import too_long
from catnip2bids.engine import memory
from catnip2bids.locks import lock_output, supports_locks
from fork_server import start
from made_up import DEFLATE, Flavour, some_image, write_slices
from runs import RAW, dataset_files, files_of, settings, write_l0

_ONLY_ON_LINUX: dict[ModuleType, str] = {
    os: "CLONE_ EFD_ GRND_ MFD_ O_DIRECT O_LARGEFILE O_NOATIME O_PATH O_RSYNC O_TMPFILE POSIX_FADV_ RWF_ SPLICE_"
    " copy_file_range eventfd fdatasync getrandom getresgid getresuid memfd_create pidfd_open"
    " posix_fadvise posix_fallocate preadv pwritev sched_getaffinity sched_getscheduler sched_rr_"
    " sched_setaffinity sched_setscheduler setns setresgid setresuid splice unshare",
    fcntl: "F_ADD_SEALS F_GETPIPE_SZ F_GET_SEALS F_NOTIFY F_OFD_ F_SEAL_ F_SETPIPE_SZ",
    resource: "RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING RUSAGE_THREAD prlimit",
    signal: "SIGCLD SIGPOLL SIGPWR SIGRTMAX SIGRTMIN SIGSTKFLT pidfd_send_signal sigtimedwait sigwaitinfo",
}
"""What macOS does not have, or only some of its versions: names, or how names begin.

Without what Python's own modules and other libraries look for when they are imported: `epoll`, extended attributes.
"""


@pytest.fixture
def _as_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what macOS does not have."""
    for module, beginnings in _ONLY_ON_LINUX.items():
        for name in [name for name in dir(module) if name.startswith(tuple(beginnings.split()))]:
            monkeypatch.delattr(module, name)
    # these have looked for some of them before
    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    monkeypatch.setattr(os, "process_cpu_count", os.cpu_count, raising=False)
    monkeypatch.setattr(memory, "_c_library", lambda: object())  # without mallopt and malloc_trim
    monkeypatch.setattr(os, "pathconf", lambda *asked: {"PC_PATH_MAX": 1024}[asked[1]])


def _everything(source: Path, folder: Path) -> dict[str, bytes]:
    """Package, verify, restore, compare and convert a cohort; returns the files that were made."""
    dataset, restored = folder / "dataset", folder / "restored"
    assert package([source], dataset, settings()).ok
    assert verify(dataset, [source], deep=True).ok
    assert restore(dataset, restored).ok
    assert compare(source, restored).exit_code == 0
    (slices,) = source.glob(f"*/*/{RAW[0]}")
    convert(slices, folder / "copied.ome.btf", (3.7, 3.7, 5.0))
    convert(slices, folder / "decoded.ome.tif", (3.7, 3.7, 5.0), pyramid=True)
    return dataset_files(dataset) | {path.name: b"".join(files_of(path).values()) for path in folder.glob("*.ome.*")}


def test_everything_works_without_what_only_linux_has(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_l0(tmp_path / "cohort")
    usual = _everything(tmp_path / "cohort", tmp_path / "usual")
    request.getfixturevalue("_as_on_macos")
    assert not hasattr(os, "copy_file_range")
    assert _everything(tmp_path / "cohort", tmp_path / "macos") == usual


@pytest.mark.usefixtures("_as_on_macos")
def test_resources_are_known_without_what_only_linux_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert memory.n_processors(tmp_path, {}) == 3

    def unknown(name: str) -> int:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert memory.default_memory_bytes() <= 2**30


@pytest.mark.usefixtures("_as_on_macos")
def test_a_path_may_be_as_long_as_the_system_takes(tmp_path: Path) -> None:
    name = Path("f" * 200)
    assert too_long(name, tmp_path) is None
    assert "1,010" in str(too_long(name, tmp_path / "/".join(["d" * 200] * 4)))


@pytest.mark.slow
def test_workers_that_share_no_libraries_make_the_same_image(tmp_path: Path) -> None:
    """The fork server of macOS must not have loaded libraries, of which some start threads there."""
    write_slices(tmp_path / "source", some_image((96, 130, 140)), "Z{plane:04d}.tif", Flavour(DEFLATE))
    script = """
import sys
from catnip2bids.engine import process_pool, scheduler
from interrupting import SMALL, settle_sizes
settle_sizes(SMALL)
process_pool._SMALL_BYTES, scheduler._LOCKED, process_pool._PRELOADED = 0, 1, ()
from catnip2bids.__main__ import main
main()
"""
    made = []
    for jobs in (1, 2):
        image = tmp_path / str(jobs) / "image.ome.zarr"
        image.parent.mkdir()
        done = start(script, "convert", tmp_path / "source", image, "--voxel-size", 1, 1, 2, "--jobs", jobs)
        assert done.wait() == 0, done.said
        assert ("2 workers" in done.said) is (jobs == 2)
        made.append(files_of(image))
    assert made[0] == made[1]


@pytest.mark.slow
def test_256_open_files_are_enough(tmp_path: Path) -> None:
    """More than that macOS does not allow a program by default."""
    n_planes = 260  # of more bytes than those that are read from a file that is opened for each reading
    write_slices(tmp_path / "source", some_image((1, 512, 514)).repeat(n_planes, 0), flavour=Flavour(DEFLATE))
    script = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from catnip2bids.__main__ import main
main()
"""
    done = start(script, "convert", tmp_path / "source", tmp_path / "image.ome.zarr", "--voxel-size", 1, 1, 2)
    assert done.wait() == 0, done.said


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_written_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    (tmp_path / "marker").touch()
    assert not supports_locks(tmp_path / "marker")
    with lock_output(tmp_path / "image.ome.zarr"):
        assert (tmp_path / ".image.ome.zarr.lock").is_file()


def test_windows_is_told_what_to_use_instead() -> None:
    script = "import sys; sys.platform = 'win32'; import catnip2bids.__main__"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: catnip2bids does not run on Windows; install it in WSL")
