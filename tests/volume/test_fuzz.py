"""Whatever stands in files, reading them raises only errors that name them; `fuzzing.py` does the same for hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzzing import TARGETS, fuzz


@pytest.mark.parametrize(
    "n_files", [pytest.param(20, id="a few"), pytest.param(250, id="many", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_raise_nothing_but_source_errors(tmp_path: Path, name: str, n_files: int) -> None:
    fuzz(name, tmp_path, 2 * n_files if name in ("tiff", "slice") else n_files)


@pytest.mark.parametrize("name", TARGETS)
def test_the_good_files_are_good(tmp_path: Path, name: str) -> None:
    for content in TARGETS[name].good:
        (tmp_path / TARGETS[name].name).parent.mkdir(exist_ok=True)
        (tmp_path / TARGETS[name].name).write_bytes(content)
        TARGETS[name].read(tmp_path / TARGETS[name].name)
