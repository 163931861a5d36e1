"""Results of units: findings about their pixels, and the resume markers that keep them.

Invariant: a marker is written in one step after all files of its unit are on disk, and counts only while these files
have the recorded sizes. Markers lie next to the image, never in it, in a folder that belongs to one fingerprint of
source and settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from catnip2bids.atomic_write import write_text
from catnip2bids.documents import read_object
from catnip2bids.enums import Kind
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.formatting import format_planes
from catnip2bids.paths import SafePath
from catnip2bids.volume import Volume, label_values, value_range


@dataclass(frozen=True)
class UnitResult:
    """Findings about the pixels of a unit, or of a whole image, and the files that were written."""

    sha256: tuple[str, ...]  # of each plane
    value_range: tuple[float, float] | None  # smallest and largest finite value
    labels: frozenset[int] | None  # the values of labels and masks; None for intensities
    files: Mapping[str, int]  # bytes by POSIX path below the image

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of a marker."""
        return {
            "sha256": self.sha256,
            "value_range": self.value_range,
            "labels": None if self.labels is None else sorted(self.labels),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> UnitResult:
        """Read the JSON object of a marker."""
        value_range, labels = document["value_range"], document["labels"]
        return cls(
            sha256=tuple(document["sha256"]),
            value_range=None if value_range is None else (value_range[0], value_range[1]),
            labels=None if labels is None else frozenset(labels),
            files=document["files"],
        )

    def is_on_disk(self, image: Path) -> bool:
        """Return whether all files exist with their full sizes."""
        try:
            return all((image / name).stat().st_size == n_bytes for name, n_bytes in self.files.items())
        except OSError:  # also for a path that no file can have
            return False


class PixelStatistics:
    """Plane hashes, value range and labels of some planes, collected while their pixels are in memory."""

    def __init__(self, kind: Kind) -> None:
        self.sha256: list[str] = []  # of all planes that are read completely, in order
        self._kind = kind
        self._ranges: list[tuple[float, float]] = []
        self._labels: set[int] = set()

    def inspect(self, rows: npt.NDArray[Any], volume: Volume, plane: int) -> None:
        """Inspect some rows of a plane; several threads call this, since adding to a list or set is atomic."""
        try:
            if self._kind == Kind.IMAGE:
                if (found := value_range(rows)) is not None:
                    self._ranges.append(found)
                return
            labels = label_values(rows)
        except SourceError as error:
            raise SourceError(f"{volume.plane_source(plane).path}: {format_planes([plane])} {error}") from error
        self._labels.update(labels)
        self._ranges.append((float(min(labels)), float(max(labels))))

    def add(self, result: UnitResult) -> None:
        """Add the findings about the next planes."""
        self.sha256 += result.sha256
        self._labels.update(result.labels or ())
        if result.value_range is not None:
            self._ranges.append(result.value_range)

    def result(self, files: Mapping[str, int]) -> UnitResult:
        """Return all findings, with the bytes of the files that were written."""
        ends = None  # if all values are NaN or infinite
        if self._ranges:
            ends = min(low for low, _ in self._ranges), max(high for _, high in self._ranges)
        return UnitResult(
            sha256=tuple(self.sha256),
            value_range=ends,
            labels=None if self._kind == Kind.IMAGE else frozenset(self._labels),
            files=files,
        )


DAMAGED = (DatasetError, ValueError, LookupError, TypeError, AttributeError)
"""Errors that a damaged or foreign marker leads to."""


def read_marker(marker: Path | None, image: Path) -> UnitResult | None:
    """Return the result of a unit of the image if its marker is set and its files are on disk."""
    if marker is None or not marker.is_file():
        return None
    try:
        result = UnitResult.from_json(read_object(marker))
        return result if result.is_on_disk(image) else None
    except DAMAGED:  # the unit is written again
        return None


def set_marker(marker: SafePath, result: UnitResult) -> None:
    """Mark a unit as done, when all its files are on disk."""
    write_text(marker, json.dumps(result.to_json()))
