"""Read JSON, XML, tables and texts that may come from anywhere.

Invariant: only regular files of a plausible size are read, since reading a named pipe could block or never end; every
error names the file.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.paths import DEEPEST_FOLDER

MOST_BYTES = 64 * 2**20
"""The largest document that is read."""
MOST_JSON_BYTES = 16 * 2**20
"""The largest JSON file, except provenance."""
_MOST_PARTS = 1_000_000
"""The most lines, fields and values of a document. Each takes Python up to 300 bytes. A table of plane hashes may have
about 333,000 planes."""
_MOST_LINES = 200_000
"""The most lines of a table that validators read, some of which may report each line."""
_MOST_ELEMENTS = 300_000
"""OME-XML has a few elements per plane."""
_TEXT_SEPARATORS, _JSON_SEPARATORS = b"\n\t", b",:[{"
_JSON = (".json", ".zattrs", ".zarray", ".zgroup", ".zmetadata")
_TABLE, _PACKED_TABLE = ".tsv", ".tsv.gz"
_NOT_READ = ".git"
_SHOWN = 5
_PADDING_BYTES = 2**17
"""Backups pad files with fewer zeros than that, and blocks of gzip have at most 64 KiB of them."""


def read_bytes(path: Path) -> bytes:
    """Read a text or a table of a dataset.

    Raises DatasetError if it is a named pipe or a device, or implausibly large, and OSError if it cannot be read.
    """
    return _read(path, MOST_BYTES, _TEXT_SEPARATORS)


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES, most_parts: int = _MOST_PARTS) -> bytes:
    """Read a JSON file of at most so many bytes and parts (see `json_parts`), without parsing it.

    Raises the errors of `read_bytes`.
    """
    return _read(path, most_bytes, _JSON_SEPARATORS, most_parts)


def json_parts(content: bytes) -> int:
    """Count the fields and values of JSON, approximately: separators inside texts count too."""
    return _n_parts(content, _JSON_SEPARATORS)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises the errors of `read_bytes`, and ValueError if it is not valid JSON, not an object, or nested too deeply.
    """
    try:
        document = json.loads(read_json(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _read(path: Path, most_bytes: int, separators: bytes, most_parts: int = _MOST_PARTS) -> bytes:
    with open(path, "rb", opener=open_without_waiting) as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise DatasetError(f"{path}: is a named pipe or a device, not a file; remove it")
        if state.st_size > most_bytes:
            raise DatasetError(
                f"{path}: has {format_bytes(state.st_size)}, and a document of a dataset has at most "
                f"{format_bytes(most_bytes)}; bring it back from a copy"
            )
        content = file.read()
    if (n_parts := _n_parts(content, separators)) > most_parts:
        raise DatasetError(
            f"{path}: has {n_parts:,} lines, fields or values, and a document of a dataset has at most "
            f"{most_parts:,}; bring it back from a copy"
        )
    return content


def _n_parts(content: bytes, separators: bytes) -> int:
    return sum(content.count(separator) for separator in separators)


def read_xml(text: str) -> ElementTree.Element:
    """Parse an XML document; raises ParseError if it is not XML, or far too long for one image."""
    if (n_elements := text.count("<")) > _MOST_ELEMENTS:
        raise ElementTree.ParseError(f"{n_elements:,} elements, and an image needs fewer than {_MOST_ELEMENTS:,}")
    return ElementTree.fromstring(text)


def open_gzip(path: Path) -> gzip.GzipFile:
    """Open a gzip file for reading; raises the error of `refuse_padding`."""
    refuse_padding(path)
    return gzip.open(path)


def refuse_padding(path: Path) -> None:
    """Raise BadGzipFile, an OSError, if a gzip file has more zeros together than gzip writes, as a damaged copy may.

    Python's gzip skips zeros behind its data one by one, which takes eight minutes for 4 GiB.
    """
    with open(path, "rb", buffering=0, opener=open_without_waiting) as file:
        while block := file.read(_PADDING_BYTES):
            if len(block) == _PADDING_BYTES and not any(block):
                raise gzip.BadGzipFile(f"it has {format_bytes(_PADDING_BYTES)} of zeros, which gzip never writes")


def refuse_special_file(path: Path) -> None:
    """Raise SourceError if a path is a named pipe, a socket or a device."""
    if _is_special(path):
        raise SourceError(f"{path}: is a named pipe or a device, not a file; move it away, or exclude it in the plan")


def oversized(root: Path, files: Iterable[tuple[PurePosixPath, int]]) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the documents below a folder that validators cannot read in a reasonable amount of memory, and why.

    The files are given with their sizes in bytes.
    """
    for path, n_bytes in files:
        is_json, is_packed = path.name.endswith(_JSON), path.name.endswith(_PACKED_TABLE)
        if not (is_json or is_packed or path.suffix == _TABLE):
            continue
        most_bytes = MOST_JSON_BYTES if is_json else MOST_BYTES
        content = b""
        try:
            if is_packed:
                with open_gzip(root / path) as file:
                    content = file.read(most_bytes + 1)
            if max(n_bytes, len(content)) > most_bytes:
                size = f"more than {format_bytes(most_bytes)}" if is_packed else format_bytes(n_bytes)
                yield path, f"has {size}, and the validators would need many times as much memory"
                continue
            content = content or (root / path).read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            yield path, f"cannot be read: {getattr(error, 'strerror', None) or error}"
            continue
        n_parts = _n_parts(content, _JSON_SEPARATORS if is_json else b"\n")
        if n_parts > (_MOST_PARTS if is_json else _MOST_LINES):
            what = "values" if is_json else "lines"
            yield path, f"has {n_parts:,} {what}; the validators would need gigabytes of memory"


def refuse_foreign(dataset: Path) -> None:
    """Refuse a dataset with files that packaging never makes and that are dangerous to open, see `foreign`."""
    found = [f"{path}: {what}" for path, what in foreign(dataset)]
    if found:
        more = [f"and {format_count(len(found) - _SHOWN, 'more file')} like this"] if len(found) > _SHOWN else []
        raise DatasetError(*found[:_SHOWN], *more)


def foreign(dataset: Path) -> Iterator[tuple[Path, str]]:
    """Yield paths that should not be in a dataset, and why: links, pipes, devices, and folders nested too deeply.

    Links that stay inside the dataset are allowed, into ``.git`` only to files, as git-annex makes them.
    """
    root, folders = dataset.resolve(), [(dataset, 0)] if dataset.is_dir() else []
    not_read = root / _NOT_READ
    while folders:
        folder, depth = folders.pop()
        if depth > DEEPEST_FOLDER:
            yield folder, f"is more than {DEEPEST_FOLDER} folders deep; move it up"
            continue
        for entry in _listed(folder):
            path = Path(entry.path)
            if depth == 0 and entry.name == _NOT_READ and entry.is_dir(follow_symlinks=False):
                continue
            if entry.is_symlink():
                target = Path(os.path.realpath(path))  # loops raise no error
                if not target.is_relative_to(root):
                    yield path, "is a link out of the dataset; replace it by the file"
                    continue
                if target.is_dir() and (target.is_relative_to(not_read) or (target == root and not_read.is_dir())):
                    yield path, f"is a link to a folder through {_NOT_READ}, where links may lead out; replace it"
                    continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((path, depth + 1))
            elif not entry.is_file(follow_symlinks=False) and _is_special(entry):  # which most tell without a stat
                yield path, "is a named pipe or a device, not a file; remove it"


def _is_special(path: Path | os.DirEntry[str]) -> bool:
    """Tell whether a path exists and is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:  # also of a link that leads nowhere
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed: {error.strerror}; make it readable and run again") from error


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file, as `opener` of `open`; do not wait for the writer of a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
