"""Recognising runs and their entries by the component table.

Invariant: this module holds no file name of CATNIP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from catnip2bids.catnip.component_type import ComponentType, SourceFormat
from catnip2bids.catnip.components import CHANNEL_FIRST, COMPONENTS, ONLY_IN_L0, TELLTALE
from catnip2bids.enums import Kind


def rows_with(role: str) -> list[ComponentType]:
    """Return the rows of the table with a role, which differ only in how the component is stored."""
    return [component for component in COMPONENTS if component.role == role]


def component_of(role: str, path: str) -> tuple[ComponentType, int | None] | None:
    """Return the row and the threshold of an image by its role and the path of its entry; None for an unknown role."""
    rows = rows_with(role)
    for row in rows:
        if found := row.match(path):
            threshold = found.groupdict().get("threshold")
            return row, int(threshold) if threshold else None
    return (rows[0], None) if rows else None


def kind_of(role: str) -> Kind:
    """Return how voxels of a component are downsampled; raise KeyError for an unknown role."""
    return {component.role: component.content.kind for component in COMPONENTS}[role]


def recognise(path: str, *, is_folder: bool) -> tuple[ComponentType, re.Match[str]] | None:
    """Find the row of the table for an entry by its POSIX path below the run folder."""
    for component in COMPONENTS:
        if (component.storage == SourceFormat.SLICES) == is_folder and (found := component.match(path)):
            return component, found
    return None


def ancestors(component: ComponentType) -> Iterator[str]:
    """Yield the roles of the components that this one was computed from, the nearest first."""
    made_from = {row.role: row.made_from for row in COMPONENTS}
    role = component.made_from
    while role is not None:
        yield role
        role = made_from[role]


def looks_like_run(folder_names: frozenset[str]) -> bool:
    """Tell whether a folder with these subfolders is an output folder of CATNIP."""
    return any(TELLTALE.fullmatch(name) for name in folder_names)


def layout_of(paths: frozenset[str]) -> str:
    """Name the layout of a run, ``L0``, ``L1`` or ``L2``, from the paths of its entries."""
    if not any(CHANNEL_FIRST.match(path) for path in paths):
        return "L2"
    return "L0" if any(ONLY_IN_L0.fullmatch(path) for path in paths) else "L1"
