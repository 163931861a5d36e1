"""Checksums prove files only as they were when they were written."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

import pytest

from catnip2bids.bids.checksums import (
    CHECKSUMS,
    Checksums,
    are_set_aside,
    checked_files,
    read_checksums,
    set_checksums_aside,
    write_checksums,
)
from catnip2bids.bids.provenance import FOLDER

COPY, COUNTS, NOTE = "sourcedata/catnip/sub-1/a.csv", "derivatives/catnip-counts/sub-1/a_counts.tsv", "notes.txt"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of a copy, counts and a note, all with checksums."""
    (tmp_path / CHECKSUMS).parent.mkdir(parents=True)
    assert set_checksums_aside(tmp_path, is_new=True) == {}
    for file in (COPY, COUNTS, NOTE):
        write(tmp_path, file)
    write_checksums(tmp_path, {}, [])
    return tmp_path


def write(dataset: Path, file: str, text: str = "as packaged") -> None:
    path = dataset / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def files_in_list(dataset: Path) -> set[str]:
    checksums = read_checksums(dataset)
    assert checksums is not None
    assert checksums.is_intact
    assert not are_set_aside(dataset)
    return set(checksums.files)


def test_all_files_of_a_new_dataset_are_listed(dataset: Path) -> None:
    assert files_in_list(dataset) == {COPY, COUNTS, NOTE}


def test_a_file_that_came_in_between_is_listed_only_if_it_may_change(dataset: Path) -> None:
    for file in (f"{COPY}.more", "derivatives/catnip/sub-1/more_counts.tsv", "sourcedata/mri/scan.dcm", "more.txt"):
        write(dataset, file)
    time.sleep(0.02)  # ctime has the resolution of a tick of the clock
    write_checksums(dataset, set_checksums_aside(dataset), [])
    assert files_in_list(dataset) == {COPY, COUNTS, NOTE, "sourcedata/mri/scan.dcm", "more.txt"}


def test_a_file_that_was_made_is_listed(dataset: Path) -> None:
    earlier = set_checksums_aside(dataset)
    write(dataset, COPY, "another content")
    now = write_checksums(dataset, earlier, [PurePosixPath(COPY).parent])
    assert now[COPY] != earlier[COPY]
    assert now[COUNTS] == earlier[COUNTS]


def test_files_that_a_killed_command_wrote_are_listed(dataset: Path) -> None:
    set_checksums_aside(dataset)
    time.sleep(0.02)
    write(dataset, f"{COPY}.more")
    assert are_set_aside(dataset)
    earlier = set_checksums_aside(dataset)
    assert set(earlier) == {COPY, COUNTS, NOTE}
    write_checksums(dataset, earlier, [])
    assert files_in_list(dataset) == {COPY, COUNTS, NOTE, f"{COPY}.more"}


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_list_that_was_changed_or_removed_proves_nothing(dataset: Path, is_removed: bool) -> None:
    if is_removed:
        (dataset / CHECKSUMS).unlink()
    else:
        (dataset / CHECKSUMS).write_text((dataset / CHECKSUMS).read_text().replace("a", "b"))
    time.sleep(0.02)
    earlier = set_checksums_aside(dataset)
    assert earlier == {}
    write_checksums(dataset, earlier, [PurePosixPath(COUNTS)])
    assert files_in_list(dataset) == {COUNTS, NOTE}


def test_files_below_a_folder_are_found() -> None:
    checksums = Checksums(dict.fromkeys(["a.b", "a/b/c", "a/d", "ab"], "0" * 64), is_intact=True)
    assert checksums.below(PurePosixPath("a")) == ["a/b/c", "a/d"]
    assert checksums.below(PurePosixPath("a/d")) == ["a/d"]
    assert checksums.below(PurePosixPath("b")) == []


def test_a_path_that_no_file_can_have_takes_no_time(dataset: Path) -> None:
    """Each of its folders would be another path."""
    with (dataset / CHECKSUMS).open("a") as file:
        file.write(f"{'0' * 64}  sourcedata{'/a' * 1_000_000}\n")
    checksums = read_checksums(dataset)
    assert checksums is not None
    assert set(checksums.files) == {COPY, COUNTS, NOTE}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A dataset without files."""
    (tmp_path / FOLDER).mkdir(parents=True)
    return tmp_path


def test_names_are_read_as_they_were_written(empty: Path) -> None:
    names = {"a", "back\\slash", "line\nend", "\\n", "\\\\n", "re\rturn \\", "\udcff", "\\r\n"}
    for name in names:
        (empty / name).touch()
    written = write_checksums(empty, {}, ())
    found = read_checksums(empty)
    assert found is not None
    assert found.is_intact
    assert names == written.keys() == found.files.keys()


@pytest.mark.parametrize(
    "name", [b"b" * 1_000_000, b"a/" * 500_000 + b"b", b"\\n" * 500_000], ids=["long", "deep", "n"]
)
def test_a_line_that_no_path_can_have_is_not_intact(empty: Path, name: bytes) -> None:
    write_checksums(empty, {}, ())
    with (empty / CHECKSUMS).open("ab") as file:
        file.write(b"\\" + b"a" * 64 + b"  " + name + b"\n")
    start = time.process_time()
    found = read_checksums(empty)
    assert time.process_time() - start < 5
    assert found is not None
    assert not found.is_intact


def test_only_the_lock_of_the_dataset_has_no_checksum(empty: Path) -> None:
    (empty / ".catnip2bids.lock").touch()
    (empty / ".data.lock").mkdir()
    (empty / ".data.lock/a.tsv").touch()
    (empty / "sub").mkdir()
    (empty / "sub/.b.lock").touch()
    assert sorted(checked_files(empty)) == [".data.lock/a.tsv", "sub/.b.lock"]
