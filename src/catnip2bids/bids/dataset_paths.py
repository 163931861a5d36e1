"""Paths of the files of a dataset, as POSIX paths below it.

Invariant: each path is defined only here; only validation, which must not share mistakes, has its own definitions.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from catnip2bids.bids.names import BidsName
from catnip2bids.enums import DEFAULT_STAIN

DERIVATIVE = PurePosixPath("derivatives/catnip")
"""CATNIP's results."""
COUNTS = PurePosixPath("derivatives/catnip-counts")
"""Tables of counts; not a BIDS derivative, because BIDS has no name for them."""
SOURCEDATA = PurePosixPath("sourcedata/catnip")
"""Copies of source files."""


def image_stem(image: PurePosixPath) -> str:
    """Return the name of an image without its extension; BIDS names have no other dots."""
    return image.name.partition(".")[0]


def sidecar_of(image: PurePosixPath) -> PurePosixPath:
    """Return the JSON file beside an image, which is the same for all formats."""
    return image.with_name(f"{image_stem(image)}.json")


def copy_of(run: BidsName, entry: str) -> PurePosixPath:
    """Return the path of the copy of an entry; `entry` is its path below the run folder."""
    labels = dict(run.entities)
    # runs of several stains of one sample have files of the same names
    stain = "" if labels["stain"] == DEFAULT_STAIN else f"_stain-{labels['stain']}"
    return SOURCEDATA / f"sub-{labels['sub']}_sample-{labels['sample']}{stain}" / entry.removeprefix("../")
