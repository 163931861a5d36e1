"""catnip2bids: ``convert``, which besides looks at every header before it begins and hashes every plane.

Pyramid: all axes halved as long as an axis is longer than 256 voxels; means, modes and maxima of 2 x 2 x 2.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from _way import VOXEL_SIZE_UM, read_job

import catnip2bids


def main() -> None:
    """Convert the series."""
    job = read_job()
    z, y, x = VOXEL_SIZE_UM
    # so that older versions, which always use all cores, can be measured too
    options: dict[str, Any] = {"jobs": job.threads} if "jobs" in signature(catnip2bids.convert).parameters else {}
    catnip2bids.convert(job.series, job.target, (x, y, z), job.kind, **options)


if __name__ == "__main__":
    main()
