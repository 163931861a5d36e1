"""Random changes to the documents of a dataset, the same in each run; `fuzzing_datasets.py` alone tries others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fuzzing_datasets.py")


@pytest.mark.slow
def test_every_command_survives_datasets_that_were_changed_at_random() -> None:
    command = [sys.executable, str(PROGRAM), "--seconds", "300", "--datasets", "16", "--seed", "1", "--quick"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "verify: problems" in finished.stdout
