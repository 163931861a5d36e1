"""The gate for everything that is written, renamed or deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catnip2bids.errors import DatasetError
from catnip2bids.paths import beside, exists, is_within, safe_path


@pytest.mark.parametrize("path", ["a", "a/b", "a/../b", "./a", "a b/ä", "...", ".hidden"])
def test_paths_below_the_folder_pass(tmp_path: Path, path: str) -> None:
    assert safe_path(tmp_path, path) == tmp_path / os.path.normpath(path)


@pytest.mark.parametrize("path", ["", ".", "..", "../a", "/a", "a/../../b", "a/../..", "a\0b", "//a"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DatasetError, match="leads out"):
        safe_path(tmp_path, path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "inside/deep").mkdir(parents=True)
    (tmp_path / "inside/link").symlink_to("deep")
    with pytest.raises(DatasetError, match=r"inside/link: is a link"):
        safe_path(tmp_path, "inside/link/file")
    assert safe_path(tmp_path, "inside/link") == tmp_path / "inside/link"  # which is replaced, not followed


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "dataset").symlink_to("disk")
    assert safe_path(tmp_path / "dataset", "a/b") == tmp_path / "dataset/a/b"


@pytest.mark.parametrize("name", ["..", "a/b", "/", ""])
def test_what_is_beside_has_a_name_without_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="not a valid file name"):
        beside(safe_path(tmp_path, "a/b"), name)


def test_a_name_that_is_too_long_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert [exists(tmp_path / name) for name in ("a", "b", "a/b", "a" * 300, "a\0", "\ud800")] == [True, *[False] * 5]


@pytest.mark.parametrize(
    ("path", "found"), [(".", True), ("a", True), ("new/deep", True), ("..", False), ("../folder2", False)]
)
def test_what_is_within_a_folder(tmp_path: Path, path: str, found: bool) -> None:
    (tmp_path / "folder/a").mkdir(parents=True)
    (tmp_path / "link").symlink_to("folder")
    for folder in ("folder", "link"):
        assert is_within(tmp_path / "folder" / path, tmp_path / folder) is found


def test_a_folder_is_recognised_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system ignores case, or a folder is mounted twice, resolved paths do not tell."""
    (tmp_path / "folder/a").mkdir(parents=True)
    (tmp_path / "FOLDER").symlink_to("folder")
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    assert is_within(tmp_path / "FOLDER/a/new", tmp_path / "folder")
    assert not is_within(tmp_path / "new", tmp_path / "folder")
    assert not is_within(tmp_path / ("n" * 300), tmp_path / "folder")
