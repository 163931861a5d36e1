"""What is compared: planes by slice number, however they are stored, and whether or not all of them are whole.

Invariant: nothing is refused because a plane is missing or damaged; that is what a comparison is to tell. Planes of
slice files are known by the number in their names, whatever its padding; those of stacks, NIfTI files and OME-Zarr
images count from 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.tiff_calibration import Stated, stated_by
from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources
from catnip2bids.errors import SourceError
from catnip2bids.file_types import refuse_special_file
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
from catnip2bids.volume.tiff_page import bytes_of_a_strip, bytes_to_decode

Array = npt.NDArray[Any]

BAND_BYTES = 512 * 2**10
"""Rows are looked at in bands that are still in the processor's cache after they were decoded."""
_PIECE_BYTES = 2**20
_BANDS_IN_MEMORY = 32
"""So many times a band is held while two bands are compared: wider copies of it, and what is selected out of it."""


@dataclass(frozen=True)
class SequentialPlane:
    """A plane that is read once, from its first row to its last one."""

    layout: PageLayout  # shape and type
    plane: OpenPlane  # what its rows are read from
    memory_bytes: int  # the most memory that a thread takes to read and compare it

    @property
    def band_height(self) -> int:
        """How many rows are looked at at a time."""
        return max(BAND_BYTES // (self.layout.shape[1] * self.layout.dtype.itemsize), 1)

    def bands(self, height: int | None = None) -> Iterator[Array]:
        """Read all rows, so many at a time; a band is only good until the next one."""
        n_rows, n_columns = self.layout.shape
        height = height or self.band_height
        whole = not self.plane.reads_rows
        room = np.empty((n_rows if whole else min(height, n_rows), n_columns), self.layout.dtype)
        if whole:
            self.plane.read_rows(0, n_rows, room)
        for top in range(0, n_rows, height):
            bottom = min(top + height, n_rows)
            if whole:
                yield room[top:bottom]
            else:
                self.plane.read_rows(top, bottom, room[: bottom - top])
                yield room[: bottom - top]

    def middle(self, height: int) -> Array:
        """Read so many rows from the middle, or all of them if there are fewer."""
        n_rows, n_columns = self.layout.shape
        height = min(height, n_rows)
        top = (n_rows - height) // 2
        rows = np.empty((height, n_columns), self.layout.dtype)
        self.plane.read_rows(top, top + height, rows)
        return rows


@dataclass(frozen=True)
class ComparedVolume:
    """The planes of one volume."""

    path: Path  # what was given
    planes: Mapping[int, PlaneSource]  # where each plane is, by its slice number
    volume: Volume | None = None  # what planes are read through where they are neither files nor pages
    problems: tuple[str, ...] = ()  # what stands in the way of knowing all planes, such as two files with one number
    warnings: tuple[str, ...] = ()  # what the census says of it
    stated: Stated = field(default_factory=Stated)  # what its first page states of the meaning of values
    slice_number: str | None = None  # the pattern that told the slice numbers; None if names alone did
    most_bytes: int | None = None  # memory that reading a plane may take; None if that is not limited

    @property
    def is_slices(self) -> bool:
        """Whether each plane is a file of its own."""
        return self.volume is None and not self.path.is_file()

    @contextmanager
    def open(self, number: int) -> Iterator[SequentialPlane]:
        """Open a plane by its slice number.

        Raises
        ------
        SourceError
            If it cannot be read.
        """
        opened = self._opened(number)
        try:
            layout, memory_bytes = opened.layout, opened.memory_bytes
            if layout.dtype.kind not in "buif":
                raise SourceError(
                    f"{self.planes[number].path}: has values of type {layout.dtype}, which are not numbers; "
                    "give volumes of numbers"
                )
            if self.most_bytes is not None and memory_bytes > self.most_bytes:
                raise SourceError(
                    f"{self.planes[number].path}: is {layout}, and comparing it takes {format_bytes_up(memory_bytes)} "
                    "of memory, more than there is for a plane; give more with --memory"
                )
            yield opened
        finally:
            opened.plane.close()

    def _opened(self, number: int) -> SequentialPlane:
        if self.volume is not None:
            layout = PageLayout(self.volume.shape[1:], self.volume.dtype)
            return SequentialPlane(layout, self.volume.open_plane(number - 1), _bytes_in_volume(self.volume))
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
    """Return the memory for rows that were read, and for what they are compared with."""
    n_bytes = math.prod(layout.shape) * layout.dtype.itemsize
    return (n_bytes if all_at_once else 0) + _BANDS_IN_MEMORY * min(BAND_BYTES, n_bytes)


def open_compared(path: Path, slice_numbers: Sequence[str] = ()) -> ComparedVolume:
    """Find the planes of a slice folder, a TIFF stack, a NIfTI file or an OME-Zarr image.

    Parameters
    ----------
    path
        The volume.
    slice_numbers
        Patterns for the slice number, see `slice_pattern`; the first that fits is used where names alone do not tell.

    Raises
    ------
    SourceError
        If the path is none of these, a file that cannot be read at all, or a folder in which names do not tell the
        slice number.
    """
    if path.is_dir() and not is_ome_zarr(path):
        return _slice_folder(path, slice_numbers)
    census = inspect_volume(path)
    if census.volume is not None:
        planes = {index + 1: census.volume.plane_source(index) for index in range(census.volume.shape[0])}
        warnings = (*census.warnings, *_label_images_in(path))
        return ComparedVolume(path, planes, census.volume, warnings=warnings, stated=_stated_in(planes))
    if not is_tiff(path):
        raise SourceError("; ".join(census.problems))
    # pages are compared one by one where they are not a volume together
    planes = {n: PlaneSource(path, page) for n, page in enumerate(plane_pages(path), start=1)}
    return ComparedVolume(path, planes, warnings=(*census.warnings, *census.problems), stated=_stated_in(planes))


def _label_images_in(path: Path) -> list[str]:
    """Say which label images are in an OME-Zarr image, and not compared with it."""
    labels = path / "labels"
    names = sorted(found.name for found in labels.iterdir() if found.is_dir()) if labels.is_dir() else []
    if not names:
        return []
    return [f"{path}: the label images in it were not compared ({format_list(names)}); give their folders, in {labels}"]


def with_inspection(side: ComparedVolume) -> ComparedVolume:
    """Add to slices what the census says of all of them together; other volumes have it already."""
    if not side.is_slices:
        return side
    try:
        census = inspect_volume(side.path, side.slice_number)
    except SourceError:
        return side  # its planes say what is wrong with them
    problems = () if side.problems else census.problems  # which say the same of numbers that are used twice
    return replace(side, warnings=(*side.warnings, *census.warnings, *problems))


def compared_entry(entry: Entry) -> ComparedVolume:
    """Find the planes of an entry of a run; raises what `open_compared` raises."""
    return open_compared(entry.location, [entry.slice_number] if entry.slice_number else [])


def _slice_folder(folder: Path, slice_numbers: Sequence[str]) -> ComparedVolume:
    files = slice_files(folder)
    if not files:
        raise SourceError(f"{folder}: has no TIFF slices in it; give the folder that holds them")
    ways = [number_slices(files, pattern) for pattern in (None, *slice_numbers)]
    numbered = next((way for way in ways if way.problem is None), ways[-1])
    if numbered.problem is not None:
        raise SourceError(numbered.problem)
    problems = [
        f"{folder}: slice number {number} is there {len(twins)} times ({format_list([file.name for file in twins])}); "
        "only the first one is compared"
        for number, twins in numbered.by_number.items()
        if len(twins) > 1
    ]
    planes = {number: PlaneSource(twins[0], 0) for number, twins in numbered.by_number.items()}
    chosen = (None, *slice_numbers)[ways.index(numbered)]
    return ComparedVolume(folder, planes, problems=tuple(problems), stated=_stated_in(planes), slice_number=chosen)


def _stated_in(planes: Mapping[int, PlaneSource]) -> Stated:
    """Read what the first page that can be read states; the census tells where pages do not agree."""
    for source in planes.values():
        try:
            return stated_by(source.path) if is_tiff(source.path) else Stated()
        except SourceError:
            continue
    return Stated()


def same_bytes(path_1: Path, path_2: Path) -> bool:
    """Tell whether two files are the same, byte for byte; a file that cannot be read is never the same.

    Reading stops at the first difference.
    """
    try:
        if path_1.samefile(path_2):
            return True
        if path_1.stat().st_size != path_2.stat().st_size:
            return False
        for path in (path_1, path_2):
            refuse_special_file(path)  # opening a named pipe waits for somebody to write into it
        with path_1.open("rb", buffering=0) as file_1, path_2.open("rb", buffering=0) as file_2:
            while piece := file_1.read(_PIECE_BYTES):
                if piece != file_2.read(_PIECE_BYTES):
                    return False
        return True
    except (OSError, SourceError):
        return False


def bounded_map_for(sides: Sequence[ComparedVolume], resources: Resources) -> tuple[BoundedMap, list[ComparedVolume]]:
    """Return threads that look at planes of volumes, and the sides, whose planes may take no more than there is memory.

    Raises
    ------
    NotEnoughMemoryError
        If it is not enough for one plane of each side.
    """
    held_bytes, needed_bytes = _held_bytes(sides), [plane_bytes(side) for side in sides]
    about = " and ".join(str(side.path) for side in sides)
    team = BoundedMap(resources, sum(needed_bytes), held_bytes, about=about)
    spare_bytes = team.free_bytes // team.n_threads - team.item_bytes
    return team, [
        replace(side, most_bytes=n_bytes + spare_bytes // len(sides))
        for side, n_bytes in zip(sides, needed_bytes, strict=True)
    ]


def needed_to_compare(sides: Sequence[ComparedVolume]) -> int:
    """Return the least memory of a process that compares planes of all sides."""
    return OVERHEAD_BYTES + _held_bytes(sides) + sum(map(plane_bytes, sides))


def _held_bytes(sides: Sequence[ComparedVolume]) -> int:
    return sum(side.volume.read_cost.shared_bytes for side in sides if side.volume is not None)


def plane_bytes(side: ComparedVolume) -> int:
    """Return the memory for the first plane that can be read; 0 where none can."""
    if side.volume is not None:
        return _bytes_in_volume(side.volume)
    for number in side.planes:
        try:
            with replace(side, most_bytes=None).open(number) as opened:
                return opened.memory_bytes
        except SourceError:
            continue  # it becomes a row of the result when it is compared
    return 0
