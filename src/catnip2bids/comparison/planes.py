"""Two planes: hashes of both, and how they differ, found in one pass over their rows.

Invariant: voxels of one type differ where their bits differ, so planes without a difference have the same hash; voxels
of different types differ where they are different numbers. Memory is a band of rows of each plane, or a whole plane
where it can only be decoded as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from catnip2bids.comparison.compared_volume import ComparedVolume, SequentialPlane, same_bytes
from catnip2bids.comparison.labels import Counts, count_labels, joined_counts
from catnip2bids.comparison.values import ValueRule, count_other_bits, differing, possible_rules
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_count
from catnip2bids.volume import PageLayout, PlaneSource, little_endian_bytes

Array = npt.NDArray[Any]

SAME_FILES = "the files are the same byte for byte"
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
    """How the voxels of two planes of one shape differ."""

    n_different: int = 0  # voxels that differ
    # those of them that are 0 in 1 alone, and in 2 alone
    n_zeroed_1: int = 0
    n_zeroed_2: int = 0
    # those of them that have the same value with other bits: NaN, and 0.0 where the other one is -0.0
    n_other_bits: int = 0
    largest: float | None = None  # largest difference of two values; None where none differ, or none is a number
    box: Box | None = None  # where they differ


@dataclass(frozen=True)
class Plane:
    """One of two planes that are compared."""

    source: PlaneSource  # where it is
    layout: PageLayout | None = None  # shape and type; None where it could not be read
    sha256: str | None = None  # hash of its pixels; None where they were not decoded
    problem: str | None = None  # why it could not be read


@dataclass(frozen=True)
class PlanePair:
    """The planes of one slice number, and how they differ."""

    number: int  # the slice number
    # the planes; None where one side has none
    plane_1: Plane | None
    plane_2: Plane | None
    difference: Difference | None = None  # how their voxels differ; None unless both could be read, and have one shape
    same_files: bool = False  # whether they are known to be the same because their files are
    # how often each label occurs in 1 and in 2 where they differ; None where that is not known
    labels_1: Counts | None = field(default=None, repr=False)
    labels_2: Counts | None = field(default=None, repr=False)
    rules: tuple[ValueRule, ...] = ()  # rules that all of their voxels follow

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
        notes = [] if one.layout == two.layout else [f"1 is {one.layout}, 2 is {two.layout}"]
        if self.difference is not None and (n_other_bits := self.difference.n_other_bits):
            notes.append(f"same values, other bits in {format_count(n_other_bits, 'voxel')}")
        return "; ".join(notes)


@dataclass(frozen=True)
class VolumePair:
    """Two volumes whose planes are compared."""

    # the volumes
    side_1: ComparedVolume
    side_2: ComparedVolume
    same_file: bool = False  # whether they are the same, or each of them is one file and these are the same
    hash_same_files: bool = False  # whether planes are decoded for their hash too whose files are the same
    are_labels: bool = False  # whether values are labels, which are counted where they differ
    rules: tuple[ValueRule, ...] = ()  # rules that values may follow where they differ

    @property
    def numbers(self) -> list[int]:
        """The slice numbers of both sides, in order."""
        return sorted(self.side_1.planes.keys() | self.side_2.planes.keys())


def compare_planes(pairing: VolumePair, number: int) -> PlanePair:
    """Compare the planes of one slice number, of which at least one is there."""
    source_1, source_2 = pairing.side_1.planes.get(number), pairing.side_2.planes.get(number)
    if source_1 and source_2:
        # pages of one stack are pairs of the same page
        slices = pairing.side_1.is_slices and pairing.side_2.is_slices
        if pairing.same_file or (slices and same_bytes(source_1.path, source_2.path)):
            return _same_files(pairing, number, source_2)
        pair = PlanePair(number, Plane(source_1), Plane(source_2))
        try:
            with pairing.side_1.open(number) as one, pairing.side_2.open(number) as two:
                if one.layout.shape == two.layout.shape:
                    return _compared(pair, one, two, _Finding(pairing))
        except SourceError:
            pass  # what is wrong, and with which one, is found out when each is read by itself
    plane_1, labels_1 = _alone(pairing.side_1, number, pairing.are_labels)
    plane_2, labels_2 = _alone(pairing.side_2, number, pairing.are_labels)
    return PlanePair(number, plane_1, plane_2, labels_1=labels_1, labels_2=labels_2)


def _alone(side: ComparedVolume, number: int, are_labels: bool) -> tuple[Plane | None, Counts | None]:
    """Read a plane if it is there, and count its labels."""
    if number not in side.planes:
        return None, Counts()
    counting = _Labels(are_labels)
    return read_alone(side, number, look=counting.add), counting.counts


def _same_files(pairing: VolumePair, number: int, source_2: PlaneSource) -> PlanePair:
    """Return a pair that is the same, if it can be read at all; it is decoded once."""
    finding = _Finding(pairing)
    one = read_alone(pairing.side_1, number, with_hash=pairing.hash_same_files, look=finding.look_at_equal)
    if one.problem:
        two = replace(one, source=source_2, problem=read_alone(pairing.side_2, number).problem)
        return PlanePair(number, one, two)
    two, none = replace(one, source=source_2), Counts()
    return PlanePair(number, one, two, Difference(), True, none, none, finding.rules)


def read_alone(
    side: ComparedVolume, number: int, *, with_hash: bool = True, look: Callable[[Array], None] = lambda _: None
) -> Plane:
    """Read a plane that is compared with nothing, and `look` at its rows; one that cannot be read says so."""
    plane = Plane(side.planes[number])
    try:
        with side.open(number) as opened:
            plane = replace(plane, layout=opened.layout)
            if not with_hash:
                return plane
            digest = hashlib.sha256()
            for rows in opened.bands():
                digest.update(little_endian_bytes(rows))
                look(rows.reshape(-1))
            return replace(plane, sha256=digest.hexdigest())
    except SourceError as error:
        path = plane.source.path  # tifffile knows it only from the root on
        return replace(plane, problem=str(error).replace(str(path.absolute()), str(path)))


def _compared(pair: PlanePair, one: SequentialPlane, two: SequentialPlane, found: _Finding) -> PlanePair:
    """Hash and compare two planes of one shape."""
    if pair.plane_1 is None or pair.plane_2 is None:
        raise ValueError("both planes are open")
    digest_1, digest_2, top = hashlib.sha256(), hashlib.sha256(), 0
    height = min(one.band_height, two.band_height)
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
        labels_1=found.labels_1.counts,
        labels_2=found.labels_2.counts,
        rules=found.rules,
    )


def rules_at(pairing: VolumePair, number: int) -> tuple[ValueRule, ...]:
    """Return the rules that rows in the middle of a pair of planes leave possible; none where it cannot be read."""
    try:
        with pairing.side_1.open(number) as one, pairing.side_2.open(number) as two:
            if one.layout.shape != two.layout.shape:
                return ()
            itemsize = max(one.layout.dtype.itemsize, two.layout.dtype.itemsize)
            n_rows = max(_SAMPLE_BYTES // (one.layout.shape[1] * itemsize), 1)
            calibrations = pairing.side_1.stated.calibration, pairing.side_2.stated.calibration
            return possible_rules(one.middle(n_rows), two.middle(n_rows), calibrations)
    except SourceError:
        return ()


class _Labels:
    """Adds up how often labels occur, band by band; where values are no labels, nothing is known."""

    def __init__(self, are_labels: bool) -> None:
        self.counts: Counts | None = Counts() if are_labels else None

    def add(self, values: Array) -> None:
        """Count the labels of one band."""
        if self.counts is not None:
            self.counts = joined_counts(self.counts, count_labels(values))


class _Finding:
    """Adds up how two planes differ, band by band."""

    def __init__(self, pairing: VolumePair) -> None:
        self.difference = Difference()
        self.labels_1, self.labels_2 = _Labels(pairing.are_labels), _Labels(pairing.are_labels)
        self.rules = pairing.rules

    def look_at_equal(self, rows: Array) -> None:
        """Look at rows that are those of both."""
        self.rules = tuple(rule for rule in self.rules if rule.holds_if_equal(rows, rows))

    def look_at(self, top: int, rows_1: Array, rows_2: Array) -> None:
        """Look at the next rows of both; `top` is the first one's number."""
        different = differing(rows_1, rows_2)
        if not different.any():
            self.rules = tuple(rule for rule in self.rules if rule.holds_if_equal(rows_1, rows_2))
            return
        self.rules = tuple(rule for rule in self.rules if rule.holds(rows_1, rows_2))
        values_1, values_2 = rows_1[different], rows_2[different]
        before = self.difference
        self.difference = Difference(
            n_different=before.n_different + len(values_1),
            n_zeroed_1=before.n_zeroed_1 + int(np.count_nonzero((values_1 == 0) & (values_2 != 0))),
            n_zeroed_2=before.n_zeroed_2 + int(np.count_nonzero((values_2 == 0) & (values_1 != 0))),
            n_other_bits=before.n_other_bits + count_other_bits(values_1, values_2),
            largest=_larger(before.largest, _largest_difference(values_1, values_2)),
            box=_box(different, top).joined(before.box),
        )
        self.labels_1.add(values_1)
        self.labels_2.add(values_2)


def _box(different: Array, top: int) -> Box:
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    return Box((top + int(rows[0]), top + int(rows[-1])), (int(columns[0]), int(columns[-1])))


def _larger(one: float | None, two: float | None) -> float | None:
    return max((value for value in (one, two) if value is not None), default=None)


def _largest_difference(values_1: Array, values_2: Array) -> float | None:
    dtypes = values_1.dtype, values_2.dtype
    wide: npt.DTypeLike = "i8" if all(dtype.kind in "bui" and dtype.itemsize < 8 for dtype in dtypes) else "f8"
    if any(dtype.kind in "ui" and dtype.itemsize == 8 for dtype in dtypes):
        wide = np.longdouble  # whole numbers above 2^53 are rounded in f8
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(values_1.astype(wide) - values_2.astype(wide))
    finite = differences[np.isfinite(differences)]
    return float(finite.max()) if finite.size else None
