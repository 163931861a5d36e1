"""The component table: a row for each kind of file or folder that CATNIP writes, and functions that look rows up.

Invariant: only this table knows CATNIP's file names. A new layout of CATNIP is a new row or a changed pattern.

The layouts are L0 (2021, before the public repository), L1 (2022 to 2024, names begin with the channel as in
``640_N4``) and L2 (since August 2024, no prefix). Names were read in CATNIP's source (CATNIP.sh and src/*.m, commits
4e652b5 to c377c38) and, for L0, in the scripts that packaged its output for DANDI 001362.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from catnip2bids.catnip.component_type import Action, ActionWhenPresent, ComponentType, Content, SourceFormat, VoxelGrid
from catnip2bids.enums import Kind

# CATNIP.sh up to c9fb7b4 put the channel (the laser line in nm) in front of most names
_CHANNEL = r"(?:(?P<channel>\d{3})_)?"
_THRESHOLD = r"FRSTseg_(?P<threshold>\d{1,18})"
_HEATMAP = rf"{_THRESHOLD}(?:_cellpixelIDlist_heatmap_imagespace_atlasspace|_heatmap(?:_atlasspace)?|_atlasspace)?"
_NII = r"\.nii(?:\.gz)?"
_TIF = r"\.tiff?"

_REPEATED = "a NIfTI twin of the TIFF stack, kept as it is"

WHOLE_LABELS = "atlas"
"""Role of the atlas labels of the whole image, which viewers prefer to the masked ones."""

# groups of rows; `ComponentType` describes the columns
_native = partial(ComponentType, storage=SourceFormat.SLICES, grid=VoxelGrid.NATIVE)
_heatmap = partial(ComponentType, content=Content.HEATMAP, grid=VoxelGrid.ATLAS)
_counts = partial(
    ComponentType,
    storage=SourceFormat.TABLE,
    content=Content.TABLE,
    reason="cell counts per region; also kept as they are in sourcedata",
)
_file = partial(
    ComponentType, storage=SourceFormat.FILE, action=Action.COPY, reason="small output of CATNIP, kept as it is"
)

HEMISPHERE_MASK = _native(
    role="hemispheremask",
    pattern="hemispheremask_origspace",
    examples=("hemispheremask_origspace",),
    content=Content.MASK,
    description="hemisphere mask (brain mask for whole brains) on the image grid: 1 inside",
    desc="hemispheremask",
    title="hemisphere mask",
    in_image_space=True,
    made_from="N4",
    value_name="inside",
)
"""The mask of the masked atlas labels; it can be recovered from both labels where CATNIP kept no mask."""

LOG = _file(
    role="log",
    pattern=r"[^/]*\.log(?:\.txt)?",
    examples=("640_2026-05-02_09-12-33.log.txt",),
    content=Content.OTHER,
    description="CATNIP's log",
)
"""The log with the settings of the run."""

CELL_LIST = _file(
    role="celllist",
    pattern=rf"{_CHANNEL}FRST_seg/cellvolumes/{_THRESHOLD}_cellpixelIDlist\.mat",
    examples=("FRST_seg/cellvolumes/FRSTseg_00010000_cellpixelIDlist.mat",),
    content=Content.OTHER,
    description="every voxel of every counted cell, for FRST at least {threshold}",
    reason="CATNIP's own list of cells, from which the table of cells is made; kept as it is",
)
"""The list of the voxels of all counted cells."""

COMPONENTS: tuple[ComponentType, ...] = (
    # ---- images on the native grid
    _native(
        role="N4",
        pattern=rf"{_CHANNEL}N4",
        examples=("640_N4", "N4"),
        content=Content.IMAGE,
        description="light-sheet image after N4 bias-field correction",
        desc="N4",
        title="image",
        raw=True,
    ),
    _native(
        role="N4masked",
        pattern=rf"{_CHANNEL}N4_masked",
        examples=("640_N4_masked", "N4_masked"),
        content=Content.IMAGE,
        description="light-sheet image after N4 bias-field correction, 0 outside the hemisphere mask",
        desc="N4masked",
        title="masked image",
        raw=True,
        made_from="N4",
    ),
    _native(
        role="FRST",
        pattern=rf"{_CHANNEL}FRST",
        examples=("640_FRST", "FRST"),
        content=Content.IMAGE,
        description="fast radial symmetry transform of the image",
        desc="FRST",
        title="cell filter (FRST)",
        made_from="N4",
    ),
    _native(
        role="FRSThemisphere",
        pattern=rf"{_CHANNEL}FRST_hemisphere",
        examples=("640_FRST_hemisphere",),
        content=Content.IMAGE,
        description="fast radial symmetry transform of the image, 0 outside the hemisphere",
        desc="FRSThemisphere",
        title="cell filter (FRST), hemisphere",
        made_from="FRST",
    ),
    _native(
        role=WHOLE_LABELS,
        pattern="atlaslabel_def_origspace",
        examples=("atlaslabel_def_origspace",),
        content=Content.LABELS,
        description="atlas labels warped to the image",
        desc="atlas",
        title="atlas regions",
        in_image_space=True,
        made_from="N4",
    ),
    _native(
        role="atlasmasked",
        pattern="atlaslabel_def_origspace_masked",
        examples=("atlaslabel_def_origspace_masked",),
        content=Content.LABELS,
        description="atlas labels warped to the image, 0 outside the hemisphere mask; CATNIP counts cells in these",
        desc="atlasmasked",
        title="atlas regions, masked",
        in_image_space=True,
        made_from="N4",
        beside=ActionWhenPresent(
            WHOLE_LABELS,
            Action.EXCLUDE,
            "atlaslabel_def_origspace times the hemisphere mask, by CATNIP's construction; "
            "atlaslabel_def_origspace is packaged",
        ),
    ),
    HEMISPHERE_MASK,
    *(
        _native(
            role="FRSTseg",
            pattern=rf"{_CHANNEL}FRST_seg/{_THRESHOLD}{ending}",
            examples=(f"640_FRST_seg/FRSTseg_00010000{shown}", f"FRST_seg/FRSTseg_00010000{shown}"),
            storage=storage,
            content=Content.MASK,
            description="binary cell segmentation, FRST at least {threshold}: 255 inside cells",
            desc="FRSTseg{threshold}",
            title="cells, threshold {threshold}",
            in_image_space=True,
            made_from="FRST",
            value_name="cell",
            is_segmentation=True,
        )
        for storage, ending, shown in ((SourceFormat.SLICES, "", ""), (SourceFormat.STACK, _TIF, ".tif"))
    ),
    *(
        _native(
            role="FRSTsegfiltered",
            pattern=rf"{_CHANNEL}FRST_seg/{_THRESHOLD}_filtered{ending}",
            examples=(f"FRST_seg/FRSTseg_00010000_filtered{shown}",),
            storage=storage,
            content=Content.CELL_MAP,
            description="cells of FRST at least {threshold} within the range of cell sizes: "
            "each voxel holds the volume of its cell in voxels",
            desc="FRSTsegfiltered{threshold}",
            title="cell volumes, threshold {threshold}",
            in_image_space=True,
            made_from="FRSTseg",
        )
        for storage, ending, shown in ((SourceFormat.SLICES, "", ""), (SourceFormat.STACK, _TIF, ".tif"))
    ),
    # ---- images on the atlas grid
    _heatmap(
        role="heatmap",
        pattern=rf"heatmaps_atlasspace/{_HEATMAP}{_TIF}",
        examples=(
            "heatmaps_atlasspace/FRSTseg_00010000.tif",
            "heatmaps_atlasspace/FRSTseg_00010000_heatmap_atlasspace.tif",
        ),
        storage=SourceFormat.STACK,
        description="heat map of the cells of FRST at least {threshold} in the atlas space",
        desc="heatmap{threshold}",
        title="heat map, threshold {threshold}",
        made_from="FRSTseg",
    ),
    _heatmap(
        role="heatmap",
        # without the ending _atlasspace it is in image space (CATNIP.sh from 4e652b5 to c9fb7b4)
        pattern=rf"heatmaps_atlasspace/{_THRESHOLD}_\w*atlasspace{_NII}",
        examples=("heatmaps_atlasspace/FRSTseg_00010000_heatmap_atlasspace.nii.gz",),
        storage=SourceFormat.NIFTI,
        description="heat map of the cells of FRST at least {threshold} in the atlas space",
        desc="heatmap{threshold}",
        title="heat map, threshold {threshold}",
        made_from="FRSTseg",
        beside=ActionWhenPresent("heatmap", Action.COPY, _REPEATED),
    ),
    _heatmap(
        role="heatmapcorrected",
        pattern=rf"heatmaps_atlasspace_corrected/{_HEATMAP}{_TIF}",
        examples=("heatmaps_atlasspace_corrected/FRSTseg_00010000.tif",),
        storage=SourceFormat.STACK,
        description="heat map of the cells of FRST at least {threshold} in the atlas space, 0 in the exclusion mask",
        desc="heatmapcorrected{threshold}",
        title="corrected heat map, threshold {threshold}",
        made_from="heatmap",
        is_corrected=True,
    ),
    _heatmap(
        role="heatmapcorrected",
        pattern=rf"heatmaps_atlasspace_corrected/{_THRESHOLD}\w*{_NII}",
        examples=("heatmaps_atlasspace_corrected/FRSTseg_00010000_heatmap_atlasspace.nii.gz",),
        storage=SourceFormat.NIFTI,
        description="heat map of the cells of FRST at least {threshold} in the atlas space, 0 in the exclusion mask",
        desc="heatmapcorrected{threshold}",
        title="corrected heat map, threshold {threshold}",
        made_from="heatmap",
        is_corrected=True,
        beside=ActionWhenPresent("heatmapcorrected", Action.COPY, _REPEATED),
    ),
    # ---- tables
    _counts(
        role="counts",
        pattern=rf"{_CHANNEL}FRST_seg/{_THRESHOLD}\.csv",
        examples=("640_FRST_seg/FRSTseg_00010000.csv", "FRST_seg/FRSTseg_00010000.csv"),
        description="cells and voxels of each region, for FRST at least {threshold}",
        desc="FRSTseg{threshold}",
    ),
    _counts(
        role="countscorrected",
        pattern=rf"{_CHANNEL}FRST_seg_corr(?:ected)?/{_THRESHOLD}\.csv",
        examples=("640_FRST_seg_corr/FRSTseg_00010000.csv", "FRST_seg_corrected/FRSTseg_00010000.csv"),
        description="cells and voxels of each region, for FRST at least {threshold}; "
        "regions that overlap the exclusion mask too much are excluded",
        desc="FRSTsegcorrected{threshold}",
        is_corrected=True,
    ),
    CELL_LIST,
    _file(
        role="cellvolumes",
        pattern=rf"{_CHANNEL}FRST_seg/cellvolumes/{_THRESHOLD}\w*\.(?:csv|mat)",
        examples=("FRST_seg/cellvolumes/FRSTseg_00010000_cellvolume_in_pixels.csv",),
        content=Content.OTHER,
        description="label and volume of every cell, for FRST at least {threshold}",
    ),
    # ---- everything else that CATNIP keeps
    LOG,
    _file(
        role="atlasspacemask",
        pattern=rf"(?:exclusion_mask|{_CHANNEL}downsampled_[\w.]+_brainmask)_atlasspace(?:{_NII}|{_TIF})",
        examples=("exclusion_mask_atlasspace.nii.gz",),
        content=Content.MASK,
        description="exclusion and brain masks on the atlas grid; in the exclusion mask 1 is what is kept",
        grid=VoxelGrid.ATLAS,
    ),
    _file(
        role="downsampled",
        pattern=rf"{_CHANNEL}downsampled_[\w.]+(?:{_NII}|{_TIF})",
        examples=("640_downsampled_6x6x5_N4.nii", "downsampled_6x6x5.tif"),
        content=Content.IMAGE,
        description="the image on the downsampled grid on which the atlas was registered",
        grid=VoxelGrid.DOWNSAMPLED,
    ),
    _file(
        role="registration",
        pattern=rf"atlas(?:image_reg|label_def)\w*(?:{_NII}|{_TIF}|\.mat|\.txt)",
        examples=("atlasimage_reg0GenericAffine.mat", "atlaslabel_def.tif"),
        content=Content.OTHER,
        description="registered atlas and its transforms",
        grid=VoxelGrid.DOWNSAMPLED,
    ),
    _file(
        role="smallmasks",
        pattern=rf"(?:hemispheremask|exclusion_mask)_[\w.]+(?:{_NII}|{_TIF})",
        examples=("hemispheremask_6x6x5.tif", "exclusion_mask_downsampled_6x6x5.nii.gz"),
        content=Content.MASK,
        description="hemisphere and exclusion masks on the downsampled grid",
        grid=VoxelGrid.DOWNSAMPLED,
    ),
    _file(
        role="heatmapimage",
        pattern=rf"heatmaps_(?:imagespace|atlasspace)/{_THRESHOLD}\w*(?:{_NII}|{_TIF})",
        examples=("heatmaps_imagespace/FRSTseg_00010000_cellpixelIDlist_heatmap_imagespace.tif",),
        content=Content.HEATMAP,
        description="heat map of the cells of FRST at least {threshold} on the downsampled grid",
        grid=VoxelGrid.DOWNSAMPLED,
    ),
    _native(
        role="N4field",
        pattern=rf"{_CHANNEL}N4Field",
        examples=("640_N4Field", "N4Field"),
        content=Content.IMAGE,
        description="bias field that N4 found",
        action=Action.EXCLUDE,
        reason="an intermediate that CATNIP itself removes at its end; it has no part in any result",
        desc="N4field",
        title="bias field",
    ),
    _native(
        role="flipped",
        pattern=rf"{_CHANNEL}flipped",
        examples=("640_flipped", "flipped"),
        content=Content.IMAGE,
        description="mirrored copy of the images that CATNIP was given",
        action=Action.EXCLUDE,
        reason="a mirrored copy of CATNIP's input, not a result; the input itself is what to archive",
        desc="flipped",
        title="mirrored input",
    ),
)
"""The component table. Where two rows match, the first one counts."""

FOLDERS: re.Pattern[str] = re.compile(
    rf"{_CHANNEL}FRST_seg(?:/cellvolumes|_corr(?:ected)?)?|heatmaps_(?:imagespace|atlasspace(?:_corrected)?)",
    re.IGNORECASE,
)
"""Folders of a run that hold components and are not components themselves."""

TELLTALE_FOLDERS = (
    "N4",
    "N4_masked",
    "FRST",
    "FRST_seg",
    "atlaslabel_def_origspace",
    "atlaslabel_def_origspace_masked",
    "hemispheremask_origspace",
    "heatmaps_atlasspace",
)
"""Every run has some of these folders, possibly with the channel before the name."""

_TELLTALE = re.compile(rf"{_CHANNEL}(?:{'|'.join(TELLTALE_FOLDERS)})", re.IGNORECASE)
_CHANNEL_FIRST = re.compile(r"\d{3}_(?:N4|FRST)", re.IGNORECASE)
"""Prefix of names in L0 and L1."""
_ONLY_IN_L0 = re.compile(rf"\d{{3}}_(?:FRST_seg/{_THRESHOLD}{_TIF}|N4|FRST_seg_corr(?:/.*)?)", re.IGNORECASE)
"""Cells as stacks, the unmasked image, and the first name of the folder of corrected counts."""


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
    return any(_TELLTALE.fullmatch(name) for name in folder_names)


def layout_of(paths: frozenset[str]) -> str:
    """Name the layout of a run, ``L0``, ``L1`` or ``L2``, from the paths of its entries."""
    if not any(_CHANNEL_FIRST.match(path) for path in paths):
        return "L2"
    return "L0" if any(_ONLY_IN_L0.fullmatch(path) for path in paths) else "L1"
