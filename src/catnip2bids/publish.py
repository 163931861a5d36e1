"""Publication: a file or folder gets its final name only when it is complete and on disk.

Invariant: whatever stands under a final name is whole. Work in progress lies beside it under a name that begins
with a dot and ends with ``.partial``. What a killed program left behind is removed before work starts again, but for
constructions: large files and folders that are built in steps, which go on where they stopped.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from catnip2bids.errors import DatasetError, NoSpaceError, ReadError, SourceError, UsageError, WriteError
from catnip2bids.locks import LOCK, wait_for_others
from catnip2bids.paths import SafePath, beside, safe_path

_PARTIAL = ".partial"
_MARKERS = ".progress"
_FINGERPRINT = "fingerprint"
_COMPLETE = "complete"
_OLD = f".old{_PARTIAL}"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
LONGEST_NAME_BYTES = 255 - len(f".{_OLD}")
"""Longer names leave no room for those of work in progress; file systems have 255 bytes."""
_LONGEST_PATH_BYTES = 4095 - (255 - LONGEST_NAME_BYTES)
"""The same for whole paths, of which Linux takes 4095 bytes."""


def keep_apart(source: Path, output: Path) -> None:
    """Refuse to write into a folder that is read, or over one that it is in.

    Raises
    ------
    UsageError
        If one of them is inside the other, or both are the same.
    """
    one, other = source.resolve(), output.resolve()
    if other.is_relative_to(one):
        raise UsageError(f"{output}: is inside {source}, which is only read; give a folder outside of it")
    if one.is_relative_to(other):
        raise UsageError(f"{output}: holds {source}, which is only read; give another folder")


def too_long(path: PurePath, folder: Path | None = None) -> str | None:
    """Say why something cannot be published under a path below a folder: its name or the path is too long; else None.

    Without a folder only the name is looked at.
    """
    if (n_bytes := len(os.fsencode(path.name))) > LONGEST_NAME_BYTES:
        return f"its name has {n_bytes} bytes, and may have {LONGEST_NAME_BYTES}"
    n_bytes = 0 if folder is None else len(os.fsencode(folder.absolute() / path))
    if n_bytes > _LONGEST_PATH_BYTES:
        return f"its path below {folder} would have {n_bytes:,} bytes, and may have {_LONGEST_PATH_BYTES:,}"
    return None


@contextmanager
def raising_write_errors(place: Path) -> Iterator[None]:
    """Turn the system's refusals to write below a place into errors that say what to do."""
    try:
        yield
    except OSError as error:
        raise write_error(Path(error.filename) if isinstance(error.filename, str) else place, error) from error


def write_error(place: Path, error: OSError, doing: str = "written") -> WriteError:
    """Return the error that names what was to be published, and says what to do."""
    kind = NoSpaceError if error.errno in _NO_SPACE else WriteError
    return kind(f"{final_path(place)}: cannot be {doing}: {error.strerror}; {_remedy(error)} and run again")


def _remedy(error: OSError) -> str:
    match error.errno:
        case number if number in _NO_SPACE:
            return "free space"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return "make the place writable, or write to another one,"
        case errno.ENAMETOOLONG:
            return "give a shorter name, or write to a place with a shorter path,"
    return "see that the disk works, or write to another one,"


def refuse_unwritable(folder: Path) -> None:
    """Refuse a folder that nothing can be written into, or that cannot be made.

    Raises
    ------
    DatasetError
        If the permissions, a read-only disk, or a file among its parents are against it, or its path is not UTF-8,
        which tensorstore needs.
    """
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{folder}: has a path that is not UTF-8; rename its folders, or write elsewhere") from error
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise DatasetError(f"{there}: is not a folder; write to another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DatasetError(
            f"{there}: cannot be written (by its permissions, or the disk is read-only); write to another folder"
        )


@contextmanager
def folder_to_write(folder: Path) -> Iterator[None]:
    """Make a folder to write into; if that comes to nothing, no new folder stays.

    Raises
    ------
    DatasetError
        If it cannot be written into.
    """
    refuse_unwritable(folder)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # the first that is not there, or not empty
            for place in new:
                place.rmdir()
        raise


