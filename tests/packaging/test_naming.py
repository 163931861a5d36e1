"""Other names, other versions of OME-Zarr, and both generations of CATNIP in one dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr

import catnip2bids
from catnip2bids import Naming, package
from catnip2bids.errors import UsageError
from catnip2bids.ome import OmeZarrVersion
from catnip2bids.packaging.package_runs import preflight_with_resources
from catnip2bids.progress import Progress
from in_process import no_dandi
from runs import (
    KO,
    KO_PREFIX,
    RAW,
    TALL,
    TODAY,
    TODAY_NAME,
    TODAY_PREFIX,
    Collector,
    column,
    dataset_files,
    files_of,
    images_of,
    level,
    ome,
    planes_behind,
    read_json,
    read_tsv,
    scales,
    settings,
    source_planes,
    write_l0,
    write_l1,
    write_l2,
)

__all__ = ["no_dandi"]

_KO = f"derivatives/catnip/sub-45670ko/micr/{KO_PREFIX}"
_TODAY = f"derivatives/catnip/sub-46001wt/micr/{TODAY_PREFIX}"

DSEG_NAMES = {
    f"sub-45670ko/micr/{KO_PREFIX}_SPIM": f"{KO}/640_N4",
    f"{_KO}_desc-FRST_SPIM": f"{KO}/640_FRST",
    f"{_KO}_space-orig_dseg": f"{KO}/atlaslabel_def_origspace",
    f"{_KO}_space-orig_desc-hemispheremask_mask": f"{KO}/atlaslabel_def_origspace_masked",
    f"{_KO}_space-orig_desc-FRSTseg10000_mask": f"{KO}/640_FRST_seg/FRSTseg_00010000.tif",
    f"{_KO}_space-CATNIP_desc-heatmap10000_SPIM": f"{KO}/heatmaps_atlasspace/FRSTseg_00010000.tif",
    f"sub-46001wt/micr/{TODAY_PREFIX}_SPIM": f"{TODAY}/N4_masked",
    f"{_TODAY}_desc-FRST_SPIM": f"{TODAY}/FRST",
    f"{_TODAY}_space-orig_dseg": f"{TODAY}/atlaslabel_def_origspace",
    f"{_TODAY}_space-orig_desc-hemispheremask_mask": f"{TODAY}/hemispheremask_origspace",
    f"{_TODAY}_space-orig_desc-FRSTseg10000_mask": f"{TODAY}/FRST_seg/FRSTseg_00010000",
    f"{_TODAY}_space-orig_desc-FRSTsegfiltered10000_SPIM": f"{TODAY}/FRST_seg/FRSTseg_00010000_filtered",
    f"{_TODAY}_space-CATNIPv2_desc-heatmap10000_SPIM":
        f"{TODAY}/heatmaps_atlasspace/FRSTseg_00010000_cellpixelIDlist_heatmap_imagespace_atlasspace.tif",
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    write_l0(folder, KO, shape=TALL)
    write_l2(folder, TODAY, shape=TALL, seed=3)
    return folder


@pytest.fixture(scope="module")
def dseg(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The names of DANDI 001362, in the older version of OME-Zarr."""
    dataset = tmp_path_factory.mktemp("dseg") / "dataset"
    result = package([cohort], dataset, settings(naming=Naming.DSEG, ome_zarr_version=OmeZarrVersion.V04))
    assert result.ok, result.problems
    return dataset


def test_images_have_the_names_of_dandi_001362(dseg: Path) -> None:
    assert images_of(dseg) == {f"{name}.ome.zarr" for name in DSEG_NAMES}


def test_counts_stand_beside_the_images(dseg: Path) -> None:
    assert (dseg / f"{_KO}_desc-FRSTseg10000_counts.tsv").is_file()
    assert (dseg / f"{_TODAY}_desc-FRSTseg10000_counts.tsv").is_file()
    assert not (dseg / "derivatives/catnip-counts").exists()
    rows = read_tsv(dseg / "derivatives/catnip/counts.tsv")
    assert set(column(rows, "participant_id")) == {"sub-45670ko", "sub-46001wt"}
    assert set(read_json(dseg / "derivatives/catnip/counts.json")) >= set(rows[0])


def test_what_bids_has_no_names_for_is_ignored_there(dseg: Path) -> None:
    ignored = (dseg / "derivatives/catnip/.bidsignore").read_text(encoding="utf-8").splitlines()
    assert any("_dseg." in line for line in ignored)
    assert any("_mask." in line for line in ignored)
    assert any("_counts." in line for line in ignored)
    assert {"sub-*_cells.tsv.gz", "sub-*_uncounted.tsv.gz", "*regions.tsv", "*regions.json"} <= set(ignored)
    assert not any(line.rstrip().endswith("/") for line in ignored)


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_a_dataset_of_these_names_is_valid(dseg: Path) -> None:
    report = catnip2bids.validate(dseg)
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_tables_of_cells_and_regions_are_among_what_is_ignored(dseg: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(dseg, tmp_path / "dataset"))
    (dataset / "derivatives/catnip/.bidsignore").unlink()
    refused = {finding.file for finding in catnip2bids.validate(dataset).findings if finding.severity.value == "error"}
    for ending in ("_cells.tsv.gz", "_uncounted.tsv.gz", "/regions.tsv", "/regions.json"):
        assert [file for file in refused if file.endswith(ending)], ending


