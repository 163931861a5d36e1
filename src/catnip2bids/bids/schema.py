"""What the official BIDS schema says; nothing of it is typed by hand.

Invariant: rules come from the schema that bidsschematools ships, the same that the validator checks.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _schema() -> Any:
    from bidsschematools.schema import load_schema

    return load_schema()


def bids_version() -> str:
    """Version of BIDS that datasets are written for."""
    return str(_schema().bids_version)


@cache
def entity_order() -> tuple[str, ...]:
    """Keys of all entities (``sub``, ``sample``, ...) in the order they have in file names."""
    schema = _schema()
    return tuple(str(schema.objects.entities[entity].name) for entity in schema.rules.entities)


def recommended_image_metadata() -> tuple[str, ...]:
    """Sidecar keys that BIDS recommends for every microscopy image."""
    rules = _schema().rules.sidecars.micr
    everywhere = (
        "MicroscopyHardware",
        "MicroscopyInstitutionInformation",
        "MicroscopyImageAcquisition",
        "MicroscopySample",
    )
    return tuple(
        key for rule in everywhere for key, level in rules[rule].fields.items() if _level(level) == "recommended"
    )


def _level(level: Any) -> str:
    return str(level if isinstance(level, str) else level["level"])
