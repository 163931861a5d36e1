"""The meaning of values that a TIFF file states: ImageJ's calibration, and whether 0 is white.

Invariant: values are compared as they are stored; a comparison reports their stated meaning besides.
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
class StatedCalibration:
    """The stated meaning of the values of a volume."""

    calibration: Calibration | None = None  # linear, with whole numbers, by ImageJ
    zero_is_white: bool = False  # whether 0 is shown white (photometric MinIsWhite)


def read_calibration(file: Path) -> StatedCalibration:
    """Read the stated meaning of values from the first page of a TIFF file.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
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
