"""Write an image of one file plane by plane, while several threads read and encode the next planes.

Invariant: the file only grows at its end, in the order of the planes. Everything that the marker lists is on disk;
everything after it in the file is discarded when an interrupted write is resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from catnip2bids.atomic_write import raising_write_errors, write_text
from catnip2bids.documents import read_object
from catnip2bids.engine.memory import PlaneMemory, Resources, divide_memory_by_planes
from catnip2bids.engine.unit_results import DAMAGED, PixelStatistics, UnitResult
from catnip2bids.ome import OmeTiffImage
from catnip2bids.ome.ome_tiff import TiffPlaneEncoder
from catnip2bids.ome.tiff_directory import EncodedImage
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import Copyable, EncodedPlane, FileRange, Volume, little_endian_bytes
from catnip2bids.volume.pixel_values import row_bands

BYTES_PER_MARKER = 2**30
"""Decoded bytes of pixels after which the file is synced and its marker written."""
_MARKER = "planes.json"


@dataclass(frozen=True)
class SequentialWrite:
    """The planes of a volume from `start` on, to be written into an image."""

    volume: Volume
    image: OmeTiffImage
    start: int = 0
    marker: SafePath | None = None  # the resume marker; None for an image that cannot be resumed

    @property
    def n_voxels(self) -> int:
        """Number of voxels still to be written."""
        return (self.volume.shape[0] - self.start) * self.plane_voxels

    @property
    def plane_voxels(self) -> int:
        """Number of voxels of a plane."""
        return self.volume.shape[1] * self.volume.shape[2]


@dataclass
class _Written:
    """The part of a file that is written."""

    findings: PixelStatistics
    n_bytes: int = 0
    n_planes: int = 0


def resume_sequential_write(volume: Volume, image: OmeTiffImage, markers: SafePath | None = None) -> SequentialWrite:
    """Return the planes still to be written, after those that an interrupted attempt wrote.

    `markers` is the folder of the resume marker; None to write all planes.
    """
    marker = None if markers is None else safe_path(markers, _MARKER)
    return SequentialWrite(volume, image, _read_marker(marker, image).n_planes, marker)


def write_sequentially(
    work: SequentialWrite, resources: Resources, on_voxels: Callable[[int], None] | None = None
) -> UnitResult:
    """Write all planes that are not in the file yet; returns the result for all planes.

    `on_voxels` is called with the number of voxels of each plane; an error that it raises stops the work. Raises
    SourceError if a plane cannot be read, or holds labels that cannot be trusted; UsageError if the memory is not
    enough, or the file becomes too large for its format; and WriteError if the file cannot be written.
    """
    memory = divide_memory_by_planes(work.volume, work.image, resources)
    written, path = _read_marker(work.marker, work.image), work.image.file
    n_planes = work.volume.shape[0]
    planes_per_marker = max(BYTES_PER_MARKER // (work.plane_voxels * work.volume.dtype.itemsize), 1)
    with (
        raising_write_errors(path),
        path.open("r+b" if written.n_bytes else "w+b", buffering=0) as file,
        ThreadPoolExecutor(1) as saving,
        closing(_prepared_planes(work, written.n_planes, memory)) as planes,
    ):
        checkpoint = _Checkpoint(work.marker, file.fileno(), saving)
        file.truncate(written.n_bytes)
        file.seek(written.n_bytes)
        if written.n_bytes == 0:
            written.n_bytes = _write(file.fileno(), [work.image.header])

        def append(plane: _PreparedPlane) -> None:
            pieces = work.image.block(plane.encoded, written.n_planes, written.n_bytes)
            written.n_bytes += _write(file.fileno(), pieces)
            written.n_planes += 1
            written.findings.add(plane.findings)

        for _ in map(append, planes):  # a loop over planes would hold one while the next one is prepared
            if on_voxels:
                on_voxels(work.plane_voxels)
            if written.n_planes % planes_per_marker == 0 or written.n_planes == n_planes:
                checkpoint.save(written.n_planes, written.findings.result({path.name: written.n_bytes}))
        checkpoint.wait()
    return written.findings.result({path.name: written.n_bytes})


class _Checkpoint:
    """Records in the marker, in the background, how much of a file is on disk."""

    def __init__(self, marker: SafePath | None, descriptor: int, thread: ThreadPoolExecutor) -> None:
        self._marker, self._descriptor, self._thread = marker, descriptor, thread
        self._saving: Future[None] | None = None

    def save(self, n_planes: int, result: UnitResult) -> None:
        """Start to sync the file and write the marker; wait for the previous save first."""
        self.wait()
        self._saving = self._thread.submit(self._save, n_planes, result)

    def wait(self) -> None:
        """Wait until the last save is done; raise its error."""
        if self._saving is not None:
            self._saving.result()

    def _save(self, n_planes: int, result: UnitResult) -> None:
        os.fsync(self._descriptor)
        if self._marker is not None:
            write_text(self._marker, json.dumps({"n_planes": n_planes, **result.to_json()}))


@dataclass(frozen=True)
class _PreparedPlane:
    """A plane that is ready to be written."""

    encoded: list[EncodedImage]
    findings: UnitResult


def _prepared_planes(work: SequentialWrite, start: int, memory: PlaneMemory) -> Generator[_PreparedPlane]:
    """Prepare planes in several threads, and yield them in order."""
    ahead: deque[Future[_PreparedPlane]] = deque()
    threads = _threads(memory.n_threads)
    try:
        for plane in range(start, work.volume.shape[0]):
            ahead.append(threads.submit(_prepare, work, plane))
            if len(ahead) >= memory.n_planes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()
        for future in ahead:
            if not future.cancelled():
                future.exception()


def _prepare(work: SequentialWrite, plane: int) -> _PreparedPlane:
    """Read, hash, inspect and encode one plane."""
    volume, image = work.volume, work.image
    encoder, statistics, digest = TiffPlaneEncoder(image), PixelStatistics(image.kind), hashlib.sha256()
    copied: EncodedPlane | None = None
    if image.copies:
        if not isinstance(volume, Copyable):
            raise TypeError(f"{type(volume).__name__} cannot hand out encoded planes")
        copied = volume.read_encoded(plane)
    if image.decodes:
        for rows in row_bands(volume, plane, image.band_rows):
            digest.update(little_endian_bytes(rows))
            statistics.inspect(rows, volume, plane)
            encoder.take(rows)
        statistics.sha256.append(digest.hexdigest())
    return _PreparedPlane(encoder.finish(copied), statistics.result({}))


def _write(descriptor: int, pieces: Sequence[bytes | FileRange]) -> int:
    """Write all pieces; returns the number of bytes."""
    for piece in pieces:
        if isinstance(piece, FileRange):
            piece.copy_to(descriptor)
            continue
        unwritten = memoryview(piece)
        while unwritten:
            unwritten = unwritten[os.write(descriptor, unwritten) :]
    return sum(map(len, pieces))


def _read_marker(marker: Path | None, image: OmeTiffImage) -> _Written:
    """Return how much of the file an interrupted attempt wrote."""
    nothing, file = _Written(PixelStatistics(image.kind)), image.file
    if marker is None or not marker.is_file() or not file.is_file():
        return nothing
    try:
        document = read_object(marker)
        written = _Written(PixelStatistics(image.kind))
        written.n_bytes += document["files"][file.name]
        written.n_planes += document["n_planes"]
        written.findings.add(UnitResult.from_json(document))
        return written if file.stat().st_size >= written.n_bytes else nothing
    except DAMAGED:  # all planes are written again
        return nothing


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    """Return the threads that all sequential writes of this process share."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="planes")
