"""Units of work: planes of a volume that are read once, for all levels of the image.

Invariant: a unit owns whole files. It covers the planes from one multiple of the image's `unit_depth` to the next, and
no two units write the same file, so units run in any order, on any number of workers, and again after an interruption.
A unit is a small picklable description, and `convert_unit` is a plain function of it, which first clears the unit's
marker, and sets it last, when all files are on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from catnip2bids.engine.block_reader import BlockReader, Buffers, PixelStatistics
from catnip2bids.engine.memory import Resources, divide_memory, give_back_free_memory
from catnip2bids.engine.resume_markers import Marker, UnitResult
from catnip2bids.engine.writer_protocols import ImageWriter
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import Volume

_REMAINING_LEVELS = "rest"
_UNMARKED = Marker(None)


class StoppedError(Exception):
    """The work was stopped from outside."""


@dataclass(frozen=True)
class WorkUnit:
    """The planes `start` to `stop` (exclusive) of a volume, to be written into an image."""

    volume: Volume
    image: ImageWriter
    start: int
    stop: int
    marker: Marker = _UNMARKED

    @property
    def n_voxels(self) -> int:
        """Number of voxels of the unit."""
        return (self.stop - self.start) * self.volume.shape[1] * self.volume.shape[2]


@dataclass(frozen=True)
class RemainingLevels:
    """The levels of an image to write when all units are done; `markers` is the folder of the resume markers."""

    image: ImageWriter
    markers: SafePath | None = None
    n_voxels: ClassVar[int] = 0  # counted when they were read

    @property
    def marker(self) -> SafePath | None:
        """Path that the lock of this step is named after."""
        return None if self.markers is None else safe_path(self.markers, _REMAINING_LEVELS)


def split_into_units(volume: Volume, image: ImageWriter, markers: SafePath | None = None) -> Iterator[WorkUnit]:
    """Divide a volume into the units of an image, which together cover each plane once.

    Parameters
    ----------
    volume, image
        Source and target.
    markers
        Folder of the resume markers; None for units without markers.
    """
    n_planes, depth = volume.shape[0], image.unit_depth
    for start in range(0, n_planes, depth):
        path = None if markers is None else safe_path(markers, f"planes-{start:06d}.json")
        yield WorkUnit(volume, image, start, min(start + depth, n_planes), Marker(path))


def convert_unit(unit: WorkUnit, resources: Resources, on_voxels: Callable[[int], None] | None = None) -> UnitResult:
    """Read, hash and write one unit; the next block is read while others are written.

    Parameters
    ----------
    unit
        The planes to convert.
    resources
        Threads and memory to use.
    on_voxels
        Called with the number of voxels of each block that was read; an error that it raises stops the unit.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    UsageError
        If the memory is not enough.
    """
    if on_voxels:
        on_voxels(0)  # before anything changes, in case the work has been stopped
    unit.marker.clear()
    memory, statistics = divide_memory(unit.volume, unit.image, resources), PixelStatistics(unit.image.kind)
    decoders, buffers = _threads(resources.n_threads), Buffers(memory.n_blocks, memory.block_bytes)
    reader = BlockReader(unit.volume, unit.image, memory, decoders)
    writer = unit.image.open_unit(decoders, resources.n_threads)
    blocks = reader.blocks(unit.start, unit.stop, buffers, statistics)
    with ThreadPoolExecutor(1) as ahead:
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
            give_back_free_memory()
    result = UnitResult(tuple(statistics.sha256), statistics.value_range, statistics.labels, files)
    unit.marker.set(result)
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
