"""Atomic writes: a file or folder gets its final name only when it is complete and on disk.

Invariant: everything under a final name is complete. Work in progress lies beside it under a temporary name, which
begins with a dot and ends with ``.partial``.

A staged output is written in steps, so that an interrupted one is resumed. It has a folder of markers besides: a
fingerprint of everything that decides its content, and a file for each finished step. A step is resumed only if the
fingerprint is the same. Other temporary files of killed programs are removed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from catnip2bids.errors import DatasetError, NoSpaceError, ReadError, SourceError, UsageError, WriteError
from catnip2bids.locks import LOCK, wait_for_workers
from catnip2bids.paths import SafePath, beside, is_within, safe_path

PARTIAL = ".partial"
"""The ending of the temporary name of an output."""
MARKERS = ".progress"
"""The ending of the folder of markers of a staged output."""
_FINGERPRINT = "fingerprint"
_COMPLETE = "complete"
_OLD = f".old{PARTIAL}"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
LONGEST_NAME_BYTES = 255 - len(f".{_OLD}")
"""The longest name for which temporary names still fit into the 255 bytes that file systems allow."""


def refuse_overlap(source: Path, output: Path) -> None:
    """Raise UsageError if source and output are the same, or one contains the other."""
    if is_within(output, source):
        raise UsageError(f"{output}: is inside {source}, which is only read; give a folder outside of it")
    if is_within(source, output):
        raise UsageError(f"{output}: holds {source}, which is only read; give another folder")


def too_long(path: PurePath, folder: Path | None = None) -> str | None:
    """Return why a path below a folder, or only its name, is too long to be written; None if it is not."""
    if (n_bytes := len(os.fsencode(path.name))) > LONGEST_NAME_BYTES:
        return f"its name has {n_bytes} bytes, and may have {LONGEST_NAME_BYTES}"
    n_bytes = 0 if folder is None else len(os.fsencode(folder.absolute() / path))
    if n_bytes > (most_bytes := _longest_path_bytes()):
        return f"its path below {folder} would have {n_bytes:,} bytes, and may have {most_bytes:,}"
    return None


def _longest_path_bytes() -> int:
    """Return the longest path for which temporary names still fit: systems count a zero byte at the end, too."""
    return os.pathconf("/", "PC_PATH_MAX") - 1 - (255 - LONGEST_NAME_BYTES)  # 4096 on Linux, 1024 on macOS


@contextmanager
def raising_write_errors(output: Path) -> Iterator[None]:
    """Turn every OSError into a `WriteError` that names the file, or `output`, and says what to do."""
    try:
        yield
    except OSError as error:
        raise write_error(Path(error.filename) if isinstance(error.filename, str) else output, error) from error


def write_error(path: Path, error: OSError, doing: str = "written") -> WriteError:
    """Return the error that names the output of a path, also of a temporary one, and says what to do."""
    kind = NoSpaceError if error.errno in _NO_SPACE else WriteError
    return kind(f"{final_path(path)}: cannot be {doing}: {error.strerror}; {_remedy(error)} and run again")


def _remedy(error: OSError) -> str:
    match error.errno:
        case number if number in _NO_SPACE:
            return "free space"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return "make the place writable, or write to another one,"
        case errno.ENAMETOOLONG:
            return "give a shorter name, or write to a place with a shorter path,"
    return "check the disk, or write to another one,"


def refuse_unwritable(folder: Path) -> None:
    """Raise DatasetError for a folder that cannot be written, or whose path is not UTF-8, as tensorstore needs it."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{folder}: has a path that is not UTF-8; rename its folders, or write elsewhere") from error
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise DatasetError(f"{existing}: is not a folder; write to another one")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DatasetError(
            f"{existing}: cannot be written (by its permissions, or the disk is read-only); make it writable, or write "
            "to another folder"
        )


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Create a folder to write into; after an error, remove the new folders that are still empty."""
    refuse_unwritable(folder)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # stops at the first one that does not exist or is not empty
            for path in new:
                path.rmdir()
        raise


def make_folder(folder: SafePath) -> None:
    """Create a folder and its parents, unless they exist."""
    folder.mkdir(parents=True, exist_ok=True)


def partial_path(final: SafePath) -> SafePath:
    """Return the temporary path of an output."""
    return beside(final, f".{final.name}{PARTIAL}")


def markers_path(final: SafePath) -> SafePath:
    """Return the folder of the markers of an output that is written in steps."""
    return beside(final, f".{final.name}{MARKERS}")


def final_path(path: Path) -> Path:
    """Return the output to which a temporary path belongs; any other path is returned as it is."""
    for part in (*reversed(path.parents), path):
        for ending in (_OLD, PARTIAL, MARKERS):  # the first one ends like the second one
            if part.name.startswith(".") and part.name.endswith(ending):
                return part.with_name(part.name.removeprefix(".").removesuffix(ending))
    return path


@contextmanager
def atomic_output(final: SafePath, near: SafePath | None = None) -> Iterator[SafePath]:
    """Write a file or folder under a temporary name and rename it at the end.

    Yields the temporary path, which does not exist yet: beside `final`, or beside `near` on the same file system. On
    success it replaces `final`; on failure it is removed.
    """
    neighbour = near or final
    partial = partial_path(neighbour)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        publish(partial, final, neighbour)
    except BaseException:
        remove(partial)
        raise


def publish(partial: SafePath, final: SafePath, neighbour: SafePath) -> None:
    """Sync a complete file or folder and rename it; the folder it replaces is renamed beside `neighbour` first."""
    replaced = beside(neighbour, f".{neighbour.name}{_OLD}")
    _sync(partial)
    if os.path.lexists(final) and (final.is_dir() or partial.is_dir()):
        # a folder cannot be replaced in one step: the old one is renamed before it is removed
        remove(replaced)
        final.replace(replaced)
    try:
        partial.replace(final)
    except BaseException:
        if replaced.exists() and not final.exists():
            replaced.replace(final)
        raise
    _sync_folder(final.parent)
    remove(replaced)


def write_text(final: SafePath, text: str) -> bool:
    """Write a text file (UTF-8, LF) atomically; see `write_bytes`."""
    # paths may hold bytes that are not UTF-8; JSON reads them back from this
    return write_bytes(final, text.encode(errors="backslashreplace"))


def write_json(final: SafePath, document: Mapping[str, Any]) -> bool:
    """Write a JSON file atomically; see `write_bytes`."""
    return write_text(final, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_bytes(final: SafePath, content: bytes) -> bool:
    """Write a small file atomically, unless it has this content already; return whether it was written."""
    if final.is_file() and final.stat().st_size == len(content) and final.read_bytes() == content:
        return False
    with atomic_output(final) as partial:
        partial.write_bytes(content)
    return True


def make_link(final: SafePath, to: str) -> None:
    """Create a symbolic link under a name that does not exist yet."""
    final.parent.mkdir(parents=True, exist_ok=True)
    final.symlink_to(to)


def remove(path: SafePath) -> None:
    """Remove a file or folder if it exists; of a link, remove only the link."""
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except OSError as error:  # it names the file without its folders
            raise OSError(error.errno, error.strerror, str(path)) from error
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file, or all files below a folder, to disk."""
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
        _sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class StagedOutput:
    """A file or folder that is written in steps, over several attempts if need be."""

    path: SafePath  # its temporary path; a folder exists from the beginning, a file does not
    markers: SafePath


