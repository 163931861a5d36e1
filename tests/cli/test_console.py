"""What is told of a job where no terminal is."""

from __future__ import annotations

import pytest

from catnip2bids.cli import console
from catnip2bids.cli.console import JobProgress

IMAGE = "sub-1_sample-A_stain-cFos_SPIM.ome.zarr"


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "ON_TERMINAL", False)
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", -1)


def test_each_image_is_named_with_what_is_done_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    with JobProgress("verifying") as progress:
        progress.item(IMAGE)
        progress.item("image.ome.btf", "copied as it is")
    assert capsys.readouterr().err.splitlines() == [f"verifying {IMAGE}", "verifying image.ome.btf: copied as it is"]


def test_a_line_has_no_part_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with JobProgress() as progress:
        progress.advance(5)
        progress.start(1000)
        progress.advance(45)
        for _ in range(3):
            progress.advance(50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("5 % done")
    assert not [line for line in lines if ", ," in line or "?" in line or " 0 " in line or "0.0" in line]
