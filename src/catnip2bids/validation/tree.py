"""The content of a dataset, listed once for all checks.

Invariant: every file and folder below the dataset is listed, except in version control folders (`.git`) and what
systems leave behind; links to folders are listed and not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from catnip2bids.documents import read_bytes
from catnip2bids.errors import DatasetError
from catnip2bids.leftovers import is_leftover

ROOT = PurePosixPath()
"""The dataset itself, as a relative path."""
DESCRIPTION = "dataset_description.json"
RECORDS = PurePosixPath("code/catnip2bids")
"""Provenance and tables of planes, in datasets of ours."""
IMAGE_EXTENSIONS = (".ome.zarr", ".ome.tif", ".ome.btf")
IMAGE_SUFFIXES = ("SPIM", "dseg", "mask")
CATNIP = PurePosixPath("derivatives/catnip")
"""CATNIP's results, in datasets of ours."""
COUNTS_FOLDERS = (CATNIP, PurePosixPath("derivatives/catnip-counts"))
"""Where tables of counts, cells and regions are, in either naming."""

_VERSION_CONTROL = ".git"
_SOURCE_DATA = "sourcedata"
_DERIVATIVES = "derivatives"
_LARGE_TABLES = ("counts.tsv", "sub-*_cells.tsv.gz", "sub-*_uncounted.tsv.gz")
"""Tables that may have millions of rows, as `.bidsignore` names them."""
_OPAQUE = (_SOURCE_DATA, "code", "docs")


@dataclass(frozen=True)
class Name:
    """A BIDS file name taken apart."""

    entities: Mapping[str, str]  # key and label of each entity, in the order of the name
    suffix: str  # without the extension
    extension: str  # from the first dot on


@dataclass(frozen=True)
class File:
    """A file and its size in bytes; None for a link that leads nowhere."""

    path: PurePosixPath
    n_bytes: int | None


@dataclass(frozen=True)
class Image:
    """An image of the dataset: a folder (OME-Zarr) or a file (OME-TIFF)."""

    path: PurePosixPath  # relative to the dataset
    name: Name

    @property
    def stem(self) -> PurePosixPath:
        """The path without the image's extension."""
        return self.path.with_name(self.path.name.removesuffix(self.name.extension))

    @property
    def is_zarr(self) -> bool:
        """True for OME-Zarr, False for OME-TIFF."""
        return self.name.extension == ".ome.zarr"


@dataclass(frozen=True)
class Tree:
    """The content of a dataset; all paths are relative to it and sorted."""

    root: Path
    files: tuple[File, ...]  # including those inside OME-Zarr images
    folders: tuple[PurePosixPath, ...]  # including links to folders
    folder_links: tuple[PurePosixPath, ...]  # the links among the folders

    @cached_property
    def datasets(self) -> tuple[PurePosixPath, ...]:
        """The dataset itself and the derivatives that are BIDS datasets of their own."""
        return find_datasets(self.root)

    @cached_property
    def zarrs(self) -> tuple[PurePosixPath, ...]:
        """The outermost folders whose name ends with `.zarr`, except in `sourcedata`."""
        return tuple(
            folder
            for folder in self.folders
            if folder.suffix == ".zarr"
            and folder.parts[0] != _SOURCE_DATA
            and not any(parent.suffix == ".zarr" for parent in folder.parents)
        )

    @cached_property
    def plain_files(self) -> tuple[PurePosixPath, ...]:
        """Files of the dataset proper: not in an OME-Zarr image, not in `sourcedata`, `code` or `docs`."""
        return tuple(
            file.path
            for file in self.files
            if file.path.parts[0] not in _OPAQUE and ".zarr/" not in file.path.as_posix()
        )

    @property
    def documents(self) -> Iterator[tuple[PurePosixPath, int]]:
        """Files that validators may read, and their bytes.

        They read neither tables of plane hashes, nor derivatives without a description, nor tables of counts and cells
        that a derivative has them ignore (measured with 1,000,000 lines: bids-validator-deno 3.0.2, dandi 0.81).
        """
        for file in self.files:
            if file.path.parts[0] in (_SOURCE_DATA, "code") or file.n_bytes is None:
                continue
            is_in_derivative = len(file.path.parts) > 2 and file.path.parts[0] == _DERIVATIVES
            derivative = PurePosixPath(*file.path.parts[:2])
            if is_in_derivative and derivative not in self.datasets:
                continue
            if is_in_derivative and self._ignores(derivative, file.path.name):
                continue
            yield file.path, file.n_bytes

    def _ignores(self, dataset: PurePosixPath, name: str) -> bool:
        """Tell whether a derivative has validators ignore a table, because it may be large."""
        pattern = next((pattern for pattern in _LARGE_TABLES if fnmatchcase(name, pattern)), None)
        if pattern is None:
            return False
        try:
            return pattern in read_bytes(self.root / dataset / ".bidsignore").decode(errors="replace").split("\n")
        except (OSError, DatasetError):
            return False

    @cached_property
    def images(self) -> tuple[Image, ...]:
        """All images of the dataset and its derivatives."""
        candidates = sorted((*self.zarrs, *self.plain_files))
        named = (Image(path, parse_name(path.name)) for path in candidates if path.parts[0] not in _OPAQUE)
        return tuple(
            image for image in named if image.name.suffix in IMAGE_SUFFIXES and image.name.extension in IMAGE_EXTENSIONS
        )

    def dataset_of(self, path: PurePosixPath) -> PurePosixPath:
        """Return the dataset that a file belongs to: a derivative, or the dataset itself."""
        return next((dataset for dataset in self.datasets if dataset != ROOT and dataset in path.parents), ROOT)


def read_tree(root: Path) -> Tree:
    """List everything in a dataset; raise DatasetError if a folder cannot be listed."""
    files: list[File] = []
    folders: dict[PurePosixPath, bool] = {}
    try:
        for entry in _walk(root):
            path = PurePosixPath(Path(entry.path).relative_to(root).as_posix())
            if Path(entry).is_dir():  # unlike the entry, it takes a link to itself for no folder
                folders[path] = entry.is_symlink()
            else:
                files.append(File(path, _size(entry)))
    except OSError as failure:
        raise DatasetError(
            f"{failure.filename}: cannot be listed: {failure.strerror}; make it readable and validate again"
        ) from failure
    return Tree(
        root=root,
        files=tuple(sorted(files, key=lambda file: file.path)),
        folders=tuple(sorted(folders)),
        folder_links=tuple(sorted(folder for folder, is_link in folders.items() if is_link)),
    )


def find_datasets(root: Path) -> tuple[PurePosixPath, ...]:
    """List the dataset itself and each folder in `derivatives` that has a dataset description."""
    derivatives = sorted(description.parent for description in root.glob(f"{_DERIVATIVES}/*/{DESCRIPTION}"))
    return (ROOT, *(PurePosixPath(derivative.relative_to(root).as_posix()) for derivative in derivatives))


def parse_name(name: str) -> Name:
    """Take a file name apart at its underscores, hyphens and first dot."""
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    return Name(entities, suffix, dot + extension)


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.name == _VERSION_CONTROL or is_leftover(entry):
            continue
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size
    except OSError:
        return None
