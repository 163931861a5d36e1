"""What a person chose in the plan of an earlier command holds for a command without a plan.

Invariant: a choice is only about the run and the entry for which it was made; everything else is the default plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from catnip2bids.bids.provenance import PLAN, PROVENANCE, Choice, Decision, Provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.plan import Plan, PlannedRun, is_generated, read_plan
from catnip2bids.progress import Progress


def take_over_choices(
    plan: Plan, keys: Sequence[str], provenance: Provenance, dataset: Path, progress: Progress
) -> None:
    """Put what a person chose for runs in the dataset into a default plan, and say so.

    `keys` are those that the runs of the plan have in provenance, if they are there.
    """
    stored = read_plan(dataset / PLAN).runs if (dataset / PLAN).is_file() else []
    by_key = {f"sub-{run.subject}_sample-{run.sample}_stain-{run.stain}": run for run in stored}
    changed: list[str] = []
    for key, run in zip(keys, plan.runs, strict=True):
        if (before := by_key.get(key)) is not None:
            run.acquired = before.acquired or run.acquired
            run.atlas_version = run.atlas_version or before.atlas_version
        if key in provenance.runs:
            try:
                changed += _taken_over(run, provenance.decisions_of(key))
            except ValidationError as error:
                what = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise DatasetError(f"{dataset / PROVENANCE}: is damaged ({what}); bring it back from a copy") from error
    if changed:
        n_entries = format_count(len(changed), "entry")
        progress.note(f"{n_entries} as in the plan of the dataset, since no plan is given: {format_list(changed)}")


def _taken_over(run: PlannedRun, earlier: Mapping[str, Decision]) -> Iterator[str]:
    """Take over slice numbers and choices; yield the entries whose action changes."""
    for entry in run.entries:
        if (decision := earlier.get(entry.source)) is None:
            continue
        entry.slice_number = decision.slice_number
        choice = decision.chosen or _unmarked_choice(decision, entry.source)
        if choice is None:
            continue
        if choice.action != entry.action:
            yield f"{run.name}/{entry.source} ({choice.action})"
        entry.action, entry.reason = Action(choice.action), choice.reason


def _unmarked_choice(decision: Decision, path: str) -> Choice | None:
    """Return the exclusion that a person chose, in a dataset of a version that did not record who chose."""
    if decision.action != "exclude" or decision.problem is not None or decision.evidence is not None:
        return None
    is_default = is_generated(Action.EXCLUDE, decision.reason, path)
    return None if is_default else Choice(action="exclude", reason=decision.reason)
