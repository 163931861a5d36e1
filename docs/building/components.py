"""The table of CATNIP's components, written from the table that the program itself goes by."""

from __future__ import annotations

from collections.abc import Iterator

from catnip2bids.catnip.component_type import Action, ComponentType, SourceFormat, VoxelGrid
from catnip2bids.catnip.components import COMPONENTS


def describe_components() -> str:
    """Describe all components as a Markdown table, a row for each part they have in the pipeline."""
    lines = ["| in the run | what it is | in the dataset |", "| --- | --- | --- |"]
    for role in dict.fromkeys(component.role for component in COMPONENTS):
        rows = [component for component in COMPONENTS if component.role == role]
        names = ", ".join(dict.fromkeys(name for row in rows for name in _names(row)))
        lines.append(f"| {names} | {rows[0].description.format(threshold='T')} | {_becomes(rows[0])} |")
    return "\n".join(lines)


def _names(component: ComponentType) -> Iterator[str]:
    """Yield what it is called in runs, with T for the threshold; a folder ends with a slash."""
    for example in component.examples:
        found = component.match(example)
        assert found is not None
        if "threshold" in found.re.groupindex:
            example = f"{example[: found.start('threshold')]}T{example[found.end('threshold') :]}"
        yield f"`{example}{'/' if component.storage == SourceFormat.SLICES else ''}`"


def _becomes(component: ComponentType) -> str:
    """Say what becomes of a component as long as the plan says nothing else."""
    match component.action:
        case Action.COPY:
            return "copied as it is to `sourcedata/catnip`"
        case Action.EXCLUDE:
            return "left out"
    space = (
        "space-CATNIPv2_" if component.grid == VoxelGrid.ATLAS else "space-orig_" if component.in_image_space else ""
    )
    suffix = "counts" if component.storage == SourceFormat.TABLE else "SPIM"
    name = f"`{space}desc-{(component.desc or '').format(threshold='T')}_{suffix}`"
    if component.raw:
        return f"the raw image, `SPIM`; where that is another one, {name}"
    if component.beside and component.beside.action == Action.EXCLUDE:
        return f"left out if the pixels allow it, else {name}"
    return name
