"""Find raw images of a dataset that have the same pixels: one brain that was packaged under two names.

Invariant: nothing is written here. Hashes are read only of images whose records are alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from pathlib import Path, PurePosixPath

from catnip2bids.bids.plane_hashes import read_hashes
from catnip2bids.bids.provenance import Provenance
from catnip2bids.errors import DatasetError
from catnip2bids.formatting import format_list


def repeated_images(dataset: Path, provenance: Provenance) -> Iterator[str]:
    """Yield a warning for raw images of different runs that are the same in every plane."""
    alike: defaultdict[Hashable, list[tuple[PurePosixPath, str]]] = defaultdict(list)
    for run in provenance.runs.values():
        for path, record in run.images.items():
            if path.startswith("sub-"):
                alike[record.shape, record.dtype, record.value_range].append((PurePosixPath(path), run.name))
    for images in (images for images in alike.values() if len(images) > 1):
        same: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for image, run_name in images:
            same[_plane_hashes(dataset, image)].append(f"{image} (from {run_name})")
        for hashes, (first, *others) in same.items():
            if others and len(set(hashes)) > 1:  # an image of one value shows no brain
                yield (
                    f"{first}: has the same pixels in every plane as {format_list(others)}; if this is one brain under "
                    "several names, take the wrong animal out with package --remove LABEL, and package its other runs "
                    "again without the wrong folder"
                )


def _plane_hashes(dataset: Path, image: PurePosixPath) -> tuple[str, ...]:
    """Return the hashes of an image's planes; none if they cannot be read, which `verify` reports."""
    try:
        return tuple(plane.sha256 for plane in read_hashes(dataset, image))
    except DatasetError:
        return ()
