"""What CATNIP computes from what, as one table of claims that can be tested on the pixels.

Invariant: nothing is assumed of a run because it stands here. Each claim was read in CATNIP's source (CATNIP.sh and
src/*.m); whether it holds for the files that are there is counted voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_INSIDE_CELL = 255  # ApplyFRSTseg


@dataclass(frozen=True)
class Derivation:
    """A claim about some components of one run.

    Attributes
    ----------
    claim
        What is claimed; ``{threshold}`` is filled in.
    roles
        Roles of the components; those with thresholds are taken at the same one.
    is_broken
        Tells which voxels break the claim, from the rows of all components and the threshold.
    nested
        Whether the second component is taken at the next higher threshold instead.
    """

    claim: str
    roles: tuple[str, ...]
    is_broken: Callable[[list[Array], int], Array]
    nested: bool = False


def _no_product(rows: list[Array], threshold: int) -> Array:
    del threshold
    product, factor, mask = rows
    return np.asarray(product != factor * mask.astype(factor.dtype))


def _no_part(rows: list[Array], threshold: int) -> Array:
    del threshold
    part, whole = rows
    both_nan = (part != part) & (whole != whole)  # only NaN is not itself
    return np.asarray((part != whole) & (part != 0) & ~both_nan)


def _no_threshold(rows: list[Array], threshold: int) -> Array:
    cells, transform = rows
    return np.asarray(cells != np.where(transform >= threshold, _INSIDE_CELL, 0))


def _not_inside(rows: list[Array], threshold: int) -> Array:
    del threshold
    whole, part = rows
    return np.asarray((part != 0) & (whole == 0))


MASKED_LABELS = Derivation(
    "atlaslabel_def_origspace_masked = atlaslabel_def_origspace x hemispheremask_origspace",
    ("atlasmasked", "atlas", "hemispheremask"),
    _no_product,
)
"""What the labels in which CATNIP counts cells are made of."""

DERIVATIONS: tuple[Derivation, ...] = (
    MASKED_LABELS,
    Derivation(
        "atlaslabel_def_origspace_masked = atlaslabel_def_origspace x a mask", ("atlasmasked", "atlas"), _no_part
    ),
    Derivation("N4_masked = N4 x hemispheremask_origspace", ("N4masked", "N4", "hemispheremask"), _no_product),
    Derivation("FRSTseg_{threshold} = 255 x (FRST >= {threshold})", ("FRSTseg", "FRST"), _no_threshold),
    Derivation(
        "cells of the next higher threshold are inside of FRSTseg_{threshold}",
        ("FRSTseg", "FRSTseg"),
        _not_inside,
        nested=True,
    ),
    Derivation(
        "cells of FRSTseg_{threshold}_filtered are inside of FRSTseg_{threshold}",
        ("FRSTseg", "FRSTsegfiltered"),
        _not_inside,
    ),
    Derivation(
        "corrected heat map of {threshold} = heat map of {threshold} x a region that is kept",
        ("heatmapcorrected", "heatmap"),
        _no_part,
    ),
)
"""Claims, in the order in which they are tested. Those that need a component that is not there do not apply."""
