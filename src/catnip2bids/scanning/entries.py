"""Walk through source folders, and list the entries of a run: components, and unknown files and folders.

Invariant: every file of a run belongs to exactly one entry, known or not. A folder that cannot be listed is an error;
it is never skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from catnip2bids.catnip.components import FOLDERS, recognise
from catnip2bids.errors import ReadError, SourceError
from catnip2bids.leftovers import (
    LEFT_BEHIND,
    is_leftover,
    kind_of_file,
    leave_out_leftovers,
    leftovers_below,
    without_leftovers,
)
from catnip2bids.paths import DEEPEST_FOLDER
from catnip2bids.scanning.model import Entry
from catnip2bids.volume import is_slice

_MOST_OF_A_KIND = 20
"""Leftovers of one kind in one folder that get an entry each; some systems write one beside every slice."""


def entries_below(run: Path, below: str = "") -> Iterator[Entry]:
    """List the entries of a run; leftovers come last in each folder."""
    everything = sorted((run / below).iterdir())
    for location in without_leftovers(everything):
        path = location.relative_to(run).as_posix()
        refuse_odd_name(location)
        entry = recognised(Entry(path, location), path)
        if location.is_symlink():
            entry = _linked(entry, run)
        if not entry.problems and not entry.set_aside and location.is_dir():
            entry = _with_checked_listing(entry)
        if entry.set_aside or entry.problems or not location.is_dir():
            yield entry
        elif entry.component is not None:
            yield entry
            yield from _others_among_slices(run, entry)
        elif FOLDERS.fullmatch(path) and any(location.iterdir()):
            yield from (replace(inner, warnings=entry.warnings + inner.warnings) for inner in entries_below(run, path))
        else:
            yield entry
            yield from _leftover_entries(run, leftovers_below(location))
    yield from _leftover_entries(run, filter(is_leftover, everything))


def recognised(entry: Entry, path: str) -> Entry:
    """Look the entry up in the component table."""
    found = recognise(path, is_folder=entry.location.is_dir())
    if found is None:
        return entry
    component, match = found
    threshold = match.groupdict().get("threshold")
    return replace(entry, component=component, threshold=int(threshold) if threshold else None)


def _linked(entry: Entry, run: Path) -> Entry:
    """Set links within the run aside; follow others with a warning."""
    try:
        target = entry.location.resolve(strict=True)
    except (OSError, RuntimeError):
        return replace(entry, problems=(f"{entry.location}: is a link to nowhere; bring the original back",))
    if target.is_relative_to(run.resolve()):
        inside = target.relative_to(run.resolve()).as_posix()
        return replace(entry, set_aside=f"a link to {inside}, which is listed itself", link_to=inside)
    return replace(entry, warnings=links_out_of([entry.location], run, "the run folder"))


def _with_checked_listing(entry: Entry) -> Entry:
    try:
        os.scandir(entry.location).close()
    except OSError as error:
        problem = f"{entry.location}: cannot be listed: {error.strerror}; make it readable, or exclude it"
        return replace(entry, problems=(problem,))
    return entry


def _others_among_slices(run: Path, series: Entry) -> Iterator[Entry]:
    others = [location for location in sorted(series.location.iterdir()) if not is_slice(location)]
    for location in without_leftovers(others):
        yield Entry(f"{series.path}/{location.name}", location)
        yield from _leftover_entries(run, leftovers_below(location))
    yield from _leftover_entries(run, filter(is_leftover, others))


def _leftover_entries(run: Path, leftovers: Iterable[Path]) -> Iterator[Entry]:
    """Yield an entry for each leftover, or one for all of a kind in a folder where there are many."""
    kinds: dict[Path, list[Path]] = {}
    for location in leftovers:
        kind = location if location.is_dir() else location.with_name(kind_of_file(location.name))
        kinds.setdefault(kind, []).append(location)
    for kind, locations in kinds.items():
        groups = [[kind, *locations[1:]]] if len(locations) > _MOST_OF_A_KIND else [[one] for one in locations]
        for first, *more in groups:
            path = first.relative_to(run).as_posix().encode(errors="replace").decode()  # plans are text
            yield Entry(path, first, n_files=1 + len(more), set_aside=LEFT_BEHIND, is_leftover=True)


def walk(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through a folder as `os.walk` does, without leftovers; links to folders are followed, but none twice."""
    seen: set[Path] = set()
    for name, folders, files in os.walk(top, followlinks=True, onerror=_raise_read_error):
        folder = Path(name)
        if len(folder.relative_to(top).parts) > DEEPEST_FOLDER:
            raise SourceError(f"{folder}: is more than {DEEPEST_FOLDER} folders deep; move it up")
        if folder.resolve() in seen:
            folders.clear()
            continue
        seen.add(folder.resolve())
        leave_out_leftovers(folders, files)
        folders.sort()
        yield folder, folders, files


def _raise_read_error(error: OSError) -> NoReturn:
    """Raise the error that `os.walk` would ignore."""
    raise ReadError(f"{error.filename}: cannot be listed: {error.strerror}; make it readable and run again") from error


def files_below(location: Path) -> Iterator[Path]:
    """List a file itself, or all files below a folder but leftovers."""
    if not location.is_dir():
        yield location
        return
    for folder, _, files in walk(location):
        yield from (folder / name for name in sorted(files))


def links_out_of(paths: Iterable[Path], folder: Path, what: str) -> tuple[str, ...]:
    """Return a warning if paths lead out of a folder through links, which are followed."""
    targets = {path: path.resolve() for path in paths}
    inside = folder.resolve()
    leading_out = [f"{path} -> {target}" for path, target in targets.items() if not target.is_relative_to(inside)]
    if not leading_out:
        return ()
    first, n_more = leading_out[0], len(leading_out) - 1
    return (f"{first}: is a link out of {what}, and is followed{f'; so are {n_more} more beside it' * bool(n_more)}",)


def refuse_odd_name(path: Path) -> None:
    """Refuse a name that is not UTF-8: tables could not hold it."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        shown = path.with_name(path.name.encode(errors="surrogateescape").decode(errors="replace"))
        raise SourceError(f"{shown}: has a name that is not UTF-8; rename it") from error
