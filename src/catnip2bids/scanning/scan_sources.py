"""The scan of all source folders.

Invariant: nothing is written or changed, and no run is found twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from catnip2bids.catnip.components import LOG, TELLTALE_FOLDERS, layout_of, looks_like_run
from catnip2bids.catnip.log import RunLog, read_log
from catnip2bids.catnip.run_name import parse_run_name
from catnip2bids.errors import ReadError, SourceError, UsageError
from catnip2bids.leftovers import leave_out_leftovers
from catnip2bids.progress import Progress
from catnip2bids.scanning.entries import entries_below, recognised
from catnip2bids.scanning.inspect_entries import compared_with_run, inspected, missing_from_run
from catnip2bids.scanning.model import Entry, Run, Scan
from catnip2bids.scanning.walk import links_out_of, not_listed, refuse_odd_name, refuse_too_deep

_PARENTS_THAT_MAY_NAME_A_RUN = 3


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

    Examples
    --------
    >>> scan("cohort")
    <Scan cohort: 2 runs, 31 entries, 0 problems>
    """
    folders, progress = tuple(source_list(sources)), progress or Progress()
    runs: dict[Path, Run] = {}
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
            if run_folder.resolve() not in runs:
                try:
                    runs[run_folder.resolve()] = _scan_run(run_folder, folder, progress)
                except OSError as error:
                    raise ReadError(
                        f"{error.filename or run_folder}: cannot be read: {error.strerror}; "
                        "make it readable and run again"
                    ) from error
    return Scan(folders, tuple(runs.values()))


def source_list(sources: Sequence[Path | str] | Path | str) -> list[Path]:
    """Return the source folders as a list, even if only one was given.

    Raises
    ------
    UsageError
        If none was given.
    """
    listed = [Path(sources)] if isinstance(sources, str | Path) else [Path(source) for source in sources]
    if not listed:
        raise UsageError("no source folder is given; give folders that are CATNIP runs, or hold runs at any depth")
    return listed


def _find_runs(folder: Path) -> Iterator[Path]:
    """Walk down until a folder is a run; links to folders are followed, but none twice."""
    seen: set[Path] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=not_listed):
        refuse_too_deep(Path(parent), folder)
        leave_out_leftovers(folders, files)  # recycle bins and snapshots hold runs that were, or are, elsewhere
        folders.sort()
        if Path(parent).resolve() in seen:
            folders.clear()
            continue
        seen.add(Path(parent).resolve())
        if looks_like_run(frozenset(folders)):
            folders.clear()
            yield Path(parent)


def _scan_run(folder: Path, source: Path, progress: Progress) -> Run:
    entries = []
    for entry in entries_below(folder):
        progress.looking_at(f"{folder.name}/{entry.path}")
        entries.append(inspected(entry))
    absolute = folder.resolve()
    log_beside = folder / ".." / f"{absolute.name}.log.txt"
    logs = [entry.location for entry in entries if entry.component == LOG]
    if log_beside.is_file():
        entries.append(inspected(recognised(Entry(f"../{log_beside.name}", log_beside), log_beside.name)))
        logs.append(log_beside)
    log = read_log(logs[0]) if logs else RunLog(fields={})
    return Run(
        folder=folder,
        source=folder.relative_to(source).as_posix(),
        name=parse_run_name(absolute.name, [parent.name for parent in absolute.parents][:_PARENTS_THAT_MAY_NAME_A_RUN]),
        log=log,
        layout=layout_of(frozenset(entry.path for entry in entries)),
        entries=tuple(compared_with_run(entries, log)),
        warnings=(*links_out_of([folder], source, "the source"), *missing_from_run(folder, entries)),
    )
