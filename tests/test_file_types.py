"""Named pipes among a lab's files: whoever opens one waits for ever."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest

from catnip2bids import convert
from catnip2bids.catnip.atlas import read_atlas_table
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.log import read_log
from catnip2bids.errors import SourceError
from catnip2bids.file_types import refuse_special_file
from fork_server import command
from made_up import some_image, write_slices


def slices_with_a_pipe(folder: Path) -> Path:
    """Write slices of which one is a pipe; returns it."""
    pipe = write_slices(folder, some_image((3, 20, 20)))[1]
    pipe.unlink()
    os.mkfifo(pipe)
    return pipe


@pytest.mark.parametrize("name", ["slices", "stack.tif", "image.nii", "image.nii.gz"])
def test_a_pipe_in_the_place_of_an_image_is_named(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / name
    if name == "slices":
        pipe = slices_with_a_pipe(pipe)
    else:
        os.mkfifo(pipe)
    waited_enough = Timer(60, lambda: os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)))
    waited_enough.start()
    with pytest.raises(SourceError, match=re.escape(f"{pipe}: is a named pipe")):
        convert(tmp_path / name, tmp_path / "image.ome.zarr", (1, 1, 1))
    waited_enough.cancel()


@pytest.mark.slow
def test_the_command_ends_at_a_pipe(tmp_path: Path) -> None:
    pipe = slices_with_a_pipe(tmp_path / "slices")
    done = command("convert", pipe.parent, tmp_path / "image.ome.zarr", "--voxel-size", 1, 1, 1, seconds=60)
    assert (done.returncode, f"{pipe}: is a named pipe" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("read", [read_counts, read_atlas_table, read_log])
def test_a_pipe_in_the_place_of_a_text_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "text")
    with pytest.raises(SourceError, match="text: is a named pipe"):
        read(tmp_path / "text")


def test_what_is_a_file_or_not_there_is_let_pass(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", Path(__file__)):
        refuse_special_file(path)
