"""The list of checksums: any name is read as it was written, and a malicious list in little time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from catnip2bids.bids.checksums import CHECKSUMS, checked_files, read_checksums, write_checksums
from catnip2bids.bids.provenance import FOLDER


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir(parents=True)
    return tmp_path


def test_names_are_read_as_they_were_written(dataset: Path) -> None:
    names = {"a", "back\\slash", "line\nend", "\\n", "\\\\n", "re\rturn \\", "\udcff", "\\r\n"}
    for name in names:
        (dataset / name).touch()
    written = write_checksums(dataset, {}, ())
    found = read_checksums(dataset)
    assert found is not None
    assert found.is_intact
    assert names == written.keys() == found.files.keys()


@pytest.mark.parametrize(
    "name", [b"b" * 1_000_000, b"a/" * 500_000 + b"b", b"\\n" * 500_000], ids=["long", "deep", "n"]
)
def test_a_line_that_no_path_can_have_is_not_intact(dataset: Path, name: bytes) -> None:
    write_checksums(dataset, {}, ())
    with (dataset / CHECKSUMS).open("ab") as file:
        file.write(b"\\" + b"a" * 64 + b"  " + name + b"\n")
    start = time.process_time()
    found = read_checksums(dataset)
    assert time.process_time() - start < 5
    assert found is not None
    assert not found.is_intact


def test_only_the_lock_of_the_dataset_has_no_checksum(dataset: Path) -> None:
    (dataset / ".catnip2bids.lock").touch()
    (dataset / ".data.lock").mkdir()
    (dataset / ".data.lock/a.tsv").touch()
    (dataset / "sub").mkdir()
    (dataset / "sub/.b.lock").touch()
    assert sorted(checked_files(dataset)) == [".data.lock/a.tsv", "sub/.b.lock"]
