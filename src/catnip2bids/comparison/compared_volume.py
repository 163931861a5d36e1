"""Compared volumes: their planes by slice number, in any format, complete or not.

Invariant: missing or damaged planes are no reason to refuse a volume, because a comparison reports them. Slice files
are numbered by their names, with any padding; planes of stacks, NIfTI files and OME-Zarr images count from 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from catnip2bids.comparison.values import Array, StatedCalibration, read_calibration
from catnip2bids.documents import refuse_special_file
from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_bytes_up, format_list
from catnip2bids.scanning import Entry
from catnip2bids.volume import (
    OpenPlane,
    PageLayout,
    PlaneSource,
    Volume,
    inspect_volume,
    is_ome_zarr,
    is_tiff,
    number_slices,
    open_lone_page,
    plane_pages,
    slice_files,
)
from catnip2bids.volume.open_plane import bands_of
from catnip2bids.volume.tiff_page import bytes_of_a_strip, bytes_to_decode

BAND_BYTES = 512 * 2**10
"""Size of a band of rows: it stays in the processor's cache after decoding."""
_PIECE_BYTES = 2**20
_BANDS_IN_MEMORY = 32
"""Copies of a band in memory while two bands are compared: in wider types, and of selected voxels."""


@dataclass(frozen=True)
class SequentialPlane:
    """A plane that is read once, from the first row to the last."""

    layout: PageLayout
    plane: OpenPlane
    memory_bytes: int  # most memory of a thread that reads and compares it

    @property
    def band_height(self) -> int:
        """Rows in a band."""
        return max(BAND_BYTES // (self.layout.shape[1] * self.layout.dtype.itemsize), 1)

    def bands(self, height: int | None = None) -> Iterator[Array]:
        """Return all rows in bands of this height; each is overwritten by the next one."""
        return bands_of(self.plane, self.layout.shape, self.layout.dtype, height or self.band_height)

    def middle(self, height: int) -> Array:
        """Read this number of rows from the middle, or all rows if there are fewer."""
        n_rows, n_columns = self.layout.shape
        height = min(height, n_rows)
        top = (n_rows - height) // 2
        rows = np.empty((height, n_columns), self.layout.dtype)
        self.plane.read_rows(top, top + height, rows)
        return rows


@dataclass(frozen=True)
class ComparedVolume:
    """The planes of one volume."""

    path: Path
    planes: Mapping[int, PlaneSource]  # by slice number
    reader: Volume | None = None  # reads planes by index; None where planes are files or pages
    problems: tuple[str, ...] = ()  # such as two files with one slice number
    warnings: tuple[str, ...] = ()
    stated: StatedCalibration = field(default_factory=StatedCalibration)  # by its first page
    slice_number: str | None = None  # pattern for slice numbers, if one was needed
    most_bytes: int | None = None  # limit for the memory of a plane

    @property
    def is_slices(self) -> bool:
        """Whether each plane is a file of its own."""
        return self.reader is None and not self.path.is_file()

    @contextmanager
    def open(self, number: int) -> Iterator[SequentialPlane]:
        """Open a plane by its slice number; raise SourceError if it cannot be read."""
        path, opened = self.planes[number].path, self._opened(number)
        try:
            layout, memory_bytes = opened.layout, opened.memory_bytes
            if layout.dtype.kind not in "buif":
                raise SourceError(
                    f"{path}: has values of type {layout.dtype}, which are not numbers; give volumes of numbers"
                )
            if self.most_bytes is not None and memory_bytes > self.most_bytes:
                raise SourceError(
                    f"{path}: is {layout}, and comparing it takes {format_bytes_up(memory_bytes)} of memory, more than "
                    "there is for a plane; give more with --memory"
                )
            yield opened
        finally:
            opened.plane.close()

    def _opened(self, number: int) -> SequentialPlane:
        if self.reader is not None:
            layout = PageLayout(self.reader.shape[1:], self.reader.dtype)
            return SequentialPlane(layout, self.reader.open_plane(number - 1), _bytes_in_volume(self.reader))
        source = self.planes[number]
        layout, plane = open_lone_page(source.path, source.page)
        decoding_bytes = 2 * bytes_of_a_strip(layout) if layout.reads_rows else bytes_to_decode(layout)
        return SequentialPlane(layout, plane, decoding_bytes + _bytes_of_rows(layout, all_at_once=not plane.reads_rows))


def _bytes_in_volume(volume: Volume) -> int:
    """Return the memory for a plane of a volume."""
    layout = PageLayout(volume.shape[1:], volume.dtype)
    rows_bytes = _bytes_of_rows(layout, all_at_once=not volume.read_cost.by_rows)
    return volume.read_cost.open_bytes + volume.read_cost.decoding_bytes + rows_bytes


def _bytes_of_rows(layout: PageLayout, *, all_at_once: bool) -> int:
    """Return the memory for rows, and for the arrays that comparing them needs."""
    n_bytes = math.prod(layout.shape) * layout.dtype.itemsize
    return (n_bytes if all_at_once else 0) + _BANDS_IN_MEMORY * min(BAND_BYTES, n_bytes)


def open_compared(path: Path, slice_numbers: Sequence[str] = ()) -> ComparedVolume:
    """Find the planes of a slice folder, a TIFF stack, a NIfTI file or an OME-Zarr image.

    Of the patterns for slice numbers (see `slice_pattern`), the first that fits is used for ambiguous names.

    Raises
    ------
    SourceError
        If the path is none of these or unreadable, or the names in a folder give no unambiguous slice numbers.
    """
    if path.is_dir() and not is_ome_zarr(path):
        return _slice_folder(path, slice_numbers)
    inspection = inspect_volume(path)
    if inspection.volume is not None:
        planes = {index + 1: inspection.volume.plane_source(index) for index in range(inspection.volume.shape[0])}
        warnings, labels = inspection.warnings, path / "labels"
        names = sorted(found.name for found in labels.iterdir() if found.is_dir()) if labels.is_dir() else []
        if names:
            what = f"the label images in it were not compared ({format_list(names)}); give their folders, in {labels}"
            warnings = (*warnings, f"{path}: {what}")
        return ComparedVolume(path, planes, inspection.volume, warnings=warnings, stated=_stated_in(planes))
    if not is_tiff(path):
        raise SourceError("; ".join(inspection.problems))
    # pages are compared one by one where they are not a volume together
    planes = {n: PlaneSource(path, page) for n, page in enumerate(plane_pages(path), start=1)}
    return ComparedVolume(
        path, planes, warnings=(*inspection.warnings, *inspection.problems), stated=_stated_in(planes)
    )


def with_inspection(volume: ComparedVolume) -> ComparedVolume:
    """Add the warnings and problems of inspecting all slices together; other volumes have been inspected."""
    if not volume.is_slices:
        return volume
    try:
        inspection = inspect_volume(volume.path, volume.slice_number)
    except SourceError:
        return volume  # comparing its planes will give the problems
    problems = () if volume.problems else inspection.problems  # both mention numbers that are used twice
    return replace(volume, warnings=(*volume.warnings, *inspection.warnings, *problems))


def compared_entry(entry: Entry) -> ComparedVolume:
    """Find the planes of an entry of a run; raises what `open_compared` raises."""
    return open_compared(entry.location, [entry.slice_number] if entry.slice_number else [])


def _slice_folder(folder: Path, slice_numbers: Sequence[str]) -> ComparedVolume:
    files = slice_files(folder)
    if not files:
        raise SourceError(f"{folder}: has no TIFF slices in it; give the folder that holds them")
    for pattern in (None, *slice_numbers):
        numbered = number_slices(files, pattern)
        if numbered.problem is None:
            break
    if numbered.problem is not None:
        raise SourceError(numbered.problem)
    problems = [
        f"{folder}: slice number {number} is there {len(twins)} times ({format_list([file.name for file in twins])}); "
        "only the first one is compared"
        for number, twins in numbered.by_number.items()
        if len(twins) > 1
    ]
    planes = {number: PlaneSource(twins[0], 0) for number, twins in numbered.by_number.items()}
    return ComparedVolume(folder, planes, problems=tuple(problems), stated=_stated_in(planes), slice_number=pattern)


def _stated_in(planes: Mapping[int, PlaneSource]) -> StatedCalibration:
    """Read the first readable page; the inspection warns where pages do not agree."""
    for source in planes.values():
        try:
            return read_calibration(source.path) if is_tiff(source.path) else StatedCalibration()
        except SourceError:
            continue
    return StatedCalibration()


def same_bytes(path_1: Path, path_2: Path) -> bool:
    """Tell whether two files are the same, byte for byte; a file that cannot be read is never the same."""
    try:
        if path_1.samefile(path_2):
            return True
        if path_1.stat().st_size != path_2.stat().st_size:
            return False
        for path in (path_1, path_2):
            refuse_special_file(path)  # opening a named pipe would block
        with path_1.open("rb", buffering=0) as file_1, path_2.open("rb", buffering=0) as file_2:
            while piece := file_1.read(_PIECE_BYTES):
                if piece != file_2.read(_PIECE_BYTES):
                    return False
        return True
    except (OSError, SourceError):
        return False


def bounded_map_for(volumes: Sequence[ComparedVolume], resources: Resources) -> tuple[BoundedMap, list[ComparedVolume]]:
    """Return threads to compare planes, and the volumes with a limit for the memory of their planes."""
    held_bytes, first_planes = _held_bytes(volumes), [_first_plane(volume) for volume in volumes]
    needed_bytes = [memory_bytes for memory_bytes, _ in first_planes]
    n_bytes = sum(len(volume.planes) * n for volume, (_, n) in zip(volumes, first_planes, strict=True))
    about = " and ".join(str(volume.path) for volume in volumes)
    threads = BoundedMap(resources, sum(needed_bytes), held_bytes, n_bytes=n_bytes, about=about)
    spare_bytes = threads.free_bytes // threads.n_threads - threads.item_bytes
    return threads, [
        replace(volume, most_bytes=memory_bytes + spare_bytes // len(volumes))
        for volume, memory_bytes in zip(volumes, needed_bytes, strict=True)
    ]


def needed_to_compare(volumes: Sequence[ComparedVolume]) -> int:
    """Return the least memory of a process that compares planes of all volumes."""
    return OVERHEAD_BYTES + _held_bytes(volumes) + sum(map(plane_bytes, volumes))


def _held_bytes(volumes: Sequence[ComparedVolume]) -> int:
    return sum(volume.reader.read_cost.shared_bytes for volume in volumes if volume.reader is not None)


def plane_bytes(volume: ComparedVolume) -> int:
    """Return the memory for the first readable plane; 0 if there is none."""
    return _first_plane(volume)[0]


def _first_plane(volume: ComparedVolume) -> tuple[int, int]:
    """Return the memory for the first readable plane, and the bytes of its pixels; 0 if there is none."""
    if volume.reader is not None:
        return _bytes_in_volume(volume.reader), math.prod(volume.reader.shape[1:]) * volume.reader.dtype.itemsize
    for number in volume.planes:
        try:
            with replace(volume, most_bytes=None).open(number) as opened:
                return opened.memory_bytes, math.prod(opened.layout.shape) * opened.layout.dtype.itemsize
        except SourceError:
            continue  # reported when it is compared
    return 0, 0
