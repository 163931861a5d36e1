"""Tables of cells: from CATNIP's list, from the filtered segmentation, or found again; the same in every dataset."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from catnip2bids import Format, Naming, OmeZarrVersion, open_volume, package, verify
from catnip2bids.bids.provenance import CellsRecord, read_provenance
from catnip2bids.bids.tables import Row, read_table
from catnip2bids.cells import connected_components
from catnip2bids.packaging import run_packager
from catnip2bids.packaging.cells import write_cells
from catnip2bids.packaging.removal import remove_animal
from catnip2bids.reporting.check_results import CheckResults, read_check_result
from catnip2bids.validation.cross_checks import cross_check
from catnip2bids.validation.tree import read_tree
from catnip2bids.verification.result import VolumeDifference
from demo_cohort import demo_cohort, demo_dataset
from in_process import called
from made_up import Array
from runs import mentions, read_tsv, settings, state_of, write_l0

__all__ = ["demo_cohort", "demo_dataset"]

L0, L2 = "10001ko", "10002wt"
COUNTS = "derivatives/catnip-counts"
THRESHOLDS = (10000, 15000)


def table_of(dataset: Path, subject: str, threshold: int = 10000, kind: str = "cells") -> Path:
    (found,) = dataset.glob(f"derivatives/*/sub-{subject}/micr/*_desc-FRSTseg{threshold}_{kind}.tsv.gz")
    return found


def read_gzipped(path: Path) -> list[Row]:
    with gzip.open(path, "rt") as file:
        columns = file.readline().split()
        return [dict(zip(columns, line.rstrip("\n").split("\t"), strict=True)) for line in file]


def counts_of(dataset: Path, subject: str, threshold: int = 10000) -> dict[str, int]:
    (table,) = dataset.glob(f"derivatives/*/sub-{subject}/micr/*_desc-FRSTseg{threshold}_counts.tsv")
    return {row["index"]: int(row["cell_count"]) for row in read_tsv(table)}


def record_of(dataset: Path, subject: str, threshold: int = 10000) -> CellsRecord:
    runs = read_provenance(dataset).runs.values()
    (found,) = (
        record
        for run in runs
        if run.subject == subject
        for path, record in run.cells.items()
        if f"FRSTseg{threshold}_" in path
    )
    return found


def tables_in(dataset: Path) -> dict[str, bytes]:
    return {path: content for path, (content, _) in state_of(dataset).items() if path.endswith(".tsv.gz")}


@pytest.fixture
def cohort(demo_cohort: Path, tmp_path: Path) -> Path:
    """A copy that may be changed, of what cells and their counts come from."""
    others = shutil.ignore_patterns("640_N4", "N4_masked", "640_FRST", "FRST", "heatmaps_atlasspace")
    return Path(shutil.copytree(demo_cohort, tmp_path / "cohort", ignore=others))


def remove_all(paths: Iterable[Path]) -> None:
    for path in list(paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("subject", [L0, L2])
def test_cells_of_proven_regions_are_as_many_as_catnip_counted(
    demo_dataset: Path, subject: str, threshold: int
) -> None:
    counts, record = counts_of(demo_dataset, subject, threshold), record_of(demo_dataset, subject, threshold)
    rows = read_gzipped(table_of(demo_dataset, subject, threshold))
    found = Counter(row["index"] for row in rows)
    proven = {row["index"] for row in rows if row["proven"] == "true"}
    assert proven
    assert all(found[index] == counts[index] for index in proven)
    assert {row["index"] for row in rows if row["proven"] == "false"} == {
        str(one.index) for one in record.differences if one.found
    }
    assert all(one.reason for one in record.differences)
    assert (len(rows), len(counts)) == (record.n_cells, record.n_regions)
    assert record.n_regions_proven == len(counts) - len(record.differences)


def test_catnips_own_list_is_used_where_it_is(demo_dataset: Path) -> None:
    record = record_of(demo_dataset, L2)
    assert (record.origin, record.differences) == ("cell list", [])
    assert record_of(demo_dataset, L0).origin == "segmentation"


def test_all_sources_of_cells_agree(demo_dataset: Path, cohort: Path, tmp_path: Path) -> None:
    """The list, the filtered segmentation and the binary one have the same cells where nothing was divided or cut."""
    listed = read_gzipped(table_of(demo_dataset, L2))
    remove_all(cohort.rglob("*cellpixelIDlist.mat"))
    package([cohort], tmp_path / "filtered", settings())
    filtered = read_gzipped(table_of(tmp_path / "filtered", L2))
    remove_all(cohort.rglob("*_filtered"))
    package([cohort], tmp_path / "found", settings())
    found = read_gzipped(table_of(tmp_path / "found", L2))
    record = record_of(tmp_path / "found", L2)
    assert [record_of(tmp_path / name, L2).origin for name in ("filtered", "found")] == ["filtered", "segmentation"]
    assert as_set(filtered) == as_set(listed)
    differing = {str(one.index) for one in record.differences}
    assert as_set(found, without=differing) == as_set(listed, without=differing)


def as_set(rows: list[Row], without: Iterable[str] = ()) -> set[tuple[str, ...]]:
    return {
        tuple(row[column] for column in ("z", "y", "x", "volume_voxels", "index"))
        for row in rows
        if row["index"] not in set(without)
    }


def test_places_and_volumes_are_in_voxels_and_micrometers(demo_dataset: Path) -> None:
    x_um, y_um, z_um = settings().voxel_size_um or (0, 0, 0)
    for row in read_gzipped(table_of(demo_dataset, L2)):
        voxels, um = ([float(row[f"{axis}{unit}"]) for axis in "zyx"] for unit in ("", "_um"))
        assert um == pytest.approx(np.array(voxels) * [z_um, y_um, x_um], abs=0.05)
        assert float(row["volume_um3"]) == pytest.approx(int(row["volume_voxels"]) * x_um * y_um * z_um, rel=1e-5)


@pytest.mark.parametrize(("run", "origin"), [(L0, "segmentation"), (L2, "cell list")])
def test_uncounted_cells_have_a_reason(demo_dataset: Path, run: str, origin: str) -> None:
    record = record_of(demo_dataset, run)
    assert record.origin == origin
    reasons = Counter(row["reason"] for row in read_gzipped(table_of(demo_dataset, run, kind="uncounted")))
    expected = {"outside": record.n_outside, "no region": record.n_no_region, "too large": record.n_too_large}
    assert reasons == Counter({reason: n for reason, n in expected.items() if n})
    assert record.n_outside > 0


@pytest.mark.parametrize(
    "choices",
    [
        {"image_format": Format.OME_TIFF, "jobs": 1, "memory_bytes": 2**29},
        {"naming": Naming.DSEG, "ome_zarr_version": OmeZarrVersion.V04},
    ],
    ids=["ome-tiff, 512 MiB", "dseg, 0.4"],
)
def test_tables_are_the_same_in_every_format(
    demo_cohort: Path, demo_dataset: Path, tmp_path: Path, choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connected_components, "_BLOCK_VOXELS", 10**5)
    package([demo_cohort], tmp_path / "dataset", settings(**choices))
    expected = {Path(path).name: content for path, content in tables_in(demo_dataset).items()}
    assert {Path(path).name: content for path, content in tables_in(tmp_path / "dataset").items()} == expected


def add_to_largest_count(cohort: Path, n_cells: int) -> tuple[Path, str]:
    """Change the largest count of the first animal; return the table, and the index of the region."""
    (counts,) = cohort.glob("KO/*/640_FRST_seg/FRSTseg_00010000.csv")
    rows = counts.read_text().splitlines()
    largest = max(range(1, len(rows)), key=lambda n: int(rows[n].split(",")[3]))
    fields = rows[largest].split(",")
    rows[largest] = ",".join([*fields[:3], str(int(fields[3]) + n_cells), fields[4]])
    counts.write_text("\n".join(rows) + "\n")
    return counts, fields[0]


def test_tables_are_made_again_only_if_something_changed(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    before = {path: content for path, (content, _) in state_of(dataset).items()}
    assert package([cohort], dataset, settings()).copied == ()
    assert {path: content for path, (content, _) in state_of(dataset).items()} == before
    _, index = add_to_largest_count(cohort, 1)
    made = {path.name for path in package([cohort], dataset, settings()).copied if path.name.endswith(".gz")}
    assert made == {table_of(dataset, L0).name, table_of(dataset, L0, kind="uncounted").name}
    assert {row["proven"] for row in read_gzipped(table_of(dataset, L0)) if row["index"] == index} == {"false"}
    (difference,) = (one for one in record_of(dataset, L0).differences if one.index == int(index))
    assert difference.catnip == difference.found + 1


def test_the_readme_says_how_far_proven_goes(demo_dataset: Path) -> None:
    text = (demo_dataset / "README.md").read_text(encoding="utf-8")
    assert "only that list and count agree" in " ".join(text.split())


def test_the_readme_lists_the_counts_that_could_not_be_repeated(
    demo_dataset: Path, cohort: Path, tmp_path: Path
) -> None:
    assert "could not be reproduced" not in (demo_dataset / "README.md").read_text(encoding="utf-8")
    _, index = add_to_largest_count(cohort, 1000)
    package([cohort], tmp_path / "dataset", settings())
    (one,) = record_of(tmp_path / "dataset", L0).differences
    text = (tmp_path / "dataset/README.md").read_text(encoding="utf-8")
    assert f"_stain-cFos | FRSTseg10000 | {index} | {one.catnip:,} | {one.found:,} | not known |" in text


def test_a_damaged_list_is_a_warning_and_the_cells_are_found_again(cohort: Path, tmp_path: Path) -> None:
    (damaged,) = cohort.rglob("FRSTseg_00010000_cellpixelIDlist.mat")
    damaged.write_bytes(damaged.read_bytes()[:3000])
    result = package([cohort], tmp_path / "dataset", settings())
    assert result.ok
    assert mentions(result.warnings, str(damaged), "found again")
    assert record_of(tmp_path / "dataset", L2).origin == "filtered"
    assert record_of(tmp_path / "dataset", L2, 15000).origin == "cell list"
    again = package([cohort], tmp_path / "dataset", settings())
    assert not again.copied
    assert [text for text in again.warnings if "cellpixelIDlist" in text] == [
        text for text in result.warnings if "cellpixelIDlist" in text
    ]


def rewrite_segmentation(cohort: Path, change: Callable[[Array], Array]) -> Path:
    (stack,) = cohort.rglob("FRSTseg_00010000.tif")
    tifffile.imwrite(stack, change(tifffile.imread(stack)), metadata=None)
    return stack


@pytest.mark.parametrize(
    ("change", "values"),
    [
        (lambda pixels: pixels // 255, "voxels of 1;"),
        (lambda pixels: pixels > 0, "voxels of 1;"),
        (lambda pixels: np.minimum(pixels, 254), "voxels of 254;"),
        (lambda pixels: (pixels > 0) * np.float32(7), "voxels of 7;"),
    ],
)
def test_a_segmentation_with_other_values_than_catnips_is_a_warning_each_time(
    cohort: Path, tmp_path: Path, change: Callable[[Array], Array], values: str
) -> None:
    stack = rewrite_segmentation(cohort, change)
    for _ in range(2):
        result = package([cohort], tmp_path / "dataset", settings())
        assert result.ok
        assert mentions(result.warnings, str(stack), values, "255")
        assert mentions(result.warnings, f"sub-{L0}", "FRSTseg10000_counts.tsv: no region", "FRSTseg10000_SPIM")
        assert len([text for text in result.warnings if "_counts.tsv: no region" in text]) == 1


def test_an_inverted_segmentation_is_a_warning_since_no_count_is_proven(cohort: Path, tmp_path: Path) -> None:
    rewrite_segmentation(cohort, lambda pixels: 255 - pixels)
    warnings = package([cohort], tmp_path / "dataset", settings()).warnings
    assert mentions(warnings, "FRSTseg10000_counts.tsv: no region")
    assert not mentions(warnings, "voxels of")


def test_catnips_own_results_give_no_warning_about_cells(cohort: Path, tmp_path: Path) -> None:
    warnings = package([cohort], tmp_path / "dataset", settings()).warnings
    assert not mentions(warnings, "no region")
    assert not mentions(warnings, "voxels of")


def test_a_list_with_cells_of_other_regions_is_not_used(cohort: Path, tmp_path: Path) -> None:
    (path,) = cohort.rglob("FRSTseg_00010000_cellpixelIDlist.mat")
    with h5py.File(path, "r+") as file:
        lists = [file[reference] for reference in file["cellpixelIDlist"][()].flat]
        changed = next(one for one in lists if "MATLAB_empty" not in one.attrs)
        changed[0] += 9000
    result = package([cohort], tmp_path / "dataset", settings())
    assert mentions(result.warnings, str(path), "which the table of counts does not list")
    assert record_of(tmp_path / "dataset", L2).origin == "filtered"


def mirror(path: Path, n_rows: int) -> None:
    """Mirror the cells of a list along y: as many in each region, at other places, as in the list of another brain."""
    with h5py.File(path, "r+") as file:
        for voxels in (file[reference] for reference in file["cellpixelIDlist"][()].flat):
            if "MATLAB_empty" not in voxels.attrs:
                voxels[2] = n_rows + 1 - voxels[2]


@pytest.mark.parametrize("has_filtered", [True, False])
def test_a_list_of_another_brain_is_not_used(
    demo_dataset: Path, cohort: Path, tmp_path: Path, has_filtered: bool
) -> None:
    if not has_filtered:
        remove_all(cohort.rglob("*_filtered"))
    (path,) = cohort.rglob("FRSTseg_00010000_cellpixelIDlist.mat")
    (segmentation,) = demo_dataset.rglob(f"sub-{L2}*_desc-FRSTseg10000_SPIM.ome.zarr")
    mirror(path, open_volume(segmentation).shape[1])
    result = package([cohort], tmp_path / "dataset", settings())
    origin, desc = ("filtered", "FRSTsegfiltered10000_") if has_filtered else ("segmentation", "FRSTseg10000_")
    assert mentions(result.warnings, str(path), "another run", "found again in", f"desc-{desc}")
    assert record_of(tmp_path / "dataset", L2).origin == origin
    assert record_of(tmp_path / "dataset", L2, 15000).origin == "cell list"
    if has_filtered:
        assert as_set(read_gzipped(table_of(tmp_path / "dataset", L2))) == as_set(
            read_gzipped(table_of(demo_dataset, L2))
        )


def test_a_list_of_another_threshold_is_a_warning(cohort: Path, tmp_path: Path) -> None:
    low, high = (next(cohort.rglob(f"FRSTseg_000{n}_cellpixelIDlist.mat")) for n in THRESHOLDS)
    shutil.copy(high, low)
    result = package([cohort], tmp_path / "dataset", settings())
    assert mentions(result.warnings, str(low), "another number of cells than the table of counts")
    assert not mentions(result.warnings, str(high))
    record = record_of(tmp_path / "dataset", L2)
    assert record.n_regions_proven == record.n_regions - len(record.differences) < record.n_regions


def test_the_copy_of_a_list_is_used_where_the_source_is_gone(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    before = tables_in(dataset)
    remove_all(cohort.rglob("*cellpixelIDlist.mat"))
    result = package([cohort], dataset, settings())
    assert (result.ok, tables_in(dataset)) == (True, before)
    package([cohort], dataset, settings(overwrite=True))
    assert (tables_in(dataset), record_of(dataset, L2).origin) == (before, "cell list")


def test_a_copy_of_a_list_that_is_damaged_is_named(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    remove_all(cohort.rglob("*cellpixelIDlist.mat"))
    (copy,) = dataset.rglob("FRSTseg_00010000_cellpixelIDlist.mat")
    copy.write_bytes(b"damaged")
    result = package([cohort], dataset, settings())
    assert mentions(result.warnings, str(copy), "found again")
    assert record_of(dataset, L2).origin == "filtered"


def test_counts_without_a_table_are_not_called_confirmed(cohort: Path, tmp_path: Path) -> None:
    remove_all(cohort.rglob("FRSTseg_*.csv"))
    package([cohort], tmp_path / "dataset", settings())
    found = verify(tmp_path / "dataset", counts=True)
    assert (found.ok, found.counts) == (True, ())
    assert mentions(found.notes, "no table of counts")


def test_a_saved_verdict_does_not_tell_where_the_dataset_is(demo_dataset: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(demo_dataset, tmp_path / "dataset"))
    (image,) = dataset.rglob(f"sub-{L2}*_desc-FRSTseg10000_SPIM.ome.zarr")
    shard = max((path for path in image.glob("0/c/*/*/*")), key=lambda path: path.stat().st_size)
    shard.write_bytes(bytes(shard.stat().st_size))
    found = verify(dataset, counts=True)
    assert not found.counts_agree
    assert not found.ok
    assert str(dataset) not in json.dumps([verdict.to_json() for verdict in found.counts])
    assert called("verify", dataset, "--counts").returncode == 1
    assert str(dataset) not in (dataset / "docs/report/verification.json").read_text()


def test_tables_go_with_their_segmentation_and_their_animal(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    assert len(tables_in(dataset)) == 8
    remove_animal(dataset, L0, report=False)
    assert len(tables_in(dataset)) == 4
    assert verify(dataset).ok


def test_counts_are_confirmed_from_the_dataset_alone(demo_dataset: Path) -> None:
    found = verify(demo_dataset, counts=True)
    assert found.ok
    assert found.counts_agree
    assert [Path(verdict.table).name[4:11] for verdict in found.counts] == [L0, L0, L2, L2, L2, L2]  # two are corrected
    assert all(verdict.n_regions > 0 for verdict in found.counts)


def test_a_region_that_a_table_lacks_is_named(cohort: Path, tmp_path: Path) -> None:
    counts, index = add_to_largest_count(cohort, 0)
    header, *rows = counts.read_text().splitlines()
    kept = [row for row in rows if not row.startswith(f"{index},")]
    counts.write_text("\n".join([header, *kept]) + "\n")
    result = package([cohort], tmp_path / "dataset", settings())
    other = counts.with_name("FRSTseg_00015000.csv")
    assert mentions(result.warnings, str(counts), str(other), f"only one of them has {index} ")
    verdicts = verify(tmp_path / "dataset", counts=True).counts
    assert [verdict.not_compared for verdict in verdicts] == [(int(index),), (), (), (), (), ()]
    assert (
        str(verdicts[0]) == f"confirmed: {len(kept)} regions; not compared: 1 region with cells but no count ({index})"
    )
    done = called("verify", tmp_path / "dataset", "--counts")
    assert "counts confirmed except 1 region that could not be compared" in done.stdout + done.stderr
    (said,) = (state.text for state in CheckResults.of(tmp_path / "dataset").states if "--counts said" in state.text)
    assert "CATNIP's counts confirmed except 1 region" in said


def test_names_that_begin_with_a_quote_are_the_same_in_all_tables(cohort: Path, tmp_path: Path) -> None:
    for counts in cohort.rglob("FRSTseg_*.csv"):
        header, *rows = counts.read_text().splitlines()
        fields = [row.split(",") for row in rows]
        lines = [",".join([index, f'"""{name}"" x"', *rest]) for index, name, *rest in fields]
        counts.write_text("\n".join([header, *lines]) + "\n")
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    for subject in (L0, L2):
        with gzip.open(table_of(dataset, subject), "rt", newline="") as file:
            names = {row["index"]: row["name"] for row in csv.DictReader(file, delimiter="\t", strict=True)}
        (table,) = dataset.glob(f"{COUNTS}/sub-{subject}/micr/*_desc-FRSTseg10000_counts.tsv")
        assert names.items() <= {row["index"]: row["name"] for row in read_table(table).rows}.items()
        assert all(name.startswith('"') for name in names.values())
    findings = cross_check(read_tree(dataset))
    assert {finding.code for finding in findings} == {"RAW_IMAGE_MISSING"}  # the cohort has none


