"""Killed at random moments; `interrupting.py` does the same as a script, as often as wanted, on any cohort."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from catnip2bids import Format, package
from interrupting import SMALL, Interrupted, interruptions
from runs import dataset_files, partials_of, settings, write_l0


@pytest.mark.parametrize("options", [("--format", "ome-zarr"), ("--format", "ome-tiff", "--pyramid")], ids=str)
def test_killed_at_random_moments_the_dataset_is_the_same_in_the_end(tmp_path: Path, options: tuple[str, ...]) -> None:
    write_l0(tmp_path / "cohort", shape=(140, 260, 130))
    job = Interrupted([tmp_path / "cohort"], tmp_path / "dataset", tmp_path / "reference", SMALL, options)
    assert len(list(interruptions(job, 4))) > 1


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size={small} disk "$2" || exit 77
python="$1"; dataset="$2/dataset"; cohort="$3"
$python -m catnip2bids package "$cohort" -o "$dataset" --voxel-size 3.7 3.7 5 --format "$4"
echo "first: $?"
mount -o remount,size=1g "$2"
$python -m catnip2bids package "$cohort" -o "$dataset" --voxel-size 3.7 3.7 5 --format "$4"
echo "second: $?"
cp -r "$dataset" "$2.finished"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, of util-linux")
@pytest.mark.parametrize("image_format", Format)
@pytest.mark.parametrize("small", ["64k", "400k", "900k"])
def test_a_full_disk_is_an_error_and_with_more_room_it_goes_on(
    tmp_path: Path, small: str, image_format: Format
) -> None:
    write_l0(tmp_path / "cohort", shape=(60, 100, 90))
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _ON_A_SMALL_DISK.format(small=small), "sh"]
    done = subprocess.run(
        [*command, sys.executable, str(disk), str(tmp_path / "cohort"), image_format],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(f"may not mount: {done.stderr}")
    assert done.stdout.split("\n")[:2] == ["first: 1", "second: 0"], done.stderr
    assert "cannot be written: No space left on device" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    package([tmp_path / "cohort"], tmp_path / "reference", settings(image_format=image_format))
    finished = tmp_path / "disk.finished"
    assert dataset_files(finished) == dataset_files(tmp_path / "reference")
    assert not partials_of(finished)


_WITHOUT_PIXELS = """
import os, sys
import tifffile
from catnip2bids.cli import main

def refuse(*arguments, **options):
    sys.exit("a pixel was read")

os.pread = tifffile.TiffPage.asarray = refuse
main()
"""


def test_a_finished_dataset_is_not_made_again_and_no_pixel_is_read(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort")
    command = [sys.executable, "-c", _WITHOUT_PIXELS, "package", str(tmp_path / "cohort"), "-o", str(tmp_path / "out")]
    command += ["--voxel-size", "3.7", "3.7", "5"]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (first.returncode, "a pixel was read" in first.stderr) == (1, True)  # so the script finds it out
    package([tmp_path / "cohort"], tmp_path / "out", settings())
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "0 images made" in again.stderr
