"""Documents of a dataset from anywhere, and what must not be in one."""

from __future__ import annotations

import gzip
import os
from pathlib import Path, PurePosixPath

import pytest

from catnip2bids.documents import MOST_BYTES, foreign, oversized, read_bytes, read_object, refuse_foreign
from catnip2bids.errors import DatasetError


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
