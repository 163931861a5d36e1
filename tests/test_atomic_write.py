"""What has its final name is complete, whatever happens in between.

Outputs that are written in steps are resumed where they stopped, and only if they are to become the same.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from catnip2bids.atomic_write import (
    atomic_output,
    discard_staging,
    markers_path,
    partial_path,
    remove_partials,
    staged_output,
    unfinished_outputs,
    write_error,
    write_text,
)
from catnip2bids.errors import NoSpaceError, ReadError, SourceError, WriteError
from catnip2bids.paths import SafePath, safe_path


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def build(folder: Path, **files: str) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


def test_a_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "a/b/table.tsv")
    with atomic_output(final) as partial:
        assert partial == partial_path(final) == tmp_path / "a/b/.table.tsv.partial"
        assert not partial.exists()
        partial.write_text("whole")
        assert not final.exists()
    assert tree(tmp_path) == {"a/b/table.tsv": "whole"}


def test_bytes_are_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power failure could leave an empty file under the final name."""
    synced: list[tuple[str, bool]] = []
    final, sync = safe_path(tmp_path, "image/0/c/0"), os.fsync

    def note(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, final.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_text(final, "pixels")
    assert synced == [(".0.partial", False), ("c", True)]


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("a/.image.ome.zarr.partial/0/c/0/0/0", "a/image.ome.zarr"),
        ("a/.image.ome.zarr.progress/12", "a/image.ome.zarr"),
        ("a/.image.ome.zarr.old.partial/zarr.json", "a/image.ome.zarr"),
        ("a/.counts.tsv.partial", "a/counts.tsv"),
        ("a/counts.tsv", "a/counts.tsv"),
        ("a/.hidden", "a/.hidden"),
    ],
)
def test_errors_name_what_was_to_be_published(place: str, named: str) -> None:
    full = write_error(Path(place), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert isinstance(full, NoSpaceError)
    assert str(full).startswith(f"{named}: cannot be written")
    read_only = write_error(Path(place), OSError(errno.EROFS, os.strerror(errno.EROFS)))
    assert type(read_only) is WriteError
    assert "space" not in str(read_only)


def test_a_folder_replaces_the_one_that_is_there(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    build(final, old="old", both="old")
    with atomic_output(final) as partial:
        build(partial, new="new", both="new")
        assert tree(final) == {"old": "old", "both": "old"}
    assert tree(tmp_path) == {"image.ome.zarr/new": "new", "image.ome.zarr/both": "new"}


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(1), OSError(28, "disk full")])
@pytest.mark.parametrize("already_there", [False, True])
def test_what_fails_leaves_nothing_behind(tmp_path: Path, error: BaseException, already_there: bool) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    if already_there:
        build(final, level="old")

    def publish() -> None:
        with atomic_output(final) as partial:
            build(partial, level="half")
            raise error

    with pytest.raises(type(error)):
        publish()
    assert tree(tmp_path) == ({"image.ome.zarr/level": "old"} if already_there else {})
    assert [path.name for path in tmp_path.iterdir()] == (["image.ome.zarr"] if already_there else [])


def test_a_publication_without_anything_to_publish_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_output(safe_path(tmp_path, "image.ome.zarr")):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("leftover_is_folder", [False, True])
def test_what_a_killed_program_left_is_removed(tmp_path: Path, leftover_is_folder: bool) -> None:
    final = safe_path(tmp_path, "image.ome.zarr")
    if leftover_is_folder:
        build(partial_path(final), rest="half")
    else:
        partial_path(final).write_text("half")
    with atomic_output(final) as partial:
        build(partial, level="new")
    assert tree(tmp_path) == {"image.ome.zarr/level": "new"}


# Publishes version 2 over version 1, in a child that dies at its n-th change of the file system, for every n.
KILLED_ANYWHERE = """
import json, os, sys
from pathlib import Path
from catnip2bids.atomic_write import atomic_output

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"}
final = Path(sys.argv[1], "image.ome.zarr")

def publish(version):
    with atomic_output(final) as partial:
        for name in ("a", "b", "c"):
            (partial / name).mkdir(parents=True)
            (partial / name / "chunk").write_text(str(version))

def die_at(n):
    count = 0
    def hook(event, arguments):
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            count += 1
            if count == n:
                os._exit(1)
    sys.addaudithook(hook)

def seen():
    return {p.relative_to(final).as_posix(): p.read_text() for p in final.rglob("*") if p.is_file()}

states = []
for n in range(1, 200):
    publish(1)
    child = os.fork()
    if child == 0:
        die_at(n)
        publish(2)
        os._exit(0)
    survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    states.append({"found": seen(), "survived": survived})
    publish(3)
    states[-1]["again"] = seen()
    states[-1]["beside"] = [path.name for path in final.parent.iterdir()]
    if survived:
        break
print(json.dumps(states))
"""


def test_a_program_killed_at_any_moment_leaves_the_old_the_new_or_nothing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED_ANYWHERE, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    whole = [{f"{name}/chunk": str(version) for name in "abc"} for version in (1, 2, 3)]
    states = json.loads(run.stdout)
    assert len(states) > 10
    assert states[-1] == {"found": whole[1], "survived": True, "again": whole[2], "beside": ["image.ome.zarr"]}
    for state in states[:-1]:
        assert state["found"] in (whole[0], whole[1], {})
        assert (state["again"], state["beside"]) == (whole[2], ["image.ome.zarr"])


def test_a_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(safe_path(tmp_path, "new/README.md"), "Mäuse\nµm\n")
    assert (tmp_path / "new/README.md").read_bytes() == "Mäuse\nµm\n".encode()
    write_text(safe_path(tmp_path, "new/README.md"), "")
    assert tree(tmp_path) == {"new/README.md": ""}


def test_the_same_text_leaves_the_file_alone(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "README.md")
    write_text(final, "one\n")
    before = final.stat()
    write_text(final, "one\n")
    after = final.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    write_text(final, "two\n")
    assert final.read_text() == "two\n"
    assert final.stat().st_ino != before.st_ino


def test_line_ends_are_never_translated(tmp_path: Path) -> None:
    final = safe_path(tmp_path, "table.tsv")
    final.write_bytes(b"a\r\n")
    write_text(final, "a\n")
    assert final.read_bytes() == b"a\n"


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
