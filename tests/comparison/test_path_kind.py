"""What is in a folder, at any depth."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.comparison.path_kind import comparable_in
from catnip2bids.errors import SourceError


def test_folders_that_are_too_deep_are_refused(tmp_path: Path) -> None:
    (tmp_path / ("d/" * 60) / "a.txt").parent.mkdir(parents=True)
    (tmp_path / ("d/" * 60) / "a.txt").touch()
    assert [Path(path).name for path in comparable_in(tmp_path)] == ["a.txt"]
    (tmp_path / ("d/" * 70)).mkdir(parents=True)
    with pytest.raises(SourceError, match="is more than 64 folders deep"):
        comparable_in(tmp_path)
