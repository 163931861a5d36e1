"""Entries that are excluded unless a person wants them: they may be broken, until they are wanted."""

from __future__ import annotations

from pathlib import Path

from catnip2bids.catnip.component_type import Action
from catnip2bids.packaging import package
from catnip2bids.plan import make_plan
from catnip2bids.scanning import scan
from runs import settings, slices_of, write_l0


def test_a_broken_one_that_the_plan_converts_is_a_problem(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort")
    (run / "640_N4").rename(run / "640_flipped")
    slices_of(run / "640_flipped")[4].unlink()
    found = scan(tmp_path / "cohort")
    assert not found.problems
    plan = make_plan(found)
    (line,) = (entry for entry in plan.runs[0].entries if entry.source == "640_flipped")
    assert line.action == Action.EXCLUDE
    line.action, line.reason = Action.CONVERT, "we need it"
    result = package(tmp_path / "cohort", tmp_path / "dataset", settings(), plan)
    (problem,) = result.problems
    assert "640_flipped: 1 slice missing between number 1 and 12" in problem
