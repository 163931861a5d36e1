"""The protocol of 3D images, for all formats that are read, and the result of inspecting one.

Invariant: a volume hands out whole planes, exactly as they are stored, in native byte order; it never
holds more than the planes it was asked for. Volumes are small frozen descriptions (paths and numbers), so
they can be pickled to another process or machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import SourceError
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding


@dataclass(frozen=True)
class PlaneSource:
    """Where one plane comes from: the file, and the page or index in it (0 for a slice file)."""

    path: Path
    page: int


@dataclass(frozen=True)
class ReadCost:
    """Memory for reading planes, besides the rows that are asked for."""

    # whether rows can be read one after the other; if not, planes are decoded as a whole
    by_rows: bool = True
    # held while any plane is open, such as an unpacked file or decoded chunks
    shared_bytes: int = 0
    # held by each open plane between two readings: rows that were decoded and not asked for yet
    open_bytes: int = 0
    decoding_bytes: int = 0  # for decoding a whole plane; 0 if rows can be read


@runtime_checkable
class Volume(Protocol):
    """A stored 3D image with axes (z, y, x)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files the pixels are read from."""

    @property
    def read_cost(self) -> ReadCost:
        """Memory for reading planes, besides the rows that are asked for."""

    def plane_source(self, plane: int) -> PlaneSource:
        """Return where a plane, counted from 0, is stored."""

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane, counted from 0, to read any range of its rows; it has to be closed.

        Raises
        ------
        SourceError
            If the plane has changed since the inspection. Reading raises it too, if rows cannot be read completely.
        """


@runtime_checkable
class Copyable(Protocol):
    """A volume of TIFF pages, whose encoded segments may stand in another TIFF file as they are."""

    @property
    def encoding(self) -> Encoding | None:
        """The encoding of all planes; None if they differ, or need more than the usual tags."""

    def read_encoded(self, plane: int) -> EncodedPlane:
        """Find the segments of a plane without decoding them; raises SourceError if the plane has changed."""


@dataclass(frozen=True)
class SingleFile:
    """Base class of volumes that are one file."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the file, and the index of a plane in it."""
        return PlaneSource(self.path, plane)


@dataclass(frozen=True)
class Inspection:
    """The volume that the headers of some files describe, and whether it is complete.

    If there is a volume and no problem, each plane exists exactly once, and all have the same shape and type.
    """

    volume: Volume | None  # None if it cannot be read as a volume
    # files and their size on disk
    n_files: int
    n_bytes: int
    problems: tuple[str, ...] = ()  # reasons not to convert it; each names the file and says what to do
    warnings: tuple[str, ...] = ()  # the volume can be converted nevertheless
    notes: tuple[str, ...] = ()  # worth knowing, with nothing to correct


def pixel_bytes(volume: Volume) -> int:
    """Return the bytes of all decoded pixels."""
    return math.prod(volume.shape) * volume.dtype.itemsize


def size_on_disk(file: Path) -> int:
    """Return the size of a file in bytes; 0 for a missing file."""
    return file.stat().st_size if file.exists() else 0


def file_states(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return what identifies unchanged files: name, size in bytes, time of change in nanoseconds."""
    try:
        return [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    except OSError as error:
        raise SourceError(
            f"{error.filename}: cannot be read: {error.strerror}; bring it back, or make it readable, and run again"
        ) from error


def open_planes(volume: Volume, planes: Iterable[int]) -> Iterator[OpenPlane]:
    """Yield open planes, closing each after the next one is open: planes of one file may share what was unpacked."""
    with ExitStack() as earlier:
        for index in planes:
            plane = volume.open_plane(index)
            earlier.close()
            earlier.callback(plane.close)
            yield plane


def read_planes(volume: Volume, start: int, stop: int, out: npt.NDArray[Any]) -> None:
    """Read the planes `start` to `stop` (exclusive) of a volume into `out` of shape (stop - start, y, x)."""
    for index, plane in enumerate(open_planes(volume, range(start, stop))):
        plane.read_rows(0, volume.shape[1], out[index])
