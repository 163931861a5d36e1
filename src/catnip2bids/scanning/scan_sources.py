"""The scan: finding the runs below source folders, and inspecting their entries.

Invariant: nothing is written or changed, and no run is found twice. An entry is read only as far as its inspection
needs; its problems do not affect other entries.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from catnip2bids.catnip.atlas import ATLAS_LABELS
from catnip2bids.catnip.component_type import Action, ComponentType, Content, SourceFormat
from catnip2bids.catnip.components import COMPONENTS, LOG, TELLTALE_FOLDERS, layout_of, looks_like_run
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.log import RunLog, read_log
from catnip2bids.catnip.run_name import parse_run_name
from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources, own_resources
from catnip2bids.engine.process_pool import WORKER_BYTES, is_worth_processes, prepare_processes
from catnip2bids.errors import ReadError, SourceError, UsageError, unreadable
from catnip2bids.formatting import format_choices, format_shape
from catnip2bids.leftovers import unfinished_copies
from catnip2bids.progress import Progress
from catnip2bids.scanning.entries import entries_below, files_below, links_out_of, recognised, refuse_odd_name, walk
from catnip2bids.scanning.model import Entry, Run, Scan
from catnip2bids.volume import (
    Inspection,
    inspect_nifti,
    inspect_slices,
    inspect_stack,
    label_values,
    pixel_bytes,
    read_planes,
    slice_files,
)

_PARENTS_THAT_MAY_NAME_A_RUN = 3
_ENTRY_BYTES = 32 * 2**20
"""Memory for inspecting an entry: paths and headers, but no pixels."""
_HEADER_BYTES = 128 * 2**10
"""Reading the header of a slice takes as long as decoding so many bytes of pixels."""


def scan(sources: Sequence[Path | str] | Path | str, progress: Progress | None = None) -> Scan:
    """Find all runs below some folders and inspect their entries.

    Parameters
    ----------
    sources
        Folders that are runs, or hold runs at any depth.
    progress
        Receives the entry that is inspected.

    Raises
    ------
    SourceError
        If a source is not a folder, no run is found below it, or the name of a folder is not UTF-8.
    UsageError
        If no source is given.

    Examples
    --------
    >>> scan("cohort")
    <Scan cohort: 2 runs, 33 entries, 0 problems>
    """
    return scan_with_resources(sources, progress or Progress(), own_resources(None, None))


def scan_with_resources(sources: Sequence[Path | str] | Path | str, progress: Progress, resources: Resources) -> Scan:
    """Scan as `scan` does; entries of large cohorts are inspected in worker processes if the resources allow it."""
    folders = tuple(source_list(sources))
    runs: dict[Path, tuple[Path, Path]] = {}  # run folder and source, by resolved path
    for folder in folders:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise SourceError(f"{folder}: {what}; give the folder that holds CATNIP's output folders")
        found = list(_find_runs(folder))
        if not found:
            raise SourceError(
                f"{folder}: holds no output folder of CATNIP (looked for {', '.join(TELLTALE_FOLDERS)}, with or "
                "without a channel such as 640_); give the folder of a run, or any folder above it"
            )
        for run_folder in found:
            for part in (run_folder, *run_folder.parents):
                refuse_odd_name(part)
            runs.setdefault(run_folder.resolve(), (run_folder, folder))
    listed = [_listed_entries(run_folder) for run_folder, _ in runs.values()]
    inspected = iter([*_inspect_all(list(chain.from_iterable(listed)), resources, progress)])
    entries = [list(islice(inspected, len(of_run))) for of_run in listed]
    return Scan(folders, tuple(_run(*run, found) for run, found in zip(runs.values(), entries, strict=True)))


@contextmanager
def _raising_read_errors(path: Path) -> Iterator[None]:
    """Turn an error of the system into a `ReadError` that names the file, or this path if the file is not known."""
    try:
        yield
    except OSError as error:
        raise ReadError(unreadable(error.filename or path, error)) from error


def source_list(sources: Sequence[Path | str] | Path | str) -> list[Path]:
    """Return the source folders as a list, even if only one was given."""
    listed = [Path(sources)] if isinstance(sources, str | Path) else [Path(source) for source in sources]
    if not listed:
        raise UsageError("no source folder is given; give folders that are CATNIP runs, or hold runs at any depth")
    return listed


def _find_runs(source: Path) -> Iterator[Path]:
    """Walk down to each folder that is a run; skip recycle bins and snapshots, which hold runs from elsewhere."""
    for folder, folders, _ in walk(source):
        if looks_like_run(frozenset(folders)):
            folders.clear()
            yield folder


def _listed_entries(run: Path) -> list[Entry]:
    """List the entries of a run, and the log beside it, which comes last."""
    log = run / ".." / f"{run.resolve().name}.log.txt"
    with _raising_read_errors(run):
        beside = [recognised(Entry(f"../{log.name}", log), log.name)] if log.is_file() else []
        return [*entries_below(run), *beside]


def _inspect_all(entries: Sequence[Entry], resources: Resources, progress: Progress) -> Iterator[Entry]:
    """Inspect entries, and yield them in their order."""

    def announced() -> Iterable[Entry]:
        for entry in entries:
            run = entry.location.parents[entry.path.count("/")]
            progress.looking_at(f"{run.name}/{entry.path.removeprefix('../')}")
            yield entry

    n_bytes = _HEADER_BYTES * sum(map(_count_slices, entries))
    n_fitting = (resources.memory_bytes - OVERHEAD_BYTES) // (WORKER_BYTES + _ENTRY_BYTES)
    n_processes = min(n_fitting, resources.n_threads)
    if resources.executor is not None or n_processes < 2 or not is_worth_processes(n_bytes):
        n_pixel_bytes = 0
        for entry in map(_inspected, announced()):
            n_pixel_bytes += pixel_bytes(entry.volume) if entry.volume else 0
            prepare_processes(resources, n_pixel_bytes)
            yield _with_checked_labels(entry)
        return
    here = Resources(n_processes, resources.memory_bytes)
    with BoundedMap(here, _ENTRY_BYTES, n_bytes=n_bytes, about="the scan") as readers:
        for entry, found in zip(entries, readers.map(_inspected, announced()), strict=True):
            # other processes return copies of components, which are compared by identity
            yield _with_checked_labels(replace(found, component=entry.component))


def _count_slices(entry: Entry) -> int:
    if entry.problems or entry.set_aside or entry.component is None or entry.component.storage != SourceFormat.SLICES:
        return 0
    with os.scandir(entry.location) as files:
        return sum(1 for _ in files)


def _run(folder: Path, source: Path, entries: Sequence[Entry]) -> Run:
    absolute = folder.resolve()
    logs = [entry.location for entry in entries if entry.component == LOG]
    with _raising_read_errors(folder):
        log = max(map(read_log, logs), key=lambda found: found.has_facts, default=RunLog())  # others may have notes
    name = parse_run_name(absolute.name, [parent.name for parent in absolute.parents][:_PARENTS_THAT_MAY_NAME_A_RUN])
    return Run(
        folder=folder,
        source=folder.relative_to(source).as_posix(),
        name=name,
        log=log,
        layout=layout_of(frozenset(entry.path for entry in entries)),
        entries=tuple(_compared_with_run(entries, log)),
        warnings=(
            *links_out_of([folder], source, "the source"),
            *(f"{folder}: {doubt}" for doubt in name.doubts),
            *_log_without_facts(logs, log),
            *_missing_from_run(folder, entries),
        ),
    )


def _log_without_facts(logs: Sequence[Path], log: RunLog) -> Iterator[str]:
    """Yield a warning about a log with which nothing can be compared."""
    if logs and not log.has_facts:
        yield (
            f"{logs[0]}: says neither the atlas version nor the image size nor the downsampling factor, so the run is "
            "not compared with them; copy it again from where CATNIP wrote it"
        )


def _inspected(entry: Entry) -> Entry:
    """Inspect an entry: count its files, check their headers, and find problems."""
    with _raising_read_errors(entry.location):
        return _with_headers(entry)


def _with_headers(entry: Entry) -> Entry:
    if entry.problems or entry.set_aside:
        return entry
    if entry.component is None or entry.component.storage == SourceFormat.FILE:
        return _measured(entry)
    if entry.component.storage == SourceFormat.TABLE:
        return _checked_table(entry)
    inspection = _inspection(entry, entry.component)
    found = replace(
        entry,
        n_files=inspection.n_files,
        n_bytes=inspection.n_bytes,
        volume=inspection.volume,
        problems=inspection.problems,
        warnings=entry.warnings + inspection.warnings,
    )
    return _tolerated(found)


def _tolerated(entry: Entry) -> Entry:
    """Turn problems into warnings if the entry is excluded by default: it may be broken."""
    if entry.component is None or entry.component.action != Action.EXCLUDE or not entry.problems:
        return entry
    return replace(entry, volume=None, problems=(), warnings=entry.warnings + entry.problems)


def with_slice_numbers(run: Run, patterns: Mapping[str, str]) -> Run:
    """Inspect slice folders again, with patterns for the slice number by the paths of the entries."""
    entries = list(run.entries)
    for listed in entries_below(run.folder):
        if (pattern := patterns.get(listed.path)) is None:
            continue
        if listed.component is None or listed.component.storage != SourceFormat.SLICES:
            raise UsageError(f"{listed.location}: is not a slice folder; leave its slice_number out of the plan")
        at = next(index for index, entry in enumerate(entries) if entry.path == listed.path)
        entries[at] = _with_checked_labels(_inspected(replace(listed, slice_number=pattern)))
    compared = zip(entries, _compared_with_run(entries, run.log), strict=True)
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


def _with_checked_labels(entry: Entry) -> Entry:
    """Read labels that are stored as floats: their ids may be rounded (those from CATNIP never are)."""
    component, volume = entry.component, entry.volume
    if volume is None or component is None or component.content != Content.LABELS or volume.dtype.kind != "f":
        return entry
    plane = np.empty((1, *volume.shape[1:]), volume.dtype)
    try:
        for index in range(volume.shape[0]):
            read_planes(volume, index, index + 1, plane)
            label_values(plane)
    except SourceError as error:
        text = str(error)
        named = text if str(entry.location) in text else f"{entry.location}: {text}"
        return _tolerated(replace(entry, volume=None, problems=(*entry.problems, named)))
    return entry


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
    warnings = links_out_of(links, entry.location, "its folder") + unfinished_copies(entry.location.parent, files)
    return replace(entry, n_files=len(files), n_bytes=n_bytes, problems=broken, warnings=entry.warnings + warnings)


def _missing_from_run(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield warnings about a missing raw image, and counts and segmentations without the other."""
    known = [(entry.component, entry.threshold) for entry in entries if entry.component is not None]
    if not any(component.raw for component, _ in known):
        names = format_choices([example for row in COMPONENTS if row.raw for example in row.examples])
        yield f"{folder}: has no {names}; without the image after N4 correction the dataset has no raw image of the run"
    counted = {threshold for component, threshold in known if component.content == Content.TABLE}
    segmented = {threshold for component, threshold in known if component.content == Content.MASK}
    for threshold in sorted(found for found in segmented - counted if found is not None):
        yield f"{folder}: has a segmentation but no table of cell counts for threshold {threshold}"
    yield from _counts_without_cells(folder, entries)


