"""Copy small source files unchanged.

Invariant: a copy is the file at one moment, or does not exist. A copy with the size and time of its source is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENAMETOOLONG
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import atomic_output
from catnip2bids.documents import refuse_special_file
from catnip2bids.errors import ReadError, SourceError
from catnip2bids.packaging.tasks import CopyTask
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.scanning import files_below

_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Copy:
    """A source file, its copy below the dataset, and whether it was copied now."""

    file: Path
    copy: PurePosixPath
    is_new: bool


def copy_verbatim(task: CopyTask, dataset: Path, *, overwrite: bool = False) -> Iterator[Copy]:
    """Copy a file or folder with its times; yield each finished copy.

    A copy is made again only with `overwrite`, or if size or time of the source differ.

    Raises
    ------
    SourceError
        If a file cannot be read, changes while it is read, or has too long a name for the file system.
    """
    location = task.entry.location
    for file in files_below(location):
        copy = task.target / file.relative_to(location)
        try:
            is_new = _copy_file(file, safe_path(dataset, copy), overwrite)
        except OSError as error:
            if error.errno != ENAMETOOLONG:
                raise
            what = f"cannot be copied below {dataset}: {error.strerror}"
            raise SourceError(f"{file}: {what}; give it a shorter name, or exclude it in the plan") from error
        yield Copy(file, copy, is_new)


def _copy_file(file: Path, copy: SafePath, overwrite: bool) -> bool:
    """Copy a file unless the copy is up to date; return whether it was copied."""
    refuse_special_file(file)
    state = _state(file)
    if not overwrite and copy.is_file() and _size_and_time(copy.stat()) == _size_and_time(state):
        return False
    with atomic_output(copy) as partial:
        with partial.open("wb") as out:
            for block in _read_blocks(file):
                out.write(block)
        if _size_and_time(_state(file)) != _size_and_time(state):
            raise SourceError(f"{file}: changed while it was read; run again when nothing writes to it")
        os.utime(partial, ns=(state.st_atime_ns, state.st_mtime_ns))
    return True


def _size_and_time(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _state(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise _read_error(file, error) from error


def _read_blocks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise _read_error(file, error) from error


def _read_error(file: Path, error: OSError) -> ReadError:
    return ReadError(f"{file}: cannot be read: {error.strerror}; make it readable, or exclude it in the plan")
