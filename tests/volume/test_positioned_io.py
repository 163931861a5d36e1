"""Bytes are read and written at a position, however few of them the system takes at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catnip2bids.volume import positioned_io
from catnip2bids.volume.positioned_io import read_at, write_at

CONTENT = bytes(range(100))


@pytest.fixture(params=["preadv", "pread"])
def _reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as this system does, or as one without preadv does."""
    if request.param == "pread":
        monkeypatch.delattr(os, "preadv")


@pytest.mark.usefixtures("_reading")
@pytest.mark.parametrize("most_bytes", [1, 7, 2**30])
@pytest.mark.parametrize(("offset", "wanted", "n_read"), [(0, 100, 100), (93, 7, 7), (40, 80, 60), (100, 5, 0)])
def test_all_bytes_up_to_the_end_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int, offset: int, wanted: int, n_read: int
) -> None:
    monkeypatch.setattr(positioned_io, "_MOST_BYTES", most_bytes)
    (tmp_path / "file").write_bytes(CONTENT)
    out = bytearray(b"\xff" * wanted)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        assert read_at(file.fileno(), memoryview(out), offset) == n_read
        assert file.tell() == 0
    assert out == CONTENT[offset : offset + n_read] + b"\xff" * (wanted - n_read)


@pytest.mark.parametrize("most_bytes", [1, 7, 2**30])
def test_all_bytes_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int) -> None:
    monkeypatch.setattr(positioned_io, "_MOST_BYTES", most_bytes)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        write_at(file.fileno(), memoryview(CONTENT), 3)
    assert (tmp_path / "file").read_bytes() == bytes(3) + CONTENT
