"""Documents of unknown origin, files that must not be in a dataset, and named pipes, which must never be opened."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from threading import Timer
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from catnip2bids import convert
from catnip2bids.catnip.atlas import read_atlas_table
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.log import read_log
from catnip2bids.documents import (
    MOST_BYTES,
    foreign,
    oversized,
    read_bytes,
    read_object,
    read_xml,
    refuse_foreign,
    refuse_special_file,
)
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.volume import inspect_stack
from fork_server import command
from made_up import some_image, write_slices

MANY = f"<OME>{'<a/>' * 300_000}</OME>"


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DatasetError, match=r"pipe\.json: is a named pipe"):
        read_bytes(tmp_path / "pipe.json")


def test_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match=r"zero\.json: is a named pipe or a device"):
        read_bytes(tmp_path / "zero.json")


def test_a_sparse_file_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "large.tsv").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(DatasetError, match=r"large\.tsv: has 64 MiB"):
        read_bytes(tmp_path / "large.tsv")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[]", "7", "", "{", "\xff"])
def test_what_is_not_an_object_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"deeply|not a JSON object|Expecting|can't decode"):
        read_object(tmp_path / "a.json")


def test_what_is_foreign_is_named(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    (dataset / "a/b").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (dataset / "a/out").symlink_to(tmp_path / "secret")
    (dataset / "a/up").symlink_to("../..")
    (dataset / "a/in").symlink_to("b")
    (dataset / "a/loop").symlink_to("loop")
    (dataset / "a/nowhere").symlink_to("gone")
    os.mkfifo(dataset / "a/pipe")
    assert {path.name for path, _ in foreign(dataset)} == {"out", "up", "pipe"}
    with pytest.raises(DatasetError, match=r"a/out: is a link out of the dataset"):
        refuse_foreign(dataset)


def test_a_dataset_reached_by_a_link_is_not_foreign(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/file").touch()
    (tmp_path / "disk/other").symlink_to(tmp_path / "disk/file")
    (tmp_path / "dataset").symlink_to("disk")
    assert list(foreign(tmp_path / "dataset")) == []


def test_links_to_folders_in_git_are_foreign(tmp_path: Path) -> None:
    """Links in ``.git`` are not looked at, so pixels below such a folder could lie anywhere."""
    (tmp_path / ".git/annex/image").mkdir(parents=True)
    (tmp_path / ".git/annex/key").touch()
    (tmp_path / "sub-1").mkdir()
    links = {
        "key": "../.git/annex/key",
        "dropped": "../.git/annex/gone",
        "image": "../.git/annex/image",
        "git": "../.git",
        "root": "..",
    }
    for name, target in links.items():
        (tmp_path / "sub-1" / name).symlink_to(target)
    assert {path.name for path, _ in foreign(tmp_path)} == {"image", "git", "root"}


def test_very_deep_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * 100)).mkdir(parents=True)
    ((_, why),) = foreign(tmp_path)
    assert why == "is more than 64 folders deep; move it up"


def test_nothing_is_foreign_where_nothing_is(tmp_path: Path) -> None:
    assert list(foreign(tmp_path / "none")) == []


def test_a_document_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    sidecar = PurePosixPath("SPIM.json")
    assert list(oversized(tmp_path, [(sidecar, 1)])) == [(sidecar, "cannot be read: No such file or directory")]


@pytest.mark.parametrize(("n_lines", "says"), [(250_000, "has 250,000 lines"), (34 * 2**20, "has more than 64 MiB")])
def test_a_packed_table_is_as_large_as_its_content(tmp_path: Path, n_lines: int, says: str) -> None:
    packed = gzip.compress(b"1\n" * n_lines, 1)
    (tmp_path / "a.tsv.gz").write_bytes(packed)
    [(path, what)] = oversized(tmp_path, [(PurePosixPath("a.tsv.gz"), len(packed))])
    assert path.name == "a.tsv.gz"
    assert what.startswith(says)


def test_a_damaged_packed_table_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(b"1\n" * 1000)
    contents = {"whole": packed, "cut": packed[:-9], "text": b"1\n", "bits": packed[:12] + b"\xff" * 9}
    for name, content in contents.items():
        (tmp_path / f"{name}.tsv.gz").write_bytes(content)
    found = dict(oversized(tmp_path, [(PurePosixPath(f"{name}.tsv.gz"), 9) for name in contents]))
    assert [path.name for path in found] == ["cut.tsv.gz", "text.tsv.gz", "bits.tsv.gz"]
    assert all(what.startswith("cannot be read") for what in found.values())


def test_gigabytes_of_zeros_behind_a_packed_table_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"1\n"))
    os.truncate(path, 2**15)
    assert list(oversized(tmp_path, [(PurePosixPath(path.name), 9)])) == []
    (tmp_path / "stored.tsv.gz").write_bytes(gzip.compress(bytes(2**20), 0))
    assert list(oversized(tmp_path, [(PurePosixPath("stored.tsv.gz"), 9)])) == []
    os.truncate(path, 2**30)
    with path.open("ab") as file:
        file.write(b"\1")
    [(_, what)] = oversized(tmp_path, [(PurePosixPath(path.name), 9)])
    assert what == "cannot be read: it has 128 KiB of zeros, which gzip never writes"


def test_a_document_of_too_many_elements_is_not_parsed() -> None:
    with pytest.raises(ElementTree.ParseError, match="300,002 elements"):
        read_xml(MANY)
    assert len(read_xml(MANY.replace("<a/>", "", 100))) == 299_900


def test_a_stack_that_is_described_by_too_many_elements_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 8), "uint8"), description=MANY, metadata=None, photometric="minisblack")
    (problem,) = inspect_stack(path).problems
    assert problem.startswith(f"{path}: its OME-XML is damaged (300,002 elements")


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
