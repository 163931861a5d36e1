"""The made-up cohort is read back with tifffile and held against the rules by which CATNIP works."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from catnip2bids.demo import RunSpec, write_atlas_table, write_cohort, write_run
from catnip2bids.demo.phantom import DOWNSAMPLING, SMALLEST_SHAPE, Shape, make_phantom
from catnip2bids.demo.regions import REGIONS
from catnip2bids.demo.watershed import divide
from catnip2bids.errors import UsageError
from plain_counting import cells_of

SHAPE = (12, 40, 36)
THRESHOLDS = (10000, 15000)

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, shape=SHAPE)
    return folder


@pytest.fixture(scope="module")
def ko(cohort: Path) -> Path:
    return cohort / "KO/210810_10001_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11"


@pytest.fixture(scope="module")
def wt(cohort: Path) -> Path:
    return cohort / "WT/_10002_RH_wt_20260502/640_2026-05-02_09-12-33"


def slices(folder: Path) -> Array:
    return np.stack([tifffile.imread(path) for path in sorted(folder.glob("*.tif"))])


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="ascii").splitlines()))


def counts(path: Path) -> dict[int, tuple[int, int]]:
    return {int(row[0]): (int(row[3]), int(row[4])) for row in rows(path)[1:]}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


# Names and file flavours


def test_cohort_holds_the_runs_and_nothing_else(tmp_path: Path) -> None:
    runs = write_cohort(tmp_path / "cohort", shape=SHAPE)
    assert [run.relative_to(tmp_path / "cohort").as_posix() for run in runs] == [
        "KO/210810_10001_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11",
        "WT/_10002_RH_wt_20260502/640_2026-05-02_09-12-33",
    ]
    assert all(any(run in path.parents for run in runs) for path in tmp_path.rglob("*") if path.is_file())


def test_names_of_2021(ko: Path) -> None:
    planes = range(1, SHAPE[0] + 1)
    expected = {
        *(f"640_N4/Z{z:04d}.tif" for z in planes),
        *(f"640_FRST/Z{z:06d}_FRST.tif" for z in planes),
        *(f"atlaslabel_def_origspace/Z{z:04d}.tif" for z in planes),
        *(f"atlaslabel_def_origspace_masked/Z{z:05d}.tif" for z in planes),
        *(f"640_FRST_seg/FRSTseg_{t:08d}.{kind}" for t in THRESHOLDS for kind in ("tif", "csv")),
        *(f"heatmaps_atlasspace/FRSTseg_{t:08d}.tif" for t in THRESHOLDS),
    }
    assert names(ko) == expected


def test_names_of_today(wt: Path) -> None:
    planes = range(1, SHAPE[0] + 1)
    heatmap = "FRSTseg_{:08d}_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"
    six_digits = (
        "N4_masked",
        "atlaslabel_def_origspace",
        "atlaslabel_def_origspace_masked",
        "hemispheremask_origspace",
    )
    expected = {
        *(f"{folder}/Z{z:06d}.tif" for folder in six_digits for z in planes),
        *(f"FRST/Z{z:06d}_FRST.tif" for z in planes),
        *(f"FRST_seg/FRSTseg_{t:08d}/Z{z:06d}_FRST_T{t:06d}.tif" for t in THRESHOLDS for z in planes),
        *(f"FRST_seg/FRSTseg_{t:08d}_filtered/Z{z:05d}.tif" for t in THRESHOLDS for z in planes),
        *(f"FRST_seg/FRSTseg_{t:08d}.csv" for t in THRESHOLDS),
        *(f"FRST_seg/cellvolumes/FRSTseg_{t:08d}_cellvolume_in_pixels.csv" for t in THRESHOLDS),
        *(f"FRST_seg/cellvolumes/FRSTseg_{t:08d}_cellpixelIDlist.mat" for t in THRESHOLDS),
        *(f"FRST_seg_corrected/FRSTseg_{t:08d}.csv" for t in THRESHOLDS),
        *(f"heatmaps_atlasspace/{heatmap.format(t)}" for t in THRESHOLDS),
        *(f"heatmaps_atlasspace_corrected/{heatmap.format(t)}" for t in THRESHOLDS),
        "640_2026-05-02_09-12-33.log.txt",
        "atlasimage_reg0GenericAffine.mat",
    }
    assert names(wt) == expected


@pytest.mark.parametrize(
    ("folder", "dtype"),
    [
        ("N4_masked", "uint16"),
        ("FRST", "float32"),
        ("atlaslabel_def_origspace", "uint16"),
        ("atlaslabel_def_origspace_masked", "uint16"),
        ("hemispheremask_origspace", "uint16"),
        ("FRST_seg/FRSTseg_00010000", "uint8"),
        ("FRST_seg/FRSTseg_00010000_filtered", "uint16"),
    ],
)
def test_slices_are_plain_deflate_tiffs(wt: Path, folder: str, dtype: str) -> None:
    for path in (wt / folder).iterdir():
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            assert (len(file.pages), page.shape, page.dtype, page.compression) == (1, SHAPE[1:], np.dtype(dtype), 8)
            assert not {"ImageDescription", "Software", "DateTime"} & {tag.name for tag in page.tags.values()}


def test_stacks_have_one_row_per_strip_and_page_numbers(ko: Path) -> None:
    for path, dtype in (
        (ko / "640_FRST_seg/FRSTseg_00010000.tif", "uint8"),
        (ko / "heatmaps_atlasspace/FRSTseg_00010000.tif", "float32"),
    ):
        with tifffile.TiffFile(path) as file:
            for number, page in enumerate(file.pages):
                assert isinstance(page, tifffile.TiffPage)
                assert (page.dtype, page.compression, page.rowsperstrip) == (np.dtype(dtype), 8, 1)
                assert page.tags["PageNumber"].value == (number, len(file.pages))


def test_heatmap_covers_the_image_in_25_um_voxels(ko: Path, wt: Path) -> None:
    heatmap = tifffile.imread(next((wt / "heatmaps_atlasspace").iterdir()))
    assert heatmap.shape == (3, 6, 6)  # 60 x 148 x 133.2 um
    assert tifffile.imread(ko / "heatmaps_atlasspace/FRSTseg_00015000.tif").shape == (3, 6, 6)
    assert heatmap.max() > 0


# Relations between the outputs: facts of CATNIP's source


def test_masked_images_are_image_times_mask(wt: Path) -> None:
    mask = slices(wt / "hemispheremask_origspace")
    labels = slices(wt / "atlaslabel_def_origspace")
    whole = make_phantom(SHAPE, seed=2).image
    assert np.array_equal(slices(wt / "atlaslabel_def_origspace_masked"), labels * mask)
    assert np.array_equal(slices(wt / "N4_masked"), whole * mask)
    assert (labels * mask != labels).any()


def test_mask_ends_past_the_midline_and_is_the_same_for_all_columns(wt: Path) -> None:
    mask = slices(wt / "hemispheremask_origspace")
    assert set(np.unique(mask)) == {0, 1}
    assert (mask == mask[:, :, :1]).all()
    assert mask[0].all()
    assert not mask[-1].any()


def test_masked_labels_of_2021_differ_only_where_they_are_zero(ko: Path) -> None:
    labels = slices(ko / "atlaslabel_def_origspace")
    masked = slices(ko / "atlaslabel_def_origspace_masked")
    differ = labels != masked
    assert differ.any()
    assert not masked[differ].any()


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_segmentation_is_frst_above_threshold(ko: Path, wt: Path, threshold: int) -> None:
    stack = tifffile.imread(ko / f"640_FRST_seg/FRSTseg_{threshold:08d}.tif")
    assert np.array_equal(stack, 255 * (slices(ko / "640_FRST") >= threshold).astype(np.uint8))
    planes = slices(wt / f"FRST_seg/FRSTseg_{threshold:08d}")
    assert np.array_equal(planes, 255 * (slices(wt / "FRST") >= threshold).astype(np.uint8))
    assert planes.any()


def test_frst_is_never_negative(ko: Path) -> None:
    assert slices(ko / "640_FRST").min() == 0


def counted(run: Path, segmentation: Array) -> list[tuple[int, list[tuple[int, ...]]]]:
    """Region and voxels of each cell, by CATNIP's rule."""
    masked = slices(run / "atlaslabel_def_origspace_masked")
    return cells_of(segmentation == 255, masked, DOWNSAMPLING, divide)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_counts_are_those_of_the_rule(ko: Path, wt: Path, threshold: int) -> None:
    name = f"FRSTseg_{threshold:08d}"
    for run, table, segmentation in (
        (ko, "640_FRST_seg", tifffile.imread(ko / f"640_FRST_seg/{name}.tif")),
        (wt, "FRST_seg", slices(wt / f"FRST_seg/{name}")),
    ):
        labels = [label for label, _ in counted(run, segmentation)]
        found = {label: n_cells for label, (n_cells, _) in counts(run / table / f"{name}.csv").items()}
        assert found == {region.id: labels.count(region.id) for region in REGIONS}
        assert labels


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_filtered_holds_the_volume_of_each_cell(wt: Path, threshold: int) -> None:
    segmentation = slices(wt / f"FRST_seg/FRSTseg_{threshold:08d}")
    expected = np.zeros(SHAPE, int)
    for _, voxels in counted(wt, segmentation):
        expected[tuple(np.transpose(voxels))] = len(voxels)
    assert np.array_equal(slices(wt / f"FRST_seg/FRSTseg_{threshold:08d}_filtered"), expected)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_list_of_cells_holds_each_cell(wt: Path, threshold: int) -> None:
    expected = counted(wt, slices(wt / f"FRST_seg/FRSTseg_{threshold:08d}"))
    with h5py.File(wt / f"FRST_seg/cellvolumes/FRSTseg_{threshold:08d}_cellpixelIDlist.mat") as file:
        elements = [file[reference] for reference in file["cellpixelIDlist"][0]]
        tables = [element[()].T for element in elements if "MATLAB_empty" not in element.attrs]
    assert len(elements) == len(REGIONS)
    found: dict[tuple[float, float], list[tuple[int, ...]]] = {}
    for uid, volume, row, column, number in np.concatenate(tables).tolist():
        found.setdefault((uid, volume), []).append((int(number) - 1, int(row) - 1, int(column) - 1))
    cells = [(int(uid), voxels) for (uid, _), voxels in sorted(found.items())]
    assert cells == expected
    assert all(len(voxels) == volume for (_, volume), voxels in found.items())


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_label_volumes_are_voxels_of_the_masked_labels(ko: Path, wt: Path, threshold: int) -> None:
    for run, table in ((ko, "640_FRST_seg"), (wt, "FRST_seg")):
        masked = slices(run / "atlaslabel_def_origspace_masked")
        for label, (_, volume) in counts(run / table / f"FRSTseg_{threshold:08d}.csv").items():
            assert volume == int((masked == label).sum())


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_cell_volumes_are_one_row_per_counted_cell(wt: Path, threshold: int) -> None:
    path = wt / f"FRST_seg/cellvolumes/FRSTseg_{threshold:08d}_cellvolume_in_pixels.csv"
    cells = [(int(label), int(volume)) for label, volume in rows(path)]
    table = counts(wt / f"FRST_seg/FRSTseg_{threshold:08d}.csv")
    filtered = slices(wt / f"FRST_seg/FRSTseg_{threshold:08d}_filtered")
    assert [label for label, _ in cells] == [label for label, (n, _) in table.items() for _ in range(n)]
    assert sum(volume for _, volume in cells) == np.count_nonzero(filtered)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_corrected_counts_exclude_regions_and_change_nothing_else(wt: Path, threshold: int) -> None:
    plain = counts(wt / f"FRST_seg/FRSTseg_{threshold:08d}.csv")
    corrected = counts(wt / f"FRST_seg_corrected/FRSTseg_{threshold:08d}.csv")
    excluded = {label for label, numbers in corrected.items() if numbers == (-1, -1)}
    assert 1007 in excluded
    assert excluded < {label for label, (_, volume) in plain.items() if volume > 0}
    assert corrected == {label: (-1, -1) if label in excluded else plain[label] for label in plain}


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_corrected_heatmap_is_heatmap_where_it_is_kept(wt: Path, threshold: int) -> None:
    name = f"FRSTseg_{threshold:08d}_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"
    heatmap = tifffile.imread(wt / "heatmaps_atlasspace" / name)
    keep = 1 - make_phantom(SHAPE, seed=2).exclusion_mask
    assert np.array_equal(tifffile.imread(wt / "heatmaps_atlasspace_corrected" / name), heatmap * keep)
    assert 0 < keep.sum() < keep.size


