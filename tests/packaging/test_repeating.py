"""The same command again: what it does not change keeps its bytes, and what verify and the report said stays true."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catnip2bids.bids.provenance import read_provenance
from catnip2bids.packaging import package
from catnip2bids.packaging.settings import Settings
from catnip2bids.reporting import current_report, report
from catnip2bids.reporting.check_results import read_check_result
from catnip2bids.verification import verify
from demo_cohort import demo_cohort, demo_dataset
from in_process import no_plots
from runs import KO, RAW, settings, state_of, write_l0

__all__ = ["demo_cohort", "demo_dataset", "no_plots"]

pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture
def dataset(demo_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo_dataset, tmp_path / "dataset"))


def n_commands(dataset: Path) -> int:
    return len(read_provenance(dataset).history)


def contents(dataset: Path) -> dict[str, bytes]:
    return {path: content for path, (content, _) in state_of(dataset).items()}


def test_a_command_that_changes_nothing_is_not_recorded(demo_cohort: Path, dataset: Path) -> None:
    report(dataset, verification=verify(dataset))
    before = contents(dataset)
    assert package([demo_cohort], dataset, settings(report=True)).report == dataset / "docs/report/index.html"
    assert contents(dataset) == before
    saved = read_check_result(dataset, "verification")
    assert saved is not None
    _, is_current = saved
    assert is_current


def test_runs_may_lie_in_another_order_than_their_labels(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort/a", KO, only=RAW)
    write_l0(tmp_path / "cohort/b", KO.replace("45670", "11111"), only=RAW)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    before = contents(tmp_path / "dataset")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    assert contents(tmp_path / "dataset") == before


@pytest.mark.parametrize(
    "changed", [settings(overwrite=True), settings(embed_labels=True)], ids=["images", "embedded labels"]
)
def test_a_command_that_changes_images_is_recorded(demo_cohort: Path, dataset: Path, changed: Settings) -> None:
    before = n_commands(dataset)
    package([demo_cohort], dataset, changed)
    assert n_commands(dataset) == before + 1


def test_a_command_that_changes_a_table_is_recorded(demo_cohort: Path, dataset: Path, tmp_path: Path) -> None:
    before = n_commands(dataset)
    subject = next(dataset.glob("sub-*")).name
    (tmp_path / "animals.tsv").write_text(f"participant_id\tsex\n{subject}\tF\n", encoding="utf-8")
    package([demo_cohort], dataset, settings(participants=tmp_path / "animals.tsv"))
    assert n_commands(dataset) == before + 1


def test_a_report_is_current_until_something_that_it_shows_changes(dataset: Path) -> None:
    assert current_report(dataset) is None
    path = report(dataset).path
    assert current_report(dataset) == path
    verification = verify(dataset)
    assert current_report(dataset) == path
    report(dataset, verification=verification)
    assert current_report(dataset) == path
    (dataset / "docs/report/verification.json").unlink()
    assert current_report(dataset) is None
    report(dataset)
    next(path.parent.glob("sub-*.html")).unlink()
    assert current_report(dataset) is None


def test_a_report_with_a_problem_is_never_current(dataset: Path) -> None:
    (dataset / "code/catnip2bids/checksums.sha256").unlink()
    drawn = report(dataset)
    assert drawn.problems
    assert current_report(dataset) is None