@contextmanager
def staged_output(final: SafePath, fingerprint: str, *, is_folder: bool = True) -> Iterator[StagedOutput]:
    """Begin or resume a folder or file that is written in steps, and give it its final name at the end.

    Steps of an earlier attempt are kept if it had the same fingerprint. They are also kept if this attempt is
    interrupted, and removed if the source is bad or the request is impossible. The markers stay after the end until
    `discard_staging` is called; until then the output can be resumed again at no cost. Callers must hold a lock on the
    dataset or on the name. The fingerprint stands for everything that decides the content.
    """
    staged = StagedOutput(partial_path(final), markers_path(final))
    if staged.markers.is_symlink():
        raise DatasetError(f"{staged.markers}: is a link that catnip2bids did not create; remove it and run again")
    staged.markers.mkdir(parents=True, exist_ok=True)
    wait_for_workers(staged.markers, final)
    if not _resume(staged, final, fingerprint) and is_folder:
        staged.path.mkdir()
    try:
        yield staged
        write_text(safe_path(staged.markers, _COMPLETE), "")
        wait_for_workers(staged.markers, final)  # a worker that was believed lost may repeat a finished step
        publish(staged.path, final, final)
    except ReadError:
        raise  # the system's fault, not the source's
    except (SourceError, UsageError):  # it can never be finished
        discard_staging(final)
        raise


