"""Read the blocks of a unit: each row of its planes is read, decoded and hashed once.

Invariant: blocks come in order of planes, then rows, so the hash of a plane grows row by row, and the hashed bytes are
those that are written. A few buffers are used for all blocks, because the first use of new memory takes about half as
long as decompressing into it.
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
"""Rows are decoded, hashed and inspected in pieces of this size, which stay in the processor's cache."""


class Buffers:
    """Memory for a fixed number of blocks: one thread takes and fills buffers, another returns them when written."""

    def __init__(self, n_buffers: int, n_bytes: int) -> None:
        self._n_left, self._n_bytes = n_buffers, n_bytes
        self._returned: SimpleQueue[tuple[Array, PendingWrite] | None] = SimpleQueue()

    def take(self) -> Array:
        """Return a free buffer; wait for the oldest write if all are in use."""
        if self._n_left:
            self._n_left -= 1
            return np.empty(self._n_bytes, np.uint8)
        returned = self._returned.get()
        if returned is None:
            raise CancelledError
        buffer, write = returned
        write.result()
        return buffer

    def free_after(self, write: PendingWrite, buffer: Array) -> None:
        """Make a buffer free once its block is written."""
        self._returned.put((buffer, write))

    def stop(self) -> None:
        """Cancel a `take` that waits for a buffer that will not come."""
        self._returned.put(None)


class PixelStatistics:
    """Plane hashes, value range and labels of some planes, collected while their pixels are in memory."""

    def __init__(self, kind: Kind) -> None:
        self.sha256: list[str] = []  # of all planes that are read completely, in order
        self._kind = kind
        self._ranges: list[tuple[float, float]] = []
        self._labels: set[int] = set()

    def inspect(self, rows: Array) -> None:
        """Inspect some rows of a plane; several threads call this, since adding to a list or set is atomic."""
        if self._kind == Kind.IMAGE:
            if (found := value_range(rows)) is not None:
                self._ranges.append(found)
            return
        labels = label_values(rows)
        self._labels.update(labels)
        self._ranges.append((float(min(labels)), float(max(labels))))

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Smallest and largest finite value; None if all are NaN or infinite."""
        if not self._ranges:
            return None
        return min(low for low, _ in self._ranges), max(high for _, high in self._ranges)

    @property
    def labels(self) -> frozenset[int] | None:
        """The values of labels and masks; None for intensities."""
        return None if self._kind == Kind.IMAGE else frozenset(self._labels)


@dataclass(frozen=True)
class Block:
    """Some rows of some planes."""

    origin: Zyx  # of the first voxel in the volume
    pixels: Array
    buffer: Array  # the memory of the pixels


@dataclass(frozen=True)
class BlockReader:
    """Reads the blocks of some planes of a volume, as an image needs them."""

    volume: Volume
    image: ImageWriter
    memory: UnitMemory
    decoders: Executor  # threads that read and decode

    def blocks(self, start: int, stop: int, buffers: Buffers, statistics: PixelStatistics) -> Generator[Block]:
        """Read the planes `start` to `stop` (exclusive), block after block."""
        depth, n_rows, _ = self.image.block_shape
        n_all_rows = self.volume.shape[1]
        opened: list[OpenPlane] = []
        for first in range(start, stop, depth):
            with ExitStack() as stack:
                # the previous planes are released only after this: planes of one file may share its unpacked bytes
                opened = self._open(range(first, min(first + depth, stop)), stack)
                planes = opened if self.volume.read_cost.by_rows else self._decoded(opened, stack)
                hashes = [hashlib.sha256() for _ in planes]
                for top in range(0, n_all_rows, n_rows):
                    buffer = buffers.take()
                    shape = (len(planes), min(n_rows, n_all_rows - top), self.volume.shape[2])
                    pixels = np.ndarray(shape, self.volume.dtype, buffer)
                    block = Block((first, top, 0), pixels, buffer)
                    self._read(planes, block, hashes, statistics)
                    yield block
                statistics.sha256 += [plane_hash.hexdigest() for plane_hash in hashes]

    def _read(
        self, planes: list[OpenPlane], block: Block, hashes: list[hashlib._Hash], statistics: PixelStatistics
    ) -> None:
        """Read the rows of a block; call this in the order of the blocks."""
        pixels, (first_plane, top, _) = block.pixels, block.origin
        piece = max(_PIECE_BYTES // pixels[0, 0].nbytes, 1)

        def read_one(index: int) -> None:
            for first in range(0, pixels.shape[1], piece):
                rows = pixels[index, first : first + piece]
                planes[index].read_rows(top + first, top + first + len(rows), rows)
                hashes[index].update(little_endian_bytes(rows))
                with adding_plane_to_errors(self.volume, first_plane + index):
                    statistics.inspect(rows)

        self._map(read_one, range(len(planes)))

    def _open(self, indices: range, stack: ExitStack) -> list[OpenPlane]:
        """Open planes; the stack closes them."""
        opening = [self.decoders.submit(self.volume.open_plane, index) for index in indices]
        stack.callback(_close_all, opening)
        return [future.result() for future in opening]

    def _decoded(self, planes: list[OpenPlane], stack: ExitStack) -> list[OpenPlane]:
        """Decode planes that can only be decoded completely; the stack releases them."""
        in_memory, folder = self.memory.slab_bytes > 0, self.image.folder.parent
        _, n_rows, n_columns = self.volume.shape
        n_values = n_rows * n_columns
        buffer = PlaneBuffer(len(planes) * n_values, self.volume.dtype, in_memory=in_memory, folder=folder)
        stack.callback(buffer.close)
        decoder_limit = BoundedSemaphore(self.memory.n_decoders)

        def decode(index: int) -> OpenPlane:
            with decoder_limit:
                buffer.fill(
                    index * n_values,
                    n_values,
                    lambda out: planes[index].read_rows(0, n_rows, out.reshape(n_rows, n_columns)),
                )
            return _BufferedPlane(buffer, index * n_values, n_columns)

        return self._map(decode, range(len(planes)))

    def _map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Call a function for all items in the decoders' threads; after an error, wait until no call is running."""
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
    """A decoded plane of `n_columns` columns in a buffer, from value number `start` on."""

    buffer: PlaneBuffer
    start: int
    n_columns: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: Array) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        values = self.buffer.get(self.start + start * self.n_columns, (stop - start) * self.n_columns)
        out[...] = values.reshape(out.shape)

    def close(self) -> None:
        """Do nothing: one buffer holds all planes and is closed separately."""


@contextmanager
def adding_plane_to_errors(volume: Volume, plane: int) -> Iterator[None]:
    """Add the plane to errors about its pixels."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{volume.plane_source(plane).path}: {format_planes([plane])} {error}") from error


def _close_all(opening: list[Future[OpenPlane]]) -> None:
    for future in opening:
        if not future.cancel() and future.exception() is None:
            future.result().close()
