"""Units of work: planes of a volume that are read once, for all levels of the image.

Invariant: a unit owns whole files. It covers the planes from one multiple of the image's `unit_depth` to the next, and
no two units write the same file, so units run in any order, on any number of workers, and again after an interruption.
A unit is a small picklable description, and `convert_unit` is a plain function of it, which first clears the unit's
marker, and sets it last, when all files are on disk.

Blocks come in order of planes, then rows, so the hash of a plane grows row by row, and the hashed bytes are those that
are written. A few buffers are used for all blocks, because the first use of new memory takes about half as long as
decompressing into it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from threading import BoundedSemaphore
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from catnip2bids.atomic_write import remove
from catnip2bids.engine.memory import Resources, UnitMemory, divide_memory, give_back_free_memory, keeping_free_memory
from catnip2bids.engine.unit_results import PixelStatistics, UnitResult, set_marker
from catnip2bids.ome import OmeZarrImage
from catnip2bids.ome.levels import Zyx
from catnip2bids.ome.ome_zarr import UnitWriter
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import OpenPlane, Volume, little_endian_bytes
from catnip2bids.volume.plane_buffer import PlaneBuffer

Array = npt.NDArray[Any]
Item = TypeVar("Item")
Result = TypeVar("Result")

_PIECE_BYTES = 512 * 2**10
"""Rows are decoded, hashed and inspected in pieces of this size, which stay in the processor's cache."""

_TASKS_PER_THREAD = 4
"""Tasks for each thread that the planes of a block are divided into, so that all threads end at about the same time."""


class StoppedError(Exception):
    """The work was stopped from outside."""


@dataclass(frozen=True)
class WorkUnit:
    """The planes `start` to `stop` (exclusive) of a volume, to be written into an image."""

    volume: Volume
    image: OmeZarrImage
    start: int
    stop: int
    marker: SafePath | None = None  # the resume marker; None for a unit that is not resumed

    @property
    def n_voxels(self) -> int:
        """Number of voxels of the unit."""
        return (self.stop - self.start) * self.volume.shape[1] * self.volume.shape[2]


@dataclass(frozen=True)
class RemainingLevels:
    """The levels of an image to write when all units are done."""

    image: OmeZarrImage
    marker: SafePath | None = None  # which the lock of this step is named after
    n_voxels: ClassVar[int] = 0  # counted when they were read


def split_into_units(volume: Volume, image: OmeZarrImage, markers: SafePath | None = None) -> Iterator[WorkUnit]:
    """Divide a volume into the units of an image, which together cover each plane once.

    `markers` is the folder of the resume markers; None for units without markers.
    """
    n_planes, depth = volume.shape[0], image.unit_depth
    for start in range(0, n_planes, depth):
        marker = None if markers is None else safe_path(markers, f"planes-{start:06d}.json")
        yield WorkUnit(volume, image, start, min(start + depth, n_planes), marker)


def convert_unit(unit: WorkUnit, resources: Resources, on_voxels: Callable[[int], None] | None = None) -> UnitResult:
    """Read, hash and write one unit; the next block is read while others are written.

    `on_voxels` is called with the number of voxels of each block that was read; an error that it raises stops the unit.
    Raises SourceError if a plane cannot be read, or holds labels that cannot be trusted, and UsageError if the memory
    is not enough.
    """
    if on_voxels:
        on_voxels(0)  # before anything changes, in case the work has been stopped
    if unit.marker is not None:
        remove(unit.marker)
    memory, statistics = divide_memory(unit.volume, unit.image, resources), PixelStatistics(unit.image.kind)
    decoders, buffers = _threads(resources.n_threads), Buffers(memory.n_blocks, memory.block_bytes)
    writer = UnitWriter(unit.image, decoders, resources.n_threads)
    blocks = BlockReader(unit, memory, decoders, resources.n_threads).blocks(buffers, statistics)
    with keeping_free_memory(), ThreadPoolExecutor(1) as ahead:
        reading = ahead.submit(next, blocks, None)
        try:
            while (block := reading.result()) is not None:
                reading = ahead.submit(next, blocks, None)
                buffers.free_after(writer.put(block.origin, block.pixels), block.buffer)
                give_back_free_memory()
                if on_voxels:
                    on_voxels(block.pixels.size)
            files = writer.finish()
        finally:
            buffers.stop()
            reading.exception()
            blocks.close()
            writer.stop()
    result = statistics.result(files)
    if unit.marker is not None:
        set_marker(unit.marker, result)
    return result


