"""Measures `catnip2bids report` on a made-up cohort: how long it takes, how much memory, how large the pages are.

Invariant: the command is run as a whole process. Planes are as large as a picture can be: brains of more pixels would
make the report neither larger nor, since they have lower levels, slower.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from statistics import median
from typing import Final

from make_series import read_shape
from measuring import measure
from run import tell

from catnip2bids.demo import RunSpec, write_run
from catnip2bids.packaging import Settings, package

_GENOTYPES: Final = ("ko", "wt", "floxed")
_N_BRAINS: Final = 3  # making one up takes long
_NAME: Final = "{day}_{id}_{genotype}_{sex}_{side}_14-48-50_decon_2021-10-28_12-39-11"


def make_dataset(work: Path, n_samples: int, shape: tuple[int, int, int]) -> Path:
    """Make up a cohort and package it, if that was not done yet."""
    dataset = work / f"report-{n_samples}-{'x'.join(map(str, shape))}"
    groups = itertools.cycle(itertools.product(_GENOTYPES, ("female", "male"), ("LH", "RH")))
    for number, (genotype, sex, side) in zip(range(n_samples), groups, strict=False):
        name = _NAME.format(day=210801 + number, id=47000 + number, genotype=genotype, sex=sex, side=side)
        if next(dataset.glob(f"sub-{47000 + number}*"), None) is None:
            tell(f"making up and packaging {name}")
            brain = work / f"brain-{number % _N_BRAINS}"
            if not brain.exists():
                write_run(work, RunSpec(brain.name, layout="L0", shape=shape, seed=number, exclusion=True))
            brain.rename(work / name)
            package([work / name], dataset, Settings(voxel_size_um=(3.7, 3.7, 5.0), report=False))
            (work / name).rename(brain)
    return dataset


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description="Measure drawing a report.")
    parser.add_argument("--samples", metavar="N", type=int, default=24)
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(96, 640, 544))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--threads", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for cohort and dataset")
    given = parser.parse_args()
    dataset = make_dataset(given.work, given.samples, given.size)
    words = [sys.executable, "-m", "catnip2bids", "report", str(dataset)]
    report = dataset / "docs/report"
    rounds = [measure(words, report, given.threads) for _ in range(given.rounds)]
    failed = [found.error for found in rounds if found.error is not None]
    if failed:
        raise SystemExit(failed[0])
    pages = [path.stat().st_size for path in report.glob("*.html")]
    sys.stdout.write(
        f"{given.samples} samples: {median(found.seconds for found in rounds):.1f} s, "
        f"{max(found.peak_bytes for found in rounds) / 1e6:.0f} MB of memory, "
        f"{len(pages)} pages of {sum(pages) / 1e6:.1f} MB, the largest {max(pages) / 1e6:.1f} MB\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
