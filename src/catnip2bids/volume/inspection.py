"""The inspection of a volume: what it is and whether it is complete, by the headers of its files.

Invariant: an inspection with a volume and no problems describes planes that are all there, each once, all of
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
    """The result of inspecting a stored volume."""

    volume: Volume | None  # None if it cannot be read as a volume
    # files and their size on disk
    n_files: int
    n_bytes: int
    problems: tuple[str, ...] = ()  # reasons not to convert it; each names the file and says what to do
    warnings: tuple[str, ...] = ()  # the volume can be converted nevertheless


def size_on_disk(file: Path) -> int:
    """Return the size of a file in bytes; 0 for a missing file."""
    return file.stat().st_size if file.exists() else 0


def file_states(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return what identifies unchanged files: name, size in bytes, time of change in nanoseconds.

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