def _counts_without_cells(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield warnings about counts of which no cells can be found, without a segmentation, or labels of its size."""
    known = [(entry.component, entry) for entry in entries if entry.component is not None]
    shapes = {entry.volume.shape for row, entry in known if row.role in ATLAS_LABELS and entry.volume is not None}
    segmentations = {entry.threshold: entry.volume for row, entry in known if row.role == "FRSTseg"}
    counted = {entry.threshold for row, entry in known if row.content == Content.TABLE}
    for threshold in sorted(found for found in counted if found is not None):
        if threshold not in segmentations:
            missing = "segmentation"
        elif (volume := segmentations[threshold]) is not None and volume.shape not in shapes:
            missing = f"atlas labels of the size of the segmentation ({format_shape(volume.shape)})"
        else:
            continue
        yield (
            f"{folder}: has a table of cell counts but no {missing} for threshold {threshold}; without it, the dataset "
            "has no tables of cells for this threshold, and verify --counts cannot check its counts. Copy it again "
            "from where CATNIP wrote it"
        )


def _compared_with_run(entries: Sequence[Entry], log: RunLog) -> Iterator[Entry]:
    """Compare the volumes on the native grid with the log and with each other."""
    native = {entry.path: entry.native_volume.shape for entry in entries if entry.native_volume}
    usual = Counter(native.values()).most_common(1)[0][0] if native else None
    for entry in entries:
        shape = native.get(entry.path)
        if shape is None or usual is None:
            yield entry
        elif log.image_shape not in (None, shape):
            what = f"is {format_shape(shape)} voxels (X x Y x Z) and the log says {format_shape(log.image_shape)}"
            problem = f"{entry.location}: {what}; bring the missing slices back, or the right log"
            yield replace(entry, volume=None, problems=(problem,))
        elif shape != usual:
            warning = (
                f"{entry.location}: is {format_shape(shape)} voxels, most images of the run are {format_shape(usual)}"
            )
            yield replace(entry, warnings=(*entry.warnings, warning))
        else:
            yield entry
