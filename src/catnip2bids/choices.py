"""Choices that users make by name. Light, so that the command line can offer them without waiting."""

from __future__ import annotations

from enum import StrEnum


class OmeZarrVersion(StrEnum):
    """Versions of OME-Zarr that can be written."""

    V05 = "0.5"
    V04 = "0.4"


class Naming(StrEnum):
    """How files that BIDS has no name for yet are named."""

    BIDS = "bids"
    """Only names that the BIDS schema allows for microscopy."""
    DSEG = "dseg"
    """The names of DANDI 001362: ``_dseg``, ``_mask`` and ``_counts``, with the ``.bidsignore`` they need."""
