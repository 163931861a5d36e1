"""Have a Dask cluster read and write the pixels; the same files come out."""

from pathlib import Path

from distributed import LocalCluster

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

if __name__ == "__main__":  # Dask's workers import this file
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="2GiB", dashboard_address=":0") as dask:
        cluster = catnip2bids.Cluster(dask.scheduler_address)  # or the address of yours, or "slurm"
        settings = catnip2bids.Settings(voxel_size_um=(3.7, 3.7, 5.0), cluster=cluster)
        print(catnip2bids.package(COHORT, "dataset-of-cluster", settings))
