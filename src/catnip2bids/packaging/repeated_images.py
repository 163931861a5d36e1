"""Find raw images of a dataset that have the same pixels: one brain that was packaged under two names.

Invariant: nothing is written here. Hashes are read only of images whose records are alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from pathlib import Path, PurePosixPath

from catnip2bids.bids.plane_hashes import pixels_sha256, read_hashes
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
        same: defaultdict[str | None, list[str]] = defaultdict(list)
        for image, run_name in images:
            same[_hash_of_planes(dataset, image)].append(f"{image} (from {run_name})")
        same.pop(None, None)
        for first, *others in same.values():
            if others:
                yield (
                    f"{first}: has the same pixels in every plane as {format_list(others)}; if this is one brain under "
                    "several names, take the wrong animal out with package --remove LABEL, and package its other runs "
                    "again without the wrong folder"
                )


def _hash_of_planes(dataset: Path, image: PurePosixPath) -> str | None:
    """Return one hash for all planes; None if all planes are the same, which shows no brain, or hashes are damaged."""
    try:
        planes = read_hashes(dataset, image)
    except DatasetError:  # which `verify` reports
        return None
    return pixels_sha256(planes) if len({plane.sha256 for plane in planes}) > 1 else None
