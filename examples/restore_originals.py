"""CATNIP's files again, pixel for pixel and under their names, from the dataset alone."""

import shutil
from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

DATASET = Path("dataset")
catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0))  # a moment, if it is there

shutil.rmtree("restored", ignore_errors=True)
restored = catnip2bids.restore(DATASET, "restored")
print(restored)

compared = catnip2bids.compare(COHORT, "restored")
print(compared)
