"""What is in the folders: runs, components, problems. Nothing is written."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

found = catnip2bids.scan(COHORT)
print(found)
for run in found.runs:
    print(f"\n{run.folder_name}: animal {run.name.subject_label}, layout {run.layout}")
    for entry in run.entries:
        what = entry.component.role if entry.component else "unknown"
        size = f"{entry.volume.shape} {entry.volume.dtype}" if entry.volume else f"{entry.n_bytes} bytes"
        print(f"  {entry.path}: {what}, {size}")
        for problem in entry.problems:
            print(f"    problem: {problem}")
