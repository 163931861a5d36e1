"""Safe paths: all that is written, renamed or deleted lies below one folder and is reached without links.

A dataset may come from anywhere: its documents may contain any path, and its folders any link.

Invariant: a `SafePath` lies below the folder that a command writes into, and no folder in between is a link.
Functions that write, rename or delete take only such paths, and only this module makes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath
from typing import NewType
from unicodedata import normalize

from catnip2bids.errors import DatasetError

DEEPEST_FOLDER = 64
"""The most nested folders that are read: runs have at most five, images at most ten."""
SafePath = NewType("SafePath", Path)
"""A path that may be written, renamed or deleted; if it is a link, the link itself is replaced or deleted."""


def safe_path(folder: Path, path: PurePath | str) -> SafePath:
    """Return a path below a folder that may be written, renamed or deleted.

    `folder` is the one that a command writes into, as the user gave it. Raises DatasetError if the path leads
    out of the folder, or a folder on the way is a link.
    """
    below = inside(str(path), str(folder))
    for parent in reversed(below.parents[:-1]):
        if (folder / parent).is_symlink():
            raise DatasetError(
                f"{folder / parent}: is a link, and nothing is written through links; replace it by the folder"
            )
    return SafePath(folder / below)


def safe_file(file: Path) -> SafePath:
    """Return a file or folder that the user named as a path that may be written."""
    return safe_path(file.parent, file.name)


def beside(path: SafePath, name: str) -> SafePath:
    """Return the path of another name in the same folder."""
    return SafePath(path.with_name(file_name(name, str(path))))


def leads_out(path: str) -> bool:
    """Tell whether a POSIX path leads out of its folder or is not a valid path below it."""
    normal = os.path.normpath(path)
    return "\0" in path or normal in ("", ".", "..") or normal.startswith(("/", "../"))


def inside(path: str, what: str) -> PurePosixPath:
    """Return a normalized path below a folder; raises DatasetError, which names the document, if it leads out."""
    if leads_out(path):
        raise DatasetError(
            f"{what}: the path {path!r} leads out of its folder; the dataset was tampered with; "
            "bring it back from a copy"
        )
    return PurePosixPath(os.path.normpath(path))


def is_within(path: Path, folder: Path) -> bool:
    """Tell whether a path, which need not exist, is a folder or below it.

    The folder may have several names, through links, mounts, or in another case where the file system ignores case.
    """
    resolved, whole = path.resolve(), folder.resolve()
    if resolved.is_relative_to(whole):
        return True
    return exists(whole) and any(parent.samefile(whole) for parent in (resolved, *resolved.parents) if exists(parent))


def file_inside(path: Path, folder: Path) -> Path | None:
    """Return a regular file, with links followed; None for all else, and where links lead out of a folder."""
    try:
        file = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return file if file.is_file() and file.is_relative_to(os.path.realpath(folder)) else None


def exists(path: Path) -> bool:
    """Tell whether a path from a document exists, which `Path.exists` does not do for names that are too long."""
    return os.path.exists(path)  # noqa: PTH110


def as_on_any_system(path: str) -> str:
    """Return a path as macOS or Windows compare it: without case, and with accents in one notation."""
    return normalize("NFD", normalize("NFD", path).casefold())


def spelled_alike(paths: Iterable[str]) -> dict[str, list[str]]:
    """Find POSIX paths, or parents of them, that are the same on macOS or Windows; return them by affected path."""
    spellings: dict[str, set[str]] = {}
    parts = {path: [*map(str, PurePosixPath(path).parents[:-1]), path] for path in paths}
    for part in chain.from_iterable(parts.values()):
        spellings.setdefault(as_on_any_system(part), set()).add(part)
    return {
        path: sorted(alike)
        for path, of_path in parts.items()
        if len(alike := max((spellings[as_on_any_system(part)] for part in reversed(of_path)), key=len)) > 1
    }


def spelled_otherwise(folder: Path, path: PurePath) -> Path | None:
    """Return an existing path that is spelled differently here, but is the same as `path` on macOS or Windows."""
    parent = folder
    for name in path.parts:
        if not os.path.lexists(parent / name):
            others = sorted(parent.iterdir()) if parent.is_dir() else []
            return next((other for other in others if as_on_any_system(other.name) == as_on_any_system(name)), None)
        parent /= name
    return None


def file_name(name: str, what: str) -> str:
    """Return a file name; raises DatasetError if it is a path, or not a valid name."""
    if PurePosixPath(name).name != name or leads_out(name):
        raise DatasetError(
            f"{what}: {name!r} is not a valid file name; the dataset was tampered with; bring it back from a copy"
        )
    return name
