"""Units of work: some planes of a volume, read once, from which everything is made that needs their pixels.

Invariant: each row of a source plane is read and decoded once, what is hashed is what is written, and no two units
write the same file. A unit is a small picklable description and `convert_unit` is a plain function of one, so units
run in any order on any executor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.volume import Kind, OpenPlane, Volume, label_values, little_endian_bytes, value_range

Array = npt.NDArray[Any]
Zyx = tuple[int, int, int]


class BlockWriter(Protocol):
    """Writes the blocks of one unit, which come in order of planes, then rows."""

    def put(self, origin: Zyx, block: Array) -> None:
        """Take a block of which the first voxel is at `origin`; it is not changed afterwards."""

    def finish(self) -> None:
        """Wait until everything is written."""


class ImageWriter(Protocol):
    """An image format that can be written unit by unit, in any order."""

    @property
    def kind(self) -> Kind:
        """What the values mean."""

    @property
    def unit_depth(self) -> int:
        """Planes of a unit; units start at multiples of it."""

    @property
    def block_shape(self) -> Zyx:
        """Planes, rows and columns of a block; blocks start at multiples of it and have all columns."""

    def create(self) -> None:
        """Prepare the image."""

    def open_unit(self) -> BlockWriter:
        """Begin to write a unit."""

    def write_remaining_levels(self) -> None:
        """Write what no single unit decides."""


@dataclass(frozen=True)
class Unit:
    """The planes `start` to `stop` (exclusive) of a volume, to be written into an image."""

    volume: Volume
    image: ImageWriter
    start: int
    stop: int


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
    """

    sha256: tuple[str, ...]
    value_range: tuple[float, float] | None
    labels: frozenset[int] | None


@dataclass(frozen=True)
class Resources:
    """What a unit may use.

    Attributes
    ----------
    n_threads
        Threads that read and decode.
    memory_bytes
        Memory for pixels. Less than two blocks and the open shards of lower levels is never enough.
    """

    n_threads: int
    memory_bytes: int


def cut_into_units(volume: Volume, image: ImageWriter) -> Iterator[Unit]:
    """Cut a volume into the units of an image; together they cover each plane once."""
    n_planes, depth = volume.shape[0], image.unit_depth
    for start in range(0, n_planes, depth):
        yield Unit(volume, image, start, min(start + depth, n_planes))


def convert_unit(unit: Unit, resources: Resources) -> UnitResult:
    """Read, hash and write one unit; while one block is written the next one is read.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    """
    found = _Findings(unit.image.kind)
    writer = unit.image.open_unit()
    with ThreadPoolExecutor(resources.n_threads) as decoders, ThreadPoolExecutor(1) as ahead:
        blocks = _read_blocks(unit, resources, decoders, found)
        reading = ahead.submit(next, blocks, None)
        while (block := reading.result()) is not None:
            reading = ahead.submit(next, blocks, None)
            writer.put(*block)
    writer.finish()
    return found.result()


def _read_blocks(
    unit: Unit, resources: Resources, decoders: ThreadPoolExecutor, found: _Findings
) -> Iterator[tuple[Zyx, Array]]:
    """Read the blocks of a unit in the order of planes, then rows."""
    volume, (depth, n_rows, _) = unit.volume, unit.image.block_shape
    n_all_rows = volume.shape[1]
    for first in range(unit.start, unit.stop, depth):
        planes = range(first, min(first + depth, unit.stop))
        n_bytes = len(planes) * n_all_rows * volume.shape[2] * volume.dtype.itemsize
        # a plane that can only be decoded as a whole is decoded once, if there is room for that
        at_once = n_all_rows if not volume.reads_rows and 2 * n_bytes <= resources.memory_bytes else n_rows
        with _opened(volume, planes, decoders) as opened:
            for top in range(0, n_all_rows, at_once):
                pixels = opened.read(top, min(top + at_once, n_all_rows), found.look_at)
                for inner in range(0, pixels.shape[1], n_rows):
                    yield (first, top + inner, 0), pixels[:, inner : inner + n_rows]
            found.sha256 += opened.sha256()


class _Findings:
    """Collects what is learned from the pixels."""

    def __init__(self, kind: Kind) -> None:
        self.sha256: list[str] = []
        self._kind = kind
        self._ranges: list[tuple[float, float]] = []
        self._labels: set[int] = set()

    def look_at(self, rows: Array) -> None:
        """Look at some rows of a plane; called by several threads, and adding to a list or a set is safe."""
        if (found := value_range(rows)) is not None:
            self._ranges.append(found)
        if self._kind != Kind.IMAGE:
            self._labels.update(label_values(rows))

    def result(self) -> UnitResult:
        lows, highs = [low for low, _ in self._ranges], [high for _, high in self._ranges]
        return UnitResult(
            sha256=tuple(self.sha256),
            value_range=(min(lows), max(highs)) if self._ranges else None,
            labels=None if self._kind == Kind.IMAGE else frozenset(self._labels),
        )


class _OpenSlab:
    """Some planes that are open, and the hashes of the rows that were read of them."""

    def __init__(self, planes: Sequence[OpenPlane], volume: Volume, pool: ThreadPoolExecutor) -> None:
        self._planes = planes
        self._hashes = [hashlib.sha256() for _ in planes]
        self._columns = volume.shape[2]
        self._dtype = volume.dtype
        self._pool = pool

    def read(self, top: int, bottom: int, look_at: Callable[[Array], None]) -> Array:
        """Read the rows `top` to `bottom` of all planes; rows have to come in order."""
        pixels = np.empty((len(self._planes), bottom - top, self._columns), self._dtype)

        def read_one(index: int) -> None:
            self._planes[index].read_rows(top, bottom, pixels[index])
            self._hashes[index].update(little_endian_bytes(pixels[index]))
            look_at(pixels[index])

        for _ in self._pool.map(read_one, range(len(self._planes))):
            pass
        return pixels

    def sha256(self) -> list[str]:
        """Hashes of all planes, once all rows were read."""
        return [plane_hash.hexdigest() for plane_hash in self._hashes]


@contextmanager
def _opened(volume: Volume, planes: range, pool: ThreadPoolExecutor) -> Iterator[_OpenSlab]:
    with ExitStack() as stack:
        opened = []
        for plane in pool.map(volume.open_plane, planes):
            stack.callback(plane.close)
            opened.append(plane)
        yield _OpenSlab(opened, volume, pool)
