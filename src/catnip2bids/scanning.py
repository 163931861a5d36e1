"""Find the runs below the source folders and take a census of everything in them.

Invariant: every file system entry of a run is listed exactly once, whether anybody knows it or not, and
nothing is written or changed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from catnip2bids.catnip.components import (
    FOLDERS,
    LEFTOVERS,
    Action,
    ComponentType,
    Content,
    Grid,
    Storage,
    layout_of,
    looks_like_run,
    recognise,
)
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.log import RunLog, read_log
from catnip2bids.catnip.run_name import RunName, parse_run_name
from catnip2bids.errors import ReadError, SourceError
from catnip2bids.shown import Shown, Summary, counted
from catnip2bids.volume import Census, Volume, census_nifti, census_slices, census_stack, label_values, read_planes

_SLICE_ENDINGS = (".tif", ".tiff")
_PARENTS_THAT_MAY_NAME_A_RUN = 3


@dataclass(frozen=True)
class Entry:
    """One file system entry of a run: a component, or something unknown.

    Attributes
    ----------
    path
        POSIX path below the run folder.
    location
        Where it is on disk.
    component
        The row of the component table, None if nobody knows the entry.
    threshold
        FRST threshold in its name.
    n_files, n_bytes
        How much it is on disk.
    volume
        The image in it, if it is a whole one.
    problems
        Reasons not to convert it.
    warnings
        Things to know that do not stand in the way.
    set_aside
        Why it is no output of CATNIP at all (a link to another entry, what an operating system left behind);
        empty otherwise.
    link_to
        POSIX path below the run folder of the entry that this one is a link to.
    """

    path: str
    location: Path
    component: ComponentType | None = field(default=None, repr=False)
    threshold: int | None = None
    n_files: int = 1
    n_bytes: int = 0
    volume: Volume | None = field(default=None, repr=False)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    set_aside: str = ""
    link_to: str | None = None


@dataclass(frozen=True, repr=False)
class Run(Shown):
    """One output folder of CATNIP.

    Attributes
    ----------
    folder
        Where it is.
    source
        POSIX path below the SOURCE that was given; ``.`` if it is that folder.
    name
        What its name, and those of its parents, tell.
    log
        What its log tells; no fields if there is no log.
    layout
        ``L0``, ``L1`` or ``L2``, see `catnip2bids.catnip.components`.
    entries
        Everything in it, in the order of the paths.
    warnings
        Things to know of the run as a whole.
    """

    folder: Path
    source: str
    name: RunName
    log: RunLog
    layout: str
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()

    @property
    def all_warnings(self) -> list[str]:
        """Things to know of the run and of its entries."""
        return [*self.warnings, *(warning for entry in self.entries for warning in entry.warnings)]

    @property
    def folder_name(self) -> str:
        """Name of the run folder, even if it was given as ``.``."""
        return self.folder.resolve().name

    def source_of(self, entry: Entry) -> str:
        """POSIX path of an entry below the SOURCE that was given."""
        return os.path.normpath(f"{self.source}/{entry.path}")

    def _summary(self) -> Summary:
        problems = [f"{entry.path}: {problem}" for entry in self.entries for problem in entry.problems]
        facts = (
            f"layout {self.layout}",
            counted(len(self.entries), "entry", "entries"),
            counted(len(problems), "problem"),
        )
        rows = [
            {"entry": entry.path, "files": entry.n_files, "bytes": entry.n_bytes, "problems": len(entry.problems)}
            for entry in self.entries
        ]
        return Summary(self.folder_name, facts, rows, problems)


@dataclass(frozen=True, repr=False)
class Scan(Shown):
    """Everything that was found below the source folders.

    Attributes
    ----------
    sources
        The folders that were given.
    runs
        The runs in them, each with all its entries.
    """

    sources: tuple[Path, ...]
    runs: tuple[Run, ...]

    def _summary(self) -> Summary:
        problems = [
            f"{run.source_of(entry)}: {what}" for run in self.runs for entry in run.entries for what in entry.problems
        ]
        facts = (
            counted(len(self.runs), "run"),
            counted(sum(len(run.entries) for run in self.runs), "entry", "entries"),
            counted(len(problems), "problem"),
        )
        rows = [
            {"run": run.source, "subject": run.name.subject_label, "layout": run.layout, "entries": len(run.entries)}
            for run in self.runs
        ]
        return Summary(", ".join(map(str, self.sources)), facts, rows, problems)


def scan(sources: Sequence[Path | str] | Path | str, on_entry: Callable[[str], None] | None = None) -> Scan:
    """Find all runs below some folders and take a census of each.

    Parameters
    ----------
    sources
        Folders that are runs, or hold runs at any depth.
    on_entry
        Told the path of each entry before it is looked at.

    Raises
    ------
    SourceError
        If a source is no folder, or no run is found below it.

    Examples
    --------
    >>> scan("cohort")
    <Scan cohort: 2 runs, 31 entries, no problems>
    """
    folders = tuple(Path(source) for source in listed_sources(sources))
    runs: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SourceError(f"{folder}: is not a folder; give the folder that holds CATNIP's output folders")
        found = list(_find_runs(folder))
        if not found:
            raise SourceError(
                f"{folder}: holds no output folder of CATNIP (looked for N4, FRST, FRST_seg, "
                "atlaslabel_def_origspace, heatmaps_atlasspace, with or without a channel such as 640_)"
            )
        for run_folder in found:
            if run_folder.resolve() not in runs:
                try:
                    runs[run_folder.resolve()] = _scan_run(run_folder, folder, on_entry)
                except OSError as error:
                    raise ReadError(f"{error.filename or run_folder}: cannot be read: {error.strerror}") from error
    return Scan(folders, tuple(runs.values()))


def listed_sources(sources: Sequence[Path | str] | Path | str) -> list[Path]:
    """Return the source folders as a list, even if only one was given."""
    return [Path(sources)] if isinstance(sources, str | Path) else [Path(source) for source in sources]


def _find_runs(folder: Path) -> Iterator[Path]:
    """Walk down until a folder is a run; links to folders are followed, but none twice."""
    seen: set[Path] = set()
    for parent, folders, _ in os.walk(folder, followlinks=True, onerror=_not_listed):
        folders.sort()
        if Path(parent).resolve() in seen:
            folders.clear()
            continue
        seen.add(Path(parent).resolve())
        if looks_like_run(frozenset(folders)):
            folders.clear()
            yield Path(parent)


def _scan_run(folder: Path, source: Path, on_entry: Callable[[str], None] | None) -> Run:
    entries = []
    for entry in _entries(folder):
        if on_entry is not None:
            on_entry(f"{folder.name}/{entry.path}")
        entries.append(_examined(entry))
    absolute = folder.resolve()
    log_beside = folder / ".." / f"{absolute.name}.log.txt"
    logs = [entry.location for entry in entries if entry.component and entry.component.role == "log"]
    if log_beside.is_file():
        entries.append(_known(Entry(f"../{log_beside.name}", log_beside), log_beside.name))
        logs.append(log_beside)
    log = read_log(logs[0]) if logs else RunLog(fields={})
    return Run(
        folder=folder,
        source=folder.relative_to(source).as_posix(),
        name=parse_run_name(absolute.name, [parent.name for parent in absolute.parents][:_PARENTS_THAT_MAY_NAME_A_RUN]),
        log=log,
        layout=layout_of(frozenset(entry.path for entry in entries)),
        entries=tuple(_compared_with_run(entries, log)),
        warnings=_leads_out([folder], source, "the source"),
    )


def _not_listed(error: OSError) -> NoReturn:
    raise ReadError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def _leads_out(paths: Iterable[Path], folder: Path, what: str) -> tuple[str, ...]:
    """Say which paths lead out of a folder, as links do: they are followed, and somebody should know."""
    inside, leading_out = folder.resolve(), []
    for path in paths:
        target = path.resolve()
        if not target.is_relative_to(inside):
            leading_out.append(f"{path} -> {target}")
    if not leading_out:
        return ()
    first, n_more = leading_out[0], len(leading_out) - 1
    return (f"{first}: is a link out of {what}, and is followed{f'; so are {n_more} more beside it' * bool(n_more)}",)


def _entries(run: Path, below: str = "") -> Iterator[Entry]:
    """List everything in a run, by the coarsest entries that are one thing."""
    for location in sorted((run / below).iterdir()):
        path = location.relative_to(run).as_posix()
        _refuse_odd_name(location)
        entry = _known(Entry(path, location), path)
        if location.is_symlink():
            entry = _linked(entry, run)
        if not entry.problems and not entry.set_aside and location.is_dir():
            entry = _listable(entry)
        if LEFTOVERS.fullmatch(path) and not location.is_dir():
            yield replace(entry, set_aside="left behind by an operating system, not written by CATNIP")
        elif entry.set_aside or entry.problems or not location.is_dir():
            yield entry
        elif entry.component is not None:
            yield entry
            yield from _strangers_among_slices(entry)
        elif FOLDERS.fullmatch(path) and any(location.iterdir()):
            yield from (replace(inner, warnings=entry.warnings + inner.warnings) for inner in _entries(run, path))
        else:
            yield entry


def _refuse_odd_name(path: Path) -> None:
    """Refuse a name that is no text, and so could be written into no table.

    Raises
    ------
    SourceError
        If it is not UTF-8.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        shown = path.with_name(path.name.encode(errors="surrogateescape").decode(errors="replace"))
        raise SourceError(f"{shown}: has a name that is not UTF-8; rename it") from error


