"""Protocols of image formats: the engine writes any format that follows them, and knows none."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from catnip2bids.enums import Kind
from catnip2bids.volume import EncodedPlane, FileRange

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]


class PendingWrite(Protocol):
    """A write that runs in the background."""

    def result(self) -> object:
        """Wait until it is done; raise its error."""


class BlockWriter(Protocol):
    """Writes the blocks of one unit, in order of planes, then rows."""

    def put(self, origin: Zyx, block: Array) -> PendingWrite:
        """Write the block whose first voxel is at `origin`; it must not change until the returned write is done."""

    def finish(self) -> Mapping[str, int]:
        """Wait until everything is on disk; returns the size of each written file in bytes, by its POSIX path."""

    def stop(self) -> None:
        """Wait until nothing is being written, successful or not."""


@runtime_checkable
class ImageWriter(Protocol):
    """An image that can be written unit by unit, in any order."""

    @property
    def folder(self) -> Path:
        """Folder of the image; paths of files are relative to it."""

    @property
    def kind(self) -> Kind:
        """What the values mean."""

    @property
    def unit_depth(self) -> int:
        """Planes of a unit; units start at multiples of it."""

    @property
    def block_shape(self) -> Zyx:
        """Planes, rows and columns of a block; blocks start at multiples of it and have all columns."""

    @property
    def waiting_bytes(self) -> int:
        """The most memory that incomplete files of lower levels take."""

    def create(self) -> None:
        """Create the image without pixels."""

    def open_unit(self, threads: Executor, n_threads: int) -> BlockWriter:
        """Start a unit; expensive work runs on `threads`, or on `n_threads` of the format's own."""

    @property
    def remaining_bytes(self) -> int:
        """The most memory that `write_remaining_levels` takes."""

    def write_remaining_levels(self, n_threads: int) -> None:
        """Write the levels that need more than one unit."""


Encoded = Any
"""A plane as its format encodes it; opaque to the engine."""


class PlaneEncoder(Protocol):
    """Encodes one plane."""

    def take(self, rows: Array) -> None:
        """Encode the next rows of the plane; their memory is reused after this returns."""

    def finish(self, copied: EncodedPlane | None) -> Encoded:
        """Return the encoded plane, made of the rows, or of the copied segments of the source."""


class PlaneImage(Protocol):
    """An image of one file that is written plane by plane."""

    @property
    def file(self) -> Path:
        """The file."""

    @property
    def kind(self) -> Kind:
        """What the values mean."""

    @property
    def copies(self) -> bool:
        """Whether the encoded segments of the source are copied."""

    @property
    def decodes(self) -> bool:
        """Whether planes are decoded: to encode or inspect them, or to make lower levels."""

    @property
    def band_rows(self) -> int:
        """Rows that an encoder takes at a time; the last band may be smaller."""

    @property
    def encoded_bytes(self) -> int:
        """The most memory that encoding a plane takes."""

    @property
    def header(self) -> bytes:
        """The first bytes of the file, before the first plane."""

    def encoder(self) -> PlaneEncoder:
        """Start to encode a plane."""

    def block(self, encoded: Encoded, plane: int, at: int) -> list[bytes | FileRange]:
        """Return the bytes of a plane, which belong at offset `at` of the file."""
