"""What was restored, and what could not be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr


@dataclass(repr=False)
class Restoration(ShortRepr):
    """What was done.

    Attributes
    ----------
    folder
        Where everything was written.
    restored, kept
        Entries of runs that were restored now, and that were there from an interrupted restoration, as POSIX paths
        below the folder.
    left_out
        Entries that the dataset does not hold, and why.
    problems
        What could not be restored, and why; and what was restored although nothing proves that it is the original.
    """

    folder: Path
    restored: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all that the dataset holds was restored, and is proven."""
        return not self.problems

    def _summary(self) -> ReprSummary:
        facts = (
            f"{len(self.restored)} restored",
            f"{len(self.kept)} kept",
            f"{len(self.left_out)} left out",
            format_count(len(self.problems), "problem"),
        )
        return ReprSummary(str(self.folder), facts, problems=self.problems)
