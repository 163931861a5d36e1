"""Outputs that are written in steps are resumed where they stopped, and only if they are to become the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from catnip2bids.atomic_write import markers_path, partial_path
from catnip2bids.errors import ReadError, SourceError
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.staging import discard_staging, remove_partials, staged_output, unfinished_outputs
from test_atomic_write import build, tree


def write(final: SafePath, fingerprint: str, error: BaseException | None = None, **files: str) -> list[str]:
    """Write a folder in steps; returns the names of the files of an earlier attempt."""
    with staged_output(final, fingerprint) as staged:
        there = sorted(path.name for path in staged.path.iterdir())
        for name, text in files.items():
            (staged.path / name).write_text(text)
        (staged.markers / "done.json").write_text("{}")
        if error is not None:
            raise error
    return there


def test_a_staged_output_goes_on_where_it_stopped(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(KeyboardInterrupt):
        write(final, "same", KeyboardInterrupt(), a="1")
    assert not final.exists()
    assert unfinished_outputs(tmp_path) == [final]
    assert write(final, "same", b="2") == ["a"]
    assert {path.name for path in final.iterdir()} == {"a", "b"}
    discard_staging(final)
    assert tree(tmp_path) == {"image.ome.zarr/a": "1", "image.ome.zarr/b": "2"}
    assert unfinished_outputs(tmp_path) == []


def test_with_another_fingerprint_it_begins_anew(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(OSError, match="full"):
        write(final, "before", OSError(28, "disk full"), a="1")
    with staged_output(final, "after") as staged:
        assert list(staged.path.iterdir()) == []
        assert not (staged.markers / "done.json").exists()
        (staged.path / "b").write_text("2")
    assert {path.name for path in final.iterdir()} == {"b"}


def test_nothing_is_written_through_a_link_under_the_final_name(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    write(final, "same", a="1")
    final.rename(tmp_path / "elsewhere")
    final.symlink_to("elsewhere")
    assert write(final, "same", a="2") == []
    assert tree(tmp_path / "elsewhere") == {"a": "1"}
    assert tree(final) == {"a": "2"}
    assert not final.is_symlink()


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_only_files_among_the_markers_are_locks(tmp_path: Path, kind: str) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(KeyboardInterrupt):
        write(final, "same", KeyboardInterrupt(), a="1")
    lock = markers_path(final) / "planes.json.run.lock"
    if kind == "folder":
        lock.mkdir()
    elif kind == "link":
        lock.symlink_to("gone")
    else:
        os.mkfifo(lock)
    assert write(final, "same") == ["a"]
    discard_staging(final)
    assert tree(tmp_path) == {"image.ome.zarr/a": "1"}


def test_what_was_published_before_the_program_was_killed_is_taken_up_again(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    write(final, "same", a="1")
    assert unfinished_outputs(tmp_path) == [final]  # nobody has noted that it is there
    assert write(final, "same") == ["a"]
    assert tree(final) == {"a": "1"}


def test_an_image_that_is_there_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    build(final, old="0")
    with pytest.raises(KeyboardInterrupt):
        write(final, "same", KeyboardInterrupt(), a="1")
    assert tree(final) == {"old": "0"}
    assert write(final, "same") == ["a"]
    assert tree(final) == {"a": "1"}


def test_nothing_is_kept_of_a_source_that_is_bad(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(SourceError):
        write(final, "same", SourceError("slice.tif: cannot be read"), a="1")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_programs_left_is_removed_but_for_staged_outputs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(safe_path(tmp_path, "a/image.ome.zarr"), "same", KeyboardInterrupt(), level="1")
    partial_path(safe_path(tmp_path, "a/table.tsv")).write_text("half")
    build(partial_path(safe_path(tmp_path, "a/other.ome.zarr")), level="half")
    build(tmp_path / "a/whole.ome.zarr", **{".in_an_image.partial": "stays"})
    remove_partials(tmp_path)
    assert unfinished_outputs(tmp_path) == [tmp_path / "a/image.ome.zarr"]
    assert tree(tmp_path) == {
        "a/.image.ome.zarr.partial/level": "1",
        "a/.image.ome.zarr.progress/done.json": "{}",
        "a/.image.ome.zarr.progress/fingerprint": "same",
        "a/whole.ome.zarr/.in_an_image.partial": "stays",
    }


def test_an_older_image_is_not_taken_for_the_one_that_was_interrupted(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    build(final, old="0")
    with pytest.raises(KeyboardInterrupt):
        write(final, "same", KeyboardInterrupt(), a="1")
    shutil.rmtree(partial_path(final))  # somebody tidied up
    with staged_output(final, "same") as staged:
        assert list(staged.path.iterdir()) == []
        assert tree(final) == {"old": "0"}
        (staged.path / "a").write_text("1")
    assert tree(final) == {"a": "1"}


def test_work_is_kept_where_only_the_system_could_not_read(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    with pytest.raises(ReadError):
        write(final, "same", ReadError("slice.tif: cannot be read: Stale file handle"), a="1")
    assert write(final, "same") == ["a"]