def _known(entry: Entry, path: str) -> Entry:
    """Look the entry up in the component table."""
    found = recognise(path, is_folder=entry.location.is_dir())
    if found is None:
        return entry
    component, match = found
    threshold = match.groupdict().get("threshold")
    return replace(entry, component=component, threshold=int(threshold) if threshold else None)


def _linked(entry: Entry, run: Path) -> Entry:
    """Links within a run are set aside; others are followed, and said so."""
    try:
        target = entry.location.resolve(strict=True)
    except (OSError, RuntimeError):
        return replace(entry, problems=(f"{entry.location}: is a link to nowhere; bring the original back",))
    if target.is_relative_to(run.resolve()):
        inside = target.relative_to(run.resolve()).as_posix()
        return replace(entry, set_aside=f"a link to {inside}, which is listed itself", link_to=inside)
    return replace(entry, warnings=_leads_out([entry.location], run, "the run folder"))


def _listable(entry: Entry) -> Entry:
    try:
        os.scandir(entry.location).close()
    except OSError as error:
        problem = f"{entry.location}: cannot be listed: {error.strerror}; have it opened for you, or exclude it"
        return replace(entry, problems=(problem,))
    return entry


def _is_slice(file: Path) -> bool:
    return file.suffix.lower() in _SLICE_ENDINGS and not LEFTOVERS.fullmatch(file.name)


