"""Detect the format of a volume and inspect it: a slice folder, a TIFF stack, a NIfTI file, an OME-Zarr image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catnip2bids.errors import SourceError, UsageError
from catnip2bids.leftovers import is_leftover
from catnip2bids.volume.derived_volumes import PlaneSubset, RecoveredMask
from catnip2bids.volume.nifti import inspect_nifti
from catnip2bids.volume.slice_series import SliceSeries, inspect_slices
from catnip2bids.volume.tiff_stack import inspect_stack
from catnip2bids.volume.volume import Inspection, Volume, file_states
from catnip2bids.volume.zarr import inspect_zarr, is_ome_zarr

_TIFF = (".tif", ".tiff", ".btf")


def inspect_volume(path: Path, slice_number: str | None = None) -> Inspection:
    """Inspect a volume, however it is stored.

    `slice_number` is the pattern for a slice folder, see `inspect_slices`; for anything else it is a UsageError.
    """
    if path.is_dir() and not is_ome_zarr(path):
        files = slice_files(path)
        if not files:
            raise SourceError(
                f"{path}: is neither a folder of TIFF slices nor an OME-Zarr image; give the folder of one or the other"
            )
        return inspect_slices(files, slice_number)
    if slice_number is not None and path.exists():
        raise UsageError(
            f"{path}: is not a folder of TIFF slices, so it has no slice numbers; leave --slice-number out"
        )
    if is_ome_zarr(path):
        return inspect_zarr(path)
    if not path.exists():
        raise SourceError(f"{path}: does not exist; give a slice folder, a TIFF or NIfTI file, or an OME-Zarr image")
    if is_tiff(path):
        return inspect_stack(path)
    if is_nifti(path):
        return inspect_nifti(path)
    raise SourceError(
        f"{path}: is neither a folder of TIFF slices, nor a TIFF or NIfTI file, nor an OME-Zarr image; "
        "give one of these"
    )


def is_tiff(path: Path) -> bool:
    """Tell by its name whether a file is a TIFF file."""
    return path.suffix.lower() in _TIFF


def is_nifti(path: Path) -> bool:
    """Tell by its name whether a file is a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def is_slice(path: Path) -> bool:
    """Tell by its name whether a file of a slice folder is one of its slices; hidden files and leftovers are not."""
    return is_tiff(path) and not path.name.startswith(".") and not is_leftover(path)


def slice_files(folder: Path) -> list[Path]:
    """List the slices of a folder, in the order of their names."""
    return sorted(filter(is_slice, folder.iterdir()))


def source_states(volume: Volume) -> list[tuple[str, int, int]]:
    """Return what identifies the unchanged files of a volume; see `file_states`.

    Raises SourceError if a file is gone, or a slice folder has more slices than when it was inspected.
    """
    states = file_states(volume.files)
    for series in _slice_series(volume):
        folder = series.slices[0].parent
        if len(slice_files(folder)) != series.n_in_folder:
            raise SourceError(f"{folder}: got more slices while it was read; run again when nothing writes to it")
    return states


def _slice_series(volume: Volume) -> Iterator[SliceSeries]:
    """Yield the slice series that a volume consists of."""
    if isinstance(volume, SliceSeries):
        yield volume
    elif isinstance(volume, RecoveredMask):
        yield from (*_slice_series(volume.whole), *_slice_series(volume.masked))
    elif isinstance(volume, PlaneSubset):
        yield from _slice_series(volume.whole)
