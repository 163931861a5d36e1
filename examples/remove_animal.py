"""Take an animal out of a dataset; what is left validates and verifies."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

DATASET = Path("dataset-of-one")
expected = catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0), dry_run=True)  # writes nothing
print(expected, expected.estimate)
catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0), report=False)

removed = catnip2bids.remove_animal(DATASET, "10002wt", report=False)
print(len(removed.removed), "files and folders removed")
print(catnip2bids.verify(DATASET))
