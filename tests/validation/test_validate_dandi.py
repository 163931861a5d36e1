from __future__ import annotations

import sys
from pathlib import Path

import pytest

from catnip2bids.validation import Severity
from catnip2bids.validation.dandi import check_dandi, is_installed
from good_dataset import good

__all__ = ["good"]


@pytest.mark.parametrize("script", ["echo 'no such option' >&2; exit 2", "exit 0"])
def test_a_failing_dandi_is_an_error(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "dandi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (finding,) = check_dandi(good)
    assert (finding.severity, finding.code) == (Severity.ERROR, "DANDI_FAILED")


def test_without_dandi_the_report_says_that_it_was_not_checked(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = check_dandi(good)
    assert (finding.severity, finding.code) == (Severity.INFO, "DANDI_NOT_INSTALLED")
    assert not is_installed()
