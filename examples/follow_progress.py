"""Be told how the work goes, by an object of a subclass of Progress."""

import threading
from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead


class Percentages(catnip2bids.Progress):
    """Says each tenth of the work; several threads call it at the same time."""

    def __init__(self) -> None:
        self.n_voxels = self.n_done = 0
        self.lock = threading.Lock()

    def start(self, n_voxels: int) -> None:
        self.n_voxels, self.n_done = n_voxels, 0

    def advance(self, n_voxels: int) -> None:
        with self.lock:
            before, self.n_done = self.n_done, self.n_done + n_voxels
            tenth = 10 * self.n_done // self.n_voxels
            if tenth > 10 * before // self.n_voxels:
                print(f"{10 * tenth} %")

    def warning(self, text: str) -> None:
        print(f"warning: {text}")


size_um = (3.7, 3.7, 5.0)
print(catnip2bids.package(COHORT, "dataset-followed", voxel_size_um=size_um, overwrite=True, progress=Percentages()))
