"""Divide the memory: which buffers a unit can afford, and how many.

Invariant: the memory of a unit is a sum that follows from the shapes of volume and image, is known before the unit
starts, and fits into the unit's share.
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
"""Memory of Python and the libraries before the first pixel is read (measured: 65 to 100 MiB), with a margin."""
USABLE_BY_WORKERS = 0.7
"""Dask pauses workers at four fifths of their memory, and kills them soon after."""
MOST_BLOCKS = 3
"""More blocks in memory are not faster: one is read while two are written."""
_ENOUGH_BLOCKS = 2
"""With two blocks in memory a unit reads and writes at the same time."""
_PLANES_PER_THREAD = 2
"""Planes prepared ahead of the one that is written."""
# While a block is written, memory holds its pixels, their encoded form (of the same size if they cannot be compressed),
# and its part of the lower levels (an eighth to a quarter, and half of that again while they are encoded).
_WRITING = 2.4
# The smallest possible memory, with one block at a time, assumes pixels that can be compressed to half. With noise, the
# process may then take a tenth more than allowed.
_WRITING_LEAST, _WAITING_LEAST = 1.8, 1.5
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # glibc's malloc.h
_LARGEST_SMALL_BYTES = 8 * 2**20  # larger than encoded chunks, smaller than blocks and shards
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class Resources:
    """Threads and memory that some work may use."""

    n_threads: int  # they read, decode and merge, and formats encode with as many; on a cluster, of all workers
    memory_bytes: int  # for pixels; on a cluster, of one thread
    executor: Executor | None = None  # the cluster; None for threads of this process


@dataclass(frozen=True)
class UnitMemory:
    """How a unit divides its memory."""

    block_bytes: int
    waiting_bytes: int  # incomplete shards of lower levels
    remaining_bytes: int  # for the levels that are written when all units are done
    reading: ReadCost
    depth: int  # planes of a block, which are open at the same time
    slab_bytes: int  # the whole planes of one block if they are kept in memory, else 0
    n_blocks: int  # blocks in memory at once; with one, reading and writing take turns
    n_decoders: int  # threads that decode planes at the same time

    @property
    def total_bytes(self) -> int:
        """The most memory for everything together."""
        held = self.reading.shared_bytes + self.depth * self.reading.open_bytes + self.slab_bytes
        held += self.n_decoders * self.reading.decoding_bytes
        if self.n_blocks == 1:
            held += int(_WRITING_LEAST * self.block_bytes + _WAITING_LEAST * self.waiting_bytes)
        else:
            held += int(self.block_bytes * (1 + _WRITING * (self.n_blocks - 1))) + 2 * self.waiting_bytes
        return max(held, self.remaining_bytes)

    @property
    def is_enough(self) -> bool:
        """Whether more memory would hardly be faster."""
        return self.n_blocks >= _ENOUGH_BLOCKS

    def __str__(self) -> str:
        """Return a summary for people."""
        return f"{format_count(self.n_blocks, 'block')} of up to {format_bytes(self.block_bytes)} each"


@dataclass(frozen=True)
class PlaneMemory:
    """How the memory is divided for an image that is written plane by plane."""

    plane_bytes: int  # for one plane, from reading to writing
    shared_bytes: int  # held by the source itself
    n_planes: int  # planes in memory at once
    n_threads: int  # threads that prepare planes

    @property
    def total_bytes(self) -> int:
        """The most memory for everything together."""
        return self.shared_bytes + self.n_planes * self.plane_bytes

    @property
    def is_enough(self) -> bool:
        """Whether more memory would hardly be faster."""
        return self.n_planes > self.n_threads

    def __str__(self) -> str:
        """Return a summary for people."""
        return f"{format_count(self.n_planes, 'plane')} of up to {format_bytes(self.plane_bytes)} each"


def divide_memory(volume: Volume, image: ImageWriter, resources: Resources) -> UnitMemory:
    """Choose the fastest division that fits into the memory of a unit.

    Raises
    ------
    UsageError
        If none fits.
    """
    _, n_rows, n_columns = volume.shape
    least = _least(volume, image)
    slab_bytes = 0 if volume.read_cost.by_rows else least.depth * n_rows * n_columns * volume.dtype.itemsize
    choices = [
        replace(least, n_blocks=n_blocks, n_decoders=n_decoders, slab_bytes=slab)
        for slab in (slab_bytes, 0)
        for n_decoders in sorted({resources.n_threads, 1}, reverse=True)
        for n_blocks in range(MOST_BLOCKS, 0, -1)
    ]
    for memory in choices:
        if memory.total_bytes <= resources.memory_bytes:
            return memory
    raise UsageError(
        f"{image.folder.name}: planes of {n_columns} x {n_rows} pixels need at least "
        f"{format_bytes_up(least.total_bytes + OVERHEAD_BYTES)} of memory; give more with --memory"
    )


def _least(volume: Volume, image: ImageWriter) -> UnitMemory:
    """Return the division that needs the least memory."""
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
    """Return the least memory for a process that converts a volume with one thread."""
    if isinstance(image, ImageWriter):
        return _least(volume, image).total_bytes + OVERHEAD_BYTES
    shared_bytes = volume.read_cost.shared_bytes if image.decodes else 0
    return _bytes_of_plane(volume, image) + shared_bytes + OVERHEAD_BYTES


def worker_bytes(process_bytes: int) -> int:
    """Return the memory limit of a Dask worker of one thread that can use `process_bytes`."""
    return math.ceil(process_bytes / USABLE_BY_WORKERS)


def divide_memory_by_planes(volume: Volume, image: PlaneImage, resources: Resources) -> PlaneMemory:
    """Choose how many planes are in memory at once.

    Raises
    ------
    UsageError
        If not even one fits.
    """
    n_bytes = _bytes_of_plane(volume, image)
    shared_bytes = volume.read_cost.shared_bytes if image.decodes else 0
    n_fitting = (resources.memory_bytes - shared_bytes) // n_bytes
    if n_fitting < 1:
        needed = format_bytes_up(n_bytes + shared_bytes + OVERHEAD_BYTES)
        raise UsageError(f"{image.file.name}: its planes need at least {needed} of memory; give more with --memory")
    n_planes = min(n_fitting, _PLANES_PER_THREAD * resources.n_threads + 1, volume.shape[0])
    return PlaneMemory(n_bytes, shared_bytes, n_planes, resources.n_threads)


def _bytes_of_plane(volume: Volume, image: PlaneImage) -> int:
    n_bytes = image.encoded_bytes
    if image.decodes:
        n_bytes += volume.read_cost.decoding_bytes + volume.read_cost.open_bytes
        if not volume.read_cost.by_rows:
            n_bytes += math.prod(volume.shape[1:]) * volume.dtype.itemsize  # the plane that bands are cut from
    return n_bytes


def keep_free_memory_together() -> None:
    """Make glibc keep free memory in two arenas only, and return the memory of arrays at once.

    By default it has eight arenas per processor, and encoding in many threads leaves holes in all of them: the process
    then takes 50 % more memory than it uses. Other C libraries are left as they are.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_SMALL_BYTES)


def give_back_free_memory() -> None:
    """Return free memory of the C library to the system, which takes a few milliseconds."""
    malloc_trim = getattr(_c_library(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def default_memory_bytes() -> int:
    """Return a quarter of the memory of the machine, or of the job if it has less, but at most 8 GiB."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(min([machine_bytes, *memory_limits()]) // 4, _MOST_BYTES)


def parse_bytes(text: str) -> int:
    """Parse a size such as ``2GiB``, ``512 MiB``, ``1.5G`` or ``800000000``.

    Raises
    ------
    UsageError
        If the text is not such a size, or the size is zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?)B?\s*", text)
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"{text!r} is not a valid size; write for example 512MiB or 2GiB")
    n_bytes = int(float(match[1]) * _UNITS[match[2]])
    if n_bytes == 0:
        raise UsageError(f"{text!r} is not a valid size: zero; write for example 512MiB or 2GiB")
    return n_bytes
