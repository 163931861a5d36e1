"""Checksums of all files but pixels: ``code/catnip2bids/checksums.sha256``, in the form that `sha256sum` reads.

Pixels have hashes of their own (`catnip2bids.bids.pixels`), which hold whatever format they are stored in. Everything
else is here: tables, sidecars, texts, copies of source files, the metadata inside OME-Zarr images, provenance, and the
tables of plane hashes.

Invariant: what is meant never to change (copies, metadata of images, plane hashes) keeps the checksum that it had when
it was written, so that packaging again never takes damage for the truth. The first line is the checksum of all others.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catnip2bids.bids.provenance import FOLDER
from catnip2bids.errors import DatasetError
from catnip2bids.publish import is_unpublished, write_bytes

CHECKSUMS = PurePosixPath(FOLDER.as_posix()) / "checksums.sha256"
_FIRST_LINE = "# sha256 of all lines below: "
_DOCUMENTS = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
_NOT_CHECKED = ("docs", ".git")
"""Folders of the dataset: reports are made anew at any time, version control keeps its own checksums."""


@dataclass(frozen=True)
class Checksums:
    """What the file says.

    Attributes
    ----------
    files
        sha256 of each file, by its POSIX path below the dataset.
    is_intact
        Whether the checksum of the file itself is right.
    """

    files: dict[str, str]
    is_intact: bool


def take_checksums(dataset: Path) -> dict[str, str]:
    """Take the checksums away as long as the dataset is worked on; returns them, if they are there and intact."""
    there = read_checksums(dataset)
    (dataset / CHECKSUMS).unlink(missing_ok=True)
    return there.files if there and there.is_intact else {}


def write_checksums(dataset: Path, earlier: Mapping[str, str], made: Collection[PurePosixPath]) -> None:
    """Write the checksums of a dataset.

    Parameters
    ----------
    dataset
        The dataset.
    earlier
        What `take_checksums` returned.
    made
        Images, copies and tables of hashes that were made since then; of others that must not change, the earlier
        checksums stay.
    """
    roots = {path.as_posix() for path in made}
    lines = []
    for file in sorted(checked_files(dataset)):
        is_kept = _never_changes(file) and file in earlier and not _is_below(file, roots)
        lines.append(_line(file, earlier[file] if is_kept else file_sha256(dataset / file)))
    text = "".join(lines)
    write_bytes(dataset / CHECKSUMS, _bytes(f"{_FIRST_LINE}{_sha256(_bytes(text))}\n{text}"))


def read_checksums(dataset: Path) -> Checksums | None:
    """Read the checksums of a dataset; None if it has none.

    Raises
    ------
    DatasetError
        If the file is there and cannot be read.
    """
    path = dataset / CHECKSUMS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    first, _, rest = content.partition(b"\n")
    is_intact = first == f"{_FIRST_LINE}{_sha256(rest)}".encode()
    lines = rest.decode(errors="surrogateescape").split("\n")
    return Checksums(dict(_read_line(line) for line in lines if len(line) > _HASH_AND_SPACES), is_intact)


def checked_files(dataset: Path) -> Iterator[str]:
    """List the files that have checksums, as POSIX paths below the dataset."""
    for path in _files(dataset, dataset):
        relative = path.relative_to(dataset).as_posix()
        if relative != CHECKSUMS.as_posix():
            yield relative


def file_sha256(path: Path) -> str:
    """Hash the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(dataset: Path, folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if is_unpublished(path) or (folder == dataset and entry.name in _NOT_CHECKED):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _documents(path) if _is_image(path, dataset) else _files(dataset, path)
        elif entry.is_file() and not _is_image(path, dataset):
            yield path


def _is_image(path: Path, dataset: Path) -> bool:
    in_source = path.relative_to(dataset).parts[0] == "sourcedata"
    return path.name.endswith((".ome.zarr", ".ome.btf", ".ome.tif")) and not in_source


def _documents(folder: Path) -> Iterator[Path]:
    """List the documents of an OME-Zarr image, without a look into the folders of its arrays: they may be large."""
    yield from (path for name in _DOCUMENTS if (path := folder / name).is_file())
    if not _is_array(folder):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from _documents(Path(entry.path))


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    try:
        return bool(json.loads((folder / "zarr.json").read_bytes())["node_type"] == "array")
    except (OSError, ValueError, KeyError, TypeError):
        return not (folder / "zarr.json").is_file() and not (folder / ".zgroup").is_file()


def _never_changes(file: str) -> bool:
    return file.startswith(("sourcedata/", f"{FOLDER.as_posix()}/pixels/")) or ".ome.zarr/" in file


def _is_below(file: str, roots: Collection[str]) -> bool:
    return file in roots or any(parent.as_posix() in roots for parent in PurePosixPath(file).parents)


# sha256sum writes names with a backslash or a line end escaped, and a backslash before the line then
_ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"))
_HASH_AND_SPACES = 66


def _line(file: str, sha256: str) -> str:
    escaped = file
    for plain, code in _ESCAPES:
        escaped = escaped.replace(plain, code)
    return f"{'' if escaped == file else chr(92)}{sha256}  {escaped}\n"


def _read_line(line: str) -> tuple[str, str]:
    if not line.startswith("\\"):
        return line[_HASH_AND_SPACES:], line[:64]
    name, plain, index = line[_HASH_AND_SPACES + 1 :], "", 0
    codes = {code[1]: character for character, code in _ESCAPES}
    while index < len(name):
        if name[index] == "\\" and name[index + 1 : index + 2] in codes:
            plain, index = plain + codes[name[index + 1]], index + 2
        else:
            plain, index = plain + name[index], index + 1
    return plain, line[1:65]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
