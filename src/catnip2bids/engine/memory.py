"""Memory and processors: how much this process may use, and which buffers a unit can afford.

Invariant: the memory of a unit is a sum that follows from the shapes of volume and image, is known before the unit
starts, and fits into the unit's share. Every limit of containers, schedulers and the shell that can be read counts;
limits that cannot be read are ignored.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import resource
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_bytes, format_bytes_up, format_count
from catnip2bids.ome import OmeTiffImage, OmeZarrImage
from catnip2bids.volume import ReadCost, Volume

_MOST_BYTES = 8 * 2**30
_UNKNOWN_MACHINE_BYTES = 4 * 2**30
"""Memory of a machine that does not tell how much it has."""
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
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_LARGEST_SMALL_BYTES = 8 * 2**20  # larger than encoded chunks, smaller than blocks and shards
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # that glibc accepts
_KEPT_BYTES = 64 * 2**20  # what encoding a block takes beside it
_USUALLY_KEPT_BYTES = 128 * 2**10  # glibc's default
_SLURM_UNITS = {"K": 2**10, "": 2**20, "M": 2**20, "G": 2**30, "T": 2**40}
"""Units of sizes in Slurm's variables; without a unit they are mebibytes."""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class Resources:
    """Threads and memory that some work may use."""

    n_threads: int  # they read, decode and merge, and formats encode with as many; on a cluster, of all workers
    memory_bytes: int  # for pixels; on a cluster, of one thread
    executor: Executor | None = None  # the cluster; None for threads of this process
    prepares_processes: bool = False  # whether a scan starts what starts worker processes, for the work that follows


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


def divide_memory(volume: Volume, image: OmeZarrImage, resources: Resources) -> UnitMemory:
    """Choose the fastest division that fits into the memory of a unit; raises UsageError if none fits."""
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


def _least(volume: Volume, image: OmeZarrImage) -> UnitMemory:
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


def needed_bytes(volume: Volume, image: OmeZarrImage | OmeTiffImage) -> int:
    """Return the least memory for a process that converts a volume with one thread."""
    least = _least(volume, image) if isinstance(image, OmeZarrImage) else _least_by_planes(volume, image)
    return least.total_bytes + OVERHEAD_BYTES


def worker_bytes(process_bytes: int) -> int:
    """Return the memory limit of a Dask worker of one thread that can use `process_bytes`."""
    return math.ceil(process_bytes / USABLE_BY_WORKERS)


def divide_memory_by_planes(volume: Volume, image: OmeTiffImage, resources: Resources) -> PlaneMemory:
    """Choose how many planes are in memory at once; raises UsageError if not even one fits."""
    least = _least_by_planes(volume, image)
    n_fitting = (resources.memory_bytes - least.shared_bytes) // least.plane_bytes
    if n_fitting < 1:
        needed = format_bytes_up(least.total_bytes + OVERHEAD_BYTES)
        raise UsageError(f"{image.file.name}: its planes need at least {needed} of memory; give more with --memory")
    n_planes = min(n_fitting, _PLANES_PER_THREAD * resources.n_threads + 1, volume.shape[0])
    return replace(least, n_planes=n_planes, n_threads=resources.n_threads)


def _least_by_planes(volume: Volume, image: OmeTiffImage) -> PlaneMemory:
    """Return the division that needs the least memory."""
    least, cost = PlaneMemory(image.encoded_bytes, shared_bytes=0, n_planes=1, n_threads=1), volume.read_cost
    if not image.decodes:
        return least
    plane_bytes = least.plane_bytes + cost.decoding_bytes + cost.open_bytes
    if not cost.by_rows:
        plane_bytes += math.prod(volume.shape[1:]) * volume.dtype.itemsize  # the plane that bands are cut from
    return replace(least, plane_bytes=plane_bytes, shared_bytes=cost.shared_bytes)