def _strangers_among_slices(series: Entry) -> Iterator[Entry]:
    for location in sorted(series.location.iterdir()):
        if not _is_slice(location):
            stranger = Entry(f"{series.path}/{location.name}", location)
            if LEFTOVERS.fullmatch(location.name) and not location.is_dir():
                stranger = replace(stranger, set_aside="left behind by an operating system, not written by CATNIP")
            yield stranger


def _examined(entry: Entry) -> Entry:
    """Take the census of an entry."""
    if entry.problems or entry.set_aside:
        return entry
    if entry.component is None or entry.component.storage == Storage.FILE:
        return _measured(entry)
    if entry.component.storage == Storage.TABLE:
        return _checked_table(entry)
    census = _trusted(entry, entry.component, _census(entry, entry.component))
    if entry.component.action == Action.EXCLUDE:  # what is left out may be broken
        census = replace(census, problems=(), warnings=census.warnings + census.problems)
    return replace(
        entry,
        n_files=census.n_files,
        n_bytes=census.n_bytes,
        volume=census.volume,
        problems=census.problems,
        warnings=entry.warnings + census.warnings,
    )


def _census(entry: Entry, component: ComponentType) -> Census:
    if component.storage == Storage.STACK:
        return census_stack(entry.location)
    if component.storage == Storage.NIFTI:
        return census_nifti(entry.location)
    files = sorted(file for file in entry.location.iterdir() if _is_slice(file))
    for file in files:
        _refuse_odd_name(file)
    if not files:
        return Census(None, 0, 0, (f"{entry.location}: has no TIFF slices in it; bring them back or exclude it",))
    census = census_slices(files, re.compile(component.slice_number))
    links = [file for file in files if file.is_symlink() and file.exists()]
    return replace(census, warnings=census.warnings + _leads_out(links, entry.location, "its folder"))


