"""Write the made-up brain as CATNIP does: runs of 2021 (layout L0) and of today (layout L2).

Invariant: all files of a run are computed from one phantom by CATNIP's rules, so that all relations between outputs
hold exactly (masked = labels x mask, segmentation = FRST >= threshold, counts from the masked labels, ...). The same
pixels give the same bytes. The folder of the cohort holds nothing but the runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from os import cpu_count
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.demo.cell_list import filtered_image, write_cell_list
from catnip2bids.demo.cells import CELL_SIZE_RANGE_VOXELS, Cells, find_cells, region_boxes
from catnip2bids.demo.phantom import DOWNSAMPLING, VOXEL_SIZE_UM, Phantom, Shape, make_phantom
from catnip2bids.demo.regions import REGIONS, Region, write_atlas_table
from catnip2bids.errors import UsageError

_KO_RUN: Final = "KO/210810_10001_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11"
_WT_RUN: Final = "WT/_10002_RH_wt_20260502/640_2026-05-02_09-12-33"
_MASK_OVERLAP_RATIO: Final = 0.25  # CATNIP's default of mask_ovl_ratio
_HEATMAP_RADIUS_VOXELS: Final = 3  # 5 in CATNIP, but this brain is smaller than a mouse's

_ATLAS_STEPS: Final = ATLAS_VOXEL_SIZE_UM / np.array(VOXEL_SIZE_UM[::-1])  # native voxels per atlas voxel, (z, y, x)
_N_IDS: Final = REGIONS[-1].id + 1
_TIFF: Final[dict[str, Any]] = {
    "photometric": "minisblack",
    "compression": tifffile.COMPRESSION.ADOBE_DEFLATE,  # tag value 8
    "metadata": None,
    "software": False,
}
_SLICE_STRIP_BYTES: Final = 16384  # about the size of strips from MATLAB's imwrite
_PAGE_NUMBER_TAG: Final = 297

_Counts = list[tuple[Region, int, int]]


@dataclass(frozen=True)
class RunSpec:
    """The properties of a made-up run."""

    name: str = _WT_RUN  # run folder, a relative path
    layout: Literal["L0", "L2"] = "L2"  # L0 as in 2021, L2 as today
    shape: Shape = (96, 320, 272)
    seed: int = 1
    thresholds: tuple[int, ...] = (10000, 15000)  # all cells exceed 10000, the brighter ones 15000
    exclusion: bool = False  # with an exclusion mask, and so with corrected counts and heat maps
    plane_digits: int | None = None  # zero padding of all slice numbers; the layout pads outputs differently


_ATLAS_SPACE_HEATMAP: Final = "FRSTseg_{threshold:08d}_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"
_LAYOUTS: Final[Mapping[str, Mapping[str, str]]] = {
    "L0": {
        "image": "640_N4/Z{plane:04d}.tif",
        "frst": "640_FRST/Z{plane:06d}_FRST.tif",
        "atlas": "atlaslabel_def_origspace/Z{plane:04d}.tif",
        "atlas_masked": "atlaslabel_def_origspace_masked/Z{plane:05d}.tif",
        "segmentation": "640_FRST_seg/FRSTseg_{threshold:08d}.tif",
        "counts": "640_FRST_seg/FRSTseg_{threshold:08d}.csv",
        "counts_corrected": "640_FRST_seg_corr/FRSTseg_{threshold:08d}.csv",
        "heatmap": "heatmaps_atlasspace/FRSTseg_{threshold:08d}.tif",
        "heatmap_corrected": "heatmaps_atlasspace_corrected/FRSTseg_{threshold:08d}.tif",
    },
    "L2": {
        "image_masked": "N4_masked/Z{plane:06d}.tif",
        "frst": "FRST/Z{plane:06d}_FRST.tif",
        "atlas": "atlaslabel_def_origspace/Z{plane:06d}.tif",
        "atlas_masked": "atlaslabel_def_origspace_masked/Z{plane:06d}.tif",
        "hemisphere_mask": "hemispheremask_origspace/Z{plane:06d}.tif",
        "segmentation": "FRST_seg/FRSTseg_{threshold:08d}/Z{plane:06d}_FRST_T{threshold:06d}.tif",
        "filtered": "FRST_seg/FRSTseg_{threshold:08d}_filtered/Z{plane:05d}.tif",
        "counts": "FRST_seg/FRSTseg_{threshold:08d}.csv",
        "cell_volumes": "FRST_seg/cellvolumes/FRSTseg_{threshold:08d}_cellvolume_in_pixels.csv",
        "cell_list": "FRST_seg/cellvolumes/FRSTseg_{threshold:08d}_cellpixelIDlist.mat",
        "counts_corrected": "FRST_seg_corrected/FRSTseg_{threshold:08d}.csv",
        "heatmap": "heatmaps_atlasspace/" + _ATLAS_SPACE_HEATMAP,
        "heatmap_corrected": "heatmaps_atlasspace_corrected/" + _ATLAS_SPACE_HEATMAP,
        "transform": "atlasimage_reg0GenericAffine.mat",
        "log": "{run}.log.txt",
    },
}
"""Paths of the outputs of each layout, below the run folder."""


def write_cohort(
    folder: Path | str, *, shape: Shape = (96, 320, 272), seed: int = 1, atlas_table: Path | str | None = None
) -> list[Path]:
    """Write two animals: a knock-out of 2021, and a wild type of today with an exclusion mask and a log.

    Parameters
    ----------
    folder
        Folder of the cohort; created if necessary.
    shape
        Planes, rows, columns of both brains.
    seed
        The same seed gives the same bytes.
    atlas_table
        File to write ``atlas_info.txt`` to; best outside `folder`, which holds only runs.

    Returns
    -------
    list of Path
        The run folders.

    Raises
    ------
    UsageError
        If a run folder already exists, or the shape is too small.
    """
    if atlas_table is not None:
        write_atlas_table(Path(atlas_table))
    specs = (
        RunSpec(_KO_RUN, layout="L0", shape=shape, seed=seed),
        RunSpec(_WT_RUN, layout="L2", shape=shape, seed=seed + 1, exclusion=True),
    )
    return [write_run(Path(folder), spec) for spec in specs]


def write_run(folder: Path, spec: RunSpec) -> Path:
    """Write one run into a new folder below `folder`, and return its path.

    Raises UsageError if the run folder already exists, or the shape is too small.
    """
    run = folder / spec.name
    if run.exists():
        raise UsageError(f"{run}: exists already; write to another folder")
    phantom = make_phantom(spec.shape, spec.seed)
    run.mkdir(parents=True)
    writer = _RunWriter(run, spec, phantom, phantom.labels * phantom.hemisphere_mask)
    writer.write_native_images()
    for threshold in spec.thresholds:
        writer.write_threshold(threshold)
    writer.write_small_files()
    return run


@dataclass(frozen=True)
class _RunWriter:
    """Writes the outputs of one run that its layout has."""

    run: Path
    spec: RunSpec
    phantom: Phantom
    masked_labels: npt.NDArray[np.uint16]

    def write_native_images(self) -> None:
        """Write the volumes on the native grid that do not depend on a threshold."""
        phantom, mask = self.phantom, self.phantom.hemisphere_mask
        self._volume("image", phantom.image)
        if "image_masked" in self._layout:
            self._volume("image_masked", phantom.image * mask)
        self._volume("frst", phantom.frst)
        self._volume("atlas", phantom.labels)
        self._volume("atlas_masked", self.masked_labels)
        self._volume("hemisphere_mask", mask)

    def write_threshold(self, threshold: int) -> None:
        """Write segmentation, cells, counts and heat map of one threshold."""
        segmentation = self.phantom.frst >= threshold
        cells = find_cells(segmentation, self.masked_labels, self._boxes)
        self._volume("segmentation", segmentation * np.uint8(255), threshold)
        if "filtered" in self._layout:
            self._volume("filtered", filtered_image(cells, self.spec.shape), threshold)
        counts = _count(cells, self._volumes)
        self._text("counts", _counts_csv(counts), threshold)
        self._text("cell_volumes", _cell_volumes_csv(cells), threshold)
        if "cell_list" in self._layout:
            write_cell_list(self._path("cell_list", threshold), cells)
        heatmap = _heatmap(cells.centres, self.phantom)
        self._volume("heatmap", heatmap, threshold)
        if self.spec.exclusion:
            excluded = self._excluded_regions()
            corrected = [(region, -1, -1) if region.id in excluded else (region, n, size) for region, n, size in counts]
            self._text("counts_corrected", _counts_csv(corrected), threshold)
            self._volume("heatmap_corrected", heatmap * (1 - self.phantom.exclusion_mask), threshold)

    def write_small_files(self) -> None:
        """Write the transform of the registration and the log."""
        if "transform" in self._layout:
            (self.run / self._layout["transform"]).write_bytes(_ants_transform(self.spec.shape))
        self._text("log", _log_text(self.spec, self.run.name))

    @cached_property
    def _boxes(self) -> npt.NDArray[np.int64]:
        return region_boxes(self.masked_labels, DOWNSAMPLING)

    @cached_property
    def _volumes(self) -> npt.NDArray[np.int64]:
        return _count_voxels(self.masked_labels)

    def _excluded_regions(self) -> set[int]:
        """Return the ids of the regions that the exclusion mask covers too much."""
        damaged = _on_native_grid(self.phantom.exclusion_mask, self.phantom)
        lost = _count_voxels(self.masked_labels * damaged)
        return set(np.flatnonzero(lost > _MASK_OVERLAP_RATIO * self._volumes).tolist()) - {0}

    @property
    def _layout(self) -> Mapping[str, str]:
        return _LAYOUTS[self.spec.layout]

    def _volume(self, output: str, volume: npt.NDArray[np.generic], threshold: int = 0) -> None:
        """Write a volume (z, y, x) as a stack, or as slices if its path has a plane number."""
        if output not in self._layout:
            return
        path = self._path(output, threshold)
        path.parent.mkdir(parents=True, exist_ok=True)
        if "{plane" not in path.name:
            _write_stack(path, volume)
            return
        paths = [path.with_name(path.name.format(plane=number)) for number in range(1, len(volume) + 1)]
        with ThreadPoolExecutor(cpu_count()) as threads:
            list(threads.map(write_slice, paths, volume))

    def _text(self, output: str, text: str, threshold: int = 0) -> None:
        if output in self._layout:
            path = self._path(output, threshold)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")

    def _path(self, output: str, threshold: int) -> Path:
        """Return the path of an output; slices have a field for the number of the plane."""
        pattern = self._layout[output]
        if self.spec.plane_digits is not None:
            pattern = re.sub(r"\{plane:\d+d\}", f"{{plane:0{self.spec.plane_digits}d}}", pattern)
        filled = re.sub(r"\{threshold:\d+d\}", lambda field: field[0].format(threshold=threshold), pattern)
        return self.run / filled.replace("{run}", self.run.name)


def write_slice(path: Path, plane: npt.NDArray[Any]) -> None:
    """Write one plane (y, x) as MATLAB's ``imwrite`` with Deflate would."""
    rows = max(1, _SLICE_STRIP_BYTES // (plane.shape[1] * plane.itemsize))
    tifffile.imwrite(path, plane, rowsperstrip=rows, **_TIFF)


def _write_stack(path: Path, volume: npt.NDArray[Any]) -> None:
    """Write planes as the pages of one file as ``saveastiff`` would: one row per strip."""
    with tifffile.TiffWriter(path) as stack:
        for number, plane in enumerate(volume):
            page_number = (_PAGE_NUMBER_TAG, "H", 2, (number, len(volume)), False)
            stack.write(plane, rowsperstrip=1, extratags=[page_number], **_TIFF)


def _count(cells: Cells, volumes: npt.NDArray[np.int64]) -> _Counts:
    """Count the cells of each region, in the order of the atlas table, and add its volume in voxels."""
    cell_counts = np.bincount(cells.labels, minlength=_N_IDS)
    return [(region, int(cell_counts[region.id]), int(volumes[region.id])) for region in REGIONS]


def _count_voxels(labels: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Count the voxels of each region id, plane by plane: `bincount` takes eight bytes a voxel."""
    return sum((np.bincount(plane.ravel(), minlength=_N_IDS) for plane in labels), np.zeros(_N_IDS, np.int64))


def _on_native_grid(atlas_volume: npt.NDArray[np.uint8], phantom: Phantom) -> npt.NDArray[np.uint8]:
    """Resample a volume from the atlas grid to the native grid, by nearest voxel."""
    indices = [
        np.minimum(((np.arange(size) + 0.5) / step).astype(np.int64), atlas_size - 1)
        for size, step, atlas_size in zip(phantom.labels.shape, _ATLAS_STEPS, atlas_volume.shape, strict=True)
    ]
    return atlas_volume[np.ix_(*indices)]


def _heatmap(centres: npt.NDArray[np.int64], phantom: Phantom) -> npt.NDArray[np.float32]:
    """Return the density of cells on the atlas grid: each cell is a sphere at a linearly interpolated position."""
    radius = _HEATMAP_RADIUS_VOXELS
    shape = phantom.exclusion_mask.shape
    margin = radius + 1
    cells = np.zeros([size + 2 * margin for size in shape], np.float64)
    positions = (centres + 0.5) / _ATLAS_STEPS - 0.5 + margin
    whole = np.floor(positions).astype(np.int64)
    for corner in product((0, 1), repeat=3):
        weights = np.where(corner, positions - whole, 1 - (positions - whole)).prod(axis=1)
        np.add.at(cells, tuple((whole + corner).T), weights)
    heatmap = np.zeros(shape, np.float64)
    for offset in product(range(-radius, radius + 1), repeat=3):
        if sum(step * step for step in offset) <= radius * radius:
            window = [slice(margin + step, margin + step + n) for step, n in zip(offset, shape, strict=True)]
            heatmap += cells[tuple(window)]
    return heatmap.astype(np.float32)


def _counts_csv(counts: _Counts) -> str:
    rows = (f"{region.id},{region.name},{region.acronym},{cells},{volume}" for region, cells, volume in counts)
    return _lines(["Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)", *rows])


def _cell_volumes_csv(cells: Cells) -> str:
    """Write label and volume of each cell, sorted by region."""
    pairs = zip(cells.labels.tolist(), cells.volumes_voxels.tolist(), strict=True)
    return _lines(f"{label},{volume}" for label, volume in pairs)


def _lines(rows: Iterable[str]) -> str:
    return "".join(row + "\n" for row in rows)


def _ants_transform(shape: Shape) -> bytes:
    """Return an identity transform in the format of ANTs: two matrices in a MATLAB 4 file."""
    identity = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
    centre = [size / 2 for size in reversed(shape)]
    return _matlab4_column("AffineTransform_double_3_3", identity) + _matlab4_column("fixed", centre)


def _matlab4_column(name: str, values: Sequence[float]) -> bytes:
    """Encode a column of doubles: type 0, rows, columns, not complex, length of the name; name; values."""
    header = np.array([0, len(values), 1, 0, len(name) + 1], "<i4")
    return header.tobytes() + name.encode("ascii") + b"\0" + np.array(values, "<f8").tobytes()


def _log_text(spec: RunSpec, run_name: str) -> str:
    """Return the head of CATNIP's log, which holds the image size but not the voxel size."""
    depth, height, width = spec.shape
    z_factor, y_factor, x_factor = DOWNSAMPLING
    channel = run_name.split("_")[0]
    entries = {
        "FOS Channel": f"/data/input/{channel}/",
        "Downsampling factor": f"{y_factor}x{x_factor}x{z_factor}",
        "Number of cpus": "12",
        "Output directory": "/data/output/",
        "Does the image have OB?": "yes",
        "Is the image l-r flipped?": "yes",
        "Is the image u-d flipped?": "no",
        "Atlas image": "/opt/CATNIP/atlas_v2/ABA_25um_reference_hemisphere_N4.nii.gz",
        "Atlas label": "/opt/CATNIP/atlas_v2/ABA_25um_annotation_hemisphere_nooutlier.nii.gz",
        "FRST threshold": f"{_matlab_range(spec.thresholds)} ",
        "Atlas version": "v2",
        "Background noise init/slope": "50/1.05",
        **({"Exclusion mask": "/data/input/exclusion_mask.nii.gz"} if spec.exclusion else {}),
        "Cell radii (in pixels)": "2,3,4  ",
        "Mask overlap ratio": f"{_MASK_OVERLAP_RATIO}  ",
        "Cell size range (in pixels)": "{},{}  ".format(*CELL_SIZE_RANGE_VOXELS),
        "ANTS with fixed seed": "false ",
        "Image size": f"{height}x{width}x{depth} (HxWxD)",
    }
    banner = "========================= Image Info ==============================="
    return _lines([banner, *(f"{key:<30}: {value}" for key, value in entries.items())])


def _matlab_range(thresholds: tuple[int, ...]) -> str:
    """Write thresholds as users type them: first:step:last if evenly spaced, else separated by commas."""
    steps = set(np.diff(thresholds).tolist())
    if len(steps) == 1:
        return f"{thresholds[0]}:{steps.pop()}:{thresholds[-1]}"
    return ",".join(str(threshold) for threshold in thresholds)
