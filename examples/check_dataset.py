"""Validate a dataset, and prove that its pixels are those that were read."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

DATASET = Path("dataset")
catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0))  # a moment, if it is there

checked = catnip2bids.validate(DATASET)
print(checked)
for finding in checked.findings:
    print(f"  {finding.severity}: {finding.file or 'the dataset'}: {finding.message}")

verified = catnip2bids.verify(DATASET, COHORT)  # without the cohort: the dataset alone, as after a download
print(verified)
for problem in verified.problems:
    print(f"  {problem}")
