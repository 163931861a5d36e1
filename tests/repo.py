"""The repository that the tests stand in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


def files_of_repo() -> set[str]:
    """Everything that is kept in the repository, or may be soon: POSIX paths below it."""
    if not (REPO / ".git").exists():
        pytest.skip("this is no clone, but an sdist")
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (REPO / name).is_file()}
