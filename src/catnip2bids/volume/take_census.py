"""The census of whatever a path is: a slice folder, a TIFF stack, a NIfTI file."""

from __future__ import annotations

import re
from pathlib import Path

from catnip2bids.errors import SourceError
from catnip2bids.volume.census import Census
from catnip2bids.volume.nifti import census_nifti
from catnip2bids.volume.slices import census_slices
from catnip2bids.volume.stack import census_stack

_TIFF = (".tif", ".tiff", ".btf")
# CATNIP's names tell the slice number after a Z, whatever follows; elsewhere it is the last number of the name
_SLICE_NUMBERS = (re.compile(r"(?:^|_)Z(?P<plane>\d+)"), re.compile(r"(?P<plane>\d+)\D*$"))


def take_census(path: Path) -> Census:
    """Take the census of a volume, however it is stored.

    Raises
    ------
    SourceError
        If the path is none of a folder of TIFF slices, a TIFF file and a NIfTI file.
    """
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in _TIFF and not file.name.startswith(".")]
        if not files:
            raise SourceError(f"{path}: has no TIFF slices in it")
        fitting = (number for number in _SLICE_NUMBERS if all(number.search(file.name) for file in files))
        return census_slices(files, next(fitting, _SLICE_NUMBERS[0]))
    if not path.exists():
        raise SourceError(f"{path}: is not there")
    if path.suffix.lower() in _TIFF:
        return census_stack(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return census_nifti(path)
    raise SourceError(f"{path}: is neither a folder of TIFF slices, nor a TIFF or NIfTI file")
