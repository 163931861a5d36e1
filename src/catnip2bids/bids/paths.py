"""Paths that stand in documents of a dataset, which may come from anywhere: none may lead out of its folder."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from catnip2bids.errors import DatasetError


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