def make_folder(folder: SafePath) -> None:
    """Make a folder, with those that it is in, if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)


def partial_path(final: SafePath) -> SafePath:
    """Where something is built before it is published."""
    return beside(final, f".{final.name}{_PARTIAL}")


def final_path(path: Path) -> Path:
    """Return what is built where `path` is, or the path itself if it is not work in progress."""
    for place in (*reversed(path.parents), path):
        for ending in (_OLD, _PARTIAL, _MARKERS):  # the first one ends like the second one
            if place.name.startswith(".") and place.name.endswith(ending):
                return place.with_name(place.name.removeprefix(".").removesuffix(ending))
    return path


def markers_path(final: SafePath) -> SafePath:
    """Where it is written down how far something is that is built in steps."""
    return beside(final, f".{final.name}{_MARKERS}")


@contextmanager
def publication(final: SafePath, near: SafePath | None = None) -> Iterator[SafePath]:
    """Build something under a temporary name and publish it at the end.

    Yields the temporary path, which does not exist yet. On success it replaces `final`; on failure it is removed.

    Parameters
    ----------
    final
        The file or folder to publish.
    near
        Work beside this path rather than beside `final`, on the same file system.
    """
    place = near or final
    partial = partial_path(place)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        _publish(partial, final, place)
    except BaseException:
        remove(partial)
        raise


@dataclass(frozen=True)
class Construction:
    """A file or folder that is built in steps, over several attempts if need be.

    Attributes
    ----------
    path
        What is under construction. A folder is there from the beginning, a file is not.
    markers
        A folder beside it for what is known about the steps that are done.
    """

    path: SafePath
    markers: SafePath


@contextmanager
def construction(final: SafePath, fingerprint: str, *, is_folder: bool = True) -> Iterator[Construction]:
    """Go on with the construction of a folder or a file, or begin it, and publish it at the end.

    What an earlier attempt left is kept if it has the same fingerprint, and thrown away if not. It is kept too if this
    attempt is interrupted, and thrown away if the source turns out to be bad, or what is wanted to be impossible. After
    it was published, `forget_construction` takes the markers away; until then it can be constructed again in no time.
    Callers have a lock on the dataset or on the name, so that no other program constructs the same.

    Parameters
    ----------
    final
        The folder or file to publish.
    fingerprint
        Stands for everything that decides what will be in it.
    is_folder
        Which of both it is.
    """
    under = Construction(partial_path(final), markers_path(final))
    if under.markers.is_symlink():
        raise DatasetError(f"{under.markers}: is a link, and none of ours; remove it and run again")
    under.markers.mkdir(parents=True, exist_ok=True)
    wait_for_others(under.markers, final)
    if not _take_up(under, final, fingerprint) and is_folder:
        under.path.mkdir()
    try:
        yield under
        write_text(safe_path(under.markers, _COMPLETE), "")
        wait_for_others(under.markers, final)  # one that was taken for lost may do again what is done
        _publish(under.path, final, final)
    except ReadError:
        raise  # the system's fault, not the source's
    except (SourceError, UsageError):  # it can never be finished
        forget_construction(final)
        raise


def _take_up(under: Construction, final: SafePath, fingerprint: str) -> bool:
    """Keep what an earlier attempt left, if it was to become the same; returns whether it was."""
    mark = safe_path(under.markers, _FINGERPRINT)
    if _says(mark, fingerprint) and not _has_links(under.path):
        if not under.path.exists() and final.exists() and (under.markers / _COMPLETE).is_file():
            final.replace(under.path)  # it was published, and then the program was killed
        return under.path.exists()
    for marker in under.markers.iterdir():
        remove(safe_path(under.markers, marker.name))
    remove(under.path)
    write_text(mark, fingerprint)
    return False


def _says(mark: Path, fingerprint: str) -> bool:
    is_ours = mark.is_file() and not mark.is_symlink() and mark.stat().st_size == len(fingerprint.encode())
    return is_ours and mark.read_text(errors="replace") == fingerprint


def _has_links(path: Path) -> bool:
    """Tell whether something is a link, or holds one; pixels would be written through it."""
    return path.is_symlink() or any(
        Path(parent, name).is_symlink() for parent, folders, files in os.walk(path) for name in (*folders, *files)
    )


def forget_construction(final: SafePath) -> None:
    """Take away what is left of the construction of a folder."""
    if not markers_path(final).is_symlink():
        wait_for_others(markers_path(final), final)
    remove(markers_path(final))
    remove(partial_path(final))


def is_unfinished(final: SafePath, fingerprint: str | None = None) -> bool:
    """Tell whether a construction, or the one that has a fingerprint, was begun and not finished."""
    markers = markers_path(final)
    if fingerprint is None:
        return markers.is_dir()
    return _says(markers / _FINGERPRINT, fingerprint)


def unfinished(folder: Path) -> list[SafePath]:
    """List the final names of all constructions below a folder that were not finished."""
    return [
        safe_path(parent, name.removeprefix(".").removesuffix(_MARKERS))
        for parent, folders, _ in _outside_of_images(folder)
        for name in sorted(folders)
        if name.startswith(".") and name.endswith(_MARKERS)
    ]


def write_text(final: SafePath, text: str) -> bool:
    """Publish a text file (UTF-8, LF), whole or not at all; tells whether it did not say the same already."""
    # paths may hold bytes that are no UTF-8; JSON reads them back from this
    return write_bytes(final, text.encode(errors="backslashreplace"))


def write_bytes(final: SafePath, content: bytes) -> bool:
    """Publish a small file, whole or not at all; one that has the same content already is left alone, and False."""
    if final.is_file() and final.stat().st_size == len(content) and final.read_bytes() == content:
        return False
    with publication(final) as partial:
        partial.write_bytes(content)
    return True


def publish_link(final: SafePath, to: str) -> None:
    """Make a link; nothing may stand under its name."""
    final.parent.mkdir(parents=True, exist_ok=True)
    final.symlink_to(to)


def is_unpublished(path: Path) -> bool:
    """Tell by its name whether something is work in progress, or belongs to it."""
    return path.name.startswith(".") and path.name.endswith((_PARTIAL, _MARKERS, LOCK))


def unpublished_below(folder: Path) -> Iterator[Path]:
    """Yield work in progress below a folder, by its temporary names; nothing is ever built inside an image."""
    for parent, folders, files in _outside_of_images(folder):
        yield from (parent / name for name in sorted([*folders, *files]) if is_unpublished(Path(name)))
        folders[:] = [name for name in folders if not is_unpublished(Path(name))]


def remove_partials(folder: Path) -> None:
    """Remove what killed programs left behind below a folder, but for constructions.

    Nothing is ever built inside an image.
    """
    kept = {partial_path(final) for final in unfinished(folder)}
    for parent, folders, files in _outside_of_images(folder):
        for name in [*folders, *files]:
            if name.startswith(".") and name.endswith(_PARTIAL) and parent / name not in kept:
                remove(safe_path(parent, name))


def _outside_of_images(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through folders, not into images: they may have very many files."""
    for parent, folders, files in os.walk(folder):
        yield Path(parent), folders, files
        folders[:] = [name for name in folders if not name.endswith((".zarr", _PARTIAL))]


def _publish(partial: SafePath, final: SafePath, place: SafePath) -> None:
    """Give something that is complete its final name; what stood there before makes way, beside `place`."""
    aside = beside(place, f".{place.name}{_OLD}")
    _sync(partial)
    if final.exists() and not final.is_symlink() and (final.is_dir() or partial.is_dir()):
        # a folder is not replaced in one step: the old one is renamed, whole, before it is removed
        remove(aside)
        final.replace(aside)
    try:
        partial.replace(final)
    except BaseException:
        if aside.exists() and not final.exists():
            aside.replace(final)
        raise
    _sync_folder(final.parent)
    remove(aside)


def remove(path: SafePath) -> None:
    """Remove a file or folder, if it is there; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
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
