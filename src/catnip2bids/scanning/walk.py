"""Walking through source folders: each folder is entered once, and links out of a folder give a warning.

Invariant: a folder that cannot be listed is an error; it is never skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from catnip2bids.errors import ReadError, SourceError
from catnip2bids.leftovers import leave_out_leftovers

_DEEPEST = 64
"""The most nested folders; runs have at most five."""


def files_below(location: Path) -> Iterator[Path]:
    """List a file itself, or all files below a folder but leftovers; links to folders are followed, but none twice."""
    if not location.is_dir():
        yield location
        return
    seen: set[Path] = set()
    for parent, folders, files in os.walk(location, followlinks=True, onerror=not_listed):
        refuse_too_deep(Path(parent), location)
        if Path(parent).resolve() in seen:
            folders.clear()
            continue
        seen.add(Path(parent).resolve())
        leave_out_leftovers(folders, files)
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files))


def refuse_too_deep(folder: Path, top: Path) -> None:
    """Refuse folders that are nested so deeply that Python cannot walk through them.

    Raises
    ------
    SourceError
        If it is more than 64 folders below the top.
    """
    if len(folder.relative_to(top).parts) > _DEEPEST:
        raise SourceError(f"{folder}: is more than {_DEEPEST} folders deep; move it up")


def not_listed(error: OSError) -> NoReturn:
    """Raise the error that `os.walk` would ignore."""
    raise ReadError(f"{error.filename}: cannot be listed: {error.strerror}; make it readable and run again") from error


def links_out_of(paths: Iterable[Path], folder: Path, what: str) -> tuple[str, ...]:
    """Return a warning if paths lead out of a folder through links, which are followed."""
    inside, leading_out = folder.resolve(), []
    for path in paths:
        target = path.resolve()
        if not target.is_relative_to(inside):
            leading_out.append(f"{path} -> {target}")
    if not leading_out:
        return ()
    first, n_more = leading_out[0], len(leading_out) - 1
    return (f"{first}: is a link out of {what}, and is followed{f'; so are {n_more} more beside it' * bool(n_more)}",)


def refuse_odd_name(path: Path) -> None:
    """Refuse a name that is not UTF-8: tables could not hold it.

    Raises
    ------
    SourceError
        If it is not UTF-8.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        shown = path.with_name(path.name.encode(errors="surrogateescape").decode(errors="replace"))
        raise SourceError(f"{shown}: has a name that is not UTF-8; rename it") from error
