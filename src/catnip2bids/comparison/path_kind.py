"""What a folder holds that can be compared, and which of it belongs together.

Invariant: every file of a folder is part of exactly one thing: of a slice series, or a thing of its own. What is not
compared (hidden things, leftovers of systems) is a thing, too, so that it is counted and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from catnip2bids.errors import ReadError, SourceError
from catnip2bids.file_types import refuse_special_file
from catnip2bids.leftovers import is_leftover, without_leftovers
from catnip2bids.volume import is_nifti, is_ome_zarr, is_tiff, plane_pages, slice_files

_TABLES = (".csv", ".tsv")
_VOLUME_ENDING = re.compile(r"(\.nii(\.gz)?|(\.ome)?\.(zarr|tiff?|btf))$", re.IGNORECASE)


class PathKind(StrEnum):
    """What can be compared."""

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
        """Whether it is not compared, wherever it is."""
        return self in (PathKind.HIDDEN, PathKind.LEFTOVER, PathKind.LOOP)


def path_kind_of(path: Path) -> PathKind:
    """Tell what is at a path.

    Raises
    ------
    SourceError
        If nothing is there, or it cannot be read.
    """
    try:
        return _thing_at(path)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; make it readable and run again") from error


def _thing_at(path: Path) -> PathKind:
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
    return PathKind.TABLE if path.suffix.lower() in _TABLES else PathKind.FILE


def has_slices(folder: Path) -> bool:
    """Tell whether the TIFF files of a folder are slices: numbered files of one page; damaged ones are passed over."""
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
    """List what is in a folder besides its slices; what is hidden, or what systems leave behind, is left out."""
    slices = set(slice_files(folder))
    return [path for path in sorted(folder.iterdir()) if path not in slices and _skipped(path) is None]


def _skipped(path: Path) -> PathKind | None:
    if is_leftover(path):
        return PathKind.LEFTOVER
    return PathKind.HIDDEN if path.name.startswith(".") else None


def comparable_in(folder: Path) -> dict[str, PathKind]:
    """List everything in a folder, at any depth, by its path below it."""
    return {path.relative_to(folder).as_posix(): thing for path, thing in _walk(folder)}


def skipped_in(path: Path) -> dict[str, PathKind]:
    """List what is not compared of a folder; nothing of a file or an OME-Zarr image."""
    is_folder = path.is_dir() and not is_ome_zarr(path)
    return {below: thing for below, thing in comparable_in(path).items() if thing.is_skipped} if is_folder else {}


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, PathKind]]:
    above |= {folder.resolve()}
    yield from ((path, thing) for path in sorted(folder.iterdir()) if (thing := _skipped(path)) is not None)
    children = others_in(folder)
    if len(above) > 1 and not any(without_leftovers(folder.iterdir())):
        yield folder, PathKind.EMPTY
    elif has_slices(folder):
        yield folder, PathKind.SLICES
    else:
        children = sorted([*children, *slice_files(folder)])
    for path in children:
        try:
            thing = path_kind_of(path)
        except SourceError:  # a link that leads nowhere, a folder that may not be read
            yield path, PathKind.UNREADABLE
            continue
        if path.is_dir() and path.resolve() in above:
            yield path, PathKind.LOOP
        elif thing in (PathKind.FOLDER, PathKind.SLICES):
            yield from _walk(path, above)
        else:
            yield path, thing


def pair_paths(things_1: dict[str, PathKind], things_2: dict[str, PathKind]) -> list[tuple[str, str]]:
    """Pair what has the same path, and volumes that have the same path but for an ending."""
    pairs = [(path, path) for path, thing in things_1.items() if _comparable(thing, things_2.get(path))]
    paired = {path for path, _ in pairs}
    rest_2 = {_stem(path): path for path, thing in things_2.items() if path not in paired and thing.is_volume}
    for path, thing in things_1.items():
        if path not in paired and thing.is_volume and (other := rest_2.pop(_stem(path), None)) is not None:
            pairs.append((path, other))
    return pairs


def _comparable(thing_1: PathKind, thing_2: PathKind | None) -> bool:
    return thing_2 is not None and (thing_1 == thing_2 or (thing_1.is_volume and thing_2.is_volume))


def _stem(path: str) -> str:
    return _VOLUME_ENDING.sub("", path)
