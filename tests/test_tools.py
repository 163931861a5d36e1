"""The tools of the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repo import REPO


def wheel_tool(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it where only programs of one folder are found."""
    program = [sys.executable, str(REPO / "tools/test_wheel.py"), "--dry-run", *words]
    return subprocess.run(program, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with one Python, and one that is only a name for what is not installed."""
    (tmp_path / "python3.18").write_text('#!/bin/sh\necho "3.18 is not installed" >&2\nexit 127\n', encoding="ascii")
    (tmp_path / "python3.11").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="ascii")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("name", ["python3.18", "python3.19"])
def test_a_python_that_was_asked_for_and_does_not_start_is_an_error(programs: Path, name: str) -> None:
    done = wheel_tool(programs, "python3.11", name)
    assert done.returncode == 1
    assert done.stderr == f"not found on PATH, or does not start: {name}\n"


def test_all_pythons_that_start_are_found_and_the_missing_ones_said(programs: Path) -> None:
    done = wheel_tool(programs)
    assert done.returncode == 0, done.stderr
    version = ".".join(map(str, sys.version_info[:2]))
    assert done.stdout.startswith(f"Pythons: {version}; not found: python3.12, ")
    assert "python3.18" in done.stdout


def test_no_python_at_all_is_an_error(tmp_path: Path) -> None:
    assert wheel_tool(tmp_path).returncode == 1
