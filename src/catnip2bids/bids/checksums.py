"""Checksums of all files except pixels: ``code/catnip2bids/checksums.sha256``, in the format of `sha256sum`.

Pixels have hashes of their own (`catnip2bids.bids.plane_hashes`), in any format. This file covers the rest: tables,
sidecars, texts, copies of source files, metadata inside OME-Zarr images, provenance, and the tables of plane hashes.

Invariant: files that must never change (copies, counts, cells, metadata of images, plane hashes, files of `share`) get
a checksum only when they are written, and keep it even if they are missing or packaging was killed in between, so that
packaging again does not accept damaged files. The first line is the checksum of all others.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from errno import EINVAL
from functools import cached_property
from math import inf
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import is_temporary, markers_path, remove, write_bytes
from catnip2bids.bids.dataset_paths import (
    CELLS_ENDING,
    COUNTS,
    COUNTS_ENDING,
    DERIVATIVE,
    NEUROGLANCER,
    SOURCEDATA,
    UNCOUNTED_ENDING,
)
from catnip2bids.bids.provenance import FOLDER
from catnip2bids.documents import open_without_waiting, read_bytes, read_object
from catnip2bids.enums import IMAGE_ENDINGS
from catnip2bids.errors import DatasetError, unreadable
from catnip2bids.leftovers import is_leftover
from catnip2bids.locks import FOLDER_LOCK, LOCK
from catnip2bids.paths import SafePath, leads_out, safe_path

CHECKSUMS = FOLDER / "checksums.sha256"
_FIRST_LINE = "# sha256 of all lines below: "
_DOCUMENTS = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
_OF_SAMPLE = (COUNTS_ENDING, CELLS_ENDING, UNCOUNTED_ENDING)
"""Tables of a sample, which are written again only if what they are made from has changed."""
_LONGEST_PATH = 4096
_OURS = (f"{SOURCEDATA}/", f"{FOLDER}/", f"{DERIVATIVE}/", f"{COUNTS}/", f"{NEUROGLANCER}/", "sub-")
"""Where packaging and `share` write; people may add files elsewhere."""
NOT_CHECKED = ("docs", ".git")
"""Folders of the dataset: reports are redrawn at any time, version control keeps its own checksums."""


@dataclass(frozen=True)
class Checksums:
    """The content of the file."""

    files: dict[str, str]  # sha256 of each file, by its POSIX path below the dataset
    is_intact: bool  # whether the checksum of the file itself is right

    def below(self, path: PurePosixPath) -> Sequence[str]:
        """List the files at or below a path that have checksums."""
        if (file := path.as_posix()) in self.files:
            return [file]
        after_slash = chr(ord("/") + 1)
        first, last = (bisect_left(self._sorted, file + end) for end in ("/", after_slash))
        return self._sorted[first:last]

    @cached_property
    def _sorted(self) -> Sequence[str]:
        return sorted(self.files)


def set_checksums_aside(dataset: Path, *, is_new: bool = False) -> Mapping[str, str]:
    """Rename the checksums while the dataset is being changed, and return them by POSIX path, if they are intact.

    If a killed command has renamed them already, return only those of files that were not written since. A new dataset,
    of which all files are accepted, gets an empty file.
    """
    checksums, aside = read_checksums(dataset), _aside(dataset)
    if checksums is not None:
        (dataset / CHECKSUMS).replace(aside)
        return checksums.files if checksums.is_intact else {}
    earlier = _read(aside)
    if earlier is None:
        write_bytes(aside, b"" if is_new else _FIRST_LINE.encode())
        return {}
    if not earlier.is_intact:
        return {}
    # Files with a later ctime than the rename were written by the killed command, so their old checksums do not count.
    # Damage on the disk leaves the ctime alone, so damaged files keep their checksums and are found.
    renamed_at = aside.stat().st_ctime_ns
    return {file: sha256 for file, sha256 in earlier.files.items() if not _is_newer(dataset / file, renamed_at)}


def are_set_aside(dataset: Path) -> bool:
    """Tell whether a command is changing the dataset, or was killed while it did."""
    return _aside(dataset).is_file()


def write_checksums(dataset: Path, earlier: Mapping[str, str], changed: Collection[PurePosixPath]) -> dict[str, str]:
    """Write the checksums of a dataset, and return them by POSIX path.

    `changed` are the images, copies and tables that were made or removed since `earlier`, as paths below the dataset.
    Other files that must not change keep their earlier checksums; those without one are left out, for `verify` to name.
    """
    roots, aside, since = {path.as_posix() for path in changed}, _aside(dataset), inf
    if not (dataset / NEUROGLANCER).is_dir():  # people may delete what `share` made
        roots.add(NEUROGLANCER.as_posix())
    if aside.is_file():  # files with a later ctime were written by catnip2bids
        since = aside.stat().st_ctime_ns if aside.stat().st_size else 0
    kept = {file: sha256 for file, sha256 in earlier.items() if _never_changes(file) and not _is_below(file, roots)}
    files = dict(kept)
    for file in checked_files(dataset):
        may_be_old = not (_never_changes(file) and file.startswith(_OURS)) or _is_below(file, roots)
        if file not in kept and (may_be_old or (dataset / file).stat().st_ctime_ns >= since):
            files[file] = file_sha256(dataset / file)
    text = "".join(_line(file, files[file]) for file in sorted(files))
    write_bytes(safe_path(dataset, CHECKSUMS), _bytes(f"{_FIRST_LINE}{_sha256(_bytes(text))}\n{text}"))
    remove(aside)
    return files


def read_checksums(dataset: Path) -> Checksums | None:
    """Read the checksums of a dataset; None if it has none."""
    return _read(dataset / CHECKSUMS)


def _read(path: Path) -> Checksums | None:
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatasetError(unreadable(path, error)) from error
    first, _, rest = content.partition(b"\n")
    is_intact = first == f"{_FIRST_LINE}{_sha256(rest)}".encode()
    lines = rest.decode(errors="surrogateescape").split("\n")
    files = dict(_read_line(found) for line in lines if (found := _LINE.fullmatch(line)))
    usable = {file: sha256 for file, sha256 in files.items() if not leads_out(file) and _may_be_listed(file)}
    return Checksums(usable, is_intact and len(usable) == len(lines) - 1)  # the last line ends with \n, too


def checked_files(dataset: Path) -> Iterator[str]:
    """Yield the files that have checksums, as POSIX paths below the dataset."""
    for path in _files(dataset, dataset):
        relative = path.relative_to(dataset).as_posix()
        if relative != CHECKSUMS.as_posix():
            yield relative


def file_sha256(path: Path) -> str:
    """Hash the bytes of a file; raise OSError if it cannot be read, or is a named pipe or a device."""
    with open(path, "rb", opener=open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "Not a file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(dataset: Path, folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if is_leftover(path) or (folder == dataset and entry.name in (*NOT_CHECKED, FOLDER_LOCK)):
            continue
        if is_temporary(path) and not entry.name.endswith(LOCK):  # packaging leaves no other lock behind
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _documents(path) if _is_image(path, dataset) else _files(dataset, path)
        elif (entry.is_file(follow_symlinks=False) or path.is_file()) and not _is_image(path, dataset):
            yield path


def _is_image(path: Path, dataset: Path) -> bool:
    in_source = path.relative_to(dataset).parts[0] == "sourcedata"
    return path.name.endswith(IMAGE_ENDINGS) and not in_source


def _documents(folder: Path) -> Iterator[Path]:
    """Yield the JSON files of an OME-Zarr image, without listing its arrays, which may be large."""
    yield from (path for name in _DOCUMENTS if (path := folder / name).is_file())
    if not _is_array(folder):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and not is_leftover(entry):
                yield from _documents(Path(entry.path))


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    try:
        return bool(read_object(folder / "zarr.json")["node_type"] == "array")
    except (OSError, ValueError, KeyError, DatasetError):
        return not (folder / "zarr.json").is_file() and not (folder / ".zgroup").is_file()


def _aside(dataset: Path) -> SafePath:
    return markers_path(safe_path(dataset, CHECKSUMS))


def _is_newer(path: Path, time_ns: int) -> bool:
    try:
        return path.stat().st_ctime_ns > time_ns
    except OSError:
        return False


def _never_changes(file: str) -> bool:
    folders = ("sourcedata/", f"{FOLDER}/pixels/", f"{NEUROGLANCER}/sub-")
    return file.startswith(folders) or ".ome.zarr/" in file or file.endswith(_OF_SAMPLE)


def _may_be_listed(file: str) -> bool:
    """Tell whether packaging could have listed a path; in other paths, links out of the dataset are not looked for."""
    is_normal = len(file) < _LONGEST_PATH and os.path.normpath(file) == file
    return is_normal and file.partition("/")[0] not in NOT_CHECKED


def _is_below(file: str, roots: Collection[str]) -> bool:
    return file in roots or any(parent.as_posix() in roots for parent in PurePosixPath(file).parents)


# sha256sum escapes backslashes and line ends in names, and begins such a line with a backslash
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_CHARACTERS = {escape: character for character, escape in _ESCAPES.items()}
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  ((?:[^\0/]{1,512}/){0,64}[^\0/]{1,512})")  # deeper datasets are refused


def _line(file: str, sha256: str) -> str:
    escaped = "".join(_ESCAPES.get(character, character) for character in file)
    return f"{'' if escaped == file else chr(92)}{sha256}  {escaped}\n"


def _read_line(line: re.Match[str]) -> tuple[str, str]:
    is_escaped, sha256, file = line.groups()
    return re.sub(r"\\[\\nr]", lambda found: _CHARACTERS[found[0]], file) if is_escaped else file, sha256


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
