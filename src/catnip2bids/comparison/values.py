"""The values of two volumes: what they mean, where they differ, and rules such as a constant difference.

Invariant: values are compared as they are stored; a calibration that files state is reported besides. A rule holds only
if every compared voxel agrees with it in exact arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.volume import open_tiff

Array = npt.NDArray[Any]

_STRAIGHT_LINE = 0  # ImageJ's Calibration.STRAIGHT_LINE
_WRAPPED_BITS = (32, 16, 8)
_INTEGERS, _ROUNDED_BYTES = "ui", 4
_LEAST, _MOST = -(2**63), 2**63 - 1  # of int64


@dataclass(frozen=True)
class Calibration:
    """ImageJ's linear calibration of an image: value = offset + factor * stored (``c0``, ``c1``)."""

    offset: int
    factor: int = 1

    def __str__(self) -> str:
        product = "stored" if self.factor == 1 else f"{self.factor} * stored"
        return f"value = {product}" + (_signed(self.offset) if self.offset else "")


@dataclass(frozen=True)
class StatedCalibration:
    """The meaning of the values of a volume, as its TIFF file states it."""

    calibration: Calibration | None = None
    zero_is_white: bool = False  # photometric MinIsWhite


def read_calibration(file: Path) -> StatedCalibration:
    """Read the stated meaning of values from the first page of a TIFF file."""
    with open_tiff(file) as tiff:
        return StatedCalibration(
            calibration_of(tiff.imagej_metadata or {}) if tiff.is_imagej else None,
            tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE,
        )


def calibration_of(metadata: Mapping[str, object]) -> Calibration | None:
    """Return the calibration in metadata of ImageJ (``cf``, ``c0``, ``c1``); None if there is none.

    Calibrations with other functions or with fractions are ignored, because their arithmetic is not exact.
    """
    if metadata.get("cf", _STRAIGHT_LINE) != _STRAIGHT_LINE:
        return None
    match metadata.get("c0"), metadata.get("c1"):
        case ((int() | float() as offset), (int() | float() as factor)):
            if not (math.isfinite(offset) and math.isfinite(factor) and offset == int(offset)):
                return None
            if factor == int(factor) and factor != 0 and (offset, factor) != (0, 1):
                return Calibration(int(offset), int(factor))
    return None


@dataclass(frozen=True)
class Calibrated:
    """Values are equal after calibration; a calibration that is None is not applied."""

    calibration_1: Calibration | None
    calibration_2: Calibration | None

    def __str__(self) -> str:
        stated = [(side, str(c)) for side, c in ((1, self.calibration_1), (2, self.calibration_2)) if c is not None]
        return stated[0][1] if len(stated) == 1 else ", ".join(f"{formula} in {side}" for side, formula in stated)

    def holds(self, rows_1: Array, rows_2: Array) -> bool:
        """Tell whether all voxels of two arrays of one shape agree with it."""
        values_1, values_2 = _calibrated(rows_1, self.calibration_1), _calibrated(rows_2, self.calibration_2)
        return values_1 is not None and values_2 is not None and not differing(values_1, values_2).any()


@dataclass(frozen=True)
class ConstantDifference:
    """Integers of 2 are those of 1 plus a constant other than 0."""

    difference: int

    def __str__(self) -> str:
        return f"1 and 2 differ by the constant {abs(self.difference)} everywhere (2 = 1{_signed(self.difference)})"

    def holds(self, rows_1: Array, rows_2: Array) -> bool:
        """Tell whether all voxels of two arrays of one shape agree with it."""
        return Calibrated(Calibration(self.difference), None).holds(rows_1, rows_2)


