"""Make links that open a published dataset in a public Neuroglancer."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

DATASET = Path("dataset")
catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0))  # a moment, if it is there

shared = catnip2bids.share(DATASET, "https://data.example.org/dataset")  # where you will put it
print(shared)
for link in shared.links:
    print(f"  {link.run}, {link.scene}: {len(link.link)} characters")
