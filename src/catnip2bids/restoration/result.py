"""The result of a restoration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr


@dataclass(frozen=True, repr=False)
class Restoration(ShortRepr):
    """The entries that were restored, and those that were not.

    Attributes
    ----------
    folder
        The folder with the restored files.
    restored, kept
        Entries that were restored now, and entries that an interrupted restoration had restored already, as POSIX paths
        below the folder.
    left_out
        Entries that the dataset does not contain, and why.
    problems
        Entries that could not be restored, and why; and entries that nothing proves to be the original.
    """

    folder: Path
    restored: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all entries that the dataset contains were restored and are proven."""
        return not self.problems

    def _summary(self) -> ReprSummary:
        facts = (
            f"{len(self.restored)} restored",
            f"{len(self.kept)} kept",
            f"{len(self.left_out)} left out",
            format_count(len(self.problems), "problem"),
        )
        return ReprSummary(str(self.folder), facts, problems=self.problems)
