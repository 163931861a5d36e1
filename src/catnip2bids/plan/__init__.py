"""The plan: the action for every source entry and its reason, as TOML that users edit."""

from catnip2bids.plan.checks import (
    RunIdentity,
    ScanReport,
    divided_animals,
    identity_of,
    match_plan,
    refuse_collisions,
    report_on,
    stated_size_warnings,
    voxel_size_warning,
)
from catnip2bids.plan.default_plan import (
    default_entry,
    doubtful_copies,
    is_generated,
    kept_reasons,
    make_plan,
    problems_of,
)
from catnip2bids.plan.mistakes import empty_labels
from catnip2bids.plan.model import AboutDataset, Participant, Plan, PlannedEntry, PlannedRun
from catnip2bids.plan.toml import read_plan, refuse_plan_file, to_toml, write_plan

__all__ = [
    "AboutDataset",
    "Participant",
    "Plan",
    "PlannedEntry",
    "PlannedRun",
    "RunIdentity",
    "ScanReport",
    "default_entry",
    "divided_animals",
    "doubtful_copies",
    "empty_labels",
    "identity_of",
    "is_generated",
    "kept_reasons",
    "make_plan",
    "match_plan",
    "problems_of",
    "read_plan",
    "refuse_collisions",
    "refuse_plan_file",
    "report_on",
    "stated_size_warnings",
    "to_toml",
    "voxel_size_warning",
    "write_plan",
]
