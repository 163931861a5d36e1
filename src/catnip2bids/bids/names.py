"""Names of BIDS files: entities in the order of the schema, labels of letters and digits only.

Invariant: all names that are built here are valid BIDS names; others are an error before a file is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from catnip2bids.bids.schema import entity_order
from catnip2bids.errors import UsageError

LABEL = "[0-9a-zA-Z+]+"
"""Pattern of the labels that BIDS allows."""


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
        order = entity_order()
        keys = [key for key, _ in self.entities]
        for key, label in self.entities:
            check_label(label, f"the label of {key}")
            if key not in order or keys.count(key) > 1:
                raise UsageError(f"{key} is not a valid BIDS entity, or stands twice in {self.entities}")
        parts = [f"{key}-{label}" for key, label in sorted(self.entities, key=lambda entity: order.index(entity[0]))]
        return "_".join([*parts, self.suffix] if self.suffix else parts)


def run_name(subject: str, sample: str, stain: str) -> BidsName:
    """Return the entities that all files of a run share."""
    return BidsName((("sub", subject), ("sample", sample), ("stain", stain)))


def as_label(text: str) -> str:
    """Return a text without characters other than letters and digits."""
    return re.sub(r"[^0-9a-zA-Z]", "", text)


def check_label(label: str, what: str) -> str:
    """Return the label if it is valid.

    Raises
    ------
    UsageError
        If it has characters that BIDS does not allow in labels.
    """
    if not re.fullmatch(LABEL, label):
        raise UsageError(
            f"{what} {label!r} is not a valid BIDS label: only letters, digits and + are allowed; "
            f"{f'use {as_label(label)!r}' if as_label(label) else 'give another one'}"
        )
    return label


def entities_of(stem: str) -> dict[str, str]:
    """Return the entities of a file name."""
    pairs = (part.partition("-") for part in stem.split("_"))
    return {key: label for key, dash, label in pairs if dash}
