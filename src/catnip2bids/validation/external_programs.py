"""Find and run external programs that check a dataset.

Invariant: an environment uses its own validators even if it is not activated, because programs beside the running
Python come first; nothing that a program prints reaches the user's terminal.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TIMEOUT_S = 3600
"""Validators read every file of the dataset, which takes long on a network file system."""


def find_program(name: str) -> Path | None:
    """Find a console script beside the running Python, else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def name_with_version(distribution: str) -> str:
    """Return the distribution's name followed by its version where this environment knows it."""
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution} (unknown version)"


def run_program(command: Sequence[str], settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program with additional environment variables, and capture its output.

    Raises OSError if it cannot be started, and subprocess.TimeoutExpired if it takes longer than `TIMEOUT_S`.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PATH": path, "NO_COLOR": "1", **settings},
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
    )


def last_words(finished: subprocess.CompletedProcess[str]) -> str:
    """Say how a program ended, for a message about one that failed."""
    printed = (finished.stderr.strip() or finished.stdout.strip())[-600:]
    return f"it ended with exit code {finished.returncode} and said: {printed or 'nothing'}"
