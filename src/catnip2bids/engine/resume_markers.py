"""Resume markers: which units of an image are done, and what was learned from them.

Invariant: a marker appears in one step after all files of its unit are on disk, and is believed only as long as these
files have the sizes that it names. Markers lie beside the image, never in it, in a folder that belongs to one
fingerprint of source and settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catnip2bids.atomic_write import remove, write_text
from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError
from catnip2bids.paths import SafePath


@dataclass(frozen=True)
class UnitResult:
    """What was learned from a unit while its pixels were in memory.

    Attributes
    ----------
    sha256
        Hash of each plane.
    value_range
        Smallest and largest finite value, None where there is none.
    labels
        The values that occur in labels and masks; None for intensities.
    files
        Bytes of each file that was written, by its POSIX path below the image.
    """

    sha256: tuple[str, ...]
    value_range: tuple[float, float] | None
    labels: frozenset[int] | None
    files: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return a document for a marker."""
        return {
            "sha256": self.sha256,
            "value_range": self.value_range,
            "labels": None if self.labels is None else sorted(self.labels),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> UnitResult:
        """Read the document of a marker."""
        low_high, labels = document["value_range"], document["labels"]
        return cls(
            sha256=tuple(document["sha256"]),
            value_range=None if low_high is None else (low_high[0], low_high[1]),
            labels=None if labels is None else frozenset(labels),
            files=document["files"],
        )

    def is_on_disk(self, image: Path) -> bool:
        """Tell whether all files are there in full length."""
        try:
            return all((image / name).stat().st_size == n_bytes for name, n_bytes in self.files.items())
        except FileNotFoundError:
            return False


DAMAGED = (DatasetError, ValueError, LookupError, TypeError, AttributeError)
"""What a marker that no program of ours wrote leads to."""


@dataclass(frozen=True)
class Marker:
    """The marker of one unit; None as its path stands for a unit that is not marked."""

    path: SafePath | None

    def read(self, image: Path) -> UnitResult | None:
        """Return the result of the unit if it is done."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            result = UnitResult.from_json(read_object(self.path))
            return result if result.is_on_disk(image) else None
        except DAMAGED:  # the unit is written again
            return None

    def clear(self) -> None:
        """Take the mark away, before the unit is written again."""
        if self.path is not None:
            remove(self.path)

    def set(self, result: UnitResult) -> None:
        """Mark the unit as done; all its files are on disk."""
        if self.path is not None:
            write_text(self.path, json.dumps(result.to_json()))
