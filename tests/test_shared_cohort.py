"""Real light-sheet pixels and the real atlas: what the first milestone must show.

The data is not part of the project; where it is absent, nothing here is run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tensorstore as ts

import catnip2bids
from catnip2bids import Format, Naming, PackageResult, package
from catnip2bids.demo.cohort import write_slice
from catnip2bids.ome import OmeZarrVersion
from catnip2bids.region_hierarchy import region_totals
from in_process import called, no_dandi
from runs import (
    KO_NAME,
    images_of,
    level,
    mentions,
    ome,
    plane_hash,
    planes_behind,
    read_tsv,
    scales,
    settings,
    source_planes,
)

__all__ = ["no_dandi"]

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
COHORT, TODAY, TABLE = DATA / "cohort", DATA / "cohort_today", DATA / "atlas/atlas_v1/atlas_info.txt"
VOLUME = DATA / "atlas/atlas_v1/annotation_atlasImage.Iteration.002_-x-z_renormalized_withOB.nii.gz"

pytestmark = pytest.mark.skipif(not COHORT.is_dir(), reason="the shared data is not there")

KO_RUN = f"KO/{KO_NAME}"
FLOX_RUN = "FLOX/_45925_LH_flox_20211029/210816_45925_floxed_female_LH_16-09-53_decon_2021-10-29_16-57-17"
TODAY_RUN = "640_2026-05-02_09-12-33"
THRESHOLDS = (10000, 15000)
_DERIVATIVE = "derivatives/catnip"


def old_images(subject: str, run: str) -> dict[str, str]:
    prefix = f"{subject}/micr/{subject}_sample-LeftHemisphere_stain-cFos"
    images = {
        f"{prefix}_SPIM": f"{run}/640_N4",
        f"{_DERIVATIVE}/{prefix}_desc-FRST_SPIM": f"{run}/640_FRST",
        f"{_DERIVATIVE}/{prefix}_space-orig_desc-atlas_SPIM": f"{run}/atlaslabel_def_origspace",
        f"{_DERIVATIVE}/{prefix}_space-orig_desc-hemispheremask_SPIM": f"{run}/atlaslabel_def_origspace_masked",
    }
    for threshold in THRESHOLDS:
        file = f"FRSTseg_{threshold:08d}.tif"
        images[f"{_DERIVATIVE}/{prefix}_space-orig_desc-FRSTseg{threshold}_SPIM"] = f"{run}/640_FRST_seg/{file}"
        heatmap = f"{_DERIVATIVE}/{prefix}_space-CATNIP_desc-heatmap"
        images[f"{heatmap}{threshold}_SPIM"] = f"{run}/heatmaps_atlasspace/{file}"
    return images


def new_images(subject: str, run: str) -> dict[str, str]:
    prefix = f"{subject}/micr/{subject}_sample-LeftHemisphere_stain-cFos"
    images = {
        f"{prefix}_SPIM": f"{run}/N4_masked",
        f"{_DERIVATIVE}/{prefix}_desc-FRST_SPIM": f"{run}/FRST",
        f"{_DERIVATIVE}/{prefix}_space-orig_desc-atlas_SPIM": f"{run}/atlaslabel_def_origspace",
        f"{_DERIVATIVE}/{prefix}_space-orig_desc-hemispheremask_SPIM": f"{run}/hemispheremask_origspace",
    }
    for threshold in THRESHOLDS:
        name = f"FRSTseg_{threshold:08d}"
        file = f"{name}_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"
        native, atlas = f"{_DERIVATIVE}/{prefix}_space-orig_desc-", f"{_DERIVATIVE}/{prefix}_space-CATNIPv2_desc-"
        images |= {
            f"{native}FRSTseg{threshold}_SPIM": f"{run}/FRST_seg/{name}",
            f"{native}FRSTsegfiltered{threshold}_SPIM": f"{run}/FRST_seg/{name}_filtered",
            f"{atlas}heatmap{threshold}_SPIM": f"{run}/heatmaps_atlasspace/{file}",
        }
    return images


COHORT_IMAGES = {
    **old_images("sub-45670ko", KO_RUN),
    **old_images("sub-45925floxed", FLOX_RUN),
}
TODAY_IMAGES = new_images("sub-46001wt", TODAY_RUN)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackageResult]:
    dataset = tmp_path_factory.mktemp("cohort") / "dataset"
    return dataset, package([COHORT], dataset, settings(atlas_table=TABLE))


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = tmp_path_factory.mktemp("today") / "dataset"
    choices = settings(atlas_table=TABLE, subject="46001wt", sample="LeftHemisphere")
    result = package([TODAY], dataset, choices)
    assert result.ok, result.problems
    return dataset


def assert_pixels(dataset: Path, source: Path, images: dict[str, str]) -> None:
    assert images_of(dataset) == {f"{name}.ome.zarr" for name in images}
    for name, path in images.items():
        image = dataset / f"{name}.ome.zarr"
        planes = planes_behind(name, source / path)
        pixels = level(image)
        assert pixels.dtype == planes.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(pixels, planes, err_msg=name)
        hashes = [row["sha256"] for row in read_tsv(dataset / "code/catnip2bids/pixels" / f"{image.name}.tsv")]
        assert hashes == [plane_hash(plane) for plane in planes], name
        if "desc-atlas" in name:
            known = set(np.unique(pixels).tolist())
            for number in range(1, len(scales(image))):
                assert set(np.unique(level(image, number)).tolist()) <= known


@pytest.mark.slow
def test_every_array_is_what_was_read(packaged: tuple[Path, PackageResult]) -> None:
    dataset, result = packaged
    assert result.ok, result.problems
    assert_pixels(dataset, COHORT, COHORT_IMAGES)


def test_every_array_of_a_run_of_today_is_what_was_read(today: Path) -> None:
    assert_pixels(today, TODAY, TODAY_IMAGES)


@pytest.mark.slow
def test_masked_labels_can_be_made_again(packaged: tuple[Path, PackageResult]) -> None:
    dataset, _ = packaged
    for subject, run, planes_different in (("45670ko", KO_RUN, 43), ("45925floxed", FLOX_RUN, 24)):
        prefix = f"{_DERIVATIVE}/sub-{subject}/micr/sub-{subject}_sample-LeftHemisphere_stain-cFos_space-orig_desc-"
        labels, mask = (level(dataset / f"{prefix}{desc}_SPIM.ome.zarr") for desc in ("atlas", "hemispheremask"))
        masked = source_planes(COHORT / run / "atlaslabel_def_origspace_masked")
        np.testing.assert_array_equal(labels * mask, masked)
        evidence = decision(dataset, f"{run}/atlaslabel_def_origspace_masked")["evidence"]
        assert evidence["relation"] == "2-is-1-masked"
        assert len(evidence["planes_different"]) == planes_different
        assert evidence["voxels_different"] == evidence["voxels_zeroed"] == np.count_nonzero(labels != masked)
        lost = set(np.unique(labels).tolist()) - set(np.unique(masked).tolist())
        assert evidence["labels_lost"] == {str(value): int(np.count_nonzero(labels == value)) for value in lost}


@pytest.mark.slow
def test_heat_maps_that_no_mask_changed_are_packaged_once(packaged: tuple[Path, PackageResult], today: Path) -> None:
    for dataset, run, file in (
        (packaged[0], FLOX_RUN, "FRSTseg_00010000.tif"),
        (today, "", "FRSTseg_00010000_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"),
    ):
        found = decision(dataset, f"{run}/heatmaps_atlasspace_corrected/{file}".strip("/"))
        assert (found["action"], found["evidence"]["relation"]) == ("exclude", "identical")
        assert (dataset / found["evidence"]["image"]).is_dir()


def decision(dataset: Path, source: str) -> dict[str, Any]:
    provenance = json.loads((dataset / "code/catnip2bids/provenance.json").read_text(encoding="utf-8"))
    (found,) = [decision for decision in provenance["decisions"] if decision["source"].endswith(source)]
    assert isinstance(found, dict)
    return found


def compared(one: Path, two: Path, folder: Path) -> tuple[int, dict[str, Any]]:
    done = called("compare", one, two, "-o", folder)
    found = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    return done.returncode, found


@pytest.mark.slow
@pytest.mark.parametrize(("run", "n_planes"), [(KO_RUN, 43), (FLOX_RUN, 24)])
def test_masked_labels_are_compared_as_a_plain_count_does(tmp_path: Path, run: str, n_planes: int) -> None:
    paths = [COHORT / run / f"atlaslabel_def_origspace{end}" for end in ("", "_masked")]
    code, found = compared(paths[0], paths[1], tmp_path / "out")
    one, two = map(source_planes, paths)
    different = one != two
    assert (code, found["relation"]) == (1, "2-is-1-masked")
    counted = [found[key] for key in ("n_pairs", "n_identical", "n_different", "only_in_1", "only_in_2")]
    n_different = int(different.any(axis=(1, 2)).sum())
    assert counted == [len(one), len(one) - n_different, n_different, [], []]
    assert n_different == n_planes
    evidence = found["evidence"]
    assert evidence["voxels"] == one.size
    assert evidence["voxels_different"] == evidence["voxels_zeroed_2"] == np.count_nonzero(different)
    assert evidence["voxels_zeroed_1"] == 0
    z, y, x = np.nonzero(different)
    extent = {axis: [int(at.min()), int(at.max())] for axis, at in (("y", y), ("x", x))}
    assert evidence["extent"] == {"z": [int(z.min()) + 1, int(z.max()) + 1], **extent}
    lost = set(np.unique(one).tolist()) - set(np.unique(two).tolist())
    assert evidence["labels_lost_2"] == {str(value): int(np.count_nonzero(one == value)) for value in lost}
    emptied = np.flatnonzero(different.any(axis=(1, 2)) & ~two.any(axis=(1, 2))) + 1
    assert evidence["mask"]["planes_emptied"] == emptied.tolist()
    assert compared(paths[1], paths[0], tmp_path / "swapped")[1]["relation"] == "1-is-2-masked"


@pytest.mark.slow
def test_corrected_segmentations_are_tables_only(tmp_path: Path) -> None:
    paths = [COHORT / FLOX_RUN / f"640_FRST_seg{end}" for end in ("", "_corr")]
    code, found = compared(paths[0], paths[1], tmp_path / "out")
    assert (code, found["relation"]) == (1, "different")
    assert found["only_in_1"] == [f"FRSTseg_{threshold:08d}.tif" for threshold in THRESHOLDS]
    for item in found["evidence"]["items"]:
        lines = [Path(item[path]).read_text(encoding="utf-8").splitlines()[1:] for path in ("path_1", "path_2")]
        excluded = {line.split(",")[0] for line in lines[1] if line.endswith(",-1,-1")}
        excluded -= {line.split(",")[0] for line in lines[0] if line.endswith(",-1,-1")}
        assert excluded
        assert set(item["evidence"]["excluded_2"]) == excluded


@pytest.mark.slow
def test_the_dataset_is_valid(packaged: tuple[Path, PackageResult]) -> None:
    report = catnip2bids.validate(packaged[0])
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["."], ["-r", "."], [f"{_DERIVATIVE}"]])
def test_the_bids_validator_has_no_error(packaged: tuple[Path, PackageResult], arguments: list[str]) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run(
        [validator, "--json", "--max-rows", "-1", *arguments],
        cwd=packaged[0],
        capture_output=True,
        text=True,
        check=False,
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert not [issue for issue in issues if issue["severity"] == "error"]
    about = {f"{issue['code']} {issue.get('subCode', '')}" for issue in issues}
    assert all(re.search("AUTHORS|HEDVersion|License", text) for text in about), about


@pytest.mark.slow
def test_real_labels_that_no_table_knows_are_listed_and_warned_of(packaged: tuple[Path, PackageResult]) -> None:
    dataset, result = packaged
    rows = {row["index"]: row for row in read_tsv(dataset / _DERIVATIVE / "dseg.tsv")}
    lines = TABLE.read_text(encoding="utf-8").splitlines()[1:]
    occurring = {
        value
        for path in COHORT_IMAGES.values()
        if path.endswith("atlaslabel_def_origspace")
        for value in np.unique(source_planes(COHORT / path)).tolist()
    }
    strays = occurring - {0} - {int(line.split(",")[0]) for line in lines}
    assert 12009 in strays
    assert {row["name"] for row in rows.values() if row["name"].startswith("unlisted")} == {
        f"unlisted_{value}" for value in strays
    }
    assert len(rows) == len(lines) + len(strays)
    for line in lines:
        index, name, abbreviation, red, green, blue, *_ = line.split(",")
        row = rows[index]
        assert (row["name"], row["abbreviation"]) == (name, abbreviation)
        assert row["color"] == f"#{int(red):02x}{int(green):02x}{int(blue):02x}"
    assert sum("/" in row["name"] for row in rows.values()) == 43
    assert mentions(result.warnings, "12009")


@pytest.mark.slow
def test_sums_over_parents_are_those_of_the_regions_below_them(packaged: tuple[Path, PackageResult]) -> None:
    """Most parents in the real atlas are groups, such as the visual areas; ventricles are regions with others below."""
    folder = packaged[0] / "derivatives/catnip-counts"
    rows = {row["index"]: row for row in read_tsv(folder / "regions.tsv")}
    groups = {index for index, row in rows.items() if row["color"] == "n/a"}
    assert rows.keys() - groups == {row["index"] for row in read_tsv(packaged[0] / _DERIVATIVE / "dseg.tsv")}
    assert len(groups) == 132
    assert (rows["669"]["name"], rows["385"]["abbreviation"], rows["385"]["parent"]) == ("VIS", "VISp", "n/a")
    assert [rows[index]["depth"] for index in ("997", "73", "145", "153")] == ["0", "1", "2", "3"]
    parents = {int(row["index"]): int(row["parent"]) for row in rows.values() if row["parent"] != "n/a"}
    counts = read_tsv(next(folder.rglob("sub-45670ko*FRSTseg10000_counts.tsv")))
    numbers = {int(row["index"]): (int(row["cell_count"]), float(row["volume_mm3"])) for row in counts}
    totals = region_totals(numbers, parents)
    assert totals[385].cell_count == sum(numbers[int(i)][0] for i, row in rows.items() if row["parent"] == "385")
    assert totals[73].cell_count == sum(numbers[i][0] for i in (73, 81, 129, 140, 145, 153, 164))
    roots = [index for index in totals if index not in parents]
    assert sum(totals[index].cell_count for index in roots) == sum(n for n, _ in numbers.values())
    assert sum(totals[index].n_regions for index in roots) == len(counts)
    for row in counts:
        if row["density_per_mm3"] != "n/a":
            volume_mm3 = int(row["label_volume"]) * 68.45e-9
            assert float(row["density_per_mm3"]) == pytest.approx(int(row["cell_count"]) / volume_mm3, rel=1e-8)


@pytest.mark.slow
def test_region_names_with_slashes_are_intact_in_the_images(packaged: tuple[Path, PackageResult]) -> None:
    names = {row["index"]: row["name"] for row in read_tsv(packaged[0] / _DERIVATIVE / "dseg.tsv")}
    slashes = 0
    for image in images_of(packaged[0]):
        if "desc-atlas" in image:
            for described in ome(packaged[0] / image)["image-label"]["properties"]:
                assert described["name"] == names[str(described["label-value"])]
                slashes += "/" in described["name"]
    assert slashes > 5


@pytest.mark.slow
def test_without_a_subject_it_helps(tmp_path: Path) -> None:
    done = called("package", TODAY, "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5)
    assert done.returncode == 2
    assert "--subject" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_both_generations_in_one_dataset(today: Path, tmp_path: Path) -> None:
    shutil.copytree(today, tmp_path / "out")
    assert package([COHORT / "KO"], tmp_path / "out", settings(atlas_table=TABLE)).ok
    ko = {name for name in COHORT_IMAGES if "45670ko" in name}
    assert images_of(tmp_path / "out") == {f"{name}.ome.zarr" for name in [*TODAY_IMAGES, *ko]}
    tables = {path.name for path in (tmp_path / "out" / _DERIVATIVE).glob("*dseg.tsv")}
    assert tables == {"dseg.tsv"}  # v1, v2 and v3 are one table
    rows = read_tsv(tmp_path / "out/participants.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-45670ko", "sub-46001wt"]


# ---- other readers


def other_readers(image: Path) -> list[tuple[str, Any, list[float]]]:
    """Level 0 and its scale (z, y, x) as ome-zarr-py, ngff-zarr and tensorstore see them."""
    import ngff_zarr
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(image)
    assert location is not None
    node = next(iter(Reader(location)()))
    (scale,) = [step["scale"] for step in node.metadata["coordinateTransformations"][0] if step["type"] == "scale"]
    multiscales = ngff_zarr.from_ngff_zarr(image)
    level_0 = multiscales.images[0]
    driver = "zarr3" if (image / "zarr.json").is_file() else "zarr"
    array = ts.open({"driver": driver, "kvstore": {"driver": "file", "path": str(image / "0")}}, read=True).result()
    return [
        ("ome-zarr-py", np.asarray(node.data[0]), list(scale)),
        ("ngff-zarr", np.asarray(level_0.data), [level_0.scale[axis] for axis in "zyx"]),
        ("tensorstore", np.asarray(array), scales(image)[0]),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of other people's readers
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_other_readers_see_the_same(today: Path, tmp_path: Path, version: str) -> None:
    dataset = today
    if version == "0.4":
        dataset = tmp_path / "out"
        choices = settings(
            atlas_table=TABLE, subject="46001wt", sample="LeftHemisphere", ome_zarr_version=OmeZarrVersion.V04
        )
        assert package([TODAY], dataset, choices).ok
    for name in list(TODAY_IMAGES)[:3] + list(TODAY_IMAGES)[-1:]:
        planes = source_planes(TODAY / TODAY_IMAGES[name])
        expected = [25.0, 25.0, 25.0] if "space-CATNIP" in name else [5.0, 3.7, 3.7]
        for reader, pixels, scale in other_readers(dataset / f"{name}.ome.zarr"):
            np.testing.assert_array_equal(pixels, planes, err_msg=f"{reader}: {name}")
            assert scale == expected, f"{reader}: {name}"


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_names_of_dandi_001362_are_valid_too(tmp_path: Path) -> None:
    choices = settings(atlas_table=TABLE, naming=Naming.DSEG, ome_zarr_version=OmeZarrVersion.V04, embed_labels=True)
    assert package([COHORT / "KO"], tmp_path / "out", choices).ok
    report = catnip2bids.validate(tmp_path / "out")
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


# ---- the real atlas


@pytest.mark.slow
def test_the_real_atlas_as_slices(tmp_path: Path) -> None:
    """The planes of the real label volume in which its stray labels lie, and some around them."""
    image = nib.load(VOLUME)
    volume = np.asarray(image.dataobj).T.astype(np.uint16)  # type: ignore[attr-defined]
    strays = np.flatnonzero(np.isin(volume, (512, 12009)).any(axis=(1, 2)))
    kept = sorted({*strays.tolist(), *range(100, 110)})
    run = tmp_path / "source" / KO_NAME
    (run / "atlaslabel_def_origspace").mkdir(parents=True)
    for number, plane in enumerate(kept, start=1):
        write_slice(run / f"atlaslabel_def_origspace/Z{number:06d}.tif", volume[plane])
    result = package(
        [tmp_path / "source"], tmp_path / "out", settings(voxel_size_um=(25.0, 25.0, 25.0), atlas_table=TABLE)
    )
    assert result.ok, result.problems
    assert mentions(result.warnings, "512", "12009")
    (label_image,) = images_of(tmp_path / "out")
    pixels = level(tmp_path / "out" / label_image)
    np.testing.assert_array_equal(pixels, volume[kept])
    names = {
        label["label-value"]: label["name"]
        for label in ome(tmp_path / "out" / label_image)["image-label"]["properties"]
    }
    assert (names[512], names[12009]) == ("unlisted_512", "unlisted_12009")
    assert set(names) == set(np.unique(pixels).tolist()) - {0}
    rows = {row["index"]: row["name"] for row in read_tsv(tmp_path / "out" / _DERIVATIVE / "dseg.tsv")}
    assert (rows["512"], rows["12009"]) == ("unlisted_512", "unlisted_12009")


def assert_proven_and_comes_back(dataset: Path, source: Path, restored: Path) -> None:
    verified = catnip2bids.verify(dataset, source)
    assert verified.ok, verified.problems
    made = catnip2bids.restore(dataset, restored)
    assert (made.ok, made.left_out) == (True, {})
    compared = catnip2bids.compare(source, restored)
    assert (compared.relation, compared.only_in_1, compared.only_in_2) == ("identical", {}, {})


@pytest.mark.slow
def test_everything_is_proven_and_comes_back(packaged: tuple[Path, PackageResult], today: Path, tmp_path: Path) -> None:
    assert_proven_and_comes_back(packaged[0], COHORT, tmp_path / "cohort")
    assert_proven_and_comes_back(today, TODAY, tmp_path / "today")


@pytest.mark.slow
def test_everything_in_ome_tiff_is_proven_and_comes_back(tmp_path: Path) -> None:
    choices = settings(image_format=Format.OME_TIFF, naming=Naming.DSEG)
    assert package([COHORT / "KO"], tmp_path / "dataset", choices).ok
    assert_proven_and_comes_back(tmp_path / "dataset", COHORT / "KO", tmp_path / "restored")
