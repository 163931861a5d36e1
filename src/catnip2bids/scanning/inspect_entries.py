"""Inspecting single entries, and comparing the images of a run with each other.

Invariant: an entry is read only as far as its inspection needs; its problems do not affect other entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from catnip2bids.catnip.component_type import Action, ComponentType, Content, SourceFormat, VoxelGrid
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.log import RunLog
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.formatting import format_choices, format_shape
from catnip2bids.scanning.entries import entries_below
from catnip2bids.scanning.model import Entry, Run
from catnip2bids.scanning.walk import files_below, links_out_of, refuse_odd_name
from catnip2bids.volume import (
    Inspection,
    inspect_nifti,
    inspect_slices,
    inspect_stack,
    label_values,
    read_planes,
    slice_files,
)


def inspected(entry: Entry) -> Entry:
    """Inspect an entry: count its files, check them, and find problems."""
    if entry.problems or entry.set_aside:
        return entry
    if entry.component is None or entry.component.storage == SourceFormat.FILE:
        return _measured(entry)
    if entry.component.storage == SourceFormat.TABLE:
        return _checked_table(entry)
    inspection = _with_checked_labels(entry, entry.component, _inspection(entry, entry.component))
    if entry.component.action == Action.EXCLUDE and inspection.problems:  # excluded entries may be broken
        warnings = inspection.warnings + inspection.problems
        inspection = replace(inspection, volume=None, problems=(), warnings=warnings)
    return replace(
        entry,
        n_files=inspection.n_files,
        n_bytes=inspection.n_bytes,
        volume=inspection.volume,
        problems=inspection.problems,
        warnings=entry.warnings + inspection.warnings,
    )


def with_slice_numbers(run: Run, patterns: Mapping[str, str]) -> Run:
    """Inspect slice folders again, with patterns for the slice number by the paths of the entries.

    Raises
    ------
    UsageError
        If a pattern is not valid, or is for anything but a slice folder.
    """
    entries = list(run.entries)
    for listed in entries_below(run.folder):
        if (pattern := patterns.get(listed.path)) is None:
            continue
        if listed.component is None or listed.component.storage != SourceFormat.SLICES:
            raise UsageError(f"{listed.location}: is not a slice folder; leave its slice_number out of the plan")
        at = next(index for index, entry in enumerate(entries) if entry.path == listed.path)
        entries[at] = inspected(replace(listed, slice_number=pattern))
    compared = zip(entries, compared_with_run(entries, run.log), strict=True)
    return replace(run, entries=tuple(new if old.path in patterns else old for old, new in compared))


def _inspection(entry: Entry, component: ComponentType) -> Inspection:
    if component.storage == SourceFormat.STACK:
        return inspect_stack(entry.location)
    if component.storage == SourceFormat.NIFTI:
        return inspect_nifti(entry.location)
    files = slice_files(entry.location)
    for file in files:
        refuse_odd_name(file)
    if not files:
        return Inspection(None, 0, 0, (f"{entry.location}: has no TIFF slices in it; bring them back or exclude it",))
    inspection = inspect_slices(files, entry.slice_number)
    links = [file for file in files if file.is_symlink() and file.exists()]
    return replace(inspection, warnings=inspection.warnings + links_out_of(links, entry.location, "its folder"))


def _with_checked_labels(entry: Entry, component: ComponentType, inspection: Inspection) -> Inspection:
    """Read labels that are stored as floats: their ids may be rounded (those from CATNIP never are)."""
    volume = inspection.volume
    if volume is None or component.content != Content.LABELS or volume.dtype.kind != "f":
        return inspection
    plane = np.empty((1, *volume.shape[1:]), volume.dtype)
    try:
        for index in range(volume.shape[0]):
            read_planes(volume, index, index + 1, plane)
            label_values(plane)
    except SourceError as error:
        text = str(error)
        named = text if str(entry.location) in text else f"{entry.location}: {text}"
        return replace(inspection, volume=None, problems=(*inspection.problems, named))
    return inspection


def _checked_table(entry: Entry) -> Entry:
    entry = _measured(entry)
    warnings: list[str] = []
    try:
        read_counts(entry.location, warnings.append)
    except SourceError as error:
        return replace(entry, problems=(str(error),))
    return replace(entry, warnings=(*entry.warnings, *warnings))


def _measured(entry: Entry) -> Entry:
    """Count files and bytes of an entry that is not read."""
    try:
        files = list(files_below(entry.location))
    except SourceError as error:
        return replace(entry, problems=(str(error),))
    broken = tuple(f"{file}: is a link to nowhere; bring the original back" for file in files if not file.exists())
    n_bytes = sum(file.stat().st_size for file in files if file.exists())
    links = [file for file in files if file != entry.location and file.exists()]
    leading_out = links_out_of(links, entry.location, "its folder")
    return replace(entry, n_files=len(files), n_bytes=n_bytes, problems=broken, warnings=entry.warnings + leading_out)


def missing_from_run(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield warnings about a missing raw image, and missing counts of a segmentation."""
    known = [(entry.component, entry.threshold) for entry in entries if entry.component is not None]
    if not any(component.raw for component, _ in known):
        names = format_choices([example for row in COMPONENTS if row.raw for example in row.examples])
        yield f"{folder}: has no {names}; without the image after N4 correction the dataset has no raw image of the run"
    counted = {threshold for component, threshold in known if component.content == Content.TABLE}
    segmented = {threshold for component, threshold in known if component.content == Content.MASK}
    for threshold in sorted(found for found in segmented - counted if found is not None):
        yield f"{folder}: has a segmentation but no table of cell counts for threshold {threshold}"


def compared_with_run(entries: Sequence[Entry], log: RunLog) -> Iterator[Entry]:
    """Compare the volumes on the native grid with the log and with each other."""
    native = {
        entry.path: entry.volume.shape
        for entry in entries
        if entry.volume
        and entry.component
        and entry.component.grid == VoxelGrid.NATIVE
        and entry.component.action != Action.EXCLUDE
    }
    usual = Counter(native.values()).most_common(1)[0][0] if native else None
    for entry in entries:
        shape = native.get(entry.path)
        if shape is not None and log.image_shape not in (None, shape):
            what = f"is {format_shape(shape)} voxels (X x Y x Z) and the log says {format_shape(log.image_shape)}"
            problem = f"{entry.location}: {what}; bring the missing slices back, or the right log"
            yield replace(entry, volume=None, problems=(problem,))
        elif shape != usual and shape is not None and usual is not None:
            warning = (
                f"{entry.location}: is {format_shape(shape)} voxels, most images of the run are {format_shape(usual)}"
            )
            yield replace(entry, warnings=(*entry.warnings, warning))
        else:
            yield entry
