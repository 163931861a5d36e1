"""The columns of the component table: storage, content, grid, default action and display of a component.

Invariant: this module holds no file name of CATNIP; the rows in `components.py` do.
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
        """How voxels of such content are downsampled."""
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
    """What to do with a source entry."""

    CONVERT = "convert"
    COPY = "copy"
    EXCLUDE = "exclude"


@dataclass(frozen=True)
class ActionWhenPresent:
    """The action instead of the default if the run also has a component with another role."""

    role: str
    action: Action
    reason: str


@dataclass(frozen=True)
class ComponentType:
    """A row of the component table: one kind of file or folder that CATNIP writes.

    Attributes
    ----------
    role
        What the component is in the pipeline; rows with the same role store the same data differently.
    pattern
        Regular expression for the whole path below the run folder; group ``threshold`` is the FRST threshold.
    examples
        Paths that it matches, older layouts first, for the documentation.
    storage, content, grid
        How it is stored, what it is, and on which voxel grid.
    description
        Description in the dataset; ``{threshold}`` is filled in.
    action, reason
        Default action, and the reason for it; without a reason, plans give the description.
    desc
        Label of its ``desc-`` entity; ``{threshold}`` is filled in.
    raw
        Whether it may be the raw image of the dataset: the first such component of a run is, any other one becomes a
        derivative named by `desc`.
    in_image_space
        Whether it is in the space of the raw image (``space-orig``).
    made_from
        Role of the component it was computed from, with the same threshold if that has one. Where their pixels are
        the same, this one is left out.
    title
        Name of its layer in the viewer; ``{threshold}`` is filled in.
    value_name
        Meaning of the values of a mask other than 0.
    is_segmentation
        Whether it is a binary segmentation of cells: report and viewer draw these over the image.
    is_corrected
        Whether cells in the exclusion mask of the run are left out of it: the report shows both.
    beside
        Action instead of the default if the run has another component too.
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
    title: str = ""
    value_name: str | None = None
    is_segmentation: bool = False
    is_corrected: bool = False
    beside: ActionWhenPresent | None = None

    @property
    def is_volume(self) -> bool:
        """Whether it is read as a 3D image."""
        return self.storage not in (SourceFormat.TABLE, SourceFormat.FILE)

    def described(self, threshold: int | None) -> str:
        """Return the description with the threshold in it."""
        return self.description.format(threshold=threshold)

    def titled(self, threshold: int | None) -> str:
        """Return the title with the threshold in it."""
        return self.title.format(threshold=threshold)

    def desc_label(self, threshold: int | None) -> str | None:
        """Return the label of the ``desc-`` entity with the threshold in it; None if there is none."""
        return None if self.desc is None else self.desc.format(threshold=threshold)

    def match_desc(self, label: str) -> re.Match[str] | None:
        """Match the label of a ``desc-`` entity; group ``threshold`` is the FRST threshold, if it has one."""
        if self.desc is None:
            return None
        return re.fullmatch(self.desc.format(threshold=r"(?P<threshold>\d+)"), label)

    def match(self, path: str) -> re.Match[str] | None:
        """Match the path of an entry below its run folder, without regard to case: some systems change it."""
        return re.fullmatch(self.pattern, path, re.IGNORECASE)