def keep_free_memory_together() -> None:
    """Make glibc keep free memory in two arenas only, and return the memory of arrays at once.

    By default it has eight arenas per processor, and encoding in many threads leaves holes in all of them: the process
    then takes 50 % more memory than it uses. Other C libraries are left as they are.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_SMALL_BYTES)


def keep_free_memory(n_bytes: int) -> None:
    """Let glibc keep so much free memory, of arrays too, until this process ends.

    Otherwise most arrays of a block are made in memory that is new to the process, which can take a tenth of the time.
    """
    mallopt = getattr(_c_library(), "mallopt", lambda *_: 0)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, min(n_bytes, 2**31 - 1))


@contextmanager
def keeping_free_memory() -> Iterator[None]:
    """Let glibc keep free memory until `give_back_free_memory` is called, and give it back at the end.

    Otherwise each chunk is encoded in memory that is new to the process, which takes 8 % longer.
    """
    mallopt = getattr(_c_library(), "mallopt", lambda *_: 0)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    try:
        yield
    finally:
        mallopt(_M_TRIM_THRESHOLD, _USUALLY_KEPT_BYTES)
        give_back_free_memory()


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
    return min(min([_machine_bytes(), *memory_limits()]) // 4, _MOST_BYTES)


def _machine_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # POSIX does not have the second one
        return _UNKNOWN_MACHINE_BYTES


def memory_limits(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Iterator[int]:
    """Yield all limits on the memory of this process in bytes; ``proc`` and ``sys`` are mounted at `root`."""
    for folder in _control_groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):  # versions 2, 2 and 1
            yield from (number for number in _numbers(folder / name) if number > 0)
    # https://slurm.schedmd.com/sbatch.html: MEM_PER_NODE and MEM_PER_CPU exclude each other, and 0 means all of a node
    per_node, per_cpu = (_slurm_bytes(environment.get(f"SLURM_MEM_PER_{what}", "")) for what in ("NODE", "CPU"))
    n_cpus = next(_slurm_cpus(environment, "SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE"), None)
    n_bytes = per_node or per_cpu * (n_cpus or n_processors(root, environment))
    if n_bytes:
        yield n_bytes
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):  # ulimit -v, ulimit -d
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft


def n_processors(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processors that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [usable, *_slurm_cpus(environment, "SLURM_CPUS_PER_TASK")]
    for folder in _control_groups(root, "cpu"):
        quota = _numbers(folder / "cpu.max") or [
            *_numbers(folder / "cpu.cfs_quota_us"),  # -1 without a limit
            *_numbers(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and min(quota) > 0:
            limits.append(math.ceil(quota[0] / quota[1]))
    return max(min(limits), 1)


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of all its parents.

    In a container the path may be that of the host, where only the last folder yielded, the root, exists.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "" or controller in controllers.split(","):  # version 2, or 1
            mounts = {root / "sys/fs/cgroup" / name for name in ({controllers, controller} if controllers else {""})}
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from (mount.joinpath(*parts[:n]) for mount in mounts for n in range(len(parts), -1, -1))


def _numbers(file: Path) -> list[int]:
    """Read the numbers of a file; none if it does not exist or has another word, such as ``max``."""
    try:
        words = file.read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [int(word) for word in words] if all(re.fullmatch(r"-?\d+", word) for word in words) else []


def _slurm_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text.strip().upper())
    return int(match[1]) * _SLURM_UNITS[match[2]] if match else 0


def _slurm_cpus(environment: Mapping[str, str], *names: str) -> Iterator[int]:
    """Yield numbers of processors; of a list of nodes, such as ``4(x2),8``, the number of the first."""
    for name in names:
        if (match := re.match(r"\d+", environment.get(name, ""))) and int(match[0]) > 0:
            yield int(match[0])


def parse_bytes(text: str) -> int:
    """Parse a size such as ``2GiB``, ``512 MiB``, ``1.5G`` or ``800000000``; raises UsageError for other texts."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?)B?\s*", text)
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"{text!r} is not a valid size; write for example 512MiB or 2GiB")
    n_bytes = int(float(match[1]) * _UNITS[match[2]])
    if n_bytes == 0:
        raise UsageError(f"{text!r} is not a valid size: zero; write for example 512MiB or 2GiB")
    return n_bytes
