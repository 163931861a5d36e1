"""Hashing and comparing two planes in one pass over their rows.

Invariant: voxels of one type differ where their bits differ, so planes without a difference have the same hash; voxels
of different types differ where they are different numbers. Memory holds a band of rows of each plane, or the whole
plane if it can only be decoded at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.compared_volume import ComparedVolume, SequentialPlane, same_bytes
from catnip2bids.comparison.labels import LabelCounts
from catnip2bids.comparison.values import Array, ValueRule, count_other_bits, differing, possible_rules
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count
from catnip2bids.volume import PageLayout, PlaneSource, little_endian_bytes

_SAMPLE_BYTES = 64 * 2**10


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
    """How the voxels of two planes differ, or those of all planes."""

    n_different: int = 0  # voxels
    # those that are 0 only in 1, and only in 2:
    n_zeroed_1: int = 0
    n_zeroed_2: int = 0
    # those with the same value in other bits: NaN, or 0.0 and -0.0:
    n_other_bits: int = 0
    largest_difference: float | None = None  # of two values; None if no numbers differ
    box: Box | None = None  # rows and columns of the voxels that differ

    def plus(self, other: Difference) -> Difference:
        """Return the difference of these voxels and others together."""
        largest = [one.largest_difference for one in (self, other) if one.largest_difference is not None]
        return Difference(
            self.n_different + other.n_different,
            self.n_zeroed_1 + other.n_zeroed_1,
            self.n_zeroed_2 + other.n_zeroed_2,
            self.n_other_bits + other.n_other_bits,
            max(largest, default=None),
            self.box.joined(other.box) if self.box else other.box,
        )


@dataclass(frozen=True)
class Plane:
    """One of two planes that are compared."""

    source: PlaneSource
    layout: PageLayout | None = None  # None if it is unreadable
    sha256: str | None = None  # of its pixels; None if they were not decoded
    problem: str | None = None  # why it is unreadable


@dataclass(frozen=True)
class PlanePair:
    """The planes of one slice number, and how they differ."""

    number: int
    # None if a volume has no plane of this number:
    plane_1: Plane | None
    plane_2: Plane | None
    difference: Difference | None = None  # None unless both are readable and have one shape
    same_files: bool = False  # whether their files are the same byte for byte
    # voxels of each label where 1 and 2 differ; None if unknown
    labels_1: Counter[int] | None = field(default=None, repr=False)
    labels_2: Counter[int] | None = field(default=None, repr=False)
    rules: tuple[ValueRule, ...] = ()  # that hold for all of their voxels

    @property
    def problems(self) -> tuple[str, ...]:
        """Why planes could not be read."""
        return tuple(plane.problem for plane in (self.plane_1, self.plane_2) if plane and plane.problem)

    @property
    def is_pair(self) -> bool:
        """Whether both volumes have a plane of this number."""
        return self.plane_1 is not None and self.plane_2 is not None

    @property
    def same(self) -> bool:
        """Whether both exist with the same shape, type and pixels."""
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
        """A note for the tables, or an empty text."""
        one, two = self.plane_1, self.plane_2
        if self.problems:
            return "; ".join(self.problems)
        if one is None or two is None:
            return f"only in {2 if one is None else 1}"
        if self.same_files:
            return "the files are the same byte for byte"
        notes = [] if one.layout == two.layout else [f"1 is {one.layout}, 2 is {two.layout}"]
        if self.difference is not None and (n_other_bits := self.difference.n_other_bits):
            notes.append(f"same values, other bits in {format_count(n_other_bits, 'voxel')}")
        return "; ".join(notes)


@dataclass(frozen=True)
class VolumePair:
    """Two volumes whose planes are compared."""

    volume_1: ComparedVolume
    volume_2: ComparedVolume
    same_file: bool = False  # whether both are one path, or two equal files
    hash_same_files: bool = False  # whether to decode planes of equal files for their hash
    are_labels: bool = False  # whether to count values as labels where they differ
    rules: tuple[ValueRule, ...] = ()  # that may hold for the values

    @property
    def numbers(self) -> list[int]:
        """The slice numbers of both volumes, ascending."""
        return sorted(self.volume_1.planes.keys() | self.volume_2.planes.keys())


def compare_planes(pairing: VolumePair, number: int) -> PlanePair:
    """Compare the planes of a slice number that at least one volume has."""
    source_1, source_2 = pairing.volume_1.planes.get(number), pairing.volume_2.planes.get(number)
    if source_1 and source_2:
        # pages of one stack are pairs of the same page
        slices = pairing.volume_1.is_slices and pairing.volume_2.is_slices
        if pairing.same_file or (slices and same_bytes(source_1.path, source_2.path)):
            return _same_files(pairing, number)
        try:
            with pairing.volume_1.open(number) as one, pairing.volume_2.open(number) as two:
                if one.layout.shape == two.layout.shape:
                    return _compared(pairing, number, one, two)
        except SourceError:
            pass  # reading each plane by itself tells which one is unreadable, and why
    plane_1, labels_1 = _alone(pairing.volume_1, number, pairing.are_labels)
    plane_2, labels_2 = _alone(pairing.volume_2, number, pairing.are_labels)
    return PlanePair(number, plane_1, plane_2, labels_1=labels_1, labels_2=labels_2)


def _same_files(pairing: VolumePair, number: int) -> PlanePair:
    """Return the pair of two equal files, decoded once; it has problems if it is unreadable."""
    found = _DifferenceSum(pairing)
    one = _read(pairing.volume_1, number, lambda rows: found.check_rules(rows, rows), with_hash=pairing.hash_same_files)
    two = replace(one, source=pairing.volume_2.planes[number])
    if one.problem:
        return PlanePair(number, one, replace(two, problem=_read(pairing.volume_2, number).problem))
    return PlanePair(number, one, two, Difference(), True, Counter(), Counter(), found.rules)


def _alone(volume: ComparedVolume, number: int, are_labels: bool) -> tuple[Plane | None, Counter[int] | None]:
    """Read a plane if it exists, and count its labels."""
    if number not in volume.planes:
        return None, Counter()
    labels = LabelCounts(is_known=are_labels)
    return _read(volume, number, lambda rows: labels.add(rows.reshape(-1))), labels.n_voxels


def _read(
    volume: ComparedVolume, number: int, on_rows: Callable[[Array], None] = lambda _: None, *, with_hash: bool = True
) -> Plane:
    """Read a single plane and pass its rows to a function; an unreadable plane gets a problem."""
    plane = Plane(volume.planes[number])
    try:
        with volume.open(number) as opened:
            plane = replace(plane, layout=opened.layout)
            if not with_hash:
                return plane
            digest = hashlib.sha256()
            for rows in opened.bands():
                digest.update(little_endian_bytes(rows))
                on_rows(rows)
            return replace(plane, sha256=digest.hexdigest())
    except SourceError as error:
        return replace(plane, problem=str(error))


def _compared(pairing: VolumePair, number: int, one: SequentialPlane, two: SequentialPlane) -> PlanePair:
    """Hash and compare two planes of one shape."""
    found, digest_1, digest_2, top = _DifferenceSum(pairing), hashlib.sha256(), hashlib.sha256(), 0
    height = min(one.band_height, two.band_height)
    for rows_1, rows_2 in zip(one.bands(height), two.bands(height), strict=True):
        digest_1.update(little_endian_bytes(rows_1))
        digest_2.update(little_endian_bytes(rows_2))
        found.add(top, rows_1, rows_2)
        top += len(rows_1)
    return PlanePair(
        number,
        Plane(pairing.volume_1.planes[number], one.layout, digest_1.hexdigest()),
        Plane(pairing.volume_2.planes[number], two.layout, digest_2.hexdigest()),
        difference=found.difference,
        labels_1=found.labels_1.n_voxels,
        labels_2=found.labels_2.n_voxels,
        rules=found.rules,
    )


def rules_at(pairing: VolumePair, number: int) -> tuple[ValueRule, ...]:
    """Return the rules that hold for rows in the middle of a pair of planes; none if it is unreadable."""
    try:
        with pairing.volume_1.open(number) as one, pairing.volume_2.open(number) as two:
            if one.layout.shape != two.layout.shape:
                return ()
            itemsize = max(one.layout.dtype.itemsize, two.layout.dtype.itemsize)
            n_rows = max(_SAMPLE_BYTES // (one.layout.shape[1] * itemsize), 1)
            calibrations = pairing.volume_1.stated.calibration, pairing.volume_2.stated.calibration
            return possible_rules(one.middle(n_rows), two.middle(n_rows), calibrations)
    except SourceError:
        return ()


class _DifferenceSum:
    """Adds up the difference of two planes, band by band."""

    def __init__(self, pairing: VolumePair) -> None:
        self.difference, self.rules = Difference(), pairing.rules
        self.labels_1, self.labels_2 = (LabelCounts(is_known=pairing.are_labels) for _ in range(2))

    def check_rules(self, rows_1: Array, rows_2: Array) -> None:
        """Drop the rules that rows of both break."""
        self.rules = tuple(rule for rule in self.rules if rule.holds(rows_1, rows_2))

    def add(self, top: int, rows_1: Array, rows_2: Array) -> None:
        """Add the next rows of both; `top` is the index of the first."""
        self.check_rules(rows_1, rows_2)
        different = differing(rows_1, rows_2)
        if not different.any():
            return
        rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
        values_1, values_2 = rows_1[different], rows_2[different]
        found = Difference(
            n_different=len(values_1),
            n_zeroed_1=int(np.count_nonzero((values_1 == 0) & (values_2 != 0))),
            n_zeroed_2=int(np.count_nonzero((values_2 == 0) & (values_1 != 0))),
            n_other_bits=count_other_bits(values_1, values_2),
            largest_difference=_largest_difference(values_1, values_2),
            box=Box((top + int(rows[0]), top + int(rows[-1])), (int(columns[0]), int(columns[-1]))),
        )
        self.difference = self.difference.plus(found)
        self.labels_1.add(values_1)
        self.labels_2.add(values_2)


def _largest_difference(values_1: Array, values_2: Array) -> float | None:
    dtypes = values_1.dtype, values_2.dtype
    wide: npt.DTypeLike = "i8" if all(dtype.kind in "bui" and dtype.itemsize < 8 for dtype in dtypes) else "f8"
    if any(dtype.kind in "ui" and dtype.itemsize == 8 for dtype in dtypes):
        wide = np.longdouble  # whole numbers above 2^53 are rounded in f8
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(values_1.astype(wide) - values_2.astype(wide))
    finite = differences[np.isfinite(differences)]
    return float(finite.max()) if finite.size else None
