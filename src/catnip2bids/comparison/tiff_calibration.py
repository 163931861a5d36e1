"""What a TIFF file states of the meaning of its values: ImageJ's calibration, and whether 0 is white.

Invariant: what it states changes no value; it is what a comparison tells beside the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tifffile

from catnip2bids.comparison.values import Calibration
from catnip2bids.volume import open_tiff

_STRAIGHT_LINE = 0  # ImageJ's Calibration.STRAIGHT_LINE


@dataclass(frozen=True)
class Stated:
    """What is stated of the values of a volume."""

    calibration: Calibration | None = None  # a linear calibration of ImageJ with whole numbers; None without one
    zero_is_white: bool = False  # whether 0 is shown white (photometric MinIsWhite)


def stated_by(file: Path) -> Stated:
    """Read what the first page of a TIFF file states.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    with open_tiff(file) as tiff:
        return Stated(
            calibration_of(tiff.imagej_metadata or {}) if tiff.is_imagej else None,
            tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE,
        )


def calibration_of(metadata: Mapping[str, object]) -> Calibration | None:
    """Return the calibration in metadata of ImageJ (``cf``, ``c0``, ``c1``); None where values are as they are stored.

    Calibrations with other functions, or with numbers that are not whole, are no exact arithmetic and left out.
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
