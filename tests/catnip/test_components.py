"""Every name that CATNIP ever wrote, held against the component table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from catnip2bids.catnip.atlas import ATLAS_LABELS
from catnip2bids.catnip.component_type import Action, ComponentType, Content, SourceFormat, VoxelGrid
from catnip2bids.catnip.components import (
    COMPONENTS,
    FOLDERS,
    WHOLE_LABELS,
    ancestors,
    layout_of,
    looks_like_run,
    recognise,
)
from catnip2bids.catnip.counts import counted_segmentation
from catnip2bids.volume import number_slices

CONVERT, COPY, EXCLUDE = Action.CONVERT, Action.COPY, Action.EXCLUDE
HEATMAP = Content.HEATMAP
NATIVE, DOWNSAMPLED, ATLAS = VoxelGrid.NATIVE, VoxelGrid.DOWNSAMPLED, VoxelGrid.ATLAS

# path; a folder ends with /; role, content, grid, threshold, default action
L0 = [
    ("640_N4/", "N4", Content.IMAGE, NATIVE, None, CONVERT),
    ("640_FRST/", "FRST", Content.IMAGE, NATIVE, None, CONVERT),
    ("640_FRST_hemisphere/", "FRSThemisphere", Content.IMAGE, NATIVE, None, CONVERT),
    ("640_FRST_seg/FRSTseg_00010000.tif", "FRSTseg", Content.MASK, NATIVE, 10000, CONVERT),
    ("640_FRST_seg/FRSTseg_00010000.csv", "counts", Content.TABLE, None, 10000, CONVERT),
    ("640_FRST_seg_corr/FRSTseg_00010000.csv", "countscorrected", Content.TABLE, None, 10000, CONVERT),
    ("atlaslabel_def_origspace/", "atlas", Content.LABELS, NATIVE, None, CONVERT),
    ("atlaslabel_def_origspace_masked/", "atlasmasked", Content.LABELS, NATIVE, None, CONVERT),
    ("heatmaps_atlasspace/FRSTseg_00010000.tif", "heatmap", HEATMAP, ATLAS, 10000, CONVERT),
    ("heatmaps_atlasspace_corrected/FRSTseg_00010000.tif", "heatmapcorrected", HEATMAP, ATLAS, 10000, CONVERT),
]

_SMALL_IMAGES = ["", "_orig", "_N4", "_N4Field", "_brain", "_brainmask"]
_CELLS = "FRSTseg_00045000_cellpixelIDlist"

L1 = [
    ("640_flipped/", "flipped", Content.IMAGE, NATIVE, None, EXCLUDE),
    *(
        (f"640_downsampled_6x6x5{what}{ending}", "downsampled", Content.IMAGE, DOWNSAMPLED, None, COPY)
        for what in _SMALL_IMAGES
        for ending in (".nii", ".nii.gz", ".tif")
    ),
    ("640_N4Field/", "N4field", Content.IMAGE, NATIVE, None, EXCLUDE),
    ("640_N4/", "N4", Content.IMAGE, NATIVE, None, CONVERT),
    ("640_N4_masked/", "N4masked", Content.IMAGE, NATIVE, None, CONVERT),
    ("hemispheremask_origspace/", "hemispheremask", Content.MASK, NATIVE, None, CONVERT),
    ("atlaslabel_def_origspace_masked/", "atlasmasked", Content.LABELS, NATIVE, None, CONVERT),
    ("640_FRST/", "FRST", Content.IMAGE, NATIVE, None, CONVERT),
    ("640_FRST_seg/FRSTseg_00045000/", "FRSTseg", Content.MASK, NATIVE, 45000, CONVERT),
    ("640_FRST_seg/FRSTseg_00045000.csv", "counts", Content.TABLE, None, 45000, CONVERT),
    ("640_FRST_seg_corrected/FRSTseg_00045000.csv", "countscorrected", Content.TABLE, None, 45000, CONVERT),
    # in this layout the image-space heatmap lies in the same folder
    (f"heatmaps_atlasspace/{_CELLS}_heatmap_imagespace.nii.gz", "heatmapimage", HEATMAP, DOWNSAMPLED, 45000, COPY),
    (f"heatmaps_atlasspace/{_CELLS}_heatmap_imagespace.tif", "heatmapimage", HEATMAP, DOWNSAMPLED, 45000, COPY),
    ("heatmaps_atlasspace/FRSTseg_00045000_heatmap.nii.gz", "heatmapimage", HEATMAP, DOWNSAMPLED, 45000, COPY),
    ("heatmaps_atlasspace/FRSTseg_00045000_heatmap_atlasspace.nii.gz", "heatmap", HEATMAP, ATLAS, 45000, CONVERT),
    ("heatmaps_atlasspace/FRSTseg_00045000_heatmap_atlasspace.tif", "heatmap", HEATMAP, ATLAS, 45000, CONVERT),
    (f"heatmaps_atlasspace/{_CELLS}_heatmap_imagespace_atlasspace.tif", "heatmap", HEATMAP, ATLAS, 45000, CONVERT),
]  # fmt: skip

L2 = [
    ("flipped/", "flipped", Content.IMAGE, NATIVE, None, EXCLUDE),
    *(
        (f"downsampled_{factor}{what}.nii.gz", "downsampled", Content.IMAGE, DOWNSAMPLED, None, COPY)
        for factor in ("6x6x5", "6.5x6.5x5")  # the factor as it was typed
        for what in _SMALL_IMAGES
    ),
    ("downsampled_6x6x5_N4Field.tif", "downsampled", Content.IMAGE, DOWNSAMPLED, None, COPY),
    ("downsampled_6x6x5.tif", "downsampled", Content.IMAGE, DOWNSAMPLED, None, COPY),
    ("N4Field/", "N4field", Content.IMAGE, NATIVE, None, EXCLUDE),
    ("N4/", "N4", Content.IMAGE, NATIVE, None, CONVERT),
    ("N4_masked/", "N4masked", Content.IMAGE, NATIVE, None, CONVERT),
    *(
        (f"atlasimage_reg{what}", "registration", Content.OTHER, DOWNSAMPLED, None, COPY)
        for what in (".nii.gz", "_brain.nii.gz", "0GenericAffine.mat", "1Warp.nii.gz", "1InverseWarp.nii.gz")
    ),
    *(
        (f"atlaslabel_def{what}", "registration", Content.OTHER, DOWNSAMPLED, None, COPY)
        for what in (".nii.gz", "_brain.nii.gz", ".tif")
    ),
    ("atlaslabel_def_origspace/", "atlas", Content.LABELS, NATIVE, None, CONVERT),
    ("atlaslabel_def_origspace_masked/", "atlasmasked", Content.LABELS, NATIVE, None, CONVERT),
    ("hemispheremask_origspace/", "hemispheremask", Content.MASK, NATIVE, None, CONVERT),
    *(
        (f"hemispheremask_{factor}{ending}", "smallmasks", Content.MASK, DOWNSAMPLED, None, COPY)
        for factor in ("6x6x5", "6.5x6.5x5")
        for ending in (".nii.gz", ".tif")
    ),
    ("exclusion_mask_downsampled_6x6x5.nii.gz", "smallmasks", Content.MASK, DOWNSAMPLED, None, COPY),
    ("exclusion_mask_downsampled_6.5x6.5x5.nii.gz", "smallmasks", Content.MASK, DOWNSAMPLED, None, COPY),
    ("FRST/", "FRST", Content.IMAGE, NATIVE, None, CONVERT),
    ("FRST_seg/FRSTseg_00045000/", "FRSTseg", Content.MASK, NATIVE, 45000, CONVERT),
    ("FRST_seg/FRSTseg_00045000.tif", "FRSTseg", Content.MASK, NATIVE, 45000, CONVERT),
    ("FRST_seg/FRSTseg_00045000_filtered/", "FRSTsegfiltered", Content.CELL_MAP, NATIVE, 45000, CONVERT),
    ("FRST_seg/FRSTseg_00045000.csv", "counts", Content.TABLE, None, 45000, CONVERT),
    ("FRST_seg/cellvolumes/FRSTseg_00045000_cellvolume_in_pixels.csv", "cellvolumes", Content.OTHER, None, 45000, COPY),
    (f"FRST_seg/cellvolumes/{_CELLS}.mat", "celllist", Content.OTHER, None, 45000, COPY),
    (f"heatmaps_imagespace/{_CELLS}_heatmap_imagespace.nii.gz", "heatmapimage", HEATMAP, DOWNSAMPLED, 45000, COPY),
    (f"heatmaps_imagespace/{_CELLS}_heatmap_imagespace.tif", "heatmapimage", HEATMAP, DOWNSAMPLED, 45000, COPY),
    *(
        (f"heatmaps_atlasspace{what}/{_CELLS}_heatmap_imagespace_atlasspace{ending}", f"heatmap{what[1:]}",
         HEATMAP, ATLAS, 45000, CONVERT)
        for what in ("", "_corrected")
        for ending in (".nii.gz", ".tif")
    ),
    ("FRST_seg_corrected/FRSTseg_00045000.csv", "countscorrected", Content.TABLE, None, 45000, CONVERT),
    ("640_2026-05-02_09-12-33.log.txt", "log", Content.OTHER, None, None, COPY),
]  # fmt: skip

EVERYTHING = [pytest.param(*row, id=f"{layout}:{row[0]}") for layout, rows in
              (("L0", L0), ("L1", L1), ("L2", L2)) for row in rows]  # fmt: skip


@pytest.mark.parametrize(("path", "role", "content", "grid", "threshold", "action"), EVERYTHING)
def test_every_output_of_every_layout_is_known(
    path: str, role: str, content: Content, grid: VoxelGrid | None, threshold: int | None, action: Action
) -> None:
    found = recognise(path.rstrip("/"), is_folder=path.endswith("/"))
    assert found is not None
    component, match = found
    told = match.groupdict().get("threshold")
    assert (component.role, component.content, component.action) == (role, content, action)
    assert (int(told) if told else None) == threshold
    assert component.grid == grid
    if path.endswith("/"):
        assert component.storage == SourceFormat.SLICES


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.examples[0])
def test_examples_of_a_component_are_names_of_it(component: ComponentType) -> None:
    for example in component.examples:
        found = recognise(example, is_folder=component.storage == SourceFormat.SLICES)
        assert found is not None
        assert found[0] is component, example


@pytest.mark.parametrize("name", ["exclusion_mask_atlasspace", "downsampled_6x6x5_brainmask_atlasspace"])
def test_masks_in_atlas_space_are_on_the_atlas_grid(name: str) -> None:
    found = recognise(f"{name}.nii.gz", is_folder=False)
    assert found is not None
    assert found[0].action == COPY
    assert found[0].grid == ATLAS


@pytest.mark.parametrize(
    ("path", "file", "number"),
    [
        ("640_N4", "Z0001.tif", 1),
        ("640_N4", "Z0990.tif", 990),
        ("N4", "Z000990.tif", 990),
        ("N4", "Z000990_corrected.tif", 990),
        ("N4", "210810_45670_ko_14-48-50_UltraII_C00_xyz-Table Z0990.ome.tif", 990),
        ("N4", "14-48-50_C00_xyz-Table Z0990.ome.tif_corrected.tif", 990),
        ("N4", "image_0007.tiff", 7),
        ("640_flipped", "14-48-50_UltraII[00 x 00]_C00_xyz-Table Z0990.ome.tif", 990),
        ("flipped", "Z000012.tif", 12),
        ("N4Field", "Z000012.tif", 12),
        ("640_N4_masked", "Z000012.tif", 12),
        ("N4_masked", "Z000012.tif", 12),
        ("atlaslabel_def_origspace", "Z0990.tif", 990),
        ("atlaslabel_def_origspace_masked", "Z00990.tif", 990),
        ("atlaslabel_def_origspace", "Z000990.tif", 990),
        ("hemispheremask_origspace", "Z000990.tif", 990),
        ("FRST", "Z000001_FRST.tif", 1),
        ("640_FRST", "Z001234_FRST.tif", 1234),
        ("FRST", "640_FRST_Z00012.tif", 12),
        ("FRST_seg/FRSTseg_00001000", "Z000001_FRST_T001000.tif", 1),
        ("FRST_seg/FRSTseg_00045000", "Z001234_FRST_T045000.tif", 1234),
        ("FRST_seg/FRSTseg_12345678", "Z001234_FRST_T12345678.tif", 1234),
        ("640_FRST_seg/FRSTseg_00045000", "640_FRST_T045000_Z000012.tif", 12),
        ("FRST_seg/FRSTseg_00045000_filtered", "Z00012.tif", 12),
        ("FRST_seg/FRSTseg_00045000_filtered", "Z100000.tif", 100000),
    ],
)
def test_slice_numbers_are_found_under_every_padding(path: str, file: str, number: int) -> None:
    assert recognise(path, is_folder=True) is not None
    digits = max((text for text in re.findall("[0-9]+", file) if int(text) == number), key=len)
    series = [Path(file), Path(file.replace(digits, f"{number + 1:0{len(digits)}d}"))]
    assert list(number_slices(series).by_number) == [number, number + 1]


@pytest.mark.parametrize(
    "path",
    [
        "notes.docx",
        "thumbnail.png",
        "atlas.csv",
        "FRST.tif",
        "FRST_segmentation",
        "640_N4_masked2",
        "64_N4",
        "6400_N4",
        "640-N4",
        "old/640_N4",
        "640_N4/Z0001.tif",
        "atlaslabel_def_origspace_masked_old",
        "FRST_seg/FRSTseg_.csv",
        "FRST_seg/FRSTseg_00010000_old.csv",
        "FRST_seg/FRSTseg_00010000.csv.bak",
        "FRST_seg/FRSTseg_1e4",
        "FRST_seg/summary.csv",
        "heatmaps_atlasspace/mean.tif",
        "heatmaps_atlasspace/FRSTseg_00010000.png",
        "FRST_seg_corr/FRSTseg_00010000.tif",
    ],
)
@pytest.mark.parametrize("is_folder", [False, True])
def test_other_names_are_not_known(path: str, is_folder: bool) -> None:
    assert recognise(path, is_folder=is_folder) is None


@pytest.mark.parametrize(
    ("path", "is_folder"),
    [("640_N4", False), ("atlaslabel_def_origspace", False), ("FRST_seg/FRSTseg_00010000.csv", True)],
)
def test_a_file_is_no_folder(path: str, is_folder: bool) -> None:
    assert recognise(path, is_folder=is_folder) is None


@pytest.mark.parametrize(
    "folders",
    [
        {"640_N4", "640_FRST"},
        {"N4_masked"},
        {"640_FRST_seg"},
        {"FRST_seg", "notes"},
        {"atlaslabel_def_origspace_masked"},
        {"hemispheremask_origspace"},
        {"heatmaps_atlasspace"},
    ],
)
def test_a_run_is_known_by_its_folders(folders: set[str]) -> None:
    assert looks_like_run(frozenset(folders))


@pytest.mark.parametrize("folders", [set(), {"KO", "FLOX"}, {"N4_old", "FRSTs"}, {"raw", "640"}, {"sub-1", "code"}])
def test_other_folders_are_no_run(folders: set[str]) -> None:
    assert not looks_like_run(frozenset(folders))


@pytest.mark.parametrize(
    ("paths", "layout"),
    [
        ([path.rstrip("/") for path, *_ in L0], "L0"),
        ([path.rstrip("/") for path, *_ in L1 if path != "640_N4/"], "L1"),
        ([path.rstrip("/") for path, *_ in L2], "L2"),
    ],
)
def test_layouts_are_told_apart(paths: list[str], layout: str) -> None:
    assert layout_of(frozenset(paths)) == layout


@pytest.mark.parametrize("rows", [L0, L1, L2])
@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase])
def test_names_are_recognised_whatever_their_case(
    rows: Sequence[tuple[Any, ...]], change: Callable[[str], str]
) -> None:
    for path, *_ in rows:
        plain, is_folder = path.rstrip("/"), path.endswith("/")
        expected, found = (recognise(name, is_folder=is_folder) for name in (plain, change(plain)))
        assert (found and found[0]) is (expected and expected[0])
    paths = [path.rstrip("/") for path, *_ in rows]
    assert layout_of(frozenset(map(change, paths))) == layout_of(frozenset(paths))


def test_every_component_within_a_folder_is_looked_for_there() -> None:
    folders = {path.rpartition("/")[0] for rows in (L0, L1, L2) for path, *_ in rows if "/" in path.rstrip("/")}
    folders.discard("")
    assert all(FOLDERS.fullmatch(folder) for folder in {f for f in folders if recognise(f, is_folder=True) is None})


def test_every_component_has_a_role_that_is_there_and_ends_at_the_raw_image() -> None:
    for component in COMPONENTS:
        assert all(role in {row.role for row in COMPONENTS} for role in ancestors(component))
        if component.storage == SourceFormat.TABLE or component.action == CONVERT:
            assert component.desc_label(10000)


@pytest.mark.parametrize("row", COMPONENTS, ids=lambda row: row.role)
def test_a_label_of_an_image_is_known_again(row: ComponentType) -> None:
    label = row.desc_label(10000)
    if label is not None:
        assert row.match_desc(label)
    assert not row.match_desc("mine")


def test_a_table_of_counts_says_of_which_segmentation_it_is() -> None:
    tables = [row for row in COMPONENTS if row.storage == SourceFormat.TABLE]
    assert [counted_segmentation(row.desc_label(10000) or "") for row in tables] == [(10000, False), (10000, True)]
    assert [counted_segmentation(label) for label in ("FRSTsegfiltered10000", "FRSTseg", "")] == [None] * 3


def test_the_table_says_what_report_and_viewer_show_of_a_component() -> None:
    assert {row.role for row in COMPONENTS if row.is_segmentation} == {"FRSTseg"}
    assert {row.role for row in COMPONENTS if row.is_corrected} == {"heatmapcorrected", "countscorrected"}


def test_whole_labels_come_before_masked_ones() -> None:
    assert ATLAS_LABELS == (WHOLE_LABELS, "atlasmasked")


def test_only_labels_are_merged_as_labels_and_cells_by_maximum() -> None:
    kinds = {content: content.kind.value for content in Content}
    assert kinds[Content.LABELS] == "labels"
    assert kinds[Content.MASK] == kinds[Content.CELL_MAP] == "mask"
    assert kinds[Content.IMAGE] == kinds[Content.HEATMAP] == "image"
