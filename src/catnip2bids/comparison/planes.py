"""Two planes: hashes of both, and how they differ, found in one pass over their rows.

Invariant: voxels of one type differ where their bits differ, so planes without a difference have the same hash; voxels
of different types differ where they are different numbers. Memory is a band of rows of each plane, or a whole plane
where it can only be decoded as a whole.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.sides import OpenedPlane, Side, same_bytes
from catnip2bids.errors import SourceError
from catnip2bids.volume import PageLayout, PlaneSource, little_endian_bytes

Array = npt.NDArray[Any]

BAND_BYTES = 512 * 2**10
"""Rows are compared in bands that are still in the processor's cache after they were decoded."""
_ALWAYS_COUNTED, _SHORTEST_RUN = 1000, 4
"""Of more values than this, only those are counted that come in runs of so many equal neighbours on average."""
SAME_FILES = "the files are the same byte for byte"


@dataclass(frozen=True)
class Box:
    """The smallest box around some voxels of a plane: first and last (inclusive) row and column."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def joined(self, other: Box | None) -> Box:
        """Return the smallest box around both."""
        if other is None:
            return self
        (top, bottom), (left, right) = other.rows, other.columns
        rows = min(self.rows[0], top), max(self.rows[1], bottom)
        return Box(rows, (min(self.columns[0], left), max(self.columns[1], right)))


@dataclass(frozen=True)
class Difference:
    """How the voxels of two planes of one shape differ.

    Attributes
    ----------
    n_different
        Voxels that differ.
    n_zeroed_1, n_zeroed_2
        Those of them that are 0 in 1 alone, and in 2 alone.
    largest
        Largest difference of two values; None where none differ, or none is a number.
    box
        Where they differ.
    values_1, values_2
        How often each value occurs in 1 and in 2 where they differ, if values are labels; else None.
    """

    n_different: int = 0
    n_zeroed_1: int = 0
    n_zeroed_2: int = 0
    largest: float | None = None
    box: Box | None = None
    values_1: Counter[int] | None = None
    values_2: Counter[int] | None = None


@dataclass(frozen=True)
class Plane:
    """One of two planes that are compared.

    Attributes
    ----------
    source
        Where it is.
    layout
        Shape and type; None where it could not be read.
    sha256
        Hash of its pixels; None where they were not decoded.
    problem
        Why it could not be read.
    """

    source: PlaneSource
    layout: PageLayout | None = None
    sha256: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class PlanePair:
    """The planes of one slice number, and how they differ.

    Attributes
    ----------
    number
        The slice number.
    plane_1, plane_2
        The planes; None where one side has none.
    difference
        How their voxels differ; None unless both could be read, and have one shape.
    same_files
        Whether they are known to be the same because their files are.
    """

    number: int
    plane_1: Plane | None
    plane_2: Plane | None
    difference: Difference | None = None
    same_files: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """Why planes could not be read."""
        return tuple(plane.problem for plane in (self.plane_1, self.plane_2) if plane and plane.problem)

    @property
    def is_pair(self) -> bool:
        """Whether both sides have a plane of this number."""
        return self.plane_1 is not None and self.plane_2 is not None

    @property
    def same(self) -> bool:
        """Whether both are there, and have the same shape, type and pixels."""
        one, two = self.plane_1, self.plane_2
        if one is None or two is None or self.problems:
            return False
        return self.same_files or (one.sha256 == two.sha256 and one.layout == two.layout)

    @property
    def n_voxels(self) -> int:
        """Voxels that were compared."""
        layout = self.plane_1.layout if self.plane_1 else None
        return 0 if self.difference is None or layout is None else layout.shape[0] * layout.shape[1]

    @property
    def note(self) -> str:
        """What there is to say."""
        one, two = self.plane_1, self.plane_2
        if self.problems:
            return "; ".join(self.problems)
        if one is None or two is None:
            return f"only in {2 if one is None else 1}"
        if self.same_files:
            return SAME_FILES
        return "" if one.layout == two.layout else f"1 is {one.layout}, 2 is {two.layout}"


@dataclass(frozen=True)
class Pairing:
    """Two volumes whose planes are compared.

    Attributes
    ----------
    side_1, side_2
        The volumes.
    same_file
        Whether each of them is one file, and these are the same.
    hash_same_files
        Whether planes are decoded for their hash too whose files are the same.
    """

    side_1: Side
    side_2: Side
    same_file: bool = False
    hash_same_files: bool = False

    @property
    def numbers(self) -> list[int]:
        """The slice numbers of both sides, in order."""
        return sorted(self.side_1.planes.keys() | self.side_2.planes.keys())


def compare_planes(pairing: Pairing, number: int) -> PlanePair:
    """Compare the planes of one slice number, of which at least one is there."""
    source_1, source_2 = pairing.side_1.planes.get(number), pairing.side_2.planes.get(number)
    if source_1 and source_2:
        # pages of one stack are pairs of the same page
        same = pairing.same_file or (not _is_paged(pairing) and same_bytes(source_1.path, source_2.path))
        if same:
            return _same_files(pairing, number, source_2)
        pair = PlanePair(number, Plane(source_1), Plane(source_2))
        try:
            with pairing.side_1.open(number) as one, pairing.side_2.open(number) as two:
                if one.layout.shape == two.layout.shape:
                    return _compared(pair, one, two)
        except SourceError:
            pass  # what is wrong, and with which one, is found out when each is read by itself
    return PlanePair(
        number,
        read_alone(pairing.side_1, number) if source_1 else None,
        read_alone(pairing.side_2, number) if source_2 else None,
    )


def _is_paged(pairing: Pairing) -> bool:
    return pairing.side_1.is_one_file or pairing.side_2.is_one_file


def _same_files(pairing: Pairing, number: int, source_2: PlaneSource) -> PlanePair:
    """Return a pair that is the same, if it can be read at all."""
    one = read_alone(pairing.side_1, number, with_hash=pairing.hash_same_files)
    if one.problem:
        two = replace(one, source=source_2, problem=read_alone(pairing.side_2, number).problem)
        return PlanePair(number, one, two)
    return PlanePair(number, one, replace(one, source=source_2), Difference(), same_files=True)


def read_alone(side: Side, number: int, *, with_hash: bool = True) -> Plane:
    """Read a plane that is compared with nothing; one that cannot be read says so."""
    plane = Plane(side.planes[number])
    try:
        with side.open(number) as opened:
            plane = replace(plane, layout=opened.layout)
            return replace(plane, sha256=opened.sha256(band_height(opened.layout))) if with_hash else plane
    except SourceError as error:
        return replace(plane, problem=str(error))


def _compared(pair: PlanePair, one: OpenedPlane, two: OpenedPlane) -> PlanePair:
    """Hash and compare two planes of one shape."""
    if pair.plane_1 is None or pair.plane_2 is None:
        raise ValueError("both planes are open")
    digest_1, digest_2, found, top = hashlib.sha256(), hashlib.sha256(), _Finding(), 0
    height = min(band_height(one.layout), band_height(two.layout))
    for rows_1, rows_2 in zip(one.bands(height), two.bands(height), strict=True):
        digest_1.update(little_endian_bytes(rows_1))
        digest_2.update(little_endian_bytes(rows_2))
        found.look_at(top, rows_1, rows_2)
        top += len(rows_1)
    return replace(
        pair,
        plane_1=replace(pair.plane_1, layout=one.layout, sha256=digest_1.hexdigest()),
        plane_2=replace(pair.plane_2, layout=two.layout, sha256=digest_2.hexdigest()),
        difference=found.difference,
    )


def band_height(layout: PageLayout) -> int:
    """Return how many rows are compared at a time."""
    return max(BAND_BYTES // (layout.shape[1] * layout.dtype.itemsize), 1)


def differing(rows_1: Array, rows_2: Array) -> Array:
    """Tell which voxels differ: bits of one type, numbers of two."""
    if rows_1.dtype == rows_2.dtype:
        bits = f"u{rows_1.dtype.itemsize}"
        return np.asarray(rows_1.view(bits) != rows_2.view(bits))
    with np.errstate(invalid="ignore"):
        different = rows_1 != rows_2
        # large whole numbers are rounded when they are compared with floating point numbers
        for rows, others in ((rows_1, rows_2), (rows_2, rows_1)):
            if rows.dtype.kind in "iu" and others.dtype.kind == "f":
                different |= others.astype(rows.dtype) != rows
    if rows_1.dtype.kind == rows_2.dtype.kind == "f":
        different &= ~(np.isnan(rows_1) & np.isnan(rows_2))
    return np.asarray(different)


class _Finding:
    """Adds up how two planes differ, band by band."""

    def __init__(self) -> None:
        self.difference = Difference()

    def look_at(self, top: int, rows_1: Array, rows_2: Array) -> None:
        """Look at the next rows of both; `top` is the first one's number."""
        different = differing(rows_1, rows_2)
        if not different.any():
            return
        values_1, values_2 = rows_1[different], rows_2[different]
        before = self.difference
        self.difference = Difference(
            n_different=before.n_different + len(values_1),
            n_zeroed_1=before.n_zeroed_1 + int(np.count_nonzero((values_1 == 0) & (values_2 != 0))),
            n_zeroed_2=before.n_zeroed_2 + int(np.count_nonzero((values_2 == 0) & (values_1 != 0))),
            largest=_larger(before.largest, _largest_difference(values_1, values_2)),
            box=_box(different, top).joined(before.box),
            values_1=_counted(before, before.values_1, values_1),
            values_2=_counted(before, before.values_2, values_2),
        )


