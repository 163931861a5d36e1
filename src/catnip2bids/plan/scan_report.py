"""The report of `scan`: the plan, its problems and warnings.

Invariant: everything in the sources that makes `package` refuse or omit something is reported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catnip2bids.errors import UsageError
from catnip2bids.plan.checks import identity_of, refuse_collisions
from catnip2bids.plan.default_plan import make_plan, problems_of, unknown_of
from catnip2bids.plan.model import Plan, PlannedRun
from catnip2bids.scanning import Entry, Run, Scan


@dataclass(frozen=True)
class ScanReport:
    """A scan and the plan that follows from it."""

    found: Scan
    plan: Plan
    problems: tuple[str, ...]  # what `package` would omit or refuse, and why
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        runs = [_run_json(*pair) for pair in zip(self.found.runs, self.plan.runs, strict=True)]
        return {"runs": runs, "problems": list(self.problems), "warnings": list(self.warnings)}


def report_on(found: Scan) -> ScanReport:
    """Make the default plan and collect its problems and warnings."""
    plan = make_plan(found)
    problems: list[str] = []
    warnings: list[str] = []
    for run, planned in zip(found.runs, plan.runs, strict=True):
        problems += problems_of(run, planned).values()
        warnings += run.all_warnings
        warnings += unknown_of(run, planned)
        unknown = [what for what in ("subject", "sample") if getattr(planned, what) is None]
        if unknown:
            warnings.append(f"{run.folder}: the {' and the '.join(unknown)} must be filled in: no name tells")
    try:
        refuse_collisions(identity_of(*pair) for pair in zip(found.runs, plan.runs, strict=True))
    except UsageError as error:
        problems.append(str(error))
    return ScanReport(found, plan, tuple(problems), tuple(warnings))


def _run_json(run: Run, planned: PlannedRun) -> dict[str, Any]:
    problems = problems_of(run, planned)
    document = planned.model_dump(mode="json", exclude={"entries"}) | {"layout": run.layout, "log": run.log.fields}
    document["entries"] = [
        line.model_dump(mode="json") | _entry_json(entry) | {"problem": problems.get(entry.path)}
        for entry, line in zip(run.entries, planned.entries, strict=True)
    ]
    return document


def _entry_json(entry: Entry) -> dict[str, Any]:
    component, volume = entry.component, entry.volume
    return {
        "content": component.content.value if component else None,
        "storage": component.storage.value if component else None,
        "grid": component.grid.value if component and component.grid else None,
        "threshold": entry.threshold,
        "shape_zyx": list(volume.shape) if volume else None,
        "dtype": volume.dtype.name if volume else None,
        "n_files": entry.n_files,
        "n_bytes": entry.n_bytes,
        "problems": list(entry.problems),
        "warnings": list(entry.warnings),
    }
