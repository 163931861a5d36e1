"""Publication: a file or folder gets its final name only when it is complete and on disk.

Invariant: whatever stands under a final name is whole. Work in progress lies beside it under a name that begins
with a dot and ends with ``.partial``; what a killed program left behind is removed before work starts again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_path(final: Path) -> Path:
    """Where something is built before it is published."""
    return final.with_name(f".{final.name}.partial")


@contextmanager
def publication(final: Path, beside: Path | None = None) -> Iterator[Path]:
    """Build something under a temporary name and publish it at the end.

    Yields the temporary path, which does not exist yet. On success it replaces `final`; on failure it is removed.

    Parameters
    ----------
    final
        The file or folder to publish.
    beside
        Work beside this path rather than beside `final`, on the same file system.
    """
    place = beside or final
    partial, aside = partial_path(place), place.with_name(f".{place.name}.old.partial")
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        _sync(partial)
        if final.is_dir() and not final.is_symlink():
            # a folder cannot be replaced in one step: the old one steps aside, whole, before it is taken apart
            _remove(aside)
            final.replace(aside)
        partial.replace(final)
        _sync_folder(final.parent)
        _remove(aside)
    except BaseException:
        _remove(partial)
        if aside.exists() and not final.exists():
            aside.replace(final)
        raise


def write_text(final: Path, text: str) -> None:
    """Publish a text file (UTF-8, LF), whole or not at all; one that says the same already is left alone."""
    if final.is_file() and final.read_bytes() == text.encode():
        return
    with publication(final) as partial:
        partial.write_bytes(text.encode())


def remove_partials(folder: Path) -> None:
    """Remove what killed programs left behind below a folder; nothing is ever built inside an image."""
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if name.startswith(".") and name.endswith(".partial"):
                _remove(Path(parent, name))
        folders[:] = [name for name in folders if not name.endswith((".zarr", ".partial"))]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file, or all files below a folder, to disk."""
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
        _sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
