"""The gate for everything that is written, renamed or deleted: paths below one folder, and nothing outside of it.

Paths stand in documents of a dataset, which may come from anywhere, and links may stand in its folders.

Invariant: a `SafePath` lies below the folder that a command writes into, and none of the folders in between is a link.
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

SafePath = NewType("SafePath", Path)
"""A path that may be written, renamed or deleted; a link that stands there is replaced or deleted itself."""


def safe_path(folder: Path, path: PurePath | str, what: str = "") -> SafePath:
    """Return the path of something below a folder that may be written, renamed or deleted.

    Parameters
    ----------
    folder
        The folder that a command writes into, as the user gave it.
    path
        A path below it.
    what
        Where the path stands, for the message.

    Raises
    ------
    DatasetError
        If the path leads out of the folder, or a folder on the way is a link.
    """
    below = inside(str(path), what or str(folder))
    for parent in reversed(below.parents[:-1]):
        if (folder / parent).is_symlink():
            raise DatasetError(
                f"{folder / parent}: is a link, and nothing is written through links; replace it by the folder"
            )
    return SafePath(folder / below)


def safe_file(file: Path) -> SafePath:
    """Return a file or folder that the user named, with its folder, to be written."""
    return safe_path(file.parent, file.name)


def beside(path: SafePath, name: str) -> SafePath:
    """Return the path of something else in the same folder."""
    return SafePath(path.with_name(file_name(name, str(path))))


def leads_out(path: str) -> bool:
    """Tell whether a POSIX path is not one below a folder: absolute, with ``..`` in front, or none at all."""
    normal = os.path.normpath(path)
    return "\0" in path or normal in ("", ".", "..") or normal.startswith(("/", "../"))


def inside(path: str, what: str) -> PurePosixPath:
    """Return a path below a folder.

    Raises
    ------
    DatasetError
        If it leads out of it; `what` says where the path stands.
    """
    if leads_out(path):
        raise DatasetError(
            f"{what}: the path {path!r} leads out of its folder; the dataset was tampered with; "
            "bring it back from a copy"
        )
    return PurePosixPath(os.path.normpath(path))


def as_on_any_system(path: str) -> str:
    """Return a path as systems compare it that tell neither case nor ways to write accents apart.

    Paths for which it is the same are one file on macOS or Windows.
    """
    return normalize("NFD", normalize("NFD", path).casefold())


def spelled_alike(paths: Iterable[str]) -> dict[str, list[str]]:
    """Find POSIX paths that are one on macOS or Windows; returns them by each path that is or is below one of them."""
    spellings: dict[str, set[str]] = {}
    everything = {path: [*map(str, PurePosixPath(path).parents[:-1]), path] for path in paths}
    for place in chain.from_iterable(everything.values()):
        spellings.setdefault(as_on_any_system(place), set()).add(place)
    return {
        path: sorted(alike)
        for path, places in everything.items()
        if len(alike := max((spellings[as_on_any_system(place)] for place in reversed(places)), key=len)) > 1
    }


def spelled_otherwise(folder: Path, path: PurePath) -> Path | None:
    """Return what stands in a folder under the name of `path` or of a folder of it but for case or accents, if so."""
    place = folder
    for name in path.parts:
        if not os.path.lexists(place / name):
            others = sorted(place.iterdir()) if place.is_dir() else []
            return next((other for other in others if as_on_any_system(other.name) == as_on_any_system(name)), None)
        place /= name
    return None


def file_name(name: str, what: str) -> str:
    """Return a name that is one, without folders.

    Raises
    ------
    DatasetError
        If it is a path.
    """
    if PurePosixPath(name).name != name or leads_out(name):
        raise DatasetError(
            f"{what}: {name!r} is not a valid file name; the dataset was tampered with; bring it back from a copy"
        )
    return name
