"""The entries of a run folder: the coarsest files and folders that are one thing.

Invariant: every file system entry of a run is listed exactly once, whether anybody knows it or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from catnip2bids.catnip.components import FOLDERS, LEFTOVERS
from catnip2bids.catnip.recognition import recognise
from catnip2bids.scanning.files import links_out_of, refuse_odd_name
from catnip2bids.scanning.model import Entry
from catnip2bids.volume import is_slice

_LEFT_BEHIND = "left behind by an operating system, not written by CATNIP"


def entries_below(run: Path, below: str = "") -> Iterator[Entry]:
    """List everything in a run, by the coarsest entries that are one thing."""
    for location in sorted((run / below).iterdir()):
        path = location.relative_to(run).as_posix()
        refuse_odd_name(location)
        entry = recognised(Entry(path, location), path)
        if location.is_symlink():
            entry = _linked(entry, run)
        if not entry.problems and not entry.set_aside and location.is_dir():
            entry = _listable(entry)
        if LEFTOVERS.fullmatch(path) and not location.is_dir():
            yield replace(entry, set_aside=_LEFT_BEHIND)
        elif entry.set_aside or entry.problems or not location.is_dir():
            yield entry
        elif entry.component is not None:
            yield entry
            yield from _strangers_among_slices(entry)
        elif FOLDERS.fullmatch(path) and any(location.iterdir()):
            yield from (replace(inner, warnings=entry.warnings + inner.warnings) for inner in entries_below(run, path))
        else:
            yield entry


def recognised(entry: Entry, path: str) -> Entry:
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
    return replace(entry, warnings=links_out_of([entry.location], run, "the run folder"))


def _listable(entry: Entry) -> Entry:
    try:
        os.scandir(entry.location).close()
    except OSError as error:
        problem = f"{entry.location}: cannot be listed: {error.strerror}; make it readable, or exclude it"
        return replace(entry, problems=(problem,))
    return entry


def _strangers_among_slices(series: Entry) -> Iterator[Entry]:
    for location in sorted(series.location.iterdir()):
        if not is_slice(location):
            stranger = Entry(f"{series.path}/{location.name}", location)
            if LEFTOVERS.fullmatch(location.name) and not location.is_dir():
                stranger = replace(stranger, set_aside=_LEFT_BEHIND)
            yield stranger