def _resume(staged: StagedOutput, final: SafePath, fingerprint: str) -> bool:
    """Keep the steps of an earlier attempt with the same fingerprint; return whether there are any."""
    marker = safe_path(staged.markers, _FINGERPRINT)
    if _has_content(marker, fingerprint) and not _has_links(staged.path) and not _has_links(final):
        if not staged.path.exists() and final.exists() and (staged.markers / _COMPLETE).is_file():
            final.replace(staged.path)  # the program was killed after it had renamed the output
        return staged.path.exists()
    for old in staged.markers.iterdir():
        remove(safe_path(staged.markers, old.name))
    remove(staged.path)
    write_text(marker, fingerprint)
    return False


def _has_content(marker: Path, fingerprint: str) -> bool:
    is_ours = marker.is_file() and not marker.is_symlink() and marker.stat().st_size == len(fingerprint.encode())
    return is_ours and marker.read_text(errors="replace") == fingerprint


def _has_links(path: Path) -> bool:
    """Tell whether a path is a link or contains one, through which pixels would be written."""
    return path.is_symlink() or any(
        Path(parent, name).is_symlink() for parent, folders, files in os.walk(path) for name in (*folders, *files)
    )


def discard_staging(final: SafePath) -> None:
    """Remove the markers of an output, and its unfinished files if there are any."""
    markers = markers_path(final)
    if not markers.is_symlink():
        wait_for_workers(markers, final)
    remove(markers)
    remove(partial_path(final))


def is_unfinished(final: SafePath, fingerprint: str | None = None) -> bool:
    """Tell whether an output, or the one with this fingerprint, was begun in steps and not finished."""
    markers = markers_path(final)
    if fingerprint is None:
        return markers.is_dir()
    return _has_content(markers / _FINGERPRINT, fingerprint)


def unfinished_outputs(folder: Path) -> list[SafePath]:
    """List the final paths of all outputs below a folder that were begun in steps and not finished."""
    return [
        safe_path(parent, name.removeprefix(".").removesuffix(MARKERS))
        for parent, folders, _ in _walk_outside_images(folder)
        for name in sorted(folders)
        if name.startswith(".") and name.endswith(MARKERS)
    ]


def is_temporary(path: Path) -> bool:
    """Tell by its name whether a path is a temporary file or folder of this program."""
    return path.name.startswith(".") and path.name.endswith((PARTIAL, MARKERS, LOCK))


def temporary_below(folder: Path) -> Iterator[Path]:
    """Yield the temporary files and folders below a folder; images never contain any."""
    for parent, folders, files in _walk_outside_images(folder):
        yield from (parent / name for name in sorted([*folders, *files]) if is_temporary(Path(name)))
        folders[:] = [name for name in folders if not is_temporary(Path(name))]


def remove_partials(folder: Path) -> None:
    """Remove partial files and folders that killed programs left below a folder, except those that can be resumed."""
    kept = {partial_path(final) for final in unfinished_outputs(folder)}
    for parent, folders, files in _walk_outside_images(folder):
        for name in [*folders, *files]:
            if name.startswith(".") and name.endswith(PARTIAL) and parent / name not in kept:
                remove(safe_path(parent, name))


def _walk_outside_images(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through folders, but not into images, which may have very many files."""
    for parent, folders, files in os.walk(folder):
        yield Path(parent), folders, files
        folders[:] = [name for name in folders if not name.endswith((".zarr", PARTIAL))]
