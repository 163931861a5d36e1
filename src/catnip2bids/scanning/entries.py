"""The entries of a run folder: components, and unknown files and folders.

Invariant: every file of a run belongs to exactly one entry, known or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from catnip2bids.catnip.components import FOLDERS, recognise
from catnip2bids.leftovers import LEFT_BEHIND, is_leftover, kind_of_file, leftovers_below, without_leftovers
from catnip2bids.scanning.model import Entry
from catnip2bids.scanning.walk import links_out_of, refuse_odd_name
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
