"""What a long job tells while it runs.

Invariant: the work knows nothing of terminals; to show progress, pass an object of a subclass.
"""

from __future__ import annotations


class Progress:
    """Listener to a job. This one does nothing; the job works the same whether anybody listens or not.

    Methods may be called by several threads at the same time.
    """

    def looking_at(self, path: str) -> None:
        """Take the census of an entry."""

    def start(self, n_voxels: int) -> None:
        """Begin work on this many voxels."""

    def item(self, name: str, how: str | None = None) -> None:
        """Begin work on an image or another entry; `how` tells how its pixels get there, if there are several ways."""

    def advance(self, n_voxels: int) -> None:
        """Count this many voxels more as done."""

    def skip(self, n_voxels: int) -> None:
        """Learn that this many voxels were done earlier."""

    def note(self, text: str) -> None:
        """Tell something worth knowing."""

    def warning(self, text: str) -> None:
        """Tell something that may be wrong."""

    def problem(self, text: str) -> None:
        """Tell something that was not done because it is wrong."""
