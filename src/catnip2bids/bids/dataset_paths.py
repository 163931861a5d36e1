"""Names and paths of the files of a dataset; paths are POSIX paths below it.

Invariant: each path is defined only here, except those in `code/catnip2bids` (`provenance.py`) and those of validation,
which must not share mistakes. All names that are built here are valid BIDS names; others are an error before a file is
written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from catnip2bids.bids.schema import entity_order
from catnip2bids.enums import DEFAULT_STAIN, Naming
from catnip2bids.errors import UsageError
from catnip2bids.formatting import as_label
from catnip2bids.leftovers import without_leftovers

DERIVATIVE = PurePosixPath("derivatives/catnip")
"""CATNIP's results."""
COUNTS = PurePosixPath("derivatives/catnip-counts")
"""Tables of counts; not a BIDS derivative, because BIDS has no name for them."""
NEUROGLANCER = PurePosixPath("derivatives/catnip-neuroglancer")
"""Files of `share` for Neuroglancer; not a BIDS derivative either."""
REPORT = PurePosixPath("docs/report")
"""The pages of the report, and what the checks said last."""
SOURCEDATA = PurePosixPath("sourcedata/catnip")
"""Copies of source files."""
COUNTS_ENDING, CELLS_ENDING, UNCOUNTED_ENDING = "_counts.tsv", "_cells.tsv.gz", "_uncounted.tsv.gz"
"""Endings of the tables of a sample: regions, cells that a region counts, and cells that no region counts."""
LABEL = "[0-9a-zA-Z+]+"
"""Pattern of the labels that BIDS allows."""


def tables_folder(naming: Naming) -> PurePosixPath:
    """Return the folder of the tables of counts, cells and regions."""
    return DERIVATIVE if naming == Naming.DSEG else COUNTS


@dataclass(frozen=True)
class BidsName:
    """The entities and the suffix of a file name."""

    entities: tuple[tuple[str, str], ...]  # pairs such as ("sub", "45670ko"), in any order
    suffix: str = ""  # such as "SPIM"

    def with_entities(self, suffix: str, **labels: str | None) -> BidsName:
        """Add the entities that are not None, and set the suffix."""
        added = tuple((key, label) for key, label in labels.items() if label is not None)
        return replace(self, entities=self.entities + added, suffix=suffix)

    def __str__(self) -> str:
        """Return the file name without its extension."""
        order, keys = entity_order(), [key for key, _ in self.entities]
        for key, label in self.entities:
            check_label(label, f"the label of {key}")
            if key not in order or keys.count(key) > 1:
                raise UsageError(f"{key} is not a valid BIDS entity, or stands twice in {self.entities}")
        parts = [f"{key}-{label}" for key, label in sorted(self.entities, key=lambda entity: order.index(entity[0]))]
        return "_".join([*parts, self.suffix] if self.suffix else parts)


def run_name(subject: str, sample: str, stain: str) -> BidsName:
    """Return the entities that all files of a run share."""
    return BidsName((("sub", subject), ("sample", sample), ("stain", stain)))


def check_label(label: str, what: str) -> str:
    """Return the label; raise UsageError if it has characters that BIDS does not allow in labels."""
    if not re.fullmatch(LABEL, label):
        remedy = f"use {as_label(label)!r}" if as_label(label) else "give another one"
        raise UsageError(
            f"{what} {label!r} is not a valid BIDS label: only letters, digits and + are allowed; {remedy}"
        )
    return label


def entities_of(name: str) -> dict[str, str]:
    """Return the entities of a file name; its last part is the suffix, with or without an extension."""
    pairs = (part.partition("-") for part in name.split("_"))
    return {key: label for key, dash, label in pairs if dash}


def tables_of_counts(dataset: Path, folder: PurePosixPath | str = "derivatives/*", run: str = "sub-*") -> list[Path]:
    """List the tables of counts in a folder of the dataset, of all runs or of the one of this name."""
    return sorted(without_leftovers(dataset.glob(f"{folder}/{run.partition('_')[0]}/micr/{run}_*{COUNTS_ENDING}")))


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
