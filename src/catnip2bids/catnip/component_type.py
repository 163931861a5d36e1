"""What is said of a component: how it is stored, what it is, and what is done with it.

Invariant: nothing here names a file of CATNIP; the rows of the table in `components.py` do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from catnip2bids.enums import Kind


class SourceFormat(StrEnum):
    """How a component is stored."""

    SLICES = "slice folder"
    STACK = "TIFF stack"
    NIFTI = "NIfTI"
    TABLE = "table"
    FILE = "file"


class Content(StrEnum):
    """What a component is."""

    IMAGE = "image"
    LABELS = "labels"
    MASK = "mask"
    CELL_MAP = "cell map"
    HEATMAP = "heatmap"
    TABLE = "table"
    OTHER = "other"

    @property
    def kind(self) -> Kind:
        """How voxels of such content may be merged."""
        match self:
            case Content.LABELS:
                return Kind.LABELS
            case Content.MASK | Content.CELL_MAP:
                return Kind.MASK
            case _:
                return Kind.IMAGE


class VoxelGrid(StrEnum):
    """The voxel grid of an image."""

    NATIVE = "native"
    DOWNSAMPLED = "downsampled"
    ATLAS = "atlas"


class Action(StrEnum):
    """What is done with a source entry."""

    CONVERT = "convert"
    COPY = "copy"
    EXCLUDE = "exclude"


@dataclass(frozen=True)
class ActionWhenPresent:
    """What is done instead when a component with another role is there as well."""

    role: str
    action: Action
    reason: str


@dataclass(frozen=True)
class ComponentType:
    """A row of the table.

    Attributes
    ----------
    role
        What the component is in the pipeline; rows with the same role are other storages of the same thing.
    pattern
        Regular expression for the whole path below the run folder; group ``threshold`` is the FRST threshold.
    examples
        Paths that it matches, older layouts first; for people who look for theirs.
    storage, content, grid
        How it is stored, what it is, and on which voxel grid.
    description
        What it is, for people who read the dataset; ``{threshold}`` is filled in.
    action, reason
        What is done with it by default, and why; without a reason the description is one.
    desc
        Label of its ``desc-`` entity; ``{threshold}`` is filled in.
    raw
        Whether it is the image the others were computed from: the first such component of a run becomes the
        raw image of the dataset, any other one a derivative named by `desc`.
    in_image_space
        Whether it was brought to, or made in, the space of the raw image (``space-orig``).
    made_from
        Role of the component it was computed from, with the same threshold if that has one.
    value_name
        What the values of a mask other than 0 stand for.
    is_segmentation
        Whether it is a binary segmentation of cells: report and viewer draw these over the image.
    is_corrected
        Whether cells in the exclusion mask of the run are left out of it: the report shows it beside the other one.
    beside
        What is done instead when another component is present too.
    """

    role: str
    pattern: str
    examples: tuple[str, ...]
    storage: SourceFormat
    content: Content
    description: str
    action: Action = Action.CONVERT
    reason: str = ""
    grid: VoxelGrid | None = None
    desc: str | None = None
    raw: bool = False
    in_image_space: bool = False
    made_from: str | None = None
    value_name: str | None = None
    is_segmentation: bool = False
    is_corrected: bool = False
    beside: ActionWhenPresent | None = None

    def described(self, threshold: int | None) -> str:
        """Return the description with the threshold in it."""
        return self.description.format(threshold=threshold)

    def desc_label(self, threshold: int | None) -> str | None:
        """Return the label of the ``desc-`` entity with the threshold in it; None if it cannot be converted."""
        return None if self.desc is None else self.desc.format(threshold=threshold)

    def match_desc(self, label: str) -> re.Match[str] | None:
        """Match the label of a ``desc-`` entity; group ``threshold`` is the FRST threshold, if it has one."""
        if self.desc is None:
            return None
        return re.fullmatch(self.desc.format(threshold=r"(?P<threshold>\d+)"), label)

    def match(self, path: str) -> re.Match[str] | None:
        """Match the path of an entry below its run folder, without regard to case: some systems change it."""
        return re.fullmatch(self.pattern, path, re.IGNORECASE)
