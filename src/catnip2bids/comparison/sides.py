"""What is compared: planes by slice number, however they are stored, and whether or not all of them are whole.

Invariant: nothing is refused because a plane is missing or damaged; that is what a comparison is to tell. Planes of
slice files are known by the number in their names, whatever its padding; those of stacks and NIfTI files count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.engine import Resources, Team
from catnip2bids.errors import SourceError
from catnip2bids.scanning import Entry
from catnip2bids.volume import (
    OpenPlane,
    PageLayout,
    PlaneSource,
    Volume,
    hides_planes,
    is_tiff,
    number_slices,
    open_lone_page,
    plane_pages,
    slice_files,
    take_census,
)
from catnip2bids.wording import listed

Array = npt.NDArray[Any]

BAND_BYTES = 512 * 2**10
"""Rows are looked at in bands that are still in the processor's cache after they were decoded."""
_PIECE_BYTES = 2**20
_PLANES_IN_MEMORY = 4
"""A thread holds two planes at the most, each of them encoded and decoded."""


@dataclass(frozen=True)
class OpenedPlane:
    """A plane that is read once, from its first row to its last one."""

    layout: PageLayout
    plane: OpenPlane

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

    def middle(self, n_bytes: int) -> Array:
        """Read so many bytes of rows from the middle, at least one row."""
        n_rows, n_columns = self.layout.shape
        height = min(max(n_bytes // (n_columns * self.layout.dtype.itemsize), 1), n_rows)
        top = (n_rows - height) // 2
        rows = np.empty((height, n_columns), self.layout.dtype)
        self.plane.read_rows(top, top + height, rows)
        return rows


@dataclass(frozen=True)
class Side:
    """The planes of one volume.

    Attributes
    ----------
    path
        What was given.
    planes
        Where each plane is, by its slice number.
    volume
        What planes are read through where they are neither files nor pages.
    problems
        What stands in the way of knowing all planes, such as two files with one number.
    """

    path: Path
    planes: Mapping[int, PlaneSource]
    volume: Volume | None = None
    problems: tuple[str, ...] = ()

    @property
    def is_one_file(self) -> bool:
        """Whether all planes are in one file."""
        return self.path.is_file()

    @contextmanager
    def open(self, number: int) -> Iterator[OpenedPlane]:
        """Open a plane by its slice number.

        Raises
        ------
        SourceError
            If it cannot be read.
        """
        source = self.planes[number]
        if self.volume is None:
            layout, plane = open_lone_page(source.path, source.page)
        else:
            layout, plane = PageLayout(self.volume.shape[1:], self.volume.dtype), self.volume.open_plane(source.page)
        try:
            if layout.dtype.kind not in "buif":
                raise SourceError(
                    f"{source.path}: has values of type {layout.dtype}, which are no numbers; give volumes of numbers"
                )
            yield OpenedPlane(layout, plane)
        finally:
            plane.close()


def open_side(path: Path, slice_numbers: Sequence[str] = ()) -> Side:
    """Find the planes of a slice folder, a TIFF stack or a NIfTI file.

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
    if path.is_dir():
        return _slice_folder(path, slice_numbers)
    if path.exists() and is_tiff(path) and not hides_planes(path):
        return Side(path, {n: PlaneSource(path, page) for n, page in enumerate(plane_pages(path), start=1)})
    census = take_census(path)
    if census.volume is None:
        raise SourceError("; ".join(census.problems))
    planes = {index + 1: census.volume.plane_source(index) for index in range(census.volume.shape[0])}
    return Side(path, planes, census.volume)


def side_of(entry: Entry) -> Side:
    """Find the planes of an entry of a run; raises what `open_side` raises."""
    return open_side(entry.location, [entry.slice_number] if entry.slice_number else [])


def _slice_folder(folder: Path, slice_numbers: Sequence[str]) -> Side:
    files = slice_files(folder)
    if not files:
        raise SourceError(f"{folder}: has no TIFF slices in it; give the folder that holds them")
    ways = [number_slices(files, pattern) for pattern in (None, *slice_numbers)]
    numbered = next((way for way in ways if way.problem is None), ways[-1])
    if numbered.problem is not None:
        raise SourceError(numbered.problem)
    problems = [
        f"{folder}: slice number {number} is there {len(twins)} times ({listed([file.name for file in twins])}); "
        "only the first one is compared"
        for number, twins in numbered.by_number.items()
        if len(twins) > 1
    ]
    planes = {number: PlaneSource(twins[0], 0) for number, twins in numbered.by_number.items()}
    return Side(folder, planes, problems=tuple(problems))


def same_bytes(path_1: Path, path_2: Path) -> bool:
    """Tell whether two files are the same, byte for byte; a file that cannot be read is never the same.

    Reading stops at the first difference.
    """
    try:
        if path_1.samefile(path_2):
            return True
        if path_1.stat().st_size != path_2.stat().st_size:
            return False
        with path_1.open("rb", buffering=0) as file_1, path_2.open("rb", buffering=0) as file_2:
            while piece := file_1.read(_PIECE_BYTES):
                if piece != file_2.read(_PIECE_BYTES):
                    return False
        return True
    except OSError:
        return False


def team_for(sides: Sequence[Side], resources: Resources) -> Team:
    """Return threads that look at planes of volumes; very little is enough where no plane can be read.

    Raises
    ------
    NotEnoughMemoryError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    held_bytes = sum(side.volume.unpacked_bytes for side in sides if side.volume is not None)
    about = " and ".join(str(side.path) for side in sides)
    return Team(resources, _PLANES_IN_MEMORY * max(map(plane_bytes, sides)), held_bytes, about=about)


def plane_bytes(side: Side) -> int:
    """Size of the first plane that can be read; 1 where none can."""
    for number in side.planes:
        try:
            with side.open(number) as opened:
                height, width = opened.layout.shape
                return height * width * opened.layout.dtype.itemsize
        except SourceError:
            continue  # it becomes a row of the result when it is compared
    return 1
