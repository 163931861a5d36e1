"""A log that lies beside its run, as CATNIP of today writes it."""

from __future__ import annotations

from pathlib import Path

from catnip2bids.packaging import package
from catnip2bids.scanning import scan
from catnip2bids.verification import verify
from runs import CHECKSUMS, LOG, RAW, TODAY_NAME, settings, write_l2


def test_it_is_measured_and_missed(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "cohort", only=(*RAW, LOG))
    log = (run / f"{TODAY_NAME}.log.txt").rename(run.parent / f"{TODAY_NAME}.log.txt")
    (entry,) = (entry for entry in scan(run).runs[0].entries if entry.path == f"../{log.name}")
    assert (entry.n_files, entry.n_bytes) == (1, log.stat().st_size)
    dataset = tmp_path / "dataset"
    assert package(tmp_path / "cohort", dataset, settings()).ok
    checksums = dataset / CHECKSUMS
    (copy,) = dataset.rglob(log.name)
    copy.unlink()
    lines = [line for line in checksums.read_text().splitlines(keepends=True) if log.name not in line]
    checksums.write_text("".join(lines))
    assert any(log.name in problem for problem in verify(dataset).problems)
