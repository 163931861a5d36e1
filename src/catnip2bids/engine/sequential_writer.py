"""An image that is one file, written plane after plane, which several threads read and encode ahead.

Invariant: the file only grows at its end. What a marker says was written is on disk; what stands behind it in the file
is thrown away when the work goes on. Planes come out in their order, whatever order they were encoded in.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from catnip2bids.atomic_write import raising_write_errors, write_text
from catnip2bids.documents import read_object
from catnip2bids.engine.block_reader import PixelStatistics, adding_plane_to_errors
from catnip2bids.engine.memory import PlaneMemory, Resources, divide_memory_by_planes
from catnip2bids.engine.resume_markers import DAMAGED, UnitResult
from catnip2bids.engine.writer_protocols import Encoded, PlaneImage
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume import Copyable, EncodedPlane, FileRange, Volume, little_endian_bytes
from catnip2bids.volume.plane_hash import row_bands

BYTES_PER_MARKER = 2**30
"""After so many bytes of pixels, decoded, a stream notes how far it is: what is written goes to disk then."""
_MARKER = "planes.json"


@dataclass(frozen=True)
class SequentialWrite:
    """The planes of a volume from `start` on, to be written into an image.

    Attributes
    ----------
    volume, image
        From what, and into what.
    start
        Planes that are in the file already.
    marker
        The file that says how far it is; None if nothing does.
    """

    volume: Volume
    image: PlaneImage
    start: int = 0
    marker: SafePath | None = None

    @property
    def n_voxels(self) -> int:
        """Voxels that are still to be written."""
        return (self.volume.shape[0] - self.start) * self.plane_voxels

    @property
    def plane_voxels(self) -> int:
        """Voxels of a plane."""
        return self.volume.shape[1] * self.volume.shape[2]


@dataclass
class _Learned:
    """How far a file is, and what was learned of the planes that are in it."""

    n_bytes: int = 0
    n_planes: int = 0
    sha256: list[str] = field(default_factory=list)
    value_range: tuple[float, float] | None = None
    labels: set[int] | None = None

    def add(self, planes: UnitResult, n_planes: int = 1) -> None:
        """Add what was learned of the next planes."""
        self.n_planes += n_planes
        self.sha256 += planes.sha256
        ranges = [found for found in (self.value_range, planes.value_range) if found is not None]
        if ranges:
            self.value_range = min(low for low, _ in ranges), max(high for _, high in ranges)
        if planes.labels is not None:
            self.labels = (self.labels or set()) | planes.labels

    def result(self, name: str) -> UnitResult:
        """Return it all, with the size of the file under its name."""
        labels = None if self.labels is None else frozenset(self.labels)
        return UnitResult(tuple(self.sha256), self.value_range, labels, {name: self.n_bytes})


def resume_sequential_write(volume: Volume, image: PlaneImage, markers: SafePath | None = None) -> SequentialWrite:
    """Return what is to be done for an image, of which an earlier attempt may have written the first planes.

    Parameters
    ----------
    volume, image
        From what, and into what.
    markers
        Folder of the marker; None if nothing is marked.
    """
    marker = None if markers is None else safe_path(markers, _MARKER)
    return SequentialWrite(volume, image, _read_marker(marker, image).n_planes, marker)


def write_sequentially(
    stream: SequentialWrite, resources: Resources, on_voxels: Callable[[int], None] | None = None
) -> UnitResult:
    """Write all planes that are not in the file yet; returns what was learned of all planes.

    Parameters
    ----------
    stream
        What to do.
    resources
        What may be used for it.
    on_voxels
        Told the number of voxels of each plane; an error that it raises stops the work.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    UsageError
        If the memory is not enough, or the file becomes too large for its format.
    WriteError
        If the file cannot be written.
    """
    portions = divide_memory_by_planes(stream.volume, stream.image, resources)
    learned, path = _read_marker(stream.marker, stream.image), stream.image.file
    planes_per_marker = max(BYTES_PER_MARKER // (stream.plane_voxels * stream.volume.dtype.itemsize), 1)
    with raising_write_errors(path), path.open("r+b" if learned.n_bytes else "w+b", buffering=0) as file:
        file.truncate(learned.n_bytes)
        file.seek(learned.n_bytes)
        if learned.n_bytes == 0:
            learned.n_bytes = _write(file.fileno(), [stream.image.header])
        marking: Future[None] | None = None
        with ThreadPoolExecutor(1) as aside, closing(_prepared(stream, learned.n_planes, portions)) as planes:
            for prepared in planes:
                block = stream.image.block(prepared.encoded, learned.n_planes, learned.n_bytes)
                learned.n_bytes += _write(file.fileno(), block)
                learned.add(prepared.findings)
                del prepared, block  # another plane is begun as soon as the next one is asked for
                if on_voxels:
                    on_voxels(stream.plane_voxels)
                if learned.n_planes % planes_per_marker == 0 or learned.n_planes == stream.volume.shape[0]:
                    if marking is not None:
                        marking.result()
                    marking = aside.submit(_mark, stream, file.fileno(), learned.n_planes, learned.result(path.name))
            if marking is not None:
                marking.result()
    return learned.result(path.name)


@dataclass(frozen=True)
class _Prepared:
    """A plane that is ready to be written."""

    encoded: Encoded
    findings: UnitResult


def _prepared(stream: SequentialWrite, start: int, portions: PlaneMemory) -> Generator[_Prepared]:
    """Prepare planes in several threads, and hand them out in order."""
    ahead: deque[Future[_Prepared]] = deque()
    threads = _threads(portions.n_threads)
    try:
        for plane in range(start, stream.volume.shape[0]):
            ahead.append(threads.submit(_prepare, stream, plane))
            if len(ahead) >= portions.n_planes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()
        for future in ahead:
            if not future.cancelled():
                future.exception()


def _prepare(stream: SequentialWrite, plane: int) -> _Prepared:
    """Read, look at and encode one plane."""
    volume, image = stream.volume, stream.image
    encoder, findings, digest = image.encoder(), PixelStatistics(image.kind), hashlib.sha256()
    copied: EncodedPlane | None = None
    if image.copies:
        if not isinstance(volume, Copyable):
            raise TypeError(f"{type(volume).__name__} cannot hand out encoded planes")
        copied = volume.read_encoded(plane)
    if image.looks_at_pixels:
        for rows in row_bands(volume, plane, image.band_rows):
            digest.update(little_endian_bytes(rows))
            with adding_plane_to_errors(volume, plane):
                findings.look_at(rows)
            encoder.take(rows)
        findings.sha256.append(digest.hexdigest())
    result = UnitResult(tuple(findings.sha256), findings.value_range, findings.labels, {})
    return _Prepared(encoder.finish(copied), result)


def _write(descriptor: int, pieces: Sequence[bytes | FileRange]) -> int:
    """Write some pieces; returns how many bytes that were."""
    for piece in pieces:
        if isinstance(piece, FileRange):
            piece.copy_to(descriptor)
            continue
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return sum(map(len, pieces))


def _read_marker(marker: Path | None, image: PlaneImage) -> _Learned:
    """Find out how far an earlier attempt came."""
    learned, file = _Learned(), image.file
    if marker is None or not marker.is_file() or not file.is_file():
        return learned
    try:
        document = read_object(marker)
        n_bytes = document["files"][file.name]
        if file.stat().st_size >= n_bytes:
            learned.add(UnitResult.from_json(document), document["n_planes"])
            learned.n_bytes = n_bytes
    except DAMAGED:  # all planes are written again
        return _Learned()
    return learned


def _mark(stream: SequentialWrite, descriptor: int, n_planes: int, result: UnitResult) -> None:
    """Bring to disk what is in the file, and note that; the stream goes on meanwhile."""
    os.fsync(descriptor)
    if stream.marker is not None:
        write_text(stream.marker, json.dumps({"n_planes": n_planes, **result.to_json()}))


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    """Return the threads that all streams of this process share."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="planes")
