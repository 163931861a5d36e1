"""The census: what a volume is and whether it is whole, found out from file headers before a byte is written.

Invariant: a census that has a volume and no problems describes planes that are all there, each once, all of
one shape and dtype; nothing is decoded to find this out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.errors import SourceError
from catnip2bids.volume.volume import Volume


@dataclass(frozen=True)
class Inspection:
    """The result of looking at one stored volume.

    Attributes
    ----------
    volume
        The volume, or None where it cannot be read as one.
    n_files, n_bytes
        Files looked at and their size on disk.
    problems
        Reasons not to convert it; each names the file and says what to do.
    warnings
        Things to know that do not stand in the way.
    """

    volume: Volume | None
    n_files: int
    n_bytes: int
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def size_on_disk(file: Path) -> int:
    """Size of a file in bytes; one that is not there has none."""
    return file.stat().st_size if file.exists() else 0


def file_states(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return what tells whether files are still the same: name, size in bytes, time of change in nanoseconds.

    Raises
    ------
    SourceError
        If one is not there any more.
    """
    try:
        return [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    except OSError as error:
        raise SourceError(
            f"{error.filename}: cannot be read: {error.strerror}; bring it back, or make it readable, and run again"
        ) from error