def write_remaining_levels(
    levels: RemainingLevels, resources: Resources, on_voxels: Callable[[int], None] | None = None
) -> None:
    """Write the levels that need more than one unit, replacing existing ones."""
    if on_voxels:
        on_voxels(0)
    levels.image.write_remaining_levels(resources.n_threads)


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    """Return the threads that all units of this process share."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="decoder")


class Buffers:
    """Memory for a fixed number of blocks: one thread takes and fills buffers, another returns them when written."""

    def __init__(self, n_buffers: int, n_bytes: int) -> None:
        self._n_left, self._n_bytes = n_buffers, n_bytes
        self._returned: SimpleQueue[tuple[Array, Callable[[], None]] | None] = SimpleQueue()

    def take(self) -> Array:
        """Return a free buffer; wait for the oldest write if all are in use."""
        if self._n_left:
            self._n_left -= 1
            return np.empty(self._n_bytes, np.uint8)
        returned = self._returned.get()
        if returned is None:
            raise CancelledError
        buffer, wait = returned
        wait()
        return buffer

    def free_after(self, wait: Callable[[], None], buffer: Array) -> None:
        """Make a buffer free once its block is written; `wait` waits for that."""
        self._returned.put((buffer, wait))

    def stop(self) -> None:
        """Cancel a `take` that waits for a buffer that will not come."""
        self._returned.put(None)


@dataclass(frozen=True)
class Block:
    """Some rows of some planes."""

    origin: Zyx  # of the first voxel in the volume
    pixels: Array
    buffer: Array  # the memory of the pixels


@dataclass(frozen=True)
class BlockReader:
    """Reads the blocks of a unit."""

    unit: WorkUnit
    memory: UnitMemory
    decoders: Executor  # threads that read and decode
    n_threads: int  # of the decoders

    def blocks(self, buffers: Buffers, statistics: PixelStatistics) -> Generator[Block]:
        """Read block after block; each row is read, decoded, hashed and inspected once."""
        volume, stop = self.unit.volume, self.unit.stop
        depth, n_rows, _ = self.unit.image.block_shape
        _, n_all_rows, n_columns = volume.shape
        opened: list[OpenPlane] = []
        for first in range(self.unit.start, stop, depth):
            with ExitStack() as stack:
                # the previous planes are released only after this: planes of one file may share its unpacked bytes
                opened = self._open(range(first, min(first + depth, stop)), stack)
                planes = opened if volume.read_cost.by_rows else self._decoded(opened, stack)
                hashes = [hashlib.sha256() for _ in planes]
                for top in range(0, n_all_rows, n_rows):
                    buffer = buffers.take()
                    shape = (len(planes), min(n_rows, n_all_rows - top), n_columns)
                    block = Block((first, top, 0), np.ndarray(shape, volume.dtype, buffer), buffer)
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
                statistics.inspect(rows, self.unit.volume, first_plane + index)

        self._map(read_one, range(len(planes)))

    def _open(self, indices: range, stack: ExitStack) -> list[OpenPlane]:
        """Open planes; the stack closes them."""
        opening = [self.decoders.submit(self.unit.volume.open_plane, index) for index in indices]
        stack.callback(_close_all, opening)
        return [future.result() for future in opening]

    def _decoded(self, planes: list[OpenPlane], stack: ExitStack) -> list[OpenPlane]:
        """Decode planes that can only be decoded completely; the stack releases them."""
        volume, in_memory, folder = self.unit.volume, self.memory.slab_bytes > 0, self.unit.image.folder.parent
        _, n_rows, n_columns = volume.shape
        n_values = n_rows * n_columns
        buffer = PlaneBuffer(len(planes) * n_values, volume.dtype, in_memory=in_memory, folder=folder)
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

    def _map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Call a function for all items in the decoders' threads; after an error, wait until no call is running.

        A task has several items, because each task makes threads wait for the global lock of Python.
        """

        def work_on(task: Sequence[Item]) -> list[Result]:
            return [work(item) for item in task]

        n_items = max(math.ceil(len(items) / (_TASKS_PER_THREAD * self.n_threads)), 1)
        tasks = (items[start : start + n_items] for start in range(0, len(items), n_items))
        futures = [self.decoders.submit(work_on, task) for task in tasks]
        try:
            return [result for future in futures for result in future.result()]
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


def _close_all(opening: list[Future[OpenPlane]]) -> None:
    for future in opening:
        if not future.cancel() and future.exception() is None:
            future.result().close()
