"""Copy small source files unchanged, and find paths and names of the lab in the copies, which get published.

Invariant: a copy is the file at one moment, or does not exist. A copy with the size and time of its source is kept; a
small one only if the source also has the checksum of the copy. A damaged copy is not replaced: `verify` has to find it.
Private words are neither changed nor left out; the user is warned and decides.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENAMETOOLONG
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import atomic_output
from catnip2bids.bids.checksums import file_sha256
from catnip2bids.documents import refuse_special_file
from catnip2bids.errors import ReadError, SourceError
from catnip2bids.formatting import format_list
from catnip2bids.packaging.tasks import CopyTask
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.scanning import files_below

_BLOCK_BYTES = 2**20
_MOST_HASHED_BYTES = 2**20
_MOST_SEARCHED_BYTES = 16 * 2**20
_PATHS = re.compile(
    rb"(?<![\w./:<>-])/(?:[\w.+~@%-]+/)+[\w.+~@%-]*"  # at least one folder
    rb"|\b[A-Za-z]:[\\/](?![\\/])[\w.+~@%\\/-]+"
    rb"|\\\\[\w.-]+\\[\w.+~@%\\-]+"
)
_SHORTEST_NAME = 4
"""Shorter names of users and machines occur in too many words."""


@dataclass(frozen=True)
class Copy:
    """A source file, its copy below the dataset, and whether it was copied now."""

    file: Path
    copy: PurePosixPath
    is_new: bool


def copy_verbatim(
    task: CopyTask, dataset: Path, checksums: Mapping[str, str], *, overwrite: bool = False
) -> Iterator[Copy]:
    """Copy a file or folder with its times; yield each finished copy.

    A copy is made again only with `overwrite`, or if size, time or, of a small file, content of the source differ.
    `checksums` are those of the copies, by POSIX path below the dataset.
    """
    location = task.entry.location
    for file in files_below(location):
        copy = task.target / file.relative_to(location)
        try:
            is_new = _copy_file(file, safe_path(dataset, copy), checksums.get(copy.as_posix()), overwrite)
        except OSError as error:
            if error.errno != ENAMETOOLONG:
                raise
            what = f"cannot be copied below {dataset}: {error.strerror}"
            raise SourceError(f"{file}: {what}; give it a shorter name, or exclude it in the plan") from error
        yield Copy(file, copy, is_new)


def _copy_file(file: Path, copy: SafePath, sha256: str | None, overwrite: bool) -> bool:
    """Copy a file unless the copy is up to date; return whether it was copied."""
    refuse_special_file(file)
    with _raising_read_error(file):
        state = file.stat()
    if not overwrite and _is_current(copy, sha256, file, state):
        return False
    with atomic_output(copy) as partial:
        with partial.open("wb") as out:
            for block in _read_blocks(file):
                out.write(block)
        with _raising_read_error(file):
            state_now = file.stat()
        if _size_and_time(state_now) != _size_and_time(state):
            raise SourceError(f"{file}: changed while it was read; run again when nothing writes to it")
        os.utime(partial, ns=(state.st_atime_ns, state.st_mtime_ns))
    return True


def _is_current(copy: SafePath, sha256: str | None, file: Path, state: os.stat_result) -> bool:
    """Tell whether a file is the one that was copied: `sha256` is that of the copy, `state` that of the file."""
    if not copy.is_file() or _size_and_time(copy.stat()) != _size_and_time(state):
        return False
    if sha256 is None or state.st_size > _MOST_HASHED_BYTES:
        return True
    with _raising_read_error(file):
        return file_sha256(file) == sha256


def _size_and_time(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _read_blocks(file: Path) -> Iterator[bytes]:
    with _raising_read_error(file), file.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


@contextmanager
def _raising_read_error(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot be read: {error.strerror}; make it readable, or exclude it in the plan"
        raise ReadError(f"{file}: {what}") from error


def private_words(file: Path) -> str:
    """List the absolute paths in a text file, and the names of the user and the machine, as part of a message.

    A binary file has none, and only the first 16 MiB are read.
    """
    with file.open("rb") as opened:
        text = opened.read(_MOST_SEARCHED_BYTES)
    if b"\0" in text:
        return ""
    found = {match[0]: None for match in _PATHS.finditer(text)}
    names = [name.encode() for name in (_user(), socket.gethostname()) if len(name) >= _SHORTEST_NAME]
    found |= {name: None for name in names if re.search(rb"\b" + re.escape(name) + rb"\b", text)}
    words = [word.decode(errors="replace") for word in found]
    return f"names {format_list(words)}" if words else ""


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user id has no name
        return ""
    return "" if user == "root" else user  # root is also a name of a region
