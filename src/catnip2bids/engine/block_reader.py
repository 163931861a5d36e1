"""The blocks of a unit, read from its planes: each row is read, decoded and hashed once.

Invariant: blocks come in the order of planes, then rows, so a plane's hash grows row by row and what is hashed is
what is handed out. Blocks lie in a few buffers that are used again and again: touching fresh memory takes the system
about half as long as decompressing into it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import BoundedSemaphore
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from catnip2bids.engine.memory import UnitMemory
from catnip2bids.engine.writer_protocols import ImageWriter, PendingWrite, Zyx
from catnip2bids.enums import Kind
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_planes
from catnip2bids.volume import OpenPlane, Volume, label_values, little_endian_bytes, value_range
from catnip2bids.volume.plane_buffer import PlaneBuffer

Array = npt.NDArray[Any]
Item = TypeVar("Item")
Result = TypeVar("Result")

_PIECE_BYTES = 512 * 2**10
"""Rows of a plane are decoded, then hashed and looked at, in pieces that are still in the processor's cache by then."""


class Buffers:
    """Memory for a fixed number of blocks, which one thread fills and another one lends to the writers."""

    def __init__(self, n_buffers: int, n_bytes: int) -> None:
        self._n_left, self._n_bytes = n_buffers, n_bytes
        self._lent: SimpleQueue[tuple[Array, PendingWrite] | None] = SimpleQueue()

    def take(self) -> Array:
        """Return a buffer that nobody uses any more; waits for the one that was lent first."""
        if self._n_left:
            self._n_left -= 1
            return np.empty(self._n_bytes, np.uint8)
        lent = self._lent.get()
        if lent is None:
            raise CancelledError
        buffer, user = lent
        user.result()
        return buffer

    def lend(self, buffer: Array, user: PendingWrite) -> None:
        """Leave a buffer to somebody until they are done."""
        self._lent.put((buffer, user))

    def stop(self) -> None:
        """Let nobody wait any more for buffers that will not come."""
        self._lent.put(None)


