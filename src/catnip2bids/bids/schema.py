"""Rules of the official BIDS schema.

Invariant: all rules come from the schema of bidsschematools, which the validator uses too.
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
    """Return the version of BIDS to which datasets are written."""
    return str(_schema().bids_version)


@cache
def entity_order() -> tuple[str, ...]:
    """Return the keys of all entities (``sub``, ``sample``, ...) in their order in file names."""
    schema = _schema()
    return tuple(str(schema.objects.entities[entity].name) for entity in schema.rules.entities)


def recommended_image_metadata() -> tuple[str, ...]:
    """Return the sidecar keys that BIDS recommends for all microscopy images."""
    rules = _schema().rules.sidecars.micr
    groups = (
        "MicroscopyHardware",
        "MicroscopyInstitutionInformation",
        "MicroscopyImageAcquisition",
        "MicroscopySample",
    )
    fields = [field for group in groups for field in rules[group].fields.items()]
    return tuple(key for key, level in fields if (level if isinstance(level, str) else level["level"]) == "recommended")


@cache
def participant_levels() -> Mapping[str, frozenset[str]]:
    """Return the columns of participants.tsv that BIDS defines, with their allowed values; none for free text."""
    schema = _schema()
    columns = schema.rules.tabular_data.modality_agnostic.Participants.columns
    definitions = {str(column): schema.objects.columns[column].get("definition", {}) for column in columns}
    return {column: frozenset(map(str, found.get("Levels", ()))) for column, found in definitions.items()}


def format_pattern(name: str) -> str:
    """Return the regular expression of a BIDS format, such as ``number`` or ``rrid``."""
    return str(_schema().objects.formats[name].pattern)