def _trusted(entry: Entry, component: ComponentType, census: Census) -> Census:
    """Look into labels that are stored as floats: their ids may be wrong already (they never are, from CATNIP)."""
    volume = census.volume
    if volume is None or component.content != Content.LABELS or volume.dtype.kind != "f":
        return census
    plane = np.empty((1, *volume.shape[1:]), volume.dtype)
    try:
        for index in range(volume.shape[0]):
            read_planes(volume, index, index + 1, plane)
            label_values(plane)
    except SourceError as error:
        text = str(error)
        named = text if str(entry.location) in text else f"{entry.location}: {text}"
        return replace(census, volume=None, problems=(*census.problems, named))
    return census


def _checked_table(entry: Entry) -> Entry:
    entry = _measured(entry)
    try:
        read_counts(entry.location)
    except SourceError as error:
        return replace(entry, problems=(str(error),))
    return entry


def _measured(entry: Entry) -> Entry:
    """Count files and bytes of an entry that is not looked into."""
    try:
        files = list(files_below(entry.location))
    except SourceError as error:
        return replace(entry, problems=(str(error),))
    broken = tuple(f"{file}: is a link to nowhere; bring the original back" for file in files if not file.exists())
    n_bytes = sum(file.stat().st_size for file in files if file.exists())
    links = [file for file in files if file != entry.location and file.exists()]
    leading_out = _leads_out(links, entry.location, "its folder")
    return replace(entry, n_files=len(files), n_bytes=n_bytes, problems=broken, warnings=entry.warnings + leading_out)


def files_below(location: Path) -> Iterator[Path]:
    """List a file itself, or all files below a folder; links to folders are followed, but none twice."""
    if not location.is_dir():
        yield location
        return
    seen: set[Path] = set()
    for parent, folders, files in os.walk(location, followlinks=True, onerror=_not_listed):
        if Path(parent).resolve() in seen:
            folders.clear()
            continue
        seen.add(Path(parent).resolve())
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files))


def _compared_with_run(entries: Sequence[Entry], log: RunLog) -> Iterator[Entry]:
    """Compare the volumes on the native grid with the log and with each other."""
    native = {
        entry.path: entry.volume.shape
        for entry in entries
        if entry.volume
        and entry.component
        and entry.component.grid == Grid.NATIVE
        and entry.component.action != Action.EXCLUDE
    }
    usual = Counter(native.values()).most_common(1)[0][0] if native else None
    for entry in entries:
        shape = native.get(entry.path)
        if shape is not None and log.image_shape not in (None, shape):
            problem = (
                f"{entry.location}: is {_sizes(shape)} voxels (X x Y x Z) and the log says {_sizes(log.image_shape)}"
            )
            yield replace(entry, volume=None, problems=(f"{problem}; bring the missing slices back, or the right log",))
        elif shape != usual and shape is not None and usual is not None:
            warning = f"{entry.location}: is {_sizes(shape)} voxels, most images of the run are {_sizes(usual)}"
            yield replace(entry, warnings=(*entry.warnings, warning))
        else:
            yield entry


def _sizes(shape: tuple[int, int, int]) -> str:
    return " x ".join(str(n) for n in reversed(shape))
