"""Killed at random moments; `interrupting.py` does the same as a script, as often as wanted, on any cohort."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from catnip2bids import Format, package
from fork_server import start
from interrupting import Interrupted, interruptions
from runs import dataset_files, partials_of, settings, write_l0

_FOUR_UNITS = "90000,1,1,1"
"""Bytes of blocks, shards and units of which each image of the cohort has four."""


@pytest.mark.parametrize(
    ("options", "n_kills"),
    [
        (("--format", "ome-zarr"), 3),
        pytest.param(("--format", "ome-tiff", "--pyramid"), 3, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_killed_at_random_moments_the_dataset_is_the_same_in_the_end(
    tmp_path: Path, options: tuple[str, ...], n_kills: int
) -> None:
    write_l0(tmp_path / "cohort", shape=(16, 80, 72))
    sources, dataset, reference = [tmp_path / "cohort"], tmp_path / "dataset", tmp_path / "reference"
    job = Interrupted(sources, dataset, reference, _FOUR_UNITS, options, forked=True)
    assert len(list(interruptions(job, n_kills, n_kills))) > 1


_ON_A_SMALL_DISK = """
import ctypes, os, shutil, subprocess, sys
from pathlib import Path
from catnip2bids.__main__ import main

small, disk, cohort, image_format = sys.argv[1:]
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
user, group = os.getuid(), os.getgid()
if ctypes.CDLL(None).unshare(CLONE_NEWNS | CLONE_NEWUSER):
    sys.exit(77)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {user} 1")
Path("/proc/self/gid_map").write_text(f"0 {group} 1")
if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={small}", "disk", disk]).returncode:
    sys.exit(77)
sys.argv = ["catnip2bids", "package", cohort, "-o", f"{disk}/dataset", "--format", image_format, "--no-report"]
sys.argv += ["--voxel-size", "3.7", "3.7", "5"]
for name in ("first", "second"):
    if (process := os.fork()) == 0:
        main()
        sys.exit()
    print(f"{name}:", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
shutil.copytree(f"{disk}/dataset", f"{disk}.finished", symlinks=True)
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose images do not fit on a small disk."""
    folder = tmp_path_factory.mktemp("cohort")
    write_l0(folder, shape=(60, 100, 90))
    return folder


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Callable[[Format], dict[str, bytes]]:
    """The files of its dataset in each format, made once."""

    @cache
    def files(image_format: Format) -> dict[str, bytes]:
        dataset = tmp_path_factory.mktemp("reference") / "dataset"
        package([cohort], dataset, settings(image_format=image_format))
        return dataset_files(dataset)

    return files


@pytest.mark.parametrize(
    ("small", "image_format"),
    [
        ("400k", Format.OME_ZARR),
        pytest.param("64k", Format.OME_ZARR, marks=pytest.mark.slow),
        pytest.param("900k", Format.OME_TIFF, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_an_error_and_with_more_room_it_goes_on(
    tmp_path: Path,
    cohort: Path,
    references: Callable[[Format], dict[str, bytes]],
    small: str,
    image_format: Format,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = start(_ON_A_SMALL_DISK, small, disk, cohort, image_format)
    if done.wait() == 77:
        pytest.skip(f"may not mount: {done.said}")
    assert done.printed.split("\n")[:2] == ["first: 1", "second: 0"], done.said
    assert "cannot be written: No space left on device" in done.said.replace("\n", " ")
    assert "Traceback" not in done.said
    finished = tmp_path / "disk.finished"
    assert dataset_files(finished) == references(image_format)
    assert not partials_of(finished)


_WITHOUT_PIXELS = """
import os, sys
import tifffile
from catnip2bids.cli import main

def refuse(*arguments, **options):
    sys.exit("a pixel was read")

os.pread = os.preadv = tifffile.TiffPage.asarray = refuse
main()
"""


def test_a_finished_dataset_is_not_made_again_and_no_pixel_is_read(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort")
    words = ("package", tmp_path / "cohort", "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5, "--no-report")
    first = start(_WITHOUT_PIXELS, *words)
    assert (first.wait(), "a pixel was read" in first.said) == (1, True)  # so the script finds it out
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    again = start(_WITHOUT_PIXELS, *words)
    assert again.wait() == 0, again.said
    assert "0 images made" in again.said
