"""Change what is done with an entry, and say what you know of an animal, before anything is written."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

found = catnip2bids.scan(COHORT)
plan = catnip2bids.make_plan(found)
plan.dataset.name = "cFos after light"
plan.dataset.authors = ["Ada Lovelace"]
plan.dataset.voxel_size_um = (3.7, 3.7, 5.0)

run = next(run for run in plan.runs if run.subject == "10001ko")
run.participant.age = 12  # weeks
for entry in run.entries:
    if "15000" in entry.source:
        entry.action = catnip2bids.Action.EXCLUDE
        entry.reason = "we use the threshold 10000 only"  # it is published with the dataset

catnip2bids.write_plan(plan, "corrected-plan.toml", found, overwrite=True)  # to keep it, or change it in an editor
result = catnip2bids.package(COHORT, "dataset-of-plan", plan="corrected-plan.toml")
print(result)
