"""Simulates a cohort of many terabytes on a cluster, from the measured times of a few units.

Invariant: units are those that a volume of CATNIP's usual size is really cut into, and their times are drawn from times
that were measured here, one unit after the other with one thread.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Final

from make_series import read_shape
from run import prepare_series, tell

from catnip2bids.engine import Resources, convert_unit, makespan, split_into_units
from catnip2bids.enums import Kind
from catnip2bids.ome import OmeZarrImage
from catnip2bids.volume import inspect_volume

_WORKERS: Final = (1, 4, 16, 64, 128, 256)
_VOXEL_UM: Final = (5.0, 3.7, 3.7)
_RESOURCES: Final = Resources(1, 2 * 2**30)


def unit_times(series: Path, rounds: int) -> list[float]:
    """Convert the units of a series one after the other; returns seconds for each byte of pixels."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # a worker of a cluster has one core
    volume, times = inspect_volume(series).volume, []
    if volume is None:
        raise SystemExit(f"{series}: cannot be read")
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=series.parent) as folder:
            image = OmeZarrImage(Path(folder) / "x.ome.zarr", volume.shape, volume.dtype.name, _VOXEL_UM, Kind.IMAGE)
            image.create()
            for unit in split_into_units(volume, image):
                start = perf_counter()
                convert_unit(unit, _RESOURCES)
                times.append((perf_counter() - start) / (unit.n_voxels * volume.dtype.itemsize))
                tell(f"planes {unit.start} to {unit.stop - 1}: {1 / times[-1] / 1e6:.0f} MB/s")
    return times


def table(times: Sequence[float], unit_bytes: int, n_bytes: int, limits: Sequence[float]) -> str:
    """Return the times by number of workers, alone and with a file system of so many bytes a second."""
    draw = random.Random(0)
    units = [unit_bytes * draw.choice(times) for _ in range(max(round(n_bytes / unit_bytes), 1))]
    alone = {n: makespan(units, n) for n in _WORKERS}
    lines = [
        f"{len(units):,} units of {unit_bytes / 1e9:.2f} GB of pixels",
        "",
        f"| workers | time | times as fast | {' | '.join(f'at most {limit / 1e9:g} GB/s' for limit in limits)} |",
        f"| ---: | ---: | ---: | {' | '.join('---:' for _ in limits)} |",
    ]
    for n, seconds in alone.items():
        limited = [timedelta(seconds=round(max(seconds, n_bytes / limit))) for limit in limits]
        shown = [str(timedelta(seconds=round(seconds))), f"{alone[1] / seconds:.0f}", *map(str, limited)]
        lines.append(f"| {n} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the simulation as the command line says."""
    parser = argparse.ArgumentParser(description="Simulate a large cohort on a cluster.")
    parser.add_argument("--size", metavar="ZxYxX", type=read_shape, default=(192, 2048, 2560))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--terabytes", metavar="N", type=float, default=10)
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="for the series")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    series = prepare_series(given.work, given.size, "image")
    volume = inspect_volume(series).volume
    assert volume is not None
    image = OmeZarrImage(Path("x"), volume.shape, volume.dtype.name, _VOXEL_UM, Kind.IMAGE)
    unit_bytes = max(unit.n_voxels for unit in split_into_units(volume, image)) * volume.dtype.itemsize
    times = unit_times(series, given.rounds)
    sys.stdout.write(table(times, unit_bytes, int(given.terabytes * 1e12), (1e9, 5e9)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
