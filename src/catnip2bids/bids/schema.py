"""What the official BIDS schema says; nothing of it is typed by hand.

Invariant: rules come from the schema that bidsschematools ships, the same that the validator checks.
"""

from __future__ import annotations

from collections.abc import Mapping
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


@cache
def participant_levels() -> Mapping[str, frozenset[str]]:
    """Columns that BIDS knows in participants.tsv, and the values that each may have; none where any text will do."""
    schema = _schema()
    columns = schema.rules.tabular_data.modality_agnostic.Participants.columns
    definitions = {str(column): schema.objects.columns[column].get("definition", {}) for column in columns}
    return {column: frozenset(map(str, found.get("Levels", ()))) for column, found in definitions.items()}


def format_pattern(name: str) -> str:
    """Return the pattern of a format of BIDS, such as ``number`` or ``rrid``."""
    return str(_schema().objects.formats[name].pattern)


def _level(level: Any) -> str:
    return str(level if isinstance(level, str) else level["level"])
