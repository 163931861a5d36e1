"""What a scan finds: runs, and everything in them.

Invariant: what was found does not change; an entry of which more is learned is a new one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from catnip2bids.catnip.component_type import ComponentType
from catnip2bids.catnip.log import RunLog
from catnip2bids.catnip.run_name import RunName
from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.volume import Volume


@dataclass(frozen=True)
class Entry:
    """One file system entry of a run: a component, or something unknown.

    Attributes
    ----------
    path
        POSIX path below the run folder; ``../NAME.log.txt`` for a log that lies beside it.
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
        Why it is not output of CATNIP (a link to another entry, a leftover); empty otherwise.
    slice_number
        The pattern that was given for the slice number in the names of its files; None if names alone tell it.
    link_to
        POSIX path below the run folder of the entry that this one is a link to.
    is_leftover
        Whether a system or a program left it behind; it may stand for many files of one kind in one folder.
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
    slice_number: str | None = None
    link_to: str | None = None
    is_leftover: bool = False


@dataclass(frozen=True, repr=False)
class Run(ShortRepr):
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
        What its log tells; no fields without a log.
    layout
        ``L0``, ``L1`` or ``L2``, see `catnip2bids.catnip.components`.
    entries
        Everything in it, in the order of the paths; leftovers stand last in each folder.
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

    def _summary(self) -> ReprSummary:
        problems = [f"{entry.path}: {problem}" for entry in self.entries for problem in entry.problems]
        facts = (
            f"layout {self.layout}",
            format_count(len(self.entries), "entry"),
            format_count(len(problems), "problem"),
        )
        rows = [
            {"entry": entry.path, "files": entry.n_files, "bytes": entry.n_bytes, "problems": len(entry.problems)}
            for entry in self.entries
        ]
        return ReprSummary(self.folder_name, facts, rows, problems)


@dataclass(frozen=True, repr=False)
class Scan(ShortRepr):
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

    @property
    def problems(self) -> list[str]:
        """What stands in the way of packaging an entry, a line each."""
        return [
            f"{run.source_of(entry)}: {what}" for run in self.runs for entry in run.entries for what in entry.problems
        ]

    @property
    def leftovers(self) -> tuple[Path, ...]:
        """What systems and programs left behind in the runs; many of a kind have one path, which is there as often."""
        found = (entry for run in self.runs for entry in run.entries if entry.is_leftover)
        return tuple(path for entry in found for path in [entry.location] * entry.n_files)

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems

    def _summary(self) -> ReprSummary:
        facts = (
            format_count(len(self.runs), "run"),
            format_count(sum(len(run.entries) for run in self.runs), "entry"),
            format_count(len(self.problems), "problem"),
        )
        rows = [
            {"run": run.source, "subject": run.name.subject_label, "layout": run.layout, "entries": len(run.entries)}
            for run in self.runs
        ]
        return ReprSummary(", ".join(map(str, self.sources)), facts, rows, self.problems)
