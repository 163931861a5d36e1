"""The kinds of paths that can be compared, and pairing the paths in two folders.

Invariant: every file of a folder belongs to exactly one listed path: a slice folder, or itself. Skipped paths (hidden
files, leftovers of systems) are listed too, so that they are counted and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from catnip2bids.documents import refuse_special_file
from catnip2bids.errors import ReadError, SourceError, unreadable
from catnip2bids.leftovers import is_leftover, without_leftovers
from catnip2bids.paths import DEEPEST_FOLDER
from catnip2bids.volume import is_nifti, is_ome_zarr, is_tiff, plane_pages, slice_files

TABLE_ENDINGS = (".csv", ".tsv")
_VOLUME_ENDING = re.compile(r"(\.nii(\.gz)?|(\.ome)?\.(zarr|tiff?|btf))$", re.IGNORECASE)


class PathKind(StrEnum):
    """The kind of a path that may be compared."""

    SLICES = "slice folder"
    STACK = "TIFF stack"
    NIFTI = "NIfTI file"
    OME_ZARR = "OME-Zarr image"
    TABLE = "table"
    FILE = "file"
    FOLDER = "folder"
    EMPTY = "empty folder"
    UNREADABLE = "unreadable"
    HIDDEN = "hidden"
    LEFTOVER = "left behind by a system or another program"
    LOOP = "link to a folder that it is in"

    @property
    def is_volume(self) -> bool:
        """Whether it has planes."""
        return self in (PathKind.SLICES, PathKind.STACK, PathKind.NIFTI, PathKind.OME_ZARR)

    @property
    def is_skipped(self) -> bool:
        """Whether it is never compared."""
        return self in (PathKind.HIDDEN, PathKind.LEFTOVER, PathKind.LOOP)

    def is_comparable_with(self, other: PathKind) -> bool:
        """Whether two paths of these kinds can be a pair."""
        are_files = {self, other} == {PathKind.TABLE, PathKind.FILE}  # such as an atlas table as text and as CSV
        return self == other or (self.is_volume and other.is_volume) or are_files


def path_kind_of(path: Path) -> PathKind:
    """Return the kind of a path; raise SourceError if it does not exist, or cannot be read."""
    try:
        if is_ome_zarr(path):
            return PathKind.OME_ZARR
        if path.is_dir():
            return PathKind.SLICES if has_slices(path) and not others_in(path) else PathKind.FOLDER
        refuse_special_file(path)
        if not path.is_file():
            what = "is a link to nothing" if path.is_symlink() else "does not exist"
            raise SourceError(f"{path}: {what}; give a file or a folder")
        if is_tiff(path):
            return PathKind.STACK
        if is_nifti(path):
            return PathKind.NIFTI
    except OSError as error:
        raise ReadError(unreadable(path, error)) from error
    return PathKind.TABLE if path.suffix.lower() in TABLE_ENDINGS else PathKind.FILE


def has_slices(folder: Path) -> bool:
    """Tell whether the TIFF files of a folder are slices: numbered files of one page; damaged ones are ignored."""
    files = slice_files(folder)
    if not any(re.search(r"[0-9]", file.name) for file in files):
        return False
    for file in files:
        try:
            return len(plane_pages(file)) == 1
        except SourceError:
            continue
    return bool(files)


def others_in(folder: Path) -> list[Path]:
    """List what a folder holds besides slices, hidden files and leftovers of systems."""
    slices = set(slice_files(folder))
    return [path for path in sorted(folder.iterdir()) if path not in slices and _skipped(path) is None]


def _skipped(path: Path) -> PathKind | None:
    if is_leftover(path):
        return PathKind.LEFTOVER
    return PathKind.HIDDEN if path.name.startswith(".") else None


def comparable_in(folder: Path) -> dict[str, PathKind]:
    """Return the kind of everything in a folder, at any depth, by its path below the folder."""
    return {path.relative_to(folder).as_posix(): kind for path, kind in _walk(folder)}


def skipped_in(path: Path) -> dict[str, PathKind]:
    """Return the skipped paths of a folder; none of a file or an OME-Zarr image."""
    is_folder = path.is_dir() and not is_ome_zarr(path)
    return {below: kind for below, kind in comparable_in(path).items() if kind.is_skipped} if is_folder else {}


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, PathKind]]:
    if len(above) > DEEPEST_FOLDER:
        raise SourceError(f"{folder}: is more than {DEEPEST_FOLDER} folders deep; compare the folders in it")
    above |= {folder.resolve()}
    yield from ((path, kind) for path in sorted(folder.iterdir()) if (kind := _skipped(path)) is not None)
    children = others_in(folder)
    if len(above) > 1 and not any(without_leftovers(folder.iterdir())):
        yield folder, PathKind.EMPTY
    elif has_slices(folder):
        yield folder, PathKind.SLICES
    else:
        children = sorted([*children, *slice_files(folder)])
    for path in children:
        try:
            kind = path_kind_of(path)
        except SourceError:  # a broken link, or a folder without permission
            yield path, PathKind.UNREADABLE
            continue
        if path.is_dir() and path.resolve() in above:
            yield path, PathKind.LOOP
        elif kind in (PathKind.FOLDER, PathKind.SLICES):
            yield from _walk(path, above)
        else:
            yield path, kind


def pair_paths(kinds_1: dict[str, PathKind], kinds_2: dict[str, PathKind]) -> list[tuple[str, str]]:
    """Pair equal paths, and volumes whose paths differ only in their endings."""
    pairs = [
        (path, path) for path, kind in kinds_1.items() if path in kinds_2 and kind.is_comparable_with(kinds_2[path])
    ]
    paired = {path for path, _ in pairs}
    unpaired_2 = {_stem(path): path for path, kind in kinds_2.items() if path not in paired and kind.is_volume}
    for path, kind in kinds_1.items():
        if path not in paired and kind.is_volume and (other := unpaired_2.pop(_stem(path), None)) is not None:
            pairs.append((path, other))
    return pairs


def _stem(path: str) -> str:
    return _VOLUME_ENDING.sub("", path)
