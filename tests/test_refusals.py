"""The page of refusals quotes what the program says, word for word."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from catnip2bids import Catnip2bidsError, Progress, Settings, package, scan
from catnip2bids.atomic_write import raising_write_errors
from catnip2bids.demo import RunSpec, write_run
from catnip2bids.locks import locked
from catnip2bids.plan import RunIdentity, make_plan, refuse_collisions
from repo import REPO

PAGE = REPO / "docs/how-to/refusals.md"
QUOTE = re.compile(r"(?:^> .*\n)+", re.MULTILINE)
SMALL = (12, 40, 36)
SIZED = Settings(voxel_size_um=(3.7, 3.7, 5.0), report=False)
OF_2021 = RunSpec(
    "210810_45670_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11", layout="L0", shape=SMALL, thresholds=(10000,)
)
COHORT, DATASET = Path("cohort"), Path("dataset")


def written_run(name: str | None = None) -> Path:
    spec = RunSpec(shape=SMALL, thresholds=(10000,))
    return write_run(COHORT, spec if name is None else replace(spec, name=name))


def no_run() -> None:
    Path("data").mkdir()
    scan("data")


def no_voxel_size() -> None:
    written_run()
    package(COHORT, DATASET)


def no_subject() -> None:
    written_run("640_2026-05-02_09-12-33")
    package(COHORT, DATASET, SIZED)


def other_labels() -> None:
    run = written_run()
    package(COHORT, DATASET, SIZED)
    package(run, DATASET, replace(SIZED, subject="10001wt"))


def two_ids() -> None:
    refuse_collisions(
        [
            RunIdentity("210810_45670-ko_LH", "45670-ko", "45670ko", "LeftHemisphere", "cFos"),
            RunIdentity("210811_45670_ko_RH", "45670_ko", "45670ko", "RightHemisphere", "cFos"),
        ]
    )


def two_runs() -> None:
    refuse_collisions(
        RunIdentity(name, "45670_ko", "45670ko", "LeftHemisphere", "cFos") for name in ("640_LH_old", "640_LH_new")
    )


def missing_slice() -> tuple[str, ...]:
    run = written_run()
    next((run / "FRST").glob("Z*05_*.tif")).unlink()
    return package(COHORT, DATASET, SIZED).problems


def stale_slice() -> tuple[str, ...]:
    run = written_run()
    (run / "FRST" / "Z000005_FRST.tif").rename(run / "FRST" / "brain45671_Z000005.tif")
    return package(COHORT, DATASET, SIZED).problems


def unclear_table() -> None:
    written_run()
    Path("animals.tsv").write_text("participant_id\tage\n10001-ko\t12 weeks\n")
    package(COHORT, DATASET, replace(SIZED, participants="animals.tsv"))


def older_plan() -> None:
    run = written_run()
    plan = make_plan(scan(COHORT))
    (run / "notes.txt").touch()
    package(COHORT, DATASET, SIZED, plan)


def changing_source() -> tuple[str, ...]:
    run = written_run()

    class Touching(Progress):
        def advance(self, n_voxels: int) -> None:
            del n_voxels
            for path in (run / "N4_masked").iterdir():
                os.utime(path)

    return package(COHORT, DATASET, SIZED, progress=Touching()).problems


def growing_source() -> tuple[str, ...]:
    *_, last = sorted((write_run(COHORT, OF_2021) / "640_N4").iterdir())
    away = last.rename(last.name)

    class Copying(Progress):
        def item(self, *_: str | None) -> None:
            with suppress(FileNotFoundError):  # images are made at the same time
                away.rename(last)

    return package(COHORT, DATASET, SIZED, progress=Copying()).problems


def shorter_source() -> tuple[str, ...]:
    run = write_run(COHORT, OF_2021)
    package(COHORT, DATASET, SIZED)
    for file in sorted((run / "640_FRST").iterdir())[-2:]:
        file.unlink()
    return package(COHORT, DATASET, SIZED).problems


def inside() -> None:
    written_run()
    package(COHORT, COHORT / "dataset", SIZED)


def not_ours() -> None:
    written_run()
    DATASET.mkdir()
    (DATASET / "thesis.docx").touch()
    package(COHORT, DATASET, SIZED)


def another_one() -> None:
    written_run()
    DATASET.mkdir()
    with locked(DATASET):
        package(COHORT, DATASET, SIZED)


def wrong_type() -> None:
    written_run()
    DATASET.mkdir()
    package(COHORT, DATASET, SIZED)
    description = DATASET / "dataset_description.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "GeneratedBy": {"Name": "catnip2bids"}}))
    package(COHORT, DATASET, SIZED)


def changed_counts() -> None:
    written_run()
    package(COHORT, DATASET, SIZED)
    table = next(DATASET.glob("derivatives/*/*/micr/*_counts.tsv"))
    table.write_text(table.read_text().replace("0.", "1."))
    write_run(Path("more"), OF_2021)
    package("more", DATASET, SIZED)


def little_memory() -> None:
    written_run()
    package(COHORT, DATASET, replace(SIZED, memory_bytes=128 * 2**20))


def full_disk() -> None:
    with raising_write_errors(DATASET):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "dataset/participants.tsv")


REFUSALS: tuple[Callable[[], tuple[str, ...] | None], ...] = (
    no_run,
    no_voxel_size,
    no_subject,
    other_labels,
    two_ids,
    two_runs,
    missing_slice,
    stale_slice,
    unclear_table,
    older_plan,
    changing_source,
    growing_source,
    shorter_source,
    inside,
    not_ours,
    another_one,
    wrong_type,
    changed_counts,
    little_memory,
    full_disk,
)  # in the order of the page


def quotes() -> list[str]:
    found = QUOTE.findall(PAGE.read_text(encoding="utf-8"))
    return [" ".join(quote.replace("> ", "").split()) for quote in found]


def test_all_that_is_quoted_is_provoked() -> None:
    assert len(quotes()) == len(REFUSALS)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_a_refusal_is_said_as_the_page_says(
    refusal: Callable[[], tuple[str, ...] | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        said = refusal() or ()
    except Catnip2bidsError as error:
        said = (str(error),)
    assert quotes()[REFUSALS.index(refusal)] in said
