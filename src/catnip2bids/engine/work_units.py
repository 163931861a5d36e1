"""Units of work: some planes of a volume, read once, from which everything is made that needs their pixels.

Invariant: a unit owns whole files. It covers planes from one multiple of the image's `unit_depth` to the next, and no
two units ever write the same file, so units run in any order, on any number of workers, and again if they were
stopped. A unit is a small picklable description and `convert_unit` is a plain function of one. It clears the unit's
marker first and sets it last, when all its files are on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from catnip2bids.engine.block_reader import BlockReader, Buffers, PixelStatistics
from catnip2bids.engine.memory import Resources, divide_memory, give_back_free_memory
from catnip2bids.engine.resume_markers import Marker, UnitResult
from catnip2bids.engine.writer_protocols import ImageWriter
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import Volume

_REST = "rest"
_UNMARKED = Marker(None)


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
        """Voxels of the volume in it."""
        return (self.stop - self.start) * self.volume.shape[1] * self.volume.shape[2]


@dataclass(frozen=True)
class RemainingLevels:
    """What is left of an image when all its units are done; `markers` is the folder of the resume markers."""

    image: ImageWriter
    markers: SafePath | None = None

    @property
    def marker(self) -> SafePath | None:
        """What stands for this step."""
        return None if self.markers is None else safe_path(self.markers, _REST)


def split_into_units(volume: Volume, image: ImageWriter, markers: SafePath | None = None) -> Iterator[WorkUnit]:
    """Cut a volume into the units of an image; together they cover each plane once.

    Parameters
    ----------
    volume, image
        From what, and into what.
    markers
        Folder of the resume markers; None if units are not marked.
    """
    n_planes, depth = volume.shape[0], image.unit_depth
    for start in range(0, n_planes, depth):
        path = None if markers is None else safe_path(markers, f"planes-{start:06d}.json")
        yield WorkUnit(volume, image, start, min(start + depth, n_planes), Marker(path))


def convert_unit(unit: WorkUnit, resources: Resources, on_voxels: Callable[[int], None] | None = None) -> UnitResult:
    """Read, hash and write one unit; while blocks are written the next one is read.

    Parameters
    ----------
    unit
        What to do.
    resources
        What may be used for it.
    on_voxels
        Told the number of voxels of each block that was read; an error that it raises stops the unit.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    UsageError
        If the memory is not enough.
    """
    unit.marker.clear()
    portions, findings = divide_memory(unit.volume, unit.image, resources), PixelStatistics(unit.image.kind)
    decoders, buffers = _threads(resources.n_threads), Buffers(portions.n_blocks, portions.block_bytes)
    reader = BlockReader(unit.volume, unit.image, portions, decoders)
    writer = unit.image.open_unit(decoders, resources.n_threads)
    blocks = reader.blocks(unit.start, unit.stop, buffers, findings)
    with ThreadPoolExecutor(1) as ahead:
        reading = ahead.submit(next, blocks, None)
        try:
            while (block := reading.result()) is not None:
                reading = ahead.submit(next, blocks, None)
                buffers.lend(block.buffer, writer.put(block.origin, block.pixels))
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
    result = UnitResult(tuple(findings.sha256), findings.value_range, findings.labels, files)
    unit.marker.set(result)
    return result


def write_remaining_levels(rest: RemainingLevels, n_threads: int) -> None:
    """Write the levels that no single unit decides, again if they are there."""
    rest.image.write_remaining_levels(n_threads)


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    """Return the threads that all units of this process share."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="decoder")