def test_sources_of_these_names_exist(dseg: Path) -> None:
    for sidecar in (dseg / "derivatives").rglob("sub-*/micr/*.json"):
        for uri in read_json(sidecar).get("Sources", []):
            _, name, path = uri.split(":", 2)
            assert (dseg / ("" if name == "raw" else "derivatives/catnip") / path).is_dir(), uri


def test_the_readme_knows_where_the_counts_are(dseg: Path) -> None:
    assert "catnip-counts" not in (dseg / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("image", "source"), DSEG_NAMES.items(), ids=[name.split("/")[-1] for name in DSEG_NAMES])
def test_ome_zarr_0_4_holds_what_was_read(cohort: Path, dseg: Path, image: str, source: str) -> None:
    folder = dseg / f"{image}.ome.zarr"
    planes = planes_behind(image, cohort / source)
    np.testing.assert_array_equal(level(folder), planes)
    array = zarr.open_array(folder / "0", mode="r")
    assert array.metadata.zarr_format == 2
    assert array.dtype == planes.dtype.newbyteorder("=")
    read = ts.open({"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder / "0")}}, read=True).result()
    np.testing.assert_array_equal(np.asarray(read), planes)
    (multiscale,) = ome(folder)["multiscales"]
    assert multiscale["version"] == "0.4"
    assert scales(folder)[0] == ([25, 25, 25] if "space-CATNIP" in image else [5, 3.7, 3.7])
    levels = [level(folder, number) for number in range(len(multiscale["datasets"]))]
    assert len(levels) == (1 if "space-CATNIP" in image else 2)
    if image.endswith("_dseg"):
        assert set(np.unique(levels[-1])) <= set(np.unique(planes))
        assert ome(folder)["image-label"]["properties"]
    assert not list(folder.rglob("zarr.json"))


@pytest.mark.slow
def test_both_versions_hold_the_same(cohort: Path, dseg: Path, tmp_path: Path) -> None:
    package([cohort], tmp_path / "out", settings(naming=Naming.DSEG))
    for image in images_of(dseg):
        old, new = ome(dseg / image), ome(tmp_path / "out" / image)
        assert new.pop("version") == "0.5"
        for section in old.values():
            for part in section if isinstance(section, list) else [section]:
                part.pop("version", None)
        assert old == new
    one, two = dataset_files(dseg), dataset_files(tmp_path / "out")
    outside = {path for path in {*one, *two} if ".ome.zarr/" not in path}
    assert {path for path in outside if one.get(path) != two.get(path)} == set()


def test_a_dataset_has_one_naming(cohort: Path, dseg: Path) -> None:
    before = files_of(dseg)
    with pytest.raises(UsageError, match="--naming"):
        package([cohort], dseg, settings())
    assert files_of(dseg) == before


def test_a_run_of_the_second_layout(tmp_path: Path) -> None:
    run = write_l1(tmp_path / "source", TODAY, exclusion=True)
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok, result.problems
    names = {
        f"sub-46001wt/micr/{TODAY_PREFIX}_SPIM": "640_N4_masked",
        f"{_TODAY}_desc-FRST_SPIM": "640_FRST",
        f"{_TODAY}_space-orig_desc-atlasmasked_SPIM": "atlaslabel_def_origspace_masked",
        f"{_TODAY}_space-orig_desc-hemispheremask_SPIM": "hemispheremask_origspace",
        f"{_TODAY}_space-orig_desc-FRSTseg10000_SPIM": "640_FRST_seg/FRSTseg_00010000",
    }
    assert {f"{name}.ome.zarr" for name in names} < images_of(tmp_path / "out")
    for name, path in names.items():
        np.testing.assert_array_equal(level(tmp_path / "out" / f"{name}.ome.zarr"), source_planes(run / path))
    labels = ome(tmp_path / "out" / f"{_TODAY}_space-orig_desc-atlasmasked_SPIM.ome.zarr")["image-label"]
    assert labels["properties"]
    counts = list((tmp_path / "out/derivatives/catnip-counts").rglob("*_counts.tsv"))
    assert {path.name.split("desc-")[1] for path in counts} == {
        "FRSTseg10000_counts.tsv",
        "FRSTsegcorrected10000_counts.tsv",
    }


@pytest.mark.slow
def test_the_masked_image_becomes_a_derivative_beside_the_unmasked_one(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source", TODAY)
    (run / "N4").mkdir()
    for file in (run / "FRST").iterdir():
        (run / "N4" / file.name.replace("_FRST", "")).write_bytes(file.read_bytes())
    package([tmp_path / "source"], tmp_path / "out", settings())
    raw = tmp_path / f"out/sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr"
    np.testing.assert_array_equal(level(raw), source_planes(run / "N4"))
    masked = tmp_path / "out" / f"{_TODAY}_desc-N4masked_SPIM.ome.zarr"
    np.testing.assert_array_equal(level(masked), source_planes(run / "N4_masked"))


def test_a_run_without_an_image_is_still_a_dataset(tmp_path: Path) -> None:
    """N4 was deleted, or is elsewhere: what is there is packaged."""
    run = write_l0(tmp_path / "source", KO)
    for file in (run / "640_N4").iterdir():
        file.unlink()
    (run / "640_N4").rmdir()
    result = package([tmp_path / "source"], tmp_path / "out", settings())
    assert result.ok
    assert {image.split("/")[0] for image in images_of(tmp_path / "out")} == {"derivatives"}
    for sidecar in (tmp_path / "out/derivatives").rglob("sub-*/micr/*.json"):
        for uri in read_json(sidecar).get("Sources", []):
            assert (tmp_path / "out/derivatives/catnip" / uri.removeprefix("bids::")).is_dir(), uri


@pytest.mark.parametrize(
    ("subject", "sample"),
    [("46001wt", "LeftHemisphere"), pytest.param("sub-46001wt", "sample-LeftHemisphere", marks=pytest.mark.slow)],
)
def test_labels_of_one_run_come_from_the_settings(tmp_path: Path, subject: str, sample: str) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    choices = settings(subject=subject, sample=sample, stain="cFos")
    assert package([tmp_path / "source"], tmp_path / "out", choices).ok
    assert (tmp_path / f"out/sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr").is_dir()
    (row,) = read_tsv(tmp_path / "out/participants.tsv")
    assert row["participant_id"] == "sub-46001wt"


@pytest.mark.parametrize(
    ("sample", "notes"), [("LH", ["sample LH means LeftHemisphere"]), ("sample-LeftHemisphere", [])]
)
def test_the_sample_that_an_abbreviation_means_is_told(tmp_path: Path, sample: str, notes: list[str]) -> None:
    write_l2(tmp_path / "source", TODAY_NAME, only=RAW)
    progress = Collector()
    choices = settings(subject="46001wt", sample=sample)
    with preflight_with_resources(tmp_path / "source", tmp_path / "out", choices, None, progress) as prepared:
        assert [run.sample for run in prepared.runs] == ["LeftHemisphere"]
    assert [note for note in progress.notes if note.startswith("sample")] == notes


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("210810_45670-ko_female_LH_14-48-50_decon_2021-10-28_12-39-11", "45670ko"),
        ("210810_45670_k-o_LH_decon_2021-10-28_12-39-11", "45670ko"),
        ("210810_A-7.b_wt_LH_14-48-50_decon_2021-10-28_12-39-11", "A7bwt"),
    ],
)
def test_labels_hold_letters_and_digits_only(tmp_path: Path, name: str, label: str) -> None:
    write_l0(tmp_path / "source", name)
    with preflight_with_resources(tmp_path / "source", tmp_path / "out", settings(), None, Progress()) as prepared:
        folders = {str(task.target).removeprefix("derivatives/catnip/") for task in prepared.runs[0].images}
    assert {folder.split("/")[0] for folder in folders} == {f"sub-{label}"}


def test_a_stain_is_part_of_every_name(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", KO)
    package([tmp_path / "source"], tmp_path / "out", settings(stain="Npas4"))
    assert all("_stain-Npas4_" in image for image in images_of(tmp_path / "out"))
    sidecar = read_json(next((tmp_path / "out").glob("sub-*/micr/*_SPIM.json")))
    assert sidecar["SampleStaining"] == "Npas4"


@pytest.mark.slow
def test_a_whole_brain(tmp_path: Path) -> None:
    run = write_l2(tmp_path / "source", TODAY_NAME)
    log = run / f"{TODAY_NAME}.log.txt"
    log.write_text(log.read_text().replace(": v2", ": v9").replace("atlas_v2", "atlas_v9"))
    assert package([tmp_path / "source"], tmp_path / "out", settings(subject="r1")).ok
    assert all("sample-WholeBrain" in image for image in images_of(tmp_path / "out"))
    assert [image for image in images_of(tmp_path / "out") if "space-CATNIPv9" in image]
    (animal,) = read_tsv(tmp_path / "out/participants.tsv")
    assert animal["species"] == "rattus norvegicus"
    (sample,) = read_tsv(tmp_path / "out/samples.tsv")
    assert sample["sample_id"] == "sample-WholeBrain"
