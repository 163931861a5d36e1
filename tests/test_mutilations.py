"""A few damaged files of each kind, put through the command; `mutilating.py` does the same as often as wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mutilating import mutilated
from mutilations import KINDS

_SCRIPT = Path(__file__).with_name("mutilating.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are limited as Linux does it")
def test_damaged_files_are_refused_or_read_as_libtiff_reads_them(tmp_path: Path) -> None:
    command = [sys.executable, str(_SCRIPT), str(tmp_path), "--cases", str(4 * len(KINDS)), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == len(KINDS) + 3  # a row for each kind, and nothing to complain about


def test_the_same_number_makes_the_same_damage() -> None:
    assert list(mutilated(50, 3)) == list(mutilated(50, 3))
    assert [case.content for case in mutilated(50, 3)] != [case.content for case in mutilated(50, 4)]


def test_there_is_every_kind_of_damage() -> None:
    assert {case.kind for case in mutilated(len(KINDS), 0)} == set(KINDS)
