"""The result of a scan: runs and their entries.

Invariant: results are immutable; an inspected entry is a new object.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from catnip2bids.catnip.component_type import Action, ComponentType, VoxelGrid
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
        Path on disk.
    component
        Row of the component table; None for an unknown entry.
    threshold
        FRST threshold in its name.
    n_files, n_bytes
        Number and size of its files.
    volume
        The image in it, if it is complete.
    problems
        Reasons not to convert it.
    warnings
        What may be wrong with it.
    set_aside
        Reason to exclude an entry that CATNIP did not write, such as a link or a leftover; else empty.
    slice_number
        Pattern that was given for the slice number in the names of its files; None if none is needed.
    link_to
        The entry that this one links to, as a POSIX path below the run folder.
    is_leftover
        Whether a system or program left it behind; one such entry may stand for many files of one kind.
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

    @property
    def native_volume(self) -> Volume | None:
        """The image, if it is on the native grid and not excluded by default."""
        component = self.component
        is_native = component is not None and component.grid == VoxelGrid.NATIVE and component.action != Action.EXCLUDE
        return self.volume if is_native else None


@dataclass(frozen=True, repr=False)
class Run(ShortRepr):
    """One output folder of CATNIP.

    Attributes
    ----------
    folder
        Path on disk.
    source
        POSIX path below the SOURCE that was given; ``.`` if it is that folder.
    name
        Parts of its name, and of those of its parents.
    log
        Its log; without fields if there is none.
    layout
        ``L0``, ``L1`` or ``L2``, see `catnip2bids.catnip.components`.
    entries
        Its entries, sorted by path; leftovers come last in each folder.
    warnings
        What may be wrong with the run as a whole.
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
        """Warnings of the run and of its entries."""
        return [*self.warnings, *(warning for entry in self.entries for warning in entry.warnings)]

    @property
    def folder_name(self) -> str:
        """Name of the run folder, also if it was given as ``.``."""
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
    """The runs below the source folders.

    Attributes
    ----------
    sources
        The folders that were given.
    runs
        Their runs, with all entries.
    """

    sources: tuple[Path, ...]
    runs: tuple[Run, ...]

    @property
    def problems(self) -> list[str]:
        """The problems of all entries, a line each."""
        return [
            f"{run.source_of(entry)}: {what}" for run in self.runs for entry in run.entries for what in entry.problems
        ]

    @property
    def leftovers(self) -> tuple[Path, ...]:
        """Leftovers in the runs; a path that stands for many files is repeated for each of them."""
        found = (entry for run in self.runs for entry in run.entries if entry.is_leftover)
        return tuple(path for entry in found for path in [entry.location] * entry.n_files)

    @property
    def ok(self) -> bool:
        """Whether no entry has a problem."""
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