def test_counts_that_the_images_contradict_are_not_confirmed(cohort: Path, tmp_path: Path) -> None:
    (counts,) = cohort.glob("KO/*/640_FRST_seg/FRSTseg_00010000.csv")
    rows = counts.read_text().splitlines()
    fields = rows[1].split(",")
    rows[1] = ",".join([*fields[:3], str(int(fields[3]) + 7), fields[4]])
    counts.write_text("\n".join(rows) + "\n")
    package([cohort], tmp_path / "dataset", settings())
    done = called("verify", tmp_path / "dataset", "--counts", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
    assert "not confirmed: 1 region" in done.stderr
    assert f"region {fields[0]}: the table counts {int(fields[3]) + 7}" in done.stderr
    saved = read_check_result(tmp_path / "dataset", "verification")
    assert saved is not None
    assert saved[0].ok  # the report says whether files and pixels are proven
    assert called("verify", tmp_path / "dataset").returncode == 0


def test_a_volume_that_the_labels_contradict_is_not_confirmed(cohort: Path, tmp_path: Path) -> None:
    (counts,) = cohort.glob("KO/*/640_FRST_seg/FRSTseg_00010000.csv")
    *rows, last = [row for row in counts.read_text().splitlines() if not row.endswith(",0")]
    cut_off = last[:-1]
    counts.write_text("\n".join([*rows, cut_off]))
    result = package([cohort], tmp_path / "dataset", settings())
    assert mentions(result.warnings, str(counts), "no line end")
    verdict, *others = verify(tmp_path / "dataset", counts=True).counts
    assert all(other.ok for other in others)
    assert not verdict.ok
    n_voxels, index = last.split(",")[-1], last.split(",")[0]
    assert verdict.volumes == (VolumeDifference(int(index), int(n_voxels[:-1]), int(n_voxels)),)
    assert str(verdict) == "not confirmed: 1 region with another volume than the masked labels"
    done = called("verify", tmp_path / "dataset", "--counts", "--json")
    assert done.returncode == 1
    said = f"region {index}: the table has a volume of {int(n_voxels[:-1]):,} voxels, found {int(n_voxels):,}"
    assert said in done.stderr
    saved = json.loads(done.stdout)["counts"][0]
    assert saved["confirmed"] == len(rows) - 1  # the header is not a region
    assert saved["volumes"] == [{"index": int(index), "catnip": int(n_voxels[:-1]), "found": int(n_voxels)}]


def test_a_corrected_table_with_other_numbers_is_named(tmp_path: Path) -> None:
    """CATNIP only leaves out regions: anything else is of another run or threshold, or was cut off."""
    run, dataset = write_l0(tmp_path / "source", exclusion=True), tmp_path / "dataset"
    assert not mentions(package([run], tmp_path / "right", settings()).warnings, "has other numbers than")
    assert len(verify(tmp_path / "right", counts=True).counts) == 2
    assert verify(tmp_path / "right", counts=True).counts_agree
    corrected = run / "640_FRST_seg_corr/FRSTseg_00010000.csv"
    lines = corrected.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if n and not line.endswith("-1,-1"))
    *names, n_cells, n_voxels = lines[at].split(",")
    lines[at] = ",".join([*names, str(int(n_cells) + 3), n_voxels])
    corrected.write_text("\n".join(lines) + "\n")
    result = package([run], dataset, settings())
    assert mentions(result.warnings, f"{corrected}: has other numbers than", f"for {names[0]} {names[1]}, but CATNIP")
    uncorrected, verdict = sorted(verify(dataset, counts=True).counts, key=lambda found: "corrected" in found.table)
    assert (uncorrected.ok, verdict.ok) == (True, False)
    assert str(verdict).startswith("not confirmed: 1 region of ")
    [difference] = verdict.differences
    assert (difference.index, difference.catnip, difference.found) == (int(names[0]), int(n_cells) + 3, int(n_cells))
    [finding] = (found for found in cross_check(read_tree(dataset)) if found.code == "COUNTS_CORRECTED")
    assert f"has {int(n_cells) + 3} cells in {n_voxels} voxels for {names[0]}, and" in finding.message


