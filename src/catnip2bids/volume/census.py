"""The census: what a volume is and whether it is whole, found out from file headers before a byte is written.

Invariant: a census that has a volume and no problems describes planes that are all there, each once, all of
one shape and dtype; nothing is decoded to find this out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catnip2bids.volume.volume import Volume

SHOWN = 5
"""So many names or numbers are listed in a message."""


@dataclass(frozen=True)
class Census:
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


def listed(items: list[str], n_all: int | None = None) -> str:
    """Name the first few of `n_all` items (all that are given, without it), and how many more there are."""
    n_more = (len(items) if n_all is None else n_all) - SHOWN
    shown = ", ".join(items[:SHOWN])
    return shown if n_more <= 0 else f"{shown} and {n_more} more"
