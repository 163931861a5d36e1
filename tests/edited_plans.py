"""Plans as a person edits them."""

from __future__ import annotations

from pathlib import Path

from catnip2bids import make_plan, scan
from catnip2bids.catnip.component_type import Action
from catnip2bids.plan import Plan


def edited(source: Path, entry: str, action: Action, reason: str, *, run: int = 0) -> Plan:
    """Return the default plan of a source with another action for one entry of one run."""
    plan = make_plan(scan(source))
    (planned,) = (planned for planned in plan.runs[run].entries if planned.source == entry)
    planned.action, planned.reason = action, reason
    return plan