def test_numbers_that_a_corrected_table_lacks_are_not_compared(tmp_path: Path) -> None:
    run, dataset = write_l0(tmp_path / "source", exclusion=True), tmp_path / "dataset"
    corrected = run / "640_FRST_seg_corr/FRSTseg_00010000.csv"
    header, *lines = corrected.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if not line.endswith(("-1,-1", ",0")))
    *names, _, n_voxels = lines[at].split(",")
    lines[at] = ",".join([*names, "NA", n_voxels])
    corrected.write_text("\n".join([header, *lines]) + "\n")
    uncorrected = run / "640_FRST_seg/FRSTseg_00010000.csv"
    header, *others = uncorrected.read_text().splitlines()
    uncorrected.write_text("\n".join([header, *others[:-1]]) + "\n")
    assert not mentions(package([run], dataset, settings()).warnings, "has other numbers than")
    _, verdict = sorted(verify(dataset, counts=True).counts, key=lambda found: "corrected" in found.table)
    n_excluded = sum(line.endswith("-1,-1") for line in lines)
    assert verdict.n_regions == len(lines) - n_excluded - 2  # one has no number, the other table lacks one
    assert not [found for found in cross_check(read_tree(dataset)) if found.code == "COUNTS_CORRECTED"]


def test_volumes_are_not_compared_with_labels_that_are_not_masked(cohort: Path, tmp_path: Path) -> None:
    remove_all(cohort.rglob("atlaslabel_def_origspace_masked"))
    remove_all(cohort.rglob("hemispheremask*"))
    package([cohort], tmp_path / "dataset", settings())
    verdicts = verify(tmp_path / "dataset", counts=True).counts
    assert [(verdict.volumes, verdict.problem) for verdict in verdicts] == [((), None)] * 6


def test_tables_of_an_interrupted_command_are_not_taken_for_those_of_the_one_before(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    before = tables_in(dataset)
    add_to_largest_count(cohort, 1)

    def interrupted(*arguments: Any) -> CellsRecord:
        write_cells(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_packager, "write_cells", interrupted)
        with pytest.raises(KeyboardInterrupt):
            package([cohort], dataset, settings())
    assert tables_in(dataset) != before
    add_to_largest_count(cohort, -1)
    assert package([cohort], dataset, settings()).ok
    assert tables_in(dataset) == before


def test_tables_stay_if_the_counts_of_the_source_are_gone_or_damaged(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings())
    before = tables_in(dataset)
    counts, _ = add_to_largest_count(cohort, 0)
    counts.write_text("damaged\n")
    package([cohort], dataset, settings())
    assert tables_in(dataset) == before
    counts.unlink()
    package([cohort], dataset, settings())
    assert tables_in(dataset) == before