# Tables and log


def test_counts_table_lists_all_regions_in_order(wt: Path) -> None:
    text = (wt / "FRST_seg/FRSTseg_00010000.csv").read_bytes().decode("ascii")
    header, *body = text.split("\n")[:-1]
    assert header == "Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)"
    assert [line.split(",")[:3] for line in body] == [[str(r.id), r.name, r.acronym] for r in REGIONS]


def test_atlas_table_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", shape=SHAPE, atlas_table=tmp_path / "atlas_info.txt")
    lines = (tmp_path / "atlas_info.txt").read_bytes().decode("ascii").split("\r\n")
    assert lines[0] == "id,name,acronym,red,green,blue,structure_order,parent_id,parent_acronym"
    assert {len(line.split(",")) for line in lines[:-1]} == {9}
    assert lines[-1] == ""
    assert "997,root,root,255,255,255,0,," in lines
    write_atlas_table(tmp_path / "again/atlas_info.txt")
    assert (tmp_path / "again/atlas_info.txt").read_bytes() == (tmp_path / "atlas_info.txt").read_bytes()


def test_regions_are_like_those_of_a_real_atlas() -> None:
    ids = [region.id for region in REGIONS]
    assert ids == sorted(set(ids))
    assert max(ids) > 12000
    assert any("/" in region.name for region in REGIONS)
    assert not any(set(region.name + region.acronym) & set(' ,"') for region in REGIONS)
    assert len({region.acronym for region in REGIONS}) == len(REGIONS)
    assert len({region.name for region in REGIONS}) == len(REGIONS)


