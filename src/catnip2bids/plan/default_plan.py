"""The default plan for the result of a scan, and the problems of a plan.

Invariant: every entry of every run gets exactly one line. The component table holds the default actions; this module
holds the rules for unknown entries and those that depend on other entries of the run, and `packaging.redundancy`
those that depend on pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from catnip2bids.atomic_write import too_long
from catnip2bids.catnip.component_type import Action
from catnip2bids.catnip.components import COMPONENTS, recognise
from catnip2bids.catnip.run_name import SAMPLES, Hemisphere
from catnip2bids.errors import SourceError
from catnip2bids.formatting import SHOWN, format_bytes, format_list
from catnip2bids.leftovers import LEFT_BEHIND
from catnip2bids.paths import spelled_alike
from catnip2bids.plan.model import Participant, Plan, PlannedEntry, PlannedRun
from catnip2bids.scanning import Entry, Run, Scan, files_below

_TIFF = re.compile(r"(\.ome)?\.(tiff?|btf)$", re.IGNORECASE)
SMALL_BYTES = 64 * 2**20
"""Unknown entries are copied up to this size; larger copies of known ones are warned of."""


_EMPTY = Action.EXCLUDE, "empty, there is nothing in it"
_UNKNOWN_AND_LARGE = Action.EXCLUDE, "not known as an output of CATNIP, and too large to be copied unasked"
_UNKNOWN = Action.COPY, "not known as an output of CATNIP, kept as it is"


def make_plan(found: Scan) -> Plan:
    """Propose an action for each entry that `scan` found.

    Parameters
    ----------
    found
        What `scan` found.

    Returns
    -------
    Plan
        One line for every entry of every run, to be corrected and passed to `package`. A subject or sample that no
        name tells is None and must be filled in.

    Raises
    ------
    ValueError
        If nothing was found; `scan` itself refuses that.

    Examples
    --------
    >>> plan = make_plan(scan("cohort"))
    >>> plan.runs[0].subject
    '10001ko'
    """
    runs = []
    for run in found.runs:
        name, acquired = run.name, run.name.acquired
        hemisphere: Hemisphere | None = name.hemisphere or ("B" if run.log.is_whole_brain else None)
        planned = PlannedRun(
            name=run.folder_name,
            source=run.source,
            source_id=name.source_id,
            subject=name.subject_label,
            sample=SAMPLES[hemisphere] if hemisphere else None,
            acquired=acquired.isoformat() if acquired else None,
            atlas_version=run.log.atlas_version,
            participant=Participant(species=run.log.species, sex=name.sex, genotype=name.genotype),
            entries=[default_entry(entry, run) for entry in run.entries],
        )
        runs.append(planned)
    return Plan(runs=runs)


def default_entry(entry: Entry, run: Run) -> PlannedEntry:
    """Return the default line of an entry."""
    action, reason = _proposal(entry, run)
    return PlannedEntry(source=entry.path, action=action, reason=reason, slice_number=entry.slice_number)


def _proposal(entry: Entry, run: Run) -> tuple[Action, str]:
    component = entry.component
    if entry.set_aside:
        return Action.EXCLUDE, entry.set_aside
    if component is None:
        if entry.n_bytes == 0:
            return _EMPTY
        return _UNKNOWN_AND_LARGE if entry.n_bytes > SMALL_BYTES else _UNKNOWN
    beside = component.beside
    if beside and any(_stands_beside(entry, other, beside.role) for other in run.entries):
        return beside.action, beside.reason
    return component.action, component.reason or component.described(entry.threshold)


def is_generated(action: Action, reason: str, path: str) -> bool:
    """Tell whether a default plan may have given an entry this action with this reason, maybe at another time."""
    if (action, reason) in (_EMPTY, _UNKNOWN_AND_LARGE, _UNKNOWN):
        return True
    if action == Action.EXCLUDE and (reason == LEFT_BEHIND or reason.startswith("a link to ")):
        return True
    for component in COMPONENTS:
        if found := component.match(path):
            threshold = found.groupdict().get("threshold")
            own = component.reason or component.described(int(threshold) if threshold else None)
            beside = component.beside
            if (action, reason) in ((component.action, own), (beside.action, beside.reason) if beside else ()):
                return True
    return False


def _stands_beside(entry: Entry, other: Entry, role: str) -> bool:
    return (
        other is not entry
        and other.component is not None
        and other.component is not entry.component
        and other.component.role == role
        and other.threshold == entry.threshold
        and not other.set_aside
        and not other.problems
    )


def doubtful_copies(run: Run, planned: PlannedRun) -> list[str]:
    """Return warnings about entries that are copied by default, and that are unknown or large."""
    lines = {entry.source: entry for entry in planned.entries}
    return [
        f"{entry.location}: {_doubt(entry)}"
        for entry in run.entries
        if (entry.component is None or entry.n_bytes > SMALL_BYTES)
        and not entry.problems
        and lines[entry.path].action == Action.COPY
        and lines[entry.path] == default_entry(entry, run)
    ]


def _doubt(entry: Entry) -> str:
    if entry.component is None:
        return f"{_unknown(entry)}; it is copied, unless the plan excludes it"
    return f"has {format_bytes(entry.n_bytes)}, and is copied as it is by default; the plan can exclude it"


def _unknown(entry: Entry) -> str:
    stem = _TIFF.sub("", entry.path)
    if stem != entry.path and recognise(stem, is_folder=True) is not None:
        return f"looks like {stem} saved as one file, and only slices are read; save them into a folder {stem}"
    return "is not known as an output of CATNIP"


def kept_reasons(run: Run, planned: PlannedRun) -> list[str]:
    """Return warnings about entries whose action was changed, but not their reason."""
    proposed = {entry.path: default_entry(entry, run) for entry in run.entries}
    return [
        f"{run.folder / line.source}: the plan says {line.action} instead of {default.action}, with the old reason "
        f"'{line.reason}'; give the new reason, it is published"
        for line in planned.entries
        if (default := proposed.get(line.source)) and line.action != default.action and line.reason == default.reason
    ]


def problems_of(run: Run, planned: PlannedRun) -> dict[str, str]:
    """Return the problems of entries that cannot be packaged as planned, by path.

    A user solves a problem by excluding or copying the entry instead.
    """
    actions = {entry.source: entry for entry in planned.entries}
    problems: dict[str, str] = {}
    for entry in run.entries:
        wanted = actions[entry.path]
        proposed = default_entry(entry, run)
        accepted = wanted.action != Action.CONVERT and wanted != proposed
        if entry.is_leftover and wanted.action != Action.EXCLUDE:
            problems[entry.path] = f"{entry.location}: was {entry.set_aside}; it can only be excluded"
        elif entry.problems and not accepted:
            more = [f"and {len(entry.problems) - SHOWN:,} more"] if len(entry.problems) > SHOWN else []
            problems[entry.path] = "; ".join([*entry.problems[:SHOWN], *more])
        elif entry.component is None and wanted == proposed and entry.n_bytes > SMALL_BYTES:
            problems[entry.path] = (
                f"{entry.location}: is not known as output of CATNIP, and has {format_bytes(entry.n_bytes)}; "
                "say in the plan whether to copy or to exclude it, with a reason"
            )
        elif wanted.action == Action.CONVERT and (entry.component is None or entry.component.desc is None):
            problems[entry.path] = f"{entry.location}: cannot be converted, only copied or excluded; correct the plan"
        elif wanted.action == Action.CONVERT and entry.component and entry.component.is_volume and not entry.volume:
            problems[entry.path] = "; ".join(entry.warnings)
    return problems | _twins_of(run, actions, problems) | _unfit_names(run, actions, problems)


def _unfit_names(run: Run, lines: Mapping[str, PlannedEntry], problems: Mapping[str, str]) -> dict[str, str]:
    """Return the problems of entries whose names do not work in a dataset on every system.

    A dataset with two names that differ only in case loses one of the files when it is copied to macOS or Windows.
    """
    entries = {entry.path: entry for entry in run.entries if lines[entry.path].action != Action.EXCLUDE}
    alike = spelled_alike(entries)
    return {path: f"{entries[path].location}: {_one_name(names)}" for path, names in alike.items()} | {
        path: what
        for path, entry in entries.items()
        if path not in {*alike, *problems} and (what := _unfit_name_in(entry, lines[path].action))
    }


def _unfit_name_in(entry: Entry, action: Action) -> str | None:
    """Return the problem of a name in an entry that cannot be packaged or restored; None if there is none."""
    below: list[Path] = []
    if action == Action.COPY and entry.location.is_dir():
        try:
            below = list(files_below(entry.location))
        except SourceError as error:
            return str(error)
    for path in (entry.location, *below):
        if what := too_long(path):
            return f"{path}: {what}; rename it, or exclude {entry.path} in the plan"
    names = spelled_alike(path.relative_to(entry.location).as_posix() for path in below)
    return f"{entry.location}: {_one_name(next(iter(names.values())))}" if names else None


def _one_name(names: Sequence[str]) -> str:
    alike = f"{format_list(names)} are the same name on macOS and Windows, where neither case nor accents count"
    return f"{alike}; rename all but one, or exclude them in the plan"


def _twins_of(run: Run, lines: Mapping[str, PlannedEntry], problems: Mapping[str, str]) -> dict[str, str]:
    """Return the problems of entries that store the same component twice; which of them is right is unknown."""
    alike: dict[tuple[str, int | None], list[Entry]] = {}
    for entry in run.entries:
        if entry.component and lines[entry.path].action == Action.CONVERT and entry.path not in problems:
            alike.setdefault((entry.component.role, entry.threshold), []).append(entry)
    return {
        entry.path: f"{entry.location}: {format_list([twin.path for twin in twins])} would become one file; "
        "exclude all but one in the plan"
        for twins in alike.values()
        if len(twins) > 1
        for entry in twins
    }
