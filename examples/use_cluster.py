"""Have a Dask cluster read and write the pixels; the same files come out."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

if __name__ == "__main__":  # workers are processes that import this file, and must not begin all anew
    cluster = catnip2bids.Cluster("local", n_workers=1)  # or "slurm", or the address of a scheduler: "tcp://..."
    settings = catnip2bids.Settings(voxel_size_um=(3.7, 3.7, 5.0), cluster=cluster, jobs=1, memory_bytes=2**30)
    print(catnip2bids.package(COHORT, "dataset-of-cluster", settings))
