"""Where things are in a dataset, by POSIX paths below it.

Invariant: a place is written down here and nowhere else; only what checks a dataset from outside has its own words.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from catnip2bids.bids.names import BidsName
from catnip2bids.enums import DEFAULT_STAIN

DERIVATIVE = PurePosixPath("derivatives/catnip")
"""What CATNIP computed."""
COUNTS = PurePosixPath("derivatives/catnip-counts")
"""Tables of counts; no BIDS derivative, because BIDS has no name for them."""
SOURCEDATA = PurePosixPath("sourcedata/catnip")
"""What is kept as it is."""


def image_stem(image: PurePosixPath) -> str:
    """Return the name of an image without its ending; BIDS names have no other dots."""
    return image.name.partition(".")[0]


def sidecar_of(image: PurePosixPath) -> PurePosixPath:
    """Return the JSON file beside an image: the same, whatever the format."""
    return image.with_name(f"{image_stem(image)}.json")


def copy_of(run: BidsName, entry: str) -> PurePosixPath:
    """Return where an entry of a run is kept as it is; `entry` is its path below the run folder."""
    labels = dict(run.entities)
    # several stains of one sample are several runs, whose files have the same names
    stain = "" if labels["stain"] == DEFAULT_STAIN else f"_stain-{labels['stain']}"
    return SOURCEDATA / f"sub-{labels['sub']}_sample-{labels['sample']}{stain}" / entry.removeprefix("../")
