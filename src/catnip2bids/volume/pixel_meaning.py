"""What the stored values of TIFF pages mean beyond their type: photometric, palette, calibration, orientation.

Invariant: values are never changed. Pages whose values mean different things are never planes of one volume; a meaning
that the new image does not keep is a warning.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from catnip2bids.formatting import format_count, format_list

_PHOTOMETRIC, _ORIENTATION, _COLOR_MAP, _GDAL_METADATA = 262, 274, 320, 42112
_UPRIGHT = 1
_ORIENTATIONS = range(2, 9)  # TIFF 6.0; readers ignore other values
_BLACK, _NO_PALETTE, _PLAIN = "0 as black", "no colour palette", "values that need no calibration"
_FULL = "full resolution"
_SHADES = {
    PHOTOMETRIC.MINISWHITE: "0 as white (MinIsWhite)",
    None: "no photometric tag, which some programs take for 0 as white",
}
_IMAGEJ_FUNCTION = re.compile(r"^(cf|c[0-4])=(\S+)\s*$", re.MULTILINE)
_POLYNOMIALS, _NO_FUNCTION = ("0", "1", "2", "3"), "20"  # of ImageJ's Calibration.java
_GDAL_SCALING = re.compile(r'role="(offset|scale)"[^>]*>\s*([^<\s]+)\s*<')


@dataclass(frozen=True)
class PixelMeaning:
    """What the values of one page mean, in words that follow "has"."""

    shades: str = _BLACK  # whether 0 means black or white
    palette: str = _NO_PALETTE
    calibration: str = _PLAIN  # from stored to real values
    orientation: str = f"orientation {_UPRIGHT}"
    resolution: str = _FULL  # whether the page is a smaller copy of another image


@dataclass(frozen=True)
class _Aspect:
    """The words for one aspect of the meaning."""

    read: Callable[[PixelMeaning], str]
    lost: str  # what happens to an unusual one that all planes share
    remedy: str  # what to do if planes differ in it
    mixes_values: bool = True  # planes that differ in it are not one volume


_ASPECTS = (
    _Aspect(
        lambda meaning: meaning.shades,
        "an image made from it keeps the stored values with 0 as black, so viewers show the negative",
        "save them all with 0 as black, from Fiji after File > Import > Bio-Formats",
    ),
    _Aspect(
        lambda meaning: meaning.palette,
        "an image made from it keeps the stored indices as values, and not the colours",
        "save them all with one palette, or as gray levels (in Fiji, Image > Lookup Tables > Grays keeps the values)",
    ),
    _Aspect(
        lambda meaning: meaning.calibration,
        "an image made from it keeps the stored values, and not the calibration; to convert the calibrated ones "
        "instead, save them from Fiji after Image > Type > 32-bit",
        "save them all with one calibration, or the calibrated values, from Fiji after Image > Type > 32-bit",
    ),
    _Aspect(
        lambda meaning: meaning.orientation,
        "rows and columns are kept as stored, and programs that follow this tag turn or mirror them",
        "rows and columns are kept as stored; check that these planes lie as the others do, or save them again upright",
        mixes_values=False,
    ),
    _Aspect(
        lambda meaning: meaning.resolution,
        "it may be made from a larger image that is not in the file",
        "check that all were taken with the same resolution",
        mixes_values=False,
    ),
)


def meaning_of(page: tifffile.TiffPage) -> PixelMeaning:
    """Read the meaning of the values of a page of gray levels or palette indices from its tags."""
    palette, orientation = _NO_PALETTE, page.tags.valueof(_ORIENTATION, _UPRIGHT)
    if page.photometric == PHOTOMETRIC.PALETTE:
        colors = np.asarray(page.tags.valueof(_COLOR_MAP), "<u2").tobytes()
        palette = f"the colour palette {hashlib.sha256(colors).hexdigest()[:6]}"
    # ImageJ describes a stack in its first page
    description = page.imagej_description or page.parent.pages.first.imagej_description
    calibration = _imagej_calibration(description) if description else _gdal_calibration(page)
    return PixelMeaning(
        _SHADES.get(page.tags.valueof(_PHOTOMETRIC), _BLACK),
        palette,
        _PLAIN if calibration is None else f"values to be calibrated ({calibration})",
        f"orientation {orientation if orientation in _ORIENTATIONS else _UPRIGHT}",
        "reduced resolution (NewSubfileType 1)" if page.is_reduced else _FULL,
    )


def compare_meanings(where: str, what: str, meanings: Mapping[str, PixelMeaning]) -> tuple[list[str], list[str]]:
    """Compare the meanings of the values of all planes of a volume, by the names of the planes.

    `where` is the folder or file, and `what` is what its planes are called: ``slice`` or ``page``. Returns problems
    (values that would be mixed) and warnings (meaning that the image does not keep).
    """
    problems: list[str] = []
    warnings: list[str] = []
    for aspect in _ASPECTS:
        names: dict[str, list[str]] = defaultdict(list)
        for name, meaning in meanings.items():
            names[aspect.read(meaning)].append(name)
        default = aspect.read(PixelMeaning())
        usual = max(names, key=lambda value: len(names[value]), default=default)
        odd = [
            f"{format_count(len(some), what)} {'has' if len(some) == 1 else 'have'} {value}: {format_list(some)}"
            for value, some in names.items()
            if value != usual
        ]
        if odd:
            findings = problems if aspect.mixes_values else warnings
            findings.append(f"{where}: {'; '.join(odd)}; others have {usual}; {aspect.remedy}")
        elif usual != default:
            warnings.append(f"{where}: every {what} has {usual}; {aspect.lost}")
    return problems, warnings


def _imagej_calibration(description: str) -> str | None:
    """Read the calibration from ImageJ's description of an image; None if it changes no value.

    ImageJ stores images of signed integers of 16 bits as unsigned ones with ``c0=-32768``.
    """
    found = {key: _number(text) for key, text in _IMAGEJ_FUNCTION.findall(description)}
    function, coefficients = found.pop("cf", _POLYNOMIALS[0]), [found.get(f"c{power}", "0") for power in range(5)]
    if function in _POLYNOMIALS:
        return _polynomial(coefficients) if found else None
    return None if function == _NO_FUNCTION else f"ImageJ's function {function} of {', '.join(coefficients)}"


def _gdal_calibration(page: tifffile.TiffPage) -> str | None:
    """Read offset and scale from GDAL's metadata; None if they change no value."""
    found = dict(_GDAL_SCALING.findall(str(page.tags.valueof(_GDAL_METADATA, ""))))
    return _polynomial([_number(found.get("offset", "0")), _number(found.get("scale", "1"))])


def _polynomial(coefficients: list[str]) -> str | None:
    """Format a function of stored values; None for the identity."""
    if coefficients[:2] == ["0", "1"] and set(coefficients[2:]) <= {"0"}:
        return None
    terms = [f"{factor} * stored" + (f"^{power}" if power > 1 else "") for power, factor in enumerate(coefficients)]
    return " + ".join(["value = " + coefficients[0], *(term for term in terms[1:] if not term.startswith("0 "))])


def _number(text: str) -> str:
    """Format a number uniformly: 1 for 1.0 and 1e0; other text stays as it is."""
    try:
        return repr(float(text) + 0.0).removesuffix(".0")
    except ValueError:
        return text