@dataclass(frozen=True)
class EqualModulo:
    """Integers of one volume are the lowest bits of those of the other one."""

    n_bits: int
    # the volume (1 or 2) without higher bits; None if both have the same bits, signed and unsigned
    wrapped: int | None

    def __str__(self) -> str:
        why = f"{self.wrapped} has only the lowest {self.n_bits} bits" if self.wrapped else "the same bits, once signed"
        return f"1 and 2 are equal modulo {2**self.n_bits} ({why})"

    def holds(self, rows_1: Array, rows_2: Array) -> bool:
        """Tell whether all voxels of two arrays of one shape agree with it."""
        if self.wrapped is not None:
            rows = rows_1 if self.wrapped == 1 else rows_2
            is_wider = rows.dtype.itemsize * 8 > self.n_bits
            if is_wider and not (rows.max() < 2**self.n_bits and (rows.dtype.kind == "u" or rows.min() >= 0)):
                return False
        if rows_1.dtype == rows_2.dtype and np.array_equal(rows_1, rows_2):
            return True
        bits = f"u{self.n_bits // 8}"  # such casts keep the lowest bits
        return np.array_equal(rows_1.astype(bits), rows_2.astype(bits))


@dataclass(frozen=True)
class Rounded:
    """Values of one volume (1 or 2) are those of the other one, rounded to float32."""

    side: int

    def __str__(self) -> str:
        return f"{self.side} has the values of {3 - self.side} rounded to float32"

    def holds(self, rows_1: Array, rows_2: Array) -> bool:
        """Tell whether all voxels of two arrays of one shape agree with it."""
        exact, rounded = (rows_2, rows_1) if self.side == 1 else (rows_1, rows_2)
        with np.errstate(invalid="ignore", over="ignore"):
            return not differing(exact.astype("f4").astype("f8"), rounded).any()


ValueRule = Calibrated | ConstantDifference | EqualModulo | Rounded
"""A rule that all pairs of voxels may follow."""


def possible_rules(
    rows_1: Array, rows_2: Array, calibrations: tuple[Calibration | None, Calibration | None]
) -> tuple[ValueRule, ...]:
    """Return the rules that hold for the same rows of both volumes, which are not empty; calibrations are stated."""
    return tuple(rule for rule in _rules(rows_1, rows_2, calibrations) if rule.holds(rows_1, rows_2))


def _rules(
    rows_1: Array, rows_2: Array, calibrations: tuple[Calibration | None, Calibration | None]
) -> Iterator[ValueRule]:
    stated_1, stated_2 = calibrations
    for calibration_1, calibration_2 in dict.fromkeys(((stated_1, None), (None, stated_2), calibrations)):
        if calibration_1 != calibration_2:
            yield Calibrated(calibration_1, calibration_2)
    one, two = rows_1.dtype, rows_2.dtype
    if one.kind in _INTEGERS and two.kind in _INTEGERS:
        if difference := int(rows_2.flat[0]) - int(rows_1.flat[0]):
            yield ConstantDifference(difference)
        if one.itemsize == two.itemsize and one.kind != two.kind:
            yield EqualModulo(8 * one.itemsize, None)
        for n_bits in _WRAPPED_BITS:
            if n_bits <= 8 * min(one.itemsize, two.itemsize) and n_bits < 8 * max(one.itemsize, two.itemsize):
                yield from (EqualModulo(n_bits, 1), EqualModulo(n_bits, 2))
    if min(one.itemsize, two.itemsize) >= _ROUNDED_BYTES:
        yield from (Rounded(side) for side, exact in ((2, one), (1, two)) if exact != np.float32)


def differing(rows_1: Array, rows_2: Array) -> Array:
    """Tell which voxels differ: in bits if both have one type, else in value."""
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


def count_other_bits(values_1: Array, values_2: Array) -> int:
    """Count differing values that differ only in bits: NaN and NaN, 0.0 and -0.0."""
    if values_1.dtype.kind != "f" or values_2.dtype.kind != "f":
        return 0
    return int(np.count_nonzero((values_1 == values_2) | (np.isnan(values_1) & np.isnan(values_2))))


def _calibrated(rows: Array, calibration: Calibration | None) -> Array | None:
    """Apply a calibration to integers; None for floats, and if the result would exceed int64."""
    if calibration is None:
        return rows
    if rows.dtype.kind not in _INTEGERS:
        return None
    for value in (int(rows.min()), int(rows.max())):
        product = value * calibration.factor
        if any(not _LEAST <= number <= _MOST for number in (value, product, product + calibration.offset)):
            return None
    return np.asarray(rows.astype("i8") * calibration.factor + calibration.offset)


def _signed(number: int) -> str:
    return f" {'+' if number > 0 else '-'} {abs(number)}"