class PixelStatistics:
    """What is learned from the pixels of a unit while they are in memory.

    Attributes
    ----------
    sha256
        Hashes of the planes that were read to their ends, in order.
    """

    def __init__(self, kind: Kind) -> None:
        self.sha256: list[str] = []
        self._kind = kind
        self._ranges: list[tuple[float, float]] = []
        self._labels: set[int] = set()

    def look_at(self, rows: Array) -> None:
        """Look at some rows of a plane; called by several threads, and adding to a list or a set is safe."""
        if self._kind == Kind.IMAGE:
            if (found := value_range(rows)) is not None:
                self._ranges.append(found)
            return
        labels = label_values(rows)
        self._labels.update(labels)
        self._ranges.append((float(min(labels)), float(max(labels))))

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Smallest and largest finite value; None where there is none."""
        if not self._ranges:
            return None
        return min(low for low, _ in self._ranges), max(high for _, high in self._ranges)

    @property
    def labels(self) -> frozenset[int] | None:
        """Values that occur in labels and masks; None for intensities."""
        return None if self._kind == Kind.IMAGE else frozenset(self._labels)


@dataclass(frozen=True)
class Block:
    """Some rows of some planes.

    Attributes
    ----------
    origin
        The first voxel (z, y, x) in the volume.
    pixels
        The voxels.
    buffer
        The memory they lie in.
    """

    origin: Zyx
    pixels: Array
    buffer: Array


@dataclass(frozen=True)
class BlockReader:
    """Reads the blocks of some planes of a volume.

    Attributes
    ----------
    volume, image
        From where, and for what.
    portions
        How memory is divided.
    decoders
        Threads that read and decode.
    """

    volume: Volume
    image: ImageWriter
    portions: UnitMemory
    decoders: Executor

    def blocks(self, start: int, stop: int, buffers: Buffers, findings: PixelStatistics) -> Generator[Block]:
        """Read the planes `start` to `stop` (exclusive), block after block."""
        depth, n_rows, _ = self.image.block_shape
        n_all_rows = self.volume.shape[1]
        opened: list[OpenPlane] = []
        for first in range(start, stop, depth):
            with ExitStack() as stack:
                # those of the block before are let go of only now: planes of one file may share what was unpacked of it
                opened = self._open(range(first, min(first + depth, stop)), stack)
                planes = opened if self.volume.read_cost.by_rows else self._decoded(opened, stack)
                hashes = [hashlib.sha256() for _ in planes]
                for top in range(0, n_all_rows, n_rows):
                    buffer = buffers.take()
                    shape = (len(planes), min(n_rows, n_all_rows - top), self.volume.shape[2])
                    pixels = np.ndarray(shape, self.volume.dtype, buffer)
                    block = Block((first, top, 0), pixels, buffer)
                    self._read(planes, block, hashes, findings)
                    yield block
                findings.sha256 += [plane_hash.hexdigest() for plane_hash in hashes]

    def _read(
        self, planes: list[OpenPlane], block: Block, hashes: list[hashlib._Hash], findings: PixelStatistics
    ) -> None:
        """Read the rows of a block; blocks have to come in order."""
        pixels, (first_plane, top, _) = block.pixels, block.origin
        piece = max(_PIECE_BYTES // pixels[0, 0].nbytes, 1)

        def read_one(index: int) -> None:
            for first in range(0, pixels.shape[1], piece):
                rows = pixels[index, first : first + piece]
                planes[index].read_rows(top + first, top + first + len(rows), rows)
                hashes[index].update(little_endian_bytes(rows))
                with adding_plane_to_errors(self.volume, first_plane + index):
                    findings.look_at(rows)

        self._on_all(read_one, range(len(planes)))

    def _open(self, indices: range, stack: ExitStack) -> list[OpenPlane]:
        """Open planes; the stack closes them."""
        opening = [self.decoders.submit(self.volume.open_plane, index) for index in indices]
        stack.callback(_close_all, opening)
        return [future.result() for future in opening]

    def _decoded(self, planes: list[OpenPlane], stack: ExitStack) -> list[OpenPlane]:
        """Decode planes that can only be decoded as a whole, and keep them until the stack closes."""
        in_memory, folder = self.portions.slab_bytes > 0, self.image.folder.parent
        _, n_rows, n_columns = self.volume.shape
        n_values = n_rows * n_columns
        buffer = PlaneBuffer(len(planes) * n_values, self.volume.dtype, in_memory=in_memory, folder=folder)
        stack.callback(buffer.close)
        decoding = BoundedSemaphore(self.portions.n_decoders)

        def decode(index: int) -> OpenPlane:
            with decoding:
                buffer.fill(
                    index * n_values,
                    n_values,
                    lambda out: planes[index].read_rows(0, n_rows, out.reshape(n_rows, n_columns)),
                )
            return _BufferedPlane(buffer, index * n_values, n_columns)

        return self._on_all(decode, range(len(planes)))

    def _on_all(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Do something for all items in the decoders' threads; after an error nothing of it goes on."""
        futures = [self.decoders.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            for future in futures:
                if not future.cancelled():
                    future.exception()


@dataclass(frozen=True)
class _BufferedPlane:
    """A decoded plane of `n_columns` columns, whose values begin at number `start` of a buffer."""

    buffer: PlaneBuffer
    start: int
    n_columns: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: Array) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        values = self.buffer.get(self.start + start * self.n_columns, (stop - start) * self.n_columns)
        out[...] = values.reshape(out.shape)

    def close(self) -> None:
        """Do nothing: the buffer is closed as a whole."""


@contextmanager
def adding_plane_to_errors(volume: Volume, plane: int) -> Iterator[None]:
    """Name the plane in errors that say what is wrong with its pixels."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{volume.plane_source(plane).path}: {format_planes([plane])} {error}") from error


def _close_all(opening: list[Future[OpenPlane]]) -> None:
    for future in opening:
        if not future.cancel() and future.exception() is None:
            future.result().close()
