"""What a long job tells while it runs.

Invariant: the work knows nothing of terminals; whoever wants to show progress passes an object of this shape.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listener to a job. The job works the same whether anybody listens or not."""

    def looking_at(self, path: str) -> None:
        """Take the census of an entry."""

    def start(self, n_voxels: int) -> None:
        """Begin work on this many voxels."""

    def item(self, name: str) -> None:
        """Begin work on an image."""

    def advance(self, n_voxels: int) -> None:
        """Count this many voxels more as done."""

    def note(self, text: str) -> None:
        """Tell something worth knowing."""

    def warning(self, text: str) -> None:
        """Tell something that may be wrong."""

    def problem(self, text: str) -> None:
        """Tell something that was not done because it is wrong."""


class Silence:
    """A listener that does not care."""

    def looking_at(self, path: str) -> None:
        """Do nothing."""

    def start(self, n_voxels: int) -> None:
        """Do nothing."""

    def item(self, name: str) -> None:
        """Do nothing."""

    def advance(self, n_voxels: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def warning(self, text: str) -> None:
        """Do nothing."""

    def problem(self, text: str) -> None:
        """Do nothing."""
