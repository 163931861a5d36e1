"""The progress of long jobs.

Invariant: jobs know nothing of terminals; to show progress, pass an instance of a subclass.
"""

from __future__ import annotations


class Progress:
    """Listener for the progress of a job. This base class does nothing.

    Several threads may call the methods at the same time.
    """

    def looking_at(self, path: str) -> None:
        """Handle the inspection of a file or folder."""

    def start(self, n_voxels: int) -> None:
        """Handle the start of work on `n_voxels` voxels."""

    def item(self, name: str, how: str | None = None) -> None:
        """Handle the start of an image or another entry; `how` names the way of writing pixels if there are several."""

    def advance(self, n_voxels: int) -> None:
        """Count `n_voxels` more voxels as done."""

    def skip(self, n_voxels: int) -> None:
        """Subtract `n_voxels` voxels that an earlier run did from the total."""

    def note(self, text: str) -> None:
        """Report information."""

    def warning(self, text: str) -> None:
        """Report a possible mistake."""

    def problem(self, text: str) -> None:
        """Report an error because of which something was not done."""
