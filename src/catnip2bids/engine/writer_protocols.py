"""What the engine asks of an image format. Formats follow these protocols; the engine knows none of them."""

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
    """Something that goes on in the background."""

    def result(self) -> object:
        """Wait until it is done; raises what went wrong."""


class BlockWriter(Protocol):
    """Writes the blocks of one unit, which come in order of planes, then rows."""

    def put(self, origin: Zyx, block: Array) -> PendingWrite:
        """Take a block of which the first voxel is at `origin`; it must not change until what is returned is done."""

    def finish(self) -> Mapping[str, int]:
        """Wait until everything is on disk; returns the bytes of each file that was written, by its POSIX path."""

    def stop(self) -> None:
        """Wait until nothing is written any more, whatever became of it."""


@runtime_checkable
class ImageWriter(Protocol):
    """An image format that can be written unit by unit, in any order."""

    @property
    def folder(self) -> Path:
        """Where the image is written; paths of files are below it."""

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
        """Memory for what waits to be written because voxels of it are still to come, at the most."""

    def create(self) -> None:
        """Prepare the image."""

    def open_unit(self, threads: Executor, n_threads: int) -> BlockWriter:
        """Begin to write a unit; what takes time runs on `threads`, or on `n_threads` of the format's own."""

    @property
    def remaining_bytes(self) -> int:
        """Memory for writing what no single unit decides, at the most."""

    def write_remaining_levels(self, n_threads: int) -> None:
        """Write what no single unit decides."""


Encoded = Any
"""A plane as its format encodes it; the engine does not look into it."""


class PlaneEncoder(Protocol):
    """Encodes one plane."""

    def take(self, rows: Array) -> None:
        """Take the next rows of the plane, which are only good until this returns."""

    def finish(self, copied: EncodedPlane | None) -> Encoded:
        """Return the plane, made of the rows that were taken, or of the segments of its source."""


class PlaneImage(Protocol):
    """An image format of one file that is written plane after plane."""

    @property
    def file(self) -> Path:
        """The file."""

    @property
    def kind(self) -> Kind:
        """What the values mean."""

    @property
    def copies(self) -> bool:
        """Whether the encoded segments of the source are taken over as they are."""

    @property
    def looks_at_pixels(self) -> bool:
        """Whether planes are decoded, to encode them, to make lower levels, or to learn what is in them."""

    @property
    def band_rows(self) -> int:
        """Rows that an encoder takes at a time, but for the last ones."""

    @property
    def encoded_bytes(self) -> int:
        """Memory that encoding a plane takes, at the most."""

    @property
    def header(self) -> bytes:
        """The beginning of the file."""

    def encoder(self) -> PlaneEncoder:
        """Begin to encode a plane."""

    def block(self, encoded: Encoded, plane: int, at: int) -> list[bytes | FileRange]:
        """Return the bytes of a plane, to be written at an offset of the file."""