def test_log_tells_what_catnip_was_asked_to_do(wt: Path) -> None:
    banner, *lines = (wt / "640_2026-05-02_09-12-33.log.txt").read_text(encoding="ascii").splitlines()
    assert banner == "========================= Image Info ==============================="
    assert all(line[30:32] == ": " for line in lines)
    entries = {line[:30].strip(): line[32:].strip() for line in lines}
    assert entries["Image size"] == "40x36x12 (HxWxD)"
    assert entries["Downsampling factor"] == "7x7x5"  # times 3.7 x 3.7 x 5 um: about 25 um each
    assert entries["FRST threshold"] == "10000:5000:15000"
    assert entries["Atlas version"] == "v2"
    assert "Exclusion mask" in entries


@pytest.mark.parametrize(
    ("thresholds", "text"),
    [((12000,), "12000"), ((10000, 15000, 20000), "10000:5000:20000"), ((10000, 11000, 15000), "10000,11000,15000")],
)
def test_log_tells_thresholds_as_users_type_them(tmp_path: Path, thresholds: tuple[int, ...], text: str) -> None:
    run = write_run(tmp_path, RunSpec("640_2026-01-01_00-00-00", shape=SHAPE, thresholds=thresholds))
    log = (run / f"{run.name}.log.txt").read_text(encoding="ascii")
    assert re.search(rf"^FRST threshold +: {re.escape(text)} $", log, re.MULTILINE)
    assert "Exclusion mask" not in log


