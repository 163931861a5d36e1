"""The gate for everything that is written, renamed or deleted: paths below one folder, and nothing outside of it.

Paths stand in documents of a dataset, which may come from anywhere, and links may stand in its folders.

Invariant: a `SafePath` lies below the folder that a command writes into, and none of the folders in between is a link.
Functions that write, rename or delete take only such paths, and only this module makes them.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath
from typing import NewType

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