def _box(different: Array, top: int) -> Box:
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    return Box((top + int(rows[0]), top + int(rows[-1])), (int(columns[0]), int(columns[-1])))


def _larger(one: float | None, two: float | None) -> float | None:
    return max((value for value in (one, two) if value is not None), default=None)


def _largest_difference(values_1: Array, values_2: Array) -> float | None:
    exact = all(values.dtype.kind in "bui" and values.dtype.itemsize < 8 for values in (values_1, values_2))
    wide = "i8" if exact else "f8"
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(values_1.astype(wide) - values_2.astype(wide))
    finite = differences[np.isfinite(differences)]
    return float(finite.max()) if finite.size else None


def _counted(before: Difference, counts: Counter[int] | None, values: Array) -> Counter[int] | None:
    """Count the values of labels: whole numbers that come in runs; others are not counted at all."""
    if values.dtype.kind not in "ui" or (counts is None and before.n_different):
        return None
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    if len(values) > _ALWAYS_COUNTED and len(starts) * _SHORTEST_RUN > len(values):
        return None
    lengths = np.diff(starts, append=len(values))
    found, which = np.unique(values[starts], return_inverse=True)
    n_each = np.bincount(which, weights=lengths).astype(int)
    return (counts or Counter()) + Counter(dict(zip(found.tolist(), n_each.tolist(), strict=True)))
