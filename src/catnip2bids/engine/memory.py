"""How much memory may be used, and what that leads to.

Invariant: what a unit holds at a time is a sum that is known beforehand, from the shapes of volume and image alone,
and it is kept within the share of memory that the unit was given.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cache

from catnip2bids.engine.system_limits import memory_limits
from catnip2bids.engine.writer_protocols import ImageWriter, PlaneImage
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_bytes, format_bytes_up, format_count
from catnip2bids.volume import ReadCost, Volume

_MOST_BYTES = 8 * 2**30
OVERHEAD_BYTES = 128 * 2**20
"""What Python and the libraries hold before the first pixel is read (measured: 65 to 100 MiB), and some to spare."""
USABLE_BY_WORKERS = 0.7
"""Dask pauses workers at four fifths of their memory, and kills them a little above that."""
MOST_BLOCKS = 3
"""More blocks at a time do not make it faster: one is read and two are written."""
_COMFORTABLE_BLOCKS = 2
"""With so many blocks at a time each unit reads and writes at the same time."""
_PLANES_PER_THREAD = 2
"""So many planes are prepared ahead of the one that is written."""
_WRITING = 2.4
# A block that is written is in memory as it is, encoded (as large, if it cannot be compressed), and as part of lower
# levels (an eighth to a quarter, and half as much again while those are encoded).
_WRITING_LEAST, _WAITING_LEAST = 1.8, 1.5
# The least that has to be there, with one block at a time, counts on pixels that can be compressed to half. Noise may
# take a tenth more than the memory that was given then.
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # glibc's malloc.h
_LARGEST_SMALL_BYTES = 8 * 2**20  # chunks and their encoded forms are smaller, blocks and shards are larger
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class Resources:
    """What may be used for some work.

    Attributes
    ----------
    n_threads
        Threads that read, decode and merge; formats encode with as many. On a cluster, the threads of all workers.
    memory_bytes
        Memory for pixels; on a cluster, of one of these threads.
    executor
        The cluster; None for threads of this process.
    """

    n_threads: int
    memory_bytes: int
    executor: Executor | None = None


@dataclass(frozen=True)
class UnitMemory:
    """How a unit divides its memory.

    Attributes
    ----------
    block_bytes
        A block of pixels.
    waiting_bytes
        Unfinished shards of lower levels.
    remaining_bytes
        The levels that are written when all units are done.
    reading
        What reading the volume takes.
    depth
        Planes of a block, which are open at the same time.
    slab_bytes
        The planes of one block as a whole, where they are kept in memory; else 0.
    n_blocks
        Blocks that are there at a time. With one, reading and writing take turns.
    n_decoders
        Threads that decode planes at the same time.
    """

    block_bytes: int
    waiting_bytes: int
    remaining_bytes: int
    reading: ReadCost
    depth: int
    slab_bytes: int
    n_blocks: int
    n_decoders: int

    @property
    def total_bytes(self) -> int:
        """Everything together, at the most."""
        held = self.reading.shared_bytes + self.depth * self.reading.open_bytes + self.slab_bytes
        held += self.n_decoders * self.reading.decoding_bytes
        if self.n_blocks == 1:
            held += int(_WRITING_LEAST * self.block_bytes + _WAITING_LEAST * self.waiting_bytes)
        else:
            held += int(self.block_bytes * (1 + _WRITING * (self.n_blocks - 1))) + 2 * self.waiting_bytes
        return max(held, self.remaining_bytes)

    @property
    def is_comfortable(self) -> bool:
        """Whether more memory would make it hardly faster."""
        return self.n_blocks >= _COMFORTABLE_BLOCKS

    def __str__(self) -> str:
        """Say it to people."""
        return f"{format_count(self.n_blocks, 'block')} of up to {format_bytes(self.block_bytes)} each"


@dataclass(frozen=True)
class PlaneMemory:
    """How the memory is divided for an image that is written plane after plane.

    Attributes
    ----------
    plane_bytes
        What a plane takes, from reading it to writing it.
    shared_bytes
        What the source holds in memory itself.
    n_planes
        Planes that are there at a time.
    n_threads
        Threads that prepare planes.
    """

    plane_bytes: int
    shared_bytes: int
    n_planes: int
    n_threads: int

    @property
    def total_bytes(self) -> int:
        """Everything together, at the most."""
        return self.shared_bytes + self.n_planes * self.plane_bytes

    @property
    def is_comfortable(self) -> bool:
        """Whether more memory would make it hardly faster."""
        return self.n_planes > self.n_threads

    def __str__(self) -> str:
        """Say it to people."""
        return f"{format_count(self.n_planes, 'plane')} of up to {format_bytes(self.plane_bytes)} each"


def divide_memory(volume: Volume, image: ImageWriter, resources: Resources) -> UnitMemory:
    """Decide how a unit works within its memory: the fastest way that fits.

    Raises
    ------
    UsageError
        If no way fits.
    """
    _, n_rows, n_columns = volume.shape
    least = _least(volume, image)
    slab_bytes = 0 if volume.read_cost.by_rows else least.depth * n_rows * n_columns * volume.dtype.itemsize
    ways = [
        replace(least, n_blocks=n_blocks, n_decoders=n_decoders, slab_bytes=slab)
        for slab in (slab_bytes, 0)
        for n_decoders in sorted({resources.n_threads, 1}, reverse=True)
        for n_blocks in range(MOST_BLOCKS, 0, -1)
    ]
    for way in ways:
        if way.total_bytes <= resources.memory_bytes:
            return way
    raise UsageError(
        f"{image.folder.name}: planes of {n_columns} x {n_rows} pixels need at least "
        f"{format_bytes_up(least.total_bytes + OVERHEAD_BYTES)} of memory; give more with --memory"
    )


def _least(volume: Volume, image: ImageWriter) -> UnitMemory:
    """Return the way that takes the least memory."""
    (n_planes, n_rows, n_columns), (depth, rows, _) = volume.shape, image.block_shape
    depth, rows = min(depth, n_planes), min(rows, n_rows)
    return UnitMemory(
        block_bytes=depth * rows * n_columns * volume.dtype.itemsize,
        waiting_bytes=image.waiting_bytes,
        remaining_bytes=image.remaining_bytes,
        reading=volume.read_cost,
        depth=depth,
        slab_bytes=0,
        n_blocks=1,
        n_decoders=1,
    )


def needed_bytes(volume: Volume, image: ImageWriter | PlaneImage) -> int:
    """Return the least memory of a process that converts a volume with one thread."""
    if isinstance(image, ImageWriter):
        return _least(volume, image).total_bytes + OVERHEAD_BYTES
    shared_bytes = volume.read_cost.shared_bytes if image.looks_at_pixels else 0
    return _bytes_of_plane(volume, image) + shared_bytes + OVERHEAD_BYTES


def worker_bytes(process_bytes: int) -> int:
    """Return the memory limit that a Dask worker of one thread needs, to use so much."""
    return math.ceil(process_bytes / USABLE_BY_WORKERS)


def divide_memory_by_planes(volume: Volume, image: PlaneImage, resources: Resources) -> PlaneMemory:
    """Decide how many planes are in memory at a time.

    Raises
    ------
    UsageError
        If not a single one fits.
    """
    n_bytes = _bytes_of_plane(volume, image)
    shared_bytes = volume.read_cost.shared_bytes if image.looks_at_pixels else 0
    n_fitting = (resources.memory_bytes - shared_bytes) // n_bytes
    if n_fitting < 1:
        needed = format_bytes_up(n_bytes + shared_bytes + OVERHEAD_BYTES)
        raise UsageError(f"{image.file.name}: its planes need at least {needed} of memory; give more with --memory")
    n_planes = min(n_fitting, _PLANES_PER_THREAD * resources.n_threads + 1, volume.shape[0])
    return PlaneMemory(n_bytes, shared_bytes, n_planes, resources.n_threads)


def _bytes_of_plane(volume: Volume, image: PlaneImage) -> int:
    n_bytes = image.encoded_bytes
    if image.looks_at_pixels:
        n_bytes += volume.read_cost.decoding_bytes + volume.read_cost.open_bytes
        if not volume.read_cost.by_rows:
            n_bytes += math.prod(volume.shape[1:]) * volume.dtype.itemsize  # the plane out of which bands are cut
    return n_bytes


def keep_free_memory_together() -> None:
    """Let the C library keep free memory in two places only, and none of arrays, as far as it can be told.

    glibc has eight places for each processor by default, and encoding in many threads leaves holes in all of them:
    that takes half as much memory again as is used.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_SMALL_BYTES)


def give_back_free_memory() -> None:
    """Give memory that the C library keeps for later back to the system (a few milliseconds)."""
    malloc_trim = getattr(_c_library(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def default_memory_bytes() -> int:
    """Return a quarter of the memory of the machine, or of the job if that has less, at most 8 GiB."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(min([machine_bytes, *memory_limits()]) // 4, _MOST_BYTES)


def parse_bytes(text: str) -> int:
    """Read a size such as ``2GiB``, ``512 MiB``, ``1.5G`` or ``800000000``.

    Raises
    ------
    UsageError
        If it is not such a size, or zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?)B?\s*", text)
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"{text!r} is not a valid size; write for example 512MiB or 2GiB")
    n_bytes = int(float(match[1]) * _UNITS[match[2]])
    if n_bytes == 0:
        raise UsageError(f"{text!r} is not a valid size: zero; write for example 512MiB or 2GiB")
    return n_bytes
