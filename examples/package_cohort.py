"""Make the dataset, and look at what came of it."""

import sys
from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

try:
    result = catnip2bids.package(
        COHORT,
        "dataset",
        voxel_size_um=(3.7, 3.7, 5.0),  # X Y Z; CATNIP records it nowhere
        image_format=catnip2bids.Format.OME_ZARR,
        memory_bytes=2 * 2**30,
    )
except catnip2bids.Catnip2bidsError as error:  # nothing was written; the message says what to do
    sys.exit(str(error))

print(result)
for run in result.runs:
    print(f"{run.name}: {run.n_images} images, {run.n_tables} tables, {run.n_excluded} excluded")
for problem in result.problems:  # what is named here was left out, all else is there
    print(problem)
