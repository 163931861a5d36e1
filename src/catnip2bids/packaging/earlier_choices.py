"""What a person chose in the plan of an earlier command holds for a command without a plan.

Invariant: only choices about entries that are still there are taken over; everything else is the default plan.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from catnip2bids.bids.provenance import PLAN, PROVENANCE, Provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.plan import Plan, read_plan
from catnip2bids.progress import Progress


def with_earlier_choices(plan: Plan, provenance: Provenance, dataset: Path, progress: Progress) -> Plan:
    """Put what a person chose for runs in the dataset into a default plan, and say so."""
    stored = read_plan(dataset / PLAN).runs if (dataset / PLAN).is_file() else []
    facts = {(run.name, run.source_id): run for run in stored}
    kept = []
    for run in plan.runs:
        if (before := facts.get((run.name, run.source_id))) is not None:
            run.acquired = before.acquired or run.acquired
            run.atlas_version = run.atlas_version or before.atlas_version
        for key in (key for key, record in provenance.runs.items() if record.name == run.name):
            earlier = provenance.decisions_of(key)
            for entry in run.entries:
                if (decision := earlier.get(entry.source)) is None:
                    continue
                try:
                    entry.slice_number = decision.slice_number
                except ValidationError as error:
                    what = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise DatasetError(
                        f"{dataset / PROVENANCE}: is damaged ({what}); bring it back from a copy"
                    ) from error
                if decision.by_person:
                    kept += [f"{entry.source} ({decision.action})"] if entry.action != decision.action else []
                    entry.action, entry.reason = Action(decision.action), decision.reason
    if kept:
        n_entries = format_count(len(kept), "entry")
        progress.note(f"{n_entries} as in the plan of the dataset, since no plan is given: {format_list(kept)}")
    return plan