def test_transform_is_a_matlab_file(wt: Path) -> None:
    matrices = pytest.importorskip("scipy.io").loadmat(wt / "atlasimage_reg0GenericAffine.mat")
    assert matrices["AffineTransform_double_3_3"].shape == (12, 1)
    assert matrices["fixed"].ravel().tolist() == [18, 20, 6]


# Options and limits


def test_same_seed_same_bytes(cohort: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "again", shape=SHAPE)
    write_cohort(tmp_path / "other", shape=SHAPE, seed=5)
    assert digests(tmp_path / "again") == digests(cohort)
    assert digests(tmp_path / "other") != digests(cohort)


@pytest.mark.parametrize("layout", ["L0", "L2"])
def test_run_with_other_padding_and_no_exclusion(tmp_path: Path, layout: Any) -> None:
    run = write_run(tmp_path, RunSpec("a run", layout=layout, shape=SHAPE, plane_digits=3))
    assert run == tmp_path / "a run"
    numbered = [path.name for path in run.rglob("Z*.tif")]
    assert numbered
    assert all(re.match(r"Z0\d\d[._]", name) for name in numbered)
    assert not list(run.glob("*corr*"))


def test_run_of_2021_can_have_corrections(tmp_path: Path) -> None:
    run = write_run(tmp_path, RunSpec("run", layout="L0", shape=SHAPE, exclusion=True))
    assert {path.name for path in run.glob("*corr*")} == {"640_FRST_seg_corr", "heatmaps_atlasspace_corrected"}
    assert (-1, -1) in counts(run / "640_FRST_seg_corr/FRSTseg_00010000.csv").values()


@pytest.mark.parametrize("shape", [SMALLEST_SHAPE, (8, 24, 40), (6, 64, 64), (64, 24, 24)])
@pytest.mark.parametrize("seed", [0, 3])
def test_tiny_brains_have_everything(tmp_path: Path, shape: Shape, seed: int) -> None:
    run = write_run(tmp_path, RunSpec("run", shape=shape, seed=seed, thresholds=(10000,), exclusion=True))
    table = counts(run / "FRST_seg/FRSTseg_00010000.csv")
    assert sum(n_cells for n_cells, _ in table.values()) >= 1
    assert sum(volume > 0 for _, volume in table.values()) > 12
    assert (-1, -1) in counts(run / "FRST_seg_corrected/FRSTseg_00010000.csv").values()
    assert slices(run / "hemispheremask_origspace").any()


def test_refusals_say_what_to_do(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        write_cohort(cohort, shape=SHAPE)
    with pytest.raises(UsageError, match="too small"):
        write_run(tmp_path, RunSpec("run", shape=(2, 2, 2)))
    assert not (tmp_path / "run").exists()
